"""Reading a log without a group: back, to know what was, and on, to learn what comes.

Thin, over aiokafka. Who takes over from another reads back to the end that a partition has at the
start of the reading; who follows small topics of one partition reads on from there.
"""

import asyncio
from collections.abc import AsyncGenerator

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

#: How long a patient reader waits before it looks for a broker again.
AGAIN_S = 1.0


def reader(bootstrap_servers: str) -> AIOKafkaConsumer:
    """Return a consumer of no group, not started, that begins with the first record there is."""
    # `seek_to_beginning` may lose a race against the reset to "latest" that an assignment begins
    # (aiokafka 0.14), and then skips all that was there: so "earliest" is what it resets to.
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )


async def read_to_end(
    bootstrap_servers: str,
    topic: str,
    partition: int,
    *,
    last: int | None = None,
    since: int | None = None,
    before: int | None = None,
) -> AsyncGenerator[ConsumerRecord, None]:
    """Yield the records of a partition in order, up to its present end.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        topic: the topic's name on the broker.
        partition: the partition's number.
        last: only about that many records before the end; None for all that are kept.
        since: begin at this offset, where it is kept.
        before: end at this offset rather than at the partition's end.

    """
    tp = TopicPartition(topic, partition)
    consumer = reader(bootstrap_servers)
    await consumer.start()
    try:
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        if before is not None:
            end = min(end, before)
        begin = (await consumer.beginning_offsets([tp]))[tp]
        if last is not None:
            begin = max(begin, end - last)
        if since is not None:
            begin = max(begin, since)
        consumer.seek(tp, begin)
        # the position, not the last record's offset: a compacted partition may end in a hole
        while await consumer.position(tp) < end:
            for records in (await consumer.getmany(tp, timeout_ms=200)).values():
                for record in records:
                    if record.offset < end:
                        yield record
    finally:
        await consumer.stop()


async def follow(
    bootstrap_servers: str, topic: str, *, last: int | None = None, patient: bool = False
) -> AsyncGenerator[ConsumerRecord, None]:
    """Yield the records of a topic's only partition, and then others as they come.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        topic: the topic's name on the broker.
        last: begin only about that many records before the end; None for all that are kept.
        patient: wait for a broker that is away when the reading begins; one that goes away later is
            waited for in any case.

    Raises:
        KafkaError: no broker answers, and we are not patient.

    """
    tp = TopicPartition(topic, 0)
    while True:
        consumer = reader(bootstrap_servers)
        try:
            await _begin(consumer, tp, last)
        except KafkaError:
            await consumer.stop()
            if not patient:
                raise
            await asyncio.sleep(AGAIN_S)
        except BaseException:
            await consumer.stop()
            raise
        else:
            break
    try:
        async for record in consumer:
            yield record
    finally:
        await consumer.stop()


async def _begin(consumer: AIOKafkaConsumer, tp: TopicPartition, last: int | None) -> None:
    await consumer.start()
    consumer.assign([tp])
    if last is not None:
        begin = (await consumer.beginning_offsets([tp]))[tp]
        end = (await consumer.end_offsets([tp]))[tp]
        consumer.seek(tp, max(begin, end - last))


class Tail:
    """A small topic's only partition, read on up to its end as often as somebody asks.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        topic: the topic's name on the broker.

    """

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._servers = bootstrap_servers
        self._tp = TopicPartition(topic, 0)
        self._consumer: AIOKafkaConsumer | None = None

    async def start(self) -> None:
        """Connect; what `fresh` returns first begins with the first record that is kept."""
        self._consumer = reader(self._servers)
        await self._consumer.start()
        self._consumer.assign([self._tp])

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer:
            await self._consumer.stop()

    async def fresh(self) -> list[ConsumerRecord]:
        """Return what came since the last call, up to the end that the partition has now.

        Whatever Kafka had acknowledged before the call is among it, or came earlier.
        """
        if self._consumer is None:
            message = "the tail was not started"
            raise RuntimeError(message)
        end = (await self._consumer.end_offsets([self._tp]))[self._tp]
        found: list[ConsumerRecord] = []
        while await self._consumer.position(self._tp) < end:
            for records in (await self._consumer.getmany(self._tp, timeout_ms=200)).values():
                found += records
        return found

    async def since(self, offset: int) -> list[ConsumerRecord]:
        """Return what is kept from an offset on, up to the end that the partition has now.

        Negative offsets count from the end. What `fresh` returns next comes behind that.
        """
        if self._consumer is None:
            message = "the tail was not started"
            raise RuntimeError(message)
        if offset < 0:
            offset += (await self._consumer.end_offsets([self._tp]))[self._tp]
        if await self._consumer.position(self._tp) != offset:
            begin = (await self._consumer.beginning_offsets([self._tp]))[self._tp]
            self._consumer.seek(self._tp, max(begin, offset))
        return await self.fresh()
