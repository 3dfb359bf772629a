// Renders /openapi.json as a reference in which every request can be sent. Text only ever becomes text
// nodes, so nothing in an answer can act on the page; nothing is loaded from another host.

import { asJson, fromJson, storedKey } from "/page/api.js";
import { element } from "/page/dom.js";

const api = await (await fetch("/openapi.json")).json();

const resolved = (schema) =>
  schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema;

// A schema in a few words: "integer 1..1000", "list of string", "Vector or null".
function words(schema) {
  if (schema.$ref) return schema.$ref.split("/").pop();
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  const branches = schema.anyOf ?? (schema.type ? null : schema.oneOf);
  if (branches) return [...new Set(branches.map(words))].join(" or ");
  if (schema.type === "array") return `list of ${schema.items ? words(schema.items) : "anything"}`;
  if (schema.type === "object" && schema.additionalProperties instanceof Object) {
    return `object of ${words(schema.additionalProperties)}`;
  }
  return (schema.type ?? "anything") + range(schema);
}

// Bounds that a person would think of; those of the machine's numbers are left out.
function range({ minimum, maximum }) {
  const meant = (bound) => bound !== undefined && Math.abs(bound) < 2 ** 31;
  if (meant(minimum) && meant(maximum)) return ` ${minimum} to ${maximum}`;
  if (meant(minimum)) return ` from ${minimum}`;
  return meant(maximum) ? ` up to ${maximum}` : "";
}

// Text in which `code` is marked.
const prose = (text) => text.split("`").map((part, i) => (i % 2 ? element("code", {}, part) : part));

// The models a schema is made of, itself first, each once, in the order of their mention.
function models(schema, found = new Map()) {
  if (schema?.$ref) {
    const name = schema.$ref.split("/").pop();
    if (found.has(name)) return found;
    found.set(name, resolved(schema));
    models(resolved(schema), found);
  } else if (schema instanceof Object) {
    for (const part of Object.values(schema)) models(part, found);
  }
  return found;
}

function modelTables(schema) {
  return [...models(schema)].filter(([, model]) => model.properties).flatMap(([name, model]) => [
    element("h4", {}, name),
    model.description ? element("p", { class: "quiet" }, ...prose(model.description)) : null,
    element("table", {}, element("tbody", {}, ...Object.entries(model.properties).map(
      ([field, shape]) => element("tr", {},
        element("td", {}, element("code", {}, field)),
        element("td", {}, words(shape), "default" in shape && shape.default !== null
          ? `, default ${JSON.stringify(shape.default)}` : ""),
        element("td", {}, ...prose(shape.description ?? ""))),
    ))),
  ]).filter((node) => node !== null);
}

