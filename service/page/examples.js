// Queries to begin with, from what the index holds: what some of its documents are called.

import { at, post } from "./api.js";
import { bodyField, titleField } from "./texts.js";

const SHOWN = 5;
const TERMS = 256;
const WORDS = 6;

// A query of term numbers from all over the vocabulary finds documents of any index, and only those that
// this key may see.
export async function examples(info) {
  const numbers = new Set();
  for (let one = 0; one < TERMS; one += 1) {
    numbers.add(Math.floor((one * info.n_terms) / TERMS));
    if (one < info.n_terms) numbers.add(one);
  }
  const vector = { indices: [...numbers], values: [...numbers].map(() => 1) };
  const { hits } = await post(at(info.name, "/search"), { query: { vector }, limit: 4 * SHOWN });
  const names = hits.map(({ fields }) => fields[titleField(fields) ?? bodyField(fields)]);
  const short = names.filter(Boolean).map((name) => name.trim().split(/\s+/u).slice(0, WORDS).join(" "))
    .map((name) => name.replace(/[\s\p{P}]+$/u, ""));
  return [...new Set(short.filter((name) => name.length > 2 && name.length < 90))].slice(0, SHOWN);
}
