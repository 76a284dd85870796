"""What happened live happens again in a replay, byte for byte."""

from pathlib import Path

import pytest

from infra import topics
from tests.journeys import faulty
from tests.journeys.conftest import NewStack


@pytest.mark.journey
@pytest.mark.timeout(400)
async def test_a_replay_is_what_happened(new_stack: NewStack, tmp_path: Path) -> None:
    """Verdicts, breakers, decisions, comparisons and prices, through faults and failovers.

    But for the moment at which a price went out, which is no part of what went out.
    """
    async with new_stack("--rate", str(faulty.RATE)) as stack:
        await faulty.go_wrong(stack)
        await faulty.be_asked(stack)
        await faulty.settled(stack)
        file = tmp_path / "faulty.capture"
        await faulty.capture(stack, file)
        live = await faulty.written(stack, faulty.header_of(file))
        faulty.same(live, await faulty.replayed(file, tmp_path / "once"))
        kinds = {topic for topic, _ in live}
        assert kinds >= {topics.VALID.name, topics.ROUTED.name, topics.TRANSITIONS.name}
        assert topics.ANSWERS.name in kinds
        await faulty.replayed(file, tmp_path / "twice")
        assert (tmp_path / "once").read_bytes() == (tmp_path / "twice").read_bytes()
