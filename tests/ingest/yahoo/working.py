"""A Yahoo worker at work in a test, on a clock that can leap."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from infra.market_calendar import ALWAYS_OPEN, NS, Calendar
from infra.telemetry import Meters
from infra.topics import RAW_YAHOO
from ingest.clock import Now
from ingest.events import Heartbeat, RawTick
from ingest.publish import Publisher
from ingest.yahoo.client import YahooClient
from ingest.yahoo.worker import HEARTBEAT_S, YahooWorker
from tests.ingest.fakes import InMemoryProducer, eventually, publishing

SOON_S = 0.02
#: Longer than any test: there is one poll, unless somebody asks for more.
ONCE_S = 10**6

MINUTE_S = 60
#: 2026-11-24 10:00 in New York.
TEN_S = 1_795_532_400


class Clock:
    """The worker's clock, and its loop's: it goes on by itself, and leaps when it is told to.

    So that nobody has to wait for hours: sleeps and deadlines of the loop leap with it.
    """

    def __init__(self, start_s: int = TEN_S) -> None:
        loop = asyncio.get_running_loop()
        self._ahead_s = 0.0
        self._start_ns = start_s * NS
        self._loop, self._time, self._begun_s = loop, loop.time, loop.time()
        loop.time = self._leapt  # type: ignore[method-assign]

    def _leapt(self) -> float:
        return self._time() + self._ahead_s

    def __call__(self) -> Now:
        """Read it."""
        elapsed_s = self._loop.time() - self._begun_s
        return Now(self._start_ns + int(elapsed_s * NS), self._loop.time())

    def leap(self, seconds: float) -> None:
        """Let so much time have passed."""
        self._ahead_s += seconds

    @property
    def now_s(self) -> int:
        """The time in seconds since the epoch."""
        return self().wall_ns // NS


class Run:
    """A worker at work, and what it has published."""

    def __init__(
        self,
        worker: YahooWorker,
        publisher: Publisher,
        log: InMemoryProducer,
        meters: Meters,
        clock: Clock,
    ) -> None:
        self.worker = worker
        self.log = log
        self.clock = clock
        self._publisher = publisher
        self._meters = meters

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the statuses of one kind, in order."""
        return [status for status in self.log.statuses() if isinstance(status, kind)]

    def quotes(self) -> list[RawTick]:
        """Return the ticks with quotes, in order."""
        return [tick for tick in self.log.ticks(RAW_YAHOO) if tick.feed != "chart-5m"]

    def bars(self) -> list[RawTick]:
        """Return the ticks with bars, in order."""
        return [tick for tick in self.log.ticks(RAW_YAHOO) if tick.feed == "chart-5m"]

    def metric(self, series: str) -> float | None:
        """Return a series's value, as it would be scraped; None where it is absent."""
        self.worker.refresh()
        for line in self._meters.exposition().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return None

    async def beats(self) -> Heartbeat:
        """Return the next heartbeat."""
        before = len(self.told(Heartbeat))
        self.clock.leap(HEARTBEAT_S)
        beats = await eventually(lambda: self.told(Heartbeat)[before:])
        assert isinstance(beats[-1], Heartbeat)
        return beats[-1]

    async def polls(self, seconds: float = MINUTE_S) -> None:
        """Let a poll's interval pass, and return when what it brought is in the log."""
        before = self.polled()
        self.clock.leap(seconds)
        await self.has_polled(before + 1)

    async def has_polled(self, times: float) -> None:
        """Return when so many polls have ended, and what they brought is in the log."""
        await eventually(lambda: self.polled() >= times)
        await self._publisher.drain()

    def polled(self) -> float:
        """Return how many polls have ended."""
        results = ("success", "failure")
        return sum(self.metric(f'yahoo_polls_total{{result="{its}"}}') or 0 for its in results)


@asynccontextmanager
async def working(
    url: str,
    symbols: Sequence[str],
    *,
    poll_s: float = SOON_S,
    active_s: float = 15,
    request_s: float = ONCE_S,
    market: Calendar = ALWAYS_OPEN,
    clock: Clock | None = None,
    past: Sequence[bytes] = (),
) -> AsyncIterator[Run]:
    """A worker that polls until the context is left; `past` is what the log had of Yahoo before."""

    async def published(_since_ns: int) -> AsyncGenerator[bytes, None]:
        for value in past:
            yield value

    stop, meters, clock = asyncio.Event(), Meters("yahoo"), clock or Clock()
    async with (
        publishing() as (publisher, log),
        YahooClient(url, request_s=request_s) as client,
    ):
        worker = YahooWorker(
            client=client,
            symbols=symbols,
            poll_s=poll_s,
            active_s=active_s,
            market=market,
            publisher=publisher,
            meters=meters,
            run_id="run",
            past=published,
            jitter=lambda: 0.0,
            clock=clock,
        )
        running = asyncio.create_task(worker.run(stop))
        try:
            yield Run(worker, publisher, log, meters, clock)
        finally:
            stop.set()
            await running
            await publisher.drain()
