"""A hundred deaths at seeded moments, on every store: what the ledger has is there, once."""

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

from infra.telemetry import Meters
from sinks.clickhouse.batch import Batch, Refused
from sinks.clickhouse.sink import Sink
from sinks.clickhouse.store import Store, write
from tests.sinks.clickhouse.conftest import Readable
from tests.sinks.clickhouse.records import BY_NAME, NOW_NS, RAW, STATUS, Record, raw_tick

KILLS = 100
PLACES = [TopicPartition(RAW, 0), TopicPartition(RAW, 1), TopicPartition(STATUS, 0)]


class KilledError(Exception):
    """The process is no more."""


def ledger(length: int) -> dict[TopicPartition, list[Record]]:
    """Return what the log holds: numbered ticks of two partitions, and a source's status."""
    log: dict[TopicPartition, list[Record]] = {}
    for place in PLACES:
        log[place] = []
        for offset in range(length):
            poison = offset % 150 == 7
            value = b'{"received_at_ns":"soon"}' if poison else raw_tick(b'{"n":%d}' % offset)
            if place.topic == STATUS:
                value = b'{"event":"connected","source":"alpaca","at_ns":%d}' % (NOW_NS + offset)
            log[place].append(Record(offset, value, topic=place.topic, partition=place.partition))
    return log


class Log:
    """Kafka, as a consumer sees it: what it holds, and what was committed."""

    def __init__(self, held: Mapping[TopicPartition, list[Record]], chance: random.Random) -> None:
        self.held = held
        self.committed = dict.fromkeys(held, 0)
        self.chance = chance

    @property
    def is_done(self) -> bool:
        """Whether all of it was committed."""
        return all(self.committed[place] == len(log) for place, log in self.held.items())


class Life:
    """One process: it reads from what was committed on, and dies where it is told to."""

    def __init__(self, log: Log, store: Store, dies: str | None) -> None:
        self.log = log
        self.store = store
        self.dies = dies
        self.position = dict(log.committed)
        self.stop = asyncio.Event()

    async def run(self) -> None:
        """Live for one write and its commit. Raises KilledError."""
        reader: Any = self
        meters = Meters("pipeline", "clickhouse", stage="clickhouse")
        await Sink(reader, BY_NAME, self.write, meters).run(self.stop)

    def subscribe(self, *_: object, **__: object) -> None:
        """Be a consumer."""

    def assignment(self) -> set[TopicPartition]:
        """Own all of it."""
        return set(self.log.held)

    def pause(self, *_: TopicPartition) -> None:
        """Read no more; a life reads once."""

    def resume(self, *_: TopicPartition) -> None:
        """Read again."""

    async def getmany(self, **_: object) -> dict[TopicPartition, list[Record]]:
        """Return some of what comes next, and let it be the last."""
        self.stop.set()
        fetched = {}
        for place, log in self.log.held.items():
            first = self.position[place]
            fetched[place] = log[first : first + self.log.chance.randint(0, 20)]
        return {place: records for place, records in fetched.items() if records}

    async def write(self, batch: Batch) -> list[Refused]:
        """Write, and die before, in the middle, or after it."""
        self._die("before the write")
        return write(Halfway(self.store) if self.dies == "within the write" else self.store, batch)

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit, and die before or after it."""
        self._die("between write and commit")
        self.log.committed.update(offsets)
        self._die("after the commit")

    def _die(self, moment: str) -> None:
        if self.dies == moment:
            raise KilledError


class Halfway:
    """A store that is cut off when one of the tables has its rows."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def insert(self, table: str, lines: Sequence[bytes]) -> None:
        """Write, and be no more."""
        self._store.insert(table, lines)
        raise KilledError


MOMENTS = [
    "before the write",
    "within the write",
    *["between write and commit"] * 3,
    "after the commit",
]


@pytest.mark.parametrize(
    "store", ["memory", pytest.param("engine", marks=pytest.mark.service)], indirect=True
)
@pytest.mark.parametrize("seed", [1])
async def test_a_hundred_kills_change_nothing(store: Readable, seed: int) -> None:
    """Rows, sums, and what was set aside equal the ledger's, whenever it died."""
    chance = random.Random(seed)
    log = Log(ledger(400), chance)
    died = 0
    while died < KILLS or not log.is_done:
        dies = chance.choice(MOMENTS) if died < KILLS and chance.random() < 0.8 else None
        try:
            await Life(log, store, dies).run()
        except KilledError:
            died += 1
        if log.is_done and died < KILLS:  # a group that begins again from the start
            log.committed = dict.fromkeys(log.held, 0)
    assert died == KILLS
    good = [n for n in range(400) if n % 150 != 7]
    offsets = [int(offset) for offset in store.column("raw_ticks", "toString(offset)")]
    assert sorted(offsets) == sorted(good * 2)
    numbers = [int(raw[5:-1]) for raw in store.column("raw_ticks", "raw")]
    assert sum(numbers) == 2 * sum(good)
    aside = store.column("dead_letters", "toString(offset)")
    assert len(aside) == 2 * (400 - len(good))
    assert len(store.column("source_status", "toString(offset)")) == 400
