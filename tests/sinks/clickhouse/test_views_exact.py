"""The business questions where rows are equal, overlap, or leave something open."""

import datetime as dt
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from infra.market_calendar import load
from sinks import events as told
from sinks.clickhouse import market_days, schema
from sinks.clickhouse.store import write
from tests.sinks.clickhouse.conftest import EngineProcess
from tests.sinks.clickhouse.history import (
    Fact,
    at,
    bar,
    batches,
    client,
    correction,
    delivered,
    gap,
    rejected,
    routed,
    trade,
)

pytestmark = pytest.mark.service

Asked = Callable[[Iterable[Fact], str], Any]


@pytest.fixture
def asked(clickhouse: EngineProcess, database: str) -> Asked:
    """A function that writes facts and returns the rows of a query."""
    store = clickhouse.store(database)
    schema.apply(store, schema.read())
    store.insert(market_days.TABLE, market_days.rows(load()))

    def ask(facts: Iterable[Fact], query: str) -> Any:
        for batch in batches(facts, 100):
            assert write(store, batch) == []
        return store.rows(query)

    return ask


def test_of_two_versions_in_one_frame_the_later_counts(asked: Asked) -> None:
    """Both were received at the same time; the place in the log tells."""
    first = bar("AAPL", at("14:30:00"), 103)
    second = bar("AAPL", at("14:30:00"), 105, updated=True, vwap=104.5)
    assert asked([first, second], "SELECT open, close, vwap FROM vendor_bars") == [
        (105, 105, 104.5)
    ]


def test_of_one_number_at_two_exchanges_the_first_heard_of_is_first(asked: Asked) -> None:
    """Two exchanges may give one number at one moment; a corrected trade keeps its place."""
    moment, later = at("14:30:00"), at("14:31:00")
    facts = [
        *(trade("AAPL", moment, price, 1, 7, exchange=at_) for price, at_ in ((1, "V"), (2, "Q"))),
        *(trade("MSFT", moment, price, 1, 8, exchange=at_) for price, at_ in ((1, "Q"), (9, "V"))),
        correction("MSFT", later, 8, to=9, price=2, size=1),
    ]
    rows = asked(facts, "SELECT symbol, open, high, close, prices FROM bars_1m ORDER BY symbol")
    assert rows == [("AAPL", 1, 2, 2, 2), ("MSFT", 1, 2, 2, 2)]


def test_of_equal_hours_the_first_is_the_busiest(asked: Asked) -> None:
    """And not whichever the engine looks at first."""
    clocks = ("20:00:00", "15:00:00", "16:00:00", "14:30:00", "19:00:00")
    facts = [trade("AAPL", at(clock, day), 100, 1, day) for day in range(5, 10) for clock in clocks]
    rows = asked(facts, "SELECT exchange_hour, messages, share_percent FROM peak_hours")
    assert rows == [(9, 1, 20)] * 5


def test_a_last_price_without_a_previous_close_has_no_change(asked: Asked) -> None:
    """An older price's change is not its own."""
    topic, price = routed("alpaca", "AAPL", at("14:31:00"), 101, 1)
    nothing = dict.fromkeys(("previous_close", "change", "change_percent"))
    bare = type(price)(**{name: getattr(price, name) for name in price.__struct_fields__} | nothing)
    facts = [routed("alpaca", "AAPL", at("14:30:00"), 101, 1), (topic, bare)]
    query = "SELECT routed, mean_change_percent, last_change_percent FROM symbol_activity_1d"
    assert asked(facts, query) == [(2, 1, None)]


def test_what_names_no_stock_is_of_none(asked: Asked) -> None:
    """Bytes that could not be read are rejected, and are of no stock."""
    facts = [rejected("", at("14:30:00"), "malformed"), rejected("X", at("14:31:00"), "malformed")]
    assert asked(facts, "SELECT rejected, symbols FROM rejections_1d") == [(2, 1)]


def test_a_gap_is_read_as_its_ledger_is(asked: Asked) -> None:
    """Two processes may tell of one gap: of ends the latest counts, of closings the first."""
    begins = at("15:00:00")
    facts = [
        gap("ended", "opened", begins),
        gap("ended", "ended", begins, at("15:20:00")),
        gap("ended", "ended", begins, at("15:10:00")),
        gap("closed", "closed", begins, at("15:10:00"), outcome="filled", detail="first"),
        gap("closed", "closed", begins, at("15:10:00"), outcome="partial", detail="second"),
    ]
    rows = asked(facts, "SELECT gap_id, state, seconds, detail FROM gaps ORDER BY gap_id")
    assert rows == [("closed", "filled", 600, "first"), ("ended", "ended", 1200, "")]


def test_seconds_in_two_gaps_are_missed_once(asked: Asked) -> None:
    """Gaps may overlap, or lie within each other, filled or not."""
    spans = [("15:00:00", "15:10:00"), ("15:05:00", "15:20:00"), ("15:06:00", "15:07:00")]
    facts = [
        gap(f"g{n}", "ended", at(since), at(until), symbols=["AAPL"])
        for n, (since, until) in enumerate(spans)
    ]
    facts.append(gap("f", "closed", at("15:15:00"), at("15:30:00"), symbols=["AAPL"]))
    query = "SELECT gaps, missed_seconds, session_seconds, unfilled_seconds FROM completeness_1d"
    assert asked(facts, query) == [(4, 1800, 1800, 1200)]


def test_a_connection_ends_with_its_hub(asked: Asked) -> None:
    """A hub that was killed says of nobody that he left; it is only heard of no more."""
    now = time.time_ns()
    minute = 60_000_000_000
    long_ago = now - 600 * minute
    facts = [
        delivered("dead", long_ago, long_ago + minute),
        delivered("dead", long_ago + minute, long_ago + 2 * minute),
        delivered("alive", now - 90 * minute, now - 89 * minute),
        delivered("alive", now - 2 * minute, now - minute),
        client(told.ClientConnected, long_ago + minute // 2, "lost", encoding="json"),
        client(told.ClientConnected, long_ago + 3 * minute, "at once", encoding="json"),
        client(told.ClientConnected, now - 80 * minute, "there", encoding="json"),
        client(told.ClientConnected, now - 1_000_000_000, "new", encoding="json"),
    ]
    query = "SELECT connection_id, left_at IS NULL, floor(seconds) FROM connections ORDER BY 1"
    rows = asked(facts, query)
    assert [row[:2] for row in rows] == [
        ("at once", False),
        ("lost", False),
        ("new", True),
        ("there", True),
    ]
    assert [row[2] for row in rows[:2]] == [0, 90]
    assert rows[3][2] >= 80 * 60


def test_days_end_when_new_york_says(asked: Asked) -> None:
    """The session is an hour earlier in UTC once the clocks went forward, on 8 March 2026."""
    friday, monday = at("14:45:00", 5 + 60), at("13:45:00", 5 + 63)
    minute = 60_000_000_000
    facts = [
        gap("winter", "ended", friday - 30 * minute, friday, symbols=["AAPL"]),
        gap("summer", "ended", monday - 30 * minute, monday, symbols=["AAPL"]),
        trade("AAPL", friday, 100, 1, 1),
        trade("AAPL", monday, 100, 1, 2),
    ]
    rows = asked(
        facts, "SELECT day, missed_seconds, session_seconds FROM completeness_1d ORDER BY day"
    )
    assert rows == [(dt.date(2026, 3, 6), 1800, 900), (dt.date(2026, 3, 9), 1800, 900)]
    assert asked([], "SELECT exchange_hour FROM peak_hours") == [(9,), (9,)]
