"""The publisher: what the workers read becomes records in Kafka, in order, and none is lost.

`put` never waits: it files a record in the lane of its partition. Each lane hands what has come
together within `LINGER_S` to the producer as one batch, and goes on as soon as the producer has
taken it. While Kafka is slow a lane's next batch grows instead, and `room` makes the reader wait
once `LIMIT_BYTES` are on their way.

A delivery that fails for good would leave a hole behind which later records may already stand, so
it ends the publisher, and with it the process; the vendor's stream has no replay.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka.errors import KafkaError

from infra.kafka.batches import Record
from infra.topics import Topic

#: How long a lane waits for more. Shorter than a person or a rule can notice; long enough that a
#: frame's ticks go together.
LINGER_S = 0.005

#: The most that may be on its way to Kafka: a minute of a busy market, in the memory of a laptop.
LIMIT_BYTES = 64 * 1024 * 1024

#: A record's own memory, besides its key and value: the tuple, two objects, its place in a list.
RECORD_OVERHEAD = 200

#: Symbols are remembered with their partition. There are some ten thousand; a vendor that makes up
#: more only costs us the memory to be rebuilt.
REMEMBERED_KEYS = 50_000


class Producer(Protocol):
    """What the publisher needs of infra.kafka.batches.BatchProducer."""

    def partition(self, key: bytes, partitions: int) -> int:
        """Return the partition of `key` among `partitions`."""
        ...

    async def send(
        self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
    ) -> "asyncio.Future[list[object]]":
        """Take records for one partition; the future is done when they are delivered."""
        ...


class DeliveryFailedError(Exception):
    """Kafka did not take a record, after all retries."""


@dataclass(eq=False, slots=True)
class _Lane:
    """The way to one partition."""

    topic: Topic
    name: str
    partition: int
    records: list[Record] = field(default_factory=list)
    size: int = 0
    #: When the records' vendor bytes were received: a few moments, since a frame holds many ticks.
    received: set[int] = field(default_factory=set)
    filled: asyncio.Event = field(default_factory=asyncio.Event)


class Publisher:
    """Files records by partition and has them delivered.

    Args:
        producer: takes batches; started and stopped by the caller.
        topic_name: from a declared topic's name to its name on the broker.
        delivered: told, for every batch that Kafka has, its topic and its records' receive times.
        linger_s: how long a lane waits for more.
        limit_bytes: how much may be on its way before `room` waits.

    """

    def __init__(
        self,
        producer: Producer,
        *,
        topic_name: Callable[[str], str] = str,
        delivered: Callable[[Topic, Iterable[int]], None] = lambda _topic, _received: None,
        linger_s: float = LINGER_S,
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self.held_bytes = 0
        self._producer = producer
        self._topic_name = topic_name
        self._on_delivered = delivered
        self._linger_s = linger_s
        self._limit_bytes = limit_bytes
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._keys: dict[tuple[str, str], tuple[bytes, _Lane]] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, topic: Topic, key: str, value: bytes, received_at_ns: int) -> None:
        """File a record; `received_at_ns` becomes the record's own time."""
        place = self._keys.get((topic.name, key))
        if place is None:
            place = self._place(topic, key)
        key_bytes, lane = place
        size = len(value) + len(key_bytes) + RECORD_OVERHEAD
        lane.records.append(Record(key_bytes, value, received_at_ns // 1_000_000))
        lane.received.add(received_at_ns)
        lane.size += size
        lane.filled.set()
        self.held_bytes += size
        self._idle.clear()
        if self.held_bytes > self._limit_bytes:
            self._room.clear()

    async def room(self) -> None:
        """Return once less than the limit is on its way: at once, unless Kafka is slow."""
        if not self._room.is_set():
            await self._room.wait()

    async def drain(self) -> None:
        """Return once everything filed is delivered. Raises DeliveryFailedError."""
        if not self._failure.done():
            await self._idle.wait()
        if self._failure.done():
            self._failure.result()

    async def failed(self) -> None:
        """Return never; raise DeliveryFailedError when a delivery failed for good."""
        await asyncio.shield(self._failure)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Publisher"]:
        """Deliver while the context is open; leave it only after `drain`, or to give up."""
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if not self._failure.done():
                self._failure.cancel()
            elif not self._failure.cancelled():
                self._failure.exception()  # seen, even where nobody waited for it

    def _place(self, topic: Topic, key: str) -> tuple[bytes, _Lane]:
        key_bytes = key.encode()
        partition = self._producer.partition(key_bytes, topic.partitions)
        lane = self._lanes.get((topic.name, partition))
        if lane is None:
            lane = _Lane(topic, self._topic_name(topic.name), partition)
            self._lanes[topic.name, partition] = lane
            task = asyncio.create_task(self._run(lane), name=f"lane {lane.name} {partition}")
            task.add_done_callback(self._lane_ended)
            self._tasks.add(task)
        if len(self._keys) >= REMEMBERED_KEYS:
            self._keys.clear()
        self._keys[topic.name, key] = key_bytes, lane
        return key_bytes, lane

    async def _run(self, lane: _Lane) -> None:
        """Hand over a lane's records, batch by batch, until cancelled or a delivery fails."""
        while not self._failure.done():
            await lane.filled.wait()
            await asyncio.sleep(self._linger_s)
            try:
                await self._hand_over(lane)
            except KafkaError as error:
                self._fail(_failed_delivery(lane, error))

    def _lane_ended(self, task: "asyncio.Task[None]") -> None:
        """Pass on an error of our own, which would be lost with the task."""
        if not task.cancelled() and (error := task.exception()):
            self._fail(error)

    async def _hand_over(self, lane: _Lane) -> None:
        records, size, received = lane.records, lane.size, lane.received
        lane.records, lane.size, lane.received = [], 0, set()
        lane.filled.clear()
        delivery = await self._producer.send(lane.name, lane.partition, records, lane.topic.header)

        def settle(delivery: "asyncio.Future[list[object]]") -> None:
            if delivery.cancelled():
                return
            error = delivery.exception()
            if error is not None:
                self._fail(_failed_delivery(lane, error))
                return
            self._release(size)
            self._on_delivered(lane.topic, received)

        delivery.add_done_callback(settle)

    def _release(self, size: int) -> None:
        self.held_bytes -= size
        if self.held_bytes <= self._limit_bytes:
            self._room.set()
        if self.held_bytes == 0:
            self._idle.set()

    def _fail(self, error: BaseException) -> None:
        if not self._failure.done():
            self._failure.set_exception(error)
        # whoever waits must not wait for ever
        self._room.set()
        self._idle.set()


def _failed_delivery(lane: _Lane, error: BaseException) -> DeliveryFailedError:
    failure = DeliveryFailedError(f"{lane.name} partition {lane.partition}: {error!r}")
    failure.__cause__ = error
    return failure
