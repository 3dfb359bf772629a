// One query against two indexes: both rankings side by side, lines between the same documents.

import { post, retryIn } from "./api.js";
import { explanationTable } from "./bar.js";
import { indexSelect, searchBox } from "./box.js";
import { announce, button, dialog, drawn, element, keepingFocus } from "./dom.js";
import { moved } from "./hits.js";
import { problemPanel } from "./problems.js";
import { asked, ofIndex } from "./state.js";
import { title } from "./texts.js";

export function compareView(app) {
  const other = () => app.state.other ?? app.indexes.find((one) => one.name !== app.state.index)?.name
    ?? app.state.index;
  const selects = [
    indexSelect("Left index", app.indexes, app.state.index, (index) => app.go({ ...ofIndex(index), other: other() }, { push: true })),
    indexSelect("Right index", app.indexes, other(), (name) => app.go({ other: name }, { push: true })),
  ];
  const box = searchBox({ value: app.state.q, selects, onQuery: (q, settled) => {
    app.go(q === app.state.q ? {} : asked(q), { push: settled, typing: !settled });
  } });
  const summary = element("div", { class: "status" });
  const body = element("div", { class: "results" });
  let running = null;
  let retrying = null;
  let watching = null;

  async function run() {
    running?.abort();
    clearTimeout(retrying);
    const mine = running = new AbortController();
    if (!app.state.q.trim()) {
      summary.replaceChildren();
      body.replaceChildren(element("div", { class: "start" },
        element("p", { class: "large" }, "One query, two rankings"),
        element("p", { class: "quiet" }, "Type a query to see which documents move, and which terms moved them.")));
      return;
    }
    try {
      const answer = await post("/v1/compare", { query: { text: app.state.q }, limit: app.state.k,
        a: { index: app.state.index, explain: true }, b: { index: other(), explain: true } }, { signal: mine.signal });
      if (running === mine) show(answer);
    } catch (error) {
      if (running !== mine || error.name === "AbortError") return;
      summary.replaceChildren();
      const again = retryIn(error);
      keepingFocus(body, () => problemPanel(error, run, { again }));
      if (again !== null) retrying = setTimeout(run, again);
    }
  }

  function show(answer) {
    const { a: left, b: right, overlap, rank_biased_overlap: biased } = answer;
    const leftAt = new Map(left.hits.map((hit) => [hit.id, hit]));
    const rightAt = new Map(right.hits.map((hit) => [hit.id, hit]));
    const shared = right.hits.filter((hit) => leftAt.has(hit.id));
    const told = `${overlap.both} of ${Math.max(left.hits.length, right.hits.length)} documents on both sides`;
    summary.replaceChildren(element("p", {}, element("strong", {}, told), element("span", { class: "quiet" },
      ` · agreement ${biased.value.toFixed(2)} of 1 (rank-biased overlap)`)));
    announce(told);
    const column = (side, mate, isRight) => element("section", { "aria-label": side.index },
      element("h2", {}, side.index, " ", element("span", { class: "quiet" },
        `${side.query.encoder.split("@")[0]} · generation ${side.generation}`)),
      element("ol", { class: "rows hits" }, ...side.hits.map((hit) => {
        const twin = mate.get(hit.id);
        return element("li", { class: `row${twin ? "" : " alone"}`, "data-id": hit.id },
          element("span", { class: "rank number" }, String(hit.rank)),
          button(title(hit), () => difference(answer, hit.id, leftAt, rightAt), { class: "opener", dir: "auto" }),
          isRight ? moved(twin ? twin.rank - hit.rank : null) : null,
          element("span", { class: "score number" }, hit.score.toFixed(2)));
      })));
    const lines = drawn("svg", { class: "lines", "aria-hidden": "true" });
    const columns = element("div", { class: "columns" }, column(left, rightAt, false), lines, column(right, leftAt, true));
    keepingFocus(body, () => columns);
    watching?.disconnect();
    watching = new ResizeObserver(() => connect(columns, lines, shared));
    watching.observe(columns);
  }

  return {
    node: element("div", { class: "view compare" }, element("h1", { class: "unseen" }, "Compare"), box.node, summary, body),
    update({ moved = false } = {}) {
      if (moved || document.activeElement !== box.input) box.show(app.state.q);
      selects[0].value = app.state.index;
      selects[1].value = other();
      run();
    },
    leave() { box.stop(); clearTimeout(retrying); running?.abort(); running = null; watching?.disconnect(); },
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

// Which terms made the difference. Scores of two encoders have no common unit, so what is compared is the
// share of the score that a term has on each side.
function difference(answer, id, leftAt, rightAt) {
  const [left, right] = [leftAt.get(id), rightAt.get(id)];
  const heading = element("p", { dir: "auto" }, ...title(left ?? right));
  if (!left || !right) {
    dialog("Found on one side", heading, explanationTable((left ?? right).explain));
    return;
  }
  const terms = answer.terms?.find((one) => one.id === id)?.terms ?? [];
  const percent = (share) => element("td", { class: "number" }, share ? `${(share * 100).toFixed(1)} %` : "–");
  const signed = ({ difference: by }) => element("td", { class: "number" },
    `${by > 0 ? "+" : by < 0 ? "−" : ""}${Math.abs(by * 100).toFixed(1)}`);
  dialog("What made the difference", heading,
    element("div", { class: "scrolled", tabindex: "0", role: "group", "aria-label": "Terms on both sides" },
      element("table", { class: "terms" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Share of the score"),
          ...[answer.a.index, answer.b.index, "Difference"].map((one) =>
            element("th", { scope: "col", class: "number" }, one)))),
        element("tbody", {}, ...terms.map((one) => element("tr", {},
          element("th", { scope: "row" }, one.term), percent(one.a), percent(one.b), signed(one)))),
        element("tfoot", {}, element("tr", {}, element("th", { scope: "row" }, "Score"),
          ...[left, right].map((hit) => element("td", { class: "number" }, hit.score.toFixed(2))))))));
}
