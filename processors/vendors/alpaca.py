"""Alpaca's stream messages ("Real-time Stock Data" in its docs), read into canonical ticks.

Pure. The two encodings differ in `t` alone: RFC 3339 text with 0 to 9 fractional digits in JSON, a
Timestamp in MessagePack. Both become int64 nanoseconds; `datetime` would cut them to microseconds.
"""

import re
import struct
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Any, get_args

import msgspec
from msgspec.msgpack import Ext

from processors import events

NS = 1_000_000_000

#: `t` before it is read: text in JSON, an extension in MessagePack.
Time = str | Ext


class _Message(msgspec.Struct, frozen=True, gc=False):
    S: str
    t: Time


class _Trade(_Message, frozen=True, gc=False, tag_field="T", tag="t"):
    i: int
    x: str
    p: float
    s: float
    z: str = ""
    c: list[str] | None = None


class _Quote(_Message, frozen=True, gc=False, tag_field="T", tag="q"):
    bx: str
    bp: float
    bs: float
    ax: str
    ap: float
    as_: float = msgspec.field(name="as")
    z: str = ""
    c: list[str] | None = None


class _Bar(_Message, frozen=True, gc=False, tag_field="T", tag="b"):
    o: float
    h: float
    l: float  # noqa: E741  # the vendor's name
    c: float
    v: float
    n: int | None = None
    vw: float | None = None


class _UpdatedBar(_Bar, frozen=True, gc=False, tag_field="T", tag="u"):
    pass


class _DailyBar(_Bar, frozen=True, gc=False, tag_field="T", tag="d"):
    pass


class _Status(_Message, frozen=True, gc=False, tag_field="T", tag="s"):
    sc: str
    sm: str = ""
    rc: str = ""
    rm: str = ""
    z: str = ""


class _Luld(_Message, frozen=True, gc=False, tag_field="T", tag="l"):
    u: float
    d: float
    i: str = ""
    z: str = ""


class _Correction(_Message, frozen=True, gc=False, tag_field="T", tag="c"):
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


class _Cancel(_Message, frozen=True, gc=False, tag_field="T", tag="x"):
    i: int
    x: str
    p: float
    s: float
    a: str = ""
    z: str = ""


#: Any message of the stream, told apart by `T`.
Message = _Trade | _Quote | _Bar | _UpdatedBar | _DailyBar | _Status | _Luld | _Correction | _Cancel

_json = msgspec.json.Decoder(Message)
_msgpack = msgspec.msgpack.Decoder(Message)


class _Kind(msgspec.Struct):
    T: str = ""


_json_kind = msgspec.json.Decoder(_Kind)
_msgpack_kind = msgspec.msgpack.Decoder(_Kind)

KNOWN_TYPES = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Message))

#: What tells the three kinds of bars apart.
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
        where: the fields of `events.Provenance` but for the symbol; it is filled up.

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
    return event(message, where)


def _kind(raw: bytes, *, msgpack: bool) -> str:
    try:
        return (_msgpack_kind if msgpack else _json_kind).decode(raw).T
    except msgspec.ValidationError:
        return ""


def event(message: Message, where: dict[str, Any]) -> events.ValidTick:
    """Return the canonical tick of a message that was taken apart; fills up `where`.

    Raises:
        ValueError: its time is no time.

    """
    where["symbol"] = message.S
    where["market_time_ns"] = time_ns(message.t)
    return _EVENTS[type(message)](message, where)


def _trade(m: _Trade, where: dict[str, Any]) -> events.Trade:
    return events.Trade(
        **where,
        price=m.p,
        size=m.s,
        exchange=m.x,
        tape=m.z,
        trade_id=m.i,
        conditions=m.c or [],
    )


def _quote(m: _Quote, where: dict[str, Any]) -> events.Quote:
    return events.Quote(
        **where,
        bid_price=m.bp,
        bid_size=m.bs,
        bid_exchange=m.bx,
        ask_price=m.ap,
        ask_size=m.as_,
        ask_exchange=m.ax,
        tape=m.z,
        conditions=m.c or [],
    )


def _bar(m: _Bar, where: dict[str, Any]) -> events.Bar:
    return events.Bar(
        **where,
        **_BAR_KINDS[type(m)],
        open=m.o,
        high=m.h,
        low=m.l,
        close=m.c,
        volume=m.v,
        trade_count=m.n,
        vwap=m.vw,
    )


def _status(m: _Status, where: dict[str, Any]) -> events.Status:
    return events.Status(
        **where,
        status_code=m.sc,
        status_message=m.sm,
        reason_code=m.rc,
        reason_message=m.rm,
        tape=m.z,
    )


def _luld(m: _Luld, where: dict[str, Any]) -> events.Luld:
    return events.Luld(
        **where,
        limit_up=m.u,
        limit_down=m.d,
        indicator=m.i,
        tape=m.z,
    )


def _correction(m: _Correction, where: dict[str, Any]) -> events.Correction:
    return events.Correction(
        **where,
        exchange=m.x,
        tape=m.z,
        original_id=m.oi,
        original_price=m.op,
        original_size=m.os,
        original_conditions=m.oc or [],
        corrected_id=m.ci,
        corrected_price=m.cp,
        corrected_size=m.cs,
        corrected_conditions=m.cc or [],
    )


def _cancel(m: _Cancel, where: dict[str, Any]) -> events.Cancel:
    return events.Cancel(
        **where,
        exchange=m.x,
        tape=m.z,
        trade_id=m.i,
        price=m.p,
        size=m.s,
        action=m.a,
    )


_EVENTS: dict[type, Callable[[Any, dict[str, Any]], events.ValidTick]] = {
    _Trade: _trade,
    _Quote: _quote,
    _Bar: _bar,
    _UpdatedBar: _bar,
    _DailyBar: _bar,
    _Status: _status,
    _Luld: _luld,
    _Correction: _correction,
    _Cancel: _cancel,
}


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
