// The health view: is it ready, what does it hold, how quick and how good has it been.

import { at, get } from "./api.js";
import { bytes, count, element } from "./dom.js";
import { problemPanel } from "./problems.js";

const EVERY = 5000; // ms between looks

export function healthView(app) {
  const body = element("div", { class: "results" });
  let timer = null;
  let left = false;

  async function look() {
    clearTimeout(timer);
    try {
      const [info, { indexes }] = await Promise.all([get("/v1/info"), get("/v1/indexes")]);
      app.indexes = indexes;
      const details = await Promise.all(indexes.map((one) => (one.state === "ready" ? get(at(one.name)) : null)));
      if (left) return;
      body.replaceChildren(server(info, indexes), ...indexes.map((one, number) => card(one, details[number])));
    } catch (error) {
      if (left) return;
      body.replaceChildren(problemPanel(error, look));
    }
    timer = setTimeout(look, EVERY);
  }

  return {
    node: element("div", { class: "view health" }, element("h1", {}, "Health"), body),
    update: look,
    leave() { left = true; clearTimeout(timer); },
  };
}

function server(info, indexes) {
  const ready = indexes.filter((one) => one.state === "ready").length;
  return element("p", { class: ready === indexes.length ? "notice good" : "notice failed" },
    element("strong", {}, ready === indexes.length ? "Ready. " : "Not ready. "),
    `${ready} of ${indexes.length} indexes are open · ${info.name} ${info.version}`);
}

function card(summary, info) {
  const facts = info ? [
    ["Documents", count(info.n_docs)], ["Generation", String(info.generation)],
    ["Deleted", count(info.n_deleted)], ["Not yet in a segment", count(info.n_pending)],
    ["Segments", count(info.n_segments)], ["On disk", bytes(info.segment_bytes + info.catalog_bytes)],
    ["Encoder", info.encoder?.name ?? "none"],
  ] : [["State", summary.state]];
  return element("section", { class: "card" }, element("h2", {}, summary.name),
    element("dl", { class: "facts" }, ...facts.map(([name, value]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, value)))));
}
