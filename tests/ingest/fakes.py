"""What ingest's tests put at its seams."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
from aiokafka.partitioner import murmur2

from infra.kafka.batches import Record
from infra.topics import SOURCES_STATUS, Topic
from ingest.events import RawTick, SourceStatus
from ingest.publish import Publisher

DEADLINE_S = 10.0


class InMemoryProducer:
    """A log in memory: what `ingest.publish.Publisher` takes for Kafka."""

    def __init__(self) -> None:
        self.log: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        self.headers: set[tuple[str, bytes]] = set()
        #: Deliveries wait for this.
        self.answering = asyncio.Event()
        self.answering.set()
        #: Deliveries fail with this.
        self.failure: Exception | None = None

    def partition(self, key: bytes, partitions: int) -> int:
        """Return the partition of `key`, as Kafka's clients do."""
        return int(murmur2(key) & 0x7FFFFFFF) % partitions

    async def send(
        self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
    ) -> "asyncio.Future[list[object]]":
        """Take records; they are in the log when the future is done."""
        return asyncio.ensure_future(self._deliver(topic, partition, list(records), header))

    async def _deliver(
        self, topic: str, partition: int, records: list[Record], header: tuple[str, bytes]
    ) -> list[object]:
        await self.answering.wait()
        if self.failure:
            raise self.failure
        self.headers.add(header)
        self.log[topic, partition] += records
        return []

    def records(self, topic: Topic) -> list[Record]:
        """Return the records of all partitions of `topic`."""
        return [
            record for (name, _), log in self.log.items() if name == topic.name for record in log
        ]

    def ticks(self, topic: Topic) -> list[RawTick]:
        """Return the raw ticks in `topic`, in the order they were received."""
        ticks = [msgspec.json.decode(r.value, type=RawTick) for r in self.records(topic)]
        return sorted(ticks, key=lambda tick: (tick.received_at_ns, tick.session_seq))

    def statuses(self) -> list[SourceStatus]:
        """Return the life of the sources, in order."""
        return [
            msgspec.json.decode(record.value, type=SourceStatus)
            for record in self.records(SOURCES_STATUS)
        ]


@asynccontextmanager
async def publishing() -> AsyncIterator[tuple[Publisher, InMemoryProducer]]:
    """A publisher into a log in memory, that does not linger."""
    producer = InMemoryProducer()
    async with Publisher(producer, linger_s=0).running() as publisher:
        yield publisher, producer


T = TypeVar("T")


async def eventually(look: Callable[[], T], deadline_s: float = DEADLINE_S) -> T:
    """Return what `look` returns as soon as that is true; fail at the deadline."""
    async with asyncio.timeout(deadline_s):
        while not (seen := look()):
            await asyncio.sleep(0.005)
    return seen
