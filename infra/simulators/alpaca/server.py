"""The stream's socket: conversations on one side of each connection, data on the other."""

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response
from websockets.protocol import State

from infra.simulators.alpaca.session import Control, Rules, Session, Turn, answer, error, greet
from infra.simulators.alpaca.tape import FEEDS, Feed, Tape, Tick
from infra.simulators.alpaca.wire import Codec, Malformed, codec_for
from infra.simulators.ledger import Entry, Ledger, LedgerError
from infra.simulators.market import Market

#: How often a frame goes out; all that happened in between is in it.
FRAME_SECONDS = 0.02
#: More messages than this are spread over several frames: clients bound a frame's size.
FRAME_MESSAGES = 1000
#: How long a client has to authenticate.
AUTH_SECONDS = 10.0
#: How long a client's full buffer may stay full.
SLOW_SECONDS = 5.0
#: How much may wait in this process for one client: this, and one frame.
BUFFER_BYTES = 256 * 1024

#: How long the last word to a slow client may take; it seldom arrives at the real one's either.
_LAST_WORD_SECONDS = 0.5

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class _Connection:
    """One client's connection, from handshake to close."""

    socket: ServerConnection
    path: str
    codec: Codec
    session: Session
    tape: Tape
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    sent: int = 0

    @property
    def feed(self) -> Feed:
        return FEEDS[self.path]

    async def control(self, message: Control) -> None:
        """Send a control message, alone in its frame."""
        frame = self.codec.frame([self.codec.encode(message)])
        await self.socket.send(frame, text=self.codec.text)


