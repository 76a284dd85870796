"""The chunk transport's contract: commits never pass what is not in the log."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import faust.transport.consumer
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from faust.types import TP

from infra import topics as declared
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from ingest.events import RawTick
from processors import deliver
from processors.chunks import ChunkConsumer, ChunkMessage, chunk_app
from processors.deliver import Deliveries

AT = TP("t", 0)


def _consumer(*chunks: tuple[int, int, bool]) -> Any:
    """Return a consumer that handed out chunks (first, last, acknowledged) of one partition."""
    consumer = ChunkConsumer.__new__(ChunkConsumer)
    handed_out: deque[ChunkMessage] = deque()
    for first, last, acked in chunks:
        message = ChunkMessage("t", 0, first, 0.0, 0, None, None, b"", None, tp=AT)
        message.last_offset, message.acked = last, acked
        handed_out.append(message)
    consumer._handed_out = defaultdict(deque, {AT: handed_out})
    return consumer


@pytest.mark.parametrize(
    ("chunks", "offset"),
    [
        ([], None),
        ([(0, 9, False)], None),
        ([(0, 9, True)], 10),
        ([(0, 9, True), (10, 19, True)], 20),
        ([(0, 9, True), (10, 19, False), (20, 29, True)], 10),
        ([(0, 9, False), (10, 19, True)], None),
        ([(5, 9, True), (14, 19, True)], 20),
    ],
    ids=["none", "open", "done", "both done", "a hole", "the first open", "offsets missing"],
)
def test_a_commit_reaches_to_the_first_open_chunk(
    chunks: list[tuple[int, int, bool]], offset: int | None
) -> None:
    """What may be committed ends where the oldest chunk begins that is not acknowledged."""
    assert _consumer(*chunks)._new_offset(AT) == offset


def test_what_is_committed_is_forgotten() -> None:
    """The same offset is not offered twice, and memory does not grow."""
    consumer = _consumer((0, 9, True), (10, 19, False))
    assert consumer._new_offset(AT) == 10
    assert consumer._new_offset(AT) is None
    assert [message.offset for message in consumer._handed_out[AT]] == [10]


def test_what_comes_again_counts_from_where_it_comes() -> None:
    """A chunk of before a rebalance, handed out late, does not carry the commit past others."""
    consumer = _consumer((20, 29, True))
    again = ChunkMessage("t", 0, 10, 0.0, 0, None, None, b"", None, tp=AT)
    again.last_offset, again.acked = 29, False
    consumer._hand_out(again)
    assert consumer._new_offset(AT) is None
    again.acked = True
    assert consumer._new_offset(AT) == 30


@pytest.fixture
async def consumer(tmp_path: Path) -> AsyncIterator[Any]:
    """A consumer that is not connected."""
    app = chunk_app("t", bootstrap_servers="127.0.0.1:1", datadir=str(tmp_path))

    async def nothing(_: Any) -> None:
        pass

    made: Any = ChunkConsumer(
        app.transport,
        callback=nothing,
        on_partitions_revoked=nothing,
        on_partitions_assigned=nothing,
    )
    yield made
    made._thread.thread_loop.close()


async def test_what_comes_again_is_delivered(consumer: Any) -> None:
    """Faust's own loop drops nothing, though a later chunk was on its way across a rebalance."""
    delivered: list[int] = []

    async def deliver(message: ChunkMessage) -> None:
        if not delivered:
            # while this one waits for room, a rebalance sets the position back
            consumer._read_offset.update({AT: 10})
        delivered.append(message.offset)

    async def getmany(timeout: float) -> AsyncIterator[tuple[TP, ChunkMessage]]:  # noqa: ASYNC109
        del timeout
        for first in (20, 10):
            yield AT, ChunkMessage("t", 0, first, 0.0, 0, None, None, b"", None, tp=AT)
        consumer._stopped.set()

    consumer.callback, consumer.getmany = deliver, getmany
    await consumer._drain_messages(consumer)
    assert delivered == [20, 10]


async def test_what_a_fetch_brought_across_a_rebalance_comes_again(consumer: Any) -> None:
    """It is not handed out, whichever side it is of; and the position is set back behind it."""
    app, other = consumer.app, TP("t", 1)
    app.consumer_generation_id = 1
    consumer.resume_flow()
    seeks: list[int] = []

    async def perform_seek() -> None:
        seeks.append(app.consumer_generation_id)

    async def fetch(_: float) -> Any:
        app.consumer_generation_id = min(app.consumer_generation_id + 1, 2)
        record = ConsumerRecord("t", 1, 5, 0, 0, None, b"", None, 0, 0, ())
        # what was active before the rebalance, and a partition that came with it
        return {other: [record]}, {AT} if not seeks else {other}

    consumer.perform_seek, consumer._wait_next_records = perform_seek, fetch
    assert [tp async for tp, _ in consumer.getmany(1)] == []
    assert seeks == []
    assert [tp async for tp, _ in consumer.getmany(1)] == [other]
    assert seeks == [2]
    assert [tp async for tp, _ in consumer.getmany(1)] == [other]
    assert seeks == [2]


