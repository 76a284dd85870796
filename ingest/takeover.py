"""How a process takes over from the one before it: what that one left unsaid is said first."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import structlog

from infra.clock import now_ns
from infra.kafka.read import read_to_end
from infra.settings import StageSettings
from infra.topics import SOURCES_GAPS, SOURCES_STATUS, Topic
from ingest.events import GapEvent, GapOpened, Source, SourceStatus
from ingest.gaps import Ledger, inherited
from ingest.publish import Publisher
from ingest.status import report_gap

#: How many facts to look back at: five minutes of two sources' heartbeats.
FACTS_BACK = 600

_log = structlog.get_logger()


async def take_over(
    settings: StageSettings, source: Source, publisher: Publisher
) -> list[GapOpened]:
    """Return the gaps that are open for a source, the one since its last process ended included."""
    ledger = Ledger([event async for event in _events(settings, SOURCES_GAPS, GapEvent)])
    facts = [fact async for fact in _events(settings, SOURCES_STATUS, SourceStatus, FACTS_BACK)]
    gaps = inherited(facts, ledger, source=source, now_ns=now_ns())
    for gap in gaps:
        if not ledger.knows(gap.gap_id):
            report_gap(gap, publisher)
    return gaps


async def _events(
    settings: StageSettings, topic: Topic, kind: Any, last: int | None = None
) -> AsyncIterator[Any]:
    decoder = msgspec.json.Decoder(kind)
    name = settings.topic(topic.name)
    async for record in read_to_end(settings.kafka_bootstrap_servers, name, 0, last=last):
        try:
            yield decoder.decode(record.value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            _log.warning("record_unreadable", place=f"{name}/0/{record.offset}", error=str(error))
