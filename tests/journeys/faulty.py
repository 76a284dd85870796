"""A minute in which much goes wrong, what was written in it, and what a replay makes of it.

    python -m tests.journeys.faulty

runs it once more, and puts its capture where tests/processors/replay/test_golden.py finds it.
"""

import asyncio
import itertools
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
from aiokafka import ConsumerRecord

from infra import topics
from infra.capture import Header, Reader
from infra.stack.plan import HOST
from processors.events import RoutedPrice, RouterTransition
from tests.journeys.running import Stack, a_stack

#: Where the capture is kept.
GOLDEN = Path(__file__).parent.parent / "processors" / "replay" / "faulty.capture"
#: Few ticks are enough to go wrong.
RATE = 60
#: Longer than the router has patience.
OUTAGE_S = 12.0
#: What the vendor does wrong: a few ticks of each, of symbols of their own, so that all show.
WRONG: dict[str, dict[str, object]] = {
    "duplicate": {"count": 3},
    "out-of-order": {"count": 3},
    "late": {"count": 3},
    "price-zero": {"count": 3, "symbols": ["AAPL"]},
    "negative-size": {"count": 3, "symbols": ["NVDA"]},
    "future-time": {"count": 3, "symbols": ["AMZN"]},
    "jump": {"count": 9, "by": 0.4, "symbols": ["TSLA"]},
    "unknown-type": {"count": 3},
    "correction": {},
    "cancel": {},
    "halt": {"symbols": ["MSFT"], "seconds": 20},
    "luld": {"symbols": ["GOOGL"]},
}
#: What ticks are rejected for then.
REASONS = {
    "invalid_price",
    "negative_volume",
    "future_timestamp",
    "unknown_type",
    "circuit_breaker",
}

FROM_RAW = (
    topics.VALID,
    topics.REJECTED,
    topics.BREAKERS,
    topics.COMPARISONS,
    topics.QUARANTINES,
    topics.ROUTED,
)

DECIDED = (topics.TRANSITIONS, topics.ANSWERS)


async def go_wrong(stack: Stack) -> None:
    """Have ticks go wrong, in every way, once Alpaca is routed."""
    await _routed(stack, 1, "PRIMARY_ACTIVE", 60)
    for name, parameters in WRONG.items():
        await _fault(stack, name, parameters)

    async def rejected() -> bool:
        records = await stack.records(topics.REJECTED.name, topics.REJECTED.partitions)
        return {msgspec.json.decode(r.value)["reason"] for r in records} >= REASONS

    await stack.until(rejected, 60)


async def fail(stack: Stack) -> None:
    """Have Alpaca fail, and come back; return when it is routed again."""
    await _fault(stack, "too-many-requests", {"seconds": OUTAGE_S})
    await _fault(stack, "cut", {})
    await _routed(stack, 2, "FALLBACK_ACTIVE", 60)
    await _routed(stack, 3, "PRIMARY_ACTIVE", 120)


async def be_asked(stack: Stack) -> None:
    """Have an operator go over to Yahoo and back, through a connection that is lost."""
    await _command(stack, "failover", "yahoo", "--why", "a drill", "--who", "ann")
    await _routed(stack, 2, "FALLBACK_ACTIVE", 30)
    await _fault(stack, "cut", {})

    async def from_yahoo() -> bool:
        records = await stack.records(topics.ROUTED.name, topics.ROUTED.partitions)
        return any(msgspec.json.decode(r.value)["source"] == "yahoo" for r in records)

    await stack.until(from_yahoo, 30)
    await _command(stack, "release", "--why", "a drill", "--who", "ann")
    await _routed(stack, 3, "PRIMARY_ACTIVE", 60)


async def _fault(stack: Stack, name: str, parameters: dict[str, object]) -> None:
    url = f"http://{HOST}:{stack.port('alpaca-simulator', 1)}/faults/{name}"
    async with aiohttp.ClientSession() as http, http.put(url, json=parameters) as answer:
        assert answer.ok, await answer.text()


