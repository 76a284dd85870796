"""Moving records: what is written when, what is committed after it, and what never is."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog
from aiokafka import TopicPartition
from aiokafka.errors import CommitFailedError
from structlog.testing import capture_logs

from infra.logs import current_span, trace_ids
from infra.telemetry import Meters
from infra.traces.span import Context, traceparent
from sinks.clickhouse import sink as module
from sinks.clickhouse.batch import Batch, Refused
from sinks.clickhouse.sink import Sink
from sinks.clickhouse.store import StoreUnavailableError, write
from tests.sinks.clickhouse.records import BY_NAME, RAW, MemoryStore, Record, raw_tick, records

HERE = TopicPartition(RAW, 0)
THERE = TopicPartition(RAW, 1)


class Reader:
    """A consumer: what it was given to read, and what was committed by it."""

    def __init__(self, *fetches: Collection[Record]) -> None:
        self.fetches = list(fetches)
        self.owned = {HERE, THERE}
        self.committed: dict[TopicPartition, int] = {}
        self.refuses = False
        self.listener: Sink | None = None
        self.paused: set[TopicPartition] = set()

    def subscribe(self, topics: Collection[str], listener: Sink) -> None:
        """Remember who is to be told."""
        assert set(topics) == set(BY_NAME)
        self.listener = listener

    def assignment(self) -> set[TopicPartition]:
        """Return what is owned."""
        return self.owned

    def pause(self, *places: TopicPartition) -> None:
        """Fetch no more of these."""
        assert set(places) <= self.owned
        self.paused |= set(places)

    def resume(self, *places: TopicPartition) -> None:
        """Fetch them again."""
        assert set(places) <= self.owned
        self.paused -= set(places)

    async def getmany(self, **_: object) -> Mapping[TopicPartition, list[Record]]:
        """Return what comes next; nothing when there is no more."""
        await asyncio.sleep(0)
        assert not self.paused
        return {HERE: list(self.fetches.pop(0))} if self.fetches else {}

    async def commit(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Commit."""
        if self.refuses:
            raise CommitFailedError
        self.committed.update(offsets)


class Rig:
    """A sink between a reader and a store in memory."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.store = MemoryStore()
        self.meters = Meters("pipeline", "clickhouse")
        self.stop = asyncio.Event()
        reading: Any = reader
        self.sink = Sink(reading, BY_NAME, self.write, self.meters, retry_s=(0.001, 0.002))
        self.seen_at_write: list[dict[TopicPartition, int]] = []

    async def write(self, batch: Batch) -> list[Refused]:
        """Write, and remember what was committed before."""
        await asyncio.sleep(0)
        self.seen_at_write.append(dict(self.reader.committed))
        return write(self.store, batch)

    async def run_until(self, condition: Callable[[], bool]) -> None:
        """Run the sink until something holds, and then to its end."""
        running = asyncio.create_task(self.sink.run(self.stop))
        async with asyncio.timeout(20):
            while not condition():
                assert not running.done()
                await asyncio.sleep(0)
            self.stop.set()
            await running

    def metric(self, line: str) -> float:
        """Return the value of one exposed series."""
        for text in self.meters.exposition().decode().splitlines():
            if text.startswith(f"{line} "):
                return float(text.rpartition(" ")[2])
        raise KeyError(line)


OK = 'pipeline_records_processed_total{result="ok",stage="clickhouse"}'
DEAD = 'pipeline_records_processed_total{result="dead_letter",stage="clickhouse"}'
PENDING = 'pipeline_sink_pending_records{sink="clickhouse"}'
FAILURES = 'pipeline_sink_write_failures_total{sink="clickhouse"}'
SUCCESS = 'pipeline_sink_last_success_timestamp_seconds{sink="clickhouse"}'


def some(count: int, first: int = 0) -> list[Record]:
    """Return good records."""
    return records(*[raw_tick()] * count, first=first)


@pytest.fixture(autouse=True)
def _no_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write at once, where a test is not about waiting."""
    monkeypatch.setattr(module, "LINGER_S", 0.0)