@pytest.mark.parametrize("left", [0, 1])
async def test_a_worker_that_has_lost_all_partitions_lives_on(
    consumer: Any, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    """What a fetch brought before that is not gone back for: its next owner reads it.

    Args:
        consumer: not connected.
        monkeypatch: gives it an assignment.
        left: how often it is asked for its partitions before it has none.

    """
    asked = iter([{AT}] * left)
    monkeypatch.setattr(consumer, "assignment", lambda: next(asked, set()))

    async def seek_to_committed() -> Mapping[TP, int]:
        message = "No partitions are currently assigned"
        raise AssertionError(message)

    async def fetch(_: float) -> Any:
        return {}, set()

    consumer._thread.seek_to_committed, consumer._wait_next_records = seek_to_committed, fetch
    consumer.resume_flow()
    consumer._dropped = True
    assert [tp async for tp, _ in consumer.getmany(1)] == []
    assert not consumer._dropped


async def test_another_assertion_of_the_client_is_not_swallowed(
    consumer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only where there is nothing to go back to is there nothing wrong."""
    monkeypatch.setattr(consumer, "assignment", lambda: {AT})

    async def seek_to_committed() -> Mapping[TP, int]:
        message = "something else"
        raise AssertionError(message)

    consumer._thread.seek_to_committed = seek_to_committed
    with pytest.raises(AssertionError, match="something else"):
        await consumer.perform_seek()


@pytest.mark.parametrize(
    "name",
    [
        "getmany",
        "ack",
        "_new_offset",
        "_filter_tps_with_pending_acks",
        "_add_gap",
        "on_buffer_full",
        "on_partitions_revoked",
        "seek_to_committed",
        "perform_seek",
    ],
)
def test_what_is_overridden_is_there(name: str) -> None:
    """An upgrade of Faust that renames one of these would silently bring its own back."""
    assert callable(getattr(faust.transport.consumer.Consumer, name))
    assert name in vars(ChunkConsumer)


class _Event:
    acknowledged = False

    def ack(self) -> None:
        self.acknowledged = True


async def test_a_chunk_is_acknowledged_when_it_is_delivered() -> None:
    """Not before its outputs are in the log."""
    delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    event = _Event()
    await Deliveries().acknowledge_after(delivered, event)
    await asyncio.sleep(0)
    assert not event.acknowledged
    delivered.set_result(None)
    await _until(lambda: event.acknowledged)


async def test_a_delivery_that_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Going on would leave a hole: nothing is acknowledged, and a restart replays."""
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    failed.set_exception(OSError("the broker is gone"))
    event = _Event()
    await Deliveries().acknowledge_after(failed, event)
    await _until(lambda: bool(ended))
    assert ended == [70]
    assert not event.acknowledged


async def test_only_so_many_chunks_are_under_way() -> None:
    """Memory is bounded: one more waits for room."""
    deliveries = Deliveries()
    delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    for _ in range(deliver.CHUNKS_UNDER_WAY):
        await deliveries.acknowledge_after(asyncio.shield(delivered))
    one_more = asyncio.ensure_future(deliveries.acknowledge_after(asyncio.shield(delivered)))
    await asyncio.sleep(0)
    assert not one_more.done()
    delivered.set_result(None)
    await one_more


async def _until(condition: Callable[[], bool], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# From here on with real Kafka, and the stage as it ships in processes of its own.

SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "JPM")


def _raw(number: int, symbol: str) -> bytes:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    price = 0 if number % 10 == 0 else 10
    vendor = (
        f'{{"T":"t","i":{number},"S":"{symbol}","x":"V","p":{price},"s":1,"t":"{stamp}","z":"C"}}'
    )
    return msgspec.json.encode(
        RawTick(
            source="alpaca",
            feed="iex",
            symbol=symbol,
            session_id="test",
            session_seq=number + 1,
            received_at_ns=time.time_ns(),
            encoding="json",
            raw=msgspec.Raw(vendor.encode()),
        )
    )


class Flow:
    """Raw ticks into the log, steadily, while workers come and go."""

    def __init__(self, servers: str, prefix: str) -> None:
        self._servers, self._prefix = servers, prefix
        self._producer = BatchProducer(servers, client_id="test")
        self._workers: list[asyncio.subprocess.Process] = []
        self.sent = 0

    async def __aenter__(self) -> Self:
        await self._producer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
        for worker in self._workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()

    async def worker(self, **variables: str) -> asyncio.subprocess.Process:
        """Start one more validate worker."""
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self._servers,
            "TOPIC_PREFIX": self._prefix,
            **variables,
        }
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "processors",
            "validate",
            env=environment,
            stdout=asyncio.subprocess.DEVNULL,
        )
        self._workers.append(worker)
        return worker

    async def send(self, amount: int) -> None:
        """Write so many raw ticks, over all partitions."""
        name = self._prefix + declared.RAW_ALPACA.name
        by_partition: dict[int, list[Record]] = {}
        for number in range(self.sent, self.sent + amount):
            key = SYMBOLS[number % len(SYMBOLS)]
            partition = self._producer.partition(key.encode(), declared.TICK_PARTITIONS)
            record = Record(key.encode(), _raw(number, key))
            by_partition.setdefault(partition, []).append(record)
        for partition, records in by_partition.items():
            await (await self._producer.send(name, partition, records, declared.RAW_ALPACA.header))
        self.sent += amount

    async def until_judged(self, seconds: float = 60) -> Counter[tuple[int, int]]:
        """Wait until every raw tick has a verdict; return how many each has, by its place."""
        verdicts: Counter[tuple[int, int]] = Counter()
        partitions = [
            TopicPartition(self._prefix + topic.name, partition)
            for topic in (declared.VALID, declared.REJECTED)
            for partition in range(topic.partitions)
        ]
        consumer = AIOKafkaConsumer(bootstrap_servers=self._servers, auto_offset_reset="earliest")
        await consumer.start()
        try:
            consumer.assign(partitions)
            async with asyncio.timeout(seconds):
                while len(verdicts) < self.sent:
                    for records in (await consumer.getmany(timeout_ms=200)).values():
                        verdicts.update(_place(record.value) for record in records)
        finally:
            await consumer.stop()
        return verdicts


