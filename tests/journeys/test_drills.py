"""From a fault on the running stack to the alert's line in the history."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from tests.infra.alertmanager.receivers import SLACK_PATH, Receivers
from tests.infra.slo.mails import Mails
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack
from tests.journeys.story import twinfeed

HISTORY = "SELECT DISTINCT name FROM alerts FINAL WHERE event = 'alert_fired'"
#: It fires at the start as well, when the router takes Alpaca.
LEFT_ALPACA = """
SELECT count() > 0 FROM alerts FINAL WHERE event = 'alert_fired'
AND name = 'AlpacaRouterStateChange' AND labels['from'] = 'PRIMARY_ACTIVE'
"""
#: Whose conditions can hold at once.
TOGETHER = (
    "AlpacaValidationFailureHigh",
    "AlpacaDisconnected",
    "AlpacaBothSourcesUnavailable",
)


def _fired(stack: Stack, *names: str) -> Callable[[], Awaitable[bool]]:
    async def fired() -> bool:
        return set(names) <= {row["name"] for row in await stack.rows(HISTORY)}

    return fired


async def _reports_are_told(folder: Path, smtp: str, *sources: str) -> None:
    """All that is due goes to Slack and by mail, and a second time nothing does."""
    told, mails, sent = Receivers(), Mails(), folder / "sent.json"
    (folder / "slack").write_text(await told.start() + SLACK_PATH)
    sent.write_text('{"daily": 0, "monthly": 0, "digest": 0}')
    host, port = smtp.split(":")
    server = Controller(mails, hostname=host, port=int(port))
    server.start()
    options = ("--sent", str(sent), "--slack-url-file", str(folder / "slack"))
    try:
        for said in ("told Slack", ""):
            done = await twinfeed(
                *("report", "send", *options, "--to", "ops@example.com", "--smtp", smtp, *sources)
            )
            assert done.count("twinfeed: ") == (3 if said else 0), done
            assert said in done
    finally:
        server.stop()
        await told.stop()
    assert len(told.lines) == 2
    assert not told.refused
    assert len(mails.taken) == 1


@pytest.mark.journey
@pytest.mark.timeout(1200)
async def test_an_alert_goes_from_its_fault_to_the_history(
    new_stack: NewStack, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Seven with nothing divided, one with times divided; then the reports are made of it.

    Rejected ticks, a disconnected Alpaca and both sources down hold at once, so that what each has
    to hold is waited for once.
    """
    async with new_stack() as stack:
        data = ("--data", str(stack.data))

        async def vendor(kind: str, *words: str) -> None:
            await twinfeed("sim", kind, *words, *data)

        await vendor("fault", "alpaca", "price-zero")
        ratio = "datasource_router:validation_failures:ratio_rate2m > 0.05"

        async def rejected() -> bool:
            return bool(await stack.prometheus(ratio))

        # with nothing new to divide it by, the share stays what it is
        await stack.until(rejected, 60)
        await vendor("fault", "alpaca", "too-many-requests")
        await vendor("fault", "alpaca", "cut")
        await vendor("fault", "yahoo", "server-error")
        await stack.until(_fired(stack, *TOGETHER), 400)
        await vendor("clear", "alpaca")
        await vendor("clear", "yahoo")
        await twinfeed("reconnect", "alpaca", "--why", "a drill", *data)
        await stack.until(_fired(stack, "AlpacaConnectionRecovered"), 200)
        # refused keys mute a disconnected Alpaca, so they come last
        alone = ("X1", "C4", "--fire-only", "--patience", "6")
        said = await twinfeed("drill", *alone, *data)
        assert said.count(": fired after") == 2
        assert await stack.value(LEFT_ALPACA)

        divided = ("--compress", "30", "--patience", "6", "--markdown", *data)
        table = await twinfeed("drill", "X3", *divided)
        assert "times were divided by 30" in table
        assert "AlpacaTargetAbsent: over after" in table
        config = (stack.data / "prometheus.yml").read_text()
        assert "scrape_interval: 5s" in config

        clickhouse = f"http://127.0.0.1:{stack.port('clickhouse')}"
        prometheus = f"http://127.0.0.1:{stack.port('prometheus')}"
        alerts = await twinfeed("report", "alerts", "--clickhouse", clickhouse)
        assert "| AlpacaAuthFailure | 1 | 0 |" in alerts
        levels = await twinfeed("report", "slo", "--prometheus", prometheus)
        assert "| A1 " in levels
        smtp = f"127.0.0.1:{free_port()}"
        await _reports_are_told(
            tmp_path, smtp, "--prometheus", prometheus, "--clickhouse", clickhouse
        )
        # no rule fails on real series
        assert await stack.prometheus("prometheus_rule_evaluation_failures_total > 0") == []