class AlpacaSimulator:
    """A WebSocket server at `/v2/iex`, `/v2/sip` and `/v2/test`, with `GET /ready` beside them.

    Args:
        market: where prices come from.
        ledger: where everything sent is written down first.
        rules: what the vendor grants, and to whom.
        rate: trades and quotes a second on each connection that subscribed to any.
        clock: the time in ns since the epoch.
        auth_seconds: how long a client has to authenticate.
        slow_seconds: how long a client's full buffer may stay full.

    """

    def __init__(
        self,
        market: Market,
        ledger: Ledger,
        *,
        rules: Rules,
        rate: int,
        clock: Callable[[], int] = time.time_ns,
        auth_seconds: float = AUTH_SECONDS,
        slow_seconds: float = SLOW_SECONDS,
    ) -> None:
        self._market = market
        self._ledger = ledger
        self._rules = rules
        self._rate = rate
        self._clock = clock
        self._auth_seconds = auth_seconds
        self._slow_seconds = slow_seconds
        # Counted from the microsecond of the start: unique over restarts, below 10**6 a second.
        self._ids: Iterator[int] = itertools.count(clock() // 1_000)
        self._holders: dict[str, _Connection] = {}
        self._server: Server | None = None
        #: Set to the exception when the ledger fails: what is sent from there on would be untold.
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError where it is taken."""
        self._server = await serve(
            self._serve,
            host,
            port,
            process_request=self._request,
            write_limit=BUFFER_BYTES,
            server_header=None,
        )
        taken: int = next(iter(self._server.sockets)).getsockname()[1]
        return taken

    async def stop(self) -> None:
        """Close every connection after what was sent on it, with code 1001, and stop listening."""
        if self._server:
            self._server.close()
            await self._server.wait_closed()

    def _request(self, socket: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ready":
            return socket.respond(HTTPStatus.OK, "ready\n")
        if path not in FEEDS:
            return socket.respond(HTTPStatus.NOT_FOUND, "404 page not found\n")
        return None

    def _connection(self, socket: ServerConnection, request: Request) -> _Connection:
        path = request.path.partition("?")[0]
        feed = FEEDS[path]
        return _Connection(
            socket=socket,
            path=path,
            codec=codec_for(request.headers.get("Content-Type")),
            session=Session(symbols=feed.symbols),
            tape=Tape(self._market, feed, rate=self._rate, ids=self._ids, now_ns=self._clock()),
        )

    async def _serve(self, socket: ServerConnection) -> None:
        if socket.request is None:
            message = "a connection is only served after its handshake"
            raise RuntimeError(message)
        connection = self._connection(socket, socket.request)
        log.info(
            "client came",
            connection=connection.name,
            path=connection.path,
            encoding=connection.codec.name,
        )
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(self._pump(connection))
                with contextlib.suppress(ConnectionClosed):
                    await self._converse(connection, _credentials(socket.request))
                pump.cancel()
        except* LedgerError as errors:
            if not self.failed.done():
                self.failed.set_exception(errors.exceptions[0])
        finally:
            if self._holders.get(connection.path) is connection:
                del self._holders[connection.path]
            log.info("client left", connection=connection.name, sent=connection.sent)

    async def _converse(self, connection: _Connection, credentials: tuple[str, str] | None) -> None:
        """Answer whatever the client says until it leaves, or is left."""
        try:
            async with asyncio.timeout(self._auth_seconds) as patience:
                turn = greet(
                    connection.session, self._rules, credentials, taken=self._taken(connection)
                )
                while await self._take(turn, connection):
                    if turn.session.authenticated:
                        patience.reschedule(None)
                    turn = self._answer(connection, await connection.socket.recv())
        except TimeoutError:
            await connection.control(error(404))
        await connection.socket.close()

    def _answer(self, connection: _Connection, frame: str | bytes) -> Turn:
        try:
            request = connection.codec.decode(frame)
        except Malformed:
            return Turn(session=connection.session, replies=(error(400),))
        taken = self._taken(connection)
        return answer(connection.session, request, self._rules, taken=taken)

    def _taken(self, connection: _Connection) -> bool:
        return self._holders.get(connection.path, connection) is not connection

    async def _take(self, turn: Turn, connection: _Connection) -> bool:
        """Say the server's part, then let its effects begin; tell whether to go on."""
        if turn.session.authenticated:
            self._holders[connection.path] = connection
        for reply in turn.replies:
            await connection.control(reply)
        # Only now: no data comes before the confirmation, though some may come after its request.
        if turn.session is not connection.session:
            connection.session = turn.session
            connection.tape.follow(turn.session)
        return not turn.close

    async def _pump(self, connection: _Connection) -> None:
        """Send what the tape says, a frame every `FRAME_SECONDS`, until the connection closes."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                await asyncio.sleep(FRAME_SECONDS)
                ticks = connection.tape.until(self._clock())
                try:
                    async with asyncio.timeout(self._slow_seconds):
                        for start in range(0, len(ticks), FRAME_MESSAGES):
                            await self._send(connection, ticks[start : start + FRAME_MESSAGES])
                except TimeoutError:
                    await _hang_up_on_slow(connection)
                    return

    async def _send(self, connection: _Connection, ticks: list[Tick]) -> None:
        encoded = [connection.codec.encode(tick) for tick in ticks]
        # Between this check and the socket's buffer nothing else runs, so the ledger tells exactly
        # what was handed over: not a frame more when the connection closes.
        if connection.socket.state is not State.OPEN:
            return
        self._write_down(connection, ticks, encoded)
        await connection.socket.send(connection.codec.frame(encoded), text=connection.codec.text)

    def _write_down(self, connection: _Connection, ticks: list[Tick], encoded: list[bytes]) -> None:
        now_ns = self._clock()
        codec = connection.codec
        self._ledger.append(
            [
                Entry(
                    source="alpaca",
                    connection=connection.name,
                    sequence=sequence,
                    sent_at_ns=now_ns,
                    symbol=tick["S"],
                    encoding=codec.name,
                    raw=codec.raw(message),
                )
                for sequence, (tick, message) in enumerate(
                    zip(ticks, encoded, strict=True), start=connection.sent + 1
                )
            ]
        )
        connection.sent += len(ticks)


def _credentials(request: Request) -> tuple[str, str] | None:
    """Return the key and secret of the handshake's headers, if it carries any."""
    key = request.headers.get("APCA-API-KEY-ID")
    secret = request.headers.get("APCA-API-SECRET-KEY")
    return None if key is None and secret is None else (key or "", secret or "")


async def _hang_up_on_slow(connection: _Connection) -> None:
    """Tell a client that it is too slow, if it still listens, and drop what it did not read."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_LAST_WORD_SECONDS):
            await connection.control(error(407))
            await connection.socket.close(CloseCode.POLICY_VIOLATION, "slow client")
    connection.socket.transport.abort()
