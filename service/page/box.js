// The search box: one input that asks while one types, and the index to ask.

import { element } from "./dom.js";

const PAUSE = 120; // ms without a key before a search starts; about a fast typist's gap

// `onQuery(text, settled)` is called while typing (settled false) and at Enter (settled true).
export function searchBox({ value, selects, onQuery }) {
  let timer = null;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => onQuery(input.value, false), PAUSE);
  };
  const input = element("input", {
    id: "q", type: "search", value, autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    placeholder: "Search", "aria-label": "Search", "aria-keyshortcuts": "/", enterkeyhint: "search",
    maxlength: "4000",
    // Half-composed characters are nobody's query.
    oninput: (event) => { if (!event.isComposing) later(); }, oncompositionend: later,
  });
  const node = element("form", { class: "box", role: "search", onsubmit: (event) => {
    event.preventDefault();
    clearTimeout(timer);
    onQuery(input.value, true);
  } }, element("span", { class: "field" }, input, element("kbd", { "aria-hidden": "true" }, "/")), ...selects);
  const stop = () => clearTimeout(timer);
  // The query of the address; what was typed and not asked yet is given up.
  const show = (q) => { stop(); input.value = q; };
  return { node, input, stop, show };
}

export function indexSelect(label, indexes, chosen, onChange) {
  return element("select", { "aria-label": label, onchange: (event) => onChange(event.target.value) },
    ...indexes.map((one) => element("option", { value: one.name, selected: one.name === chosen,
      disabled: one.state !== "ready" && one.name !== chosen },
    one.state === "ready" ? one.name : `${one.name} (${one.state})`)));
}
