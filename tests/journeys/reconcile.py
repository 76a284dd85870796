"""The books are balanced: what the simulators sent, what Kafka took, what ClickHouse shows.

A tick is known by its vendor's bytes: times to the nanosecond make every message its own.
"""

import base64
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from infra import topics
from infra.simulators import ledger
from ingest.events import GapEnded, GapEvent, RawTick
from tests.journeys.running import Stack

RAW = (topics.RAW_ALPACA, topics.RAW_YAHOO)

#: How much earlier than the last tick's receipt the next one may have been sent.
SENT_SLACK_NS = 2_000_000_000


async def catch_up(stack: Stack, seconds: float) -> None:
    """Wait until every raw tick that Kafka holds now has its row and its verdict in ClickHouse.

    The market goes on meanwhile, so ClickHouse may come to hold more.
    """
    for topic in RAW:
        ends = await stack.ends(topic.name, topic.partitions)
        for places in _PLACES.values():
            await stack.until(
                partial(_holds, stack, places.format(topic=topic.name), ends), seconds
            )


async def _holds(stack: Stack, places: str, ends: dict[int, int]) -> bool:
    held = {row["partition"]: int(row["places"]) for row in await stack.rows(places)}
    return all(held.get(partition, 0) >= end for partition, end in ends.items())


_PLACES = {
    "raw_ticks": (
        "SELECT partition, uniqExact(offset) AS places FROM raw_ticks "
        "WHERE topic = '{topic}' GROUP BY partition"
    ),
    "verdicts": (
        "SELECT raw_partition AS partition, uniqExact(raw_offset) AS places FROM ("
        "SELECT raw_topic, raw_partition, raw_offset FROM valid_ticks UNION ALL "
        "SELECT raw_topic, raw_partition, raw_offset FROM rejected_ticks) "
        "WHERE raw_topic = '{topic}' GROUP BY partition"
    ),
}


def sent(stack: Stack, vendor: str, *, ledgers: Path | None = None) -> list[ledger.Entry]:
    """Return what a simulator says that it sent, so far."""
    return list(ledger.read((ledgers or stack.data / "ledgers") / f"{vendor}.jsonl"))


def wire(tick: RawTick) -> bytes:
    """Return a raw tick's bytes as the vendor sent them."""
    return bytes(tick.raw) if tick.encoding == "json" else base64.b64decode(bytes(tick.raw))


def unaccounted(
    entries: Iterable[ledger.Entry], published: Counter[bytes], gaps: Iterable[GapEvent]
) -> list[ledger.Entry]:
    """Return what was sent, and is neither published nor lies in a gap of its symbol."""
    left, ended = published.copy(), [gap for gap in gaps if isinstance(gap, GapEnded)]
    missing = []
    for entry in entries:
        if left[entry.wire] > 0:
            left[entry.wire] -= 1
        elif not any(_covers(gap, entry) for gap in ended):
            missing.append(entry)
    return missing


def _covers(gap: GapEnded, entry: ledger.Entry) -> bool:
    return gap.since_ns - SENT_SLACK_NS <= entry.sent_at_ns <= gap.until_ns and (
        not gap.symbols or not entry.symbol or entry.symbol in gap.symbols
    )


async def stored(stack: Stack, vendor: str) -> Counter[str]:
    """Return how often ClickHouse shows each of a vendor's messages."""
    rows = await stack.rows(f"SELECT raw FROM raw_ticks FINAL WHERE source = '{vendor}'")  # noqa: S608
    return Counter(row["raw"] for row in rows)


def as_often_as_sent(entries: Iterable[ledger.Entry], held: Counter[str], cut_ns: int) -> None:
    """Check that what was sent by the cut is held, and nothing oftener than it was sent.

    Alpaca sends nothing twice. Yahoo answers two polls of one second alike, and there are such
    two: a poll is brought forward where Yahoo comes to be routed. Each answer is a tick.
    """
    entries = list(entries)
    due = Counter(entry.raw for entry in entries if entry.sent_at_ns <= cut_ns)
    missing = due - held
    assert not missing, f"{missing.total()} messages are missing, {_first(missing)}"
    more = held - Counter(entry.raw for entry in entries)
    assert not more, f"{more.total()} messages are there oftener than sent, {_first(more)}"


