"""What `twinfeed logs` asks, and how a line is shown; pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
#: Nothing is kept for longer than its 90 days.
_LONGEST_S: Final = 366 * 86_400
#: What stands at the beginning of a shown line, or behind it.
_AHEAD: Final = frozenset({"timestamp", "level", "service", "event", "exception"})
#: Of a wrapped line, where it was found.
_PLACE: Final = frozenset({"text", "file", "offset"})


#: The lines of one exception were all said at once: their places tell which comes first.
_ORDER: Final = "at DESC, service DESC, JSONExtractUInt(line, 'offset') DESC, line DESC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Which lines are wanted.

    Attributes:
        seconds: said within so many seconds.
        limit: so many at most, the last.
        level: at least so bad; empty: whatever they are.
        service: who said them; empty: anybody.
        grep: a text that they hold, in whatever case; empty: any.

    """

    seconds: int
    limit: int
    level: str = ""
    service: str = ""
    grep: str = ""

    @property
    def statement(self) -> str:
        """The question in SQL: its lines come with the last one first."""
        conditions = ["at >= now64(6) - toIntervalSecond({seconds:UInt32})"]
        if self.level:
            conditions.append("has({levels:Array(String)}, level)")
        if self.service:
            conditions.append("service = {service:String}")
        if self.grep:
            conditions.append("positionCaseInsensitiveUTF8(line, {grep:String}) > 0")
        return (
            "SELECT line FROM logs FINAL WHERE "  # noqa: S608  # no word of it is the user's
            f"{' AND '.join(conditions)} ORDER BY {_ORDER} LIMIT {{limit:UInt32}}"
        )

    @property
    def parameters(self) -> Mapping[str, str]:
        """The values in it."""
        levels = LEVELS[LEVELS.index(self.level) :] if self.level else ()
        found = {
            "levels": str(list(levels)) if levels else "",
            "service": self.service,
            "grep": json.dumps(self.grep)[1:-1],  # as it is written in a line
        }
        given = {name: value for name, value in found.items() if value}
        return {"seconds": str(self.seconds), "limit": str(self.limit), **given}


#: Who has said anything.
SERVICES: Final = "SELECT DISTINCT service FROM logs WHERE service != '' ORDER BY service"


def seconds(span: str) -> int | None:
    """Return the seconds that `30s`, `15m`, `1h` or `7d` means, or None where it is no span."""
    found = _SPAN.fullmatch(span)
    if found is None:
        return None
    count = int(found.group(1)) * _SECONDS[found.group(2)]
    return count if 0 < count <= _LONGEST_S else None


def shown(line: str) -> str:
    """Return a line for a person: when, how bad, who, what, and the rest as `name=value`.

    Whatever it holds, a terminal is told nothing but text; an exception is on lines of its own.
    """
    try:
        said = json.loads(line)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        return _safe(line)
    when, level, service, event = (
        _safe(str(said.get(name, ""))) for name in ("timestamp", "level", "service", "event")
    )
    left_out = _AHEAD
    if event == "output" and "text" in said:
        event, left_out = _safe(str(said["text"])), _AHEAD | _PLACE
    fields = [
        f"{_safe(name)}={_value(value)}" for name, value in said.items() if name not in left_out
    ]
    head = " ".join([f"{when} {level:<8} {service:<16} {event}", *fields])
    exception = str(said.get("exception", "")).splitlines()
    return "\n".join([head, *(f"    {_safe(each)}" for each in exception)])


def _value(value: Any) -> str:
    if isinstance(value, str) and value and value.isprintable() and not set(value) & set(' "='):
        return value
    return _safe(json.dumps(value, ensure_ascii=isinstance(value, str) and not value.isprintable()))


def _safe(text: str) -> str:
    """Write what is no printable character as JSON does."""
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
