"""The publisher: one contract, held to a log in memory and to real Kafka."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError, KafkaTimeoutError
from aiokafka.partitioner import DefaultPartitioner

from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.topics import RAW_ALPACA, SOURCES_STATUS, TICK_PARTITIONS, Topic
from ingest.publish import LINGER_S, DeliveryFailedError, Producer, Publisher
from ingest.raw import MAX_RAW_BYTES
from ingest.shed import Kind, ShedBegun, ShedOver
from tests.ingest.fakes import InMemoryProducer, eventually, publishing

SYMBOLS = ("AAPL", "MSFT", "NVDA", "BRK.B", "")
NOW_NS = 1_790_000_000_123_456_789

Read = list[tuple[int, bytes, bytes, int, list[tuple[str, bytes]]]]


class Log(Protocol):
    """A log that a publisher can write to and a test can read."""

    prefix: str
    producer: Producer

    async def read(self, topic: Topic, count: int) -> Read:
        """Return `count` records: partition, key, value, timestamp in ms, headers."""
        ...


class PublishContract:
    """What every log must show after the publisher wrote to it."""

    async def test_symbol_order_and_place_are_kept(self, log: Log) -> None:
        """A symbol's records are in one partition, the one Kafka's clients choose, and in order."""
        ticks = [(SYMBOLS[n % len(SYMBOLS)], f"{n}".encode()) for n in range(1000)]
        publisher = Publisher(log.producer, topic_name=log.prefix.__add__, linger_s=LINGER_S)
        async with publisher.running():
            for number, (symbol, value) in enumerate(ticks):
                publisher.put(RAW_ALPACA, symbol, value, NOW_NS)
                if number % 100 == 0:
                    await asyncio.sleep(LINGER_S)  # so that it takes several batches
            await publisher.drain()
        records = await log.read(RAW_ALPACA, len(ticks))
        partitions = list(range(TICK_PARTITIONS))
        for symbol in SYMBOLS:
            key = symbol.encode()
            mine = [record for record in records if record[1] == key]
            assert [record[2] for record in mine] == [v for s, v in ticks if s == symbol]
            home = DefaultPartitioner()(key, partitions, partitions)
            assert {record[0] for record in mine} == {home}

    async def test_record_carries_its_time_and_its_schema(self, log: Log) -> None:
        """A record is stamped with when it was received, and names the type of its value."""
        publisher = Publisher(log.producer, topic_name=log.prefix.__add__)
        async with publisher.running():
            publisher.put(SOURCES_STATUS, "alpaca", b"{}", NOW_NS)
            await publisher.drain()
        (record,) = await log.read(SOURCES_STATUS, 1)
        assert record == (0, b"alpaca", b"{}", NOW_NS // 10**6, [("schema", b"SourceStatus/1")])

    async def test_largest_record_is_taken(self, log: Log) -> None:
        """A piece of the largest size, in base64, goes through."""
        value = b"x" * (MAX_RAW_BYTES * 4 // 3 + 1000)
        publisher = Publisher(log.producer, topic_name=log.prefix.__add__)
        async with publisher.running():
            for _ in range(5):
                publisher.put(RAW_ALPACA, "AAPL", value, NOW_NS)
            await publisher.drain()
        assert [len(record[2]) for record in await log.read(RAW_ALPACA, 5)] == [len(value)] * 5

    async def test_what_is_kept_of_a_flood_is_in_order(self, log: Log) -> None:
        """Of more than memory holds at once, all is in the log, in order, or accounted as shed."""
        changes: list[ShedBegun | ShedOver] = []
        kinds: tuple[Kind, ...] = ("quote", "trade", "quote", "bar")
        publisher = Publisher(
            log.producer, topic_name=log.prefix.__add__, limit_bytes=300_000, shed=changes.append
        )
        async with publisher.running():
            for number in range(10_000):
                kind = kinds[number % 4]
                value = f"{number:05d}{kind}".encode()
                publisher.put(RAW_ALPACA, SYMBOLS[number % 5], value, NOW_NS + number, kind)
                if number == 1000:
                    await asyncio.sleep(10 * LINGER_S)  # some of it is handed over
            await publisher.drain()
        assert all(publisher.shed[kind] for kind in kinds)
        records = await log.read(RAW_ALPACA, 10_000 - publisher.shed.total())
        for symbol in SYMBOLS:
            mine = [record[2] for record in records if record[1] == symbol.encode()]
            assert mine == sorted(mine)
        there = {int(record[2][:5]) for record in records}
        missing = Counter(kinds[number % 4] for number in range(10_000) if number not in there)
        assert missing == publisher.shed
        over = {change.kind: change.count for change in changes if isinstance(change, ShedOver)}
        assert over == publisher.shed


class InMemoryLog:
    """The log in memory, as the contract reads it."""

    prefix = ""

    def __init__(self) -> None:
        self.producer = InMemoryProducer()

    async def read(self, topic: Topic, count: int) -> Read:
        """Return what was delivered."""
        headers = list(self.producer.headers)
        read = [
            (partition, record.key or b"", record.value, record.timestamp_ms or 0, headers)
            for (name, partition), records in self.producer.log.items()
            for record in records
            if name == topic.name
        ]
        assert len(read) == count
        return read


class KafkaLog:
    """A real broker's log, as the contract reads it."""

    def __init__(self, servers: str, prefix: str, producer: BatchProducer) -> None:
        self.prefix = prefix
        self.producer = producer
        self._servers = servers

    async def read(self, topic: Topic, count: int) -> Read:
        """Consume what was delivered."""
        consumer = AIOKafkaConsumer(
            self.prefix + topic.name,
            bootstrap_servers=self._servers,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            read: Read = []
            async with asyncio.timeout(20):
                while len(read) < count:
                    for records in (await consumer.getmany(timeout_ms=100)).values():
                        read += [
                            (r.partition, r.key, r.value, r.timestamp, list(r.headers))
                            for r in records
                        ]
        finally:
            await consumer.stop()
        assert len(read) == count
        return read


class TestInMemory(PublishContract):
    """The contract, on the fake that the other tests rely on."""

    @pytest.fixture
    async def log(self) -> InMemoryLog:
        """A fresh log."""
        return InMemoryLog()


@pytest.mark.service
class TestKafka(PublishContract):
    """The contract, on the real thing."""

    @pytest.fixture
    async def log(self, kafka: Broker, topics: str) -> AsyncIterator[KafkaLog]:
        """The declared topics, fresh."""
        producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
        await producer.start()
        yield KafkaLog(kafka.bootstrap_servers, topics, producer)
        await producer.stop()


async def test_reader_waits_while_too_much_is_on_its_way() -> None:
    """Above the limit `room` waits for deliveries, and memory does not grow."""
    producer = InMemoryProducer()
    producer.answering.clear()
    publisher = Publisher(producer, linger_s=0, limit_bytes=10_000)
    async with publisher.running():
        await publisher.room()
        publisher.put(RAW_ALPACA, "AAPL", b"x" * 15_000, NOW_NS)
        waiting = asyncio.create_task(publisher.room())
        done, _ = await asyncio.wait({waiting}, timeout=0.05)
        assert not done
        producer.answering.set()
        await waiting
        await publisher.drain()
        assert publisher.held_bytes == 0


async def test_slow_partition_holds_up_no_other() -> None:
    """While one partition's delivery hangs, the records of another get through."""
    gate = asyncio.Event()

    class OneSlowLane(InMemoryProducer):
        async def send(
            self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
        ) -> "asyncio.Future[list[object]]":
            if topic == RAW_ALPACA.name:
                await gate.wait()
            return await super().send(topic, partition, records, header)

    producer = OneSlowLane()
    async with Publisher(producer, linger_s=0).running() as publisher:
        publisher.put(RAW_ALPACA, "AAPL", b"tick", NOW_NS)
        publisher.put(SOURCES_STATUS, "alpaca", b"beat", NOW_NS)
        await eventually(lambda: producer.records(SOURCES_STATUS))
        assert not producer.records(RAW_ALPACA)
        gate.set()
        await publisher.drain()
        assert producer.records(RAW_ALPACA)


async def test_failed_delivery_ends_the_publisher() -> None:
    """A delivery that Kafka refuses for good is raised to whoever waits, and none waits on."""
    async with publishing() as (publisher, producer):
        producer.failure = KafkaTimeoutError()
        publisher.put(RAW_ALPACA, "AAPL", b"tick", NOW_NS)
        with pytest.raises(DeliveryFailedError, match=r"ticks\.raw\.alpaca partition \d: Kafka"):
            await publisher.failed()
        with pytest.raises(DeliveryFailedError):
            await publisher.drain()
        await publisher.room()


async def test_refused_hand_over_ends_the_publisher() -> None:
    """The same when the producer does not even take the batch."""

    class Closed(InMemoryProducer):
        async def send(
            self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
        ) -> "asyncio.Future[list[object]]":
            del topic, partition, records, header
            raise KafkaError

    async with Publisher(Closed(), linger_s=0).running() as publisher:
        publisher.put(RAW_ALPACA, "AAPL", b"tick", NOW_NS)
        with pytest.raises(DeliveryFailedError):
            await publisher.failed()


async def test_our_own_error_in_a_lane_is_not_lost_with_its_task() -> None:
    """An error that is no matter of Kafka's comes out as itself."""

    class Broken(InMemoryProducer):
        async def send(
            self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
        ) -> "asyncio.Future[list[object]]":
            del topic, partition, records, header
            message = "a bug"
            raise RuntimeError(message)

    async with Publisher(Broken(), linger_s=0).running() as publisher:
        publisher.put(RAW_ALPACA, "AAPL", b"tick", NOW_NS)
        with pytest.raises(RuntimeError, match="a bug"):
            await publisher.failed()


async def test_deliveries_are_told_with_their_receive_times() -> None:
    """Who asks is told, per batch, when what is now in Kafka was received."""
    told: list[tuple[Topic, set[int]]] = []
    publisher = Publisher(
        InMemoryProducer(),
        linger_s=0,
        delivered=lambda topic, received: told.append((topic, set(received))),
    )
    async with publisher.running():
        for moment in (1, 1, 2):
            publisher.put(RAW_ALPACA, "AAPL", b"tick", moment)
        await publisher.drain()
    assert told == [(RAW_ALPACA, {1, 2})]
