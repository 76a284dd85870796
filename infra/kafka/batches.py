"""Producing by the batch: the one place that builds aiokafka batches.

A record through `AIOKafkaProducer.send()` costs 15 to 22 us, through a batch built by hand under 2.
So callers hand over the records of one partition at a time, and get one future for all.

aiokafka 0.14 has one `request_timeout_ms` for two things: how long a request may take, and how long
a batch may wait. A stage that can replay ends when a batch has waited too long. One that cannot is
`patient`: its requests time out soon, so that a dead peer is noticed, and its batches never. Then
only what the cluster says ends the wait: a refusal, or that it does not know the topic.

Three private things of aiokafka are bent for this, each in a method of its own, and held by
tests/infra/kafka/test_batches.py.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError, UnknownTopicOrPartitionError
from aiokafka.partitioner import murmur2

from infra.record import Record

__all__ = ["BatchProducer", "Record"]

#: How long aiokafka may try to deliver a batch. Long enough for a broker to restart.
DELIVERY_TIMEOUT_MS = 120_000
#: How long one request of a patient producer may take. Far more than a live broker needs.
REQUEST_TIMEOUT_MS = 10_000
MAX_BATCH_BYTES = 512 * 1024

#: How long a cluster that answers may not know a topic, before we believe that it is gone. A broker
#: that starts may be asked before it has read what it has.
GONE_S = 30.0
#: Answers further apart than this are not one story: the broker was away in between.
STORY_S = 5.0
#: The pause after a look at the cluster that found no leader. aiokafka itself pauses for none: it
#: asks, and logs, some thousand times a second.
LOOK_AGAIN_S = 0.1

#: Sequence numbers are 31 bits, and go on at 0.
MAX_SEQUENCE = 2**31 - 1


class BatchProducer:
    """An idempotent producer, `acks=all`, that sends whole batches to chosen partitions.

    Records of one partition are delivered in the order of the calls. A delivery that fails is fatal
    to the order, so the caller should end its process and let a restart replay.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        client_id: what the broker's log calls us.
        patient: wait for a broker that is away for as long as it takes.

    """

    def __init__(self, bootstrap_servers: str, *, client_id: str, patient: bool = False) -> None:
        self._servers = bootstrap_servers
        self._client_id = client_id
        self._patient = patient
        self._missing = Missing()
        self._gone: KafkaError | None = None
        self._topics: set[str] = set()
        self._producer: AIOKafkaProducer | None = None
        self._in_order: defaultdict[tuple[str, int], asyncio.Lock] = defaultdict(asyncio.Lock)
        self._partitions: dict[tuple[bytes, int], int] = {}

    async def start(self) -> None:
        """Connect. Raises aiokafka.errors.KafkaConnectionError where no broker answers."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._servers,
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=4 * MAX_BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS if self._patient else DELIVERY_TIMEOUT_MS,
        )
        _wrap_sequences(producer)
        _look_unhurriedly(producer)
        if self._patient:
            _expire_nothing(producer)
            producer.client.cluster.add_listener(self._look_for_topics)
        try:
            await producer.start()
        except (KafkaError, asyncio.CancelledError):
            await producer.stop()
            raise
        self._producer = producer

    async def stop(self) -> None:
        """Deliver what was handed over, and disconnect."""
        if self._producer:
            await self._producer.stop()

    def partition(self, key: bytes, partitions: int) -> int:
        """Return the partition of `key` among `partitions`, as Kafka's own clients choose it."""
        known = self._partitions.get((key, partitions))
        if known is None:
            known = (murmur2(key) & 0x7FFFFFFF) % partitions
            self._partitions[key, partitions] = known
        return known

    async def partitions_of(self, topic: str) -> int:
        """Return how many partitions `topic` has; 0 where it is not there."""
        if self._producer is None:
            message = "the producer was not started"
            raise RuntimeError(message)
        cluster = await self._producer.client.fetch_all_metadata()
        return len(cluster.partitions_for_topic(topic) or ())

    async def send(
        self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
    ) -> "asyncio.Future[list[object]]":
        """Hand over records for one partition; the future is done when the broker has them all.

        Returns once they are accepted for sending, in order. The future raises
        aiokafka.errors.KafkaError when the delivery failed for good.
        """
        if self._producer is None:
            message = "the producer was not started"
            raise RuntimeError(message)
        producer, headers = self._producer, [header]
        self._topics.add(topic)
        deliveries: list[asyncio.Future[object]] = []
        async with self._in_order[topic, partition]:
            batch = producer.create_batch()
            for key, value, timestamp, own in records:
                its = [*headers, *own] if own else headers
                if batch.append(key=key, value=value, timestamp=timestamp, headers=its) is None:
                    deliveries.append(await self._hand_over(producer, batch, topic, partition))
                    batch = producer.create_batch()
                    if batch.append(key=key, value=value, timestamp=timestamp, headers=its) is None:
                        message = f"a record of {len(value)} bytes does not fit into a batch"
                        raise ValueError(message)
            if batch.record_count():
                deliveries.append(await self._hand_over(producer, batch, topic, partition))
        return asyncio.gather(*deliveries)

    async def _hand_over(
        self, producer: AIOKafkaProducer, batch: Any, topic: str, partition: int
    ) -> "asyncio.Future[object]":
        """Have a batch taken, behind those of its partition that wait already."""
        while self._gone is None:
            try:
                delivery: asyncio.Future[object] = await producer.send_batch(
                    batch, topic, partition=partition
                )
            except (KafkaTimeoutError, UnknownTopicOrPartitionError):
                # it was not taken, so it can be handed over again
                if not self._patient:
                    raise
            else:
                return delivery
        raise self._gone

    def _look_for_topics(self, cluster: Any) -> None:
        """Give up once a cluster that answers does not know a topic that we write."""
        missing = {t for t in self._topics if cluster.partitions_for_topic(t) is None}
        gone = self._missing.gone(missing, time.monotonic())
        if gone:
            self._gone = UnknownTopicOrPartitionError(
                f"the cluster has not known {', '.join(gone)} for {GONE_S:g} s"
            )
            _fail_waiting(self._producer, gone, self._gone)


