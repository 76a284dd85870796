"""A made-up day of the pipeline, as its events: two stocks, two sources, and what went wrong.

Monday, 5 January 2026, in New York's winter time: the session is from 14:30 to 21:00 UTC.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec

from infra import topics
from infra.commands import Answer
from infra.topics import Topic
from ingest import events as seen
from processors import events as judged
from sinks import events as told
from sinks.clickhouse.batch import Batch
from tests.sinks.clickhouse.records import BY_NAME, Record

Fact = tuple[Topic, msgspec.Struct]

MIDNIGHT_NS = 1_767_571_200_000_000_000  # 2026-01-05 00:00 UTC
DAY_NS = 24 * 3600 * 1_000_000_000

_SERIAL = itertools.count(1)


def at(clock: str, day: int = 5) -> int:
    """Return a moment of January 2026, in nanoseconds."""
    hours, minutes, seconds = clock.split(":")
    within = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    return MIDNIGHT_NS + (day - 5) * DAY_NS + round(within * 1000) * 1_000_000


def _place(source: str, symbol: str, moment: int, late_ms: int = 5) -> dict[str, Any]:
    serial = next(_SERIAL)
    return {
        "symbol": symbol,
        "source": source,
        "feed": "iex" if source == "alpaca" else "spark",
        "session_id": "s",
        "session_seq": serial,
        "received_at_ns": moment + late_ms * 1_000_000,
        "raw_topic": f"ticks.raw.{source}",
        "raw_partition": 0,
        "raw_offset": serial,
        "market_time_ns": moment,
    }


def trade(symbol: str, moment: int, price: float, size: float, number: int, **more: Any) -> Fact:
    """Return a trade of Alpaca's."""
    own: dict[str, Any] = {"exchange": "V", "tape": "C", "trade_id": number, "conditions": ["@"]}
    fields = _place("alpaca", symbol, moment) | own | {"price": price, "size": size} | more
    return topics.VALID, judged.Trade(**fields)


def quote(symbol: str, moment: int, bid: float, ask: float) -> Fact:
    """Return a quote of Alpaca's."""
    sides: dict[str, Any] = {"bid_price": bid, "bid_size": 100, "bid_exchange": "V"}
    sides |= {"ask_price": ask, "ask_size": 100, "ask_exchange": "V"}
    own: dict[str, Any] = {"tape": "C", "conditions": []}
    return topics.VALID, judged.Quote(**_place("alpaca", symbol, moment), **sides, **own)


def last(symbol: str, moment: int, price: float) -> Fact:
    """Return what a poll of Yahoo's told, fifteen minutes late."""
    own: dict[str, Any] = {
        "previous_close": 100,
        "day_high": None,
        "day_low": None,
        "volume": 5,
        "currency": "USD",
    }
    place: dict[str, Any] = _place("yahoo", symbol, moment, 900_000)
    return topics.VALID, judged.Last(**place, price=price, **own)


def answered(place: int, moment: int, command: str, **more: Any) -> Fact:
    """Return what the router said to a command of Ann's."""
    own: dict[str, Any] = {"who": "ann", "why": "a drill", "outcome": "done", "reason": ""}
    own |= {"detail": "", "state": "PRIMARY_ACTIVE", "epoch": 6} | more
    return topics.ANSWERS, Answer(command_offset=place, command=command, at_ns=moment, **own)


def bar(symbol: str, moment: int, close: float, **more: Any) -> Fact:
    """Return a bar of Alpaca's."""
    own: dict[str, Any] = {
        "interval": "1m",
        "updated": False,
        "open": close,
        "high": close,
        "low": close,
    }
    own |= {"close": close, "volume": 10, "trade_count": 1, "vwap": None}
    return topics.VALID, judged.Bar(**_place("alpaca", symbol, moment) | own | more)


def correction(
    symbol: str, moment: int, number: int, *, to: int, price: float, size: float
) -> Fact:
    """Return the correction of a trade."""
    was: dict[str, Any] = {"original_id": number, "original_price": 1, "original_size": 1}
    now: dict[str, Any] = {"corrected_id": to, "corrected_price": price, "corrected_size": size}
    own: dict[str, Any] = {"exchange": "V", "tape": "C", "original_conditions": ["@"]}
    own |= {"corrected_conditions": ["@", "I"]}
    return topics.VALID, judged.Correction(**_place("alpaca", symbol, moment), **was, **now, **own)


def cancel(symbol: str, moment: int, number: int) -> Fact:
    """Return the cancellation of a trade."""
    own: dict[str, Any] = {
        "exchange": "V",
        "tape": "C",
        "trade_id": number,
        "price": 1,
        "size": 1,
        "action": "C",
    }
    return topics.VALID, judged.Cancel(**_place("alpaca", symbol, moment), **own)


