"""The Prometheus sink as a process, on real Kafka."""

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra import topics as declared
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker

pytestmark = pytest.mark.service


@contextlib.asynccontextmanager
async def _process(env: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sinks.prometheus"),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until(http: aiohttp.ClientSession, path: str, words: str) -> None:
    """Wait until a page answers 200 with these words."""
    async with asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with http.get(path) as response:
                    if response.status == 200 and words in await response.text():
                        return
            await asyncio.sleep(0.05)


async def _write(servers: str, prefix: str, topic: declared.Topic, *values: Any) -> None:
    producer = BatchProducer(servers, client_id="test")
    await producer.start()
    records = [Record(b"A", v if isinstance(v, bytes) else msgspec.json.encode(v)) for v in values]
    try:
        await (await producer.send(prefix + topic.name, 0, records, topic.header))
    finally:
        await producer.stop()


async def test_what_comes_is_counted_and_what_was_is_not(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """From its start on; a record that is none of ours among the others costs only itself."""
    servers, port = kafka.bootstrap_servers, free_port()
    tick = {"source": "alpaca"}
    await _write(servers, topics, declared.VALID, tick, tick, tick)
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": topics,
        "METRICS_PORT": str(port),
    }
    async with (
        _process(env) as process,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        await _until(http, "/ready", "ready")
        await _write(servers, topics, declared.VALID, tick, b"no tick", tick)
        rejected = {"source": "yahoo", "reason": "invalid_price"}
        await _write(servers, topics, declared.REJECTED, rejected)
        processed = "datasource_router_messages_processed_total"
        await _until(http, "/metrics", f'{processed}{{source="alpaca"}} 2.0\n')
        await _until(http, "/metrics", f'{processed}{{source="yahoo"}} 1.0\n')
        failures = "datasource_router_validation_failures_total"
        await _until(http, "/metrics", f'{failures}{{reason="invalid_price"}} 1.0\n')
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_a_stage_that_is_dead_is_seen_to_fall_behind(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """In records and in seconds; and not at all once its group has committed them."""
    servers, port = kafka.bootstrap_servers, free_port()
    await _write(servers, topics, declared.VALID, {"source": "alpaca"}, {"source": "alpaca"})
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": topics,
        "METRICS_PORT": str(port),
    }
    of_forward = '{group="forward",topic="ticks.valid"}'
    async with (
        _process(env),
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        await _until(http, "/metrics", f"pipeline_consumer_lag_records{of_forward} 2.0\n")
        # each topic that a group reads has its own
        of_validate = '{group="validate",topic="ticks.raw.yahoo"}'
        await _until(http, "/metrics", f"pipeline_consumer_lag_records{of_validate} 0.0\n")
        async with http.get("/metrics") as response:
            (seconds,) = re.findall(
                rf"pipeline_consumer_lag_seconds{re.escape(of_forward)} (\S+)",
                await response.text(),
            )
        assert 0 < float(seconds) < 60
        consumer = AIOKafkaConsumer(
            bootstrap_servers=servers, group_id=f"{topics}forward", enable_auto_commit=False
        )
        await consumer.start()
        try:
            tp = TopicPartition(topics + declared.VALID.name, 0)
            consumer.assign([tp])
            await consumer.commit({tp: 2})
        finally:
            await consumer.stop()
        await _until(http, "/metrics", f"pipeline_consumer_lag_records{of_forward} 0.0\n")
        await _until(http, "/metrics", f"pipeline_consumer_lag_seconds{of_forward} 0.0\n")


@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka"}, 78, "KAFKA_BOOTSTRAP_SERVERS: 'kafka' is not"),
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            69,
            "KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at 127.0.0.1:1",
        ),
    ],
)
async def test_every_mistake_is_named(env: Mapping[str, str], code: int, sentence: str) -> None:
    """One sentence, and the exit code of its kind."""
    async with _process(env) as process:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == code
    assert said.decode().splitlines()[-1].startswith(sentence)
