"""The backfill worker: fills the gaps that have ended, oldest first, one at a time.

It owns the ledger (`ingest.backfill.log`), asks the history (`ingest.alpaca.rest`), and does what
`ingest.backfill.plan` says. Nothing is remembered from one attempt to the next: whatever goes
wrong, an attempt at a gap is repeated from the log.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Literal

import msgspec
import structlog
from aiokafka.errors import KafkaError

from infra.kafka.read import read_to_end
from infra.settings import StageSettings
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA, SOURCES_GAPS, SOURCES_SYMBOLS
from ingest.alpaca.history import Page, Past, Query, Refusal, Resource, blame
from ingest.alpaca.rest import REQUEST_S, HistoryClient, RefusedError
from ingest.backfill import plan
from ingest.backfill.log import (
    DELIVERY_S,
    TAKEOVER_S,
    NotTheOwnerError,
    OwnedLedger,
    RawLog,
)
from ingest.backfill.plan import Later, Present, Window
from ingest.backoff import backoff
from ingest.events import GapClosed, GapEnded, GapEvent, RawTick, SymbolsFollowed
from ingest.gaps import Ledger
from ingest.keys import Keys
from ingest.publish import DeliveryFailedError, Publisher

SOURCE: Literal["alpaca"] = "alpaca"

METERS: dict[Resource, str] = {"trades": "trade", "bars": "bar"}

_encoder = msgspec.json.Encoder()
_gap_event = msgspec.json.Decoder(GapEvent)
_followed = msgspec.json.Decoder(SymbolsFollowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How patient the worker is, in seconds; the same everywhere but in tests.

    Attributes:
        request_s: how long one page may take.
        first_retry_s: the wait after a first failure; it doubles from there.
        retry_cap_s: the longest wait that doubling leads to.
        refused_s: the wait after a refusal that would be repeated. It may be the plan's: a free one
            gives the consolidated tape after a quarter of an hour.
        takeover_s: how long a new owner of the ledger waits.

    """

    request_s: float = REQUEST_S
    first_retry_s: float = 1.0
    retry_cap_s: float = 60.0
    refused_s: float = 300.0
    takeover_s: float = TAKEOVER_S


class UnknownSymbolsError(Exception):
    """The gap is of all that was followed, and nobody wrote what that was."""


@dataclass(slots=True)
class _Tally:
    """What came of an attempt so far."""

    published: "Counter[Resource]" = field(default_factory=Counter)
    refused: dict[str, None] = field(default_factory=dict)


