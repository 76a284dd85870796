"""Alpaca dies, and Yahoo takes over; Alpaca comes back, and is taken back."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra import topics
from tests.journeys import reconcile
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack


@contextlib.asynccontextmanager
async def _simulator(vendor: str, port: int, ledger: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.simulators", vendor),
        *("--port", str(port), "--ledger", str(ledger)),
        *(("--http-port", "0") if vendor == "alpaca" else ()),
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def _routed(stack: Stack) -> AsyncIterator[Callable[[str, float], asyncio.Future[float]]]:
    """Yield a function that waits for the next routed price of a source; it returns the seconds."""
    tps = [TopicPartition(topics.ROUTED.name, p) for p in range(topics.ROUTED.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, enable_auto_commit=False)
    await consumer.start()
    consumer.assign(tps)
    await consumer.seek_to_end(*tps)

    async def next_of(source: str, seconds: float) -> float:
        started = time.monotonic()
        async with asyncio.timeout(seconds):
            while True:
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    for record in records:
                        if orjson.loads(record.value)["source"] == source:
                            return time.monotonic() - started

    try:
        yield lambda source, seconds: asyncio.ensure_future(next_of(source, seconds))
    finally:
        await consumer.stop()


@pytest.mark.journey
async def test_prices_come_from_yahoo_while_alpaca_is_dead(
    new_stack: NewStack, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Within fifteen seconds of its death, and Alpaca's again after it is back."""
    alpaca, yahoo = free_port(), free_port()
    env = {
        "ALPACA_STREAM_URL": f"ws://127.0.0.1:{alpaca}/v2/iex",
        "ALPACA_API_KEY_ID": "simulated-key",
        "ALPACA_API_SECRET_KEY": "simulated-secret",
        "YAHOO_BASE_URL": f"http://127.0.0.1:{yahoo}",
        "YAHOO_POLL_SECONDS": "2",
    }
    async with (
        _simulator("yahoo", yahoo, tmp_path / "yahoo.jsonl"),
        contextlib.AsyncExitStack() as up,
    ):
        async with _simulator("alpaca", alpaca, tmp_path / "alpaca.jsonl"):
            stack = await up.enter_async_context(new_stack(env=env))
            async with _routed(stack) as routed:
                await routed("alpaca", 30)
        async with _routed(stack) as routed:
            await routed("yahoo", 15)
        async with _simulator("alpaca", alpaca, tmp_path / "alpaca.jsonl"):
            async with _routed(stack) as routed:
                await routed("alpaca", 90)
            await reconcile.routed_in_order(stack)

        async def recorded() -> bool:
            rows = await stack.rows("SELECT to_state FROM router_transitions FINAL ORDER BY epoch")
            return [row["to_state"] for row in rows] == [
                "PRIMARY_ACTIVE",
                "FALLBACK_ACTIVE",
                "PRIMARY_ACTIVE",
            ]

        await stack.until(recorded, 20)

        async def measured() -> bool:
            failovers = await stack.prometheus("datasource_router_failover_total")
            return [series["value"][1] for series in failovers] == ["1"]

        await stack.until(measured, 20)
