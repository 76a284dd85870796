"""A chunk is done when what came of it is in the log; not before, and never in silence.

Sends of several chunks are under way at once: waiting for each would cost a round trip a chunk (p99
of about a second under load). A send that fails for good ends the process, uncommitted, so that a
restart replays: going on would leave a hole.
"""

import asyncio
import os
from collections.abc import Awaitable
from typing import Any

import structlog

from infra.settings import EX_SOFTWARE

log = structlog.get_logger()

#: How many chunks may be under way at once. Bounds memory, and what a restart has to look back at.
CHUNKS_UNDER_WAY = 8


class Deliveries:
    """The chunks whose outputs are on their way to the broker."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(CHUNKS_UNDER_WAY)
        self._under_way: set[asyncio.Task[None]] = set()

    async def acknowledge_after(self, delivery: Awaitable[Any], event: Any = None) -> None:
        """Acknowledge `event`, if there is one, when `delivery` is done. Waits only for room."""
        await self._room.acquire()
        task = asyncio.ensure_future(self._acknowledge(delivery, event))
        self._under_way.add(task)
        task.add_done_callback(self._done)

    def settled(self) -> Awaitable[Any]:
        """Return what is done when all that is under way now is in the log."""
        return asyncio.gather(*self._under_way)

    async def _acknowledge(self, delivery: Awaitable[Any], event: Any) -> None:
        await delivery
        if event is not None:
            event.ack()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()):
            end_process("delivery_failed", error)


def end_process(event: str, error: BaseException) -> None:
    """Log why, and end the process at once, before anything more can be acknowledged."""
    log.critical(event, error=repr(error))
    os._exit(EX_SOFTWARE)
