// The live console. Prices are pushed over SignalR; how things are is asked for over HTTP, every few seconds.
// What came is painted once a frame, and ages once a second.

import { LIMITS_S, priceWord, routeWord } from "./freshness.js";

const HEALTH_EVERY_MS = 3000;
const LONGEST_RETRY_MS = 10_000;

const by = (id) => document.getElementById(id);
const prices = new Map(); // symbol -> its last PriceUpdate
const rows = new Map(); // symbol -> its row's cells
const state = {
  connected: false,
  route: null, // the last DataSourceChanged
  market: null, // the last CurrentMarketStatus
  skewMs: 0, // the hub's clock less ours
  limits: LIMITS_S,
  sort: { by: "symbol", up: true },
  token: sessionStorage.getItem("token") ?? "",
};

// now, by the hub's clock
const nowMs = () => Date.now() + state.skewMs;

const ageS = (price) => Math.max(0, (nowMs() - Date.parse(price.timestamp)) / 1000);

function age(seconds) {
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  return `${Math.floor(seconds / 3600)} h`;
}

const time = (iso) => new Date(iso).toLocaleTimeString();
const ms = (seconds) => (seconds == null ? "–" : seconds < 10 ? `${Math.round(seconds * 1000)} ms` : age(seconds));

// -- painting

let painting = false;
const dirty = new Set();

