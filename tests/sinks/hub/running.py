"""The hub as a process, and a log for it to read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from infra import topics as declared
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from tests.sinks.processes import process_of, until_ready

MODULE = "sinks.hub"


@contextlib.asynccontextmanager
async def running(
    kafka: Broker,
    topics: str,
    ports: tuple[int, int],
    more: Mapping[str, str] | None = None,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A hub that is ready, at the first port; its metrics are at the second."""
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "TOPIC_PREFIX": topics,
        "HUB_ANONYMOUS": "true",
        "HUB_PORT": str(ports[0]),
        "METRICS_PORT": str(ports[1]),
        **(more or {}),
    }
    async with process_of(MODULE, env) as process:
        await until_ready(ports[1])
        yield process


async def write(kafka: Broker, prefix: str, topic: declared.Topic, *values: Any) -> None:
    """Write records of a topic into its first partition."""
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    records = [Record(b"A", v if isinstance(v, bytes) else msgspec.json.encode(v)) for v in values]
    try:
        await (await producer.send(prefix + topic.name, 0, records, topic.header))
    finally:
        await producer.stop()


async def said(kafka: Broker, prefix: str, topic: declared.Topic, kind: Any) -> list[Any]:
    """Return what is in a topic's first partition."""
    decode = msgspec.json.Decoder(kind).decode
    name = prefix + topic.name
    return [decode(r.value) async for r in read_to_end(kafka.bootstrap_servers, name, 0)]
