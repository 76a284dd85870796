"""The broker keeps what it was given, however it ends."""

from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from infra.kafka.admin import ensure_topics
from infra.kafka.broker import Broker, BrokerConfig, BrokerError, answers
from infra.topics import ROUTED

pytestmark = pytest.mark.service


async def produce(servers: str, value: bytes) -> None:
    """Write one record to a declared topic."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(ROUTED.name, value, partition=0)
    finally:
        await producer.stop()


async def consume(servers: str) -> list[bytes]:
    """Read that topic's first partition to its end."""
    where = TopicPartition(ROUTED.name, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, auto_offset_reset="earliest")
    consumer.assign([where])
    await consumer.start()
    try:
        end = (await consumer.end_offsets([where]))[where]
        return [(await consumer.getone()).value for _ in range(end)]
    finally:
        await consumer.stop()


async def test_data_survive_a_restart_and_a_kill(
    make_broker: Callable[[Path], Broker], tmp_path: Path
) -> None:
    """Records written before a stop and before a kill -9 are read after."""
    broker = make_broker(tmp_path)
    try:
        await broker.start()
        await ensure_topics(broker.bootstrap_servers)
        await produce(broker.bootstrap_servers, b"before the stop")
        await broker.stop()
        assert not await answers(broker.bootstrap_servers)
        await broker.start()
        await produce(broker.bootstrap_servers, b"before the kill")
        await broker.kill()
        await broker.start()
        assert await consume(broker.bootstrap_servers) == [b"before the stop", b"before the kill"]
    finally:
        await broker.stop()


async def test_a_broker_that_cannot_start_says_why(kafka: Broker, tmp_path: Path) -> None:
    """A second broker on a taken port is refused by the port's number."""
    config = BrokerConfig(
        port=kafka.config.port,
        controller_port=kafka.config.controller_port,
        directory=tmp_path,
        java=kafka.config.java,
        jars=kafka.config.jars,
    )
    with pytest.raises(BrokerError, match=f"port {kafka.config.port} is in use"):
        await Broker(config).start()