async def _command(stack: Stack, *arguments: str) -> None:
    """Run `twinfeed` as an operator does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", *arguments, "--data", str(stack.data)),
    )
    assert await process.wait() == 0


async def _routed(stack: Stack, epoch: int, state: str, seconds: float) -> None:
    async def come() -> bool:
        records = await stack.records(topics.TRANSITIONS.name, 1)
        story = [msgspec.json.decode(r.value, type=RouterTransition) for r in records]
        return [(t.epoch, t.to_state) for t in story][epoch - 1 :] == [(epoch, state)]

    await stack.until(come, seconds)


async def settled(stack: Stack) -> None:
    """Wait until what is in the raw topics now was judged, and what is valid was forwarded."""
    for group, inputs in (
        ("validate", (topics.RAW_ALPACA, topics.RAW_YAHOO)),
        ("forward", (topics.VALID,)),
    ):
        for topic in inputs:
            ends = await stack.ends(topic.name, topic.partitions)

            async def done(
                group: str = group, topic: topics.Topic = topic, ends: dict[int, int] = ends
            ) -> bool:
                kept = await stack.committed(group, topic.name)
                return all(kept.get(partition, 0) >= end for partition, end in ends.items())

            await stack.until(done, 60)


async def capture(stack: Stack, file: Path) -> None:
    """Capture all that happened until now, on the command line."""
    since = datetime.fromtimestamp(time.time() - 3600, UTC)
    await _command(stack, "capture", str(file), "--from", since.isoformat())


def header_of(file: Path) -> Header:
    """Return what a capture is of."""
    with file.open("rb") as content:
        return Reader(content).header


class Written(NamedTuple):
    """A record of an event."""

    key: bytes
    value: bytes


Places = dict[tuple[str, int], list[Written]]


async def written(stack: Stack, header: Header) -> Places:
    """Return what was written live of what a capture has, by topic and partition."""
    until = {(span.topic, span.partition): span.until for span in header.spans}
    found: Places = defaultdict(list)
    for topic in FROM_RAW:
        for record in await stack.records(topic.name, topic.partitions):
            place = msgspec.json.decode(record.value, type=_Place)
            if place.raw_offset < until[place.raw_topic, place.raw_partition]:
                found[topic.name, record.partition].append(_written(topic, record))
    for topic in DECIDED:
        for record in await stack.records(topic.name, topic.partitions):
            found[topic.name, record.partition].append(_written(topic, record))
    return dict(found)


class _Place(msgspec.Struct):
    raw_topic: str
    raw_partition: int
    raw_offset: int


def _written(topic: topics.Topic, record: ConsumerRecord) -> Written:
    return Written(record.key, timeless(record.value) if topic is topics.ROUTED else record.value)


def timeless(value: bytes) -> bytes:
    """Return a routed price without the moment at which it was, which no replay can know."""
    price = msgspec.json.decode(value, type=RoutedPrice)
    return msgspec.json.encode(msgspec.structs.replace(price, routed_at_ns=0))


async def replayed(file: Path, lines: Path) -> Places:
    """Return what a replay makes of a capture, by topic and partition."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", "replay", str(file), "--events", str(lines)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return _by_place(lines)


def _by_place(lines: Path) -> Places:
    found: Places = defaultdict(list)
    for line in lines.read_bytes().splitlines():
        event = msgspec.json.decode(line, type=_Line)
        value = bytes(event.value)
        if event.topic == topics.ROUTED.name:
            value = timeless(value)
        found[event.topic, event.partition].append(Written(event.key.encode(), value))
    return dict(found)


class _Line(msgspec.Struct):
    topic: str
    partition: int
    key: str
    value: msgspec.Raw


def same(live: Places, again: Places) -> None:
    """Assert that both are the same, and show the first difference where they are not."""
    for place in sorted(live.keys() | again.keys()):
        for n, (before, after) in enumerate(
            itertools.zip_longest(live.get(place, []), again.get(place, []))
        ):
            assert before == after, f"{place}, event {n}"


async def main() -> None:
    """Run it, and keep the capture."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / GOLDEN.name
        async with a_stack(Path(folder), "--rate", str(RATE)) as stack:
            await go_wrong(stack)
            await fail(stack)
            await settled(stack)
            await capture(stack, file)
            same(await written(stack, header_of(file)), await replayed(file, Path(folder) / "l"))
        shutil.copy(file, GOLDEN)


if __name__ == "__main__":
    asyncio.run(main())
