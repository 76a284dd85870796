"""When to poll, and what a source's life looks like from its polls: pure."""

from dataclasses import dataclass, replace
from typing import Literal

from ingest.backoff import backoff
from ingest.clock import Now

#: A source whose last good poll is older than this many polls is no longer connected.
FRESH_POLLS = 3
#: How far a poll may come late, in parts of the interval, so that many pollers do not keep step.
JITTER = 0.05
#: Failures double the interval up to this.
CAP_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a poll failed.

    Attributes:
        reason: the class of the cause.
        code: the HTTP status, if there was one.
        detail: in words.
        floor_s: how long the source wants to be left alone.

    """

    reason: Literal["timeout", "error"]
    code: int | None = None
    detail: str = ""
    floor_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What the polls so far say of the source.

    Attributes:
        connected: whether the last poll was good.
        failures: how many polls in a row failed.
        last_success: when the last good poll ended.

    """

    connected: bool = False
    failures: int = 0
    last_success: Now | None = None

    def polled(self, failure: Failure | None, now: Now) -> "Source":
        """Return the source after one more poll."""
        if failure is None:
            return Source(connected=True, last_success=now)
        return replace(self, connected=False, failures=self.failures + 1)

    def state(
        self, now: Now, *, poll_s: float
    ) -> Literal["disconnected", "connecting", "connected"]:
        """Return the state as a heartbeat calls it."""
        if not self.connected or self.last_success is None:
            return "connecting" if not self.failures else "disconnected"
        age_s = now.monotonic_s - self.last_success.monotonic_s
        return "connected" if age_s <= FRESH_POLLS * poll_s else "disconnected"


def pause(source: Source, failure: Failure | None, *, poll_s: float, jitter: float) -> float:
    """Return the seconds from the beginning of the last poll to the next, after its outcome.

    After "too many requests" the breaker has a say as well.

    Args:
        source: after the poll.
        failure: the poll's outcome.
        poll_s: the interval while all is well; never less than that.
        jitter: chance, in [0, 1).

    """
    if failure is None:
        return poll_s * (1 + JITTER * jitter)
    return backoff(
        source.failures,
        first_s=poll_s,
        cap_s=max(poll_s, CAP_S),
        floor_s=max(poll_s, failure.floor_s),
        jitter=jitter,
    )
