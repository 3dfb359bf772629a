// A score as the sum it is: a bar of terms, and the sum written out.

import { element, roundedParts } from "./dom.js";

const SHOWN = 6;

// The largest contributions and the rest as one part: [{ label, score, kind, term }].
export function parts(explanation, shown = SHOWN) {
  const given = explanation.terms.map((one) => ({
    label: one.term ?? `term ${one.index}`,
    term: one.term,
    score: one.score,
    kind: one.origin ?? "unavailable",
  }));
  const head = given.length <= shown + 1 ? given : given.slice(0, shown);
  const rest = explanation.sum - head.reduce((sum, one) => sum + one.score, 0);
  const others = given.length - head.length + (explanation.other?.terms ?? 0);
  if (others > 0) {
    head.push({ label: `${others} other${others === 1 ? "" : "s"}`, term: null, score: rest, kind: "other" });
  }
  return head;
}

const SHADES = 5;

// The bar is as long as the score is, of `highest`; its parts are as long as their contributions. A term
// has its shade by its place in `order` (term -> place in the query), the same in every bar.
export function scoreBar(explanation, highest, order = new Map()) {
  const all = parts(explanation);
  const look = (one) => `${one.kind} shade-${(order.get(one.term) ?? 0) % SHADES}`;
  const total = explanation.sum;
  const numbers = roundedParts(all.map((one) => one.score), total);
  const bar = element("div", { class: "bar", "aria-hidden": "true" });
  for (const one of all) {
    const segment = element("span", { class: look(one), "data-term": one.term });
    segment.style.flexGrow = String(one.score);
    bar.append(segment);
  }
  const empty = element("span", { class: "empty" });
  empty.style.flexGrow = String(Math.max(highest - total, 0));
  bar.append(empty);
  const sum = element("ul", { class: "sum", "aria-label": "Contributions that add up to the score" },
    ...all.map((one, at) => element("li", { class: one.kind, "data-term": one.term },
      element("span", { class: `swatch ${look(one)}`, "aria-hidden": "true" }),
      element("span", { class: "term" }, one.label), " ", element("span", { class: "number" }, numbers[at]))),
    element("li", { class: "total" }, element("span", { class: "number" }, total.toFixed(2))));
  const figure = element("div", { class: "score-bar" }, bar, sum);
  // Pointing at a term shows its part of the bar and its spans in the text.
  const point = (event) => {
    const term = event.type === "pointerleave" ? null : event.target.closest("[data-term]")?.dataset.term;
    mark(figure.closest(".hit") ?? figure, term ?? null);
  };
  figure.addEventListener("pointerover", point);
  figure.addEventListener("pointerleave", point);
  return figure;
}

function mark(root, term) {
  for (const node of root.querySelectorAll("[data-term]")) {
    node.classList.toggle("pointed", term !== null && node.dataset.term === term);
  }
  for (const node of root.querySelectorAll("[data-terms]")) {
    node.classList.toggle("pointed", term !== null && node.dataset.terms.split(" ").includes(term));
  }
}

const ORIGINS = { literal: "in the text", expansion: "learned", unavailable: "not known" };

// Every term: query weight x document weight = contribution.
export function explanationTable(explanation, missing = []) {
  const numbers = roundedParts(explanation.terms.map((one) => one.score),
    explanation.terms.reduce((sum, one) => sum + one.score, 0));
  const origins = explanation.terms.some((one) => one.origin);
  const row = (one, at) => element("tr", { class: one.origin },
    element("th", { scope: "row" }, one.term ?? `term ${one.index}`),
    element("td", { class: "number" }, one.query.toFixed(3)),
    element("td", { class: "number" }, one.doc.toFixed(3)),
    element("td", { class: "number" }, numbers[at]),
    element("td", { class: "number" }, `${(one.share * 100).toFixed(1)} %`),
    origins ? element("td", {}, ORIGINS[one.origin] ?? "") : null);
  const head = ["Term", "Query weight", "Document weight", "Contribution", "Share"];
  if (origins) head.push("Origin");
  const rest = explanation.other;
  return element("div", { class: "scrolled", tabindex: "0", role: "group", "aria-label": "Every contribution" },
    element("table", { class: "terms" },
      element("thead", {}, element("tr", {}, ...head.map((one, at) =>
        element("th", { scope: "col", class: at > 0 && at < 5 ? "number" : null }, one)))),
      element("tbody", {}, ...explanation.terms.map(row),
        rest?.terms ? element("tr", {}, element("th", { scope: "row" }, `${rest.terms} others`),
          element("td"), element("td"), element("td", { class: "number" }, rest.score.toFixed(2))) : null,
        ...missing.map((one) => element("tr", { class: "missing" },
          element("th", { scope: "row" }, one.term ?? `term ${one.index}`),
          element("td", { class: "number" }, one.query.toFixed(3)),
          element("td", { colspan: origins ? "4" : "3" }, "not in this document")))),
      element("tfoot", {}, element("tr", {}, element("th", { scope: "row", colspan: "3" }, "Score"),
        element("td", { class: "number" }, explanation.sum.toFixed(2))))));
}
