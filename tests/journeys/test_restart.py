"""The stack is ended and started again: it goes on where it was, and nothing is left behind."""

import psutil
import pytest

from infra.drill_journal import Journal
from infra.stack.plan import PORTS
from infra.topics import RAW_ALPACA, TRANSITIONS
from tests.journeys import reconcile
from tests.journeys.conftest import NewStack
from tests.journeys.running import END_SECONDS, Stack

PROMETHEUS = "prometheus.yml"


async def _ticks(stack: Stack) -> int:
    return sum((await stack.ends(RAW_ALPACA.name, RAW_ALPACA.partitions)).values())


@pytest.mark.journey
async def test_a_stack_goes_on_where_it_was(new_stack: NewStack) -> None:
    """Ctrl-C in mid-flow and another start: no process stays, no tick is lost, no flap."""
    async with new_stack() as stack:

        async def flowing() -> bool:
            return await _ticks(stack) > 2_000

        await stack.until(flowing, 60)
        pids = [status.pid for status in stack.statuses().values() if status.pid]
        before = await _ticks(stack)
        assert await stack.stop() < END_SECONDS
        assert not [pid for pid in pids if psutil.pid_exists(pid)]
        ours = {number + stack.offset for ports in PORTS.values() for number, _ in ports}
        listening = {
            getattr(c.laddr, "port", None)
            for c in psutil.net_connections("tcp")
            if c.status == "LISTEN"
        }
        assert not ours & listening

        # as a drill leaves them that was killed, and then the stack was ended
        Journal(stack.data).begin({PROMETHEUS: (stack.data / PROMETHEUS).read_text()})
        (stack.data / PROMETHEUS).write_text("{}")
        await stack.start()
        assert "a drill was cut off on the stack before this one" in stack.output()
        assert Journal(stack.data).left() is None
        assert "rule_files" in (stack.data / PROMETHEUS).read_text()

        async def flowing_again() -> bool:
            return await _ticks(stack) > before + 2_000

        await stack.until(flowing_again, 60)
        await reconcile.catch_up(stack, 60)
        await reconcile.no_tick_is_lost_or_doubled_behind_kafka(stack)
        await reconcile.routed_in_order(stack)
        transitions = await stack.records(TRANSITIONS.name, TRANSITIONS.partitions)
        assert len(transitions) == 1, "the router has switched for having been restarted"
