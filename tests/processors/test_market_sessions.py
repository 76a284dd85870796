"""The market's day, told as it begins."""

import msgspec

from infra import market_calendar
from processors.events import SessionChanged
from processors.evidence import NS
from processors.sessions import session_changed

T0 = 1_000_000 * NS

#: 2026-11-24 09:30 in New York, and the day's other boundaries.
OPENING = 1_795_530_600 * NS
CLOSE, END = OPENING + 6 * 3600 * NS + 1800 * NS, OPENING + 10 * 3600 * NS + 1800 * NS


def test_a_session_is_told_as_it_begins_and_once() -> None:
    """Whoever looks four times a second writes one event a session, at its first look."""
    told, last = [], None
    for now in range(OPENING - 60 * NS, END + 60 * NS, 15 * NS):
        changed = session_changed(market_calendar.load(), last, now)
        if changed:
            told.append(changed)
            last = changed
    assert [(s.state, s.since_ns, s.until_ns) for s in told[1:]] == [
        ("regular", OPENING, CLOSE),
        ("post", CLOSE, END),
        ("closed", END, END + 8 * 3600 * NS),
    ]
    assert [s.at_ns for s in told[1:]] == [OPENING, CLOSE, END]
    assert told[0].state == "pre"


def test_a_restart_tells_no_session_again() -> None:
    """What the log has is not written once more, not even by a clock that was set back."""
    calendar = market_calendar.load()
    first = session_changed(calendar, None, OPENING)
    assert first is not None
    assert session_changed(calendar, first, OPENING + NS) is None
    assert session_changed(calendar, first, OPENING - NS) is None


def test_an_override_that_shortens_the_day_is_told() -> None:
    """The session is the same, but ends earlier than the log says."""
    calendar = market_calendar.load()
    told = session_changed(calendar, None, OPENING)
    assert told is not None
    longer = replace_end(told, CLOSE + NS)
    assert session_changed(calendar, longer, OPENING + NS) is not None


def replace_end(session: SessionChanged, until_ns: int) -> SessionChanged:
    """Return a session that ends at another moment."""
    return msgspec.structs.replace(session, until_ns=until_ns)


def test_a_market_that_never_closes_has_one_session() -> None:
    """It is told once, without an end."""
    told = session_changed(market_calendar.ALWAYS_OPEN, None, T0)
    assert told is not None
    assert (told.market, told.state, told.until_ns) == ("always", "regular", None)
    assert session_changed(market_calendar.ALWAYS_OPEN, told, T0 + 10**18) is None
