"""Market time: sessions by bisection, overrides, and how far the calendar reaches."""

import time
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.market_calendar import (
    ALWAYS_OPEN,
    HEADER,
    NS,
    SESSIONS_FILE,
    BeyondCalendarError,
    Calendar,
    CalendarError,
    load,
    read_days,
    read_overrides,
    sessions,
)
from tests.contracts import market_sessions

HALF_YEAR = timedelta(days=183)
HOUR_NS = 3600 * NS
NEW_YORK = ZoneInfo("America/New_York")


def ns(text: str) -> int:
    """Return a moment of New York's clock as ns since the epoch."""
    return int(datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).timestamp()) * NS


@pytest.mark.parametrize(
    ("moment", "state"),
    [
        ("2026-11-24 03:59:59", "closed"),
        ("2026-11-24 04:00:00", "pre"),
        ("2026-11-24 09:29:59", "pre"),
        ("2026-11-24 09:30:00", "regular"),
        ("2026-11-24 15:59:59", "regular"),
        ("2026-11-24 16:00:00", "post"),
        ("2026-11-24 20:00:00", "closed"),
        ("2026-11-26 12:00:00", "closed"),  # Thanksgiving
        ("2026-11-27 12:59:59", "regular"),  # the half day after it
        ("2026-11-27 13:00:00", "post"),
        ("2026-11-27 17:00:00", "closed"),
        ("2026-11-28 12:00:00", "closed"),  # Saturday
        ("2026-11-29 12:00:00", "closed"),  # Sunday
        ("2026-07-06 09:30:00", "regular"),  # in summer time
        ("2026-03-06 09:30:00", "regular"),  # the last day of winter time
        ("2026-03-09 09:29:59", "pre"),  # the first day of summer time
        ("2026-03-09 09:30:00", "regular"),
        ("2026-11-02 09:29:59", "pre"),  # the first day of winter time
        ("2022-06-20 12:00:00", "closed"),  # Juneteenth, the first time that it was kept
        ("2025-01-09 12:00:00", "closed"),  # a day of mourning that nobody had foreseen
    ],
)
def test_every_hour_has_its_session(moment: str, state: str) -> None:
    """Nights, weekends, holidays, half days, both changes of the clock."""
    assert load().state(ns(moment)) == state


@settings(deadline=None)  # the library takes its time, the first time most of all
@given(minute=st.integers(0, 9 * 365 * 24 * 60))
def test_the_library_that_it_was_made_from_agrees(minute: int) -> None:
    """At any minute, open is open for `exchange_calendars` too."""
    at_ns = int(datetime(2020, 1, 3, tzinfo=UTC).timestamp()) * NS + minute * 60 * NS
    theirs = _exchange().is_open_at_time(pd.Timestamp(at_ns, tz="UTC"), side="left")
    assert (load().state(at_ns) == "regular") == theirs


@cache
def _exchange() -> Any:
    return market_sessions.exchange()


def test_the_horizon_is_more_than_half_a_year_away() -> None:
    """Fails half a year before the calendar ends: raise LAST in tests/contracts/market_sessions."""
    horizon_ns = load().horizon_ns
    assert horizon_ns is not None
    horizon = datetime.fromtimestamp(horizon_ns / NS, UTC)
    assert horizon - datetime.now(UTC) > HALF_YEAR


@pytest.mark.parametrize("at_ns", [0, 2**62], ids=["before it", "after it"])
def test_beyond_the_calendar_nothing_is_guessed(at_ns: int) -> None:
    """A moment outside raises, and says what to do."""
    with pytest.raises(BeyondCalendarError, match="make generate"):
        load().state(at_ns)


def test_open_time_leaves_out_the_night_and_the_weekend() -> None:
    """From Friday's last half hour to Monday's first hour it is an hour and a half."""
    since, until = ns("2026-11-20 15:30"), ns("2026-11-23 10:30")
    assert load().open_ns(since, until) == 3 * HOUR_NS // 2
    assert load().open_ns(until, since) == 0
    assert load().open_ns(ns("2026-11-28 00:00"), ns("2026-11-29 23:00")) == 0


_SPAN = st.integers(ns("2026-01-05 00:00"), ns("2026-12-28 00:00"))


@given(st.lists(_SPAN, min_size=3, max_size=3))
def test_open_time_adds_up(moments: list[int]) -> None:
    """Between two moments it is what it is to one in between and on from there, never more."""
    first, middle, last = sorted(moments)
    calendar = load()
    whole = calendar.open_ns(first, last)
    assert whole == calendar.open_ns(first, middle) + calendar.open_ns(middle, last)
    assert 0 <= whole <= last - first


