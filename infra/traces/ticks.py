"""Where a tick's trace begins: its receipt. Pure."""

from typing import Protocol

from infra.traces.span import Context, Session, Span, span_of, trace_named

#: What is told of a tick, besides what OpenTelemetry's conventions have names for.
SOURCE, FEED, SYMBOL = "twinfeed.source", "twinfeed.feed", "twinfeed.symbol"
SESSION, SEQUENCE = "twinfeed.session.id", "twinfeed.session.sequence"
#: Set where a later stage tells of the receipt, because it was not known then that it would matter.
REBUILT = "twinfeed.rebuilt"


class Tick(Protocol):
    """A tick of any stage's."""

    @property
    def source(self) -> str:
        """Whose it is."""

    @property
    def feed(self) -> str:
        """Of which feed."""

    @property
    def symbol(self) -> str:
        """Of which symbol."""

    @property
    def session_id(self) -> str:
        """The session that received it."""

    @property
    def session_seq(self) -> int:
        """Its place in that session."""

    @property
    def received_at_ns(self) -> int:
        """When."""


def trace_of(tick: Tick, place: str) -> int:
    """Return a tick's trace; by its place in the log, where it could not be read whose it is."""
    if tick.session_id:
        return Session(tick.session_id).trace_id(tick.session_seq)
    return trace_named(place)


def receipt_context(trace_id: int) -> Context:
    """Return the first span of a tick's trace."""
    return span_of(trace_id, "receive")


def receipt_span(trace_id: int, tick: Tick, end_ns: int, *, rebuilt: bool = False) -> Span:
    """Return that span: from the last byte off the wire until the tick was handed over."""
    return Span(
        f"receive {tick.source}",
        "consumer",
        receipt_context(trace_id),
        0,
        tick.received_at_ns,
        end_ns,
        {
            SOURCE: tick.source,
            FEED: tick.feed,
            SYMBOL: tick.symbol,
            SESSION: tick.session_id,
            SEQUENCE: tick.session_seq,
            **({REBUILT: True} if rebuilt else {}),
        },
    )
