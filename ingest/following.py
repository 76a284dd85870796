"""Which symbols a source follows, while the list may change.

A list is in the log before it is followed, and Kafka has said so: no tick of a new symbol can stand
in the log before the event that makes it known.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from infra.topics import SOURCES_SYMBOLS, Topic
from ingest.events import Source, SymbolsFollowed
from ingest.publish import Publisher

#: How often the list is read again.
RELOAD_S = 300.0

_encoder = msgspec.json.Encoder()
_log = structlog.get_logger()


class Announcements:
    """Writes down what a source follows, and waits until it is in the log.

    Args:
        source: whose list it is.
        origin: where the list comes from.

    """

    def __init__(self, source: Source, origin: Path) -> None:
        self.source: Source = source
        self._origin = str(origin)
        self._in_the_log = asyncio.Event()

    def delivered(self, topic: Topic, _: Iterable[int]) -> None:
        """Take note of what Kafka has."""
        if topic is SOURCES_SYMBOLS:
            self._in_the_log.set()

    async def announce(self, symbols: tuple[str, ...], publisher: Publisher) -> None:
        """Return once it is in the log that `symbols` are followed."""
        event = SymbolsFollowed(
            source=self.source,
            at_ns=time.time_ns(),
            symbols=list(symbols),
            origin=self._origin,
        )
        self._in_the_log.clear()
        publisher.put(SOURCES_SYMBOLS, self.source, _encoder.encode(event), event.at_ns)
        await self._in_the_log.wait()


async def watch_symbols(
    read: Callable[[], tuple[str, ...]],
    follow: Callable[[tuple[str, ...]], Awaitable[None]],
    symbols: tuple[str, ...],
    *,
    look: asyncio.Event,
    reload_s: float = RELOAD_S,
) -> None:
    """Have other lists followed as they come; for ever. A list that is wrong changes nothing.

    Args:
        read: reads the list; raises ValueError with a sentence.
        follow: has a list followed.
        symbols: the list that is followed now.
        look: set to have the list read now.
        reload_s: between two readings.

    """
    complaint = ""
    while True:
        try:
            async with asyncio.timeout(reload_s):
                await look.wait()
            look.clear()
        except TimeoutError:
            pass  # it is time to look anyway
        try:
            found = read()
        except ValueError as error:
            if str(error) != complaint:
                complaint = str(error)
                _log.warning("symbols_kept", detail=complaint, symbols=len(symbols))
            continue
        complaint = ""
        if found != symbols:
            added, removed = set(found) - set(symbols), set(symbols) - set(found)
            symbols = found
            _log.info("symbols_changed", added=sorted(added), removed=sorted(removed))
            await follow(symbols)
