"""From what goes wrong on the running stack to what shows it: panels, the history, reports."""

from pathlib import Path

import pytest

from infra.stack.toolchain import Monitoring
from tests.journeys import panels, screens, story
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack

TOLD = {"Watchdog", "AlpacaRouterStateChange", "AlpacaAuthFailure"}


@pytest.mark.journey
@pytest.mark.timeout(600)
async def test_what_goes_wrong_is_told_and_shown(
    new_stack: NewStack, monitoring: Monitoring, chromium: str, tmp_path: Path
) -> None:
    """Wrong ticks, an operator's failover, refused keys, both sources away, and all well again.

    Alerts arrive in the history; every panel has data, and the story's, also in a browser; reports
    are made of it.
    """
    story.before(monitoring, tmp_path / "stack" / "data")
    async with new_stack(*story.OPTIONS) as stack, story.clients(stack):
        await story.told(stack)
        await _panels_show_it(stack)
        await screens.look(chromium, stack, tmp_path)
        await _reported(stack)
        # no rule fails on real series
        assert await stack.prometheus("prometheus_rule_evaluation_failures_total > 0") == []


async def _panels_show_it(stack: Stack) -> None:
    looks: list[dict[str, panels.Shown]] = []

    async def all_of_them() -> bool:
        looks.append(await panels.shown(stack))
        if panels.empty(looks[-1]):
            return False
        try:
            panels.told_right(looks[-1])
        except AssertionError:
            return False  # rules follow the series, and those the story
        return True

    try:
        await stack.until(all_of_them, 60)
    except AssertionError as error:
        assert not panels.empty(looks[-1])
        panels.told_right(looks[-1])
        raise AssertionError(looks[-1]) from error


async def _reported(stack: Stack) -> None:
    async def in_clickhouse() -> bool:
        names = {row["name"] for row in await stack.rows("SELECT name FROM alerts FINAL")}
        return names >= TOLD

    await stack.until(in_clickhouse, 60)
    clickhouse = f"http://127.0.0.1:{stack.port('clickhouse')}"
    prometheus = f"http://127.0.0.1:{stack.port('prometheus')}"
    alerts = await story.twinfeed("report", "alerts", "--clickhouse", clickhouse)
    assert "| AlpacaAuthFailure | 1 |" in alerts
    levels = await story.twinfeed("report", "slo", "--prometheus", prometheus)
    assert "| A1 " in levels
