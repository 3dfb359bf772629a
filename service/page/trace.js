// Which words of a document gave it the terms that it does not say. An index built with --origins tells them
// with the hits; for others they are asked for when somebody looks closer, as a network reads the document again.

import { ProblemError, at, post } from "./api.js";

const MOST = 64; // terms that the server takes at once

// Put the spans into `hit.origins`; resolves to a sentence about them, or null where nothing changes.
export async function trace(index, hit) {
  const learned = (hit.explain?.terms ?? []).filter((one) => one.origin === "expansion");
  const known = (hit.highlights ?? []).some(({ spans }) => spans.some((one) => one.origin === "expansion"));
  if (!learned.length || known || hit.origins) return null;
  try {
    const terms = learned.slice(0, MOST).map((one) => one.index);
    hit.origins = (await post(at(index, `/origins/${encodeURIComponent(hit.id)}`), { terms })).spans;
    return hit.origins.length ? "Tinted: what the network read when it gave the document its learned terms." : null;
  } catch (error) {
    if (!(error instanceof ProblemError)) return null;
    return `Which words gave the learned terms cannot be told: ${error.message} ${error.problem.hint ?? ""}`;
  }
}
