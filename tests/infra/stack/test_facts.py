"""The numbers of the view follow from the stages' metrics."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stack.facts import DURATION, Scrape, Spell, facts, parse, quantile, spell
from infra.telemetry import Meters


def exposed(*, trades: float, control: float = 0, state: str = "PRIMARY_ACTIVE") -> str:
    """What a process with Alpaca's and the router's meters exposes."""
    meters = Meters("alpaca", "router", "prices")
    meters.add("alpaca_messages_received_total", trades, type="trade")
    meters.add("alpaca_messages_received_total", control, type="control")
    meters.add("datasource_router_validation_failures_total", trades / 10, reason="malformed")
    meters.state("datasource_router_state", state)
    for _ in range(int(trades)):
        meters.observe(DURATION, 0.004)
    return meters.exposition().decode()


def scrape(at: float, text: str, rows: int | None = None) -> Scrape:
    """One process's exposition as a scrape."""
    return Scrape(at, {"alpaca": parse(text)}, rows)


def test_rates_are_taken_over_the_window() -> None:
    """What rose between the first and the last scrape is divided by the time between."""
    found = facts(
        [
            scrape(100, exposed(trades=50, control=2)),
            scrape(105, exposed(trades=80)),
            scrape(110, exposed(trades=150, control=9), rows=12),
        ]
    )
    assert found.received["alpaca"] == 10
    assert found.rejected == 1
    assert found.routed == 10
    assert found.rows == 12
    assert found.route == "PRIMARY_ACTIVE"


def test_a_restarted_process_counts_from_zero() -> None:
    """A counter that went back has risen by what it shows."""
    window = [scrape(100, exposed(trades=500)), scrape(110, exposed(trades=20))]
    assert facts(window).received["alpaca"] == 2


def test_latency_is_that_of_the_window() -> None:
    """Quantiles come from the observations between the scrapes, inside their bucket."""
    median, tail = facts(
        [scrape(100, exposed(trades=10)), scrape(110, exposed(trades=110))]
    ).latency or (0, 0)
    assert 0.0025 <= median < tail <= 0.005


@pytest.mark.parametrize("window", [[], [scrape(100, "")], [Scrape(100), Scrape(101)]])
def test_what_is_not_known_is_not_made_up(window: list[Scrape]) -> None:
    """Without scrapes, or without processes that answer, every number is unknown."""
    found = facts(window)
    assert found.route is None
    assert found.routed is None
    assert found.rejected is None
    assert found.latency is None
    assert found.rows is None
    assert not any(found.received.values())


def test_a_spell_begins_when_the_state_is_first_seen() -> None:
    """The state's time runs on while it stays, and also while nobody answers."""
    before = spell(None, scrape(100, exposed(trades=0)))
    assert before == Spell("PRIMARY_ACTIVE", 100)
    assert spell(before, scrape(105, exposed(trades=0))) == before
    assert spell(before, Scrape(106)) == before
    changed = spell(before, scrape(107, exposed(trades=0, state="FALLBACK_ACTIVE")))
    assert changed == Spell("FALLBACK_ACTIVE", 107)


@pytest.mark.parametrize(
    ("share", "buckets", "expected"),
    [
        (0.5, {}, None),
        (0.5, {1.0: 0.0, math.inf: 0.0}, None),
        (0.5, {1.0: 10.0, math.inf: 10.0}, 0.5),
        (0.5, {1.0: 0.0, 2.0: 10.0, math.inf: 10.0}, 1.5),
        (0.95, {1.0: 5.0, 2.0: 5.0, math.inf: 10.0}, 2.0),  # beyond the last bound: that bound
    ],
)
def test_quantiles_as_prometheus_has_them(
    share: float, buckets: dict[float, float], expected: float | None
) -> None:
    """Linear inside a bucket, the highest finite bound beyond it, nothing from nothing."""
    assert quantile(share, buckets) == expected


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_never_fall(counts: list[int], one: float, other: float) -> None:
    """A higher share never has a lower quantile."""
    total, buckets = 0.0, {}
    for bound, count in enumerate(counts, start=1):
        total += count
        buckets[float(bound)] = total
    low, high = quantile(min(one, other), buckets), quantile(max(one, other), buckets)
    if total:
        assert low is not None
        assert high is not None
        assert low <= high
    else:
        assert low is high is None
