"""When the daily and monthly reports are due, and of which time the digest tells. Pure.

At nine in New York, whatever the clocks there have done in the night, and a minute later in fact,
so that the history has what happened before nine. Each report is told once: until when it was told
is remembered, and who was away at nine tells it when they are back. The digest then has all that
happened since the last one, however long ago that was; the reports of the levels are as of now, so
that of several missed ones only the latest is told.
"""

from datetime import date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

NS = 1_000_000_000
NEW_YORK = ZoneInfo("America/New_York")
NINE = time(9)
SETTLED_NS = 60 * NS

Kind = Literal["daily", "monthly", "digest"]
KINDS: tuple[Kind, ...] = ("daily", "monthly", "digest")


class Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Until when each report was told, in ns."""

    daily: int
    monthly: int
    digest: int

    def until(self, kind: Kind) -> int:
        """Return until when one was told."""
        until: int = getattr(self, kind)
        return until

    def told(self, due: "Due") -> "Sent":
        """Return the same once one more is told."""
        return msgspec.structs.replace(self, **{due.kind: due.until_ns})


class Due(msgspec.Struct, frozen=True, kw_only=True):
    """A report to be told now, and of which time."""

    kind: Kind
    since_ns: int
    until_ns: int


def nine(kind: Kind, now_ns: int) -> int:
    """Return the last nine o'clock that a report is due at: of a day, or of a month's first."""
    now = datetime.fromtimestamp((now_ns - SETTLED_NS) // NS, NEW_YORK)
    day = now.date() if now.time() >= NINE else now.date() - timedelta(days=1)
    if kind == "monthly":
        day = day.replace(day=1)
    return _nine(day)


def _nine(day: date) -> int:
    return int(datetime.combine(day, NINE, NEW_YORK).timestamp()) * NS


def born(now_ns: int) -> Sent:
    """Return what counts as told where nothing was yet: all until the last nine o'clock."""
    return Sent(**{kind: nine(kind, now_ns) for kind in KINDS})


def due(sent: Sent, now_ns: int) -> list[Due]:
    """Return what is to be told now."""
    return [
        Due(kind=kind, since_ns=sent.until(kind), until_ns=until)
        for kind in KINDS
        if (until := nine(kind, now_ns)) > sent.until(kind)
    ]


def pause_s(now_ns: int) -> float:
    """Return how long it is until something may be due next."""
    last = datetime.fromtimestamp(nine("daily", now_ns) // NS, NEW_YORK)
    following = _nine(last.date() + timedelta(days=1)) + SETTLED_NS
    return (following - now_ns) / NS
