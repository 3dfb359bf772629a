// What a hit shows of its document: a title, a snippet, the spans that explain its score.

import { asJson } from "./api.js";
import { element } from "./dom.js";

const TITLES = ["title", "name", "headline", "subject"];

export const asText = (value) => (typeof value === "string" ? value : asJson(value));

// The field to call a document by, or null when only its id remains.
export function titleField(fields) {
  return TITLES.find((name) => typeof fields[name] === "string" && fields[name].trim()) ?? null;
}

// The field to quote: the longest text that is not the title.
export function bodyField(fields) {
  const title = titleField(fields);
  const texts = Object.keys(fields).filter((name) => name !== title && typeof fields[name] === "string");
  return texts.sort((a, b) => fields[b].length - fields[a].length)[0] ?? null;
}

export const EXCERPT = 280; // characters of a snippet

const WEAK = 0.03; // of the score: a word that brings less is marked so faintly that others are seen first

const highlightOf = (hit, field) => hit.highlights?.find((one) => one.field === field);

// What in `field` explains the score, first spans first, none overlapping: of two, the earlier is kept.
// `hit.origins` are spans that gave the document terms it does not say, once somebody asked for them.
export function spansOf(hit, field) {
  const kept = [];
  const shares = new Map((hit.explain?.terms ?? []).map((one) => [one.term, one.share]));
  const learned = (hit.origins ?? []).filter((span) => span.field === field && span.origin === "expansion");
  const given = [...(highlightOf(hit, field)?.spans ?? []), ...learned];
  for (const span of given.sort((a, b) => a.start - b.start || b.end - a.end)) {
    if (span.start < (kept.at(-1)?.end ?? 0)) continue;
    const share = span.terms.reduce((sum, term) => sum + (shares.get(term) ?? 0), 0);
    kept.push({ ...span, weak: span.origin === "literal" && shares.size > 0 && share < WEAK });
  }
  return kept;
}

// Nodes for characters [from, to) of `points`, in which spans are marked. Offsets count characters as
// the server does, so `points` is Array.from(text): one entry a character, not a half of one.
export function marked(points, spans, from = 0, to = points.length) {
  const nodes = [];
  let at = from;
  for (const span of spans) {
    if (span.start < at || span.end > to) continue; // cut in two by the excerpt
    nodes.push(points.slice(at, span.start).join(""));
    nodes.push(element("mark", {
      class: span.origin + (span.weak ? " weak" : ""),
      "data-terms": span.terms.join(" "),
      title: span.origin === "expansion" ? `explains ${span.terms.join(", ")}` : null,
    }, points.slice(span.start, span.end).join("")));
    at = span.end;
  }
  nodes.push(points.slice(at, to).join(""));
  return nodes;
}

// Where the hit's passage begins in a field; its own offsets count all fields that were read. It may run
// on into the next one, and one that begins with the title begins the field too.
function passageStart(hit, field) {
  const begin = Array.from(hit.passage?.text ?? "").slice(0, 40).join("");
  const units = hit.fields[field].indexOf(begin);
  return units > 0 ? Array.from(hit.fields[field].slice(0, units)).length : 0;
}

// A paragraph of the document's main text: the server's excerpt, else the best passage's beginning.
export function snippet(hit) {
  const field = bodyField(hit.fields);
  if (field === null) return null;
  const points = Array.from(hit.fields[field]);
  const from = highlightOf(hit, field)?.start ?? passageStart(hit, field);
  const to = highlightOf(hit, field)?.end ?? Math.min(from + EXCERPT, points.length);
  return element("p", { class: "snippet", dir: "auto" }, from > 0 ? "… " : null,
    ...marked(points, spansOf(hit, field), from, to), to < points.length ? " …" : null);
}

// The title of a hit, marked; its id where it has none.
export function title(hit) {
  const field = titleField(hit.fields);
  return field === null ? [hit.id] : marked(Array.from(hit.fields[field]), spansOf(hit, field));
}
