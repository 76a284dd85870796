"""An Alpaca worker at work in a test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from infra.market_calendar import ALWAYS_OPEN
from infra.telemetry import Meters
from infra.topics import SOURCES_GAPS
from ingest.alpaca.outputs import Patience, Plan
from ingest.alpaca.session import Session
from ingest.alpaca.wire import Encoding
from ingest.alpaca.worker import AlpacaWorker, Timings
from ingest.clock import read_clock
from ingest.events import GapEvent
from ingest.keys import Keys
from ingest.publish import Publisher
from tests.ingest.fakes import InMemoryProducer

QUICK = Timings(open_s=2, ping_s=0.05, pong_s=0.1, close_s=0.1, heartbeat_s=0.01)
#: For tests that are not about pings: no slowness of this machine passes for the vendor's.
CALM = Timings(open_s=10, ping_s=30, pong_s=30, close_s=5, heartbeat_s=0.01)
KEYS = Keys(key_id="PKEY", secret="hush-hush")
SOON = Patience(answer_s=0.3, healthy_s=60, first_retry_s=0.01, retry_cap_s=0.05)


class Run:
    """A worker at work, and what it has published."""

    def __init__(
        self, worker: AlpacaWorker, session: Session, log: InMemoryProducer, meters: Meters
    ) -> None:
        self.worker = worker
        self.session = session
        self.log = log
        self._meters = meters

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the statuses of one kind, in order."""
        return [status for status in self.log.statuses() if isinstance(status, kind)]

    def gaps(self) -> list[GapEvent]:
        """Return the gap ledger, in order."""
        records = self.log.records(SOURCES_GAPS)
        return [msgspec.json.decode(record.value, type=GapEvent) for record in records]

    def metric(self, series: str) -> float:
        """Return a series's value, as it would be scraped."""
        self.worker.refresh()
        for line in self._meters.exposition().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        message = f"{series} is not exposed"
        raise AssertionError(message)


@asynccontextmanager
async def at_work(
    url: str,
    publisher: Publisher,
    log: InMemoryProducer,
    *,
    encoding: Encoding,
    symbols: tuple[str, ...],
    patience: Patience,
    timings: Timings,
    enabled: bool = True,
    keys: Keys = KEYS,
) -> AsyncIterator[Run]:
    """A worker that streams until the context is left."""
    meters, stop = Meters("alpaca"), asyncio.Event()
    session = Session(
        Plan(feed="iex", encoding=encoding),
        symbols=symbols,
        keys=keys,
        run_id="run",
        now=read_clock(),
        jitter=lambda: 0.0,
        market=ALWAYS_OPEN,
        patience=patience,
    )
    worker = AlpacaWorker(
        url=url,
        encoding=encoding,
        session=session,
        publisher=publisher,
        meters=meters,
        timings=timings,
        enabled=enabled,
    )
    running = asyncio.create_task(worker.run(stop))
    try:
        yield Run(worker, session, log, meters)
    finally:
        stop.set()
        await running
