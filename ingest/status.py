"""How a source's life is told: to the log of the pipeline, and, but for heartbeats, to ours."""

import msgspec
import structlog

from infra.topics import SOURCES_STATUS
from ingest.events import Disconnected, Heartbeat, SourceStatus, Subscribed
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
    lost = isinstance(status, Disconnected) and status.reason != "shutdown"
    tell = _log.warning if lost else _log.info
    tell(f"source_{fields.pop('event')}", **fields)
