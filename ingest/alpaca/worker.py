"""The Alpaca worker: gives the session its socket and its clock, and does what it says."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from infra.telemetry import Meters
from infra.topics import RAW_ALPACA
from ingest.alpaca.session import (
    Close,
    Closure,
    Open,
    Output,
    Problem,
    Received,
    Reconnected,
    Send,
    Session,
    State,
)
from ingest.alpaca.wire import CONTENT_TYPES, Encoding
from ingest.clock import Now, every, read_clock
from ingest.events import Disconnected, SourceStatus
from ingest.publish import Publisher
from ingest.status import report

#: A session's states, as the metric spells them.
STATE_LABELS: Mapping[State, str] = {state: state.value.capitalize() for state in State}

#: What a disconnection counts as, by its reason; a close in good order is no error.
ERROR_KINDS = {"auth": "authentication", "timeout": "connection", "error": "connection"}

#: The largest frame taken. The vendor's carry some hundred messages, of some 200 bytes each.
MAX_FRAME_BYTES = 4 * 1024 * 1024
#: How many frames may wait for us; beyond that the socket is not read.
MAX_FRAMES = 64
#: The vendor reads our frames in fragments of this size at most, as its own clients send them.
FRAGMENT_BYTES = 16 * 1024
#: How many different oddities of the wire are logged; all are counted.
ODDITIES_LOGGED = 50

KEEPALIVE_TIMED_OUT = (1011, "keepalive ping timeout")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """How patient the worker is; the same everywhere but in tests.

    Attributes:
        open_s: for the handshakes of TCP, TLS and WebSocket.
        ping_s: between our pings. The vendor's own are undocumented.
        pong_s: for the answer to a ping; then the socket is dead.
        close_s: for the other side's part of a close.
        heartbeat_s: between heartbeats.

    """

    open_s: float = 10.0
    ping_s: float = 10.0
    pong_s: float = 5.0
    close_s: float = 2.0
    heartbeat_s: float = 1.0


_encoder = msgspec.json.Encoder()


class _NoFrames(logging.LoggerAdapter[logging.Logger]):
    """The library's log without DEBUG, where it writes frames out: one of ours holds the secret."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802  # logging's own name
        return level > logging.DEBUG and super().isEnabledFor(level)


_wire_log = _NoFrames(logging.getLogger("websockets.client"))


