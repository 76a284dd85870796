"""The Yahoo worker: polls, publishes what came, and tells the source's life.

Two loops share one client, and the breaker before it: the polls for quotes, and the bars of five
minutes, which go on whatever the router does. What they decide by is pure and elsewhere: `polling`
(when), `breaker` (whether), `quotes` (what stands still or is missing), `history` (which bars).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Literal, NamedTuple, TypedDict

import msgspec
import structlog

from infra.market_calendar import ALWAYS_OPEN, NS, Calendar
from infra.telemetry import Meters
from infra.topics import RAW_YAHOO
from ingest.clock import Now, every, read_clock
from ingest.events import (
    Connected,
    Disconnected,
    Heartbeat,
    RawTick,
    Resumed,
    SourceStatus,
    Stalled,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.publish import Publisher
from ingest.raw import embed
from ingest.receipts import Receipts
from ingest.status import report
from ingest.yahoo import wire
from ingest.yahoo.bars import read_bars
from ingest.yahoo.breaker import Breaker
from ingest.yahoo.client import NOT_FOUND, TOO_MANY_REQUESTS, RequestFailedError, YahooClient
from ingest.yahoo.history import History, Window, spacing_s
from ingest.yahoo.polling import JITTER, Failure, Source, pause
from ingest.yahoo.quotes import Finding, Froze, Impaired, Moved, Quotes, Restored
from ingest.yahoo.wire import BAR_S

SOURCE: Literal["yahoo"] = "yahoo"
HEARTBEAT_S = 1.0
ACTIVE_POLL_S = 15.0
#: How often is looked whether there are bars to fetch.
LOOK_S = 1.0
#: A server's fault is no answer to whether we ask too much.
SERVER_ERROR = 500

_encoder = msgspec.json.Encoder()
_raw_tick = msgspec.json.Decoder(RawTick)


class _Stamp(TypedDict):
    source: Literal["yahoo"]
    feed: str
    session_id: str
    at_ns: int


class _Answer(NamedTuple):
    """What one request brought, and when its last byte was there."""

    parts: list[wire.Part]
    received_at_ns: int


class YahooWorker:
    """Polls one set of symbols.

    Args:
        client: asks.
        symbols: what to ask for, most important first.
        poll_s: from the beginning of one poll to that of the next.
        active_s: the same while Yahoo is the source that is routed, where that is less.
        market: when prices should move, and when there are bars.
        publisher: takes ticks and status events.
        meters: the metrics about `yahoo`.
        run_id: names this process's run; it is the session's id.
        past: yields what the raw log has of Yahoo since a moment, in nanoseconds.
        jitter: chance in [0, 1).
        clock: reads the clocks.

    """

    def __init__(
        self,
        *,
        client: YahooClient,
        symbols: Sequence[str],
        poll_s: float,
        active_s: float = ACTIVE_POLL_S,
        market: Calendar = ALWAYS_OPEN,
        publisher: Publisher,
        meters: Meters,
        run_id: str,
        past: Callable[[int], AsyncGenerator[bytes, None]],
        jitter: Callable[[], float],
        clock: Callable[[], Now] = read_clock,
        receipts: Receipts | None = None,
    ) -> None:
        self._receipts = receipts
        self.source = Source()
        self._client = client
        self._wanted = tuple(symbols)
        self._quotes = Quotes(self._wanted, market)
        self._history = History(self._wanted, market)
        self._poll_s = poll_s
        self._active_s = active_s
        self._active = False
        self._breaker = Breaker()
        self._poll_now = asyncio.Event()
        self._publisher = publisher
        self._meters = meters
        self._run_id = run_id
        self._past = past
        self._jitter = jitter
        self._clock = clock
        self._sequence = 0
        self._log = structlog.get_logger()

    def follow(self, symbols: Sequence[str]) -> None:
        """Ask for other symbols from the next poll on."""
        self._wanted = tuple(symbols)

    def activate(self, active: bool) -> None:  # noqa: FBT001  # a state, as the router tells it
        """Be the source that is routed, or no longer: poll at once and more often, or as usual."""
        if active and not self._active:
            self._poll_now.set()
        self._active = active

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._polls()),
                tasks.create_task(self._fetch_bars()),
                tasks.create_task(every(HEARTBEAT_S, self._beat)),
            ]
            await stop.wait()
            for task in running:
                task.cancel()
        if self.source.connected:
            self._report(Disconnected(**self._stamp(), reason="shutdown"))

    def refresh(self) -> None:
        """Bring the gauges up to date; called before every scrape."""
        if self.source.last_success:
            self._meters.set(
                "yahoo_last_success_timestamp_seconds", self.source.last_success.wall_ns / 1e9
            )
        self._meters.set("yahoo_breaker_open", float(not self._breaker.closed))
        self._meters.set("yahoo_frozen_symbols", len(self._quotes.frozen))

    @property
    def _interval_s(self) -> float:
        return min(self._active_s, self._poll_s) if self._active else self._poll_s

    async def _polls(self) -> None:
        while True:
            if self._wanted != self._quotes.symbols:
                self._tell(self._quotes.follow(self._wanted))
                self._history.follow(self._wanted)
            begun_s = self._clock().monotonic_s
            self._poll_now.clear()
            failure = await self._poll()
            self._conclude(failure)
            if failure is None:
                self._tell(self._quotes.end(self._clock().wall_ns))
            await self._until_due(begun_s, failure)

    async def _until_due(self, begun_s: float, failure: Failure | None) -> None:
        """Return when the next poll is due, or was asked for; not while Yahoo is left alone."""
        jitter = self._jitter()
        while True:
            now_s = self._clock().monotonic_s
            interval_s = pause(self.source, failure, poll_s=self._interval_s, jitter=jitter)
            wait_s = 0.0 if self._poll_now.is_set() else begun_s + interval_s - now_s
            if (alone_s := self._breaker.wait_s(now_s)) > 0:
                await asyncio.sleep(alone_s)
                self._poll_now.set()
            elif wait_s <= 0:
                return
            else:
                await _either(self._poll_now, wait_s)

    async def _poll(self) -> Failure | None:
        """Ask for every symbol once; a poll is good when it brought something and none said stop.

        A batch that fails by itself leaves its symbols to be asked for one by one.
        """
        self._quotes.begin()
        brought = 0
        failure = Failure(reason="error", detail="no quote in any answer")
        try:
            if not self._breaker.closed:
                await self._probe()
            for batch in wire.batches(self._quotes.symbols):
                try:
                    brought += await self._quote(wire.spark_path(batch), "spark")
                except (RequestFailedError, wire.WireError) as error:
                    if is_general(error):
                        raise
                    failure = describe(error)
                    self._log.warning("yahoo_batch_failed", symbols=len(batch), detail=str(error))
            brought += await self._fetch_stragglers()
        except RequestFailedError as error:
            return self._with_wait(describe(error))
        return None if brought else failure

    async def _probe(self) -> None:
        """Ask for one symbol, to learn whether Yahoo answers again. Raises RequestFailedError."""
        try:
            await self._quote(wire.spark_path(self._quotes.symbols[:1]), "spark")
        except wire.WireError as error:
            self._log.warning("yahoo_probe_unreadable", detail=str(error))
        except RequestFailedError as error:
            # that Yahoo does not know the symbol is an answer as well
            if not self._breaker.closed:
                raise
            self._log.info("yahoo_probe_answered", detail=str(error))

    async def _fetch_stragglers(self) -> int:
        """Ask one by one, until one fails. Raises RequestFailedError where all would fail."""
        brought = 0
        for symbol in self._quotes.stragglers(self._clock().monotonic_s):
            unknown = False
            try:
                brought += await self._quote(wire.chart_path(symbol), "chart")
            except (RequestFailedError, wire.WireError) as error:
                if is_general(error):
                    raise
                unknown = isinstance(error, RequestFailedError) and error.status == NOT_FOUND
                if not unknown:
                    self._log.warning("yahoo_chart_failed", symbol=symbol, detail=str(error))
                    return brought
            finally:
                self._quotes.asked(symbol, self._clock().monotonic_s, unknown=unknown)
        return brought

    async def _quote(self, path: str, feed: wire.Feed) -> int:
        """Publish the quotes that `path` answers; return how many parts it had."""
        parts, received_at_ns = await self._ask(path, feed)
        self._quotes.quoted((part.quote for part in parts), received_at_ns)
        return len(parts)

    async def _fetch_bars(self) -> None:
        """Fetch bars in even steps, while the polls are good."""
        await self._recall()
        while True:
            window = None
            if self.source.connected and self._breaker.closed:
                window = self._history.next(self._clock().wall_ns // NS)
            step_s = spacing_s(len(self._quotes.symbols), self._interval_s)
            if window is None:
                step_s = min(step_s, LOOK_S)
            else:
                await self._fetch(window)
            await asyncio.sleep(step_s * (1 - JITTER * self._jitter()))

    async def _recall(self) -> None:
        """Learn from the log which bars a former process has published."""
        since_ns = self._history.began_s(self._clock().wall_ns // NS) * NS
        async with aclosing(self._past(since_ns)) as values:
            async for value in values:
                for symbol, until_s in published_bars(value):
                    self._history.published(symbol, until_s)

    async def _fetch(self, window: Window) -> None:
        detail = "no bars in the answer"
        try:
            parts, received_at_ns = await self._ask(wire.bars_path(*window), "chart-5m")
            for part in parts[:1]:
                told = read_bars(bytes(part.data), received_at_ns // NS)
                self._history.answered(window, told.told_until_s)
                return
        except (RequestFailedError, wire.WireError) as error:
            detail = str(error)
            if not self._breaker.closed and self.source.connected:
                # the polls will not be answered either, and the router need not wait for one
                self._lose(self._with_wait(describe(error)))
        except ValueError as error:
            detail = str(error)
        self._history.failed(window, self._clock().wall_ns // NS)
        self._log.warning("yahoo_bars_failed", symbol=window.symbol, detail=detail)

    async def _ask(self, path: str, feed: wire.Feed) -> _Answer:
        """Publish what `path` answers, and return it. Raises RequestFailedError and WireError."""
        if (alone_s := self._breaker.wait_s(self._clock().monotonic_s)) > 0:
            detail = f"HTTP 429 to another request: {alone_s:.0f} s to wait"
            raise RequestFailedError(detail, reason="status", status=TOO_MANY_REQUESTS)
        try:
            body = await self._client.get(path)
        except RequestFailedError as error:
            self._note_refusal(error)
            raise
        self._breaker = self._breaker.answered(self._clock().monotonic_s)
        received_at_ns = self._clock().wall_ns
        parts = wire.split(body, feed)
        for part in parts:
            if feed == "chart-5m" and says_nothing(part, received_at_ns // NS):
                continue
            self._sequence += 1
            symbol = part.quote.symbol
            tick = RawTick(
                source=SOURCE,
                feed=feed,
                symbol=symbol,
                session_id=self._run_id,
                session_seq=self._sequence,
                received_at_ns=received_at_ns,
                encoding=part.encoding,
                raw=embed(part.data, part.encoding),
            )
            self._publisher.put(
                RAW_YAHOO,
                symbol,
                _encoder.encode(tick),
                received_at_ns,
                headers=self._receipts.begin(tick) if self._receipts else (),
            )
        self._meters.add("yahoo_messages_received_total", len(parts))
        await self._publisher.room()
        return _Answer(parts, received_at_ns)

    def _note_refusal(self, error: RequestFailedError) -> None:
        now_s = self._clock().monotonic_s
        if error.status == TOO_MANY_REQUESTS:
            self._breaker = self._breaker.refused(error.retry_after_s, now_s, jitter=self._jitter())
        elif error.status is not None and error.status < SERVER_ERROR:
            self._breaker = self._breaker.answered(now_s)

    def _with_wait(self, failure: Failure) -> Failure:
        """Return a failure that says for how long Yahoo is left alone, if it is."""
        alone_s = self._breaker.wait_s(self._clock().monotonic_s)
        if failure.code != TOO_MANY_REQUESTS or not alone_s:
            return failure
        detail = f"{failure.detail}: left alone for {alone_s:.0f} s"
        return replace(failure, detail=detail)

    def _conclude(self, failure: Failure | None) -> None:
        """Count the poll, and report where it changed the source's life."""
        self._meters.add("yahoo_polls_total", result="failure" if failure else "success")
        if failure is not None:
            self._lose(failure)
            return
        before, self.source = self.source, self.source.polled(None, self._clock())
        if not before.connected:
            self._report(Connected(**self._stamp()))

    def _lose(self, failure: Failure) -> None:
        before, self.source = self.source, self.source.polled(failure, self._clock())
        if before.connected or before.failures == 0:
            disconnected = Disconnected(
                **self._stamp(), reason=failure.reason, code=failure.code, detail=failure.detail
            )
            self._report(disconnected)
        else:
            self._log.warning(
                "yahoo_poll_failed",
                code=failure.code,
                detail=failure.detail,
                in_a_row=self.source.failures,
            )

    def _tell(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self._report(event_of(finding, self._stamp()))

    def _beat(self) -> None:
        now, last = self._clock(), self.source.last_success
        state: Literal["disconnected", "connecting", "connected", "error"]
        state = self.source.state(now, poll_s=self._poll_s)
        if state == "connected" and self._quotes.all_frozen:
            # it answers, but what it says is old: nothing to be routed
            state = "error"
        heartbeat = Heartbeat(
            **self._stamp(),
            state=state,
            authenticated=True,
            symbols=len(self._quotes.symbols),
            messages=self._sequence,
            last_message_at_ns=last.wall_ns if last else None,
        )
        self._report(heartbeat)

    def _report(self, status: SourceStatus) -> None:
        report(status, self._publisher)

    def _stamp(self) -> _Stamp:
        return _Stamp(
            source=SOURCE,
            feed="spark",
            session_id=self._run_id,
            at_ns=self._clock().wall_ns,
        )


def published_bars(value: bytes) -> list[tuple[str, int]]:
    """Return whose bars a record of the raw log tells, and the end of each in seconds."""
    try:
        tick = _raw_tick.decode(value)
        if tick.feed != "chart-5m":
            return []
        told = read_bars(bytes(tick.raw), tick.received_at_ns // NS)
    except ValueError:
        return []
    return [(told.symbol, bar.start_s + BAR_S) for bar in told.final]


def says_nothing(part: wire.Part, received_at_s: int) -> bool:
    """Say whether an answer is sound and tells of no bar that is over: a later one will."""
    try:
        return not read_bars(bytes(part.data), received_at_s).over
    except ValueError:
        return False


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Return when `event` is set, or after so many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def event_of(finding: Finding, stamp: _Stamp) -> SourceStatus:
    """Return a finding as an event."""
    match finding:
        case Froze(symbols=symbols, traded_at_s=traded_at_s):
            return Stalled(**stamp, symbols=symbols, since_ns=traded_at_s * NS)
        case Moved(symbols=symbols):
            return Resumed(**stamp, symbols=symbols)
        case Impaired(reason=reason, symbols=symbols):
            return SymbolsImpaired(**stamp, reason=reason, symbols=symbols)
        case Restored(reason=reason, symbols=symbols):
            return SymbolsRestored(**stamp, reason=reason, symbols=symbols)


def describe(error: RequestFailedError | wire.WireError) -> Failure:
    """Return a poll's failure by what one of its requests raised."""
    if isinstance(error, wire.WireError):
        return Failure(reason="error", detail=str(error))
    return Failure(
        reason="timeout" if error.reason == "timeout" else "error",
        code=error.status,
        detail=str(error),
        floor_s=error.retry_after_s or 0.0,
    )


def is_general(error: RequestFailedError | wire.WireError) -> bool:
    """Say whether the next request would fare no better: then the poll is over."""
    return isinstance(error, RequestFailedError) and (
        error.reason != "status" or error.status == TOO_MANY_REQUESTS
    )
