"""Whether Yahoo is the source that is routed, looked up in a real log."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from infra import topics as declared
from infra.fence import Story
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from ingest.yahoo.route import Seen, after, watch_route
from tests.ingest.fakes import eventually

#: On a machine that is busy with everything else.
DEADLINE_S = 60


class Router:
    """Writes transitions, as the router does."""

    def __init__(self, producer: BatchProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic
        self.epoch = 0

    async def write(self, value: bytes) -> None:
        """Write one record."""
        header = declared.TRANSITIONS.header
        await (await self._producer.send(self._topic, 0, [Record(b"router", value, 0)], header))

    async def switch(self, to_state: str) -> None:
        """Write one transition, with the fields that nobody here looks at."""
        self.epoch += 1
        fields = {
            "epoch": self.epoch,
            "from_state": "STARTUP",
            "to_state": to_state,
            "by": "router",
        }
        await self.write(msgspec.json.encode(fields))


@pytest.fixture
async def router(kafka: Broker, topics: str) -> AsyncIterator[Router]:
    """A router at a fresh log."""
    producer = BatchProducer(kafka.bootstrap_servers, client_id="router")
    await producer.start()
    yield Router(producer, topics + declared.TRANSITIONS.name)
    await producer.stop()


@asynccontextmanager
async def watching(kafka: Broker, topics: str) -> AsyncIterator[list[bool]]:
    """What a watcher was told so far."""
    told: list[bool] = []
    topic = topics + declared.TRANSITIONS.name
    task = asyncio.create_task(watch_route(kafka.bootstrap_servers, topic, told.append))
    try:
        yield told
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def told_so_far(told: list[bool], expected: list[bool]) -> None:
    """Return once so many were told; they must be these."""
    await eventually(lambda: len(told) >= len(expected), DEADLINE_S)
    assert told == expected


@pytest.mark.service
async def test_the_state_in_force_is_known_at_the_start(
    kafka: Broker, topics: str, router: Router
) -> None:
    """Of all that was, only the last counts; what follows is passed on, each once and in order."""
    for state in ("FALLBACK_ACTIVE", "PRIMARY_ACTIVE", "FALLBACK_ACTIVE"):
        await router.switch(state)
    async with watching(kafka, topics) as told:
        await told_so_far(told, [True])
        await router.switch("BOTH_UNAVAILABLE")
        await router.switch("FALLBACK_ACTIVE")
        await router.switch("PRIMARY_ACTIVE")
        await told_so_far(told, [True, False, True, False])


@pytest.mark.service
async def test_before_the_router_has_spoken_yahoo_is_not_active(
    kafka: Broker, topics: str, router: Router
) -> None:
    """An empty log is a state as well; and a record that nobody can read changes nothing."""
    async with watching(kafka, topics) as told:
        await told_so_far(told, [False])
        await router.switch("FALLBACK_ACTIVE")
        await told_so_far(told, [False, True])
        await router.write(b"{")
        await told_so_far(told, [False, True, True])
        await router.switch("PRIMARY_ACTIVE")
        await told_so_far(told, [False, True, True, False])


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"{}",
        b'{"epoch":9}',
        b'{"to_state":"FALLBACK_ACTIVE"}',
        b'{"epoch":"9","to_state":"FALLBACK_ACTIVE"}',
        b'{"epoch":9,"to_state":5}',
        b'{"epoch":9,"to_state":"\xff"}',
    ],
)
def test_a_record_that_is_no_transition_changes_nothing(value: bytes, active: bool) -> None:  # noqa: FBT001
    """Whatever lies in the log, the poller goes on as it was."""
    seen = Seen(Story(3, 1), active)
    assert after(seen, value, 7) == seen


def _written(epoch: int, generation: int, to_state: str) -> bytes:
    fields = {"epoch": epoch, "generation": generation, "to_state": to_state}
    return msgspec.json.encode(fields)


@pytest.mark.parametrize(
    ("epoch", "generation"),
    [(6, 1), (9, 1), (5, 2), (4, 2), (5, 3)],
    ids=["zombie", "zombie far ahead", "same epoch", "epoch before", "epoch does not rise"],
)
def test_what_a_former_router_writes_too_late_does_not_move_the_poller(
    epoch: int, generation: int
) -> None:
    """It would poll as if Yahoo were routed, while everyone else goes by Alpaca."""
    seen = after(Seen(), _written(5, 2, "PRIMARY_ACTIVE"), 0)
    assert after(seen, _written(epoch, generation, "FALLBACK_ACTIVE"), 1) == seen
    assert after(seen, _written(6, 2, "FALLBACK_ACTIVE"), 2).active
