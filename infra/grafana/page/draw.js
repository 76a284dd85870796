// The kinds of panels: each takes the panel's JSON and its frames, and returns what to show.

import { PALETTE, color, judged, written } from "./units.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 56, BOTTOM = 16, TOP = 6;

export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function shape(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function canvas(body) {
  const [width, height] = [Math.max(body.clientWidth, 120), Math.max(body.clientHeight - 20, 50)];
  return { svg: shape("svg", { viewBox: `0 0 ${width} ${height}` }), width, height };
}

const known = (points) => points.filter(([, value]) => value !== null);

function runs(points) {
  const found = [[]];
  for (const point of points) point[1] === null ? found.push([]) : found.at(-1).push(point);
  return found.filter((run) => run.length);
}

function stat(panel, frames, body) {
  const values = make("div", { class: "stats" });
  const many = frames.filter((frame) => known(frame.points).length).length > 1;
  for (const frame of frames) {
    const points = known(frame.points);
    if (!points.length) continue;
    const { text, color: colored } = judged(points.at(-1)[1], panel.fieldConfig.defaults);
    const value = make("div", { class: "stat" }, make("b", { style: `color:${colored}` }, text));
    if (many) value.append(make("span", {}, frame.name));
    values.append(value);
    if (!many && points.length > 2) body.append(spark(points, colored));
  }
  body.append(values);
}

function spark(points, colored) {
  const times = points.map(([at]) => at), values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = (at) => (100 * (at - times[0])) / (times.at(-1) - times[0]);
  const y = (value) => (high > low ? 28 - (26 * (value - low)) / (high - low) : 15);
  const line = points.map(([at, value]) => `${x(at)},${y(value)}`).join(" ");
  const svg = shape("svg", { class: "spark", viewBox: "0 0 100 30", preserveAspectRatio: "none" });
  svg.append(shape("polygon", { points: `0,30 ${line} 100,30`, fill: colored, opacity: 0.15 }));
  return svg;
}

function legend(names) {
  return make("div", { class: "legend" }, ...names.map((name, n) =>
    make("span", {}, make("i", { style: `background:${PALETTE[n % PALETTE.length]}` }), name)));
}

// y axis, x axis, and what maps values and times onto the picture
function axes(svg, width, height, { since, until }, top, label, ticks) {
  const x = (at) => LEFT + ((width - LEFT - 6) * (at - since)) / (until - since);
  const y = (value) => height - BOTTOM - ((height - BOTTOM - TOP) * value) / top;
  for (const tick of ticks) {
    svg.append(shape("line", { x1: LEFT, x2: width, y1: y(tick), y2: y(tick), stroke: "#2c3235" }));
    svg.append(shape("text", { x: LEFT - 4, y: y(tick) + 3, "text-anchor": "end" }, label(tick)));
  }
  for (let n = 0; n <= 4; n += 1) {
    const at = since + ((until - since) * (n + 0.5)) / 5;
    const moment = new Date(at * 1000).toISOString();
    const text = until - since > 2 * 86400 ? moment.slice(5, 10) : moment.slice(11, 16);
    svg.append(shape("text", { x: x(at), y: height - 3, "text-anchor": "middle" }, text));
  }
  return { x, y };
}

function quarters(top) {
  return [0, 0.25, 0.5, 0.75, 1].map((share) => share * top);
}

function timeseries(panel, frames, body, time) {
  const { defaults } = panel.fieldConfig;
  const stacked = defaults.custom?.stacking?.mode === "normal";
  const below = new Map();
  const lines = frames.map(({ name, points }) => ({
    name,
    points: points.map(([at, value]) => {
      if (!stacked || value === null) return [at, value];
      below.set(at, (below.get(at) ?? 0) + value);
      return [at, below.get(at)];
    }),
  })).filter(({ points }) => known(points).length);
  const values = lines.flatMap(({ points }) => known(points).map(([, value]) => value));
  const top = Math.max(...values, 0) * 1.08 || 1;
  const { svg, width, height } = canvas(body);
  const { x, y } = axes(svg, width, height, time, top, (v) => written(v, defaults.unit), quarters(top));
  if (defaults.custom?.thresholdsStyle?.mode === "line")
    for (const step of defaults.thresholds.steps)
      if (step.value !== null && step.value <= top)
        svg.append(shape("line", { x1: LEFT, x2: width, y1: y(step.value), y2: y(step.value),
          stroke: color(step.color), "stroke-dasharray": "6 4", class: "threshold" }));
  for (const mark of time.marks) {
    const line = shape("line", { x1: x(mark.at), x2: x(mark.at), y1: TOP, y2: height - BOTTOM,
      stroke: color(mark.color), "stroke-dasharray": "2 3", class: "mark" });
    line.append(shape("title", {}, mark.words));
    svg.append(line);
  }
  lines.forEach(({ points }, n) => {
    const stroke = PALETTE[n % PALETTE.length];
    for (const run of runs(points)) {
      const path = run.map(([at, value]) => `${x(at)},${y(value)}`).join(" ");
      svg.append(shape("polyline", { points: path, fill: "none", stroke, "stroke-width": 1.3 }));
      if (run.length < 12)
        for (const [at, value] of run) svg.append(shape("circle", { cx: x(at), cy: y(value), r: 2.5, fill: stroke }));
    }
  });
  body.append(svg, legend(lines.map(({ name }) => name)));
}

function heatmap(panel, frames, body, time) {
  const bound = (frame) => (frame.name === "+Inf" ? Infinity : Number(frame.name));
  const rows = [...frames].sort((a, b) => bound(a) - bound(b));
  const cells = [];
  rows.forEach(({ points }, row) => points.forEach(([at, value], n) => {
    const less = row ? (rows[row - 1].points[n]?.[1] ?? 0) : 0;
    if (value - less > 0) cells.push({ at, row, count: value - less });
  }));
  const most = Math.max(...cells.map(({ count }) => count));
  const { svg, width, height } = canvas(body);
  const label = (row) => (row < rows.length ? written(bound(rows[row]), panel.options.yAxis?.unit) : "");
  const ticks = rows.map((_, row) => row).filter((row) => row % 3 === 0 && bound(rows[row]) < Infinity);
  const { x, y } = axes(svg, width, height, time, rows.length, label, ticks);
  const step = rows[0].points.length > 1 ? rows[0].points[1][0] - rows[0].points[0][0] : 60;
  for (const { at, row, count } of cells)
    svg.append(shape("rect", { x: x(at), y: y(row + 1), width: Math.max(x(at + step) - x(at) - 0.5, 1),
      height: Math.max(y(row) - y(row + 1) - 0.5, 1), fill: "#ff9830", opacity: 0.15 + (0.85 * count) / most }));
  body.append(svg);
}

function barchart(panel, [{ columns, rows }], body) {
  const at = columns.indexOf(panel.options.xField);
  const shown = columns.map((name, n) => ({ name, n })).filter(({ n }) => n !== at);
  const top = Math.max(...rows.flatMap((row) => shown.map(({ n }) => row[n]))) * 1.08 || 1;
  const { svg, width, height } = canvas(body);
  const y = (value) => height - BOTTOM - ((height - BOTTOM - TOP) * value) / top;
  for (const tick of quarters(top))
    svg.append(shape("text", { x: LEFT - 4, y: y(tick) + 3, "text-anchor": "end" },
      written(tick, panel.fieldConfig.defaults.unit)));
  const slot = (width - LEFT) / rows.length, bar = Math.min((slot * 0.8) / shown.length, 40);
  rows.forEach((row, place) => {
    const left = LEFT + slot * (place + 0.5) - (bar * shown.length) / 2;
    shown.forEach(({ n }, order) => svg.append(shape("rect", { x: left + bar * order, width: bar,
      y: y(row[n]), height: height - BOTTOM - y(row[n]), fill: PALETTE[order] })));
    svg.append(shape("text", { x: LEFT + slot * (place + 0.5), y: height - 3, "text-anchor": "middle" }, row[at]));
  });
  body.append(svg, legend(shown.map(({ name }) => name)));
}

function table(panel, frames, body) {
  const { defaults, overrides } = panel.fieldConfig;
  const units = new Map(overrides.map(({ matcher, properties }) => [matcher.options, properties[0].value]));
  const [{ columns, rows }] = frames;
  const unit = (column) => units.get(column) ?? defaults.unit;
  body.append(make("div", { class: "rows" }, make("table", {},
    make("thead", {}, make("tr", {}, ...columns.map((column) => make("th", {}, column)))),
    make("tbody", {}, ...rows.map((row) =>
      make("tr", {}, ...row.map((cell, n) => make("td", {}, written(cell, unit(columns[n]))))))))));
}

export const KINDS = { stat, timeseries, heatmap, barchart, table };
