// Lines over time, small: drawn for the eye, summed up for those who listen, as a table behind a click.

import { drawn, element } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const day = (seconds) => new Date(seconds * 1000).toLocaleDateString([], { month: "short", day: "numeric" });

// `series` is [{ name, points: [[seconds since 1970, value or null]] }], most important first; a null is
// a gap, and some value is none. `fromZero` starts the scale at 0, else the values have its middle.
export function lineChart({ label, series, format, fromZero = true }) {
  const points = series.flatMap((one) => one.points);
  const known = points.filter(([, value]) => value !== null);
  const times = points.map(([time]) => time);
  const values = known.map(([, value]) => value);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const margin = (most - least) / 2 || 0.05;
  const low = fromZero ? 0 : Math.max(least - margin, 0);
  const high = (fromZero ? most : most + margin) || 1;
  const x = (time) => 4 + (last === first ? 1 : (time - first) / (last - first)) * (WIDTH - 8);
  const y = (value) => HEIGHT - 4 - ((value - low) / (high - low || 1)) * (HEIGHT - 8);
  const latest = (one) => one.points.findLast(([, value]) => value !== null)?.[1] ?? null;
  const when = last - first > 86400 ? day : clock;
  const told = series.map((one) => `${one.name} ${latest(one) === null ? "unknown" : format(latest(one))}`).join(", ");
  return element("figure", { class: "chart" },
    element("figcaption", {}, element("span", {}, label), element("ul", { class: "legend" },
      ...series.map((one, at) => element("li", { class: `line-${at}` }, `${one.name} `,
        element("strong", { class: "number" }, latest(one) === null ? "–" : format(latest(one))))))),
    element("div", { class: "plot" },
      element("span", { class: "quiet scale", "aria-hidden": "true" }, format(high)),
      drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `${label}, latest: ${told}` },
      drawn("path", { class: "ground", d: `M0 ${HEIGHT} H${WIDTH}` }),
      // The most important is drawn last, so that it lies on top.
      ...series.flatMap((one, at) => [drawn("path", { class: `line-${at}`, d: path(one.points, x, y) }),
        drawn("path", { class: `line-${at} dots`, d: dots(one.points, x, y) })]).reverse()),
      fromZero ? null : element("span", { class: "quiet scale", "aria-hidden": "true" }, format(low))),
    element("p", { class: "quiet times" }, element("span", {}, when(first)), element("span", {}, when(last))),
    table(series, format, last - first > 86400));
}

const valueAt = (points, at) => points[at]?.[1] ?? null;

// A line through the values, broken at gaps.
const path = (points, x, y) => points.map(([time, value], at) => (value === null ? ""
  : `${valueAt(points, at - 1) === null ? "M" : "L"}${x(time).toFixed(1)} ${y(value).toFixed(1)}`)).join("");

// A value between two gaps makes no line.
const dots = (points, x, y) => points.map(([time, value], at) =>
  (value === null || valueAt(points, at - 1) !== null || valueAt(points, at + 1) !== null ? ""
    : `M${x(time).toFixed(1)} ${y(value).toFixed(1)}h0.01`)).join("");

function table(series, format, dated) {
  const times = [...new Set(series.flatMap((one) => one.points.map(([time]) => time)))].sort((a, b) => b - a);
  const values = series.map((one) => new Map(one.points));
  const rows = times.filter((time) => values.some((one) => (one.get(time) ?? null) !== null));
  return element("details", {}, element("summary", {}, "As a table"),
    element("div", { class: "scrolled tall", tabindex: "0", role: "group", "aria-label": "Values" },
      element("table", { class: "terms" },
        element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "Time"),
          ...series.map((one) => element("th", { scope: "col", class: "number" }, one.name)))),
        element("tbody", {}, ...rows.map((time) => element("tr", {},
          element("th", { scope: "row" }, dated ? `${day(time)} ${clock(time)}` : clock(time)),
          ...values.map((one) => element("td", { class: "number" },
            (one.get(time) ?? null) === null ? "–" : format(one.get(time))))))))));
}
