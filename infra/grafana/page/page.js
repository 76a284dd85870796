// A dashboard of Grafana's, from its generated JSON: every panel asks, and draws what it is told.

import { KINDS, make } from "./draw.js";

const BOARDS = ["operations", "performance", "reliability", "business"];
const name = location.pathname.slice(1);
const grid = document.getElementById("grid");
const since = document.getElementById("since");
const units = { s: 1, m: 60 };

async function ask(path) {
  const response = await fetch(path);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

function frame(panel, docs) {
  const { x = 0, y = 0, w, h } = panel.gridPos;
  const title = make("h2", { title: panel.description }, panel.title);
  for (const link of panel.links ?? [])
    title.append(" ", make("a", { href: link.url.replace("${docs:raw}", docs), title: link.title }, "\u2197"));
  const body = make("div", { class: "body" });
  const node = make("section", { class: "panel", "data-panel": panel.title, "data-state": "asking",
    style: `grid-area:${y + 1}/${x + 1}/span ${h}/span ${w}` }, title, body);
  grid.append(node);
  return { panel, node, body };
}

const something = (frames) => frames.some(({ points, rows }) =>
  points ? points.some(([, value]) => value !== null) : rows.some((row) => row.some((cell) => cell !== null && cell !== "")));

async function show({ panel, node, body }, marks) {
  try {
    const { frames, ...time } = await ask(`/frames/${name}/${panel.id}?from=${since.value}`);
    body.replaceChildren();
    const found = something(frames);
    if (found) KINDS[panel.type](panel, frames, body, { ...time, marks });
    else body.append(make("p", { class: "empty" }, "no data"));
    node.dataset.state = found ? "data" : "empty";
  } catch (error) {
    body.replaceChildren(make("p", { class: "error" }, error.message));
    node.dataset.state = "error";
  }
}

async function run() {
  const board = await ask(`/boards/${name}`);
  document.getElementById("title").textContent = board.title;
  for (const each of BOARDS)
    document.getElementById("boards").append(make("a", { href: `/${each}${location.search}`,
      ...(each === name && { "aria-current": "page" }) }, each));
  const chosen = new URLSearchParams(location.search).get("from") ?? board.time.from;
  if (![...since.options].some(({ value }) => value === chosen)) since.append(make("option", {}, chosen));
  since.value = chosen;
  const { query: docs } = board.templating.list.find((variable) => variable.name === "docs");
  const frames = board.panels.map((panel) => frame(panel, docs));
  let busy = false;
  async function refresh() {
    if (busy) return;
    busy = true;
    try {
      const marks = await ask(`/marks/${name}?from=${since.value}`);
      document.getElementById("said").textContent = "";
      await Promise.all(frames.map((each) => show(each, marks)));
      grid.dataset.shown = String(Number(grid.dataset.shown ?? 0) + 1);
    } catch (error) {
      document.getElementById("said").textContent = error.message;
    } finally {
      busy = false;
    }
  }
  since.addEventListener("change", refresh);
  const [, count, unit] = board.refresh.match(/(\d+)([sm])/);
  setInterval(refresh, count * units[unit] * 1000);
  await refresh();
}

await run();
