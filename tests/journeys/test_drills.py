"""From a fault on the running stack to the alert's line in the history, with nothing compressed."""

import asyncio
import sys

import pytest

from tests.journeys.conftest import NewStack


async def _twinfeed(*arguments: str, **env: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin", **env},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.journey
async def test_an_alert_goes_from_its_fault_to_the_history(new_stack: NewStack) -> None:
    """The watchdog, a change of the route, refused keys; then the reports are made of it.

    Those that take minutes are drilled by hand: `twinfeed drill all`.
    """
    async with new_stack() as stack:
        data = ("--data", str(stack.data))
        for alert in ("Watchdog", "AlpacaRouterStateChange", "AlpacaAuthFailure"):
            said = await _twinfeed("drill", alert, "--fire-only", "--patience", "6", *data)
            assert f"{alert}: fired after" in said

        async def in_clickhouse() -> bool:
            names = {row["name"] for row in await stack.rows("SELECT name FROM alerts FINAL")}
            return {"Watchdog", "AlpacaRouterStateChange", "AlpacaAuthFailure"} <= names

        await stack.until(in_clickhouse, 60)
        clickhouse = f"http://127.0.0.1:{stack.port('clickhouse')}"
        prometheus = f"http://127.0.0.1:{stack.port('prometheus')}"
        alerts = await _twinfeed("report", "alerts", "--clickhouse", clickhouse)
        assert "| AlpacaAuthFailure | 1 | 0 |" in alerts
        levels = await _twinfeed("report", "slo", "--prometheus", prometheus)
        assert "| A1 " in levels
        # no rule fails on real series
        assert await stack.prometheus("prometheus_rule_evaluation_failures_total > 0") == []
