"""How long Yahoo is left alone after it said "too many requests"."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.yahoo.breaker import FIRST_S, LAST_S, SPREAD, Breaker

CHANCE = st.floats(0, 1, exclude_max=True)


def test_a_breaker_is_closed_until_it_is_refused() -> None:
    """Requests go out as they like, and an answer changes nothing."""
    assert Breaker().closed
    assert Breaker().wait_s(0) == 0
    assert Breaker().answered(5) == Breaker()


@pytest.mark.parametrize(
    ("refusals", "retry_after_s", "wait_s"),
    [
        (0, None, 120),
        (1, None, 240),
        (2, None, 480),
        (3, None, 960),
        (4, None, 1800),
        (10**6, None, 1800),
        (0, 30, 120),
        (0, 600, 600),
        (4, 3600, 3600),
    ],
)
def test_each_refusal_doubles_the_wait(
    refusals: int, retry_after_s: float | None, wait_s: float
) -> None:
    """From two minutes up to half an hour, and never less than what Yahoo asks for."""
    breaker = Breaker(refusals, 0.0).refused(retry_after_s, 1000, jitter=0)
    assert breaker.wait_s(1000) == wait_s
    assert breaker.refusals == refusals + 1


def test_it_stays_half_open_until_there_is_an_answer() -> None:
    """When the wait is over it is not closed yet: an answer closes it, and all is forgotten."""
    breaker = Breaker().refused(None, 0, jitter=0)
    assert breaker.wait_s(FIRST_S) == 0
    assert not breaker.closed
    assert breaker.answered(FIRST_S) == Breaker()


def test_an_answer_before_its_time_proves_nothing() -> None:
    """A request that was under way when another was refused does not end the wait."""
    breaker = Breaker().refused(None, 0, jitter=0)
    assert breaker.answered(FIRST_S - 1) == breaker


def test_two_refusals_at_once_are_one() -> None:
    """The second does not double the wait, but what it asks for is kept."""
    breaker = Breaker().refused(None, 0, jitter=0)
    assert breaker.refused(None, 1, jitter=0) == breaker
    assert breaker.refused(900, 1, jitter=0) == Breaker(1, 901)


@given(
    refusals=st.integers(0, 50),
    retry_after_s=st.none() | st.floats(0, 3600),
    now_s=st.floats(0, 10**6),
    jitter=CHANCE,
)
def test_a_wait_is_bounded_both_ways(
    refusals: int, retry_after_s: float | None, now_s: float, jitter: float
) -> None:
    """Chance only lengthens it, and by a quarter at most."""
    wait_s = Breaker(refusals, now_s).refused(retry_after_s, now_s, jitter=jitter).wait_s(now_s)
    least = max(retry_after_s or 0, FIRST_S)
    assert least - 1e-6 <= wait_s <= max(retry_after_s or 0, LAST_S) * (1 + SPREAD) + 1e-6
