"""Alpaca's times: RFC 3339 text with 0 to 9 fractional digits in JSON, a Timestamp in MessagePack.

Pure. Both become int64 nanoseconds since the epoch; `datetime` would cut them to microseconds.
"""

import re
import struct
from datetime import UTC, date, datetime
from functools import lru_cache

from msgspec.msgpack import Ext

NS = 1_000_000_000

#: `t` before it is read: text in JSON, an extension in MessagePack.
Time = str | Ext


def rfc3339(at_ns: int) -> str:
    """Return a moment as Alpaca's REST takes it: UTC, with nine fractional digits."""
    seconds, fraction = divmod(at_ns, NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09}Z"


def time_ns(t: Time) -> int:
    """Return nanoseconds since the epoch. Raises ValueError where `t` is no time."""
    return _text_ns(t) if isinstance(t, str) else _ext_ns(t)


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d{1,9}))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def _text_ns(text: str) -> int:
    # Almost every time is UTC, and thousands share a second: look the second up, add the fraction.
    second = _seconds.get(text[:19])
    fraction = text[20:-1]
    if second is not None and text[-1:] == "Z" and text[19:20] == "." and _is_fraction(fraction):
        return second + int(fraction.ljust(9, "0"))
    return _any_text_ns(text)


#: Nanoseconds of the seconds seen lately, by their text.
_seconds: dict[str, int] = {}
_SECONDS_KEPT = 4_096


def _is_fraction(text: str) -> bool:
    return 0 < len(text) <= 9 and text.isascii() and text.isdigit()  # noqa: PLR2004


def _any_text_ns(text: str) -> int:
    found = _RFC3339.fullmatch(text)
    if not found:
        message = f"time {text!r} is not RFC 3339 with at most 9 fractional digits"
        raise ValueError(message)
    day, hour, minute, second, fraction, sign, off_hours, off_minutes = found.groups()
    seconds = _day_s(day) + int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset = int(off_hours) * 3600 + int(off_minutes) * 60
        seconds -= offset if sign == "+" else -offset
    elif text.startswith(f"{day}T"):
        if len(_seconds) >= _SECONDS_KEPT:
            _seconds.clear()
        _seconds[text[:19]] = seconds * NS
    return seconds * NS + (int(fraction.ljust(9, "0")) if fraction else 0)


@lru_cache(maxsize=64)
def _day_s(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * 86_400


_TIMESTAMP = -1  # MessagePack's extension type for times


def _ext_ns(ext: Ext) -> int:
    data = bytes(ext.data)
    if ext.code == _TIMESTAMP:
        match len(data):
            case 4:
                return int.from_bytes(data, "big") * NS
            case 8:
                packed = int.from_bytes(data, "big")
                return (packed & 0x3_FFFF_FFFF) * NS + (packed >> 34)
            case 12:
                nanos, seconds = struct.unpack(">Iq", data)
                return int(seconds) * NS + int(nanos)
    message = f"extension {ext.code} of {len(data)} bytes is no MessagePack timestamp"
    raise ValueError(message)