def routed(source: str, symbol: str, moment: int, price: float, epoch: int) -> Fact:
    """Return a price that went out 20 ms after it was received; the previous close was 100."""
    place: dict[str, Any] = _place(source, symbol, moment, 5 if source == "alpaca" else 900_000)
    own: dict[str, Any] = {"price": price, "previous_close": 100, "change": price - 100}
    own |= {"change_percent": price - 100, "epoch": epoch, "is_real_time": source == "alpaca"}
    own |= {"routed_at_ns": place["received_at_ns"] + 20_000_000}
    return topics.ROUTED, judged.RoutedPrice(**place | own)


def transition(
    epoch: int, states: str, moment: int, reason: str, *, generation: int = 1, by: str = "router"
) -> Fact:
    """Return a transition, `P>F`, that was detected two seconds before it was in force."""
    names = {
        "S": "STARTUP",
        "P": "PRIMARY_ACTIVE",
        "F": "FALLBACK_ACTIVE",
        "B": "BOTH_UNAVAILABLE",
    }
    was, now = (names[letter] for letter in states.split(">"))
    fields: dict[str, Any] = {
        "epoch": epoch,
        "from_state": was,
        "to_state": now,
        "reason": reason,
        "detail": f"because of {reason}",
        "detected_at_ns": moment - 2_000_000_000,
        "switched_at_ns": moment,
        "by": by,
        "cause_offset": 1,
        "generation": generation,
    }
    return topics.TRANSITIONS, judged.RouterTransition(**fields)


def rejected(symbol: str, moment: int, reason: str, source: str = "alpaca") -> Fact:
    """Return a tick that was not believed."""
    place: dict[str, Any] = _place(source, symbol, moment)
    del place["market_time_ns"]
    own: dict[str, Any] = {"reason": reason, "detail": f"found {reason}", "encoding": "json"}
    return topics.REJECTED, judged.RejectedTick(**place, **own, raw=msgspec.Raw(b'{"T":"t"}'))


def compared(symbol: str, moment: int, alpaca: float, yahoo: float) -> Fact:
    """Return a comparison of both sources."""
    delta = 100 * abs(alpaca - yahoo) / yahoo
    fields: dict[str, Any] = {
        "symbol": symbol,
        "verdict": "inconsistent" if delta > 5 else "consistent",
        "alpaca_price": alpaca,
        "alpaca_time_ns": moment,
        "alpaca_offset": 1,
        "yahoo_price": yahoo,
        "yahoo_time_ns": moment,
        "delta_percent": delta,
        "compared_at_ns": moment + 900_000_000_000,
        "raw_topic": "ticks.raw.yahoo",
        "raw_partition": 0,
        "raw_offset": next(_SERIAL),
    }
    return topics.COMPARISONS, judged.Comparison(**fields)


def gap(name: str, kind: str, since: int, until: int | None = None, **more: Any) -> Fact:
    """Return an event of a gap's life."""
    kinds = {"opened": seen.GapOpened, "ended": seen.GapEnded, "closed": seen.GapClosed}
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "gap_id": name,
        "at_ns": until or since,
        "cause": "disconnected",
        "symbols": [],
        "since_ns": since,
    }
    own: dict[str, Any] = {} if kind == "opened" else {"until_ns": until}
    if kind == "ended":
        own |= {"shed": {}}
    if kind == "closed":
        own |= {"outcome": "filled", "trades": 0, "bars": 0, "lost": ["quotes"]}
    return topics.SOURCES_GAPS, kinds[kind](**fields | own | more)


def status(kind: type[msgspec.Struct], moment: int, **more: Any) -> Fact:
    """Return an event of Alpaca's life."""
    own: dict[str, Any] = {"source": "alpaca", "feed": "iex", "session_id": "s", "at_ns": moment}
    return topics.SOURCES_STATUS, kind(**own, **more)


def client(kind: type[msgspec.Struct], moment: int, name: str, **more: Any) -> Fact:
    """Return something that happened to a client of the hub."""
    own = {"at_ns": moment, "connection_id": name, "hub": "market-data", "user": "ann"}
    return topics.HUB_SESSIONS, kind(**own | more)


def delivered(hub: str, since: int, until: int) -> Fact:
    """Return what a hub tells of a minute in which nothing was sent."""
    figures = dict.fromkeys(f"{who}_p{n}_s" for who in ("alpaca", "yahoo") for n in (50, 95, 99))
    figures |= dict.fromkeys(("round_trip_p50_s", "round_trip_p95_s"))
    counts = ("clients", "updates", "bytes", "alpaca_count", "yahoo_count", "round_trip_count")
    own: dict[str, Any] = {"at_ns": until, "since_ns": since, "hub_id": hub}
    return topics.HUB_DELIVERIES, told.Delivered(**own | figures | dict.fromkeys(counts, 0))


