"""The laws of the made-up market."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.market import (
    CANARY,
    DAY_NS,
    LISTINGS,
    MINUTE_NS,
    REACH,
    SECOND_NS,
    STEP_NS,
    Market,
    day_start,
)
from ingest.symbols import DEFAULT_FILE, parse

MARKET = Market(7)
symbols = st.sampled_from([*LISTINGS, CANARY])
#: From 2020 to 2040.
moments = st.integers(1_577_836_800 * SECOND_NS, 2_208_988_800 * SECOND_NS)


def test_the_market_lists_what_the_pipeline_follows() -> None:
    """Every default symbol trades here, and nothing else does."""
    assert set(LISTINGS) == set(parse(DEFAULT_FILE.read_text()))


@pytest.mark.service
def test_another_process_sees_the_same_prices() -> None:
    """Two processes with one seed agree to the cent at any moment."""
    at_ns = 1_795_392_000 * SECOND_NS + 123_456_789
    program = (
        "from infra.simulators.market import LISTINGS, Market; "
        f"print([Market(7).price(symbol, {at_ns}) for symbol in LISTINGS])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == str([MARKET.price(symbol, at_ns) for symbol in LISTINGS])


def test_another_seed_is_another_market() -> None:
    """The seed decides all prices."""
    at_ns = 1_795_392_000 * SECOND_NS
    here = [MARKET.price(symbol, at_ns) for symbol in LISTINGS]
    there = [Market(8).price(symbol, at_ns) for symbol in LISTINGS]
    assert sum(a == b for a, b in zip(here, there, strict=True)) < 3


@given(symbols, moments)
def test_a_price_is_in_cents_and_never_far_from_its_base(symbol: str, at_ns: int) -> None:
    """Any two prices of a symbol are less than 10 % apart, so no circuit breaker ever opens."""
    price = MARKET.price(symbol, at_ns)
    base = MARKET.listing(symbol).base
    assert price == round(price, 2)
    assert abs(price / base - 1) <= REACH + 0.005 / base
    assert (1 + REACH) / (1 - REACH) < 1.1


@given(symbols, moments)
def test_a_price_moves_smoothly(symbol: str, at_ns: int) -> None:
    """Within a second nothing jumps by more than a tenth of a percent."""
    before, after = MARKET.price(symbol, at_ns), MARKET.price(symbol, at_ns + SECOND_NS)
    assert abs(after - before) <= 0.01 + before * 0.001


def test_a_day_moves_as_a_large_stock_does() -> None:
    """Over a hundred days a usual day's range is between half a percent and three."""
    days = [MARKET.day("AAPL", 1_795_392_000 * SECOND_NS + n * DAY_NS - 1) for n in range(100)]
    ranges = sorted(day.high / day.low - 1 for day in days)
    assert 0.005 < ranges[50] < 0.03


@given(symbols, moments)
def test_bars_side_by_side_make_the_longer_bar(symbol: str, at_ns: int) -> None:
    """Five one-minute bars say the same as the five-minute bar over them."""
    start = at_ns - at_ns % (5 * MINUTE_NS)
    minutes = [
        MARKET.bar(symbol, start + n * MINUTE_NS, start + (n + 1) * MINUTE_NS) for n in range(5)
    ]
    whole = MARKET.bar(symbol, start, start + 5 * MINUTE_NS)
    assert whole.open == minutes[0].open
    assert whole.close == minutes[-1].close
    assert whole.high == max(bar.high for bar in minutes)
    assert whole.low == min(bar.low for bar in minutes)
    assert whole.volume == sum(bar.volume for bar in minutes)


@given(symbols, moments)
def test_the_day_contains_its_bars_and_its_last_price(symbol: str, at_ns: int) -> None:
    """The day's range covers every minute so far and the moment itself."""
    day = MARKET.day(symbol, at_ns)
    price = MARKET.price(symbol, at_ns)
    last_minute = at_ns - at_ns % MINUTE_NS - MINUTE_NS
    assert day.close == price
    assert day.low <= min(price, day.open)
    assert day.high >= max(price, day.open)
    if last_minute >= day.start_ns:
        bar = MARKET.bar(symbol, last_minute, last_minute + MINUTE_NS)
        assert day.low <= bar.low
        assert bar.high <= day.high


@given(symbols, moments)
def test_a_days_volume_only_grows(symbol: str, at_ns: int) -> None:
    """Later in the same day at least as much was traded."""
    later = min(at_ns + 17 * STEP_NS, day_start(at_ns) + DAY_NS - 1)
    assert MARKET.day(symbol, at_ns).volume <= MARKET.day(symbol, later).volume


def test_the_previous_close_is_yesterdays_last_price() -> None:
    """All day long it is the price at which the day began."""
    start = 1_795_392_000 * SECOND_NS
    assert day_start(start) == start
    morning, night = (MARKET.previous_close("MSFT", at) for at in (start, start + DAY_NS - 1))
    assert morning == night == MARKET.day("MSFT", start).open
    assert abs(morning - MARKET.price("MSFT", start - 1)) <= 0.01