class Missing:
    """Judges how long topics have been missing from a cluster's answers; pure."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._last = -math.inf

    def gone(self, missing: Iterable[str], now: float) -> list[str]:
        """Return which topics are gone.

        Args:
            missing: the topics that an answer did not have.
            now: when it came, in seconds on a monotonic clock.

        """
        before = self._since if now - self._last <= STORY_S else {}
        self._last = now
        self._since = {topic: before.get(topic, now) for topic in missing}
        return sorted(topic for topic, since in self._since.items() if now - since >= GONE_S)


def _expire_nothing(producer: AIOKafkaProducer) -> None:
    """Let batches wait for ever; else one that waited long fails where a leader is being chosen."""
    producer._message_accumulator._batch_ttl = math.inf  # noqa: SLF001


def _fail_waiting(producer: AIOKafkaProducer, topics: Iterable[str], error: KafkaError) -> None:
    """Fail what waits for `topics`, as aiokafka does with what has expired."""
    waiting = producer._message_accumulator  # noqa: SLF001
    for tp in [tp for tp in waiting._batches if tp.topic in topics]:  # noqa: SLF001
        while tp in waiting._batches:  # noqa: SLF001
            waiting._pop_batch(tp).failure(error)  # noqa: SLF001


def _wrap_sequences(producer: AIOKafkaProducer) -> None:
    """Let sequence numbers go on at 0; aiokafka goes on below 0, which brokers refuse."""
    manager = producer._txn_manager  # noqa: SLF001

    def increment(tp: Any, by: int) -> None:
        manager._sequence_numbers[tp] = (manager.sequence_number(tp) + by) & MAX_SEQUENCE  # noqa: SLF001

    manager.increment_sequence_number = increment


def _look_unhurriedly(producer: AIOKafkaProducer) -> None:
    """Have it pause after a look at the cluster that failed, or found topics without leaders."""
    look: Callable[..., Any] = producer.client._metadata_update  # noqa: SLF001

    async def look_and_pause(cluster: Any, topics: Iterable[str]) -> bool:
        updated: bool = await look(cluster, topics)
        if not updated or any(
            cluster.available_partitions_for_topic(topic) != cluster.partitions_for_topic(topic)
            or cluster.partitions_for_topic(topic) is None
            for topic in topics or ()
        ):
            await asyncio.sleep(LOOK_AGAIN_S)
        return updated

    producer.client._metadata_update = look_and_pause  # noqa: SLF001
