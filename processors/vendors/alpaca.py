"""Alpaca's stream messages ("Real-time Stock Data" in its docs), read into canonical ticks.

Pure. The two encodings differ in `t` alone, and `ingest.alpaca.times` reads both. The objects of
its history ("Historical Stock Data"), which fill gaps, have the same fields but for `T` and `S`.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import msgspec

from ingest.alpaca.times import Time, time_ns
from processors import events


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


class _PastTrade(msgspec.Struct, frozen=True, gc=False):
    t: str
    i: int
    x: str
    p: float
    s: float
    z: str = ""
    c: list[str] | None = None
    u: str = ""


class _PastBar(msgspec.Struct, frozen=True, gc=False):
    t: str
    o: float
    h: float
    l: float  # noqa: E741  # the vendor's name
    c: float
    v: float
    n: int | None = None
    vw: float | None = None


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
_BAR_KINDS: dict[type, dict[str, Any]] = {
    _Bar: {"interval": "1m", "updated": False},
    _PastBar: {"interval": "1m", "updated": False},
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


_past_trade = msgspec.json.Decoder(_PastTrade)
_past_bar = msgspec.json.Decoder(_PastBar)

#: What `u` says of a trade that does not count any more, as `a` of a cancel says it. "corrected" is
#: the trade that came in the place of an "incorrect" one, and counts.
_TAKEN_BACK = {"canceled": "C", "incorrect": "E"}


def read_history(
    raw: bytes, resource: Literal["trades", "bars"], *, symbol: str, where: dict[str, Any]
) -> events.Trade | events.Cancel | events.Bar:
    """Read one object of the history.

    Args:
        raw: the object, as the vendor sent it.
        resource: where it was fetched from.
        symbol: whose it is; it does not say so itself.
        where: the fields of `events.Provenance` but for the symbol, and the gap; it is filled up.

    Raises:
        ValueError: the object lacks a field, a field has another type, or the time is no time.

    """
    where["symbol"] = symbol
    if resource == "bars":
        bar = _past_bar.decode(raw)
        where["market_time_ns"] = time_ns(bar.t)
        return _bar(bar, where)
    trade = _past_trade.decode(raw)
    where["market_time_ns"] = time_ns(trade.t)
    if trade.u not in _TAKEN_BACK:
        return _trade(trade, where)
    return events.Cancel(
        **where,
        exchange=trade.x,
        tape=trade.z,
        trade_id=trade.i,
        price=trade.p,
        size=trade.s,
        action=_TAKEN_BACK[trade.u],
    )


def _trade(m: _Trade | _PastTrade, where: dict[str, Any]) -> events.Trade:
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


def _bar(m: _Bar | _PastBar, where: dict[str, Any]) -> events.Bar:
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
