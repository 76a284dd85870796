"""The market's calendar as rows of `market_days`: the regular session of each day.

The views judge by it how much of a day was missed. It is the calendar of the same settings that the
stages go by, so an operator's overrides count, and a simulated market never closes.
"""

from datetime import UTC, date, datetime, timedelta

import msgspec

from infra.market_calendar import NS, Calendar, load

TABLE = "market_days"

#: For ever, as far as a DateTime64(9) reaches; the view cuts it to the day.
_NEVER_NS = 2**62


def rows(calendar: Calendar) -> list[bytes]:
    """Return a line of JSON for every day that the exchange's calendar knows, closed ones too."""
    exchange = load().regular()
    first, last = _day(exchange[0].since_ns), _day(exchange[-1].since_ns)
    hours = {
        _day(session.since_ns): (session.since_ns, session.until_ns)
        for session in calendar.regular()
        if session.until_ns is not None
    }
    closed = (0, 0) if hours else (0, _NEVER_NS)
    lines = []
    for number in range((last - first).days + 1):
        day = first + timedelta(number)
        opens_ns, closes_ns = hours.get(day, closed)
        row = {"day": day, "market": calendar.name, "opens_ns": opens_ns, "closes_ns": closes_ns}
        lines.append(msgspec.json.encode(row))
    return lines


def _day(opens_ns: int) -> date:
    """Return the day of an opening; New York opens late enough for it to be the same in UTC."""
    return datetime.fromtimestamp(opens_ns // NS, UTC).date()
