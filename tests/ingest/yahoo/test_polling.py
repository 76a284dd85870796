"""When Yahoo is polled, and what its life looks like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.clock import Now
from ingest.yahoo.polling import CAP_S, FRESH_POLLS, JITTER, Failure, Source, pause

POLL_S = 60.0
FAILED = Failure(reason="error")


def _at(seconds: float) -> Now:
    return Now(int(seconds * 1e9), seconds)


@pytest.mark.parametrize(
    ("source", "at_s", "state"),
    [
        (Source(), 0, "connecting"),
        (Source().polled(FAILED, _at(0)), 0, "disconnected"),
        (Source().polled(None, _at(0)), 0, "connected"),
        (Source().polled(None, _at(0)), FRESH_POLLS * POLL_S, "connected"),
        (Source().polled(None, _at(0)), FRESH_POLLS * POLL_S + 1, "disconnected"),
        (Source().polled(None, _at(0)).polled(FAILED, _at(1)), 1, "disconnected"),
        (Source().polled(FAILED, _at(0)).polled(None, _at(1)), 1, "connected"),
    ],
)
def test_state_follows_the_last_poll(source: Source, at_s: float, state: str) -> None:
    """Connected is who answered the last poll, and not too long ago."""
    assert source.state(_at(at_s), poll_s=POLL_S) == state


def test_last_success_outlives_a_failure() -> None:
    """The time of the last good poll stays known while polls fail; failures are counted."""
    source = Source().polled(None, _at(5)).polled(FAILED, _at(6)).polled(FAILED, _at(7))
    assert (source.last_success, source.failures) == (_at(5), 2)


@pytest.mark.parametrize(
    ("failures", "failure", "seconds"),
    [
        (0, None, 60),
        (1, FAILED, 60),
        (2, FAILED, 120),
        (3, FAILED, 240),
        (9, FAILED, CAP_S),
        (1, Failure(reason="error", code=429, floor_s=300), 300),
    ],
)
def test_failures_back_off(failures: int, failure: Failure | None, seconds: float) -> None:
    """Each failure in a row doubles the pause, up to ten minutes or to what the server asks."""
    assert pause(Source(failures=failures), failure, poll_s=POLL_S, jitter=0) == seconds


@given(
    failures=st.integers(0, 10**6),
    floor_s=st.floats(0, 3600),
    poll_s=st.floats(1, 3600),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_polls_are_never_closer_than_the_interval(
    failures: int, floor_s: float, poll_s: float, jitter: float
) -> None:
    """Whatever happened, and whatever chance says, the interval and the server's wish are kept."""
    failure = Failure(reason="timeout", floor_s=floor_s) if failures else None
    seconds = pause(Source(failures=failures), failure, poll_s=poll_s, jitter=jitter)
    assert seconds >= poll_s
    if failure:
        assert seconds >= floor_s
    else:
        assert seconds <= poll_s * (1 + JITTER)
