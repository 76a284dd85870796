"""Which bars are fetched, and how often."""

from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.market_calendar import ALWAYS_OPEN, load
from ingest.yahoo.history import (
    AGAIN_S,
    HOURLY_BUDGET,
    REACH_S,
    SETTLE_S,
    SLOWEST_S,
    History,
    Window,
    spacing_s,
)
from ingest.yahoo.wire import BAR_S, LAG_S, SPARK_SYMBOLS


def ny(text: str) -> int:
    """Return a moment of New York's clock, in seconds since the epoch."""
    moment = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("America/New_York"))
    return int(moment.timestamp())


DAY = "2026-11-24"
OPENING, TEN, CLOSE = ny(f"{DAY} 09:30"), ny(f"{DAY} 10:00"), ny(f"{DAY} 16:00")


@pytest.mark.parametrize(
    ("now", "window"),
    [
        (f"{DAY} 10:00:30", (OPENING, TEN)),
        (f"{DAY} 10:00:29", (OPENING, TEN - BAR_S)),
        # the first bar is not over and settled: it is still yesterday, of which some may be missing
        (f"{DAY} 09:35:29", (ny("2026-11-23 09:30"), OPENING)),
        (f"{DAY} 09:35:30", (OPENING, OPENING + BAR_S)),
        (f"{DAY} 18:00:30", (OPENING, ny(f"{DAY} 18:00"))),  # today's session, late
        (f"{DAY} 09:00:30", (ny("2026-11-23 09:30"), ny(f"{DAY} 09:00"))),  # not a day ago yet
        (f"{DAY} 09:40:30", (OPENING, ny(f"{DAY} 09:40"))),
        ("2026-11-29 12:00:30", None),  # on a Sunday there was nothing for a day
        ("2026-11-27 15:00:30", (ny("2026-11-27 09:30"), ny("2026-11-27 15:00"))),  # a half day
    ],
)
def test_the_first_window_is_the_last_session(now: str, window: tuple[int, int] | None) -> None:
    """At the start: what there has been of the session, up to the last bar that is over."""
    found = History(["A"], load()).next(ny(now))
    assert (found and found[1:]) == window


def test_every_bar_is_asked_for_once() -> None:
    """Through a whole day, without a hole, and no more after the close."""
    history = History(["A"], load())
    windows = []
    for now_s in range(OPENING + BAR_S + SETTLE_S, CLOSE + 4 * 3600, 30):
        if window := history.next(now_s):
            windows.append(window)
            history.answered(window, now_s)
    assert windows[0].since_s == OPENING
    assert windows[-1].until_s == CLOSE
    assert all(one.until_s == two.since_s for one, two in pairwise(windows))
    assert len(windows) == (CLOSE - OPENING) // BAR_S


def test_what_the_log_has_is_not_fetched_again() -> None:
    """After a restart the first window begins where the last that was published ended."""
    history = History(["A", "B"], load())
    now_s = ny(f"{DAY} 11:00:30")
    assert history.began_s(now_s) == OPENING
    for until_s in (TEN, TEN + BAR_S, TEN - BAR_S):
        history.published("A", until_s)
    history.published("C", TEN)
    assert history.next(now_s) == Window("A", TEN + BAR_S, ny(f"{DAY} 11:00"))
    history.published("A", ny(f"{DAY} 11:00"))
    assert history.next(now_s) == Window("B", OPENING, ny(f"{DAY} 11:00"))


