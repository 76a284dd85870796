"""What time is it? The machine's clock, but for a step that nobody has confirmed.

Every rule about silence and every order of events leans on the wall clock. One that jumps (a wrong
`date`, a time daemon gone astray, a machine that was paused) would make a live source look dead, or
every tick look as if it came from the future. So a jump is doubted: time goes on at the pace of the
clock that only counts, and after five minutes the machine is believed, because by then whoever set
its clock wrongly would have set it right.
"""

import logging
import time
from collections.abc import Callable
from functools import cache

_log = logging.getLogger(__name__)

NS = 1_000_000_000

#: A larger difference than this between the two clocks is a jump; what time daemons slew is less.
JUMP_NS = NS
#: For how long a jump is doubted.
DOUBT_NS = 300 * NS

#: Counts on while the machine sleeps, where there is such a clock (Linux).
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _counting_ns() -> int:
    return time.clock_gettime_ns(_BOOT)


class SteadyClock:
    """The machine's wall clock, whose jumps are believed only once they have lasted.

    Args:
        wall: returns the machine's time, in ns since the epoch.
        counting: returns ns since some start; it never jumps.

    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        counting: Callable[[], int] = _counting_ns,
    ) -> None:
        self._wall = wall
        self._counting = counting
        #: What to add to the counting clock.
        self._offset = wall() - counting()
        self._jumped_at: int | None = None

    def now_ns(self) -> int:
        """Return nanoseconds since the epoch, UTC."""
        counted, wall = self._counting(), self._wall()
        steady = counted + self._offset
        if abs(wall - steady) < JUMP_NS:
            self._jumped_at = None
        elif self._jumped_at is None:
            self._jumped_at = counted
            _log.warning("the clock jumped by %.3f s, which is doubted", (wall - steady) / NS)
            return steady
        elif counted - self._jumped_at < DOUBT_NS:
            return steady
        else:
            self._jumped_at = None
            _log.warning("the clock is believed: %.3f s away", (wall - steady) / NS)
        self._offset = wall - counted
        return wall


@cache
def _process_clock() -> SteadyClock:
    return SteadyClock()


def now_ns() -> int:
    """Return nanoseconds since the epoch, UTC, by this process's clock."""
    return _process_clock().now_ns()
