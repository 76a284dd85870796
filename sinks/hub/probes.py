"""How long it takes to a client and back; pure.

A client that offered to answer is called now and then, and its completion shows that all that was
sent before has arrived. A hundredth of them is asked, at least one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from sinks.hub.protocol.messages import Completion, Invocation

#: What is called at the client.
TARGET: Final = "Probe"
EVERY_S: Final = 10.0
SHARE: Final = 0.01

T = TypeVar("T")


def sample(
    candidates: Sequence[T], choose: Callable[[Sequence[T], int], Sequence[T]]
) -> Sequence[T]:
    """Return whom to ask: `choose` picks so many of them."""
    if not candidates:
        return []
    return choose(candidates, math.ceil(len(candidates) * SHARE))


class Probe:
    """The probes of one client: one at a time, and one that comes late does not count."""

    def __init__(self) -> None:
        self.offered = False
        self._number = 0
        self._asked_ns: int | None = None

    def ask(self, now_ns: int) -> Invocation:
        """Return the call; the time is by a clock that only counts."""
        self._number += 1
        self._asked_ns = now_ns
        return Invocation(TARGET, [], f"probe-{self._number}")

    def answered(self, completion: Completion, now_ns: int) -> int | None:
        """Return the round trip in ns; None where this answers nothing that was asked."""
        if self._asked_ns is None or completion.id != f"probe-{self._number}":
            return None
        asked_ns, self._asked_ns = self._asked_ns, None
        return now_ns - asked_ns
