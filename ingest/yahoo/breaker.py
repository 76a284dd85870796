"""After "too many requests", Yahoo is left alone. Pure.

Yahoo's limits are unpublished and count by address, and who goes on asking is refused for longer.
So one breaker is before all requests, whatever they are for: quotes, stragglers and bars. It is

    closed      requests go out
    open        none does, not even when Yahoo becomes the source that is routed
    half open   the wait is over: one small request shows whether Yahoo answers again
"""

from dataclasses import dataclass

#: The first wait; each further refusal doubles it, up to the last.
FIRST_S = 120.0
LAST_S = 1800.0
#: How much chance lengthens a wait, so that many pollers do not come back in step.
SPREAD = 0.25

#: Doubling stops to matter long before this, and a float overflows at 1024.
_MAX_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Breaker:
    """Whether Yahoo may be asked.

    Attributes:
        refusals: how many times in a row Yahoo refused.
        until_s: when it may be asked again, on the monotonic clock; None while closed.

    """

    refusals: int = 0
    until_s: float | None = None

    @property
    def closed(self) -> bool:
        """Whether requests go out as they like."""
        return self.until_s is None

    def wait_s(self, now_s: float) -> float:
        """Return for how long nothing may be asked; 0 where it is closed or half open."""
        return 0.0 if self.until_s is None else max(0.0, self.until_s - now_s)

    def refused(self, retry_after_s: float | None, now_s: float, *, jitter: float) -> "Breaker":
        """Return the breaker after Yahoo said "too many requests".

        Args:
            retry_after_s: how long it asked to be left alone, if it did: never less than that.
            now_s: on the monotonic clock.
            jitter: chance, in [0, 1).

        """
        asked_s = retry_after_s or 0.0
        if self.wait_s(now_s) and self.until_s is not None:
            # the answer to a request that was under way when another was refused
            return Breaker(self.refusals, max(self.until_s, now_s + asked_s))
        doubled = min(LAST_S, FIRST_S * 2.0 ** min(self.refusals, _MAX_DOUBLINGS))
        wait_s = max(asked_s, doubled) * (1 + SPREAD * jitter)
        return Breaker(self.refusals + 1, now_s + wait_s)

    def answered(self, now_s: float) -> "Breaker":
        """Return the breaker after any other answer; one before its time proves nothing."""
        return self if self.wait_s(now_s) else Breaker()