class BackfillWorker:
    """Fills gaps from one history.

    Args:
        settings: where Kafka is, and what the topics are called.
        data_url: the history: scheme and host.
        keys: for it.
        member: the worker's name in its group, if it keeps one over a restart.
        publisher: takes ticks and the ledger's last word on each gap.
        meters: the metrics about `backfill`.
        run_id: names this process's run: the `session_id` of what it publishes.
        jitter: chance in [0, 1), asked once per failure.
        patience: how long it waits, and for what.
        clock_ns: nanoseconds since the epoch.

    """

    def __init__(
        self,
        *,
        settings: StageSettings,
        data_url: str,
        keys: Keys,
        member: str | None,
        publisher: Publisher,
        meters: Meters,
        run_id: str,
        jitter: Callable[[], float],
        patience: Patience = Patience(),
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._meters = meters
        self._run_id = run_id
        self._jitter = jitter
        self._patience = patience
        self._clock_ns = clock_ns
        servers = settings.kafka_bootstrap_servers
        self._history = HistoryClient(data_url, keys, request_s=patience.request_s)
        self._raw = RawLog(
            servers, settings.topic(RAW_ALPACA.name), partitions=RAW_ALPACA.partitions
        )
        self._owned = OwnedLedger(
            servers,
            settings.topic(SOURCES_GAPS.name),
            group=settings.topic("backfill"),
            member=member,
            takeover_s=patience.takeover_s,
            forget=self._forget,
            record=self._record,
            tenure=self._fill_all,
        )
        self._keys = keys
        self._ledger = Ledger()
        #: Gaps that the history refused, and until when they are left alone.
        self._aside: dict[str, int] = {}
        self._sequence = 0
        #: Attempts in a row that Kafka ended.
        self._failures = 0
        #: Set when there is something to look at: a record of the ledger, other keys.
        self._news = asyncio.Event()
        self._rekeyed = asyncio.Event()
        self._log = structlog.get_logger()

    async def run(self, stop: asyncio.Event) -> None:
        """Fill gaps until `stop` is set. Raises DeliveryFailedError."""
        async with self._history:
            following = asyncio.create_task(self._owned.follow())
            stopping = asyncio.create_task(stop.wait())
            try:
                await asyncio.wait({following, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
            finally:
                following.cancel()
                stopping.cancel()
                await asyncio.gather(following, stopping, return_exceptions=True)

    def refresh(self) -> None:
        """Bring the gauges up to date; called before every scrape."""
        self._meters.set("backfill_open_gaps", len(self._ledger.unclosed(SOURCE)))

    def rekey(self, keys: Keys) -> None:
        """Ask with other keys from now on, and at once where the old ones were refused."""
        if keys == self._keys:
            return
        self._keys = keys
        self._history.rekey(keys)
        self._aside.clear()
        self._rekeyed.set()
        self._news.set()

    def _forget(self) -> None:
        self._ledger = Ledger()
        self._aside.clear()

    def _record(self, value: bytes, place: str) -> None:
        """Take a record of the ledger; one that is none is said, and passed over."""
        try:
            self._ledger.take(_gap_event.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._log.warning("gap_event_unreadable", place=place, error=str(error))
        else:
            self._news.set()

    async def _fill_all(self) -> None:
        """Fill one gap after the other, as they are due, until cancelled."""
        while True:
            self._news.clear()
            now_ns = self._clock_ns()
            chosen = plan.choose(self._ledger.ended(SOURCE), self._aside, now_ns)
            match chosen:
                case Later(None):
                    await self._news.wait()
                case Later(int() as at_ns):
                    await _either(self._news, (at_ns - now_ns) / 1e9)
                case GapEnded() as gap:
                    await self._attempt(gap)

    async def _attempt(self, gap: GapEnded) -> None:
        """Try to fill a gap; where that fails, say so and wait."""
        self._rekeyed.clear()
        try:
            event = await self._fill(gap)
            await self._close(event)
        except RefusedError as error:
            await self._heed(gap, error.refusal)
        except UnknownSymbolsError:
            self._log.warning("gap_set_aside", gap_id=gap.gap_id, detail="symbols unknown")
            self._set_aside(gap)
        except (NotTheOwnerError, KafkaError) as error:
            self._failures += 1
            self._log.warning("gap_not_filled", gap_id=gap.gap_id, detail=str(error))
            await asyncio.sleep(self._delay(self._failures))
        else:
            self._failures = 0

    async def _heed(self, gap: GapEnded, refusal: Refusal) -> None:
        """Wait where the keys are refused; where the question is, let other gaps go first."""
        self._log.error(
            "history_refused",
            gap_id=gap.gap_id,
            status=refusal.status,
            detail=refusal.detail,
            again_in_s=self._patience.refused_s,
        )
        if refusal.kind == "keys":
            await _either(self._rekeyed, self._patience.refused_s)
        else:
            self._set_aside(gap)

    def _set_aside(self, gap: GapEnded) -> None:
        self._aside[gap.gap_id] = self._clock_ns() + int(self._patience.refused_s * 1e9)

    async def _fill(self, gap: GapEnded) -> GapClosed:
        """Publish what a gap lacks, and return its last event."""
        if not plan.recorded(gap):
            return self._unfillable(gap, "what was missed has no history")
        now_ns = self._clock_ns()
        window = plan.window(gap, now_ns)
        beyond = plan.beyond(gap, now_ns)
        if window is None:
            return self._unfillable(gap, beyond)
        symbols = gap.symbols or await self._followed()
        self._log.info(
            "gap_filling",
            gap_id=gap.gap_id,
            cause=gap.cause,
            seconds=round((gap.until_ns - gap.since_ns) / 1e9, 3),
            symbols=len(symbols),
        )
        tally = _Tally()
        for part in plan.parts(window):
            present = await self._present(gap, part)
            if part.start_ns == window.start_ns:
                tally.published += present.filled
            await self._fill_part(gap, present, symbols, tally)
        refused = f"the vendor does not know {', '.join(tally.refused)}" if tally.refused else ""
        detail = "; ".join(text for text in (beyond, refused) if text)
        return plan.closed(
            gap,
            at_ns=self._clock_ns(),
            outcome="partial" if detail else "filled",
            published=tally.published,
            detail=detail,
        )

    def _unfillable(self, gap: GapEnded, detail: str) -> GapClosed:
        return plan.closed(
            gap, at_ns=self._clock_ns(), outcome="unfillable", published={}, detail=detail
        )

    async def _followed(self) -> list[str]:
        """Return what is followed now. Raises UnknownSymbolsError."""
        symbols: list[str] = []
        servers = self._settings.kafka_bootstrap_servers
        topic = self._settings.topic(SOURCES_SYMBOLS.name)
        async with aclosing(read_to_end(servers, topic, 0)) as records:
            async for record in records:
                try:
                    followed = _followed.decode(record.value or b"")
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue
                if followed.source == SOURCE:
                    symbols = followed.symbols
        if not symbols:
            raise UnknownSymbolsError
        return symbols

    async def _present(self, gap: GapEnded, part: Window) -> Present:
        """Read from the log what it has of a part of a gap's window."""
        present = Present(gap.gap_id, part)
        async with aclosing(self._raw.since(plan.log_since_ns(part))) as values:
            async for value in values:
                present.take(value)
        return present

    async def _fill_part(
        self, gap: GapEnded, present: Present, symbols: list[str], tally: _Tally
    ) -> None:
        """Fetch a part of a window, batch by batch; leave out the symbols that are refused."""
        wanted = (symbol for symbol in symbols if symbol not in tally.refused)
        batches = deque(plan.batches(wanted))
        while batches:
            batch = batches.popleft()
            try:
                for query in plan.queries(present.part, gap.feed, batch):
                    await self._fetch(gap, query, present, tally)
            except RefusedError as error:
                blamed = blame(error.refusal, batch)
                if blamed is None:
                    raise
                tally.refused |= dict.fromkeys(blamed.refused)
                batches.extend(blamed.again)

    async def _fetch(self, gap: GapEnded, query: Query, present: Present, tally: _Tally) -> None:
        """Fetch all pages that answer a question, and publish what the log does not have."""
        page_token: str | None = None
        while True:
            page = await self._page(query, page_token)
            missing = present.missing(query, page.objects)
            if missing:
                await self._publish(gap, query, missing)
                tally.published[query.resource] += len(missing)
            page_token = page.next_token
            if page_token is None:
                return

    async def _page(self, query: Query, page_token: str | None) -> Page:
        """Return a page, however often it takes. Raises RefusedError where asking is of no use."""
        failures = 0
        while True:
            try:
                page = await self._history.page(query, page_token)
            except RefusedError as error:
                refusal = error.refusal
            else:
                self._meters.add("backfill_requests_total", result="success")
                return page
            limited = refusal.kind == "limited"
            self._meters.add("backfill_requests_total", result="limited" if limited else "failure")
            if refusal.kind in ("keys", "request"):
                raise RefusedError(refusal)
            failures += 1
            wait_s = self._delay(failures, floor_s=refusal.after_s or 0.0)
            self._log.warning(
                "history_limited" if limited else "history_failed",
                resource=query.resource,
                detail=refusal.detail,
                again_in_s=round(wait_s, 3),
            )
            await asyncio.sleep(wait_s)

    def _delay(self, failures: int, *, floor_s: float = 0.0) -> float:
        return backoff(
            failures,
            first_s=self._patience.first_retry_s,
            cap_s=self._patience.retry_cap_s,
            floor_s=floor_s,
            jitter=self._jitter(),
        )

    async def _publish(self, gap: GapEnded, query: Query, missing: list[Past]) -> None:
        """Have the log take objects of the history. Raises NotTheOwnerError."""
        async with self._owned.confirmed():
            received_at_ns = self._clock_ns()
            for past in missing:
                self._sequence += 1
                tick = RawTick(
                    source=SOURCE,
                    feed=gap.feed,
                    symbol=past.symbol,
                    session_id=self._run_id,
                    session_seq=self._sequence,
                    received_at_ns=received_at_ns,
                    encoding="json",
                    raw=past.raw,
                    backfill=query.resource,
                    gap_id=gap.gap_id,
                )
                value = _encoder.encode(tick)
                self._publisher.put(RAW_ALPACA, past.symbol, value, received_at_ns)
            await self._delivered()
        self._meters.add("backfill_ticks_total", len(missing), type=METERS[query.resource])

    async def _close(self, event: GapClosed) -> None:
        """Have the ledger say the last word on a gap."""
        async with self._owned.confirmed():
            value = _encoder.encode(event)
            self._publisher.put(SOURCES_GAPS, event.source, value, event.at_ns)
            await self._delivered()
        self._ledger.take(event)
        self._log.info(
            "gap_closed",
            gap_id=event.gap_id,
            outcome=event.outcome,
            trades=event.trades,
            bars=event.bars,
            detail=event.detail,
        )

    async def _delivered(self) -> None:
        """Return once the log has it all: within the time for which we are sure to be the owner."""
        try:
            async with asyncio.timeout(DELIVERY_S):
                await self._publisher.drain()
        except TimeoutError as error:
            message = f"the log did not take a page within {DELIVERY_S:g} s"
            raise DeliveryFailedError(message) from error


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Return when `event` is set, or after so many seconds."""
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await event.wait()
    except TimeoutError:
        return
