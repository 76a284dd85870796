"""Producing by the batch: what is bent of aiokafka, and what a real broker makes of it."""

import asyncio
import inspect
import math
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError

from infra.kafka import batches
from infra.kafka.admin import delete_topics, ensure_topics
from infra.kafka.batches import GONE_S, MAX_SEQUENCE, BatchProducer, Missing, Record
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.topics import ROUTED
from tests.own_broker import OUTAGES, Outage

HEADER = ("schema", b"Test/1")


def test_a_topic_is_gone_once_the_cluster_has_not_known_it_for_long() -> None:
    """It takes a row of answers without the topic; one that has it begins anew."""
    judge, end = Missing(), int(GONE_S)
    assert [judge.gone({"a"}, now) for now in range(end)] == [[]] * end
    assert judge.gone({"a"}, end) == ["a"]
    assert judge.gone({"b"}, end + 1) == []  # it has "a" again
    assert [judge.gone({"a", "b"}, end + now) for now in range(2, end)] == [[]] * (end - 2)
    assert judge.gone({"a", "b"}, 2 * end + 1) == ["b"]
    assert judge.gone({"a", "b"}, 2 * end + 2) == ["a", "b"]


def test_a_broker_that_was_away_starts_the_count_anew() -> None:
    """Two answers a minute apart prove nothing about the time between them."""
    judge = Missing()
    assert judge.gone({"a"}, 0) == []
    assert judge.gone({"a"}, 2 * GONE_S) == []


async def test_what_is_bent_of_aiokafka_is_there_to_be_bent() -> None:
    """The private parts that we rely on exist and mean what we take them for."""
    producer = AIOKafkaProducer(enable_idempotence=True, request_timeout_ms=7_000)
    try:
        waiting = producer._message_accumulator
        assert waiting._batch_ttl == 7
        assert "self._batch_ttl" in inspect.getsource(type(waiting)._append_batch)
        assert waiting._batches == {}
        assert callable(waiting._pop_batch)
        batches._expire_nothing(producer)
        tp = TopicPartition("t", 0)
        producer._txn_manager.set_pid_and_epoch(1, 0)
        builder = producer.create_batch()
        builder.append(key=None, value=b"", timestamp=None)
        delivery = await waiting.add_batch(builder, tp, 1)
        assert waiting._batches[tp][0]._ttl == math.inf
        batches._fail_waiting(producer, ["other"], KafkaError())
        assert not delivery.done()
        batches._fail_waiting(producer, ["t"], UnknownTopicOrPartitionError())
        with pytest.raises(UnknownTopicOrPartitionError):
            await delivery
        assert tp not in waiting._batches
        # the sender's own way to a sequence number
        assert "increment_sequence_number(" in inspect.getsource(type(waiting)._pop_batch)
        batches._wrap_sequences(producer)
        manager = producer._txn_manager
        manager._sequence_numbers[tp] = MAX_SEQUENCE
        manager.increment_sequence_number(tp, 3)
        assert manager.sequence_number(tp) == 2
        assert inspect.iscoroutinefunction(producer.client._metadata_update)
    finally:
        await producer.stop()


@asynccontextmanager
async def _producing(servers: str) -> AsyncIterator[BatchProducer]:
    producer = BatchProducer(servers, client_id="test", patient=True)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def _values(servers: str, topic: str, partition: int = 0) -> list[int]:
    return [int(record.value) async for record in read_to_end(servers, topic, partition)]


def _numbers(first: int, count: int) -> list[Record]:
    return [Record(b"k", str(number).encode()) for number in range(first, first + count)]


@pytest.mark.service
async def test_sequence_numbers_go_on_at_zero(kafka: Broker, topics: str) -> None:
    """After two thousand million records of one partition the broker still takes the next."""
    topic = topics + ROUTED.name
    async with _producing(kafka.bootstrap_servers) as producer:
        assert producer._producer
        manager = producer._producer._txn_manager
        manager._sequence_numbers[TopicPartition(topic, 0)] = MAX_SEQUENCE - 4
        for first in range(0, 30, 3):
            await (await producer.send(topic, 0, _numbers(first, 3), HEADER))
        assert manager.sequence_number(TopicPartition(topic, 0)) == 25
    assert await _values(kafka.bootstrap_servers, topic) == list(range(30))


@pytest.mark.service
async def test_a_topic_that_is_deleted_fails_its_records(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No patience helps where the cluster is there and the topic is not: it is named."""
    monkeypatch.setattr(batches, "GONE_S", 1.0)
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    await ensure_topics(kafka.bootstrap_servers, prefix)
    topic = prefix + ROUTED.name
    async with _producing(kafka.bootstrap_servers) as producer:
        await (await producer.send(topic, 0, _numbers(0, 3), HEADER))
        await delete_topics(kafka.bootstrap_servers, prefix)
        async with asyncio.timeout(60):
            with pytest.raises(UnknownTopicOrPartitionError, match=f"has not known {topic} for"):
                await (await producer.send(topic, 0, _numbers(3, 3), HEADER))
            with pytest.raises(UnknownTopicOrPartitionError):
                await producer.send(topic, 0, _numbers(6, 3), HEADER)


@pytest.mark.service
@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_patient_producer_outlives_its_broker(
    broker: Broker,
    outage: Outage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over outages longer than any request may take, each record is there once, in order."""
    monkeypatch.setattr(batches, "REQUEST_TIMEOUT_MS", 1_000)
    partitions = range(ROUTED.partitions)
    sent = 0
    async with _producing(broker.bootstrap_servers) as producer:
        deliveries = []
        going_on = True

        async def produce(partition: int) -> None:
            nonlocal sent
            number = 0
            while going_on:
                records = _numbers(number, 200)
                deliveries.append(await producer.send(ROUTED.name, partition, records, HEADER))
                number += 200
                sent += 200
                await asyncio.sleep(0.01)

        producing = [asyncio.create_task(produce(partition)) for partition in partitions]
        for _ in range(2):
            before = sent
            async with asyncio.timeout(60):
                while sent < before + 8_000:
                    await asyncio.sleep(0.05)
            await outage(broker, 5.0)
        going_on = False
        async with asyncio.timeout(60):
            await asyncio.gather(*producing)
            await asyncio.gather(*deliveries)
    held = [
        await _values(broker.bootstrap_servers, ROUTED.name, partition) for partition in partitions
    ]
    assert [values == list(range(len(values))) for values in held] == [True] * len(held)
    assert sum(map(len, held)) == sent
