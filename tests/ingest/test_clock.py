"""The beat that keeps step."""

import asyncio

import pytest

from ingest.clock import every, next_beat
from tests.ingest.fakes import eventually


@pytest.mark.parametrize(
    ("due", "now", "following"),
    [
        (10.0, 10.0, 11.0),  # in time
        (10.0, 10.4, 11.0),  # late, and yet in step
        (10.0, 11.0, 12.0),  # the next was due now: skipped
        (10.0, 17.3, 18.3),  # several were missed: one is enough
    ],
)
def test_beats_keep_step_and_are_not_made_up_for(due: float, now: float, following: float) -> None:
    """A late beat does not shift the ones after it, and missed ones are not sent in a burst."""
    assert next_beat(due, now, 1.0) == following


async def test_beats_go_on() -> None:
    """The first beat is at once, and others follow."""
    beats: list[None] = []
    beating = asyncio.create_task(every(0.001, lambda: beats.append(None)))
    await eventually(lambda: len(beats) > 2)
    beating.cancel()
