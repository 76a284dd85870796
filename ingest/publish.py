"""The publisher: what the workers read becomes records in Kafka, in order.

`put` never waits: it files a record in the lane of its partition. Each lane hands what has come
together within `LINGER_S` to the producer as one batch, and goes on as soon as the producer has
taken it. While Kafka is slow, or away, a lane's next batch grows instead, up to the budget. What
then becomes of a vendor's stream, which cannot wait, `ingest.shed` decides; a reader that can wait
asks for `room`.

A delivery that fails for good would leave a hole behind which later records may already stand, so
it ends the publisher, and with it the process; the vendor's stream has no replay.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from aiokafka.errors import KafkaError

from infra.kafka.batches import MAX_BATCH_BYTES, Record
from infra.topics import Topic
from ingest.shed import LIMIT_BYTES, MEBIBYTE, Kind, Level, ShedBegun, Shedder, ShedOver, Verdict

Headers = tuple[tuple[str, bytes], ...]

#: How long a lane waits for more. Shorter than a person or a rule can notice; long enough that a
#: frame's ticks go together.
LINGER_S = 0.005

#: As much of a lane is handed over at once: two batches. The rest waits where it can still be shed.
HAND_OVER_BYTES = 2 * MAX_BATCH_BYTES

#: A record's own memory, besides its key and value: the tuple, two objects, its place in lists.
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


class BufferOverflowError(DeliveryFailedError):
    """What may not be shed does not fit into memory any more."""


@dataclass(eq=False, slots=True)
class _Lane:
    """The way to one partition: three lists of the same length, and what they hold."""

    topic: Topic
    name: str
    partition: int
    records: list[Record] = field(default_factory=list)
    kinds: list[Kind | None] = field(default_factory=list)
    #: When the records' vendor bytes were received, in nanoseconds.
    moments: list[int] = field(default_factory=list)
    size: int = 0
    filled: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, limit_bytes: int) -> tuple[list[Record], list[int], int]:
        """Take out the first records, up to a limit: they, their moments, their bytes."""
        records, moments, size = self.records, self.moments, self.size
        if size <= limit_bytes:
            self.records, self.kinds, self.moments, self.size = [], [], [], 0
            self.filled.clear()
            return records, moments, size
        count = size = 0
        while not count or size + _size(records[count]) <= limit_bytes:
            size += _size(records[count])
            count += 1
        self.size -= size
        first = records[:count], moments[:count], size
        del records[:count], self.kinds[:count], moments[:count]
        return first

    def evict(self, kind: Kind) -> tuple[list[Record], list[int]]:
        """Take out all records of a kind: they, and their moments."""
        gone = [place for place, its in enumerate(self.kinds) if its == kind]
        if not gone:
            return [], []
        out = [self.records[place] for place in gone], [self.moments[place] for place in gone]
        kept = [place for place, its in enumerate(self.kinds) if its != kind]
        self.records = [self.records[place] for place in kept]
        self.moments = [self.moments[place] for place in kept]
        self.kinds = [self.kinds[place] for place in kept]
        self.size -= sum(map(_size, out[0]))
        return out


def _size(record: Record) -> int:
    return len(record.key or b"") + len(record.value) + RECORD_OVERHEAD


class Publisher:
    """Files records by partition and has them delivered.

    Args:
        producer: takes batches; started and stopped by the caller.
        topic_name: from a declared topic's name to its name on the broker.
        delivered: told, for every batch that Kafka has, its topic and its records' receive times.
        linger_s: how long a lane waits for more.
        limit_bytes: the budget: how much may be on its way.
        shed: told when ticks of a kind begin to be shed, and when that is over. Without it nothing
            is shed, and `room` waits instead.
        traced: told, before `delivered`, the partition and the headers of those records that have
            any of their own.

    """

    def __init__(
        self,
        producer: Producer,
        *,
        topic_name: Callable[[str], str] = str,
        delivered: Callable[[Topic, Iterable[int]], None] = lambda _topic, _received: None,
        linger_s: float = LINGER_S,
        limit_bytes: int = LIMIT_BYTES,
        shed: Callable[[ShedBegun | ShedOver], None] | None = None,
        traced: Callable[[int, list[Headers]], None] | None = None,
    ) -> None:
        self.held_bytes = 0
        #: Ticks shed since the publisher was made, by kind.
        self.shed: Counter[Kind] = Counter()
        #: Records that the producer has and Kafka has not confirmed.
        self._handed_over = 0
        self._shedder = Shedder(limit_bytes)
        self._on_shed = shed
        #: Above this many bytes held, `put` asks before it keeps a record.
        self._unasked_bytes = limit_bytes
        self._producer = producer
        self._topic_name = topic_name
        self._on_delivered = delivered
        self._on_traced = traced
        self._linger_s = linger_s
        self._lanes: dict[tuple[str, int], _Lane] = {}
        self._keys: dict[tuple[str, str], tuple[bytes, _Lane]] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    def put(
        self,
        topic: Topic,
        key: str,
        value: bytes,
        received_at_ns: int,
        kind: Kind | None = None,
        *,
        headers: Headers = (),
    ) -> None:
        """File a record, or shed it.

        Args:
            topic: where to.
            key: the record's key; of a tick, its symbol.
            value: the record's value.
            received_at_ns: becomes the record's own time.
            kind: what kind of tick it is; None for what may never be shed.
            headers: the record's own, besides its topic's.

        """
        place = self._keys.get((topic.name, key))
        if place is None:
            place = self._place(topic, key)
        key_bytes, lane = place
        size = len(value) + len(key_bytes) + RECORD_OVERHEAD
        if self.held_bytes + size > self._unasked_bytes and not self._admit(
            kind, key, size, received_at_ns
        ):
            return
        if not lane.size:
            lane.filled.set()
            self._idle.clear()
        lane.records.append(Record(key_bytes, value, received_at_ns // 1_000_000, headers))
        lane.kinds.append(kind)
        lane.moments.append(received_at_ns)
        lane.size += size
        self.held_bytes += size

    @property
    def held_records(self) -> int:
        """How many records are on their way."""
        return self._handed_over + sum(len(lane.records) for lane in self._lanes.values())

    async def room(self) -> None:
        """Return once less than the limit is on its way: at once, unless Kafka is slow.

        At once in any case where the publisher sheds.
        """
        if not self._room.is_set():
            await self._room.wait()

    def end_shedding(self) -> None:
        """Tell what was shed so far, because the process ends."""
        self._tell(self._shedder.end())

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

    def _admit(self, kind: Kind | None, key: str, size: int, received_at_ns: int) -> bool:
        """Say whether a record is kept, now that there is little room, or none."""
        shedder, changes = self._shedder, list[ShedBegun]()
        if self._on_shed is None:
            # who can wait is asked to
            self._room.clear()
            kind = None
        while (verdict := shedder.judge(kind, self.held_bytes + size)) is Verdict.FULL:
            evicted = shedder.full()
            if evicted is not None:
                changes += self._evict(evicted)
        match verdict:
            case Verdict.SHED if kind is not None:
                self.shed[kind] += 1
                changes += shedder.shed(kind, (key,), (received_at_ns,))
            case Verdict.OVERFLOW:
                self._fail(self._overflow())
        self._tell(changes)
        if verdict is Verdict.SHED and self.held_bytes == 0:
            # all that was held could be shed: there is no delivery to wait for
            self._release(0)
        return verdict is Verdict.KEEP

    def _evict(self, kind: Kind) -> list[ShedBegun]:
        """Shed what waits of a kind and was not handed over."""
        symbols, moments = set[str](), list[int]()
        for lane in self._lanes.values():
            before = lane.size
            records, received = lane.evict(kind)
            self.held_bytes -= before - lane.size
            symbols.update({(record.key or b"").decode() for record in records})
            moments += received
        self.shed[kind] += len(moments)
        return self._shedder.shed(kind, symbols, moments) if moments else []

    def _tell(self, changes: Iterable[ShedBegun | ShedOver]) -> None:
        self._unasked_bytes = (
            self._shedder.limit_bytes if self._shedder.level is Level.KEEPING else -1
        )
        for change in changes:
            if self._on_shed:
                self._on_shed(change)

    def _overflow(self) -> BufferOverflowError:
        mebibytes = self._shedder.hard_limit_bytes // MEBIBYTE
        return BufferOverflowError(
            f"{mebibytes} MiB that may not be shed wait for Kafka, twice the budget: it was away "
            "for too long"
        )

    async def _hand_over(self, lane: _Lane) -> None:
        records, moments, size = lane.take(HAND_OVER_BYTES)
        if not records:
            return  # all that had come was shed meanwhile
        count = len(records)
        self._handed_over += count
        tell = self._on_traced
        traced = [record.headers for record in records if record.headers] if tell else []
        delivery = await self._producer.send(lane.name, lane.partition, records, lane.topic.header)

        def settle(delivery: "asyncio.Future[list[object]]") -> None:
            if delivery.cancelled():
                return
            error = delivery.exception()
            if error is not None:
                self._fail(_failed_delivery(lane, error))
                return
            self._handed_over -= count
            self._release(size)
            if tell:
                tell(lane.partition, traced)
            self._on_delivered(lane.topic, set(moments))

        delivery.add_done_callback(settle)

    def _release(self, size: int) -> None:
        self.held_bytes -= size
        if self.held_bytes <= self._shedder.limit_bytes:
            self._room.set()
        self._tell(self._shedder.drained(self.held_bytes))
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
