"""Validate workers come, go and are killed: what they decided is a function of the logs."""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest
from aiokafka import ConsumerRecord

from infra import topics as declared
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.market_calendar import ALWAYS_OPEN
from infra.topics import TICK_PARTITIONS, Topic
from ingest.events import RawTick
from processors.breaker import NS
from processors.events import Merged
from processors.judge import Judge
from processors.merge import in_order
from processors.validate import Position, judge_all, reject

pytestmark = pytest.mark.service

SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "JPM")
NOON_S = 1_795_540_000  # a second of a Tuesday noon in New York, 2026-11-24
DEADLINE_S = 90


class Market:
    """Both sources' raw ticks by seed: a walk, single strays, and moves that last."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._levels = dict.fromkeys(SYMBOLS, 100.0)
        self._second = 0
        self._number = 0

    def run(self, ticks: int) -> list[tuple[Topic, str, bytes]]:
        """Return the next ticks, each with its topic and symbol."""
        return [self._tick() for _ in range(ticks)]

    def _tick(self) -> tuple[Topic, str, bytes]:
        self._number += 1
        self._second += self._number % 3 == 0
        symbol = self._random.choice(SYMBOLS)
        chance = self._random.random()
        if chance < 0.01:
            self._levels[symbol] *= self._random.choice([0.7, 1.4])
        price = self._levels[symbol] * self._random.uniform(0.99, 1.01)
        if 0.01 < chance < 0.06:
            price *= self._random.choice([0.6, 1.5])
        if self._random.random() < 0.2:
            return declared.RAW_YAHOO, symbol, self._yahoo(symbol, price)
        return declared.RAW_ALPACA, symbol, self._alpaca(symbol, price)

    def _alpaca(self, symbol: str, price: float) -> bytes:
        stamp = f"{datetime.fromtimestamp(NOON_S + self._second, UTC):%Y-%m-%dT%H:%M:%SZ}"
        message = {"T": "t", "i": self._number, "S": symbol, "x": "V", "z": "C"}
        return self._raw("alpaca", "iex", symbol, {**message, "p": price, "s": 1, "t": stamp})

    def _yahoo(self, symbol: str, price: float) -> bytes:
        meta = {
            "symbol": symbol,
            "regularMarketPrice": price,
            "regularMarketTime": NOON_S + self._second - 15,
            "previousClose": 100.0,
        }
        return self._raw("yahoo", "spark", symbol, {"symbol": symbol, "response": [{"meta": meta}]})

    def _raw(self, source: Any, feed: str, symbol: str, message: dict[str, Any]) -> bytes:
        return msgspec.json.encode(
            RawTick(
                source=source,
                feed=feed,
                symbol=symbol,
                session_id="test",
                session_seq=self._number,
                received_at_ns=(NOON_S + self._second) * NS,
                encoding="json",
                raw=msgspec.Raw(msgspec.json.encode(message)),
            )
        )


class Workers:
    """Workers on a real broker, and what they wrote."""

    def __init__(self, servers: str, prefix: str, logs: Path) -> None:
        self._servers, self._prefix, self._logs = servers, prefix, logs
        self._producer = BatchProducer(servers, client_id="test")
        self.workers: list[asyncio.subprocess.Process] = []
        self._sent = 0

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        for worker in self.workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()

    async def start(self, name: str, stage: str = "validate") -> asyncio.subprocess.Process:
        """Start a worker that has a name, so that it is back at once when it was killed."""
        settings = {"KAFKA_BOOTSTRAP_SERVERS": self._servers, "TOPIC_PREFIX": self._prefix}
        log = self._logs / f"{len(self.workers)}.log"
        with log.open("wb") as said:
            worker = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "processors", stage),
                env={**os.environ, **settings, "MEMBER_NAME": name, "MARKET_HOURS": "always"},
                stdout=said,
            )
        self.workers.append(worker)
        async with asyncio.timeout(DEADLINE_S):
            while '"assigned"' not in log.read_text():
                await asyncio.sleep(0.05)
        return worker

    def partition(self, symbol: str) -> int:
        """Return where a symbol's ticks are."""
        return self._producer.partition(symbol.encode(), TICK_PARTITIONS)

    async def write(self, runs: Mapping[tuple[Topic, int], list[Record]]) -> None:
        """Write records, by topic and partition."""
        for (topic, partition), records in runs.items():
            name = self._prefix + topic.name
            await (await self._producer.send(name, partition, records, topic.header))

    async def send(self, ticks: Sequence[tuple[Topic, str, bytes]]) -> None:
        """Write raw ticks, in their order."""
        runs: defaultdict[tuple[Topic, int], list[Record]] = defaultdict(list)
        for topic, symbol, value in ticks:
            runs[topic, self.partition(symbol)].append(Record(symbol.encode(), value))
        await self.write(runs)
        self._sent += len(ticks)

    async def records(self, topic: Topic) -> list[list[ConsumerRecord]]:
        """Return what is in a topic, by partition."""
        return [
            [record async for record in read_to_end(self._servers, self._prefix + topic.name, p)]
            for p in range(TICK_PARTITIONS)
        ]

    async def verdicts(self) -> list[list[bytes]]:
        """Return the distinct verdicts and changes of breakers, by partition, sorted."""
        found: list[set[bytes]] = [set() for _ in range(TICK_PARTITIONS)]
        for topic in (declared.VALID, declared.REJECTED, declared.BREAKERS):
            for partition, records in enumerate(await self.records(topic)):
                found[partition].update(record.value for record in records)
        return [sorted(values) for values in found]

    async def until_judged(self) -> None:
        """Wait until every raw tick has a verdict."""
        async with asyncio.timeout(DEADLINE_S):
            while len(await self._judged()) < self._sent:
                await asyncio.sleep(0.2)

    async def _judged(self) -> set[tuple[str, int, int]]:
        found = set()
        for topic in (declared.VALID, declared.REJECTED):
            for records in await self.records(topic):
                for record in records:
                    place = msgspec.json.decode(record.value, type=_Place)
                    found.add((place.raw_topic, place.raw_partition, place.raw_offset))
        return found

    async def replayed(self) -> list[list[bytes]]:
        """Return what a judge makes of the logs and the journal, by partition, sorted."""
        alpaca, yahoo = (
            await self.records(declared.RAW_ALPACA),
            await self.records(declared.RAW_YAHOO),
        )
        merges = await self.records(declared.VALIDATE_MERGES)
        found = []
        for partition in range(TICK_PARTITIONS):
            journal = [msgspec.json.decode(r.value, type=Merged) for r in merges[partition]]
            judge, events = Judge(ALWAYS_OPEN), list[Any]()
            both = alpaca[partition], yahoo[partition]
            for run in in_order(*both, journal, written_at=lambda r: r.timestamp):
                placed = {r.offset: (r.value, Position(*_place_of(r))) for r in run}
                valid, rejected = judge_all(placed.values(), SYMBOLS)
                judged = judge.take_all(valid)
                refused = [reject(*placed[t.raw_offset], broken) for t, broken in judged.doubted]
                events += [*judged.believed, *rejected, *refused, *judged.changes]
            found.append(sorted(msgspec.json.encode(event) for event in events))
        return found


