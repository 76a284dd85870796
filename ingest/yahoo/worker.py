"""The Yahoo worker: polls, publishes what came, and tells the source's life."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

import msgspec
import structlog

from infra.telemetry import Meters
from infra.topics import RAW_YAHOO
from ingest.clock import Now, every, read_clock
from ingest.events import Connected, Disconnected, Heartbeat, RawTick
from ingest.publish import Publisher
from ingest.raw import embed
from ingest.status import report
from ingest.yahoo import wire
from ingest.yahoo.client import NOT_FOUND, TOO_MANY_REQUESTS, RequestFailedError, YahooClient
from ingest.yahoo.polling import TOO_MANY_FLOOR_S, Failure, Source, pause

SOURCE: Literal["yahoo"] = "yahoo"
HEARTBEAT_S = 1.0
#: The most symbols that are asked for one by one in a poll, because spark left them out.
STRAGGLERS = 10

_encoder = msgspec.json.Encoder()


class _Stamp(TypedDict):
    source: Literal["yahoo"]
    feed: str
    session_id: str
    at_ns: int


class YahooWorker:
    """Polls one set of symbols.

    Args:
        client: asks.
        symbols: what to ask for, most important first.
        poll_s: from the beginning of one poll to that of the next.
        publisher: takes ticks and status events.
        meters: the metrics about `yahoo`.
        run_id: names this process's run; it is the session's id.
        jitter: chance in [0, 1).
        clock: reads the clocks.

    """

    def __init__(
        self,
        *,
        client: YahooClient,
        symbols: Sequence[str],
        poll_s: float,
        publisher: Publisher,
        meters: Meters,
        run_id: str,
        jitter: Callable[[], float],
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        self.source = Source()
        self._client = client
        self._symbols = symbols
        self._poll_s = poll_s
        self._publisher = publisher
        self._meters = meters
        self._run_id = run_id
        self._jitter = jitter
        self._clock = clock
        self._sequence = 0
        self._unknown: set[str] = set()
        self._log = structlog.get_logger()

    async def run(self, stop: asyncio.Event) -> None:
        """Poll until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._polls()),
                tasks.create_task(every(HEARTBEAT_S, self._beat)),
            ]
            await stop.wait()
            for task in running:
                task.cancel()
        if self.source.connected:
            report(Disconnected(**self._stamp(), reason="shutdown"), self._publisher)

    def refresh(self) -> None:
        """Bring the gauges up to date; called before every scrape."""
        if self.source.last_success:
            self._meters.set(
                "yahoo_last_success_timestamp_seconds", self.source.last_success.wall_ns / 1e9
            )

    async def _polls(self) -> None:
        while True:
            begun = self._clock().monotonic_s
            failure = await self._poll()
            self._conclude(failure)
            wait_s = pause(self.source, failure, poll_s=self._poll_s, jitter=self._jitter())
            await asyncio.sleep(max(0.0, begun + wait_s - self._clock().monotonic_s))

    async def _poll(self) -> Failure | None:
        """Ask for every symbol once; a poll is good when it brought something and none said stop.

        A batch that fails by itself leaves its symbols to be asked for one by one.
        """
        before = self._sequence
        missing: list[str] = []
        failure = Failure(reason="error", detail="no quote in any answer")
        for batch in wire.batches(self._symbols):
            try:
                answered = await self._ask(wire.spark_path(batch), "spark")
            except (RequestFailedError, wire.WireError) as error:
                failure = describe(error)
                if is_general(error):
                    return failure
                self._log.warning("yahoo_batch_failed", symbols=len(batch), detail=str(error))
                answered = set()
            missing += [symbol for symbol in batch if symbol not in answered]
        try:
            await self._fetch_stragglers(missing[:STRAGGLERS])
        except RequestFailedError as error:
            return describe(error)
        return None if self._sequence > before else failure

    async def _fetch_stragglers(self, symbols: Sequence[str]) -> None:
        """Ask one by one, until one fails. Raises RequestFailedError where all would fail."""
        for symbol in symbols:
            try:
                await self._ask(wire.chart_path(symbol), "chart")
            except (RequestFailedError, wire.WireError) as error:
                if isinstance(error, RequestFailedError) and is_general(error):
                    raise
                if not isinstance(error, RequestFailedError) or error.status != NOT_FOUND:
                    self._log.warning("yahoo_chart_failed", symbol=symbol, detail=str(error))
                    return
                self._note_unknown(symbol)

    async def _ask(self, path: str, feed: wire.Feed) -> set[str]:
        """Publish what `path` answers, and return the symbols that it speaks of."""
        body = await self._client.get(path)
        received_at_ns = self._clock().wall_ns
        parts = wire.split(body, feed)
        for part in parts:
            self._sequence += 1
            tick = RawTick(
                source=SOURCE,
                feed=feed,
                symbol=part.symbol,
                session_id=self._run_id,
                session_seq=self._sequence,
                received_at_ns=received_at_ns,
                encoding=part.encoding,
                raw=embed(part.data, part.encoding),
            )
            self._publisher.put(RAW_YAHOO, part.symbol, _encoder.encode(tick), received_at_ns)
        self._meters.add("yahoo_messages_received_total", len(parts))
        await self._publisher.room()
        return {part.symbol for part in parts}

    def _note_unknown(self, symbol: str) -> None:
        if symbol not in self._unknown:
            self._unknown.add(symbol)
            self._log.warning("yahoo_unknown_symbol", symbol=symbol)

    def _conclude(self, failure: Failure | None) -> None:
        """Count the poll, and report where it changed the source's life."""
        before, self.source = self.source, self.source.polled(failure, self._clock())
        self._meters.add("yahoo_polls_total", result="failure" if failure else "success")
        if failure is None:
            if not before.connected:
                report(Connected(**self._stamp()), self._publisher)
            return
        if before.connected or before.failures == 0:
            disconnected = Disconnected(
                **self._stamp(), reason=failure.reason, code=failure.code, detail=failure.detail
            )
            report(disconnected, self._publisher)
        else:
            self._log.warning(
                "yahoo_poll_failed",
                code=failure.code,
                detail=failure.detail,
                in_a_row=self.source.failures,
            )

    def _beat(self) -> None:
        now, last = self._clock(), self.source.last_success
        heartbeat = Heartbeat(
            **self._stamp(),
            state=self.source.state(now, poll_s=self._poll_s),
            authenticated=True,
            symbols=len(self._symbols),
            messages=self._sequence,
            last_message_at_ns=last.wall_ns if last else None,
        )
        report(heartbeat, self._publisher)

    def _stamp(self) -> _Stamp:
        return _Stamp(
            source=SOURCE,
            feed="spark",
            session_id=self._run_id,
            at_ns=self._clock().wall_ns,
        )


def describe(error: RequestFailedError | wire.WireError) -> Failure:
    """Return a poll's failure by what one of its requests raised."""
    if isinstance(error, wire.WireError):
        return Failure(reason="error", detail=str(error))
    floor_s = error.retry_after_s or 0.0
    if error.status == TOO_MANY_REQUESTS and error.retry_after_s is None:
        floor_s = TOO_MANY_FLOOR_S
    return Failure(
        reason="timeout" if error.reason == "timeout" else "error",
        code=error.status,
        detail=str(error),
        floor_s=floor_s,
    )


def is_general(error: RequestFailedError | wire.WireError) -> bool:
    """Say whether the next request would fare no better: then the poll is over."""
    return isinstance(error, RequestFailedError) and (
        error.reason != "status" or error.status == TOO_MANY_REQUESTS
    )
