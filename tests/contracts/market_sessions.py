"""The days of the New York Stock Exchange, generated from `exchange_calendars`.

`tests.contracts.generate` writes them to infra/market_sessions.csv. The library needs pandas, so it
is a development dependency, and nothing at run time knows of it.
"""

from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars

from infra.market_calendar import (
    HALF_DAY_POST_CLOSES,
    HEADER,
    POST_CLOSES,
    PRE_OPENS,
    USUAL_CLOSE,
)

FIRST = "2020-01-01"
#: As far as the exchange's rules for holidays can be relied on; raise it when the horizon nears.
LAST = "2029-12-31"

_NEW_YORK = ZoneInfo("America/New_York")


def exchange() -> Any:
    """Return the library's own calendar."""
    return exchange_calendars.get_calendar("XNYS", start=FIRST, end=LAST)


def document() -> str:
    """Return the sessions file: a line a trading day, in New York's time."""
    lines = [HEADER]
    for day, row in exchange().schedule.iterrows():
        opening, close = (row[name].astimezone(_NEW_YORK) for name in ("open", "close"))
        minutes = [moment.hour * 60 + moment.minute for moment in (opening, close)]
        end = POST_CLOSES if minutes[1] >= USUAL_CLOSE else HALF_DAY_POST_CLOSES
        offset = -int(opening.utcoffset().total_seconds()) // 60
        hours = ",".join(f"{m // 60:02}:{m % 60:02}" for m in (PRE_OPENS, *minutes, end))
        lines.append(f"{day:%Y-%m-%d},{offset},{hours}")
    return "\n".join(lines) + "\n"
