// Talking to the server: one function for all calls, and what can go wrong as errors with words.

// An RFC 9457 problem that the server answered.
export class ProblemError extends Error {
  constructor(problem, status, requestId, retryAfter = null) {
    super(problem.detail ?? problem.title ?? `status ${status}`);
    this.problem = problem;
    this.status = status;
    this.requestId = problem.request_id ?? requestId;
    this.retryAfter = Number.parseInt(retryAfter, 10) || 0; // seconds
  }
}

// No answer came at all.
export class NoAnswerError extends Error {}

// JSON in which whole numbers that a double would round are BigInts, where the browser tells how they were written.
const LONG = /[:,[]\s*-?\d{16,}\s*[,\]}]/;

export function fromJson(text) {
  if (!LONG.test(text)) return JSON.parse(text);
  return JSON.parse(text, (_, value, context) =>
    (typeof value === "number" && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? "")
      ? BigInt(context.source) : value));
}

const digits = (number) =>
  (JSON.rawJSON && !Number.isSafeInteger(Number(number)) ? JSON.rawJSON(String(number)) : Number(number));

export const asJson = (value, space) =>
  JSON.stringify(value, (_, one) => (typeof one === "bigint" ? digits(one) : one), space);

const SOON = 3000; // ms

// After how many ms the same may be asked again without anybody pressing anything; null where that would not help.
// Stopping, restarting or opening an index ends by itself, and so does having asked too often.
export function retryIn(error) {
  if (error instanceof NoAnswerError || error.status === 503) return SOON;
  return error.status === 429 ? Math.max(error.retryAfter, 1) * 1000 : null;
}

const KEY = "lsr-key";

// What a header can carry for certain; a browser throws at most else before anything is sent.
export const sendable = (key) => /^[\x21-\x7e]*$/.test(key);

// The key lives as long as the tab and is sent to this server only.
export function storedKey() {
  try {
    const key = sessionStorage.getItem(KEY) ?? "";
    return sendable(key) ? key : "";
  } catch { return ""; }
}

export function storeKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

export async function call(method, path, body, { signal } = {}) {
  const headers = {};
  const key = storedKey();
  if (key) headers["X-API-Key"] = key;
  const options = { method, headers, signal };
  if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    options.body = asJson(body);
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new NoAnswerError(error.message);
  }
  const requestId = response.headers.get("X-Request-Id");
  let answer;
  try {
    answer = fromJson(await response.text());
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ProblemError({ title: "An answer that is not JSON" }, response.status, requestId);
  }
  if (!response.ok) {
    throw new ProblemError(answer, response.status, requestId, response.headers.get("Retry-After"));
  }
  return answer;
}

export const get = (path, options) => call("GET", path, undefined, options);
export const post = (path, body, options) => call("POST", path, body, options);
export const at = (index, rest = "") => `/v1/indexes/${encodeURIComponent(index)}${rest}`;