// What was typed, sent for real; the answer below with its status, time and id. A parameter that is left empty is
// not sent. `type` is that of the body, null where there is none.
function tryIt(method, path, operation, type, example) {
  const inputs = (operation.parameters ?? []).map((parameter) => {
    const input = element("input", { value: "", placeholder: parameter.name });
    return { ...parameter, input, label: element("label", {}, parameter.name, input) };
  });
  const body = type === null ? null
    : element("textarea", { rows: "8", spellcheck: "false", "aria-label": "Request body" });
  if (body) body.value = example;
  const status = element("p", { class: "quiet", role: "status" });
  const answer = element("pre", { hidden: "", tabindex: "0", "aria-label": "Answer" });
  const typed = (where) => inputs.filter((one) => one.in === where && (where === "path" || one.input.value !== ""));
  const address = () => {
    const built = typed("path").reduce(
      (soFar, { name, input }) => soFar.replace(`{${name}}`, encodeURIComponent(input.value)), path);
    const asked = new URLSearchParams(typed("query").map(({ name, input }) => [name, input.value])).toString();
    return asked ? `${built}?${asked}` : built;
  };
  const headers = () => Object.fromEntries([
    ...typed("header").map(({ name, input }) => [name, input.value]),
    ...(body ? [["Content-Type", type]] : []),
  ]);
  const send = async () => {
    const options = { method: method.toUpperCase(), headers: headers() };
    if (storedKey()) options.headers["X-API-Key"] = storedKey(); // as typed on the search page
    const odd = Object.keys(options.headers).find((name) => !/^[\t\x20-\x7e]*$/.test(options.headers[name]));
    if (odd) {
      status.className = "failed";
      status.textContent = `not sent: ${odd} may hold characters of ASCII only`;
      return;
    }
    if (body) options.body = body.value;
    status.className = "quiet";
    status.textContent = "sent …";
    try {
      const started = performance.now();
      const response = await fetch(address(), options);
      const text = await response.text();
      const ms = (performance.now() - started).toFixed(1);
      status.className = response.ok ? "quiet" : "failed";
      status.textContent = `${response.status} in ${ms} ms, request ${response.headers.get("X-Request-Id")}`;
      let shown = text;
      try { shown = asJson(fromJson(text), 2); } catch { /* shown as it came */ }
      answer.textContent = shown;
      answer.hidden = false;
    } catch (error) {
      status.className = "failed";
      status.textContent = `no answer: ${error.message}`;
    }
  };
  const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
  // The key itself stays out of what is copied.
  const copy = () => navigator.clipboard?.writeText(
    `curl -s -X ${method.toUpperCase()} ${quoted(location.origin + address())}`
    + Object.entries(headers()).map(([name, value]) => ` -H ${quoted(`${name}: ${value}`)}`).join("")
    + (storedKey() ? ` -H "X-API-Key: $LSR_API_KEY"` : "")
    + (body ? ` --data-binary ${quoted(body.value)}` : ""));
  return element("details", {}, element("summary", {}, "Try it"),
    ...inputs.map(({ label }) => label), body,
    element("button", { type: "button", onclick: send }, "Send"),
    element("button", { type: "button", onclick: copy }, "Copy as curl"),
    status, answer);
}

function card(path, method, operation) {
  const [type, taken] = Object.entries(operation.requestBody?.content ?? {})[0] ?? [null, null];
  const content = type === "application/json" ? taken.schema : null;
  const examples = content ? resolved(content).examples ?? [{}] : [];
  const example = content ? JSON.stringify(examples[0], null, 2) : `{"id": "d1", "fields": {"text": "cats sleep"}}\n`;
  const answered = operation.responses["200"]?.content?.["application/json"]?.schema;
  return element("section", { class: "operation", id: operation.operationId },
    element("h2", {}, element("span", { class: "method" }, method.toUpperCase()), " ",
      element("code", {}, path)),
    element("p", {}, ...prose(operation.description ?? operation.summary ?? "")),
    content ? element("h3", {}, "Body") : null,
    ...(content ? modelTables(content) : []),
    examples.length ? element("h3", {}, "Examples") : null,
    ...examples.map((example) => element("pre", {}, JSON.stringify(example))),
    element("h3", {}, "Answers"),
    element("table", {}, element("tbody", {}, ...Object.entries(operation.responses).map(
      ([code, response]) => element("tr", {}, element("td", {}, element("code", {}, code)),
        element("td", {}, ...prose(response.description)),
        element("td", {}, Object.values(response.content ?? {})
          .map((one) => words(one.schema ?? {})).join(" or ")))))),
    answered && answered.$ref ? element("details", {}, element("summary", {}, "Shape of the answer"),
      ...modelTables(answered)) : null,
    tryIt(method, path, operation, type, example));
}

const operations = Object.entries(api.paths).flatMap(([path, methods]) =>
  Object.entries(methods).map(([method, operation]) => ({ path, method, operation })));

document.getElementById("title").textContent = `${api.info.title} ${api.info.version}`;
document.getElementById("description").replaceChildren(...prose(api.info.description ?? ""));
document.getElementById("contents").replaceChildren(element("ul", {}, ...operations.map(
  ({ path, method, operation }) => element("li", {}, element("a", { href: `#${operation.operationId}` },
    `${method.toUpperCase()} ${path}`)))));
document.getElementById("operations").replaceChildren(
  ...operations.map(({ path, method, operation }) => card(path, method, operation)),
  element("section", { class: "operation" }, element("h2", {}, "Every error"), element("h3", {}, "Body"),
    ...modelTables({ $ref: "#/components/schemas/Problem" })));
