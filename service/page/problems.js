// What went wrong, in words that help: the server's own detail and hint, or that there is no server.

import { NoAnswerError, sendable, storedKey, storeKey } from "./api.js";
import { button, dialog, element } from "./dom.js";

// A panel for an error; `retry` runs the same again, and does so by itself after `again` ms unless that is null.
export function problemPanel(error, retry, { again = null } = {}) {
  const itself = again === null ? null : `This page tries again by itself in ${Math.ceil(again / 1000)} s.`;
  if (error instanceof NoAnswerError) {
    return element("div", { class: "notice failed", role: "alert" },
      element("p", {}, element("strong", {}, "No answer from the server. "),
        navigator.onLine === false ? "This computer is offline. " : "It may be stopped or restarting. ", itself),
      button("Try again now", retry));
  }
  const problem = error.problem ?? {};
  const needsKey = error.status === 401 || error.status === 403;
  return element("div", { class: "notice failed", role: "alert" },
    element("p", {}, element("strong", {}, `${problem.title ?? "This failed"}. `), error.message),
    itself ? element("p", {}, itself) : null,
    problem.hint ? element("p", {}, problem.hint) : null,
    ...(problem.errors ?? []).map((one) => element("p", {}, element("code", {}, one.pointer), ` ${one.message}`)),
    element("p", { class: "quiet" }, [error.status, problem.code].filter(Boolean).join(" · "),
      error.requestId ? ` · request ${error.requestId}` : null),
    needsKey ? button("Enter a key", () => askKey(retry)) : null,
    button("Try again", retry));
}

// Ask for an API key; it is kept as long as this tab.
export function askKey(then = () => {}) {
  const input = element("input", { id: "key-input", type: "password", autocomplete: "off",
    spellcheck: "false", value: storedKey(), "aria-describedby": "key-wrong",
    oninput: () => { wrong.textContent = ""; input.removeAttribute("aria-invalid"); } });
  const wrong = element("p", { id: "key-wrong", class: "failed", role: "alert" });
  const use = (event) => {
    const key = input.value.trim();
    if (sendable(key)) {
      storeKey(key);
      then();
      return;
    }
    event.preventDefault(); // the dialog stays
    wrong.textContent = "No key looks like this: a key is letters, digits and signs of ASCII, without spaces. "
      + "An ellipsis (…) in it tells that it was copied cut short.";
    input.setAttribute("aria-invalid", "true");
    input.focus();
  };
  const form = element("form", { method: "dialog", onsubmit: use },
    element("label", { for: "key-input" }, "API key"), input, wrong,
    element("p", { class: "quiet" }, "Kept in this tab until it closes, and sent to this server only. "
      + "Empty forgets it."),
    element("button", { type: "submit", class: "strong" }, "Use this key"));
  dialog("API key", form);
  input.focus();
}
