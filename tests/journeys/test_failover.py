"""Alpaca dies, and Yahoo takes over; Alpaca comes back, and is taken back."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import msgspec
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra import topics
from infra.stack.plan import SCRATCH
from processors.events import RouterTransition
from tests.collector import Collector, collecting
from tests.journeys import reconcile, tracing
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack
from tests.journeys.watching import Seen, watching


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    """Whom the stages tell their spans."""
    async with collecting() as collector:
        yield collector


@contextlib.asynccontextmanager
async def _simulator(vendor: str, port: int, ledger: Path, control: int = 0) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.simulators", vendor),
        *("--port", str(port), "--ledger", str(ledger)),
        *(("--http-port", str(control)) if vendor == "alpaca" else ()),
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
    new_stack: NewStack, free_port: Callable[[], int], tmp_path: Path, collector: Collector
) -> None:
    """Once Yahoo has newer ones than the last of Alpaca's, until Alpaca is back; and it is traced.

    The route goes to Yahoo within fifteen seconds of Alpaca's death. The simulated Yahoo tells
    prices fifteen seconds late, and is asked every five. A collector is told of a tick, of one that
    is rejected, and of the failover: each is one trace.
    """
    alpaca, control, yahoo = free_port(), free_port(), free_port()
    env = {
        **tracing.TRACED,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "ALPACA_STREAM_URL": f"ws://127.0.0.1:{alpaca}/v2/iex",
        "ALPACA_API_KEY_ID": "simulated-key",
        "ALPACA_API_SECRET_KEY": "simulated-secret",
        "YAHOO_BASE_URL": f"http://127.0.0.1:{yahoo}",
        "YAHOO_POLL_SECONDS": "5",  # fresh for 15 s, however busy the machine
    }
    async with (
        _simulator("yahoo", yahoo, tmp_path / "yahoo.jsonl"),
        contextlib.AsyncExitStack() as up,
    ):
        async with _simulator("alpaca", alpaca, tmp_path / "alpaca.jsonl", control):
            stack = await up.enter_async_context(new_stack(env=env))
            async with _routed(stack) as routed:
                await routed("alpaca", 30)
            seen = await up.enter_async_context(watching(stack))
            await _traced_while_alpaca_lives(stack, collector, control)
            died_at_ns = time.time_ns()
        async with _routed(stack) as routed:
            failover = await _comes_to(stack, "FALLBACK_ACTIVE", 2, 60)
            assert failover.reason == "disconnected"
            assert 10 <= (failover.switched_at_ns - died_at_ns) / 1e9 < 15, failover
            await routed("yahoo", 60)
        await tracing.traced(collector, 30, tracing.FAILOVER, tracing.SWITCHED, tracing.KEPT)
        async with _simulator("alpaca", alpaca, tmp_path / "alpaca.jsonl"):
            async with _routed(stack) as routed:
                await routed("alpaca", 90)
            await reconcile.routed_in_order(stack)
            await _seen(stack, seen)

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


async def _traced_while_alpaca_lives(stack: Stack, collector: Collector, control: int) -> None:
    """A tick is traced to the hub, the table and the metrics; one that is rejected always is."""
    await tracing.traced(collector, 30, tracing.SAMPLED, tracing.STORED, tracing.MEASURED)
    url = f"http://127.0.0.1:{control}/faults/price-zero"
    async with aiohttp.ClientSession() as http, http.put(url, json={"count": 20}) as answer:
        assert answer.ok, await answer.text()
    rejected = await tracing.traced(collector, 30, tracing.REJECTED)
    errors = {span.error for span in rejected if span.name == "process ticks.raw.alpaca"}
    assert errors == {"invalid_price"}

    async def measured() -> bool:
        found: list[str] = []
        for metric in tracing.WITH_EXAMPLES:
            examples = await tracing.exemplars(stack, metric)
            if not examples:
                return False
            found += examples
        return collector.traces().keys() >= set(found)

    await stack.until(measured, 40)


async def _seen(stack: Stack, seen: Seen) -> None:
    """Whoever looks at the hub knew of both switches at once, and saw the prices change."""

    async def all_seen() -> bool:
        return seen.real_time[:3] == [True, False, True]

    await stack.until(all_seen, 20)
    assert [state for state, _ in seen.switches] == ["FALLBACK_ACTIVE", "PRIMARY_ACTIVE"]
    assert all(seconds < 2 for _, seconds in seen.switches), seen.switches


async def _operator(stack: Stack, *arguments: str) -> None:
    """Ask as an operator does, on the command line."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", *arguments, "--why", "a drill", "--who", "ann"),
        *("--data", str(stack.data)),
    )
    assert await process.wait() == 0


async def _transitions(stack: Stack) -> list[RouterTransition]:
    records = await stack.records(topics.TRANSITIONS.name, 1)
    return [msgspec.json.decode(record.value, type=RouterTransition) for record in records]


async def _comes_to(stack: Stack, state: str, epoch: int, seconds: float) -> RouterTransition:
    """Wait for a transition, and return it."""

    async def come() -> bool:
        return [t.to_state for t in await _transitions(stack)][epoch - 1 :] == [state]

    await stack.until(come, seconds)
    return (await _transitions(stack))[-1]


@pytest.mark.journey
@pytest.mark.timeout(400)
async def test_an_operator_and_a_mute_socket_move_the_route(
    new_stack: NewStack, tmp_path: Path
) -> None:
    """Failover, hold and release by command, over a kill -9 of the router; then silence does it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    async with new_stack(env={"TMPDIR": str(outside)}) as stack, aiohttp.ClientSession() as http:
        await _comes_to(stack, "PRIMARY_ACTIVE", 1, 60)
        await _operator(stack, "failover", "yahoo")
        failover = await _comes_to(stack, "FALLBACK_ACTIVE", 2, 10)
        assert (failover.reason, failover.by, failover.detail) == ("manual", "ann", "ann: a drill")
        async with _routed(stack) as routed:
            await routed("yahoo", 60)
        # the hold outlives the router, and Alpaca is well all the time
        (left,) = (stack.data / SCRATCH / "route").iterdir()
        await stack.end("route")
        assert not left.exists(), "what the killed router left"
        assert not list(outside.iterdir())
        recovered = time.monotonic()

        async def held_for_longer_than_the_grace_period() -> bool:
            held = await stack.prometheus("datasource_router_held == 1")
            return bool(held) and time.monotonic() - recovered > 15

        await stack.until(held_for_longer_than_the_grace_period, 60)
        assert len(await _transitions(stack)) == 2
        await _operator(stack, "release")
        back = await _comes_to(stack, "PRIMARY_ACTIVE", 3, 10)
        assert back.reason == "recovered"
        assert back.generation > failover.generation
        # a socket that is up and says nothing, until its session is tired of it, and again
        port = stack.port("alpaca-simulator", 1)
        url = f"http://127.0.0.1:{port}/faults/mute-socket"
        async with http.put(url, json={"seconds": 100}) as answer:
            assert answer.ok, await answer.text()
        mute = await _comes_to(stack, "FALLBACK_ACTIVE", 4, 60)
        assert mute.reason in {"timeout", "disconnected"}
        async with http.delete(url) as answer:
            assert answer.ok, await answer.text()
        await _comes_to(stack, "PRIMARY_ACTIVE", 5, 90)
        switched = [t.switched_at_ns - t.detected_at_ns for t in await _transitions(stack)]
        mean_s = sum(switched) / len(switched) / 1e9
        print(f"from detection to switch: mean {mean_s:.3f} s of {len(switched)}")  # noqa: T201
        assert mean_s < 1
        await reconcile.routed_in_order(stack)
