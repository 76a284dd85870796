"""How things are, for people and programs that ask over HTTP; pure.

What the hub knows comes out of the log. So a part that has died is seen by its silence: the sources
say something every second.
"""

from typing import Final, Literal

import msgspec

from infra.clock import NS
from processors.events import RoutedPrice, RouterTransition
from sinks.hub import words
from sinks.hub.day import figures
from sinks.hub.freshness import DELAYED_S, LIVE_S, Freshness, freshness
from sinks.hub.methods import Hub
from sinks.hub.tally import Spread, Tally

Status = Literal["Healthy", "Degraded", "Unhealthy"]

#: A source that has said nothing for so long is gone, or the log does not reach us.
SILENT_S: Final = 5
#: How many of the router's transitions are told.
TOLD: Final = 20
_RANK: Final[tuple[Status, ...]] = ("Healthy", "Degraded", "Unhealthy")


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    status: Status
    detail: str
    timestamp: str


class AlpacaHealth(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The connection to Alpaca, by its own heartbeats.

    Attributes:
        state: the session's state.
        messages: data messages since its process began.
        heartbeat_at: when it was last heard of.
        last_disconnect: why it was last left.

    """

    state: str
    authenticated: bool
    symbols: int
    messages: int
    last_message_at: str | None
    seconds_since_last_message: float | None
    heartbeat_at: str | None
    last_disconnect: str | None


class Transition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One change of the trusted source."""

    epoch: int
    previous_state: str
    state: str
    reason: str
    detail: str
    by: str
    detected_at: str
    switched_at: str


class DataSourceHealth(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The router: which source is trusted, since when, and what happened before.

    Attributes:
        source: whose prices go out; null for nobody's.
        transitions: the newest first.

    """

    state: str
    source: str | None
    is_real_time: bool
    epoch: int
    since: str | None
    yahoo_state: str
    transitions: list[Transition]


class StocksHealth(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The prices as a whole.

    Attributes:
        followed: how many symbols the sources follow.
        priced: how many have a price.
        stale_symbols: which are stale.
        live_limit_seconds: a LIVE price is stale after so long without another.
        delayed_limit_seconds: a DELAYED one.

    """

    market: str
    followed: int
    priced: int
    live: int
    delayed: int
    stale: int
    stale_symbols: list[str]
    live_limit_seconds: int
    delayed_limit_seconds: int


class Times(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Seconds over the last minutes; null where there was nothing to measure."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class RealtimeHealth(_Answer, frozen=True, kw_only=True, rename="camel"):
    """This hub.

    Attributes:
        connections: by the address that they came in at.
        updates_per_second: prices sent, each once a client, in the last minute.
        latency: from the market to the end of the send, by source.
        round_trip: to clients that answer probes, and back: an upper bound of the way there.
        one_way_estimate_p50: half of the median round trip.

    """

    connections: dict[str, int]
    updates_per_second: float
    latency: dict[str, Times]
    round_trip: Times
    one_way_estimate_p50: float | None


class Overall(_Answer, frozen=True, kw_only=True, rename="camel"):
    """The worst of all."""

    checks: dict[str, Status]


class Symbol(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A symbol, and who follows it."""

    symbol: str
    followed_by: list[str]
    has_price: bool


class Symbols(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All symbols that there are."""

    count: int
    symbols: list[Symbol]


class ActiveSymbol(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A symbol with its price; the age is that of the price on the market."""

    symbol: str
    price: float
    price_change: float | None
    price_change_percent: float | None
    volume: float | None
    source: str
    freshness: Freshness
    age_seconds: float
    timestamp: str
    subscribers: int


class ActiveSymbols(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All symbols that have a price."""

    count: int
    symbols: list[ActiveSymbol]


def alpaca(hub: Hub, now_ns: int) -> AlpacaHealth:
    """Return how the connection to Alpaca is."""
    source = hub.sources["alpaca"]
    beat = source.heartbeat
    left = source.disconnected
    heard_s = None if beat is None else (now_ns - beat.at_ns) / NS
    last_ns = beat.last_message_at_ns if beat else None
    status: Status = "Degraded"
    if beat is None or heard_s is None or heard_s > SILENT_S:
        status, detail = "Unhealthy", "the Alpaca worker says nothing"
    elif source.stopped:
        status, detail = "Unhealthy", f"refused for good: {source.stopped.detail}"
    elif beat.state != "connected" or not beat.authenticated:
        detail = f"not connected: {beat.state}"
    elif source.stalled:
        detail = "connected, and mute"
    else:
        status, detail = "Healthy", "connected"
    return AlpacaHealth(
        status=status,
        detail=detail,
        timestamp=words.iso(now_ns),
        state=beat.state if beat else "unknown",
        authenticated=bool(beat and beat.authenticated),
        symbols=beat.symbols if beat else 0,
        messages=beat.messages if beat else 0,
        last_message_at=_iso(last_ns),
        seconds_since_last_message=_seconds(last_ns, now_ns),
        heartbeat_at=_iso(beat.at_ns if beat else None),
        last_disconnect=f"{left.reason}: {left.detail}" if left else None,
    )


def data_source(hub: Hub, now_ns: int) -> DataSourceHealth:
    """Return what the router does."""
    at = hub.transition
    state = at.to_state if at else "UNKNOWN"
    source = words.SOURCE_OF.get(state)
    found: dict[str, tuple[Status, str]] = {
        "PRIMARY_ACTIVE": ("Healthy", "prices are Alpaca's"),
        "FALLBACK_ACTIVE": ("Degraded", "prices are Yahoo's, and late"),
        "BOTH_UNAVAILABLE": ("Unhealthy", "neither source can be had"),
    }
    status, detail = found.get(state, ("Degraded", "the router has not decided yet"))
    beat = hub.sources["yahoo"].heartbeat
    silent = beat is None or now_ns - beat.at_ns > SILENT_S * NS
    return DataSourceHealth(
        status=status,
        detail=f"{detail}: {at.detail}" if at and status != "Healthy" else detail,
        timestamp=words.iso(now_ns),
        state=state,
        source=source,
        is_real_time=source == "alpaca",
        epoch=at.epoch if at else 0,
        since=_iso(at.switched_at_ns if at else None),
        yahoo_state="silent" if beat is None or silent else beat.state,
        transitions=[_transition(each) for each in [*reversed(hub.history)][:TOLD]],
    )


def stocks(hub: Hub, now_ns: int) -> StocksHealth:
    """Return how the prices are as a whole."""
    found: dict[Freshness, list[str]] = {"LIVE": [], "DELAYED": [], "STALE": []}
    for symbol, price in hub.fanout.latest.items():
        found[freshness(price, hub.transition, hub.session, now_ns)].append(symbol)
    live, delayed, stale = (len(found[kind]) for kind in ("LIVE", "DELAYED", "STALE"))
    status: Status = "Healthy"
    if not live + delayed:
        status = "Unhealthy"
    elif delayed or stale:
        status = "Degraded"
    return StocksHealth(
        status=status,
        detail=f"{live} live, {delayed} delayed, {stale} stale",
        timestamp=words.iso(now_ns),
        market=hub.session.state if hub.session else "unknown",
        followed=len({symbol for each in hub.followed.values() for symbol in each}),
        priced=len(hub.fanout.latest),
        live=live,
        delayed=delayed,
        stale=stale,
        stale_symbols=sorted(found["STALE"]),
        live_limit_seconds=LIVE_S,
        delayed_limit_seconds=DELAYED_S,
    )


def realtime(
    hub: Hub, tally: Tally, connections: dict[str, int], per_second: float, now_ns: int
) -> RealtimeHealth:
    """Return how this hub is."""
    beats = [state.heartbeat.at_ns for state in hub.sources.values() if state.heartbeat]
    silent_s = (now_ns - max(beats)) / NS if beats else None
    reached = silent_s is not None and silent_s <= SILENT_S
    trip = tally.round_trip()
    median = trip.quantile(0.5)
    return RealtimeHealth(
        status="Healthy" if reached else "Unhealthy",
        detail="the log reaches this hub" if reached else "nothing comes out of the log",
        timestamp=words.iso(now_ns),
        connections=connections,
        updates_per_second=round(per_second, 1),
        latency={source: _times(tally.latency(source)) for source in hub.sources},
        round_trip=_times(trip),
        one_way_estimate_p50=None if median is None else median / 2,
    )


def overall(
    checks: dict[str, AlpacaHealth | DataSourceHealth | StocksHealth | RealtimeHealth],
    now_ns: int,
) -> Overall:
    """Return the whole pipeline's health: it serves while prices come, from whomever."""
    found = {name: check.status for name, check in checks.items()}
    if found["alpaca"] == "Unhealthy":
        found["alpaca"] = "Degraded"  # that is what the other source is for
    status = max(found.values(), key=_RANK.index)
    # anybody may ask: what an operator wrote is for those who may see prices
    unwell = [f"{name} is {checks[name].status}" for name, each in found.items() if each == status]
    return Overall(
        status=status,
        detail="all is well" if status == "Healthy" else ", ".join(unwell),
        timestamp=words.iso(now_ns),
        checks={name: check.status for name, check in checks.items()},
    )


def symbols(hub: Hub) -> Symbols:
    """Return all symbols that there are."""
    found = [
        Symbol(
            symbol=symbol,
            followed_by=sorted(s for s, followed in hub.followed.items() if symbol in followed),
            has_price=symbol in hub.fanout.latest,
        )
        for symbol in hub.symbols()
    ]
    return Symbols(count=len(found), symbols=found)


def active(hub: Hub, now_ns: int) -> ActiveSymbols:
    """Return all symbols that have a price, with it."""
    found = [
        _active(hub, hub.fanout.latest[symbol], now_ns) for symbol in sorted(hub.fanout.latest)
    ]
    return ActiveSymbols(count=len(found), symbols=found)


def _active(hub: Hub, price: RoutedPrice, now_ns: int) -> ActiveSymbol:
    return ActiveSymbol(
        symbol=price.symbol,
        price=price.price,
        price_change=price.change,
        price_change_percent=price.change_percent,
        volume=figures(price, hub.days.get(price.symbol))["volume"],
        source=price.source,
        freshness=freshness(price, hub.transition, hub.session, now_ns),
        age_seconds=round((now_ns - price.market_time_ns) / NS, 3),
        timestamp=words.iso(price.market_time_ns),
        subscribers=hub.fanout.subscribers(price.symbol),
    )


def _transition(each: RouterTransition) -> Transition:
    return Transition(
        epoch=each.epoch,
        previous_state=each.from_state,
        state=each.to_state,
        reason=each.reason,
        detail=each.detail,
        by=each.by,
        detected_at=words.iso(each.detected_at_ns),
        switched_at=words.iso(each.switched_at_ns),
    )


def _times(spread: Spread) -> Times:
    return Times(
        p50=spread.quantile(0.5),
        p95=spread.quantile(0.95),
        p99=spread.quantile(0.99),
        count=len(spread),
    )


def _iso(ns: int | None) -> str | None:
    return None if ns is None else words.iso(ns)


def _seconds(ns: int | None, now_ns: int) -> float | None:
    return None if ns is None else round((now_ns - ns) / NS, 3)
