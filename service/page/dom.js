// Making nodes. Text only ever becomes text nodes, so nothing in a document can act on the page.

function made(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

// element("p", { class: "quiet" }, "text", child, ...): attributes and children that are null are left out.
export const element = (name, attributes = {}, ...children) =>
  made(document.createElement(name), attributes, children);

// The same for a drawing.
export const drawn = (name, attributes = {}, ...children) =>
  made(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);

export const button = (label, onclick, attributes = {}) =>
  element("button", { type: "button", onclick, ...attributes }, label);

const grouped = new Intl.NumberFormat("en");
export const count = (number) => grouped.format(number);
export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// Milliseconds with about three digits.
export const ms = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

export function bytes(number) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (number >= 1000 && unit < units.length - 1) { number /= 1000; unit += 1; }
  return `${number >= 100 || unit === 0 ? Math.round(number) : number.toFixed(1)} ${units[unit]}`;
}

// Numbers rounded to hundredths such that what is shown adds up to the total that is shown: each is
// rounded down and the largest remainders get the hundredths that are left.
export function roundedParts(values, total) {
  const floors = values.map((value) => Math.floor(value * 100 + 1e-9));
  let left = Math.round(total * 100) - floors.reduce((sum, floor) => sum + floor, 0);
  const order = values.map((value, at) => [value * 100 - floors[at], at]).sort((a, b) => b[0] - a[0]);
  for (const [, at] of order) {
    if (left <= 0) break;
    floors[at] += 1;
    left -= 1;
  }
  return floors.map((hundredths) => (hundredths / 100).toFixed(2));
}

const CONTROLS = "button, input, select, summary, [tabindex]";
const nameOf = (node) => node.id || node.dataset.hit;

// Put the nodes that `make` returns in the place of what `holder` holds; they may be taken from there. The control that had the focus has it again: itself, the one
// of its name, or the one in its place.
export function keepingFocus(holder, make) {
  const held = document.activeElement !== holder && holder.contains(document.activeElement) ? document.activeElement : null;
  const place = held ? [...holder.querySelectorAll(CONTROLS)].indexOf(held) : -1;
  holder.replaceChildren(...[make()].flat().filter((node) => node !== null));
  if (!held) return;
  const controls = [...holder.querySelectorAll(CONTROLS)];
  const again = holder.contains(held) ? held
    : controls.find((one) => nameOf(held) && nameOf(one) === nameOf(held)) ?? controls[Math.min(place, controls.length - 1)];
  again?.focus({ preventScroll: true });
}

// Tell it to those who listen rather than look.
export function announce(text) {
  document.getElementById("said").textContent = text;
}

// A dialog over the page that goes when it is closed; focus returns to where it was.
export function dialog(title, ...children) {
  const closing = button("Close", () => shown.close(), { class: "plain" });
  const shown = element("dialog", { "aria-labelledby": "dialog-title" },
    element("header", {}, element("h2", { id: "dialog-title" }, title), closing), ...children);
  shown.addEventListener("close", () => shown.remove());
  shown.addEventListener("click", (event) => { if (event.target === shown) shown.close(); });
  document.body.append(shown);
  shown.showModal();
  return shown;
}