FACTS: list[Fact] = [
    status(seen.Subscribed, at("14:00:00"), symbols=["AAPL", "MSFT"]),
    status(seen.SymbolsImpaired, at("14:00:01"), reason="limit", symbols=["X", "Y", "Z"]),
    status(
        seen.Heartbeat,
        at("14:00:02"),
        state="connected",
        authenticated=True,
        symbols=3,
        messages=1,
    ),
    # 14:30 to 14:31: four trades of AAPL, of which one is corrected twice, and one cancelled
    trade("AAPL", at("14:30:01"), 101, 100, 1),
    trade("AAPL", at("14:30:10"), 190, 10, 2),
    trade("AAPL", at("14:30:20"), 50, 10, 3),
    trade("AAPL", at("14:30:50"), 103, 100, 4),
    correction("AAPL", at("14:31:10"), 2, to=20, price=109, size=20),
    correction("AAPL", at("14:31:20"), 20, to=21, price=105, size=20),
    cancel("AAPL", at("14:31:30"), 3),
    # the same number at another exchange is another trade
    trade("AAPL", at("14:31:40"), 104, 50, 2, exchange="Q"),
    trade("MSFT", at("14:31:59.5"), 200, 10, 5),
    trade("AAPL", at("15:31:00"), 106, 10, 6, gap_id="g-1"),
    quote("AAPL", at("14:30:02"), 100.9, 101.1),
    quote("AAPL", at("14:30:03"), 100.8, 101.2),
    quote("AAPL", at("14:30:04"), 0, 101.2),
    last("AAPL", at("14:30:30"), 102),
    last("AAPL", at("14:31:40"), 130),
    bar("AAPL", at("14:30:00"), 103),
    bar("AAPL", at("14:30:00"), 105, updated=True, received_at_ns=at("14:40:00")),
    compared("AAPL", at("14:30:30"), 102.5, 102),
    compared("AAPL", at("14:31:40"), 104, 130),
    # Alpaca, then Yahoo from 15:00 to 15:10 and nobody for a minute of it; then by hand
    transition(1, "S>P", at("14:00:00"), "startup"),
    transition(2, "P>F", at("15:00:00"), "disconnected"),
    transition(3, "F>B", at("15:05:00"), "timeout"),
    transition(4, "B>F", at("15:06:00"), "recovered"),
    transition(5, "F>P", at("15:10:00"), "recovered", generation=2),
    transition(6, "P>F", at("15:10:01"), "disconnected", generation=1),  # by a former router
    transition(6, "P>F", at("16:00:00"), "manual", generation=2, by="ann"),
    transition(7, "F>P", at("16:00:30"), "recovered", generation=2),
    answered(0, at("16:00:00"), "failover"),
    answered(1, at("16:00:10"), "release", outcome="refused", reason="not_held"),
    routed("alpaca", "AAPL", at("14:30:01"), 101, 1),
    routed("alpaca", "AAPL", at("14:30:50"), 103, 1),
    routed("alpaca", "MSFT", at("14:31:59.5"), 98, 1),
    routed("yahoo", "AAPL", at("14:46:00"), 102, 2),
    routed("alpaca", "AAPL", at("15:31:00"), 106, 5),
    routed("alpaca", "AAPL", at("15:31:00", day=6), 110, 7),
    rejected("AAPL", at("14:35:00"), "invalid_price"),
    rejected("MSFT", at("14:36:00"), "invalid_price"),
    rejected("NOPE", at("14:37:00"), "unknown_symbol", "yahoo"),
    # all that is followed for ten minutes, filled; one stock for a minute, which nothing fills
    gap("g-1", "opened", at("15:30:00")),
    gap("g-1", "ended", at("15:30:00"), at("15:40:00")),
    gap("g-1", "closed", at("15:30:00"), at("15:40:00"), trades=1, bars=10),
    gap("g-2", "opened", at("20:59:30"), cause="stalled", symbols=["MSFT"]),
    gap("g-2", "ended", at("20:59:30"), at("21:00:30"), cause="stalled", symbols=["MSFT"]),
    # two clients; one while Yahoo's prices went out, and in the minute that had none
    client(told.ClientConnected, at("14:50:00"), "c-1", encoding="json"),
    client(told.ClientSubscribed, at("14:50:01"), "c-1", symbols=["AAPL", "MSFT"]),
    client(
        told.ClientLeft,
        at("15:20:00"),
        "c-1",
        reason="left",
        detail="",
        connected_at_ns=at("14:50:00"),
        updates=9,
    ),
    client(told.ClientConnected, at("17:00:00"), "c-2", encoding="messagepack", user=""),
    client(told.ClientSubscribed, at("17:00:01"), "c-2", symbols=["AAPL"], user=""),
    client(
        told.ClientLeft,
        at("17:30:00"),
        "c-2",
        reason="too_slow",
        detail="it did not read",
        connected_at_ns=at("17:00:00"),
        updates=3,
        user="",
    ),
]


def batches(facts: Iterable[Fact], size: int) -> list[Batch]:
    """Return the facts as batches, as the sink reads them from the log."""
    logs: defaultdict[Topic, list[Record]] = defaultdict(list)
    for topic, event in facts:
        log = logs[topic]
        log.append(Record(len(log), msgspec.json.encode(event), topic=topic.name))
    made = []
    for topic, log in logs.items():
        for first in range(0, len(log), size):
            batch = Batch(BY_NAME)
            batch.add(topic.name, 0, log[first : first + size])
            made.append(batch)
    return made
