"""Processes are killed in mid-flow, and nothing that Kafka took is lost or doubled."""

import signal

import pytest

from infra.topics import RAW_ALPACA
from tests.journeys import reconcile
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack

RATE = 500


async def _flow_of(stack: Stack, ticks: int) -> None:
    """Wait until so many more raw ticks have come."""

    async def taken() -> int:
        return sum((await stack.ends(RAW_ALPACA.name, RAW_ALPACA.partitions)).values())

    target = await taken() + ticks

    async def reached() -> bool:
        return await taken() >= target

    await stack.until(reached, 60)


@pytest.mark.journey
@pytest.mark.timeout(600)
async def test_every_stage_may_be_killed_and_the_broker_restarted(new_stack: NewStack) -> None:
    """Kill -9 of the sink, of both tick processors, of ingest; then Kafka goes and comes back."""
    async with new_stack("--rate", str(RATE)) as stack:
        await _flow_of(stack, 5 * RATE)
        for name in ("clickhouse", "validate", "forward", "route", "alpaca"):
            await stack.end(name)
            await _flow_of(stack, 3 * RATE)
        await stack.end("kafka", signal.SIGTERM)
        await _flow_of(stack, 3 * RATE)
        await stack.end("kafka", signal.SIGKILL)
        await _flow_of(stack, 3 * RATE)
        await reconcile.catch_up(stack, 60)
        await reconcile.no_tick_is_lost_or_doubled_behind_kafka(stack)
        held = await reconcile.stored(stack, "alpaca")
        assert set(held.values()) == {1}
        entries = reconcile.sent(stack, "alpaca")
        missing = reconcile.only_the_ends_of_sessions_are_missing(entries, held)
        # Only the connection whose owner was killed may have lost its tail; the last one is open.
        assert sum(1 for lost in list(missing.values())[:-1] if lost) <= 1
        assert await reconcile.routed_in_order(stack) > 0
