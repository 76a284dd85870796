"""The wait between attempts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.backoff import SPREAD, backoff


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (10_000, 60.0)],
)
def test_delay_doubles_up_to_its_cap(failures: int, seconds: float) -> None:
    """Without chance and floor, the delays are 1, 2, 4 and so on, and end at the cap."""
    assert backoff(failures, first_s=1, cap_s=60, jitter=0) == seconds


@given(
    failures=st.integers(1, 10**6),
    floor_s=st.floats(0, 1000),
    jitter=st.floats(0, 1, exclude_max=True),
)
def test_chance_breaks_neither_floor_nor_cap(failures: int, floor_s: float, jitter: float) -> None:
    """Whatever chance says, the floor holds, and the cap is passed only for the floor's sake."""
    delay = backoff(failures, first_s=1, cap_s=60, floor_s=floor_s, jitter=jitter)
    assert floor_s <= delay <= max(60, floor_s * (1 + SPREAD))


def test_chance_spreads_the_delays() -> None:
    """Two clients with different luck come back at different times."""
    assert len({backoff(5, first_s=1, cap_s=60, jitter=jitter) for jitter in (0, 0.5, 0.9)}) == 3
