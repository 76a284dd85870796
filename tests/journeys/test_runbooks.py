"""What a page for whoever is on call tells to type is typed, in the state that the page is for."""

import asyncio
from pathlib import Path

import pytest

from infra.drill_scene import Scene
from infra.drills import Asked, Garbled
from ingest.symbols import DEFAULT_FILE, read
from tests.contracts.runbooks import DIRECTORY, PAGES
from tests.journeys import story
from tests.journeys.conftest import NewStack
from tests.journeys.pages import Desk
from tests.journeys.running import Stack

AWAY, REFUSED, BOTH = "RUNBOOK-002.md", "RUNBOOK-006.md", "RUNBOOK-001.md"
LATE, REJECTED, AGAIN = "RUNBOOK-003.md", "RUNBOOK-004.md", "RUNBOOK-005.md"
UNCONNECTED, UNSEEN, SLOW = "GUIDE-001.md", "GUIDE-002.md", "GUIDE-003.md"
ENABLE, ROTATE = "TASK-001.md", "TASK-002.md"
OTHERS, HAND_OVER = "other-alerts.md", "../oncall/README.md"
ANYWHERE = ("README.md", "../postmortem.md")
#: What the rules' times are divided by, so that alerts fire and windows fill while we look.
FACTOR = 30
STAGES = (5, 25, 50, 100)
#: Half of the symbols: enough for an alert, and enough others to see how late they are.
ZEROS = 15
#: Failovers and back: one more than an alert allows.
FORTH_AND_BACK = (
    Asked("failover", {"target": "router", "to": "yahoo"}),
    Asked("failover", {"target": "router", "to": "alpaca"}),
) * 4


@pytest.mark.journey
@pytest.mark.timeout(900)
async def test_what_stands_on_the_pages_is_typed(new_stack: NewStack, tmp_path: Path) -> None:
    """While Alpaca is away, while it refuses the keys, while both are away, and once all is well.

    Every command succeeds and prints what the page prints.
    """
    async with new_stack(*story.OPTIONS) as stack:
        await story.routed(stack, "PRIMARY_ACTIVE")
        desk = Desk(stack, tmp_path / "desk")
        await desk.sit_down()
        await story.fault(stack, "alpaca", "too-many-requests", {})
        await story.fault(stack, "alpaca", "cut", {})
        await story.routed(stack, "FALLBACK_ACTIVE")
        await desk.follow(AWAY)
        desk.something_happens()
        await story.fault(stack, "alpaca", "auth-failed", {})
        await story.clear(stack, "alpaca", "too-many-requests")
        await desk.follow(REFUSED)
        desk.something_happens()
        await story.both_are_away(stack)
        await desk.follow(BOTH)
        desk.something_happens()
        await story.all_is_well_again(stack)
        await desk.follow(AWAY, REFUSED, BOTH, verifying=True)
        assert not desk.untyped(*(DIRECTORY / page for page in (AWAY, REFUSED, BOTH)))


@pytest.mark.journey
@pytest.mark.timeout(1200)
async def test_streaming_is_enabled_by_the_pages_and_what_goes_wrong_then_is_mended(
    new_stack: NewStack, tmp_path: Path
) -> None:
    """From a stack that does not stream, by stages to one that does, over what its alerts are for.

    Late ticks, rejected ones, failovers again and again; guides, tasks, and all other alerts.
    """
    desk_folder = tmp_path / "desk"
    desk_folder.mkdir()
    (desk_folder / "alpaca.txt").write_text("AAPL\n")
    env = {
        "ENABLE_ALPACA_STREAMING": "false",
        "ALPACA_SYMBOLS_FILE": str(desk_folder / "alpaca.txt"),
    }
    async with new_stack(*story.OPTIONS, env=env) as stack:
        desk = Desk(stack, desk_folder)
        await desk.sit_down()
        # what needs no prices is typed while Alpaca is waited for
        await desk.follow(UNCONNECTED, *ANYWHERE)
        await desk.follow(SLOW, filled=True)
        await desk.follow(SLOW, verifying=True)
        await story.routed(stack, "FALLBACK_ACTIVE")
        await desk.section(ENABLE, "Hold Yahoo")
        await stack.stop()
        stack.env["ENABLE_ALPACA_STREAMING"] = "true"
        await stack.start()
        desk.something_happens()
        async with Scene(stack.data, FACTOR).ready():
            await _enabled_in_stages(stack, desk)
            await _keys_are_rotated(stack, desk)
        scene = Scene(stack.data, FACTOR)
        await scene.do(Garbled("hub.deliveries"))
        await desk.follow(UNSEEN, filled=True)
        await desk.section(OTHERS, "PipelineDeadLetters", filled=True)
        # of drills there is one at a time, and a page has one
        await desk.follow(OTHERS, HAND_OVER)
        async with scene.ready():
            await _late_and_rejected(stack, desk)
            await _again_and_again(stack, scene, desk)
            desk.something_happens()
            await desk.section(ENABLE, "In an emergency")
            await story.routed(stack, "FALLBACK_ACTIVE")
        assert not desk.untyped(*(page for page in PAGES if page.name not in {AWAY, REFUSED, BOTH}))