class _Place(msgspec.Struct):
    raw_partition: int
    raw_offset: int


_place_of = msgspec.json.Decoder(_Place)


def _place(value: bytes) -> tuple[int, int]:
    place = _place_of.decode(value)
    return place.raw_partition, place.raw_offset


@pytest.fixture
def flow(kafka: Broker, topics: str) -> Iterator[Flow]:
    """A flow under a prefix of its own."""
    yield Flow(kafka.bootstrap_servers, topics)  # noqa: PT022  # for the type of the fixture


@pytest.mark.service
async def test_a_worker_that_is_killed_loses_nothing(flow: Flow) -> None:
    """Kill -9 in the middle of the flow, and a successor: every raw tick gets its verdict."""
    async with flow:
        worker = await flow.worker()
        await flow.send(2_000)
        await flow.until_judged()
        for _ in range(10):
            await flow.send(500)
        worker.kill()
        await worker.wait()
        await flow.send(1_000)
        await flow.worker()
        verdicts = await flow.until_judged()
    assert len(verdicts) == flow.sent


@pytest.mark.service
async def test_a_worker_that_keeps_its_name_takes_its_partitions_back(flow: Flow) -> None:
    """Killed and started again under its name, it goes on, though its former self never left."""
    async with flow:
        worker = await flow.worker(MEMBER_NAME="only")
        await flow.send(1_000)
        await flow.until_judged()
        worker.kill()
        await worker.wait()
        await flow.send(1_000)
        await flow.worker(MEMBER_NAME="only")
        assert len(await flow.until_judged()) == flow.sent


@pytest.mark.service
async def test_a_worker_that_joins_and_one_that_leaves_double_nothing(flow: Flow) -> None:
    """With workers coming and going in good order each raw tick gets one verdict, exactly."""
    async with flow:
        first = await flow.worker()
        await flow.send(1_000)
        await flow.until_judged()
        second = await flow.worker()
        for _ in range(30):
            await flow.send(200)
            await asyncio.sleep(0.05)  # the pace of the flow
        await flow.until_judged()
        first.send_signal(signal.SIGTERM)
        for _ in range(10):
            await flow.send(200)
            await asyncio.sleep(0.05)  # the pace of the flow
        assert await first.wait() == 0
        verdicts = await flow.until_judged()
        assert second.returncode is None
    assert len(verdicts) == flow.sent
    assert set(verdicts.values()) == {1}
