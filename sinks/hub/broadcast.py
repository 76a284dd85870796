"""Prices out to all clients: the loop around the pure fan-out; thin, over the event loop."""

import asyncio
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Final

import structlog

from infra.clock import NS, now_ns
from infra.telemetry import Meters
from infra.traces.span import Context
from infra.traces.tracer import Tracer
from processors.events import RoutedPrice
from sinks.events import ProbeAnswered
from sinks.hub import probes, words
from sinks.hub.connection import Connection
from sinks.hub.fanout import Client, Flush
from sinks.hub.frames import frame
from sinks.hub.journal import Journal, Nowhere
from sinks.hub.limits import Moment
from sinks.hub.methods import Hub
from sinks.hub.protocol.handshake import ENCODINGS
from sinks.hub.protocol.messages import Completion, Invocation
from sinks.hub.tally import Tally
from sinks.hub.traces import Followed, update_spans

_log = structlog.get_logger()

#: At least so long from one flush to the next, and so many times as long as the last one took: with
#: very many clients flushes become fewer, larger ones.
PAUSE_S: Final = 0.01
SHARE: Final = 3
LONGEST_PAUSE_S: Final = 0.05
MINUTE_S: Final = 60.0


class Broadcast:
    """Everybody who is connected, and what they are sent.

    Args:
        hub: what is known.
        meters: where times are measured.
        journal: where it is written down.
        hub_id: by which name.
        tracer: what spans are told to; None where nothing is traced.

    """

    def __init__(
        self,
        hub: Hub,
        meters: Meters,
        journal: Journal | None = None,
        hub_id: str = "hub",
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        #: By symbol, the traced price that waits to be sent, and the span that took it.
        self._followed: dict[str, Followed] = {}
        self.hub = hub
        self.hub_id = hub_id
        self.tally = Tally()
        self.journal = journal or Nowhere()
        self._meters = meters
        self.connections: dict[Client, Connection] = {}
        self._wake = asyncio.Event()
        self._minute_since_ns = now_ns()
        #: How old Alpaca's last price was once it was sent.
        self._age_s: float | None = None
        #: Symbols whose latest price is news; one that is said again after a switch is not, nor
        #: one that takes the place of a price that was taken back.
        self._news: set[str] = set()

    def join(self, connection: Connection) -> None:
        """Count a connection in."""
        self.connections[connection.caller.client] = connection
        self.journal.note(connection.session.came(connection.encoding.name))
        self._count(connection.session.hub)

    def leave(self, connection: Connection) -> None:
        """Forget a connection."""
        del self.connections[connection.caller.client]
        self.hub.fanout.leave(connection.caller.client)
        self.journal.note(connection.session.left(now_ns()))
        self._count(connection.session.hub)

    def _count(self, hub: str) -> None:
        number = sum(each.session.hub == hub for each in self.connections.values())
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
            before = known and (known.epoch, known.fence)
            if before in {None, (price.epoch, price.fence)} and price.amends is None:
                self._news.add(price.symbol)
            else:
                self._news.discard(price.symbol)
        self.wake()

    def follow(self, price: RoutedPrice, taken: Context) -> None:
        """Have a price's trace go on where it is sent, or what has taken its place by then."""
        self._followed[price.symbol] = Followed(price, taken)

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
        began, began_ns = time.perf_counter(), now_ns()
        flush = self.hub.fanout.flush(time.monotonic_ns(), self._busy)
        for client in flush.hopeless:
            connection = self.connections[client]
            session = connection.session
            session.ends("too_slow", "behind for too long")
            _log.info("client_too_slow", connection=session.connection_id, hub=session.hub)
            connection.abort()
        traces = {s: self._followed.pop(s) for s in flush.due & self._followed.keys()}
        if not flush.sends:
            return
        frames = self._frames(flush)
        writing = time.perf_counter()
        for data, symbols, clients in frames:
            for client in clients:
                connection = self.connections[client]
                connection.write(data)
                connection.session.updates += symbols
            self.tally.now.updates += symbols * len(clients)
            self.tally.now.bytes += len(data) * len(clients)
        ended = time.perf_counter()
        self._meters.observe("signalr_broadcast_duration_seconds", ended - writing)
        self._meters.observe("multiasset_broadcast_duration_seconds", ended - began)
        self._measure(flush, traces)
        if self._tracer and traces:
            self._tracer.tell(*update_spans(flush, traces, self.hub.fanout.latest, began_ns))

    async def probe(self) -> None:
        """Ask some of those who offered to answer, for ever."""
        while True:
            await asyncio.sleep(probes.EVERY_S)
            self.probe_some()

    def probe_some(self) -> None:
        """Ask some of those who offered to answer; one that is behind is asked like any other."""
        offered = [each for each in self.connections.values() if each.caller.probe.offered]
        for connection in probes.sample(offered, secrets.SystemRandom().sample):
            connection.say(connection.caller.probe.ask(time.monotonic_ns()))

    def answered(self, connection: Connection, completion: Completion, now: Moment) -> None:
        """Take a client's answer."""
        trip_ns = connection.caller.probe.answered(completion, now.counted_ns)
        if trip_ns is None:
            return
        trip_s = trip_ns / NS
        self.tally.now.round_trip.add(trip_s)
        self._meters.observe("signalr_client_round_trip_seconds", trip_s)
        self.journal.note(
            ProbeAnswered(
                at_ns=now.at_ns,
                hub_id=self.hub_id,
                connection_id=connection.session.connection_id,
                round_trip_s=trip_s,
                age_s=self._age_s,
            )
        )

    def updates_per_second(self) -> float:
        """Return how many prices are sent, each counted once a client, over the last minute."""
        now = now_ns()
        minutes = [*self.tally.minutes][-2:]
        began = self._minute_since_ns - (len(minutes) - 1) * int(MINUTE_S * NS)
        seconds = (now - began) / NS
        return sum(minute.updates for minute in minutes) / max(seconds, 1.0)

    async def keep_minutes(self) -> None:
        """Write down every minute, for ever, and the rest of one at the end."""
        try:
            while True:
                await asyncio.sleep(MINUTE_S)
                self._cut()
        finally:
            self._cut()

    def _cut(self) -> None:
        now = now_ns()
        clients, since_ns = len(self.connections), self._minute_since_ns
        self.journal.note(
            self.tally.cut(hub_id=self.hub_id, clients=clients, since_ns=since_ns, now_ns=now)
        )
        self._minute_since_ns = now

    def _busy(self, client: Client) -> bool:
        return self.connections[client].busy

    def _frames(self, flush: Flush) -> list[tuple[bytes, int, list[Client]]]:
        latest = self.hub.fanout.latest
        written: dict[tuple[str, str], bytes] = {}
        frames = []
        for name, symbols, clients in flush.sends:
            encoding = ENCODINGS[name]
            parts = []
            for symbol in symbols:
                part = written.get((name, symbol))
                if part is None:
                    update = words.price_update(latest[symbol], self.hub.days.get(symbol))
                    part = encoding.encode(Invocation("PriceUpdate", [update]))
                    written[name, symbol] = part
                parts.append(part)
            data = frame(b"".join(parts), binary=encoding.binary)
            frames.append((data, len(symbols), clients))
        return frames

    def _measure(self, flush: Flush, traces: Mapping[str, Followed]) -> None:
        """Take the times of what is news: from the market, and from the socket, to here."""
        sent = {symbol for send in flush.sends for symbol in send.symbols}
        now = now_ns()
        for symbol in flush.due & sent & self._news:
            self._news.discard(symbol)
            price = self.hub.fanout.latest[symbol]
            age, trace = (now - price.market_time_ns) / NS, None
            if (followed := traces.get(symbol)) and followed.price is price:
                trace = followed.taken.trace_id
            self._meters.observe("alpaca_message_latency_seconds", age, trace, source=price.source)
            self.tally.now.latency[price.source].add(age)
            if price.source == "alpaca":
                self._age_s = age
                taken = (now - price.received_at_ns) / NS
                self._meters.observe("alpaca_websocket_to_signalr_seconds", taken, trace)
