"""How what was shed is told: to the gap ledger, to the metrics, and to our log."""

import time
from collections import Counter
from collections.abc import Callable

import msgspec
import structlog

from infra.telemetry import Meters
from infra.topics import SOURCES_GAPS
from ingest.events import Source
from ingest.publish import Publisher
from ingest.shed import Kind, ShedBegun, ShedOver, gap_event

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger()


class Losses:
    """Tells what one source's publisher sheds.

    A gap event is published as anything else: behind what is kept, once Kafka is there again.

    Args:
        source: whose ticks they are.
        feed: from which of the vendor's feeds.
        run_id: names this process's run; a gap's id is this and a number.
        meters: the metrics about `alpaca`.
        wall_ns: reads the clock, in nanoseconds.

    """

    def __init__(
        self,
        *,
        source: Source,
        feed: str,
        run_id: str,
        meters: Meters,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._source: Source = source
        self._feed = feed
        self._run_id = run_id
        self._meters = meters
        self._wall_ns = wall_ns
        self._gaps = 0
        self._open: dict[Kind, str] = {}
        self._counted: Counter[Kind] = Counter()

    def tell(self, change: ShedBegun | ShedOver, publisher: Publisher) -> None:
        """Write down that ticks of a kind begin to be shed, or that this is over."""
        if isinstance(change, ShedBegun):
            self._gaps += 1
            self._open[change.kind] = gap_id = f"{self._run_id}-shed-{self._gaps}"
            self._meters.add("alpaca_gaps_total", cause="shed")
            _log.warning("shedding", type=change.kind, gap=gap_id, held=publisher.held_bytes)
        else:
            gap_id = self._open.pop(change.kind)
            _log.warning("shedding_over", type=change.kind, gap=gap_id, shed=change.count)
        event = gap_event(
            change, source=self._source, feed=self._feed, gap_id=gap_id, at_ns=self._wall_ns()
        )
        publisher.put(SOURCES_GAPS, self._source, _encoder.encode(event), event.at_ns)

    def refresh(self, publisher: Publisher) -> None:
        """Bring the metrics up to date; called before every scrape."""
        self._meters.set("alpaca_publish_buffer_bytes", publisher.held_bytes)
        for kind, count in publisher.shed.items():
            self._meters.add("alpaca_shed_total", count - self._counted[kind], type=kind)
            self._counted[kind] = count
