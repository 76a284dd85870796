"""Which symbols a source follows, while the list may change.

A list is in the log before it is followed, and Kafka has said so: no tick of a new symbol can stand
in the log before the event that makes it known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from infra.clock import now_ns
from infra.topics import SOURCES_SYMBOLS, Topic
from ingest.events import Source, SourceStatus, SymbolsFollowed, SymbolsImpaired, SymbolsRestored
from ingest.fetch import fetch
from ingest.lists import Listing, Question, choose
from ingest.publish import Publisher
from ingest.status import report
from ingest.symbols import read

#: How often the lists are read again.
RELOAD_S = 300.0
#: The same while one of them cannot be had.
RETRY_S = 30.0

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger()


class Following:
    """Reads the lists, decides which counts, and has it in the log before it is followed.

    Args:
        source: whose list it is.
        feed: which of the vendor's feeds.
        run_id: names this process's run: the `session_id` of what it tells.
        file: the list on disk.
        symbols: what that said when the settings were read.
        asked: where another list is, which counts for more; None where there is none.
        limit: how many symbols the plan allows; None for any number.
        ask: asks; raises ValueError with a sentence.

    """

    def __init__(
        self,
        source: Source,
        *,
        feed: str,
        run_id: str,
        file: Path,
        symbols: tuple[str, ...],
        asked: Question | None = None,
        limit: int | None = None,
        ask: Callable[[Question], Awaitable[Listing]] = fetch,
    ) -> None:
        self.source: Source = source
        self._feed = feed
        self._run_id = run_id
        self._file = file
        self._listing = Listing(symbols=symbols, origin=str(file))
        self._asked = asked
        self._limit = limit
        self._ask = ask
        #: The symbols that are followed now, most important first.
        self.symbols: tuple[str, ...] = ()
        self._beyond: tuple[str, ...] = ()
        #: Why each list that cannot be had cannot.
        self._complaints: dict[str, str] = {}
        self._in_the_log = asyncio.Event()

    def delivered(self, topic: Topic, _: Iterable[int]) -> None:
        """Take note of what Kafka has."""
        if topic is SOURCES_SYMBOLS:
            self._in_the_log.set()

    async def begin(self, publisher: Publisher) -> tuple[str, ...]:
        """Return what to follow at first, once it is in the log."""
        self._listing = await self._read()
        await self._adopt(publisher)
        return self.symbols

    async def watch(
        self,
        publisher: Publisher,
        follow: Callable[[tuple[str, ...]], None],
        *,
        look: asyncio.Event,
        reload_s: float = RELOAD_S,
        retry_s: float = RETRY_S,
    ) -> None:
        """Have other lists followed as they come; for ever. A list that is wrong changes nothing.

        Args:
            publisher: takes what is told.
            follow: has a list followed.
            look: set to have the lists read now.
            reload_s: between two readings.
            retry_s: the same while a list cannot be had.

        """
        while True:
            try:
                async with asyncio.timeout(retry_s if self._complaints else reload_s):
                    await look.wait()
            except TimeoutError:
                pass  # it is time to look anyway
            look.clear()
            before, self._listing = self.symbols, await self._read()
            if self._within(self._listing) == (self.symbols, self._beyond):
                continue
            await self._adopt(publisher)
            if self.symbols != before:
                added, removed = set(self.symbols) - set(before), set(before) - set(self.symbols)
                _log.info(
                    "symbols_changed",
                    added=sorted(added),
                    removed=sorted(removed),
                    origin=self._listing.origin,
                )
                follow(self.symbols)

    async def _read(self) -> Listing:
        """Return the list that counts now."""
        answered = file = None
        if self._asked is not None:
            try:
                answered = await self._ask(self._asked)
            except ValueError as error:
                self._complain(self._asked.origin, str(error))
            else:
                self._complaints.pop(self._asked.origin, None)
        try:
            file = Listing(symbols=read(self._file), origin=str(self._file))
        except ValueError as error:
            self._complain(str(self._file), str(error))
        else:
            self._complaints.pop(str(self._file), None)
        return choose(self._listing, answered=answered, asked=self._asked, file=file)

    def _complain(self, place: str, sentence: str) -> None:
        """Say why a list cannot be had, once a reason."""
        if self._complaints.get(place) != sentence:
            self._complaints[place] = sentence
            _log.warning("symbols_unreadable", detail=sentence, kept=len(self._listing.symbols))

    def _within(self, listing: Listing) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return what of a list the plan allows, and what is beyond."""
        limit = len(listing.symbols) if self._limit is None else self._limit
        return listing.symbols[:limit], listing.symbols[limit:]

    async def _adopt(self, publisher: Publisher) -> None:
        """Have the list in the log; on return Kafka has it."""
        symbols, beyond = self._within(self._listing)
        event = SymbolsFollowed(
            source=self.source,
            at_ns=now_ns(),
            symbols=list(symbols),
            origin=self._listing.origin,
        )
        self._in_the_log.clear()
        publisher.put(SOURCES_SYMBOLS, self.source, _encoder.encode(event), event.at_ns)
        await self._in_the_log.wait()
        for status in self._beyond_limit(beyond):
            report(status, publisher)
        self.symbols, self._beyond = symbols, beyond

    def _beyond_limit(self, beyond: tuple[str, ...]) -> Iterable[SourceStatus]:
        """Yield what is to be told of symbols that the plan does not allow."""
        told: dict[str, Any] = {
            "source": self.source,
            "feed": self._feed,
            "session_id": self._run_id,
            "at_ns": now_ns(),
            "reason": "limit",
        }
        restored = [symbol for symbol in self._beyond if symbol not in beyond]
        if restored:
            yield SymbolsRestored(**told, symbols=restored)
        if beyond and beyond != self._beyond:
            detail = f"ALPACA_SYMBOL_LIMIT is {self._limit}"
            yield SymbolsImpaired(**told, symbols=list(beyond), detail=detail)
