"""Alpaca's stream messages ("Real-time Stock Data" in its docs), read into canonical ticks.

Pure. The two encodings differ in `t` alone: RFC 3339 text with 0 to 9 fractional digits in JSON, a
Timestamp in MessagePack. Both become int64 nanoseconds; `datetime` would cut them to microseconds.
"""

import re
import struct
from datetime import date
from functools import lru_cache
from typing import Any

import msgspec
from msgspec.msgpack import Ext

from processors import events

NS = 1_000_000_000

#: `t` before it is read: text in JSON, an extension in MessagePack.
Time = str | Ext


class _Message(msgspec.Struct, frozen=True):
    S: str
    t: Time


class _Trade(_Message, frozen=True, tag_field="T", tag="t"):
    i: int
    x: str
    p: float
    s: float
    z: str = ""
    c: list[str] | None = None


class _Quote(_Message, frozen=True, tag_field="T", tag="q"):
    bx: str
    bp: float
    bs: float
    ax: str
    ap: float
    as_: float = msgspec.field(name="as")
    z: str = ""
    c: list[str] | None = None


class _Bar(_Message, frozen=True, tag_field="T", tag="b"):
    o: float
    h: float
    l: float  # noqa: E741  # the vendor's name
    c: float
    v: float
    n: int | None = None
    vw: float | None = None


class _UpdatedBar(_Bar, frozen=True, tag_field="T", tag="u"):
    pass


class _DailyBar(_Bar, frozen=True, tag_field="T", tag="d"):
    pass


class _Status(_Message, frozen=True, tag_field="T", tag="s"):
    sc: str
    sm: str = ""
    rc: str = ""
    rm: str = ""
    z: str = ""


class _Luld(_Message, frozen=True, tag_field="T", tag="l"):
    u: float
    d: float
    i: str = ""
    z: str = ""


class _Correction(_Message, frozen=True, tag_field="T", tag="c"):
    x: str
    oi: int
    op: float
    os: float
    ci: int
    cp: float
    cs: float
    oc: list[str] | None = None
    cc: list[str] | None = None
    z: str = ""


class _Cancel(_Message, frozen=True, tag_field="T", tag="x"):
    i: int
    x: str
    p: float
    s: float
    a: str = ""
    z: str = ""


_Any = _Trade | _Quote | _Bar | _UpdatedBar | _DailyBar | _Status | _Luld | _Correction | _Cancel

_json = msgspec.json.Decoder(_Any)
_msgpack = msgspec.msgpack.Decoder(_Any)


class _Kind(msgspec.Struct):
    T: str = ""


_json_kind = msgspec.json.Decoder(_Kind)
_msgpack_kind = msgspec.msgpack.Decoder(_Kind)

KNOWN_TYPES = frozenset("tqbudslcx")

#: How a message of each type is named in the metrics and read into an event.
_BAR_KINDS: dict[type[_Bar], dict[str, Any]] = {
    _Bar: {"interval": "1m", "updated": False},
    _UpdatedBar: {"interval": "1m", "updated": True},
    _DailyBar: {"interval": "1d", "updated": False},
}


class UnknownTypeError(ValueError):
    """The message's `T` is none of those that the documentation names."""


def read(raw: bytes, *, msgpack: bool, where: dict[str, Any]) -> events.ValidTick:
    """Read one message.

    Args:
        raw: the message, as the vendor sent it.
        msgpack: whether it is MessagePack rather than JSON.
        where: the fields of `events.Provenance` but for the symbol.

    Raises:
        UnknownTypeError: `T` is not one that we know.
        ValueError: the message lacks a field, a field has another type, or the time is no time.

    """
    try:
        message = (_msgpack if msgpack else _json).decode(raw)
    except msgspec.ValidationError as error:
        kind = _kind(raw, msgpack=msgpack)
        if kind not in KNOWN_TYPES:
            reason = f"type {kind!r} is none of {', '.join(sorted(KNOWN_TYPES))}"
            raise UnknownTypeError(reason) from None
        raise ValueError(str(error)) from None
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    return _event(message, {**where, "symbol": message.S, "market_time_ns": time_ns(message.t)})


def _kind(raw: bytes, *, msgpack: bool) -> str:
    try:
        return (_msgpack_kind if msgpack else _json_kind).decode(raw).T
    except msgspec.ValidationError:
        return ""


def _event(  # noqa: PLR0911  # a table of kinds, written as a match
    message: Any, where: dict[str, Any]
) -> events.ValidTick:
    match message:
        case _Trade():
            return events.Trade(
                **where,
                price=message.p,
                size=message.s,
                exchange=message.x,
                tape=message.z,
                trade_id=message.i,
                conditions=message.c or [],
            )
        case _Quote():
            return events.Quote(
                **where,
                bid_price=message.bp,
                bid_size=message.bs,
                bid_exchange=message.bx,
                ask_price=message.ap,
                ask_size=message.as_,
                ask_exchange=message.ax,
                tape=message.z,
                conditions=message.c or [],
            )
        case _Bar():
            return events.Bar(
                **where,
                **_BAR_KINDS[type(message)],
                open=message.o,
                high=message.h,
                low=message.l,
                close=message.c,
                volume=message.v,
                trade_count=message.n,
                vwap=message.vw,
            )
        case _Status():
            return events.Status(
                **where,
                status_code=message.sc,
                status_message=message.sm,
                reason_code=message.rc,
                reason_message=message.rm,
                tape=message.z,
            )
        case _Luld():
            return events.Luld(
                **where,
                limit_up=message.u,
                limit_down=message.d,
                indicator=message.i,
                tape=message.z,
            )
        case _Correction():
            return events.Correction(
                **where,
                exchange=message.x,
                tape=message.z,
                original_id=message.oi,
                original_price=message.op,
                original_size=message.os,
                original_conditions=message.oc or [],
                corrected_id=message.ci,
                corrected_price=message.cp,
                corrected_size=message.cs,
                corrected_conditions=message.cc or [],
            )
        case _Cancel():
            return events.Cancel(
                **where,
                exchange=message.x,
                tape=message.z,
                trade_id=message.i,
                price=message.p,
                size=message.s,
                action=message.a,
            )
    unreachable = f"no event for {type(message).__name__}"
    raise AssertionError(unreachable)


def time_ns(t: Time) -> int:
    """Return nanoseconds since the epoch. Raises ValueError where `t` is no time."""
    return _text_ns(t) if isinstance(t, str) else _ext_ns(t)


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d{1,9}))?"
    r"(?:[Zz]|([+-])([01]\d|2[0-3]):([0-5]\d))",
    re.ASCII,
)


def _text_ns(text: str) -> int:
    found = _RFC3339.fullmatch(text)
    if not found:
        message = f"time {text!r} is not RFC 3339 with at most 9 fractional digits"
        raise ValueError(message)
    day, hour, minute, second, fraction, sign, off_hours, off_minutes = found.groups()
    seconds = _day_s(day) + int(hour) * 3600 + int(minute) * 60 + int(second)
    if sign:
        offset = int(off_hours) * 3600 + int(off_minutes) * 60
        seconds -= offset if sign == "+" else -offset
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
