"""How much a client may ask for; pure."""

from collections import deque
from typing import Final, NamedTuple

NS: Final = 1_000_000_000


class Moment(NamedTuple):
    """Now, by two clocks.

    Attributes:
        at_ns: since the epoch: what people are told.
        counted_ns: by a clock that only counts, which nobody can set: what intervals are taken by.

    """

    at_ns: int
    counted_ns: int


class Window:
    """At most so many in a time.

    Args:
        most: how many.
        within_s: in how many seconds.

    """

    def __init__(self, most: int, within_s: float) -> None:
        self._most = most
        self._within_ns = int(within_s * NS)
        self._at: deque[int] = deque()

    def allows(self, now_ns: int) -> bool:
        """Count one more where that is allowed, and return whether it was.

        Args:
            now_ns: by a clock that only counts.

        """
        while self._at and now_ns - self._at[0] >= self._within_ns:
            self._at.popleft()
        if len(self._at) >= self._most:
            return False
        self._at.append(now_ns)
        return True
