"""Is this tick to be believed? Pure: a raw tick and its place in the log in, a verdict out.

Every raw tick gets a verdict: a canonical tick, or a rejection that names the rule, says what was
found, and keeps the vendor's bytes. An answer that holds several bars gets one for each, and at
most one rejection for those that break a rule.
"""

import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from ingest.events import RawTick
from processors import events
from processors.vendors import alpaca, yahoo

#: A tick may be stamped this much after it was received, for clocks that disagree; not more.
FUTURE_TOLERANCE_NS = 5 * 60 * 1_000_000_000

#: How a parser says that it cannot read something; msgspec's DecodeError is a ValueError.
UNREADABLE = (ValueError, RecursionError)

_raw_tick = msgspec.json.Decoder(RawTick)


class _AlpacaJson(msgspec.Struct, frozen=True, gc=False):
    """The raw tick that comes by the thousand, with the vendor's message read in the same pass."""

    source: Literal["alpaca"]
    encoding: Literal["json"]
    feed: str
    session_id: str
    session_seq: int
    received_at_ns: int
    raw: alpaca.Message
    #: of the history: its objects look different
    backfill: Literal[""] = ""


_alpaca_json = msgspec.json.Decoder(_AlpacaJson)


class Position(NamedTuple):
    """A record's place in the log, and when it was written there."""

    topic: str
    partition: int
    offset: int
    written_at_ms: int


#: A record's value, and its place.
Placed = tuple[bytes, Position]


class Broken(NamedTuple):
    """A rule that a tick broke, and the figures."""

    reason: events.RejectReason
    detail: str


Verdict = events.ValidTick | events.RejectedTick


def judge(value: bytes, position: Position, known: Collection[str]) -> Verdict:
    """Return the verdict on one record of a raw topic; the first, where it holds several bars.

    Args:
        value: the record's value, a `RawTick` as JSON.
        position: the record's place, which becomes the verdict's identity.
        known: the symbols that we follow.

    """
    return _judge_quickly(value, position, known) or _judge_closely(value, position, known)[0]


def _judge_quickly(
    value: bytes, position: Position, known: Collection[str]
) -> events.ValidTick | None:
    """Return the tick; None where it is another vendor's or encoding, or something is wrong."""
    try:
        quick = _alpaca_json.decode(value)
        tick = alpaca.event(quick.raw, _where(quick, position))
    except UNREADABLE:
        return None
    return tick if check(tick, known) is None else None


def _where(raw: RawTick | _AlpacaJson, position: Position) -> dict[str, Any]:
    return {
        "source": raw.source,
        "feed": raw.feed,
        "session_id": raw.session_id,
        "session_seq": raw.session_seq,
        "received_at_ns": raw.received_at_ns,
        "raw_topic": position.topic,
        "raw_partition": position.partition,
        "raw_offset": position.offset,
    }


def _judge_closely(value: bytes, position: Position, known: Collection[str]) -> list[Verdict]:
    try:
        raw = _raw_tick.decode(value)
    except UNREADABLE as error:
        return [_unreadable(value, position, f"not a raw tick: {error}")]
    try:
        ticks = _read(raw, _where(raw, position))
    except alpaca.UnknownTypeError as error:
        return [_rejected(raw, position, Broken("unknown_type", str(error)))]
    except UNREADABLE as error:
        return [_rejected(raw, position, Broken("malformed", str(error)))]
    broken = {index: found for index, tick in enumerate(ticks) if (found := check(tick, known))}
    verdicts: list[Verdict] = [tick for index, tick in enumerate(ticks) if index not in broken]
    if broken:
        verdicts.append(_rejected(raw, position, next(iter(broken.values()))))
    return verdicts


def reject(value: bytes, position: Position, broken: Broken) -> events.RejectedTick:
    """Return the rejection of a record whose tick is well formed and breaks a rule all the same."""
    return _rejected(_raw_tick.decode(value), position, broken)


def _rejected(raw: RawTick, position: Position, broken: Broken) -> events.RejectedTick:
    return events.RejectedTick(
        **_where(raw, position),
        gap_id=raw.gap_id,
        symbol=raw.symbol,
        reason=broken.reason,
        detail=broken.detail,
        encoding=raw.encoding,
        raw=raw.raw,
    )


