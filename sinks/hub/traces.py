"""The last spans of a trace: what the hub sends its clients."""

from collections.abc import Mapping
from typing import NamedTuple

from infra.clock import now_ns
from infra.traces.span import Attributes, Context, Span, span_of
from processors.events import RoutedPrice
from sinks.hub.fanout import Flush

STAGE = "hub"

CLIENTS, CONFLATED = "twinfeed.hub.clients", "twinfeed.hub.conflated"


class Followed(NamedTuple):
    """A traced price on its way to the clients, and the span that took it from the log."""

    price: RoutedPrice
    taken: Context


def send_span(
    parent: Context, method: str, destination: str, since_ns: int, more: Attributes
) -> Span:
    """Return the span of something being sent to clients, which has just been done.

    Args:
        parent: the span that took it from the log.
        method: what is invoked on the clients.
        destination: the group that they belong to.
        since_ns: when sending began.
        more: what else is to be told.

    """
    return Span(
        f"send {method}",
        "producer",
        span_of(parent.trace_id, f"send {method} by {parent.span_id:016x}"),
        parent.span_id,
        since_ns,
        now_ns(),
        {
            "messaging.system": "signalr",
            "messaging.operation.name": method,
            "messaging.operation.type": "send",
            "messaging.destination.name": destination,
            **more,
        },
    )


def update_spans(
    flush: Flush,
    traces: Mapping[str, Followed],
    latest: Mapping[str, RoutedPrice],
    since_ns: int,
) -> list[Span]:
    """Return the spans of prices that a flush has sent.

    Args:
        flush: what it decided.
        traces: by symbol, what was due and is traced; what nobody is subscribed to has none.
        latest: by symbol, what was sent.
        since_ns: when it began.

    """
    spans = []
    for symbol, (price, taken) in traces.items():
        clients = sum(len(send.clients) for send in flush.sends if symbol in send.symbols)
        if clients:
            more: Attributes = {CLIENTS: clients, CONFLATED: latest[symbol] is not price}
            spans.append(send_span(taken, "PriceUpdate", f"STOCK_{symbol}", since_ns, more))
    return spans