@given(_SPAN)
def test_a_session_holds_its_moment_and_the_next_one_follows(at_ns: int) -> None:
    """There are no holes between sessions, and two neighbours differ."""
    session = load().session(at_ns)
    assert session.until_ns is not None
    assert session.since_ns <= at_ns < session.until_ns
    following = load().session(session.until_ns)
    assert following.since_ns == session.until_ns
    assert following.state != session.state


def test_the_simulated_market_never_closes() -> None:
    """Every moment is regular, and all time is open."""
    assert ALWAYS_OPEN.session(ns("2026-11-29 03:00")) == ("regular", 0, None)
    assert ALWAYS_OPEN.open_ns(5, 12) == 7
    assert ALWAYS_OPEN.open_ns(12, 5) == 0


def test_a_look_up_costs_little() -> None:
    """Aim: under 1 us of CPU; the best of five rounds, with room for a busy machine."""
    calendar, at_ns, look_ups = load(), ns("2026-11-24 12:00"), 20_000
    best = min(_seconds(calendar, at_ns, look_ups) for _ in range(5))
    assert best / look_ups < 2e-6


def _seconds(calendar: Calendar, at_ns: int, look_ups: int) -> float:
    started = time.thread_time()
    for offset in range(look_ups):
        calendar.state(at_ns + offset)
    return time.thread_time() - started


def test_an_operator_closes_a_day_and_shortens_another(tmp_path: Path) -> None:
    """What nobody could foresee is a line in a file; all other days stay as they are."""
    overrides = tmp_path / "overrides"
    overrides.write_text(
        "# the president died\n2026-11-24 closed\n\n2026-11-25 09:30-12:00 # a storm\n"
        "2026-11-26 10:00-16:00\n"
    )
    calendar = load(overrides)
    assert calendar.state(ns("2026-11-24 12:00")) == "closed"
    assert calendar.state(ns("2026-11-25 11:59")) == "regular"
    assert calendar.state(ns("2026-11-25 12:00")) == "post"
    assert calendar.state(ns("2026-11-25 17:00")) == "closed"
    assert calendar.state(ns("2026-11-26 10:00")) == "regular"
    assert calendar.state(ns("2026-11-27 12:00")) == "regular"
    assert load().state(ns("2026-11-24 12:00")) == "regular"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("2026-11-24", "neither"),
        ("24.11.2026 closed", "neither"),
        ("2026-13-01 closed", "month"),
        ("2026-11-24 shut", "neither"),
        ("2026-11-24 16:00-09:30", "an opening and then a close"),
        ("2026-11-24 09:30-24:30", "no time of day"),
        ("2026-11-24 09:75-16:00", "no time of day"),
        ("2026-11-24 02:00-16:00", "from 04:00 to 20:00"),
        ("2046-11-24 closed", "reaches from 2020-01-02"),
        ("1999-11-24 closed", "reaches from 2020-01-02"),
    ],
)
def test_a_wrong_override_is_named(line: str, complaint: str) -> None:
    """The line, its number, what is wrong, and what is expected."""
    days = read_days(SESSIONS_FILE.read_text(encoding="utf-8"))
    with pytest.raises(CalendarError, match=complaint) as refused:
        read_overrides(f"# fine\n{line}\n", days)
    assert f"line 2: {line!r} is not" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("day,open\n", "line 1: 'day,open' is not"),
        (f"{HEADER}\n2026-11-24,300,04:00,09:30,16:00\n", "line 2: "),
        (f"{HEADER}\n2026-11-24,x,04:00,09:30,16:00,20:00\n", "line 2: "),
        (f"{HEADER}\nyesterday,300,04:00,09:30,16:00,20:00\n", "line 2: "),
    ],
)
def test_a_wrong_sessions_file_is_named(text: str, complaint: str) -> None:
    """Nobody edits it by hand; whoever does is told what is wrong."""
    with pytest.raises(CalendarError, match=complaint):
        read_days(text)


def test_a_whole_day_of_post_is_left_out_where_it_is_empty() -> None:
    """A session that would have no length is none: a close at 20:00 has no post."""
    days = read_days(SESSIONS_FILE.read_text(encoding="utf-8"))
    changed = read_overrides("2026-11-24 09:30-20:00", days)
    calendar = Calendar("XNYS", sessions({**days, **changed}))
    assert calendar.state(ns("2026-11-24 20:00")) == "closed"
    assert changed.keys() == {date(2026, 11, 24)}
