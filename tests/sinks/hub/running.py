"""The hub as a process, and a log for it to read."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import msgspec

from infra import topics as declared
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker


@contextlib.asynccontextmanager
async def process_of(env: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """The hub with these settings; killed where it has not ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sinks.hub"),
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
    async with process_of(env) as process, aiohttp.ClientSession() as http:
        async with asyncio.timeout(30):
            ready = False
            while not ready:
                with contextlib.suppress(aiohttp.ClientConnectorError):
                    async with http.get(f"http://127.0.0.1:{ports[1]}/ready") as response:
                        ready = response.status == 200
                await asyncio.sleep(0.05)
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
