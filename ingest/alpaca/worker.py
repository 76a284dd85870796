"""The Alpaca worker: gives the session its socket and its clock, and does what it says."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from infra.telemetry import Meters
from infra.topics import RAW_ALPACA
from ingest.alpaca.outputs import (
    Close,
    Closure,
    Open,
    Output,
    Problem,
    Received,
    Reconnected,
    Resubscribed,
    Send,
)
from ingest.alpaca.session import Session
from ingest.alpaca.states import State
from ingest.alpaca.wire import CONTENT_TYPES, Encoding
from ingest.clock import Now, every, read_clock
from ingest.events import (
    Disconnected,
    GapClosed,
    GapEnded,
    GapEvent,
    GapOpened,
    RawTick,
    SourceStatus,
)
from ingest.keys import Keys
from ingest.publish import Publisher
from ingest.receipts import Receipts
from ingest.status import report, report_gap

#: A session's states, as the metric spells them.
STATE_LABELS: Mapping[State, str] = {state: state.value.capitalize() for state in State}

#: What a disconnection counts as, by its reason; a close in good order is no error.
ERROR_KINDS = {
    "auth": "authentication",
    "timeout": "connection",
    "error": "connection",
    "stalled": "connection",
}

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

T = TypeVar("T")


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
        enabled: whether to stream at all; a switch for whoever wants Yahoo alone.
        clock: reads the clocks.
        receipts: where traces of ticks begin; None where nothing is traced.

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
        enabled: bool = True,
        clock: Callable[[], Now] = read_clock,
        receipts: Receipts | None = None,
    ) -> None:
        self._receipts = receipts
        self._url = url
        self._encoding = encoding
        self._session = session
        self._publisher = publisher
        self._meters = meters
        self._timings = timings
        self._enabled = enabled
        self._clock = clock
        #: What was asked of us and not yet of the session.
        self._asked: deque[Callable[[Now], list[Output]]] = deque()
        #: The patience of whatever waits now, to be ended when something is asked.
        self._patience: asyncio.Timeout | None = None
        #: Whether the present socket took only a part of a message: nothing may follow that.
        self._cut_short = False
        self._log = structlog.get_logger()
        self._oddities: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until `stop` is set."""
        async with asyncio.TaskGroup() as tasks:
            running = [
                *([tasks.create_task(self._connections())] if self._enabled else []),
                tasks.create_task(every(self._timings.heartbeat_s, self._beat)),
            ]
            await stop.wait()
            for task in running:
                task.cancel()

    def follow(self, symbols: tuple[str, ...]) -> None:
        """Subscribe to other symbols from now on, most important first."""
        self._ask(lambda now: self._session.follow(symbols, now))

    def rekey(self, keys: Keys) -> None:
        """Use other keys from now on: leave in good order, then connect with them."""
        self._ask(lambda now: self._session.rekey(keys, now))

    def reconnect(self, detail: str) -> None:
        """Leave in good order, and connect again at once."""
        self._ask(lambda now: self._session.reconnect(detail, now))

    def _ask(self, request: Callable[[Now], list[Output]]) -> None:
        self._asked.append(request)
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(0.0)

    def refresh(self) -> None:
        """Bring the gauges up to date; called before every scrape."""
        session, meters = self._session, self._meters
        meters.state("alpaca_connection_status", STATE_LABELS[session.state])
        meters.set("alpaca_authentication_status", float(session.authenticated))
        meters.set("alpaca_consecutive_auth_failures", session.refusals)
        meters.set("alpaca_streaming_enabled", float(self._enabled))
        meters.set("alpaca_subscribed_symbols", len(session.subscribed))
        meters.set("alpaca_quarantined_symbols", len(session.subscription.malformed))
        meters.set("alpaca_stalled_symbols", session.silent)
        if session.last_message_at_ns is not None:
            meters.set("alpaca_last_message_timestamp_seconds", session.last_message_at_ns / 1e9)

    def _beat(self) -> None:
        self._tell(self._session.heartbeat(self._clock()))

    async def _connections(self) -> None:
        """Connect, one connection after the other, for ever."""
        while True:
            await self._wait(asyncio.Event().wait)
            for output in self._turn():
                if isinstance(output, Open):
                    closure = await self._connection()
                    await self._perform(self._session.closed(closure, self._clock()), None)
                else:
                    await self._perform([output], None)

    async def _wait(self, for_what: Callable[[], Awaitable[T]]) -> T | None:
        """Return what comes, or None when the session's deadline has, or something is asked."""
        deadline = self._session.deadline
        # where something has always come already, no timer is ever heard
        late = deadline is not None and self._clock().monotonic_s >= deadline
        if self._asked or late:
            return None
        try:
            async with asyncio.timeout_at(deadline) as self._patience:
                return await for_what()
        except TimeoutError:
            return None
        finally:
            self._patience = None

    def _turn(self) -> list[Output]:
        """Let the session do what it was asked to, or what is due."""
        if self._asked:
            return self._asked.popleft()(self._clock())
        return self._session.timer(self._clock())

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
        session = self._session

        async def receive() -> bytes:
            return await socket.recv(decode=False)

        self._cut_short = False
        connected = session.connected(self._clock())
        structlog.contextvars.bind_contextvars(session=session.session_id)
        going_on = await self._perform(connected, socket)
        while going_on:
            frame = await self._wait(receive)
            outputs = self._turn() if frame is None else session.frame(frame, self._clock())
            going_on = await self._perform(outputs, socket)

    async def _leave(self, socket: ClientConnection) -> None:
        """Close the socket, and take what the vendor had sent by then; told to end or not."""
        leaving = asyncio.create_task(self._drain(socket))
        try:
            await asyncio.shield(leaving)
        except asyncio.CancelledError:
            await leaving
            raise

    async def _drain(self, socket: ClientConnection) -> None:
        closing = asyncio.create_task(socket.close())
        # the library waits for the vendor to answer, but without end for it to read what we say
        loop, patience_s = asyncio.get_running_loop(), 2 * self._timings.close_s
        cutting = loop.call_later(patience_s, socket.transport.abort)
        try:
            while True:
                frame = await socket.recv(decode=False)
                await self._perform(self._session.frame(frame, self._clock()), None)
        except ConnectionClosed:
            await closing
        finally:
            cutting.cancel()

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
                case Open() | Send():
                    message = f"{output} while there is a socket, or none"
                    raise RuntimeError(message)
                case told:
                    self._note(told)
        return going_on

    def _note(self, told: Problem | Reconnected | Resubscribed | GapEvent | SourceStatus) -> None:
        match told:
            case Problem():
                self._complain(told)
            case Reconnected(reason):
                self._meters.add("alpaca_reconnection_total", reason=reason)
            case Resubscribed(added, removed):
                for action, count in (("added", added), ("removed", removed)):
                    self._meters.add("alpaca_subscription_changes_total", count, action=action)
            case GapOpened() | GapEnded() | GapClosed():
                self._mark(told)
            case status:
                self._tell(status)

    def _receive(self, received: Received) -> None:
        put, begin = self._publisher.put, self._receipts.begin if self._receipts else _untraced
        for tick, kind in zip(received.ticks, received.meters, strict=True):
            value, headers = _encoder.encode(tick), begin(tick)
            put(RAW_ALPACA, tick.symbol, value, tick.received_at_ns, kind, headers=headers)
        for meter, count in received.counts.items():
            self._meters.add("alpaca_messages_received_total", count, type=meter)

    async def _send(self, socket: ClientConnection, data: bytes) -> None:
        """Send a message; a vendor that does not read it until the deadline will not answer it.

        Then the deadline ends the connection, and nothing else is said on it but farewell.
        """
        if self._cut_short:
            return
        text = self._encoding == "json"
        starts = range(0, len(data), FRAGMENT_BYTES)
        fragments = (data[start : start + FRAGMENT_BYTES] for start in starts)
        message = data if len(data) <= FRAGMENT_BYTES else fragments
        try:
            async with asyncio.timeout_at(self._session.deadline):
                await socket.send(message, text=text)
        except TimeoutError:
            self._cut_short = True

    def _mark(self, gap: GapEvent) -> None:
        report_gap(gap, self._publisher)
        if isinstance(gap, GapOpened):
            self._meters.add("alpaca_gaps_total", cause=gap.cause)

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


def _untraced(_tick: RawTick) -> tuple[()]:
    return ()


def refusal(error: OSError | InvalidHandshake) -> Closure:
    """Return why a socket could not be opened."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        words = f"HTTP {status} {error.response.reason_phrase}".strip()
        return Closure("error", status, words, retry_after(error.response.headers))
    if isinstance(error, TimeoutError):
        return Closure("timeout", None, "the handshake took too long")
    return Closure("error", None, f"{type(error).__name__}: {error}")


def retry_after(headers: Headers) -> float:
    """Return the seconds that a refused handshake asks for; 0 where it asks for none."""
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isdecimal() else 0.0


def closure(gone: ConnectionClosed) -> Closure:
    """Return why a socket that was open is gone."""
    if gone.sent and (gone.sent.code, gone.sent.reason) == KEEPALIVE_TIMED_OUT:
        return Closure("timeout", gone.sent.code, "no answer to our ping")
    if gone.rcvd:
        return Closure("closed", gone.rcvd.code, gone.rcvd.reason)
    if gone.sent:
        return Closure("error", gone.sent.code, gone.sent.reason)
    return Closure("error", None, "the connection was cut")