def _first(messages: Counter[str]) -> str:
    return f"{next(iter(messages))[:200]} the first"


async def no_tick_is_lost_or_doubled_behind_kafka(stack: Stack) -> None:
    """Check that what Kafka took is in ClickHouse once, and its verdicts with their reasons.

    A raw tick has one verdict; of Yahoo's bars several, each of another market time.
    """
    # each in one query: the market goes on between two
    (raw,) = await stack.rows(
        "SELECT count() AS rows, uniqExact((topic, partition, offset)) AS ticks "
        "FROM raw_ticks FINAL"
    )
    assert raw["rows"] == raw["ticks"], "a raw tick is there twice"
    verdicts = await stack.rows(
        "SELECT count() AS verdicts, "
        "uniqExact((raw_topic, raw_partition, raw_offset, if(many, bar, ''))) AS own, "
        "countIf(reason = '') AS unexplained FROM ("
        "SELECT raw_topic, raw_partition, raw_offset, 'valid' AS reason, "
        "concat(kind, toString(market_time)) AS bar, feed = 'chart-5m' AS many "
        "FROM valid_ticks FINAL UNION ALL "
        "SELECT raw_topic, raw_partition, raw_offset, reason, 'rejected', feed = 'chart-5m' "
        "FROM rejected_ticks FINAL)"
    )
    (row,) = verdicts
    assert row["verdicts"] == row["own"], "a raw tick has a verdict twice"
    assert int(row["unexplained"]) == 0
    assert int(await stack.value("SELECT count() FROM dead_letters")) == 0


def only_the_ends_of_sessions_are_missing(
    entries: list[ledger.Entry], held: Counter[str]
) -> dict[str, int]:
    """Check that of every connection and symbol a beginning was received; return what is missing.

    A client that dies leaves behind what is in the socket, and what was under way to Kafka: of one
    symbol a tail, never a hole. Two symbols may lie in two partitions, whose batches go by
    themselves, so of one frame the later message may have arrived where the earlier one has not.
    """
    received: defaultdict[str, defaultdict[str, list[bool]]]
    received = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        received[entry.connection][entry.symbol].append(entry.raw in held)
    missing = {}
    for connection, by_symbol in received.items():
        for symbol, arrived in by_symbol.items():
            in_order = sorted(arrived, reverse=True)
            assert arrived == in_order, f"a hole in {symbol} of {connection}"
        missing[connection] = sum(arrived.count(False) for arrived in by_symbol.values())
    return missing


async def routed_in_order(stack: Stack) -> int:
    """Check the order of `prices.routed` per symbol; return how many prices there are."""
    records = await stack.records(topics.ROUTED.name, topics.ROUTED.partitions)
    by_symbol: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        price = orjson.loads(record.value)
        assert record.key.decode() == price["symbol"]
        assert dict(record.headers)["schema"] == b"RoutedPrice/1"
        by_symbol[price["symbol"]].append(price)
    for symbol, prices in by_symbol.items():
        for before, after in itertools.pairwise(prices):
            fences = [(price["epoch"], price.get("fence", 0)) for price in (before, after)]
            assert fences[0] <= fences[1], f"{symbol}: a fence came back"
            if fences[0] == fences[1]:
                assert before["source"] == after["source"], f"{symbol}: two sources in one epoch"
                # what takes the place of a cancelled price may be older, and says so
                amends = after.get("amends") is not None
                later = before["market_time_ns"] <= after["market_time_ns"]
                assert amends or later, f"{symbol}: back in time"
                assert before["raw_offset"] < after["raw_offset"], f"{symbol}: a price twice"
    return len(records)
