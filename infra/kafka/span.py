"""A span of time of the logs that all else follows from, as a capture keeps it; over aiokafka.

What is small and says how things stand is taken from its beginning; ticks, facts and the journals
from a while before the span, so that whoever takes it all up again knows by then what was known.
"""

from collections.abc import AsyncGenerator, Sequence
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra import topics
from infra.capture import Captured, Span
from infra.kafka.read import reader

MS = 1_000_000

#: Taken from the beginning.
WHOLE = (topics.SESSIONS, topics.SOURCES_SYMBOLS, topics.COMMANDS, topics.TRANSITIONS)
#: Taken from a while before.
FACTS = (topics.SOURCES_STATUS, topics.ROUTER_LOOKS)
#: The same, partition by partition, so that a partition can be replayed when its last was read.
TICKS = (topics.FORWARD_SWITCHES, topics.VALIDATE_MERGES, topics.RAW_YAHOO, topics.RAW_ALPACA)
#: Tables, and what is told of a tick afterwards: taken to the end.
TO_THE_END = (topics.SOURCES_SYMBOLS, topics.FORWARD_SWITCHES, topics.VALIDATE_MERGES)


class MissingTopicError(LookupError):
    """A topic is not on the cluster."""


class Capturing:
    """Reads the logs from one moment to another.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        prefix: put before every topic's name.

    """

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self._prefix = prefix
        self._servers = bootstrap_servers
        self._consumer: AIOKafkaConsumer | None = None

    async def __aenter__(self) -> Self:
        """Connect. Raises aiokafka.errors.KafkaError where no broker answers."""
        self._consumer = reader(self._servers)
        try:
            await self._consumer.start()
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._reader.stop()

    @property
    def _reader(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            message = "it is not connected"
            raise RuntimeError(message)
        return self._consumer

    async def spans(self, since_ns: int, until_ns: int, *, lead_ns: int) -> list[Span]:
        """Return what there is to take, in the order in which it is to be taken.

        Raises:
            MissingTopicError: a topic is not there.

        """
        wanted = [(topic, 0) for topic in (*WHOLE, *FACTS)] + [
            (topic, partition) for partition in range(topics.TICK_PARTITIONS) for topic in TICKS
        ]
        there = await self._reader.topics()
        for topic, _ in wanted:
            if self._prefix + topic.name not in there:
                message = f"topic {self._prefix + topic.name} is not on the Kafka cluster"
                raise MissingTopicError(message)
        tps = [TopicPartition(self._prefix + topic.name, p) for topic, p in wanted]
        first = await self._reader.beginning_offsets(tps)
        ends = await self._reader.end_offsets(tps)
        lead = await self._at(tps, since_ns - lead_ns, ends)
        since = await self._at(tps, since_ns, ends)
        until = await self._at(tps, until_ns, ends)
        return [
            Span(
                topic=topic.name,
                partition=partition,
                begin=first[tp] if topic in (*WHOLE, topics.FORWARD_SWITCHES) else lead[tp],
                since=since[tp],
                until=ends[tp] if topic in TO_THE_END else until[tp],
            )
            for (topic, partition), tp in zip(wanted, tps, strict=True)
        ]

    async def _at(
        self, tps: list[TopicPartition], moment_ns: int, ends: dict[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return the first offsets of records that were written at a moment or later."""
        moment_ms = max(0, -(-moment_ns // MS))
        found = await self._reader.offsets_for_times(dict.fromkeys(tps, moment_ms))
        return {
            tp: ends[tp] if at is None else min(at.offset, ends[tp]) for tp, at in found.items()
        }

    async def records(self, span: Span) -> AsyncGenerator[Sequence[Captured], None]:
        """Yield the records of a span, many at a time."""
        tp = TopicPartition(self._prefix + span.topic, span.partition)
        consumer = self._reader
        consumer.assign([tp])
        consumer.seek(tp, span.begin)
        while await consumer.position(tp) < span.until:
            for fetched in (await consumer.getmany(tp, timeout_ms=200)).values():
                yield [
                    Captured(
                        span.topic,
                        span.partition,
                        r.offset,
                        r.timestamp,
                        r.key,
                        r.value,
                        list(r.headers),
                    )
                    for r in fetched
                    if r.offset < span.until
                ]
