"""A real Alertmanager delivers to whom it must, in words that the receivers take."""

import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from infra.alertmanager import config
from infra.stack.toolchain import Monitoring
from tests.infra.alertmanager.receivers import (
    ROUTING_KEY,
    Receivers,
    pagerduty_mistakes,
    slack_mistakes,
    write_secrets,
)
from tests.infra.alertmanager.running import Alertmanager, alertmanager

pytestmark = pytest.mark.service

#: Two minutes of waiting become 1.2 s.
PACE = 100


@dataclass(frozen=True, slots=True)
class Scene:
    """An Alertmanager and those that it tells."""

    alertmanager: Alertmanager
    told: Receivers


NewScene = Callable[..., contextlib.AbstractAsyncContextManager[Scene]]


@pytest.fixture
def new_scene(monitoring: Monitoring, tmp_path: Path, free_port: Callable[[], int]) -> NewScene:
    """A function that makes a scene."""

    @contextlib.asynccontextmanager
    async def scene(**changes: str) -> AsyncIterator[Scene]:
        told = Receivers()
        url = await told.start()
        write_secrets(tmp_path, url, **changes)
        channels = replace(
            config.PRODUCTION,
            secrets=tmp_path,
            templates=config.TEMPLATES,
            pagerduty_url=f"{url}/v2/enqueue",
            history_url=f"{url}/history",
            watchdog_url=f"{url}/ping",
            pace=PACE,
        )
        try:
            async with alertmanager(
                monitoring, tmp_path, free_port(), config.render(channels)
            ) as running:
                yield Scene(running, told)
        finally:
            await told.stop()

    return scene


@pytest_asyncio.fixture
async def scene(new_scene: NewScene) -> AsyncIterator[Scene]:
    """An Alertmanager and its receivers."""
    async with new_scene() as one:
        yield one


def _lines(told: Receivers, channel: str, color: str) -> list[str]:
    return [
        line["attachments"][0]["title"]
        for line in told.lines
        if line["channel"] == channel and line["attachments"][0]["color"] == color
    ]


async def test_critical_pages_and_is_over_under_the_same_key(scene: Scene) -> None:
    """PagerDuty and Slack, fired and resolved; and the history knows the page's key."""
    told = scene.told
    await scene.alertmanager.tell("AlpacaBothSourcesUnavailable")
    await told.until(lambda: told.pages and told.lines and told.history and told.keys)
    (page,) = told.pages
    assert (page["event_action"], page["payload"]["severity"]) == ("trigger", "critical")
    assert page["payload"]["class"] == "AlpacaBothSourcesUnavailable"
    assert "Neither Alpaca nor Yahoo" in page["payload"]["summary"]
    assert page["links"][0]["href"] == (
        "https://ops.example/docs/runbooks/RUNBOOK-001.md#alpacabothsourcesunavailable"
    )
    assert _lines(told, "#alerts-critical", "danger") == [
        "[FIRING:1] AlpacaBothSourcesUnavailable (C1)"
    ]
    key = hashlib.sha256(told.keys[0]["groupKey"].encode()).hexdigest()
    assert key == page["dedup_key"]
    await scene.alertmanager.tell("AlpacaBothSourcesUnavailable", over=True)
    await told.until(lambda: len(told.pages) > 1 and len(told.lines) > 1)
    assert (told.pages[1]["event_action"], told.pages[1]["dedup_key"]) == ("resolve", key)
    assert _lines(told, "#alerts-critical", "good") == [
        "[RESOLVED] AlpacaBothSourcesUnavailable (C1)"
    ]
    await told.until(lambda: any(each["status"] == "resolved" for each in told.history))
    assert not told.refused


async def test_each_severity_has_its_channel(scene: Scene) -> None:
    """High is a quiet page, medium a line, low and info nobody's; one unknown goes to Slack."""
    told = scene.told
    names: dict[str, str | None] = {
        "AlpacaDisconnected": None,
        "AlpacaErrorRateElevated": None,
        "AlpacaConnectionFlapping": None,
        "AlpacaRouterStateChange": None,
        "SomethingNew": "odd",
    }
    for name, severity in names.items():
        await scene.alertmanager.tell(name, severity=severity)
    await told.until(lambda: len(told.lines) == 3 and told.pages and len(told.history) == 5)
    assert told.pages[0]["payload"]["severity"] == "warning"
    assert _lines(told, "#alerts-high", "warning") == ["[FIRING:1] AlpacaDisconnected (H1)"]
    assert _lines(told, "#alerts-medium", "#439FE0") == ["[FIRING:1] AlpacaErrorRateElevated (M2)"]
    assert _lines(told, "#alerts-high", "#808080") == ["[FIRING:1] SomethingNew"]
    assert {each["groupLabels"]["alertname"] for each in told.history} == set(names)
    assert len(told.pages) == 1
    assert not told.refused


