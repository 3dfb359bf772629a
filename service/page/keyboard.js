// The page by keyboard. Single keys can be switched off, for those whom they get in the way of.

import { dialog, element } from "./dom.js";

const KEYS = [
  ["/", "go to the search box"],
  ["↓ ↑ or j k", "next, previous hit"],
  ["Enter", "explain the hit, and close it again"],
  ["l", "literal matches only, and back"],
  ["f", "filters"],
  ["1 2 3", "search, compare, health"],
  ["Esc", "close; back to the search box"],
  ["?", "these keys"],
];
const OFF = "lsr-keys-off";

function singleKeysOff() {
  try { return localStorage.getItem(OFF) === "1"; } catch { return false; }
}

export function showHelp() {
  const box = element("input", { type: "checkbox", id: "keys-on", checked: !singleKeysOff(),
    onchange: () => { try { localStorage.setItem(OFF, box.checked ? "0" : "1"); } catch { /* stays on */ } } });
  dialog("Keyboard", element("dl", { class: "keys" }, ...KEYS.flatMap(([keys, does]) =>
    [element("dt", {}, element("kbd", {}, keys)), element("dd", {}, does)])),
  element("p", {}, box, " ", element("label", { for: "keys-on" }, "Single keys work outside of inputs")));
}

const openers = () => [...document.querySelectorAll(".opener")];

function step(by) {
  const all = openers();
  const at = all.indexOf(document.activeElement?.closest(".hit, .row")?.querySelector(".opener"));
  const next = at + by;
  if (next < 0) document.getElementById("q")?.focus();
  else all[Math.min(next, all.length - 1)]?.focus();
}

function escape() {
  const open = document.activeElement?.closest(".hit")?.querySelector(".opener[aria-expanded=true]");
  if (open) {
    open.click();
    open.focus();
  } else {
    document.getElementById("q")?.focus();
  }
}

export function listen(app) {
  const views = { 1: "search", 2: "compare", 3: "health" };
  const single = {
    "/": () => { const box = document.getElementById("q"); box?.focus(); box?.select(); },
    j: () => step(1),
    k: () => step(-1),
    l: () => document.getElementById("literal")?.click(),
    f: () => document.querySelector(".filters summary")?.click(),
    "?": showHelp,
  };
  document.addEventListener("keydown", (event) => {
    if (event.metaKey || event.ctrlKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    const typing = event.target.closest?.("input, textarea, select");
    const inBox = event.target.id === "q";
    let done = true;
    if (event.key === "ArrowDown" && (inBox || event.target.closest?.(".hits"))) step(1);
    else if (event.key === "ArrowUp" && event.target.closest?.(".hits")) step(-1);
    else if (event.key === "Escape" && !inBox) escape();
    else if (event.key === "Escape") done = true; // a browser would empty the box
    else if (!typing && !singleKeysOff() && single[event.key]) single[event.key]();
    else if (!typing && !singleKeysOff() && app.view && views[event.key]) app.go({ view: views[event.key] }, { push: true });
    else done = false;
    if (done) event.preventDefault();
  });
}
