// One hit: title, snippet, the bar of its score, and behind Enter the whole explanation.

import { explanationTable, scoreBar } from "./bar.js";
import { button, element, keepingFocus } from "./dom.js";
import { asText, bodyField, marked, snippet, spansOf, title, titleField } from "./texts.js";

const CAUTION = "Terms that the text does not hold are learned associations, not synonyms; "
  + "a small weight means little alone.";

// `context` holds `highest` (the best score), `order` (term -> place in the query), `onLike(id)`, `trace(hit)`,
// which finds the spans behind its learned terms or says why not, and, where hits moved, `move(hit)`.
export function hitItem(hit, context) {
  const detail = element("div", { class: "detail", hidden: true });
  const quoted = element("div", {}, snippet(hit));
  const opener = button(title(hit), () => toggle(), {
    class: "opener", dir: "auto", "aria-expanded": "false", "data-hit": hit.id });
  const toggle = async () => {
    detail.hidden = !detail.hidden;
    opener.setAttribute("aria-expanded", String(!detail.hidden));
    if (detail.hidden || detail.hasChildNodes()) return;
    detail.append(...details(hit, context));
    scrolledByKeys(detail);
    const note = await context.trace(hit);
    if (note === null) return;
    keepingFocus(detail, () => details(hit, context, note));
    scrolledByKeys(detail);
    opener.replaceChildren(...title(hit));
    quoted.replaceChildren(snippet(hit) ?? "");
  };
  const heading = element("h2", {}, opener);
  return element("li", { class: "hit" },
    element("div", { class: "line" },
      element("span", { class: "rank number" }, String(hit.rank), moved(context.move?.(hit))),
      heading,
      element("span", { class: "score number", title: "Score" }, hit.score.toFixed(2))),
    quoted,
    hit.explain ? scoreBar(hit.explain, context.highest, context.order) : null,
    detail);
}

// A long text scrolls within its box, which therefore has to be reached by keyboard.
function scrolledByKeys(detail) {
  for (const box of detail.querySelectorAll("dd")) {
    if (box.scrollHeight <= box.clientHeight) continue;
    box.tabIndex = 0;
    box.setAttribute("aria-label", box.previousSibling.textContent);
  }
}

// ▲ 3: by how many ranks a hit moved, also in words.
export function moved(by) {
  if (by === undefined) return null;
  if (by === null) return element("span", { class: "move new" }, "new");
  if (by === 0) return element("span", { class: "move", "aria-label": "same rank" }, "=");
  return element("span", { class: `move ${by > 0 ? "up" : "down"}`, role: "img",
    "aria-label": `${Math.abs(by)} ranks ${by > 0 ? "up" : "down"}` }, `${by > 0 ? "▲" : "▼"}${Math.abs(by)}`);
}

function details(hit, context, note = null) {
  const nodes = [];
  if (hit.explain) {
    nodes.push(explanationTable(hit.explain), element("p", { class: "quiet caution" }, CAUTION));
  }
  if (note) nodes.push(element("p", { class: "quiet" }, note));
  const first = [titleField(hit.fields), bodyField(hit.fields)];
  const names = Object.keys(hit.fields).sort((a, b) => first.includes(a) - first.includes(b));
  const shown = element("dl", { class: "fields" }, element("dt", {}, "id"), element("dd", { dir: "auto" }, hit.id));
  for (const name of names) {
    const points = Array.from(asText(hit.fields[name]));
    const spans = typeof hit.fields[name] === "string" ? spansOf(hit, name) : [];
    shown.append(element("dt", {}, name), element("dd", { dir: "auto" }, ...marked(points, spans)));
  }
  nodes.push(shown);
  nodes.push(button("More like this", () => context.onLike(hit.id)));
  return nodes;
}

// The same hits by what their text says alone: contributions that expansion brought are left out of
// score and bar, and documents move. Only hits that are shown can move: others were never fetched.
export function literalOnly(hits) {
  const kept = hits.map((hit) => {
    const terms = hit.explain.terms.filter((one) => one.origin === "literal");
    const sum = terms.reduce((total, one) => total + one.score, 0);
    return { ...hit, score: sum, was: hit.rank,
      explain: { ...hit.explain, sum, other: undefined,
        terms: terms.map((one) => ({ ...one, share: sum ? one.score / sum : 0 })) } };
  });
  kept.sort((a, b) => b.score - a.score || a.was - b.was);
  return kept.map((hit, at) => ({ ...hit, rank: at + 1 }));
}