def _read(raw: RawTick, where: dict[str, Any]) -> Sequence[events.ValidTick]:
    match raw.encoding:
        case "bytes":
            message = "the frame could not be taken apart"
            raise ValueError(message)
        case "msgpack":
            payload = b64decode(msgspec.json.decode(raw.raw, type=str))
        case "json":
            payload = bytes(raw.raw)
    if raw.backfill and raw.source == "alpaca":
        where["gap_id"] = raw.gap_id
        return (alpaca.read_history(payload, raw.backfill, symbol=raw.symbol, where=where),)
    if raw.source == "alpaca":
        return (alpaca.read(payload, msgpack=raw.encoding == "msgpack", where=where),)
    if raw.feed == "chart-5m":
        return yahoo.read_bars(payload, where=where)
    return (yahoo.read(payload, feed=raw.feed, where=where),)


def _unreadable(value: bytes, position: Position, detail: str) -> events.RejectedTick:
    return events.RejectedTick(
        symbol="",
        source="yahoo" if position.topic.endswith(".yahoo") else "alpaca",
        feed="",
        session_id="",
        session_seq=0,
        # the record does not say when it was received: not after it was written
        received_at_ns=position.written_at_ms * 1_000_000,
        raw_topic=position.topic,
        raw_partition=position.partition,
        raw_offset=position.offset,
        reason="malformed",
        detail=detail,
        encoding="bytes",
        raw=msgspec.Raw(msgspec.json.encode(b64encode(value).decode())),
    )


def check(tick: events.ValidTick, known: Collection[str]) -> Broken | None:
    """Return the first rule that `tick` breaks, or None."""
    if tick.symbol not in known:
        return Broken("unknown_symbol", f"{tick.symbol!r} is not a symbol that we follow")
    ahead = tick.market_time_ns - tick.received_at_ns
    if ahead > FUTURE_TOLERANCE_NS:
        return Broken("future_timestamp", f"{ahead / 1e9:.3f} s ahead, at most 300 s are allowed")
    return _FIGURES[type(tick)](tick)


def _price(name: str, value: float) -> Broken | None:
    if value > 0 and math.isfinite(value):
        return None
    return Broken("invalid_price", f"{name} is {value}, expected more than 0")


def _side(name: str, value: float) -> Broken | None:
    """A quote's price may be 0: that side has no quote."""
    if value >= 0 and math.isfinite(value):
        return None
    return Broken("invalid_price", f"{name} is {value}, expected 0 or more")


def _amount(name: str, value: float | None) -> Broken | None:
    if value is None or (value >= 0 and math.isfinite(value)):
        return None
    return Broken("negative_volume", f"{name} is {value}, expected 0 or more")


_Rule = Callable[[str, Any], Broken | None]


def _each(*fields: tuple[str, _Rule]) -> Callable[[Any], Broken | None]:
    """Return a check of the named fields, which stops at the first that breaks its rule."""

    def figures(tick: Any) -> Broken | None:
        for name, rule in fields:
            broken = rule(name, getattr(tick, name))
            if broken is not None:
                return broken
        return None

    return figures


_FIGURES: dict[type, Callable[[Any], Broken | None]] = {
    events.Trade: _each(("price", _price), ("size", _amount)),
    events.Quote: _each(
        ("bid_price", _side), ("ask_price", _side), ("bid_size", _amount), ("ask_size", _amount)
    ),
    events.Bar: _each(
        ("open", _price),
        ("high", _price),
        ("low", _price),
        ("close", _price),
        ("volume", _amount),
        ("trade_count", _amount),
    ),
    events.Last: _each(("price", _price), ("volume", _amount)),
    events.Status: _each(),
    events.Luld: _each(("limit_up", _side), ("limit_down", _side)),
    events.Correction: _each(
        ("original_price", _price),
        ("corrected_price", _price),
        ("original_size", _amount),
        ("corrected_size", _amount),
    ),
    events.Cancel: _each(("price", _price), ("size", _amount)),
}


def judge_all(
    records: Iterable[Placed], known: Collection[str]
) -> tuple[list[events.ValidTick], list[events.RejectedTick]]:
    """Return the verdicts on many records, in order: the valid ones, and the rejected ones."""
    valid: list[events.ValidTick] = []
    rejected: list[events.RejectedTick] = []
    for value, position in records:
        tick = _judge_quickly(value, position, known)
        if tick is not None:
            valid.append(tick)
            continue
        for verdict in _judge_closely(value, position, known):
            if isinstance(verdict, events.RejectedTick):
                rejected.append(verdict)
            else:
                valid.append(verdict)
    return valid, rejected
