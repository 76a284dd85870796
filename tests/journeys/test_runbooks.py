"""What a runbook tells to type is typed, on a stack in the state that the runbook is for."""

from pathlib import Path

import pytest

from tests.journeys import story
from tests.journeys.conftest import NewStack
from tests.journeys.pages import Desk

PAGES = ("RUNBOOK-002.md", "RUNBOOK-006.md", "RUNBOOK-001.md")


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
        away, refused, both = PAGES
        await story.fault(stack, "alpaca", "too-many-requests", {})
        await story.fault(stack, "alpaca", "cut", {})
        await story.routed(stack, "FALLBACK_ACTIVE")
        await desk.follow(away)
        desk.something_happens()
        await story.fault(stack, "alpaca", "auth-failed", {})
        await story.clear(stack, "alpaca", "too-many-requests")
        await desk.follow(refused)
        desk.something_happens()
        await story.both_are_away(stack)
        await desk.follow(both)
        desk.something_happens()
        await story.all_is_well_again(stack)
        await desk.follow(*PAGES, verifying=True)
        assert desk.typed > 20
