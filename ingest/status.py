"""How a source's life and its gaps are told: to the log of the pipeline, and to our own."""

import msgspec
import structlog

from infra.topics import SOURCES_GAPS, SOURCES_STATUS
from ingest.events import (
    Disconnected,
    GapEvent,
    Heartbeat,
    SourceStatus,
    Stalled,
    Stopped,
    Subscribed,
    SymbolsImpaired,
)
from ingest.publish import Publisher

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger()


def report(status: SourceStatus, publisher: Publisher) -> None:
    """Publish `status`, and log it unless it is a heartbeat."""
    publisher.put(SOURCES_STATUS, status.source, _encoder.encode(status), status.at_ns)
    if isinstance(status, Heartbeat):
        return
    fields = msgspec.to_builtins(status)
    if isinstance(status, Subscribed):
        fields["symbols"] = len(status.symbols)
    lost = isinstance(status, Disconnected) and status.reason not in ("shutdown", "asked")
    grave = lost or isinstance(status, Stopped | Stalled | SymbolsImpaired)
    tell = _log.warning if grave else _log.info
    tell(f"source_{fields.pop('event')}", **fields)


def report_gap(gap: GapEvent, publisher: Publisher) -> None:
    """Publish an event of the gap ledger, and log it."""
    publisher.put(SOURCES_GAPS, gap.source, _encoder.encode(gap), gap.at_ns)
    fields = msgspec.to_builtins(gap)
    fields["symbols"] = len(gap.symbols)
    _log.info(fields.pop("event"), **fields)
