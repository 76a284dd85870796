"""What a minute brought, in figures."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.hub.tally import LEAST_S, MINUTES, STEP, Spread, Tally

seconds = st.floats(LEAST_S, 1e4)


def a_spread(values: list[float]) -> Spread:
    """A spread of these."""
    spread = Spread()
    for value in values:
        spread.add(value)
    return spread


@given(values=st.lists(seconds, min_size=1), share=st.floats(0.01, 1))
def test_a_quantile_is_right_to_a_buckets_half(values: list[float], share: float) -> None:
    """As exact as the buckets are fine, and as the three digits that are given."""
    ranked = sorted(values)
    exact = ranked[max(0, -int(-share * len(values) // 1) - 1)]
    found = a_spread(values).quantile(share)
    assert found is not None
    neighbours = {exact, ranked[min(len(ranked) - 1, round(share * len(values)))]}
    assert any(near / STEP < found < near * STEP for near in neighbours)


@pytest.mark.parametrize("value", [0.0, -3.0])
def test_a_time_that_clocks_make_negative_is_none(value: float) -> None:
    """The vendor's clock may be ahead of ours."""
    assert a_spread([value]).quantile(0.5) == pytest.approx(LEAST_S, rel=STEP - 1)


def test_a_minute_is_cut_and_looked_back_on() -> None:
    """What had no value has no figure; a few minutes are remembered, not more."""
    tally = Tally()
    for _ in range(99):
        tally.now.latency["alpaca"].add(0.1)
    tally.now.latency["alpaca"].add(7.0)
    tally.now.updates = 30
    minute = tally.cut(hub_id="h", clients=2, since_ns=1, now_ns=2)
    assert (minute.since_ns, minute.at_ns, minute.clients, minute.updates) == (1, 2, 2, 30)
    assert minute.alpaca_p50_s == pytest.approx(0.1, rel=0.03)
    assert minute.alpaca_p99_s == pytest.approx(0.1, rel=0.03)
    assert (minute.alpaca_count, minute.yahoo_count, minute.yahoo_p50_s) == (100, 0, None)
    assert len(tally.latency("alpaca")) == 100
    for _ in range(MINUTES):
        assert tally.cut(hub_id="h", clients=0, since_ns=2, now_ns=3).alpaca_count == 0
    assert tally.latency("alpaca").quantile(0.5) is None