class AlpacaWorker:
    """Runs one session against one stream.

    Args:
        url: the stream.
        encoding: of its frames, both ways.
        session: decides.
        publisher: takes ticks and status events.
        meters: the metrics about `alpaca`.
        timings: how patient it is.
        clock: reads the clocks.

    """

    def __init__(
        self,
        *,
        url: str,
        encoding: Encoding,
        session: Session,
        publisher: Publisher,
        meters: Meters,
        timings: Timings = Timings(),
        clock: Callable[[], Now] = read_clock,
    ) -> None:
        self._url = url
        self._encoding = encoding
        self._session = session
        self._publisher = publisher
        self._meters = meters
        self._timings = timings
        self._clock = clock
        self._log = structlog.get_logger()
        self._oddities: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._connections()),
                tasks.create_task(every(self._timings.heartbeat_s, self._beat)),
            ]
            await stop.wait()
            for task in running:
                task.cancel()

    def refresh(self) -> None:
        """Bring the gauges up to date; called before every scrape."""
        session, meters = self._session, self._meters
        meters.state("alpaca_connection_status", STATE_LABELS[session.state])
        meters.set("alpaca_authentication_status", float(session.authenticated))
        meters.set("alpaca_consecutive_auth_failures", session.refusals)
        meters.set("alpaca_subscribed_symbols", len(session.subscribed))
        if session.last_message_at_ns is not None:
            meters.set("alpaca_last_message_timestamp_seconds", session.last_message_at_ns / 1e9)

    def _beat(self) -> None:
        self._tell(self._session.heartbeat(self._clock()))

    async def _connections(self) -> None:
        """Connect, one connection after the other, for ever."""
        while True:
            await self._until(self._session.deadline)
            for output in self._session.timer(self._clock()):
                if isinstance(output, Open):
                    closure = await self._connection()
                    await self._perform(self._session.closed(closure, self._clock()), None)

    async def _until(self, deadline: float | None) -> None:
        if deadline is None:
            message = f"nothing to wait for in state {self._session.state.name}"
            raise RuntimeError(message)
        await asyncio.sleep(max(0.0, deadline - self._clock().monotonic_s))

    async def _connection(self) -> Closure:
        """Open one socket, stream until it is gone, and say why it is."""
        try:
            socket = await connect(
                self._url,
                additional_headers={"Content-Type": CONTENT_TYPES[self._encoding]},
                compression="deflate",
                open_timeout=self._timings.open_s,
                ping_interval=self._timings.ping_s,
                ping_timeout=self._timings.pong_s,
                close_timeout=self._timings.close_s,
                max_size=MAX_FRAME_BYTES,
                max_queue=MAX_FRAMES,
                logger=_wire_log,
                proxy=None,
            )
        except (OSError, InvalidHandshake) as error:
            return refusal(error)
        try:
            await self._converse(socket)
        except ConnectionClosed as gone:
            return closure(gone)
        except asyncio.CancelledError:
            await self._perform(self._session.shutdown(self._clock()), socket)
            raise
        finally:
            await self._leave(socket)
        return Closure("closed")

    async def _converse(self, socket: ClientConnection) -> None:
        """Pass frames and time to the session until it says `Close`. Raises ConnectionClosed."""
        session, publisher = self._session, self._publisher
        going_on = await self._perform(session.connected(self._clock()), socket)
        while going_on:
            try:
                async with asyncio.timeout_at(session.deadline):
                    frame = await socket.recv(decode=False)
            except TimeoutError:
                outputs = session.timer(self._clock())
            else:
                outputs = session.frame(frame, self._clock())
            going_on = await self._perform(outputs, socket)
            await publisher.room()

    async def _leave(self, socket: ClientConnection) -> None:
        """Close the socket, and take what the vendor had sent by then."""
        closing = asyncio.create_task(socket.close())
        try:
            while True:
                frame = await socket.recv(decode=False)
                await self._perform(self._session.frame(frame, self._clock()), None)
        except ConnectionClosed:
            await closing

    async def _perform(self, outputs: Sequence[Output], socket: ClientConnection | None) -> bool:
        """Do what the session says; False when it gave up the connection."""
        going_on = True
        for output in outputs:
            match output:
                case Received():
                    self._receive(output)
                case Send(data) if socket is not None:
                    await self._send(socket, data)
                case Close():
                    going_on = False
                case Problem():
                    self._complain(output)
                case Reconnected(reason):
                    self._meters.add("alpaca_reconnection_total", reason=reason)
                case Open() | Send():
                    message = f"{output} while there is a socket, or none"
                    raise RuntimeError(message)
                case status:
                    self._tell(status)
        return going_on

    def _receive(self, received: Received) -> None:
        put = self._publisher.put
        for tick in received.ticks:
            put(RAW_ALPACA, tick.symbol, _encoder.encode(tick), tick.received_at_ns)
        for meter, count in received.counts.items():
            self._meters.add("alpaca_messages_received_total", count, type=meter)

    async def _send(self, socket: ClientConnection, data: bytes) -> None:
        text = self._encoding == "json"
        if len(data) <= FRAGMENT_BYTES:
            await socket.send(data, text=text)
            return
        starts = range(0, len(data), FRAGMENT_BYTES)
        await socket.send((data[start : start + FRAGMENT_BYTES] for start in starts), text=text)

    def _tell(self, status: SourceStatus) -> None:
        report(status, self._publisher)
        if isinstance(status, Disconnected) and status.reason in ERROR_KINDS:
            self._meters.add("alpaca_errors_total", type=ERROR_KINDS[status.reason])

    def _complain(self, problem: Problem) -> None:
        self._meters.add("alpaca_errors_total", problem.times, type=problem.kind)
        if problem.kind in ("parse", "validation"):
            if problem.detail in self._oddities or len(self._oddities) >= ODDITIES_LOGGED:
                return
            self._oddities.add(problem.detail)
        self._log.warning(
            "alpaca_problem", type=problem.kind, detail=problem.detail, code=problem.code
        )


def refusal(error: OSError | InvalidHandshake) -> Closure:
    """Return why a socket could not be opened."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return Closure("error", status, f"HTTP {status} {error.response.reason_phrase}".strip())
    if isinstance(error, TimeoutError):
        return Closure("timeout", None, "the handshake took too long")
    return Closure("error", None, f"{type(error).__name__}: {error}")


def closure(gone: ConnectionClosed) -> Closure:
    """Return why a socket that was open is gone."""
    if gone.sent and (gone.sent.code, gone.sent.reason) == KEEPALIVE_TIMED_OUT:
        return Closure("timeout", gone.sent.code, "no answer to our ping")
    if gone.rcvd:
        return Closure("closed", gone.rcvd.code, gone.rcvd.reason)
    if gone.sent:
        return Closure("error", gone.sent.code, gone.sent.reason)
    return Closure("error", None, "the connection was cut")
