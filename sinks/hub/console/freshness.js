// What the route, and a price, may be called: the same rule as freshness.py, held to it by a test.

export const LIMITS_S = { live: 300, delayed: 1800 };

// known: connected; route, the last DataSourceChanged; market, the last CurrentMarketStatus; limits, in seconds
export function routeWord({ connected, route }) {
  if (connected && route?.state === "PRIMARY_ACTIVE") return "LIVE";
  if (connected && route?.state === "FALLBACK_ACTIVE") return "DELAYED";
  return "STALE";
}

export function priceWord(price, known, nowMs) {
  const led = routeWord(known);
  if (led === "STALE") return led;
  const live = price.isRealTime && led === "LIVE";
  const { market, limits = LIMITS_S } = known;
  if (market?.isOpen) {
    const since = Math.max(Date.parse(price.timestamp), Date.parse(market.since));
    if (nowMs - since > (live ? limits.live : limits.delayed) * 1000) return "STALE";
  }
  return live ? "LIVE" : "DELAYED";
}
