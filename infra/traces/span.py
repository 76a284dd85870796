"""Spans and their names as values: which ticks are traced, and how a trace goes on. Pure.

A trace's name is made of the session and the place in it of the tick that it is of, so every stage
finds the same one, and a stage that does its work again tells of the same spans. Whether a tick is
traced is decided once, where it is received, by the lower half of that name, as OpenTelemetry's
sampler by ratio does, and by how many are traced already. Only records of traced ticks carry a
`traceparent` (W3C Trace Context): who finds none has nothing to do.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol, TypeVar

from infra.clock import NS

HEADER = "traceparent"

#: Version, trace, span, flags; a later version may have more behind them.
_TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_FORBIDDEN_VERSION = b"ff"
_SAMPLED = 1

_MASK = 2**64 - 1
#: 2**64 over the golden ratio: its multiples lie evenly, so one tick in a hundred is one in every
#: hundred or so, and the decision is a multiplication.
_STRIDE = 0x9E3779B97F4A7C15

MINUTE_NS = 60 * NS

Kind = Literal["internal", "client", "producer", "consumer"]
Attributes = Mapping[str, str | int | float | bool]
Headers = Sequence[tuple[str, bytes]]


class Context(NamedTuple):
    """A span as those under it know it."""

    trace_id: int
    span_id: int


class Span(NamedTuple):
    """What happened, from when to when, and under what.

    Attributes:
        name: `{operation} {destination}`; few, so that they can be grouped by.
        kind: OpenTelemetry's.
        context: the span's own.
        parent_id: the span in the same trace that led to it; 0 for none.
        start_ns: when it began, by our clock.
        end_ns: when it ended.
        attributes: more of it. No secret and nothing of a vendor's but names is ever among them.
        error: why it failed; empty where it did not.

    """

    name: str
    kind: Kind
    context: Context
    parent_id: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str = ""


def traceparent(context: Context) -> tuple[str, bytes]:
    """Return the header of a record that a traced span wrote."""
    return HEADER, b"00-%032x-%016x-01" % context


def parse(headers: Headers) -> Context | None:
    """Return the span that a record is of; None where it is not traced.

    A header that is none of W3C's is nobody's: the record counts as one without.
    """
    for name, value in headers:
        if name == HEADER:
            found = _TRACEPARENT.fullmatch(value)
            if found is None:
                return None
            version, trace, span, flags, more = found.groups()
            context = Context(int(trace, 16), int(span, 16))
            sound = (
                all(context) and version != _FORBIDDEN_VERSION and (version != b"00" or not more)
            )
            return context if sound and int(flags, 16) & _SAMPLED else None
    return None


class Read(Protocol):
    """A record of the log, as far as traces go."""

    @property
    def headers(self) -> Headers:
        """Its headers; all of ours have one, `schema`."""


R = TypeVar("R", bound=Read)


def traced(records: Iterable[R]) -> list[tuple[R, Context]]:
    """Return the traced ones among records, each with the span that it is of.

    It costs a record that is not traced some 30 ns.
    """
    return [
        (record, context)
        for record in records
        if len(record.headers) > 1 and (context := parse(record.headers)) is not None
    ]


def trace_named(name: str) -> int:
    """Return the trace of what has that name."""
    return int.from_bytes(blake2b(name.encode(), digest_size=16).digest()) or 1


def span_of(trace_id: int, what: str) -> Context:
    """Return the span of a trace that did something: the same one for the same thing."""
    seed = b"%032x/%s" % (trace_id, what.encode())
    return Context(trace_id, int.from_bytes(blake2b(seed, digest_size=8).digest()) or 1)


class Session:
    """The traces of one session's ticks.

    Args:
        session_id: the session.
        ratio: the share of its ticks that is traced, 0 to 1.

    """

    def __init__(self, session_id: str, ratio: float = 0.0) -> None:
        self.session_id = session_id
        name = trace_named(session_id)
        self._high, self._low = name >> 64 << 64, name & _MASK
        self._bound = round(ratio * 2**64)

    def trace_id(self, session_seq: int) -> int:
        """Return the trace of a tick of the session, by its place in it."""
        return (self._high | (self._low + session_seq * _STRIDE) & _MASK) or 1

    def sampled(self, session_seq: int) -> bool:
        """Return whether that tick is traced; some 100 ns."""
        return (self._low + session_seq * _STRIDE) & _MASK < self._bound


class Allowance:
    """So many at once, and so many a period from then on, evenly; by whatever clock is passed in.

    Args:
        most: how many.
        period_ns: the period, in nanoseconds.

    """

    def __init__(self, most: int, period_ns: int) -> None:
        self._each_ns, self._period_ns = period_ns // most, period_ns
        #: Until when what has been taken would last, were it taken evenly.
        self._until_ns = 0

    def take(self, now_ns: int) -> bool:
        """Return whether there is one left, and take it."""
        ahead_ns = max(self._until_ns - now_ns, 0)
        if ahead_ns > self._period_ns:  # more than can be taken: the clock was set back
            ahead_ns = 0
        if ahead_ns + self._each_ns > self._period_ns:
            return False
        self._until_ns = now_ns + ahead_ns + self._each_ns
        return True