function paintSoon(symbol) {
  if (symbol) dirty.add(symbol);
  if (painting) return;
  painting = true;
  requestAnimationFrame(paint);
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function paint() {
  painting = false;
  let added = false;
  for (const symbol of dirty) {
    if (!rows.has(symbol)) {
      rows.set(symbol, newRow(symbol));
      added = true;
    }
    paintRow(symbol);
  }
  dirty.clear();
  if (added) order();
}

function newRow(symbol) {
  const row = document.createElement("tr");
  row.dataset.symbol = symbol;
  const cells = { row };
  const header = document.createElement("th");
  header.scope = "row";
  header.textContent = symbol;
  row.append(header);
  for (const [name, kind] of [["word", ""], ["price", "number"], ["change", "number"], ["age", "number"],
    ["volume", "number wide"], ["source", "wide"]]) {
    cells[name] = document.createElement("td");
    cells[name].className = kind;
    row.append(cells[name]);
  }
  return cells;
}

function paintRow(symbol) {
  const price = prices.get(symbol);
  const cells = rows.get(symbol);
  const change = price.priceChangePercent;
  set(cells.price, price.price.toFixed(price.price < 1 ? 4 : 2));
  set(cells.change, change == null ? "–" : `${change > 0 ? "+" : ""}${change.toFixed(2)}`);
  cells.change.className = `number ${change > 0 ? "up" : change < 0 ? "down" : ""}`;
  set(cells.volume, price.volume == null ? "–" : price.volume.toLocaleString());
  set(cells.source, price.dataProvider);
  paintAge(symbol);
}

function paintAge(symbol) {
  const price = prices.get(symbol);
  const cells = rows.get(symbol);
  const found = priceWord(price, state, nowMs());
  set(cells.word, found);
  cells.word.dataset.word = found;
  set(cells.age, age(ageS(price)));
}

const keys = {
  symbol: (symbol) => symbol,
  price: (symbol) => prices.get(symbol).price,
  change: (symbol) => prices.get(symbol).priceChangePercent ?? -Infinity,
  volume: (symbol) => prices.get(symbol).volume ?? -1,
  age: (symbol) => ageS(prices.get(symbol)),
};

function order() {
  const key = keys[state.sort.by];
  const sign = state.sort.up ? 1 : -1;
  const wanted = by("filter").value.trim().toUpperCase();
  const sorted = [...rows.keys()].sort((a, b) => sign * (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
  for (const symbol of sorted) rows.get(symbol).row.hidden = !symbol.includes(wanted);
  by("prices").tBodies[0].append(...sorted.map((symbol) => rows.get(symbol).row));
  by("none").hidden = sorted.length > 0;
}

function paintRoute() {
  const route = state.route;
  const found = routeWord(state);
  by("badge").dataset.word = found;
  set(by("badge"), state.connected ? found : "NOT CONNECTED");
  set(by("route"), route ? `${route.state.replaceAll("_", " ")}` : "unknown");
  set(by("route-since"), route ? `since ${time(route.timestamp)}, epoch ${route.epoch}, ${route.dataProvider ?? "nobody"}` : "");
  set(by("route-detail"), route ? `${route.reason}: ${route.detail}` : "");
  for (const symbol of rows.keys()) paintAge(symbol);
}

function list(id, entries) {
  const nodes = entries.flatMap(([name, value, found]) => {
    const term = document.createElement("dt");
    term.textContent = name;
    const told = document.createElement("dd");
    told.textContent = value;
    if (found) told.dataset.word = found;
    return [term, told];
  });
  by(id).replaceChildren(...nodes);
}

function announce(sentence) {
  set(by("announce"), sentence);
}

// -- over SignalR

const connection = new signalR.HubConnectionBuilder()
  .withUrl("/hubs/dashboard", { accessTokenFactory: () => state.token })
  .withAutomaticReconnect({
    nextRetryDelayInMilliseconds: ({ previousRetryCount: count }) =>
      Math.min(LONGEST_RETRY_MS, 250 * 2 ** Math.min(count, 6)) * (0.5 + Math.random() / 2),
  })
  .configureLogging(signalR.LogLevel.None)
  .build();

connection.on("ConnectionStatus", (status) => {
  state.skewMs = Date.parse(status.timestamp) - Date.now();
  if (status.dataSource) state.route = status.dataSource;
  paintRoute();
});
connection.on("PriceUpdate", (price) => {
  prices.set(price.symbol, price);
  paintSoon(price.symbol);
});
connection.on("DataSourceChanged", (route) => {
  state.route = route;
  paintRoute();
  announce(`The route is ${route.state.replaceAll("_", " ").toLowerCase()}: ${route.reason}`);
  void ask();
});
connection.on("CurrentMarketStatus", (market) => {
  state.market = market;
  const open = market.market === "always" ? "a market that never closes" : `${market.market}: ${market.status}`;
  set(by("market"), market.market ? open : "market unknown");
  paintRoute();
});
connection.on("SubscriptionError", (error) => announce(error.message));
connection.on("Probe", () => null);
connection.onreconnecting(() => came(false));
connection.onreconnected(subscribe);
connection.onclose(() => {
  came(false);
  void start();
});

function came(connected) {
  if (state.connected !== connected) announce(connected ? "Connected" : "Not connected");
  state.connected = connected;
  paintRoute();
}

async function subscribe() {
  came(true);
  await connection.invoke("SubscribeToMarketStatus", "STOCK");
  await connection.invoke("SubscribeToAssetClass", "STOCK");
  await connection.invoke("AnswerProbes");
}

async function start() {
  for (let count = 0; ; count += 1) {
    try {
      await connection.start();
      by("sign-in").hidden = true;
      await subscribe();
      return;
    } catch (error) {
      if (error.statusCode === 401 || /\b401\b/.test(error.message)) {
        by("sign-in").hidden = false;
        set(by("sign-in-said"), state.token ? "This token is not taken." : "");
        return; // until there is another
      }
      if (connection.state === signalR.HubConnectionState.Connected) await connection.stop();
      await new Promise((done) => setTimeout(done, Math.min(LONGEST_RETRY_MS, 250 * 2 ** Math.min(count, 6))));
    }
  }
}

// -- over HTTP

async function told(path) {
  const headers = state.token ? { Authorization: `Bearer ${state.token}` } : {};
  const response = await fetch(path, { headers, signal: AbortSignal.timeout(5000) });
  if (response.status === 401) return null;
  return await response.json();
}

const WORDS = { Healthy: "LIVE", Degraded: "DELAYED", Unhealthy: "STALE" };

async function ask() {
  try {
    const [overall, route, stocks, hub] = await Promise.all(
      ["/health", "/api/health/datasource", "/api/health/stocks", "/api/health/realtime"].map(told),
    );
    list("health", Object.entries(overall.checks).map(([name, status]) => [name, status, WORDS[status]]));
    if (!route || !stocks || !hub) return;
    state.limits = { live: stocks.liveLimitSeconds, delayed: stocks.delayedLimitSeconds };
    const { alpaca, yahoo } = hub.latency;
    list("latency", [
      ["Alpaca, median", ms(alpaca.p50)],
      ["Alpaca, 95 %", ms(alpaca.p95)],
      ["Alpaca, 99 %", ms(alpaca.p99)],
      ["Yahoo, median", ms(yahoo.p50)],
      ["to here, at most", ms(hub.roundTrip.p50)],
      ["to here, estimate", ms(hub.oneWayEstimateP50)],
    ]);
    list("rates", [
      ["prices sent", `${hub.updatesPerSecond.toLocaleString()}/s`],
      ["clients", `${hub.connections["market-data"]} + ${hub.connections.dashboard}`],
      ["symbols", `${stocks.priced} of ${stocks.followed}`],
      ["live, delayed, stale", `${stocks.live}, ${stocks.delayed}, ${stocks.stale}`],
    ]);
    paintHistory(route.transitions);
  } catch {
    list("health", [["this hub", "does not answer", "STALE"]]);
  }
}

function paintHistory(transitions) {
  const made = transitions.map((each) => {
    const row = document.createElement("tr");
    for (const text of [
      new Date(each.switchedAt).toLocaleString(),
      each.previousState.replaceAll("_", " "),
      each.state.replaceAll("_", " "),
      `${each.reason}: ${each.detail}`,
      each.by,
    ]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  });
  by("history").tBodies[0].replaceChildren(...made);
}

// -- what the alerts say: asked for apart, so that what is not known blanks nothing else

const LOUD = { critical: "STALE", high: "STALE", medium: "DELAYED" };

function element(name, text, found) {
  const node = document.createElement(name);
  node.textContent = text;
  if (found) node.dataset.word = found;
  return node;
}

function paintAlerts({ known, count, alerts }) {
  const made = alerts.map((each) => {
    const item = document.createElement("li");
    const taken = each.acknowledgedBy ? `taken on by ${each.acknowledgedBy}` : "nobody has taken it on";
    item.append(
      element("strong", `${each.severity}: ${each.name}`, LOUD[each.severity]),
      element("p", each.summary),
      element("p", `since ${new Date(each.since).toLocaleString()}, ${taken}; ${each.runbook}`),
    );
    item.lastChild.className = "quiet";
    return item;
  });
  by("alerts").replaceChildren(...made);
  const names = alerts.map((each) => each.name).join(", ");
  const firing = count ? `${count} ${count === 1 ? "fires" : "fire"}: ${names}` : "None fires.";
  const last = count ? ` Fired last: ${names}` : "";
  set(by("alerts-said"), known ? firing : `Not known: nobody tells this hub of alerts.${last}`);
}

async function askAlerts() {
  try {
    const alerts = await told("/api/alerts");
    if (alerts) paintAlerts(alerts);
  } catch {
    by("alerts").replaceChildren();
    set(by("alerts-said"), "Not known: this hub does not answer.");
  }
}

const STAGES = { normal: "LIVE", watch: "LIVE", "reliability first": "DELAYED" };
const LEVELS_EVERY_MS = 15_000;

const percent = (value) => (value == null ? "–" : `${value.toFixed(2)} %`);

function paintLevels({ budgets, bounds }) {
  const cells = [
    ...budgets.map((each) => [
      `${each.id} ${each.title}`,
      `${each.target} % over ${each.period}`,
      percent(each.attained),
      percent(each.leftPercent) + (each.leftHours == null ? "" : ` (${each.leftHours} h)`),
      each.stage ?? "not measured",
      each.stage && (STAGES[each.stage] ?? "STALE"),
    ]),
    ...bounds.map((each) => [
      `${each.id} ${each.title}`,
      `${each.bound} ${each.unit}`,
      each.value == null ? "–" : `${each.value.toFixed(1)} ${each.unit}`,
      "–",
      each.met == null ? "not measured" : each.met ? "kept" : "broken",
      each.met == null ? null : each.met ? "LIVE" : "STALE",
    ]),
  ];
  const made = cells.map(([name, target, value, left, stage, found]) => {
    const row = document.createElement("tr");
    const header = element("th", name);
    header.scope = "row";
    row.append(header, ...[target, value, left].map((text) => element("td", text)), element("td", stage, found));
    for (const cell of [...row.cells].slice(1, 4)) cell.className = "number";
    return row;
  });
  by("levels").tBodies[0].replaceChildren(...made);
}

function levelsAre(known, sentence) {
  by("levels").parentElement.hidden = !known;
  set(by("levels-said"), sentence);
}

async function askLevels() {
  try {
    const found = await told("/api/slo");
    if (!found) return;
    if (found.budgets) paintLevels(found);
    levelsAre(Boolean(found.budgets), found.budgets ? `as of ${time(found.timestamp)}` : `Not known: ${found.detail}.`);
  } catch {
    levelsAre(false, "Not known: this hub does not answer.");
  }
}

// -- what a person does

by("filter").addEventListener("input", order);
by("prices").tHead.addEventListener("click", ({ target }) => {
  const wanted = target.dataset.sort;
  if (!wanted) return;
  state.sort = { by: wanted, up: state.sort.by === wanted ? !state.sort.up : wanted === "symbol" };
  for (const header of by("prices").tHead.rows[0].cells) header.removeAttribute("aria-sort");
  target.closest("th").setAttribute("aria-sort", state.sort.up ? "ascending" : "descending");
  order();
});
by("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});
by("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = event.target.token.value.trim();
  sessionStorage.setItem("token", state.token);
  void start();
  void ask();
  void askAlerts();
  void askLevels();
});
by("operate").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { what, why, token } = event.target;
  const [path, to] = what.value.split("|");
  const said = by("operate-said");
  said.textContent = "asking";
  try {
    const response = await fetch(path, {
      method: "POST",
      headers: { "Authorization": `Bearer ${token.value.trim()}`, "Content-Type": "application/json" },
      body: JSON.stringify(to ? { why: why.value, to } : { why: why.value }),
      signal: AbortSignal.timeout(15_000),
    });
    const answer = await response.json();
    const asked = `asked ${answer.target}: ${answer.command}, by ${answer.who}`;
    said.textContent = !response.ok ? answer.detail : answer.outcome === "done" ? `done: ${answer.detail}` : asked;
  } catch (error) {
    said.textContent = `the hub does not answer: ${error.message}`;
  }
});

setInterval(() => {
  for (const symbol of rows.keys()) paintAge(symbol);
}, 1000);
for (const [each, everyMs] of [[ask, HEALTH_EVERY_MS], [askAlerts, HEALTH_EVERY_MS], [askLevels, LEVELS_EVERY_MS]]) {
  setInterval(each, everyMs);
  void each();
}
void start();