def _symbols() -> tuple[str, ...]:
    return read(DEFAULT_FILE)


async def _enabled_in_stages(stack: Stack, desk: Desk) -> None:
    everything = _symbols()
    for percent in STAGES:
        desk.something_happens()
        await desk.section(ENABLE, "Stages", PERCENT=str(percent))
        streamed = (desk.folder / "alpaca.txt").read_text().split()
        assert streamed == list(everything[: -(-len(everything) * percent // 100)])

        async def followed(wanted: int = len(streamed)) -> bool:
            found = await stack.prometheus(f"max(alpaca_subscribed_symbols) == {wanted}")
            return bool(found)

        await stack.until(followed, 60)
        await story.routed(stack, "FALLBACK_ACTIVE")
    # whatever was streamed, nothing else was ever routed
    switches = await stack.rows("SELECT DISTINCT to_state FROM router_transitions FINAL")
    assert switches == [{"to_state": "FALLBACK_ACTIVE"}]
    await desk.section(ENABLE, "Verification", filled=True)
    await desk.section(ENABLE, "Release")
    await story.routed(stack, "PRIMARY_ACTIVE")


async def _keys_are_rotated(stack: Stack, desk: Desk) -> None:
    desk.something_happens()
    key, secret = "rotated-key", "rotated-secret"
    section = "Alpaca's keys, without an interruption"
    await desk.section(ROTATE, section, ALPACA_API_KEY_ID=key, ALPACA_API_SECRET_KEY=secret)
    # who is in stays in; whoever comes again needs the new ones
    await story.twinfeed("sim", "key", "rotate", key, secret, "--data", str(stack.data))
    await desk.follow(ROTATE, verifying=True)
    await story.routed(stack, "PRIMARY_ACTIVE")


async def _firing(stack: Stack, alert: str) -> None:
    async def firing() -> bool:
        return bool(await stack.prometheus(f'ALERTS{{alertname="{alert}", alertstate="firing"}}'))

    await stack.until(firing, 120)


async def _late_and_rejected(stack: Stack, desk: Desk) -> None:
    await story.fault(stack, "alpaca", "price-zero", {"symbols": list(_symbols()[-ZEROS:])})
    await story.fault(stack, "alpaca", "jump", {"symbols": ["MSFT"], "by": 0.4})

    async def broken() -> bool:
        return bool(await stack.rows("SELECT symbol FROM symbol_breakers FINAL LIMIT 1"))

    await stack.until(broken, 60)
    await story.fault(stack, "alpaca", "jump", {"symbols": ["AAPL"], "by": 0.12})

    async def quarantined() -> bool:
        return bool(await stack.rows("SELECT symbol FROM symbol_quarantines FINAL LIMIT 1"))

    await stack.until(quarantined, 60)
    await story.fault(stack, "alpaca", "late", {"by": 15})
    await asyncio.gather(
        _firing(stack, "AlpacaExtremeLatency"), _firing(stack, "AlpacaValidationFailureHigh")
    )
    desk.something_happens()
    await desk.follow(LATE, filled=True)
    await story.clear(stack, "alpaca", "late")
    desk.something_happens()
    await desk.follow(LATE, verifying=True)
    await desk.follow(REJECTED, filled=True)
    for fault in ("price-zero", "jump"):
        await story.clear(stack, "alpaca", fault)
    desk.something_happens()
    await desk.follow(REJECTED, verifying=True)
    await story.routed(stack, "PRIMARY_ACTIVE")


async def _again_and_again(stack: Stack, scene: Scene, desk: Desk) -> None:
    for asked in FORTH_AND_BACK:
        await scene.do(asked)
    await _firing(stack, "AlpacaFailoverFrequencyHigh")
    desk.something_happens()
    await desk.follow(AGAIN, filled=True)
    desk.something_happens()
    await desk.follow(AGAIN, verifying=True)
