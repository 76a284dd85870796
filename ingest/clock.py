"""The two clocks: the one that names moments, and the one that measures between them."""

import asyncio
import time
from collections.abc import Callable
from typing import NamedTuple

from infra.clock import now_ns


class Now(NamedTuple):
    """A moment on both clocks; rules take it as an argument and read no clock themselves.

    Attributes:
        wall_ns: nanoseconds since the epoch, UTC: what events are stamped with.
        monotonic_s: seconds since some start: what deadlines are kept on. It never steps back.

    """

    wall_ns: int
    monotonic_s: float


def read_clock() -> Now:
    """Return the present moment; its monotonic side is that of asyncio's loops."""
    return Now(now_ns(), time.monotonic())


async def every(seconds: float, act: Callable[[], None]) -> None:
    """Call `act` now and every `seconds` from now on; a beat that is late is not made up for."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        act()
        due = next_beat(due, loop.time(), seconds)
        await asyncio.sleep(due - loop.time())


def next_beat(due: float, now: float, seconds: float) -> float:
    """Return when the beat after `due` is: in step, or from `now` on where that is past."""
    following = due + seconds
    return following if following > now else now + seconds
