// The search view: one box; while one types, hits that explain themselves.

import { asJson, at, get, post, retryIn } from "./api.js";
import { indexSelect, searchBox } from "./box.js";
import { chips, editedTokens } from "./chips.js";
import { copyButtons } from "./copy.js";
import { announce, button, count, counted, element, keepingFocus, ms } from "./dom.js";
import { examples } from "./examples.js";
import { filterPanel, wireFilter } from "./filters.js";
import { hitItem, literalOnly } from "./hits.js";
import { problemPanel } from "./problems.js";
import { FIRST, asked, ofIndex } from "./state.js";
import { EXCERPT } from "./texts.js";
import { trace } from "./trace.js";
import { whyForm } from "./why.js";

const SLOW = 3000; // ms without an answer before the page says that it still waits
const MOST = 1000; // hits of one answer that the server gives

export function searchView(app) {
  const infos = new Map();
  const shown = {
    chips: element("div"), filters: element("div"), status: element("div", { class: "status" }),
    body: element("div", { class: "results" }),
  };
  const select = indexSelect("Index", app.indexes, app.state.index, (index) =>
    app.go(ofIndex(index), { push: true }));
  const box = searchBox({ value: app.state.q, selects: [select], onQuery: (q, settled) => {
    const patch = q !== app.state.q || app.state.like ? asked(q) : {};
    app.go(patch, { push: settled, typing: !settled });
  } });
  let running = null;
  let retrying = null;
  let answer = null;
  let terms = [];
  let read = null;
  let filtered = null;
  let allChips = false;
  let items = new Map(); // the hits on the screen by all that they show

  const infoOf = (index) => {
    if (!infos.has(index)) {
      infos.set(index, get(at(index)).catch((error) => {
        infos.delete(index);
        // A key that sees some documents only may not ask about all of them; it may search.
        if (error.status === 403) return summaryAsInfo(app.indexes.find((one) => one.name === index), error);
        throw error;
      }));
    }
    return infos.get(index);
  };

  function request(info, known) {
    const { state } = app;
    let query = { text: state.q };
    if (state.like) query = { like: state.like };
    else if (Object.keys(state.factors).length) query = { tokens: editedTokens(known, state.factors) };
    const body = { query, limit: Math.min(state.k, MOST), explain: true, count: "estimate" };
    const filter = wireFilter(state.filters, info.fields);
    if (filter) body.filter = filter;
    if (info.encoder) body.highlight = { fields: info.encoder.text_fields, max_chars: EXCERPT };
    return body;
  }

  // The query as weighted terms; known already when only its weights or the filters changed.
  async function readTerms(state, info, signal) {
    if (state.like || !info.encoder) return [];
    return read === reading(state) ? terms : termsOf(state, signal);
  }

  async function run() {
    running?.abort();
    clearTimeout(retrying);
    const { state } = app;
    const mine = running = new AbortController();
    const current = () => running === mine;
    const waiting = setTimeout(() => shown.body.setAttribute("aria-busy", "true"), 150);
    const slow = setTimeout(() => {
      shown.status.replaceChildren(element("p", { class: "quiet" }, "The server is taking its time …"));
      announce("Still searching");
    }, SLOW);
    try {
      // The start page tells what the index holds, which changes.
      if (!state.q.trim() && !state.like) infos.delete(state.index);
      const info = await infoOf(state.index);
      if (!current()) return;
      showFilters(info);
      if (!state.q.trim() && !state.like) {
        [answer, terms, read] = [null, [], null];
        showStart(info);
        return;
      }
      const reads = readTerms(state, info, mine.signal);
      // Edited weights are sent, so they must be known first; else both are asked for at once.
      const edited = Object.keys(state.factors).length > 0;
      const body = request(info, edited ? await reads : []);
      const [known, given] = await Promise.all([reads, post(at(state.index, "/search"), body, { signal: mine.signal })]);
      if (!current()) return;
      [answer, terms, read] = [given, known, reading(state)];
      app.lastRequest = [at(state.index, "/search"), body];
      if (given.generation !== info.generation) infos.delete(state.index); // it may have other fields by now
      showAnswer();
    } catch (error) {
      if (!current() || error.name === "AbortError") return;
      answer = null;
      if (read !== reading(state)) [terms, read] = [[], null]; // those of an older query
      showChips();
      shown.status.replaceChildren();
      const again = retryIn(error);
      keepingFocus(shown.body, () => problemPanel(error, run, { again }));
      if (again !== null) retrying = setTimeout(run, again);
    } finally {
      clearTimeout(waiting);
      clearTimeout(slow);
      if (current()) shown.body.removeAttribute("aria-busy");
    }
  }

  function showFilters(info) {
    const now = JSON.stringify([info.name, info.fields, app.state.filters]);
    if (now === filtered) return; // what somebody is filling in stays
    filtered = now;
    const wasOpen = shown.filters.querySelector("details")?.open;
    keepingFocus(shown.filters, () => filterPanel(info.fields, app.state.filters, (filters) =>
      app.go({ filters, k: FIRST }, { push: true }), { open: wasOpen }));
  }

  function showChips() {
    const { state } = app;
    if (state.like) {
      shown.chips.replaceChildren(element("p", { class: "chips" }, element("span", { class: "quiet" }, "More like "),
        element("span", { class: "chip" }, element("span", { class: "like" }, state.like),
          button("×", () => app.go({ like: null }, { push: true }), { "aria-label": "Stop looking for more like this" }))));
      return;
    }
    keepingFocus(shown.chips, () => terms.length ? chips(terms, state.factors, (factors) => app.go({ factors }, { push: true }),
      { all: allChips, onAll: () => { allChips = true; showChips(); } }) : null);
  }

  function showStart(info) {
    shown.chips.replaceChildren();
    shown.status.replaceChildren();
    const tries = element("div", { class: "tries" });
    shown.body.replaceChildren(element("div", { class: "start" },
      element("p", { class: "large" }, counted(info.n_docs, "document"), " in ", element("strong", {}, info.name)),
      element("p", { class: "quiet" }, info.encoder ? `read by ${info.encoder.name}` : "vectors only", " · ",
        info.n_postings ? `${counted(info.n_postings, "posting")} · ` : "", `generation ${info.generation}`), tries));
    if (info.encoder && info.n_terms) {
      examples(info).then((queries) => {
        if (!queries.length) return;
        tries.append(element("h2", {}, "Try"), element("ul", {}, ...queries.map((q) =>
          element("li", {}, button(q, () => { box.show(q); app.go({ q }, { push: true }); }, { class: "plain", dir: "auto" })))));
      }, () => { /* only a courtesy: the search itself will tell what is wrong */ });
    }
    announce(`${counted(info.n_docs, "document")} in ${info.name}`);
  }

  function showAnswer() {
    const { state } = app;
    showChips();
    const explained = answer.hits.length > 0 && answer.hits.every((hit) => hit.explain);
    const origins = explained && answer.hits.some((hit) =>
      hit.explain.terms.some((one) => one.origin === "expansion"));
    const literal = state.literal && origins;
    const hits = literal ? literalOnly(answer.hits) : answer.hits;
    const times = answer.timing_ms ?? {};
    const split = Object.entries(times).filter(([stage, value]) => stage !== "total" && value >= 0.05)
      .map(([stage, value]) => `${stage} ${value.toFixed(1)}`).join(" · ");
    const found = foundWords(hits.length, answer.total);
    keepingFocus(shown.status, () => [
      element("p", {}, element("strong", {}, found), " ",
        element("span", { class: "quiet" }, `in ${ms(times.total ?? 0)}`),
        element("span", { class: "quiet more" }, ` · ${split} · ${answer.mode} · generation ${answer.generation}`)),
      element("div", { class: "actions" },
        origins ? button("Literal only", () => app.go({ literal: !app.state.literal }),
          { id: "literal", class: "plain", "aria-pressed": String(literal), title: "Leave out what expansion added" }) : null,
        copyButtons(() => app.lastRequest))]);
    announce(hits.length ? found : "No hits");
    const context = {
      highest: hits[0]?.score ?? 0,
      trace: (hit) => trace(state.index, hit),
      onLike: (id) => {
        box.show("");
        app.go({ like: id, q: "", factors: {}, literal: false, k: FIRST }, { push: true });
      },
      order: new Map(terms.map(({ term }, place) => [term, place])),
      move: literal ? (hit) => hit.was - hit.rank : undefined,
    };
    keepingFocus(shown.body, () => [
      ...answer.warnings.filter(() => hits.length > 0).map((one) => element("p", { class: "notice" }, one.message)),
      literal ? element("p", { class: "notice" }, `Ordered by literal matches alone, among the ${hits.length} hits shown.`) : "",
      hits.length ? element("ol", { class: "hits" }, ...itemsOf(hits, context, literal)) : noHits(),
      hits.length === state.k && state.k < MOST
        ? button("More hits", () => app.go({ k: Math.min(state.k + 2 * FIRST, MOST) }), { class: "more-hits" }) : "",
      whyForm(() => {
        const { query, filter, limit } = app.lastRequest[1];
        return [state.index, { query, k: limit, filter }];
      })]);
  }

  // A hit that is on the screen already stays as it is, open where somebody opened it.
  function itemsOf(hits, context, literal) {
    const before = items;
    const same = asJson([app.state.index, literal, context.highest, terms.map(({ term }) => term)]);
    const keys = hits.map((hit) => same + asJson({ ...hit, origins: undefined }));
    items = new Map(hits.map((hit, at) => [keys[at], before.get(keys[at]) ?? hitItem(hit, context)]));
    return items.values();
  }

  function noHits() {
    const { state } = app;
    const { filter } = app.lastRequest[1];
    const reasons = answer.warnings.map((one) => element("p", {}, one.message));
    return element("div", { class: "start" }, element("p", { class: "large" }, "No hits"),
      ...(reasons.length ? reasons : [element("p", {}, "No document shares a term with this query",
        filter ? " and passes the filters." : ".")]),
      filter ? button("Search without filters", () => app.go({ filters: {} }, { push: true })) : null,
      Object.keys(state.factors).length
        ? button("Undo the changes of terms", () => app.go({ factors: {} }, { push: true })) : null);
  }

  return {
    node: element("div", { class: "view search" }, element("h1", { class: "unseen" }, "Search"),
      box.node, shown.chips, shown.filters, shown.status, shown.body),
    update({ moved = false } = {}) {
      if (moved || document.activeElement !== box.input) box.show(app.state.q);
      select.value = app.state.index;
      run();
    },
    leave() {
      box.stop();
      clearTimeout(retrying);
      running?.abort();
      running = null;
    },
  };
}

function summaryAsInfo(summary, error) {
  if (!summary) throw error;
  const encoder = summary.encoder ? { name: summary.encoder.split("@")[0], text_fields: ["title", "text"] } : null;
  return { ...summary, encoder, fields: {} };
}

const RELATIONS = { eq: "", gte: "at least ", estimate: "about " };

function foundWords(shown, total) {
  if (!total) return counted(shown, "hit");
  return `${count(shown)} of ${RELATIONS[total.relation]}${counted(Math.max(total.value, shown), "document")}`;
}

const reading = (state) => JSON.stringify([state.index, state.q]);

// The terms that the encoder of the index reads in the query, heaviest first; those that a network added
// to the words of the query are marked as learned.
async function termsOf(state, signal) {
  const { strategy, results: [read] } = await post("/v1/encode",
    { index: state.index, texts: [state.q], as: "query" }, { signal });
  const said = state.q.toLowerCase();
  return read.tokens.map(({ term, weight }) =>
    ({ term, weight, learned: strategy === "model" && !said.includes(term.replace("##", "")) }));
}
