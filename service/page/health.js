// The health view: is it ready, what does it hold, how quick and how good has it been.

import { ProblemError, at, get } from "./api.js";
import { lineChart } from "./chart.js";
import { bytes, count, element, ms } from "./dom.js";
import { problemPanel } from "./problems.js";

const EVERY = 10_000; // ms between looks
const MINUTES = 60; // of the history that is drawn

export function healthView(app) {
  const body = element("div", { class: "results" });
  let timer = null;
  let left = false;

  async function look() {
    clearTimeout(timer);
    try {
      const [info, { indexes }, history, running] = await Promise.all([
        get("/v1/info"), get("/v1/indexes"), get("/v1/health-history").catch(without),
        get("/v1/tasks?limit=8").catch(without)]);
      const details = await Promise.all(indexes.map((one) =>
        (one.state === "ready" ? get(at(one.name)).catch(without) : null)));
      if (left) return;
      // Tables that are open stay so: what is read is not taken away.
      if (!body.querySelector("details[open]")) {
        body.replaceChildren(server(info, indexes),
          ...indexes.map((one, number) => card(one, details[number], history)),
          ...ofAliases(indexes, history),
          ...(running?.tasks.length ? [tasks(running.tasks)] : []));
      }
    } catch (error) {
      if (left) return;
      body.replaceChildren(problemPanel(error, look, { again: EVERY }));
    }
    timer = setTimeout(look, EVERY);
  }

  return {
    node: element("div", { class: "view health" }, element("h1", {}, "Health"), body),
    update: look,
    leave() { left = true; clearTimeout(timer); },
  };
}

// What a key may not see, or what is being opened, is left out; the rest is shown.
function without(error) {
  if (error instanceof ProblemError) return null;
  throw error;
}

function server(info, indexes) {
  const ready = indexes.filter((one) => one.state === "ready").length;
  return element("p", { class: ready === indexes.length ? "notice good" : "notice failed" },
    element("strong", {}, ready === indexes.length ? "Ready. " : "Not ready. "),
    `${ready} of ${indexes.length} indexes are open · ${info.name} ${info.version}`);
}

function card(summary, info, history) {
  const facts = info ? [
    ["Documents", count(info.n_docs)], ["Generation", String(info.generation)],
    ["Encoder", info.encoder?.name ?? "none"], ["On disk", bytes(info.segment_bytes + info.catalog_bytes)],
    ["Segments", count(info.n_segments)], ["Pending", count(info.n_pending)],
    ["Deleted", count(info.n_deleted)],
  ] : [["State", summary.state]];
  return element("section", { class: "card" }, element("h2", {}, summary.name),
    element("dl", { class: "facts" }, ...facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
    history ? element("div", { class: "charts" }, ...charts(summary.name, history)) : null);
}

function progress({ finished, details, progress: far }) {
  if (finished && details?.indexed !== undefined) {
    return `${count(details.indexed)} indexed, ${count(details.rejected)} rejected`
      + (details.empty ? `, ${count(details.empty)} empty` : "");
  }
  if (!far || finished) return "";
  return `${count(far.done)}${far.total ? ` of ${count(far.total)}` : ""}`
    + (far.eta_s ? ` · ${Math.ceil(far.eta_s)} s left` : "");
}

function tasks(newest) {
  const heads = ["Task", "Index", "State", "Progress"];
  return element("section", { class: "card" }, element("h2", {}, "Latest tasks"),
    element("div", { class: "scrolled", tabindex: "0", role: "group", "aria-label": "Latest tasks" },
      element("table", { class: "terms" },
        element("thead", {}, element("tr", {}, ...heads.map((one) => element("th", { scope: "col" }, one)))),
        element("tbody", {}, ...newest.map((task) => element("tr", { class: `task-${task.state}` },
          element("th", { scope: "row" }, `${task.id} ${task.kind}`), element("td", {}, task.index ?? ""),
          element("td", {}, task.error ? `${task.state}: ${task.error.detail}` : task.state),
          element("td", { class: "number" }, progress(task))))))));
}

function charts(name, history) {
  const minutes = history.minutes.slice(-MINUTES);
  // The minute that still runs would look like a fall.
  const whole = minutes.length > 1 ? minutes.filter((one) => !one.unfinished) : minutes;
  const of = (key) => minutes.map((one) => [one.at, one.indexes[name]?.[key] ?? null]);
  const points = history.effectiveness.filter((one) => one.index === name);
  const drawings = minutes.some((one) => one.indexes[name]?.searches) ? [
    lineChart({ label: "Latency", format: ms, series: [
      { name: "p50", points: of("p50_ms") }, { name: "p95", points: of("p95_ms") }, { name: "p99", points: of("p99_ms") }] }),
    lineChart({ label: "Searches a minute", format: (value) => count(Math.round(value)),
      series: [{ name: "all", points: whole.map((one) => [one.at, one.indexes[name]?.searches ?? 0]) },
        { name: "without hits", points: whole.map((one) => {
          const minute = one.indexes[name];
          return [one.at, minute ? Math.round(minute.searches * minute.zero_hit_share) : 0];
        }) }] }),
  ] : [element("p", { class: "quiet" }, "No searches in the last hour.")];
  return [...drawings, ...effectiveness(points)];
}

function effectiveness(points) {
  return [...new Set(points.map((one) => one.measure))].map((measure) =>
    lineChart({ label: "Effectiveness", fromZero: false, format: (value) => value.toFixed(3),
      series: [{ name: measure, points: points.filter((one) => one.measure === measure).map((one) => [one.at, one.value]) }] }));
}

// Judged queries may bear the name of an alias: its line goes on when it is pointed to another index.
function ofAliases(indexes, history) {
  const points = history?.effectiveness ?? [];
  const names = [...new Set(points.map((one) => one.index))].filter((name) => !indexes.some((one) => one.name === name));
  return names.map((name) => element("section", { class: "card" }, element("h2", {}, name),
    element("div", { class: "charts" }, ...effectiveness(points.filter((one) => one.index === name)))));
}
