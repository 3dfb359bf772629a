// A document that is not where somebody expects it: what it scores, what it lacks, what would lift it.

import { at, post } from "./api.js";
import { explanationTable } from "./bar.js";
import { dialog, element } from "./dom.js";
import { problemPanel } from "./problems.js";

const LISTED = 8;

// A line below the hits; `asked()` -> [index, { query, filter, k }] says what they are the answer to.
export function whyForm(asked) {
  const input = element("input", { type: "text", "aria-label": "Id of a document", placeholder: "document id",
    autocomplete: "off", spellcheck: "false", required: true });
  return element("form", { class: "why", onsubmit: (event) => {
    event.preventDefault();
    if (input.value.trim()) explain(input.value.trim(), ...asked());
  } }, element("span", { class: "quiet" }, "Another document was expected?"), input,
  element("button", { type: "submit" }, "Why not?"));
}

async function explain(id, index, body) {
  const place = element("div", { class: "told", "aria-live": "polite" }, element("p", { class: "quiet" }, "Asking …"));
  dialog(`Why is “${id}” where it is?`, place);
  try {
    const answer = await post(at(index, `/explain/${encodeURIComponent(id)}`), body);
    place.replaceChildren(...told(answer, body.k));
  } catch (error) {
    place.replaceChildren(problemPanel(error, () => { place.closest("dialog").close(); explain(id, index, body); }));
  }
}

function told(answer, k) {
  const { rank, score, cut, gap, lift } = answer;
  const nodes = [element("p", {}, element("strong", {}, rank ? `Rank ${rank}` : "Not among the first thousand"),
    `, with a score of ${score.toFixed(2)}. `,
    answer.allowed ? null : "The filter leaves it out. ",
    gap !== null && cut ? `The document at rank ${k} has ${cut.score.toFixed(2)}: ${gap.toFixed(2)} are missing.` : null)];
  if (answer.explain.terms.length || answer.missing.length) {
    nodes.push(explanationTable(answer.explain, answer.missing));
  }
  if (lift?.terms.length) {
    nodes.push(element("h3", {}, "Each of these alone would bring it there"), element("ul", { class: "lifts" },
      ...lift.terms.slice(0, LISTED).map((one) => element("li", {}, element("strong", {}, one.term ?? `term ${one.index}`),
        ` with a weight of ${one.weight.toFixed(3)}`, one.plausible ? null : ", more than any document here has"))));
  } else if (lift?.together) {
    nodes.push(element("p", {}, `Together, these would: ${lift.together.join(", ")}.`));
  }
  if (lift) nodes.push(element("p", { class: "quiet" }, lift.note));
  return nodes;
}
