// Filters over the declared fields of an index. The address keeps them as text: values of a keyword, one
// each; "from..to" for a number or a date, either end may be empty; true or false.

import { button, element } from "./dom.js";

const RANGED = { int: "number", float: "number", date: "date" };

// The `filter` of a search, or undefined: what is malformed or of no declared field is left out.
export function wireFilter(filters, kinds) {
  const wire = {};
  for (const [name, values] of Object.entries(filters)) {
    const kind = kinds[name];
    if (kind === "keyword" && values.length) wire[name] = values.length === 1 ? values[0] : values;
    else if (kind === "bool") wire[name] = values[0] === "true";
    else if (kind in RANGED) {
      const [from, to] = (values[0] ?? "").split("..");
      const read = (text) => (kind === "date" ? text : Number(text));
      const range = {};
      if (from) range.gte = read(from);
      if (to && kind === "date") range.lt = nextDay(to); // the day itself is meant as a whole
      else if (to) range.lte = read(to);
      if (Object.keys(range).length) wire[name] = range;
    }
  }
  return Object.keys(wire).length ? wire : undefined;
}

function nextDay(date) {
  const day = new Date(`${date}T00:00:00Z`);
  day.setUTCDate(day.getUTCDate() + 1);
  return day.toISOString().slice(0, 10);
}

// The form behind the button "Filters", or null where nothing is declared.
export function filterPanel(kinds, filters, onChange, { open = false } = {}) {
  const names = Object.keys(kinds).sort();
  if (!names.length) return null;
  const set = (name, values) => {
    const next = Object.assign(Object.create(null), filters); // a field may be called `constructor`
    if (values.length) next[name] = values;
    else delete next[name];
    onChange(next);
  };
  const chosen = (name) => (Object.hasOwn(filters, name) ? filters[name] : []);
  const used = names.filter((name) => chosen(name).length);
  return element("details", { class: "filters", open: open || used.length > 0 },
    element("summary", {}, used.length ? `Filters (${used.length})` : "Filters"),
    element("div", { class: "grid" }, ...names.map((name) => control(name, kinds[name], chosen(name), set)),
      used.length ? button("Clear", () => onChange({}), { class: "plain" }) : null));
}

function control(name, kind, values = [], set) {
  const id = `filter-${name}`;
  if (kind === "bool") {
    const choice = element("select", { id, onchange: (event) =>
      set(name, event.target.value ? [event.target.value] : []) },
    ...[["", "any"], ["true", "yes"], ["false", "no"]].map(([value, label]) =>
      element("option", { value, selected: value === (values[0] ?? "") }, label)));
    return element("div", {}, element("label", { for: id }, name), choice);
  }
  if (kind in RANGED) {
    const [from = "", to = ""] = (values[0] ?? "").split("..");
    const ends = [from, to].map((value, at) => element("input", {
      id: at ? `${id}-to` : id, type: RANGED[kind], step: kind === "float" ? "any" : null, value,
      "aria-label": `${name} ${at ? "to" : "from"}`,
      onchange: () => {
        const text = ends.map((end) => end.value).join("..");
        set(name, text === ".." ? [] : [text]);
      },
    }));
    return element("fieldset", {}, element("legend", {}, name),
      element("span", { class: "range" }, ends[0], element("span", { "aria-hidden": "true" }, "to"), ends[1]));
  }
  const box = element("input", { id, type: "text", value: values.join(", "), autocomplete: "off",
    spellcheck: "false", placeholder: "any; a, b for either", onchange: (event) =>
      set(name, event.target.value.split(",").map((one) => one.trim()).filter(Boolean)) });
  return element("div", {}, element("label", { for: id }, name), box);
}
