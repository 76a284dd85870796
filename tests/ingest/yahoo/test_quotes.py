"""What stands still, what is missing, and who is asked for alone."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.market_calendar import ALWAYS_OPEN, NS, load
from ingest.yahoo.quotes import (
    DAY_S,
    STRAGGLERS,
    UNKNOWN_AGAIN_S,
    Finding,
    Froze,
    Impaired,
    Moved,
    Quotes,
    Restored,
)
from ingest.yahoo.wire import LAG_S, Quote

T0 = 20_000 * DAY_S + 50_000
MINUTE_S = 60


def ny(text: str) -> int:
    """Return a moment of New York's clock, in seconds since the epoch."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/New_York"))
    return int(moment.timestamp())


def poll(quotes: Quotes, now_s: int, **traded_at_s: int | None) -> list[Finding]:
    """Have a good poll bring quotes, whole ones, by symbol; return what it changed."""
    quotes.begin()
    told = (Quote(symbol, at_s, has_close=True) for symbol, at_s in traded_at_s.items())
    quotes.quoted(told, now_s * NS)
    return quotes.end(now_s * NS)


def polls(quotes: Quotes, since_s: int, minutes: int, **traded_at_s: int) -> list[Finding]:
    """Have a minute's polls bring the same quotes again and again."""
    return [
        finding
        for minute in range(minutes)
        for finding in poll(quotes, since_s + minute * MINUTE_S, **traded_at_s)
    ]


def test_a_frozen_price_is_told_after_twenty_minutes_of_open_market() -> None:
    """Once, with the time of the trade that is still served; and once when it moves."""
    quotes = Quotes(["A", "B"], ALWAYS_OPEN)
    assert polls(quotes, T0, 20, A=T0, B=T0 - 5) == []
    at_s = T0 + LAG_S
    assert poll(quotes, at_s, A=T0, B=T0 - 5) == [Froze(["B"], T0 - 5), Froze(["A"], T0)]
    all_frozen = [quotes.all_frozen]
    assert poll(quotes, at_s + 60, A=T0, B=at_s) == [Moved(["B"])]
    assert list(quotes.frozen) == ["A"]
    all_frozen.append(quotes.all_frozen)
    assert all_frozen == [True, False]
    assert poll(quotes, at_s + 120, A=at_s, B=at_s) == [Moved(["A"])]


@pytest.mark.parametrize(
    ("since", "minutes", "stalled"),
    [
        ("2026-11-24 16:00", 17 * 60, False),  # the night
        ("2026-11-20 16:00", 65 * 60, False),  # the weekend
        ("2026-11-25 16:00", 41 * 60, False),  # Thanksgiving
        ("2026-11-27 13:00", 6 * 60, False),  # the afternoon of a half day
        ("2026-11-24 09:30", 21, True),
        ("2026-11-24 15:50", 17 * 60 + 39, False),  # ten minutes before the close, nine after it
        ("2026-11-24 15:50", 17 * 60 + 51, True),
    ],
)
def test_a_price_may_stand_still_while_the_market_is_closed(
    since: str, minutes: int, *, stalled: bool
) -> None:
    """What counts is the time in which it should have moved."""
    quotes = Quotes(["A"], load())
    since_s = ny(since)
    assert bool(polls(quotes, since_s, minutes, A=since_s)) == stalled


def test_a_price_that_polls_have_not_seen_for_long_is_not_frozen_yet() -> None:
    """What is old when it is first seen gets its twenty minutes: perhaps the clock is wrong."""
    quotes = Quotes(["A"], ALWAYS_OPEN)
    assert polls(quotes, T0, 20, A=T0 - DAY_S) == []
    assert poll(quotes, T0 + LAG_S, A=T0 - DAY_S) == [Froze(["A"], T0 - DAY_S)]


def test_a_trade_of_the_future_is_not_old() -> None:
    """Where Yahoo's clock is ahead of ours, its time has to pass first."""
    quotes = Quotes(["A"], ALWAYS_OPEN)
    ahead_s = T0 + 600
    assert polls(quotes, T0, 30, A=ahead_s) == []
    assert poll(quotes, ahead_s + LAG_S, A=ahead_s) == [Froze(["A"], ahead_s)]


def test_a_price_that_goes_back_in_time_has_not_moved() -> None:
    """An older answer, from some cache of Yahoo's, is no news."""
    quotes = Quotes(["A"], ALWAYS_OPEN)
    poll(quotes, T0, A=T0)
    assert polls(quotes, T0 + 60, 19, A=T0 - 300) == []
    assert poll(quotes, T0 + LAG_S, A=T0 - 300) == [Froze(["A"], T0)]


def test_a_symbol_that_was_not_quoted_is_not_judged() -> None:
    """A poll proves nothing of a symbol that it did not bring."""
    quotes = Quotes(["A", "B"], ALWAYS_OPEN)
    poll(quotes, T0, A=T0, B=T0)
    assert polls(quotes, T0 + LAG_S, 5, A=T0 + LAG_S) == []


def test_symbols_without_a_quote_do_not_save_the_others() -> None:
    """All that there are standing still is all, whatever Yahoo does not know."""
    quotes = Quotes(["A", "NOPE"], ALWAYS_OPEN)
    polls(quotes, T0, 21, A=T0)
    assert quotes.all_frozen


@settings(deadline=None)  # hours of polls
@given(
    gaps=st.lists(st.integers(1, LAG_S - MINUTE_S), min_size=1, max_size=20),
    delay_s=st.integers(0, 900),
)
def test_a_symbol_that_trades_is_never_frozen(gaps: list[int], delay_s: int) -> None:
    """However thinly: a trade within every nineteen minutes, told up to fifteen minutes late."""
    quotes = Quotes(["A"], ALWAYS_OPEN)
    trades = [T0]
    for gap in gaps:
        trades.append(trades[-1] + gap)
    for now_s in range(T0 + delay_s, trades[-1] + delay_s, MINUTE_S):
        told = max(trade for trade in trades if trade + delay_s <= now_s)
        assert poll(quotes, now_s, A=told) == []


