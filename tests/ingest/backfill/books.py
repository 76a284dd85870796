"""The log as a backfill finds it, and as it leaves it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import follow, read_to_end
from infra.topics import RAW_ALPACA, SOURCES_GAPS, SOURCES_SYMBOLS, Topic
from ingest.alpaca.times import time_ns
from ingest.events import GapClosed, GapEnded, GapEvent, RawTick, SymbolsFollowed

S = 1_000_000_000
#: For a gap to be closed, on a busy machine.
CLOSED_S = 120.0


def ended(gap_id: str = "g", **changes: Any) -> GapEnded:
    """Return a gap of twenty seconds that ended a minute ago."""
    now_ns = time.time_ns()
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "gap_id": gap_id,
        "at_ns": now_ns - 60 * S,
        "cause": "disconnected",
        "symbols": ["AAPL", "MSFT"],
        "since_ns": now_ns - 80 * S,
        "until_ns": now_ns - 60 * S,
        "shed": {},
    }
    return GapEnded(**{**fields, **changes})


class Books:
    """The topics that a backfill reads and writes, under one prefix."""

    def __init__(self, servers: str, prefix: str, producer: BatchProducer) -> None:
        self.servers = servers
        self.prefix = prefix
        self._producer = producer

    async def write(self, topic: Topic, key: str, records: Iterable[tuple[bytes, int]]) -> None:
        """Write values with their times, in nanoseconds, and see them there."""
        delivery = await self._producer.send(
            self.prefix + topic.name,
            self._producer.partition(key.encode(), topic.partitions),
            [Record(key.encode(), value, at_ns // 1_000_000) for value, at_ns in records],
            topic.header,
        )
        await delivery

    async def live(self, *objects: Mapping[str, Any], kind: str = "t") -> None:
        """Write objects of the history as the stream would have brought them."""
        for symbol in {each["S"] for each in objects}:
            records = []
            for each in objects:
                at_ns = time_ns(each["t"])
                tick = RawTick(
                    source="alpaca",
                    feed="iex",
                    symbol=symbol,
                    session_id="live-1",
                    session_seq=1,
                    received_at_ns=at_ns + 1_000_000,
                    encoding="json",
                    raw=msgspec.Raw(json.dumps({"T": kind, **each}).encode()),
                )
                if each["S"] == symbol:
                    records.append((msgspec.json.encode(tick), tick.received_at_ns))
            await self.write(RAW_ALPACA, symbol, records)

    async def gap(self, *events: GapEvent) -> None:
        """Write into the ledger."""
        records = [(msgspec.json.encode(event), event.at_ns) for event in events]
        await self.write(SOURCES_GAPS, "alpaca", records)

    async def follows(self, *symbols: str) -> None:
        """Write what is followed."""
        followed = SymbolsFollowed(
            source="alpaca", at_ns=time.time_ns(), symbols=list(symbols), origin="a test"
        )
        await self.write(SOURCES_SYMBOLS, "alpaca", [(msgspec.json.encode(followed), 0)])

    async def closed(self, gap_id: str = "g") -> GapClosed:
        """Return a gap's last event, when it is there."""
        ledger = follow(self.servers, self.prefix + SOURCES_GAPS.name)
        async with asyncio.timeout(CLOSED_S), aclosing(ledger):
            async for record in ledger:
                event = _gap_event(record.value)
                if isinstance(event, GapClosed) and event.gap_id == gap_id:
                    return event
        raise AssertionError

    async def closings(self) -> Counter[str]:
        """Return how often each gap was closed."""
        name = self.prefix + SOURCES_GAPS.name
        events = [_gap_event(r.value) async for r in read_to_end(self.servers, name, 0)]
        return Counter(event.gap_id for event in events if isinstance(event, GapClosed))

    async def ticks(self) -> list[RawTick]:
        """Return all that is in the raw log, by the order of its partitions."""
        name = self.prefix + RAW_ALPACA.name
        return [
            msgspec.json.decode(record.value, type=RawTick)
            for partition in range(RAW_ALPACA.partitions)
            async for record in read_to_end(self.servers, name, partition)
        ]

    async def numbers(self) -> list[int]:
        """Return the ids of all trades in the raw log, sorted."""
        raws = [json.loads(bytes(tick.raw)) for tick in await self.ticks()]
        return sorted(raw["i"] for raw in raws if "i" in raw)


def _gap_event(value: bytes) -> GapEvent | None:
    try:
        event: GapEvent = msgspec.json.decode(value, type=GapEvent)
    except msgspec.DecodeError:
        return None
    return event


@asynccontextmanager
async def books_on(kafka: Broker, prefix: str) -> AsyncIterator[Books]:
    """Open the books of the topics under a prefix."""
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    try:
        yield Books(kafka.bootstrap_servers, prefix, producer)
    finally:
        await producer.stop()
