"""Prices out to all clients: the loop around the pure fan-out; thin, over the event loop."""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

import structlog

from infra.clock import NS, now_ns
from infra.telemetry import Meters
from processors.events import RoutedPrice
from sinks.hub import words
from sinks.hub.connection import Connection
from sinks.hub.fanout import Client, Flush
from sinks.hub.frames import frame
from sinks.hub.methods import Hub
from sinks.hub.protocol.handshake import ENCODINGS
from sinks.hub.protocol.messages import Invocation

_log = structlog.get_logger()

#: At least so long from one flush to the next, and so many times as long as the last one took: with
#: very many clients flushes become fewer, larger ones.
PAUSE_S: Final = 0.01
SHARE: Final = 3
LONGEST_PAUSE_S: Final = 0.05


class Broadcast:
    """Everybody who is connected, and what they are sent.

    Args:
        hub: what is known.
        meters: where times are measured.

    """

    def __init__(self, hub: Hub, meters: Meters) -> None:
        self.hub = hub
        self._meters = meters
        self.connections: dict[Client, Connection] = {}
        self._wake = asyncio.Event()
        #: Symbols whose latest price is news; one that is said again after a switch is not.
        self._news: set[str] = set()

    def join(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections[connection.caller.client] = connection
        self._count(connection.hub)

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        del self.connections[connection.caller.client]
        self.hub.fanout.leave(connection.caller.client)
        self._count(connection.hub)

    def _count(self, hub: str) -> None:
        number = sum(connection.hub == hub for connection in self.connections.values())
        self._meters.set("signalr_connections", number, hub=hub)

    def wake(self) -> None:
        """Look whether there is something to send."""
        self._wake.set()

    def put(self, prices: Iterable[RoutedPrice]) -> None:
        """Take routed prices, in the order of the log."""
        for price in prices:
            known = self.hub.fanout.latest.get(price.symbol)
            if not self.hub.put(price):
                continue
            if known is None or known.epoch == price.epoch:
                self._news.add(price.symbol)
            else:
                self._news.discard(price.symbol)
        self.wake()

    def tell(self, message: Invocation, *, market: bool = False) -> None:
        """Say something to everybody, or to those who follow the market's status."""
        for connection in [*self.connections.values()]:
            if connection.caller.market_status or not market:
                connection.say(message)

    async def run(self) -> None:
        """Flush for ever."""
        clock = asyncio.get_running_loop().time
        not_before = clock()
        while True:
            await self._wake.wait()
            now = time.monotonic_ns()
            at_ns = self.hub.fanout.wake_at_ns(now)
            if at_ns is None:
                self._wake.clear()
                continue
            await asyncio.sleep(max((at_ns - now) / NS, not_before - clock()))
            began = clock()
            self.flush()
            pause = min(max(PAUSE_S, SHARE * (clock() - began)), LONGEST_PAUSE_S)
            not_before = clock() + pause

    def flush(self) -> None:
        """Send what is due."""
        began = time.perf_counter()
        flush = self.hub.fanout.flush(time.monotonic_ns(), self._busy)
        for client in flush.hopeless:
            connection = self.connections[client]
            _log.info("client_too_slow", connection=connection.id, hub=connection.hub)
            connection.abort()
        if not flush.sends:
            return
        frames = self._frames(flush)
        writing = time.perf_counter()
        for data, clients in frames:
            for client in clients:
                self.connections[client].write(data)
        ended = time.perf_counter()
        self._meters.observe("signalr_broadcast_duration_seconds", ended - writing)
        self._meters.observe("multiasset_broadcast_duration_seconds", ended - began)
        self._measure(flush)

    def _busy(self, client: Client) -> bool:
        return self.connections[client].busy

    def _frames(self, flush: Flush) -> list[tuple[bytes, list[Client]]]:
        latest = self.hub.fanout.latest
        written: dict[tuple[str, str], bytes] = {}
        frames = []
        for name, symbols, clients in flush.sends:
            encoding = ENCODINGS[name]
            parts = []
            for symbol in symbols:
                part = written.get((name, symbol))
                if part is None:
                    update = words.price_update(latest[symbol])
                    part = encoding.encode(Invocation("PriceUpdate", [update]))
                    written[name, symbol] = part
                parts.append(part)
            frames.append((frame(b"".join(parts), binary=encoding.binary), clients))
        return frames

    def _measure(self, flush: Flush) -> None:
        """Take the times of what is news: from the market, and from the socket, to here."""
        sent = {symbol for send in flush.sends for symbol in send.symbols}
        now = now_ns()
        for symbol in flush.due & sent & self._news:
            self._news.discard(symbol)
            price = self.hub.fanout.latest[symbol]
            age = (now - price.market_time_ns) / NS
            self._meters.observe("alpaca_message_latency_seconds", age, source=price.source)
            if price.source == "alpaca":
                taken = (now - price.received_at_ns) / NS
                self._meters.observe("alpaca_websocket_to_signalr_seconds", taken)
