// How the query was read: one chip a term, which can be muted or boosted. A query is a list of weighted
// terms, so editing it is editing numbers.

import { button, element } from "./dom.js";

const SHOWN = 14;
const STEP = 1.5;

// `terms` is [{ term, weight, learned }], heaviest first; `factors` is { term: factor } where edited; a factor of
// 0 mutes. `onChange(factors)` is called with a new object.
export function chips(terms, factors, onChange, { all = false, onAll = () => {} } = {}) {
  const change = (term, factor) => {
    const next = Object.assign(Object.create(null), factors);
    if (Math.abs(factor - 1) < 0.01) delete next[term];
    else next[term] = Math.round(factor * 1000) / 1000;
    onChange(next, term);
  };
  const chip = ({ term, weight, learned }) => {
    const factor = factorOf(factors, term);
    const muted = factor === 0;
    return element("li", { class: `chip${muted ? " muted" : ""}${factor === 1 ? "" : " edited"}${learned ? " learned" : ""}` },
      button([element("span", { class: "term" }, term), " ",
        element("span", { class: "number" }, (weight * factor).toFixed(2))],
      () => change(term, muted ? 1 : 0),
      { class: "mute", "aria-pressed": String(muted), "data-chip": term, title: muted ? "Unmute" : "Mute",
        "aria-label": `Mute ${term}, weight ${(weight * factor).toFixed(2)}` }),
      button("−", () => change(term, factor / STEP), { "aria-label": `Weaken ${term}`, disabled: muted }),
      button("+", () => change(term, factor * STEP), { "aria-label": `Boost ${term}`, disabled: muted }));
  };
  const hidden = all ? 0 : Math.max(terms.length - SHOWN, 0);
  return element("section", { class: "chips", "aria-label": "The query as weighted terms" },
    element("span", { class: "quiet label", "aria-hidden": "true" }, "Read as"),
    element("ul", {}, ...terms.slice(0, terms.length - hidden).map(chip),
      hidden ? element("li", {}, button(`${hidden} more`, onAll, { class: "plain" })) : null,
      Object.keys(factors).length
        ? element("li", {}, button("Reset", () => onChange({}), { class: "plain" })) : null),
    terms.some((one) => one.learned) ? element("p", { class: "quiet" }, "Tinted terms are learned associations.") : null);
}

// A term may be called as something that every object has: `constructor`.
const factorOf = (factors, term) => (Object.hasOwn(factors, term) ? factors[term] : 1);

// The tokens to send: every weight times its factor, muted terms left out.
export function editedTokens(terms, factors) {
  const tokens = Object.create(null);
  for (const { term, weight } of terms) {
    const edited = weight * factorOf(factors, term);
    if (edited > 0) tokens[term] = edited;
  }
  return tokens;
}
