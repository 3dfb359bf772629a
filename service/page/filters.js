// Filters over the declared fields of an index. The address keeps them as text: values of a keyword, one
// each; "from..to" for a number or a day, either end may be empty; true or false.

import { button, element } from "./dom.js";

const RANGED = { int: "number", float: "number", date: "date" };

const LAST_DAY = "9999-12-31"; // that the server knows

// Whether one end of a range, never empty, is what its kind calls a value.
const VALUES = {
  int: (text) => /^[+-]?\d{1,19}$/.test(text) && BigInt.asIntN(64, whole(text)) === whole(text),
  float: (text) => /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) && Number.isFinite(Number(text)),
  date: (text) => /^(?!0000)\d{4}-\d\d-\d\d$/.test(text) && dayAfter(text, 0) === text, // no 30th of February
};

const whole = (text) => BigInt(text.replace("+", ""));

// `filters` without what is malformed or of no declared field: a link may hold anything.
export function meantFilters(filters, kinds) {
  const meant = Object.create(null); // a field may be called `constructor`
  for (const [name, values] of Object.entries(filters)) {
    const kind = Object.hasOwn(kinds, name) ? kinds[name] : null;
    if (kind === "keyword" && values.length) meant[name] = values;
    else if (kind === "bool" && ["true", "false"].includes(values[0])) meant[name] = [values[0]];
    else if (kind in RANGED && values.length) {
      const ends = values[0].split("..");
      const filled = ends.filter(Boolean);
      if (ends.length === 2 && filled.length && filled.every(VALUES[kind])) meant[name] = [values[0]];
    }
  }
  return meant;
}

// The `filter` of a search, or undefined where nothing is meant.
export function wireFilter(filters, kinds) {
  const wire = Object.create(null);
  for (const [name, values] of Object.entries(meantFilters(filters, kinds))) {
    const kind = kinds[name];
    if (kind === "keyword") wire[name] = values.length === 1 ? values[0] : values;
    else if (kind === "bool") wire[name] = values[0] === "true";
    else wire[name] = wireRange(kind, ...values[0].split(".."));
  }
  return Object.keys(wire).length ? wire : undefined;
}

function wireRange(kind, from, to) {
  const read = { int: whole, float: Number, date: (text) => text }[kind];
  const range = {};
  if (from) range.gte = read(from);
  if (to && kind !== "date") range.lte = read(to);
  else if (to === LAST_DAY) range.lte = `${to}T23:59:59.999999Z`;
  else if (to) range.lt = dayAfter(to); // the day itself is meant as a whole
  return range;
}

function dayAfter(date, days = 1) {
  const day = new Date(`${date}T00:00:00Z`);
  if (Number.isNaN(day.getTime())) return null;
  day.setUTCDate(day.getUTCDate() + days);
  return day.toISOString().slice(0, 10);
}

// Values of a keyword as one line: commas part them, and quotes hold a value that has one.
function oneLine(values) {
  const quoted = (one) => '"' + one.replaceAll('"', '""') + '"';
  return values.map((one) => (/^$|^\s|\s$|^\x22|,/.test(one) ? quoted(one) : one)).join(", ");
}

function listed(line) {
  const parts = [...line.matchAll(/\s*(?:\x22((?:[^\x22]|\x22\x22)*)\x22\s*|([^,]*))(?:,|$)/g)];
  return parts.map(([, quoted, bare]) => quoted?.replaceAll('""', '"') ?? (bare.trim() || null))
    .filter((one) => one !== null);
}

// The form behind the button "Filters", or null where nothing is declared.
export function filterPanel(kinds, given, onChange, { open = false } = {}) {
  const names = Object.keys(kinds).sort();
  if (!names.length) return null;
  const filters = meantFilters(given, kinds);
  const set = (name, values) => {
    const next = Object.assign(Object.create(null), filters); // a field may be called `constructor`
    if (values.length) next[name] = values;
    else delete next[name];
    onChange(next);
  };
  const chosen = (name) => filters[name] ?? [];
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
  const box = element("input", { id, type: "text", value: oneLine(values), autocomplete: "off",
    spellcheck: "false", placeholder: 'any; a, "b, c" for either', onchange: (event) => set(name, listed(event.target.value)) });
  return element("div", {}, element("label", { for: id }, name), box);
}
