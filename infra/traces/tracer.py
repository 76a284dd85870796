"""Spans out of a process, without it ever waiting for them.

What a stage tells goes into a queue of bounded length, from which a thread of its own feeds the
collector. A collector that is slow or away fills the queue; then spans are dropped, and counted:
the stage notices nothing.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from infra.clock import NS
from infra.telemetry import Meters
from infra.traces.settings import TraceSettings
from infra.traces.span import MINUTE_NS, Allowance, Span

#: How many traces a minute begin in a process because of what happened, and not of the sampler:
#: of ticks that are rejected, of failovers. A feed that is wrong from end to end is seen in these.
ALWAYS_A_MINUTE = 60
#: What is left at the end of a process may take this long.
GOODBYE_S = 1.5

SPANS = "pipeline_spans_total"

#: Sends spans, and says whether the collector took them.
Export = Callable[[Sequence[Span]], bool]


class Tracer:
    """What a process tells its spans to.

    Args:
        export: sends a batch; it may take its time, and is called from a thread.
        meters: where it is counted what became of spans.
        settings: how many wait, and for how long.
        goodbye_s: how long the last of them may take.

    Attributes:
        ratio: which share of ticks is traced from their receipt on.

    """

    def __init__(
        self,
        export: Export,
        meters: Meters,
        settings: TraceSettings,
        *,
        goodbye_s: float = GOODBYE_S,
    ) -> None:
        self._goodbye_s = goodbye_s
        self.ratio = settings.ratio
        self._export = export
        self._meters = meters
        self._room = settings.otel_bsp_max_queue_size
        self._batch = settings.otel_bsp_max_export_batch_size
        self._delay_s = settings.otel_bsp_schedule_delay / 1000
        self._queue: deque[Span] = deque()
        self._always = Allowance(ALWAYS_A_MINUTE, MINUTE_NS)
        most = settings.sampled_per_second
        self._sampled = Allowance(most, NS) if most else None
        self._full = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spans", daemon=True)
        self._thread.start()

    def tell(self, *spans: Span) -> None:
        """Take spans that have ended; returns at once."""
        for span in spans:
            if len(self._queue) >= self._room:
                self._meters.add(SPANS, result="dropped")
            else:
                self._queue.append(span)
        if len(self._queue) >= self._batch:
            self._full.set()

    def sample(self, now_ns: int) -> bool:
        """Return whether a trace may begin that the sampler chose."""
        return self._sampled is None or self._sampled.take(now_ns)

    def always(self, now_ns: int) -> bool:
        """Return whether a trace may begin that the sampler did not choose."""
        return self._always.take(now_ns)

    def close(self) -> None:
        """Send what waits, for as long as there is patience; returns in any case."""
        self._ended.set()
        self._full.set()
        self._thread.join(self._goodbye_s)
        if left := len(self._take(self._room)):
            self._meters.add(SPANS, left, result="dropped")

    def _take(self, most: int) -> list[Span]:
        spans: list[Span] = []
        with suppress(IndexError):  # the queue is empty, whoever emptied it
            while len(spans) < most:
                spans.append(self._queue.popleft())
        return spans

    def _run(self) -> None:
        while not self._ended.is_set():
            self._full.wait(self._delay_s)
            self._full.clear()
            while batch := self._take(self._batch):
                result = "exported" if self._export(batch) else "failed"
                self._meters.add(SPANS, len(batch), result=result)


def open_tracer(service: str, settings: TraceSettings, meters: Meters) -> Tracer | None:
    """Return what a process tells its spans to; None where there is no collector to send them to.

    Args:
        service: the stage's name.
        settings: where to.
        meters: where it is counted what became of spans.

    """
    if settings.endpoint is None:
        return None
    # the SDK takes half a second to load, which nobody without a collector is to wait for
    from infra.traces.otlp import exporter  # noqa: PLC0415

    return Tracer(exporter(service, settings), meters, settings)
