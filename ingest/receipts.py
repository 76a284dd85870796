"""Which ticks are traced is decided at the socket, and told once Kafka has them."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from infra.clock import now_ns
from infra.traces.kafka import Sending, sending
from infra.traces.span import HEADER, Session, Span
from infra.traces.ticks import receipt_context, receipt_span
from infra.traces.tracer import Tracer
from ingest.events import RawTick

Headers = tuple[tuple[str, bytes], ...]

#: So many traced ticks may be under way to Kafka; beyond that, and where they were shed, the oldest
#: are forgotten.
REMEMBERED = 1_000


class _Receipt(NamedTuple):
    span: Span
    sending: Sending


class Receipts:
    """Traces of one worker's ticks.

    Args:
        tracer: what spans are told to.
        topic: the name on the broker of the topic that they go to.

    Attributes:
        delivered_now: by the receipt's time, the trace of what Kafka said last that it has.

    """

    def __init__(self, tracer: Tracer, topic: str) -> None:
        self.delivered_now: Mapping[int, int] = {}
        self._tracer = tracer
        self._topic = topic
        self._session = Session("")
        self._under_way: dict[bytes, _Receipt] = {}

    def begin(self, tick: RawTick) -> Headers:
        """Return the headers of a tick's record: none, unless it is traced."""
        session = self._session
        if tick.session_id != session.session_id:
            session = self._session = Session(tick.session_id, self._tracer.ratio)
        if not session.sampled(tick.session_seq) or not self._tracer.sample(now := now_ns()):
            return ()
        trace_id = session.trace_id(tick.session_seq)
        root = receipt_context(trace_id)
        out = sending(root, self._topic, 0, tick.symbol.encode(), now)
        headers = out.headers
        if len(self._under_way) >= REMEMBERED:
            self._under_way.pop(next(iter(self._under_way)))
        self._under_way[headers[0][1]] = _Receipt(receipt_span(trace_id, tick, now), out)
        return headers

    def delivered(self, partition: int, records: Iterable[Headers]) -> None:
        """Tell of the ticks whose records, with these headers, are in a partition of the topic."""
        now, traces = now_ns(), {}
        for headers in records:
            receipt = self._under_way.pop(dict(headers).get(HEADER, b""), None)
            if receipt is not None:
                traces[receipt.span.start_ns] = receipt.span.context.trace_id
                self._tracer.tell(
                    receipt.span, receipt.sending._replace(partition=partition).span(now)
                )
        self.delivered_now = traces