async def test_offsets_follow_the_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """At every write, only what earlier writes wrote was committed."""
    monkeypatch.setattr(module, "BATCH_RECORDS", 10)
    rig = Rig(Reader(some(10), some(10, first=10)))
    await rig.run_until(lambda: rig.reader.committed == {HERE: 20})
    assert rig.seen_at_write == [{}, {HERE: 10}]


async def test_a_batch_goes_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """By records, so that what comes faster than the linger is bounded."""
    monkeypatch.setattr(module, "BATCH_RECORDS", 4)
    monkeypatch.setattr(module, "LINGER_S", 1e9)
    rig = Rig(Reader(some(3), some(3, first=3), some(1, first=6)))
    await rig.run_until(lambda: not rig.reader.fetches)
    assert rig.store.inserts == [("raw_ticks", 6), ("raw_ticks", 1)]


async def test_a_batch_goes_when_it_is_big(monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes, so that large records do not fill the memory either."""
    monkeypatch.setattr(module, "BATCH_BYTES", 2 * len(raw_tick()))
    monkeypatch.setattr(module, "LINGER_S", 1e9)
    rig = Rig(Reader(some(1), some(1, first=1), some(1, first=2)))
    await rig.run_until(lambda: not rig.reader.fetches)
    assert rig.store.inserts == [("raw_ticks", 2), ("raw_ticks", 1)]


async def test_a_batch_goes_when_it_is_old() -> None:
    """By time, so that a quiet market is history within a second too."""
    rig = Rig(Reader(some(1), [], some(1, first=1)))
    await rig.run_until(lambda: rig.reader.committed == {HERE: 2})
    assert rig.store.inserts == [("raw_ticks", 1), ("raw_ticks", 1)]


async def test_what_is_in_hand_is_written_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told to stop, it delivers first."""
    monkeypatch.setattr(module, "LINGER_S", 1e9)
    rig = Rig(Reader(some(3)))
    await rig.run_until(lambda: rig.metric(PENDING) == 3)
    assert rig.reader.committed == {HERE: 3}
    assert rig.metric(PENDING) == 0


async def test_a_store_that_is_away_is_waited_for() -> None:
    """It says so, counts, writes the same again, and loses nothing."""
    rig = Rig(Reader(some(2)))
    rig.store.away = 3
    waiting: list[str | None] = []

    def recovered() -> bool:
        waiting.append(rig.sink.waiting_for())
        return rig.reader.committed == {HERE: 2}

    await rig.sink.on_partitions_assigned([HERE])
    await rig.run_until(recovered)
    assert "ClickHouse" in waiting
    assert rig.sink.waiting_for() is None
    assert rig.metric(FAILURES) == 3
    assert rig.store.column("raw_ticks", "offset") == [b"0", b"1"]


async def test_nothing_is_fetched_while_the_store_is_away() -> None:
    """All partitions pause with the first failure, and go on when it is over."""
    rig = Rig(Reader(some(2), some(2, first=2)))
    rig.store.away = 5
    paused: list[set[TopicPartition]] = []

    def written() -> bool:
        paused.append(set(rig.reader.paused))
        return rig.reader.committed == {HERE: 4}

    await rig.run_until(written)
    assert {HERE, THERE} in paused
    assert rig.reader.paused == set()


async def test_a_partition_that_went_away_meanwhile_is_not_resumed() -> None:
    """The client refuses to resume what it does not own."""
    rig = Rig(Reader(some(2)))
    rig.store.away = 10**9
    running = asyncio.create_task(rig.sink.run(rig.stop))
    async with asyncio.timeout(20):
        while not rig.reader.paused:
            await asyncio.sleep(0)
        rig.reader.owned = {THERE}
        await rig.sink.on_partitions_revoked([HERE])
        rig.reader.paused -= {HERE}
        assert rig.reader.paused == set()
        rig.stop.set()
        await running


async def test_a_store_that_stays_away_is_told_of_ever_less_often() -> None:
    """At the first failure, and each time that there are twice as many, with their number."""
    rig = Rig(Reader(some(2)))
    rig.store.away = 20
    with capture_logs() as lines:
        await rig.run_until(lambda: rig.reader.committed == {HERE: 2})
    said = [(line["event"], line["failures"]) for line in lines if "failures" in line]
    assert said == [("write_failed", n) for n in (1, 2, 4, 8, 16)] + [("write_recovered", 20)]


async def test_a_store_that_stays_away_does_not_hold_the_process() -> None:
    """Told to stop meanwhile, it ends without a commit: a restart reads the records again."""
    rig = Rig(Reader(some(2)))
    rig.store.away = 10**9
    await rig.run_until(lambda: rig.metric(FAILURES) >= 2)
    assert rig.reader.committed == {}


async def test_poison_is_counted_and_passed() -> None:
    """What was set aside is committed as well, or it would come back for ever; it is told of."""
    junk = replace(records(b"junk", first=1)[0], headers=(traceparent(Context(7, 8)),))
    rig = Rig(Reader([*some(1), junk, *some(1, first=2)]))
    with structlog.testing.capture_logs(processors=[trace_ids(current_span)]) as said:
        await rig.run_until(lambda: bool(rig.reader.committed))
    (aside,) = (each for each in said if each["event"] == "record_set_aside")
    assert (aside["offset"], aside["trace_id"]) == (1, f"{7:032x}")
    assert rig.reader.committed == {HERE: 3}
    assert (rig.metric(OK), rig.metric(DEAD)) == (2, 1)
    assert rig.metric(SUCCESS) > 0


async def test_only_what_is_owned_is_committed() -> None:
    """The rest is its new owner's to commit."""
    rig = Rig(Reader(some(2)))
    rig.reader.owned = {THERE}
    await rig.run_until(lambda: rig.metric(OK) == 2)
    assert rig.reader.committed == {}


async def test_a_refused_commit_is_not_a_fault() -> None:
    """Another member has the partition now and writes the rows once more."""
    rig = Rig(Reader(some(2)))
    rig.reader.refuses = True
    await rig.run_until(lambda: rig.metric(OK) == 2)
    assert rig.store.column("raw_ticks", "offset") == [b"0", b"1"]


async def test_a_revocation_drops_what_is_in_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it was committed, so whoever owns the partition next reads it again."""
    monkeypatch.setattr(module, "LINGER_S", 1e9)
    rig = Rig(Reader(some(3)))
    running = asyncio.create_task(rig.sink.run(rig.stop))
    async with asyncio.timeout(20):
        while rig.metric(PENDING) != 3:
            await asyncio.sleep(0)
        await rig.sink.on_partitions_revoked([HERE])
        rig.stop.set()
        await running
    assert rig.store.inserts == []
    assert rig.reader.committed == {}
    assert rig.sink.waiting_for() == "Kafka"


async def test_a_revocation_does_not_wait_for_a_store_that_is_away() -> None:
    """Or the whole group would; and afterwards the sink goes on insisting."""
    rig = Rig(Reader(some(3), []))
    rig.store.away = 10**9
    running = asyncio.create_task(rig.sink.run(rig.stop))
    async with asyncio.timeout(20):
        while rig.metric(FAILURES) < 2:
            await asyncio.sleep(0)
        await rig.sink.on_partitions_revoked([HERE])
        rig.store.away = 2
        rig.reader.fetches = [some(3)]
        while rig.reader.committed != {HERE: 3}:
            await asyncio.sleep(0)
        rig.stop.set()
        await running


async def test_a_first_assignment_revokes_nothing() -> None:
    """The client tells of an empty revocation before the first assignment."""
    rig = Rig(Reader())
    await rig.sink.on_partitions_assigned([HERE])
    await rig.sink.on_partitions_revoked([])
    assert rig.sink.waiting_for() is None


def test_unavailable_is_no_refusal() -> None:
    """The search by halves is for rows at fault, never for a store that is away."""
    store = MemoryStore()
    store.away = 1
    batch = Batch(BY_NAME)
    batch.add(RAW, 0, some(2))
    with pytest.raises(StoreUnavailableError):
        write(store, batch)
    assert store.inserts == []
