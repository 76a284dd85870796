"""The market's day as events, for those who know no calendar; pure."""

from infra.market_calendar import Calendar
from processors.events import SessionChanged


def session_changed(
    calendar: Calendar, last: SessionChanged | None, now: int
) -> SessionChanged | None:
    """Return the market's session at `now`, where the log does not have it yet.

    Args:
        calendar: the market's.
        last: the last of this market in the log.
        now: nanoseconds since the epoch. Where it is before `last`, the clock was set back, and the
            log is believed.

    """
    state, since_ns, until_ns = calendar.session(now)
    if last is not None and (
        now < last.at_ns
        or (last.state, last.since_ns, last.until_ns) == (state, since_ns, until_ns)
    ):
        return None
    return SessionChanged(
        market=calendar.name, state=state, since_ns=since_ns, until_ns=until_ns, at_ns=now
    )