def test_bars_that_were_not_told_are_asked_for_again() -> None:
    """Once a bar's length, from the last that was told on, until Yahoo cannot be further behind."""
    history = History(["A"], load())
    asked = []
    for now_s in range(CLOSE - 600 + SETTLE_S, CLOSE + 4 * 3600, 30):
        if window := history.next(now_s):
            asked.append(window)
            history.answered(window, CLOSE - 700)
    assert {window.since_s for window in asked[1:]} == {CLOSE - 900}
    assert [window.until_s for window in asked] == [
        CLOSE - 600 + BAR_S * place for place in range(2 + LAG_S // BAR_S + 1)
    ]


def test_a_frozen_yahoo_costs_no_bar() -> None:
    """While it stands still its bars are asked for from where it stopped; then they all come."""
    history = History(["A"], load())
    frozen_s, moves_s = TEN, TEN + 2 * 3600
    for now_s in range(TEN + SETTLE_S, moves_s, 30):
        if window := history.next(now_s):
            history.answered(window, frozen_s)
    last = history.next(moves_s + SETTLE_S)
    assert last == Window("A", TEN, moves_s)
    # and on the next morning, where it stands still beyond the close
    history.answered(last, frozen_s)
    assert history.next(CLOSE + LAG_S + SETTLE_S) == Window("A", TEN, CLOSE + LAG_S)
    history.answered(Window("A", TEN, CLOSE + LAG_S), frozen_s)
    assert history.next(CLOSE + 3600) is None
    morning_s = OPENING + REACH_S + BAR_S
    assert history.next(morning_s + SETTLE_S) == Window("A", TEN, morning_s)


def test_after_an_outage_one_request_brings_all() -> None:
    """Several bars at once, but not more than a day of them."""
    history = History(["A"], ALWAYS_OPEN)
    first = history.next(TEN + SETTLE_S)
    assert first == Window("A", TEN - REACH_S, TEN)
    history.answered(first, TEN)
    assert history.next(TEN + SETTLE_S + 3600) == Window("A", TEN, TEN + 3600)
    assert history.next(TEN + SETTLE_S + 3 * REACH_S) == Window(
        "A", TEN + 2 * REACH_S, TEN + 3 * REACH_S
    )


def test_who_was_not_asked_for_longest_comes_first() -> None:
    """A failure costs a symbol its own turn alone; an answered one waits for the next bar."""
    history = History(["A", "B", "C"], ALWAYS_OPEN)
    now_s = TEN + SETTLE_S
    turns = []
    for moment in (now_s, now_s + 1, now_s + 2, now_s + 3, now_s + AGAIN_S, now_s + AGAIN_S + 1):
        window = history.next(moment)
        turns.append(window and window.symbol)
        if window is None:
            continue
        if moment == now_s:
            history.failed(window, moment)
        else:
            history.answered(window, moment)
    assert turns == ["A", "B", "C", None, "A", "B"]


def test_another_list_keeps_what_is_there() -> None:
    """New symbols begin with the session, the others go on; late answers of others are nothing."""
    history = History(["A", "B"], load())
    now_s = TEN + SETTLE_S
    for _ in range(2):
        window = history.next(now_s)
        assert window is not None
        history.answered(window, now_s)
    history.follow(["C", "A"])
    assert history.next(now_s) == Window("C", OPENING, TEN)
    history.answered(Window("B", OPENING, TEN), now_s)
    history.failed(Window("B", OPENING, TEN), now_s)
    history.answered(Window("C", OPENING, TEN), now_s)
    assert history.next(now_s) is None
    assert history.next(now_s + BAR_S) == Window("C", TEN, TEN + BAR_S)


@pytest.mark.parametrize(
    ("symbols", "poll_s", "seconds"),
    [(30, 60, 10), (500, 60, 7.2), (500, 15, SLOWEST_S), (1, 60, 300), (20, 15, 15), (0, 60, 300)],
)
def test_the_budget_is_shared(symbols: int, poll_s: float, seconds: float) -> None:
    """Thirty symbols' bars take one call each ten seconds; five hundred's what the polls leave."""
    assert spacing_s(symbols, poll_s) == pytest.approx(seconds)


@given(symbols=st.integers(1, 10_000), poll_s=st.floats(1, 3600))
def test_bars_never_burst_the_budget(symbols: int, poll_s: float) -> None:
    """With the polls they stay within it, unless the polls alone are near or beyond it."""
    bars_an_hour = 3600 / spacing_s(symbols, poll_s)
    polls_an_hour = -(-symbols // SPARK_SYMBOLS) * 3600 / poll_s
    least = 3600 / SLOWEST_S
    assert bars_an_hour <= max(least, HOURLY_BUDGET - polls_an_hour) + 1e-6
    assert spacing_s(symbols, poll_s) * symbols >= BAR_S - 1e-6
