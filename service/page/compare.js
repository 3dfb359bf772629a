// One query against two indexes: both rankings side by side, lines between the same documents.

import { at, post } from "./api.js";
import { indexSelect, searchBox } from "./box.js";
import { announce, button, dialog, drawn, element } from "./dom.js";
import { moved } from "./hits.js";
import { problemPanel } from "./problems.js";
import { title } from "./texts.js";

export function compareView(app) {
  const other = () => app.state.other ?? app.indexes.find((one) => one.name !== app.state.index)?.name
    ?? app.state.index;
  const selects = [
    indexSelect("Left index", app.indexes, app.state.index, (index) => app.go({ index, other: other() }, { push: true })),
    indexSelect("Right index", app.indexes, other(), (name) => app.go({ other: name }, { push: true })),
  ];
  const box = searchBox({ value: app.state.q, selects, onQuery: (q, settled) => {
    if (q !== app.state.q) app.go({ q }, { push: settled });
    else if (settled) run();
  } });
  const summary = element("div", { class: "status" });
  const body = element("div", { class: "results" });
  let running = null;
  let watching = null;

  async function run() {
    running?.abort();
    const mine = running = new AbortController();
    if (!app.state.q.trim()) {
      summary.replaceChildren();
      body.replaceChildren(element("div", { class: "start" },
        element("p", { class: "large" }, "One query, two rankings"),
        element("p", { class: "quiet" }, "Type a query to see which documents move, and which terms moved them.")));
      return;
    }
    const ask = (index) => post(at(index, "/search"),
      { query: { text: app.state.q }, limit: app.state.k, explain: true }, { signal: mine.signal });
    try {
      const sides = await Promise.all([ask(app.state.index), ask(other())]);
      if (running === mine) show(...sides);
    } catch (error) {
      if (running !== mine || error.name === "AbortError") return;
      summary.replaceChildren();
      body.replaceChildren(problemPanel(error, run));
    }
  }

  function show(left, right) {
    const leftAt = new Map(left.hits.map((hit) => [hit.id, hit]));
    const rightAt = new Map(right.hits.map((hit) => [hit.id, hit]));
    const shared = right.hits.filter((hit) => leftAt.has(hit.id));
    const told = `${shared.length} of ${Math.max(left.hits.length, right.hits.length)} documents on both sides`;
    summary.replaceChildren(element("p", {}, element("strong", {}, told), element("span", { class: "quiet" },
      ` · ${shared.filter((hit) => leftAt.get(hit.id).rank === hit.rank).length} at the same rank`)));
    announce(told);
    const column = (answer, mate, isRight) => element("section", { "aria-label": answer.index },
      element("h2", {}, answer.index, " ", element("span", { class: "quiet" }, `generation ${answer.generation}`)),
      element("ol", { class: "rows hits" }, ...answer.hits.map((hit) => {
        const twin = mate.get(hit.id);
        return element("li", { class: `row${twin ? "" : " alone"}`, "data-id": hit.id },
          element("span", { class: "rank number" }, String(hit.rank)),
          button(title(hit), () => difference(hit.id, leftAt, rightAt, left.index, right.index), { class: "opener" }),
          isRight ? moved(twin ? twin.rank - hit.rank : null) : null,
          element("span", { class: "score number" }, hit.score.toFixed(2)));
      })));
    const lines = drawn("svg", { class: "lines", "aria-hidden": "true" });
    const columns = element("div", { class: "columns" }, column(left, rightAt, false), lines, column(right, leftAt, true));
    body.replaceChildren(columns);
    watching?.disconnect();
    watching = new ResizeObserver(() => connect(columns, lines, shared));
    watching.observe(columns);
  }

  return {
    node: element("div", { class: "view compare" }, element("h1", { class: "unseen" }, "Compare"), box.node, summary, body),
    update() {
      if (document.activeElement !== box.input) box.input.value = app.state.q;
      selects[0].value = app.state.index;
      selects[1].value = other();
      run();
    },
    leave() { box.stop(); running?.abort(); running = null; watching?.disconnect(); },
  };
}

// A line from every document on the left to itself on the right.
function connect(columns, lines, shared) {
  const frame = lines.getBoundingClientRect();
  const middles = [...columns.querySelectorAll(".rows")].map((rows) => new Map([...rows.children].map((row) => {
    const place = row.getBoundingClientRect();
    return [row.dataset.id, (place.top + place.bottom) / 2 - frame.top];
  })));
  lines.setAttribute("viewBox", `0 0 ${frame.width || 1} ${frame.height || 1}`);
  lines.replaceChildren(...shared.map(({ id }) => {
    const [from, to] = middles.map((side) => side.get(id));
    const half = frame.width / 2;
    return drawn("path", { d: `M0 ${from} C${half} ${from} ${half} ${to} ${frame.width} ${to}`,
      class: Math.abs(from - to) < 1 ? "level" : from > to ? "up" : "down" });
  }));
}

// Which terms made the difference, largest first.
function difference(id, leftAt, rightAt, leftName, rightName) {
  const sides = [leftAt.get(id), rightAt.get(id)];
  const terms = new Map();
  sides.forEach((hit, side) => {
    for (const one of hit?.explain?.terms ?? []) {
      const row = terms.get(one.term) ?? [0, 0];
      row[side] = one.score;
      terms.set(one.term, row);
    }
  });
  const rows = [...terms].sort((a, b) => Math.abs(b[1][1] - b[1][0]) - Math.abs(a[1][1] - a[1][0]));
  const cell = (number) => element("td", { class: "number" }, number ? number.toFixed(2) : "–");
  const signed = (number) => element("td", { class: "number" }, `${number > 0 ? "+" : number < 0 ? "−" : ""}${Math.abs(number).toFixed(2)}`);
  const total = sides.map((hit) => hit?.score ?? 0);
  dialog("What made the difference",
    element("p", {}, ...title(sides[0] ?? sides[1])),
    sides.every(Boolean) ? null : element("p", { class: "notice" }, "Only one side found this document among its best."),
    element("table", { class: "terms" },
      element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Term"),
        ...[leftName, rightName, "Difference"].map((one) => element("th", { scope: "col", class: "number" }, one)))),
      element("tbody", {}, ...rows.map(([term, [a, b]]) => element("tr", {},
        element("th", { scope: "row" }, term ?? "?"), cell(a), cell(b), signed(b - a)))),
      element("tfoot", {}, element("tr", {}, element("th", { scope: "row" }, "Score"),
        cell(total[0]), cell(total[1]), signed(total[1] - total[0])))));
}