def test_no_previous_close_is_told_once_and_asked_for() -> None:
    """Spark leaves it out: chart is asked; where that has none either, the symbol is impaired."""
    quotes = Quotes(["A", "B"], ALWAYS_OPEN)
    quotes.begin()
    quotes.quoted([Quote("A", T0), Quote("B", T0, has_close=True)], T0 * NS)
    assert quotes.stragglers(0) == ["A"]
    quotes.quoted([Quote("A", T0)], T0 * NS)
    quotes.asked("A", 0)
    assert quotes.end(T0 * NS) == [Impaired("no_previous_close", ["A"])]
    quotes.begin()
    quotes.quoted([Quote("A", T0 + 60)], T0 * NS)
    assert quotes.end(T0 * NS) == []
    assert poll(quotes, T0 + 120, A=T0 + 120) == [Restored("no_previous_close", ["A"])]


def test_a_close_that_chart_tells_serves_the_day() -> None:
    """It is the same all day: whom chart has told it is not asked again, until the next day."""
    quotes = Quotes(["A"], ALWAYS_OPEN)
    quotes.begin()
    quotes.quoted([Quote("A", T0)], T0 * NS)
    quotes.quoted([Quote("A", T0, has_close=True)], T0 * NS)
    assert quotes.end(T0 * NS) == []
    for at_s, asked in ((T0 + 60, []), (T0 + DAY_S, ["A"])):
        quotes.begin()
        quotes.quoted([Quote("A", at_s)], at_s * NS)
        assert quotes.stragglers(at_s) == asked
    assert quotes.end((T0 + DAY_S) * NS) == [Impaired("no_previous_close", ["A"])]


def test_a_symbol_that_yahoo_does_not_know_is_told_once() -> None:
    """And again when it is known; meanwhile it is asked for once an hour."""
    quotes = Quotes(["A", "NOPE"], ALWAYS_OPEN)
    quotes.begin()
    quotes.quoted([Quote("A", T0, has_close=True)], T0 * NS)
    assert quotes.stragglers(0) == ["NOPE"]
    quotes.asked("NOPE", 0, unknown=True)
    assert quotes.end(T0 * NS) == [Impaired("unknown", ["NOPE"])]
    assert poll(quotes, T0 + 60, A=T0 + 60) == []
    assert quotes.stragglers(UNKNOWN_AGAIN_S - 1) == []
    assert quotes.stragglers(UNKNOWN_AGAIN_S) == ["NOPE"]
    assert poll(quotes, T0 + 120, A=T0, NOPE=T0) == [Restored("unknown", ["NOPE"])]


def test_what_is_no_longer_wanted_is_restored() -> None:
    """Another list ends the impairments of what it drops; who stays keeps what is known."""
    quotes = Quotes(["A", "B", "NOPE"], ALWAYS_OPEN)
    quotes.begin()
    quotes.quoted([Quote("A", T0), Quote("B", T0)], T0 * NS)
    quotes.asked("NOPE", 0, unknown=True)
    quotes.end(T0 * NS)
    polls(quotes, T0, 21, A=T0, B=T0)
    quotes.begin()
    quotes.quoted([Quote("A", T0), Quote("B", T0)], T0 * NS)
    assert quotes.follow(["A", "C"]) == [Restored("unknown", ["NOPE"])]
    assert list(quotes.frozen) == ["A"]
    assert quotes.symbols == ("A", "C")


def test_quotes_of_symbols_that_were_not_asked_for_change_nothing() -> None:
    """Nor do those that name no symbol."""
    quotes = Quotes(["A"], ALWAYS_OPEN)
    assert poll(quotes, T0, B=T0, A=T0) == []
    quotes.quoted([Quote("")], T0 * NS)
    assert quotes.stragglers(0) == []


def test_no_straggler_waits_for_ever() -> None:
    """However many there are, each has its turn: the most important first, then in a round."""
    symbols = [f"S{number}" for number in range(25)]
    quotes = Quotes(symbols, ALWAYS_OPEN)
    turns = []
    for now_s in range(3):
        quotes.begin()
        turn = quotes.stragglers(now_s)
        for symbol in turn:
            quotes.asked(symbol, now_s)
        turns.append(turn)
    assert turns[0] == symbols[:STRAGGLERS]
    assert turns[1] == symbols[10:20]
    assert turns[2] == [*symbols[20:], *symbols[:5]]


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 4000), st.booleans()), max_size=40)
)
def test_findings_come_in_pairs(answers: list[tuple[str, int, bool]]) -> None:
    """Whatever Yahoo answers, nothing freezes, moves, is impaired or restored twice in a row."""
    quotes = Quotes(["A", "B", "C"], ALWAYS_OPEN)
    state: dict[tuple[str, str], bool] = {}
    for minute, (symbol, traded_at_s, has_close) in enumerate(answers):
        now_s = T0 + minute * 600
        quotes.begin()
        quotes.quoted([Quote(symbol, T0 + traded_at_s, has_close=has_close)], now_s * NS)
        for finding in quotes.end(now_s * NS):
            kind = getattr(finding, "reason", "frozen")
            begins = isinstance(finding, Froze | Impaired)
            for its in finding.symbols:
                assert state.get((kind, its), False) != begins
                state[kind, its] = begins
    assert set(quotes.frozen) == {
        its for (kind, its), on in state.items() if on and kind == "frozen"
    }