async def test_the_cause_mutes_its_symptoms(scene: Scene) -> None:
    """Both down mutes disconnected; refused keys mute it too; in a family the loudest speaks."""
    told = scene.told
    for cause in (
        "AlpacaBothSourcesUnavailable",
        "AlpacaAuthFailure",
        "AlpacaFailoverDailyCritical",
        "PipelineConsumerStuck",
    ):
        labels = {"group": "forward"} if cause.startswith("Pipeline") else {}
        await scene.alertmanager.tell(cause, labels)
    await told.until(lambda: len(told.pages) == 4)
    symptoms = {"AlpacaDisconnected", "AlpacaNoMessages", "AlpacaConnectionFlapping"}
    for name in (*symptoms, "AlpacaFailoverFrequencyHigh"):
        await scene.alertmanager.tell(name)
    for group in ("forward", "validate"):
        await scene.alertmanager.tell("PipelineConsumerLagHigh", {"group": group})
    # not its family, and not its cause: it must arrive, behind all that must not
    await scene.alertmanager.tell("AlpacaErrorRateElevated")
    await told.until(lambda: _lines(told, "#alerts-medium", "#439FE0"))
    await told.until(lambda: len(told.pages) == 5)
    assert await scene.alertmanager.muted() == {
        *symptoms,
        "AlpacaFailoverFrequencyHigh",
        "PipelineConsumerLagHigh",
    }
    assert [page["payload"]["class"] for page in told.pages[4:]] == ["PipelineConsumerLagHigh"]
    assert "validate" in str(told.keys[-1])
    assert not told.refused


async def test_without_a_family_nothing_is_muted(scene: Scene) -> None:
    """A label that is missing on both sides counts as equal: two strangers are no family."""
    told = scene.told
    await scene.alertmanager.tell("Stranger", severity="critical")
    await told.until(lambda: told.pages)
    await scene.alertmanager.tell("Another", severity="high")
    await told.until(lambda: len(told.pages) == 2)
    assert await scene.alertmanager.muted() == set()


async def test_the_dead_mans_switch_is_pressed_again_and_again(scene: Scene) -> None:
    """Every minute; here a hundred times as often. Nobody else is told."""
    await scene.alertmanager.tell("Watchdog")
    await scene.told.until(lambda: len(scene.told.pings) >= 3)
    assert not scene.told.pages
    assert not scene.told.lines


async def test_it_tries_again_until_it_is_heard(scene: Scene) -> None:
    """PagerDuty that is overloaded, or down, hears of it later."""
    told = scene.told
    told.failing += [429, 500, 503]
    await scene.alertmanager.tell("AlpacaAuthFailure")
    await told.until(lambda: told.pages)
    assert not told.failing


async def test_a_wrong_key_is_refused_and_slack_is_told_all_the_same(new_scene: NewScene) -> None:
    """One receiver's mistake does not silence another."""
    async with new_scene(**{config.ROUTING_KEY: "too short"}) as scene:
        await scene.alertmanager.tell("AlpacaAuthFailure")
        await scene.told.until(lambda: scene.told.lines and scene.told.refused)
        assert not scene.told.pages
        assert set(scene.told.refused) == {"routing_key has not 32 characters"}


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"routing_key": "short"}, "routing_key has not 32 characters"),
        ({"event_action": "shout"}, "event_action is 'shout'"),
        ({"dedup_key": "x" * 256}, "dedup_key is missing or too long"),
        ({"payload": {"summary": "s", "source": "s", "severity": "high"}}, "severity is 'high'"),
        ({"payload": {"summary": "", "source": "s", "severity": "info"}}, "payload.summary"),
        ({"links": [{"href": "docs/alerts.md"}]}, "a link leads to 'docs/alerts.md'"),
    ],
)
def test_the_simulated_pagerduty_is_strict(change: dict[str, object], mistake: str) -> None:
    """What the real one refuses, it refuses."""
    good = {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": "k",
        "payload": {"summary": "s", "source": "s", "severity": "critical"},
    }
    assert pagerduty_mistakes(good) == []
    (found,) = pagerduty_mistakes({**good, **change})
    assert mistake in found


def test_the_simulated_slack_is_strict() -> None:
    """A message without words is none."""
    assert slack_mistakes({"attachments": [{"text": "t"}]}) == []
    assert slack_mistakes({"attachments": [{"title": "t"}]}) == ["no_text"]
    assert slack_mistakes({"channel": "#x"}) == ["no_text"]
    assert slack_mistakes({"channel": "x", "text": "t"}) == ["channel_not_found"]
