r"""What stands in a file of output, line by line: ours as it is, anybody else's wrapped; pure.

A line of ours (`infra/logs.py`) is JSON, is without secrets and goes on unchanged. Whatever else a
process prints (Kafka, Prometheus, an interpreter that cannot start) is put into such a line here:
`event` is `output`, `text` what was printed, without what looks like a secret. `file` and `offset`
tell it from the same words printed again, so that a line that is shipped twice is the same line.
"""

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

LEVELS: Final = ("debug", "info", "warning", "error", "critical")
#: How others call them.
_KNOWN_AS: Final[Mapping[str, str]] = {
    **{level: level for level in LEVELS},
    "trace": "debug",
    "warn": "warning",
    "err": "error",
    "fatal": "critical",
    "panic": "critical",
}

#: More of one line is cut: the file it stands in has all of it.
TEXT: Final = 16 * 1024
#: The most that is looked at for an end of a line. Ours have 128 KiB at most.
LINE_BYTES: Final = 256 * 1024
#: What stands behind this is the message, and may name any time and level.
_HEAD: Final = 120

_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)"  # a zone, or no time
)
_LEVEL = re.compile(
    r"\blevel=\"?([a-z]+)|(?<![\w-])(TRACE|DEBUG|INFO|WARN(?:ING)?|ERROR|FATAL|CRITICAL)(?![\w-])"
)
_TRACEBACK: Final = "Traceback (most recent call last):"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND_NS: Final = 1000
_NANOSECONDS: Final = range(2**63)


class Before(msgspec.Struct, frozen=True, kw_only=True):
    """What a line means that says neither when nor how bad: it goes on with the one before.

    Attributes:
        at_ns: when that one was said.
        level: how bad it was; `info` where it was one of ours, which is whole.

    """

    at_ns: int
    level: str = "info"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line, as it is shipped.

    Attributes:
        text: all of it; JSON, and no end of a line in it.
        service: who said it.
        level: one of `LEVELS`.
        at_ns: when, since the epoch.
        trace_id: of the trace that it belongs to; empty where there is none.
        symbol: the symbol that it is about; empty likewise.

    """

    text: str
    service: str
    level: str
    at_ns: int
    trace_id: str = ""
    symbol: str = ""


class _Ours(msgspec.Struct, frozen=True):
    timestamp: str
    level: str
    service: str
    event: str
    trace_id: Any = ""
    symbol: Any = ""


_decode = msgspec.json.Decoder(_Ours).decode


def split(chunk: bytes, *, ended: bool) -> list[bytes]:
    """Return the whole lines at the beginning of a chunk, each with its end.

    Args:
        chunk: from where a line begins.
        ended: whether nothing will ever follow: what has no end is a line then.

    """
    parts = chunk.split(b"\n")
    lines = [part + b"\n" for part in parts[:-1]]
    if parts[-1] and (ended or len(parts[-1]) >= LINE_BYTES):
        lines.append(parts[-1])
    return lines


def understand(
    raw: bytes, before: Before, *, service: str, offset: int, redact: Callable[[str], str]
) -> tuple[Line | None, Before]:
    """Return a line, and what the next one may go on with; None for a blank one.

    Args:
        raw: as it stands in the file.
        before: what it may go on with.
        service: whose output the file is.
        offset: where in the file it begins.
        redact: takes out what may not be said.

    """
    raw = raw.strip()
    if not raw:
        return None, before
    ours = _ours(raw)
    if ours is not None:
        return ours, Before(at_ns=ours.at_ns)
    return _wrapped(raw, before, service=service, offset=offset, redact=redact)


def _ours(raw: bytes) -> Line | None:
    try:
        text = raw.decode()
        said = _decode(text)
    except (UnicodeDecodeError, msgspec.DecodeError):  # of which a ValidationError is one
        return None
    at_ns = _moment(said.timestamp)
    if at_ns is None or said.level not in LEVELS or not said.service:
        return None
    return Line(
        text=text,
        service=said.service,
        level=said.level,
        at_ns=at_ns,
        trace_id=_text(said.trace_id),
        symbol=_text(said.symbol),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _wrapped(
    raw: bytes, before: Before, *, service: str, offset: int, redact: Callable[[str], str]
) -> tuple[Line, Before]:
    text = raw[: 2 * TEXT].decode(errors="backslashreplace")
    time, level = _TIME.search(text[:_HEAD]), _LEVEL.search(text[:_HEAD])
    at_ns = _moment(time.group()) if time else None
    found = next(filter(None, level.groups()), "") if level else ""
    now = Before(
        at_ns=before.at_ns if at_ns is None else at_ns,
        level=_level(text, found, before, begins=at_ns is not None),
    )
    shown = redact(text)
    if len(raw) > TEXT:
        shown = f"{shown[: TEXT // 2]}... ({len(raw):,} bytes)"
    said = {
        "timestamp": _written(now.at_ns),
        "level": now.level,
        "service": service,
        "event": "output",
        "text": shown,
        "file": f"{service}.log",
        "offset": offset,
    }
    line = Line(text=json.dumps(said), service=service, level=now.level, at_ns=now.at_ns)
    return line, now


def _level(text: str, found: str, before: Before, *, begins: bool) -> str:
    level = _KNOWN_AS.get(found.lower())
    if level is not None:
        return level
    if text.startswith(_TRACEBACK):
        return "error"
    return "info" if begins else before.level


def _moment(text: str) -> int | None:
    """Return nanoseconds since the epoch, of whole microseconds, or None where it is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    since = moment - _EPOCH
    micros = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    at_ns = micros * _MICROSECOND_NS
    return at_ns if at_ns in _NANOSECONDS else None


def _written(at_ns: int) -> str:
    seconds, rest = divmod(at_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // _MICROSECOND_NS)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
