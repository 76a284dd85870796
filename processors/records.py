"""How events stand in the log: their keys, their times, and which raw tick they came of; pure.

By whoever writes them: the stages, and a replay, whose records are the same to the byte.
"""

import msgspec

from infra.commands import Answer
from infra.record import Record
from processors.events import (
    BreakerEvent,
    Comparison,
    QuarantineEvent,
    RejectedTick,
    RoutedPrice,
    RouterTransition,
    RouteTaken,
    ValidTick,
)
from processors.validate import UNREADABLE

_encode = msgspec.json.Encoder().encode

MS = 1_000_000


class Origin(msgspec.Struct, frozen=True, gc=False):
    """Which raw tick something came of."""

    raw_topic: str
    raw_offset: int


_origin = msgspec.json.Decoder(Origin)


def origin_of(value: bytes | None) -> Origin | None:
    """Return which raw tick a record came of; None for what is somebody else's."""
    try:
        return _origin.decode(value or b"")
    except UNREADABLE:
        return None


def tick_record(tick: ValidTick | RejectedTick) -> Record:
    """Return the record of a verdict."""
    return Record(tick.symbol.encode(), _encode(tick), tick.received_at_ns // MS)


def breaker_record(change: BreakerEvent) -> Record:
    """Return the record of a breaker's opening or closing."""
    return Record(change.symbol.encode(), _encode(change), change.at_ns // MS)


def comparison_record(comparison: Comparison) -> Record:
    """Return the record of a comparison."""
    return Record(comparison.symbol.encode(), _encode(comparison), comparison.compared_at_ns // MS)


def quarantine_record(event: QuarantineEvent) -> Record:
    """Return the record of a quarantine's beginning or end."""
    return Record(event.symbol.encode(), _encode(event), event.at_ns // MS)


def price_record(price: RoutedPrice) -> Record:
    """Return the record of a routed price."""
    return Record(price.symbol.encode(), _encode(price), price.routed_at_ns // MS)


def switch_record(taken: RouteTaken) -> Record:
    """Return the record of a route that came into force in a partition."""
    return Record(b"", _encode(taken), taken.at_ns // MS)


def transition_record(transition: RouterTransition) -> Record:
    """Return the record of a transition."""
    return Record(b"router", _encode(transition), transition.switched_at_ns // MS)


def answer_record(answer: Answer) -> Record:
    """Return the record of the router's answer to an operator."""
    return Record(b"router", _encode(answer), answer.at_ns // MS)
