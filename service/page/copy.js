// The search on the screen as a command or a program. A key is named, never written out.

import { asJson, storedKey } from "./api.js";
import { announce, button, dialog, element } from "./dom.js";

const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

export function asCurl(path, body) {
  const key = storedKey() ? ` -H "X-API-Key: $LSR_API_KEY"` : "";
  return `curl -s ${quoted(location.origin + path)}${key} \\\n`
    + `  -H 'Content-Type: application/json' \\\n  -d ${quoted(asJson(body))}`;
}

// JSON as Python spells it.
function literal(value) {
  if (value === true) return "True";
  if (value === false) return "False";
  if (value === null) return "None";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([key, one]) => `${literal(key)}: ${literal(one)}`).join(", ")}}`;
  }
  return asJson(value);
}

export function asPython(path, body) {
  const key = storedKey() ? `, "X-API-Key": os.environ["LSR_API_KEY"]` : "";
  return `import json\n${key ? "import os\n" : ""}import urllib.request\n\n`
    + `request = urllib.request.Request(\n    ${JSON.stringify(location.origin + path)},\n`
    + `    json.dumps(${literal(body)}).encode(),\n`
    + `    {"Content-Type": "application/json"${key}},\n)\n`
    + `with urllib.request.urlopen(request) as answer:\n    for hit in json.load(answer)["hits"]:\n`
    + `        print(hit["rank"], hit["id"], hit["score"])\n`;
}

// Buttons that copy what `request()` -> [path, body] says now.
export function copyButtons(request) {
  const copying = (name, write) => button(name, async (event) => {
    const text = write(...request());
    try {
      await navigator.clipboard.writeText(text);
      announce(`Copied as ${name}`);
      const pressed = event.target;
      pressed.textContent = "Copied";
      setTimeout(() => { pressed.textContent = name; }, 1500);
    } catch {
      // No clipboard without a secure address: show it, to be copied by hand.
      dialog(`As ${name}`, element("pre", { tabindex: "0" }, text));
    }
  }, { class: "plain", "aria-label": `Copy as ${name}` });
  return element("span", { class: "copies" }, element("span", { class: "quiet" }, "Copy as "),
    copying("curl", asCurl), copying("Python", asPython));
}
