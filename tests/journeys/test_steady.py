"""A quiet minute: every tick from both simulators arrives, once, in order, and is measured."""

import asyncio
import time
from collections import Counter

import pytest

from infra.stack.plan import PORTS
from infra.topics import ROUTED
from tests.journeys import reconcile
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack
from tests.test_readme import commands

RATE = 500
SECONDS = 60
TARGETS = {
    "alpaca-gateway",
    "alpaca-yahoo",
    "alpaca-backfill",
    "alpaca-hub",
    "alpaca-router",
    "alpaca-sink",
}


@pytest.mark.journey
async def test_a_minute_of_two_markets_reconciles(new_stack: NewStack) -> None:
    """Sixty seconds at 500 ticks/s: the simulators' ledgers and ClickHouse say the same."""
    async with new_stack("--rate", str(RATE)) as stack:
        await _flow(stack, SECONDS)
        cut_ns = time.time_ns()
        # What was sent by the cut has to arrive; what came after it may.
        await _until_stored(stack, cut_ns)
        for vendor in ("alpaca", "yahoo"):
            held = await reconcile.stored(stack, vendor)
            reconcile.as_often_as_sent(reconcile.sent(stack, vendor), held, cut_ns)
        assert len(reconcile.sent(stack, "alpaca")) >= RATE * SECONDS * 0.9
        await reconcile.no_tick_is_lost_or_doubled_behind_kafka(stack)
        assert await stack.rows("SELECT symbol, reason, detail FROM rejected_ticks LIMIT 3") == []
        routed = await reconcile.routed_in_order(stack)
        assert routed > RATE * SECONDS / 4
        await _scraped(stack)
        await _readme_is_right(stack)
        await _everybody_is_heard(stack)


async def _flow(stack: Stack, seconds: float) -> None:
    """Let it run for so long, and see that it does."""
    first = sum((await stack.ends(ROUTED.name, ROUTED.partitions)).values())
    await asyncio.sleep(seconds)  # the length of the experiment
    last = sum((await stack.ends(ROUTED.name, ROUTED.partitions)).values())
    assert last > first


async def _until_stored(stack: Stack, cut_ns: int) -> None:
    sent = {
        vendor: Counter(e.raw for e in reconcile.sent(stack, vendor) if e.sent_at_ns <= cut_ns)
        for vendor in ("alpaca", "yahoo")
    }

    async def all_stored() -> bool:
        held = {vendor: await reconcile.stored(stack, vendor) for vendor in sent}
        return all(entries <= held[vendor] for vendor, entries in sent.items())

    await reconcile.catch_up(stack, 30)
    await stack.until(all_stored, 30)


async def _readme_is_right(stack: Stack) -> None:
    """Type what the README says to type, and see that something comes."""
    typed = [command for command in commands() if command.startswith("curl")]
    assert len(typed) >= 5
    for command in typed:
        here = command
        for process in ("clickhouse", "prometheus", "hub"):
            here = here.replace(f":{PORTS[process][0][0]}/", f":{stack.port(process)}/")
        shell = await asyncio.create_subprocess_shell(
            f"{here} --fail-with-body", stdout=asyncio.subprocess.PIPE
        )
        answer, _ = await shell.communicate()
        assert shell.returncode == 0, f"{command}: {answer.decode()}"
        assert answer.strip(), f"{command}: nothing"
        assert b'"result":[]' not in answer, f"{command}: no series"


async def _everybody_is_heard(stack: Stack) -> None:
    """See that what every process has said is in ClickHouse."""

    async def everybody_is_heard() -> bool:
        rows = await stack.rows("SELECT DISTINCT service FROM logs")
        return {*stack.statuses(), "supervisor"} <= {row["service"] for row in rows}

    await stack.until(everybody_is_heard, 30)


async def _scraped(stack: Stack) -> None:
    """Check that Prometheus has all of it: targets, counts, the router's state, the latency."""
    up = await stack.prometheus('up{job=~"alpaca-.+"}')
    assert {series["metric"]["job"] for series in up} == TARGETS
    assert all(series["value"][1] == "1" for series in up)
    (state,) = await stack.prometheus("datasource_router_state == 1")
    assert state["metric"]["state"] == "PRIMARY_ACTIVE"
    for expression, least in (
        ('sum(alpaca_messages_received_total{type!="control"})', RATE * SECONDS * 0.9),
        ("sum(yahoo_messages_received_total)", 30),
        ("sum(datasource_router_messages_processed_total)", RATE * SECONDS * 0.8),
        ("datasource_router_processing_duration_seconds_count", RATE * SECONDS / 5),
        ('pipeline_records_processed_total{stage="clickhouse",result="ok"}', RATE * SECONDS),
    ):
        (series,) = await stack.prometheus(expression)
        assert float(series["value"][1]) >= least, expression
    (errors,) = await stack.prometheus("sum(alpaca_errors_total)")
    assert float(errors["value"][1]) == 0
