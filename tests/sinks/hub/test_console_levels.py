"""The console's service levels, as a real Prometheus has them."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import expect

from infra.slo.levels import LEVELS
from infra.stack.toolchain import Monitoring
from sinks.hub import promises
from sinks.hub.levels import QUERIES
from sinks.hub.promises import Promises
from tests.browser import browsing
from tests.infra.prometheus.running import prometheus, remember
from tests.sinks.hub.client import serving

#: By the level's name: the share that was bad, and what is left of the budget.
KNOWN = {
    "service-availability": (0.001, 0.8),
    "alpaca-uptime": (0.03, -0.5),
    "end-to-end-latency": (0.04, 0.3),
}
#: What their rows say, and one that nothing was measured of.
ROWS = {
    "A1 ": ("99.90 %", "80.00 % (2.88 h)", "normal"),
    "A2 ": ("97.00 %", "-50.00 % (-1.68 h)", "incident and postmortem"),
    "L1 ": ("96.00 %", "30.00 %", "reliability first"),
    "Q1 ": ("not measured",),
}


def _samples() -> str:
    """Return them of every quarter of a minute, until the test is surely over."""
    values = {
        QUERIES[f"{what} {name}"]: value
        for name, of in KNOWN.items()
        for what, value in zip(("error", "left"), of, strict=True)
    }
    now = int(time.time())
    return "".join(
        f"{series} {value} {at}\n"
        for series, value in values.items()
        for at in range(now - 60, now + 600, 15)
    )


@pytest.mark.service
async def test_budgets_come_from_prometheus_while_there_is_one(
    chromium: str,
    monitoring: Monitoring,
    tmp_path: Path,
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it knows is shown as it is; once it is away nothing is, and why is said."""
    monkeypatch.setattr(promises, "KEPT_S", 0.0)
    remember(monitoring, tmp_path, _samples())
    port = free_port()
    async with (
        serving(promises=Promises(f"http://127.0.0.1:{port}")) as hub,
        browsing(chromium) as browser,
    ):
        page = await browser.new_page()
        said = page.locator("#levels-said")
        async with prometheus(monitoring, tmp_path, port, {}):
            await page.goto(hub.url)
            await expect(said).to_contain_text("as of ")
            rows = page.locator("#levels tbody tr")
            for begins, cells in ROWS.items():
                row = rows.filter(has_text=begins)
                for cell in cells:
                    await expect(row).to_contain_text(cell)
            assert await rows.count() == len(LEVELS) + 2
        await page.reload()
        sentence = f"Not known: Prometheus at http://127.0.0.1:{port} does not answer"
        await expect(said).to_contain_text(sentence)
        await expect(page.locator("#levels")).to_be_hidden()