class _Place(msgspec.Struct):
    raw_topic: str
    raw_partition: int
    raw_offset: int


def _place_of(record: ConsumerRecord) -> tuple[str, int, int, int]:
    return record.topic, record.partition, record.offset, record.timestamp


@pytest.mark.parametrize("seed", range(int(os.environ.get("TAKE_OVER_RUNS", "1"))))
async def test_kills_and_rebalances_change_no_verdict(
    kafka: Broker, topics: str, tmp_path: Path, seed: int
) -> None:
    """What is in the log is what a fold of the raw logs, in the journal's order, yields."""
    market, chance = Market(seed), random.Random(seed)
    async with Workers(kafka.bootstrap_servers, topics, tmp_path) as field:
        await field.send(market.run(400))
        one = await field.start("one")
        await field.until_judged()
        two: asyncio.subprocess.Process | None = None
        for deed in ("kill", "join", "kill", "leave", "kill"):
            for _ in range(chance.randrange(3, 9)):
                await field.send(market.run(chance.randrange(20, 200)))
            if deed == "join":
                two = await field.start("two")
            elif deed == "leave" and two:
                two.send_signal(signal.SIGTERM)
                assert await two.wait() == 0
            else:
                one.kill()
                await one.wait()
                await field.send(market.run(100))
                one = await field.start("one")
            await field.send(market.run(100))
            if chance.random() < 0.5:
                await field.until_judged()
        await field.until_judged()
        written, replayed = await field.verdicts(), await field.replayed()
    kinds = [msgspec.json.decode(value, type=_Kind) for values in written for value in values]
    assert sum(bool(kind.evidence) for kind in kinds) > 5
    assert sum(kind.reason == "circuit_breaker" for kind in kinds) > 20
    assert written == replayed


async def test_what_was_said_behind_the_journal_stands(
    kafka: Broker, topics: str, tmp_path: Path
) -> None:
    """A predecessor told of Alpaca's fifth tick and died: that comes before any of Yahoo's."""
    symbol, name = "AAPL", topics + declared.RAW_ALPACA.name
    market = [tick for tick in Market(1).run(400) if tick[1] == symbol]
    said = [b"garbage", msgspec.json.encode({"raw_topic": name, "raw_offset": 4})]
    async with Workers(kafka.bootstrap_servers, topics, tmp_path) as field:
        partition = field.partition(symbol)
        await field.write({(declared.VALID, partition): [Record(b"", value) for value in said]})
        await field.send(market)
        await field.start("one")
        async with asyncio.timeout(DEADLINE_S):
            while not (merges := (await field.records(declared.VALIDATE_MERGES))[partition]):
                await asyncio.sleep(0.1)
    first = msgspec.json.decode(merges[0].value, type=Merged)
    assert (first.yahoo_since, first.alpaca_until >= 5) == (0, True)


class _Kind(msgspec.Struct):
    reason: str = ""
    evidence: str = ""
