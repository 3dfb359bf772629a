// The page: reads its address, shows the view it names, and writes what changes back to the address.

import { get, retryIn, storedKey } from "./api.js";
import { compareView } from "./compare.js";
import { element } from "./dom.js";
import { healthView } from "./health.js";
import { listen, showHelp } from "./keyboard.js";
import { askKey, problemPanel } from "./problems.js";
import { searchView } from "./search.js";
import { address, readState } from "./state.js";

const main = document.getElementById("main");
const VIEWS = { search: searchView, compare: compareView, health: healthView };
const TITLES = { search: "Search", compare: "Compare", health: "Health" };

const app = {
  state: readState(),
  indexes: [],
  view: null,
  // Change the state and the address. `push` makes a step that "back" returns from; what is only being typed
  // (`typing`) stands in the address but is no step until Enter or until something is done with it.
  go(patch, { push = false, typing = false } = {}) {
    const viewChanged = patch.view !== undefined && patch.view !== app.state.view;
    const before = address(app.state);
    app.state = { ...app.state, ...patch };
    step(before, address(app.state), { push, typing });
    if (viewChanged) show();
    else app.view?.update();
  },
};

let settled = null; // the address that "back" returns to, while another query is being typed

function step(before, to, { push, typing }) {
  settled ??= before;
  const typed = before !== settled;
  if (push && to !== settled) {
    if (typed) history.replaceState(null, "", settled);
    if (typed && to !== before) history.pushState(null, "", before);
    history.pushState(null, "", to);
  } else {
    history.replaceState(null, "", to);
  }
  if (push || !(typing || typed)) settled = to;
}

function show() {
  app.view?.leave();
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === app.state.view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${TITLES[app.state.view]} · lsr-search`;
  app.view = VIEWS[app.state.view](app);
  main.replaceChildren(app.view.node);
  app.view.update();
}

let starting = null;

async function start() {
  clearTimeout(starting);
  const before = JSON.stringify(app.indexes);
  try {
    app.indexes = (await get("/v1/indexes")).indexes;
  } catch (error) {
    app.view?.leave();
    app.view = null;
    const again = retryIn(error);
    main.replaceChildren(problemPanel(error, start, { again }));
    if (again !== null) starting = setTimeout(start, again);
    return;
  }
  if (!app.indexes.length) {
    app.view?.leave();
    app.view = null;
    main.replaceChildren(element("p", { class: "notice" }, storedKey()
      ? "This server serves no index that this key may see." : "This server serves no index yet."));
    return;
  }
  const ready = app.indexes.find((one) => one.state === "ready") ?? app.indexes[0];
  if (!app.state.index) app.state.index = ready.name;
  if (app.view && JSON.stringify(app.indexes) === before) {
    app.view.update();
    return;
  }
  show();
  if (matchMedia("(hover: hover)").matches) document.getElementById("q")?.focus();
}

addEventListener("popstate", () => {
  const before = app.state.view;
  app.state = readState();
  app.state.index ??= app.indexes[0]?.name;
  settled = address(app.state);
  if (app.state.view !== before) show();
  else app.view?.update({ moved: true });
});

for (const link of document.querySelectorAll("[data-view]")) {
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey || !app.view) return;
    event.preventDefault();
    app.go({ view: link.dataset.view }, { push: true });
  });
}

const key = document.getElementById("key");
const labelKey = () => { key.textContent = storedKey() ? "Key set" : "Key"; };
key.addEventListener("click", () => askKey(() => { labelKey(); start(); }));
document.getElementById("help").addEventListener("click", showHelp);
labelKey();
listen(app);
start();
