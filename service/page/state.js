// What the page shows is in its address, so that it can be shared, bookmarked and gone back to.
//
//   ?q=wing&index=papers&k=20&f.lang=en&f.year=1999..2005&w=wing:0&literal=1&view=compare&with=other

export const VIEWS = ["search", "compare", "health"];
export const FIRST = 10;

// What changes with the query, and with the index: nothing that was said of the last one holds of this one.
export const asked = (q) => ({ q, like: null, factors: Object.create(null), k: FIRST });
export const ofIndex = (index) => ({ index, filters: Object.create(null), factors: Object.create(null), like: null, k: FIRST });

export function readState(search = location.search) {
  const given = new URLSearchParams(search);
  const state = {
    view: VIEWS.includes(given.get("view")) ? given.get("view") : "search",
    q: given.get("q") ?? "",
    index: given.get("index"),
    other: given.get("with"),
    like: given.get("like"),
    k: Math.min(Math.max(Number.parseInt(given.get("k"), 10) || FIRST, 1), 1000),
    literal: given.get("literal") === "1",
    filters: Object.create(null), // of names that anybody may have typed
    factors: Object.create(null),
  };
  for (const [key, value] of given) {
    if (key.startsWith("f.")) (state.filters[key.slice(2)] ??= []).push(value);
    if (key === "w") {
      const colon = value.lastIndexOf(":");
      const factor = Number(value.slice(colon + 1));
      if (colon > 0 && factor >= 0 && factor <= 100) state.factors[value.slice(0, colon)] = factor;
    }
  }
  return state;
}

export function address(state) {
  const given = new URLSearchParams();
  if (state.view !== "search") given.set("view", state.view);
  if (state.q) given.set("q", state.q);
  if (state.index) given.set("index", state.index);
  if (state.other) given.set("with", state.other);
  if (state.k !== FIRST) given.set("k", state.k);
  if (state.view === "compare") return written(given); // which applies none of the rest
  if (state.like) given.set("like", state.like);
  if (state.literal) given.set("literal", "1");
  for (const [name, values] of Object.entries(state.filters)) {
    for (const value of values) given.append(`f.${name}`, value);
  }
  for (const [term, factor] of Object.entries(state.factors)) given.append("w", `${term}:${factor}`);
  return written(given);
}

function written(given) {
  const text = given.toString();
  return text ? `/?${text}` : "/";
}
