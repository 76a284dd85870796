"""The day's figures, by Yahoo's raw ticks."""

from typing import Any

import msgspec
import pytest

from ingest.events import RawTick
from sinks.hub import words
from sinks.hub.day import day_of
from tests.sinks.hub.prices import NOW, price

S = 10**9
META = {
    "symbol": "AAPL",
    "regularMarketPrice": 190.0,
    "regularMarketTime": NOW // S,
    "regularMarketDayHigh": 191.5,
    "regularMarketDayLow": 188.0,
    "regularMarketVolume": 1000,
    "chartPreviousClose": 189.0,
}


def a_poll(feed: str = "spark", **other: Any) -> bytes:
    """A raw tick of Yahoo's."""
    answer = {"symbol": "AAPL", "response": [{"meta": {**META, **other}}]}
    return msgspec.json.encode(
        RawTick(
            source="yahoo",
            feed=feed,
            symbol="AAPL",
            session_id="s",
            session_seq=1,
            received_at_ns=NOW,
            encoding="json",
            raw=msgspec.Raw(msgspec.json.encode(answer)),
        )
    )


@pytest.mark.parametrize(
    ("value", "market_time_ns", "expected"),
    [
        (190.0, NOW, (1000, 191.5, 188.0)),
        (192.0, NOW, (1000, 192.0, 188.0)),  # a price that is ahead of Yahoo
        (187.0, NOW, (1000, 191.5, 187.0)),
        (190.0, NOW + 25 * 3600 * S, (None, None, None)),  # of yesterday
    ],
)
def test_a_price_comes_with_its_day(
    value: float, market_time_ns: int, expected: tuple[float | None, ...]
) -> None:
    """As Yahoo has it, and no narrower than the price itself."""
    day = day_of(a_poll())
    said = words.price_update(price("AAPL", value, market_time_ns=market_time_ns), day)
    assert (said["volume"], said["high24h"], said["low24h"]) == expected


def test_what_yahoo_does_not_tell_is_null() -> None:
    """One by one."""
    day = day_of(a_poll(regularMarketDayHigh=None, regularMarketVolume=None))
    said = words.price_update(price("AAPL", 190.0, market_time_ns=NOW), day)
    assert (said["volume"], said["high24h"], said["low24h"]) == (None, None, 188.0)


@pytest.mark.parametrize(
    "value",
    [
        a_poll(feed="chart-5m"),
        a_poll(regularMarketVolume=-1),
        a_poll(regularMarketPrice=0),
        a_poll(regularMarketTime="soon"),
    ],
)
def test_what_is_no_quote_or_wrong_says_nothing(value: bytes) -> None:
    """As `validate` has it."""
    assert day_of(value) is None
