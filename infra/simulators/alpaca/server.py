"""The stream's socket: conversations on one side of each connection, data on the other."""

import asyncio
import contextlib
import struct
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from socket import SO_LINGER, SOL_SOCKET

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode, Opcode
from websockets.frames import Frame as WireFrame
from websockets.http11 import Request, Response
from websockets.protocol import State

from infra.simulators.alpaca import faults
from infra.simulators.alpaca.faults import FAULTS, Effects
from infra.simulators.alpaca.faults.places import Deed, Frame, Line, Said
from infra.simulators.alpaca.faults.way_in import Ghost
from infra.simulators.alpaca.http import History
from infra.simulators.alpaca.session import Control, Rules, Session, Turn, answer, error, greet
from infra.simulators.alpaca.tape import BREATH_NS, FEEDS, Tape, Window
from infra.simulators.alpaca.wire import Codec, Malformed, codec_for
from infra.simulators.control import Books, Listener
from infra.simulators.faults import Switchboard
from infra.simulators.ledger import Entry, Ledger, LedgerError
from infra.simulators.market import SECOND_NS, Market

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
#: History requests a minute that a key may make: the free plan's.
REST_LIMIT = 200
#: A pause of this process is made up for: the market went on meanwhile. After a longer one the
#: connection is closed, for no hole may go unnoticed.
CATCH_UP_NS = 120 * SECOND_NS

#: How long the last word to a slow client may take; it seldom arrives at the real one's either.
_LAST_WORD_SECONDS = 0.5

log = structlog.get_logger()


class _Socket(ServerConnection):
    """A connection that can be dead while it stays open: it hears, and nothing leaves it."""

    dead = False

    def send_data(self) -> None:
        """Send what the protocol has to say, pongs included; or let it vanish."""
        if self.dead:
            self.protocol.data_to_send()
        else:
            super().send_data()


@dataclass(slots=True, kw_only=True)
class _Connection:
    """One client's connection, from handshake to close."""

    socket: _Socket
    path: str
    codec: Codec
    session: Session
    window: Window
    effects: Effects = field(init=False)
    name: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    sent: int = 0

    async def control(self, message: Control) -> None:
        """Send a control message, alone in its frame."""
        frame = self.codec.frame([self.codec.encode(message)])
        await self.socket.send(frame, text=self.codec.text)


class AlpacaSimulator:
    """A WebSocket server at `/v2/iex`, `/v2/sip` and `/v2/test`, with `GET /ready` beside them.

    On a second port it serves history, and the control interface of its faults and keys.

    Args:
        market: where prices come from.
        ledger: where everything sent is written down first.
        rules: what the vendor grants, and to whom.
        rate: trades and quotes a second on each feed, over all its symbols.
        clock: the time in ns since the epoch.
        auth_seconds: how long a client has to authenticate.
        slow_seconds: how long a client's full buffer may stay full.
        rest_limit: requests a minute that a key may make for history.

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
        rest_limit: int = REST_LIMIT,
    ) -> None:
        self._market = market
        self._tapes = {path: Tape(market, path, rate=rate) for path in FEEDS}
        self._clock = clock
        self._auth_seconds = auth_seconds
        self._slow_seconds = slow_seconds
        self._holders: dict[str, _Connection] = {}
        #: by path: until when a dropped connection is counted, as long as the fault is on
        self._ghosts: dict[str, int] = {}
        self._server: Server | None = None
        self._listener: Listener | None = None
        self._rest_limit = rest_limit
        self.rules = rules
        board = Switchboard(
            source="alpaca",
            kinds=FAULTS,
            symbols=frozenset[str]().union(*(feed.symbols for feed in FEEDS.values())),
            run=uuid.uuid4().hex[:12],
        )
        self.books = Books(ledger, board, clock)
        self.failed = self.books.failed

    async def start(self, host: str, port: int) -> int:
        """Listen for the stream, and return the port. Raises OSError where it is taken."""
        self._server = await serve(
            self._serve,
            host,
            port,
            process_request=self._request,
            write_limit=BUFFER_BYTES,
            server_header=None,
            create_connection=_Socket,
            # a dead connection stays dead until its client has noticed
            ping_interval=None,
        )
        self.books.start()
        taken: int = next(iter(self._server.sockets)).getsockname()[1]
        return taken

    async def start_http(self, host: str, port: int) -> int:
        """Listen on the second port, and return it. Raises OSError where it is taken."""
        history = History(self, limit=self._rest_limit, clock=self._clock)
        self._listener = Listener([*history.routes(), *self.books.routes()])
        return await self._listener.start(host, port)

    async def stop(self) -> None:
        """Close every connection after what was sent on it, with code 1001, and stop listening."""
        if self._server:
            for socket in self._server.connections:
                if isinstance(socket, _Socket) and socket.dead:
                    socket.transport.abort()  # it would not even close
            self._server.close()
            await self._server.wait_closed()
        if self._listener:
            await self._listener.stop()
        await self.books.stop()

    def tape(self, path: str) -> Tape:
        """Return what happens on a feed."""
        return self._tapes[path]

    def admit(self, keys: dict[str, str]) -> None:
        """Let in these keys from now on, and no others; who is in stays in."""
        self.rules = replace(self.rules, keys=keys)
        log.info("keys changed", key_ids=sorted(keys))

    def _request(self, socket: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ready":
            return socket.respond(HTTPStatus.OK, "ready\n")
        if path not in FEEDS:
            return socket.respond(HTTPStatus.NOT_FOUND, "404 page not found\n")
        self.books.sweep()
        refusal = faults.handshake(self.books.board)
        if refusal is None:
            return None
        response = socket.respond(refusal.status, f"{refusal.message}\n")
        response.headers.update(refusal.headers)
        return response

    def _connection(self, socket: _Socket, request: Request) -> _Connection:
        path = request.path.partition("?")[0]
        opened_ns = self._clock()
        connection = _Connection(
            socket=socket,
            path=path,
            codec=codec_for(request.headers.get("Content-Type")),
            session=Session(symbols=FEEDS[path].symbols),
            window=Window(self._tapes[path], opened_ns),
        )
        connection.effects = Effects(
            Line(
                opened_ns=opened_ns,
                market=self._market,
                # the session of the moment: it is replaced whenever the conversation goes on
                follows=lambda channel: connection.session.follows(channel),  # noqa: PLW0108
                board=self.books.board,
            )
        )
        return connection

    async def _serve(self, socket: ServerConnection) -> None:
        if socket.request is None or not isinstance(socket, _Socket):
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
        except* LedgerError:
            pass  # `failed` tells it
        finally:
            self._left(connection)
            log.info("client left", connection=connection.name, sent=connection.sent)

    def _left(self, connection: _Connection) -> None:
        """Let the next one in; or, after an unclean drop, its ghost stand in the way."""
        if self._holders.get(connection.path) is not connection:
            return
        del self._holders[connection.path]
        ghost = self.books.board.find(Ghost)
        if ghost and connection.socket.protocol.close_rcvd is None and ghost.use():
            held_ns = round(ghost.fault.held * SECOND_NS)
            self._ghosts[connection.path] = self._clock() + held_ns
            log.info("ghost", connection=connection.name, seconds=ghost.fault.held)

    async def _converse(self, connection: _Connection, credentials: tuple[str, str] | None) -> None:
        """Answer whatever the client says until it leaves, or is left."""
        try:
            async with asyncio.timeout(self._auth_seconds) as patience:
                taken = self._taken(connection)
                turn = greet(connection.session, self._present(), credentials, taken=taken)
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
        return answer(connection.session, request, self._present(), taken=taken)

    def _present(self) -> Rules:
        """Return the rules as they are at this moment."""
        self.books.sweep()
        return faults.rules(self.books.board, self.rules)

    def _taken(self, connection: _Connection) -> bool:
        if self._holders.get(connection.path, connection) is not connection:
            return True
        haunted = self._ghosts.get(connection.path, 0) > self._clock()
        return haunted and self.books.board.find(Ghost) is not None

    async def _take(self, turn: Turn, connection: _Connection) -> bool:
        """Say the server's part, then let its effects begin; tell whether to go on."""
        for active in self.books.board.on:
            if active.name == turn.fault:
                active.use()
        if turn.session.authenticated:
            self._holders[connection.path] = connection
        for reply in turn.replies:
            await connection.control(reply)
        # Only now: no data comes before the confirmation, though some may come after its request.
        if turn.session is not connection.session:
            connection.session = turn.session
            connection.window.follow(turn.session, self._clock())
        return not turn.close

    async def _pump(self, connection: _Connection) -> None:
        """Send what happens, a frame every `FRAME_SECONDS`, until the connection closes."""
        window = connection.window
        with contextlib.suppress(ConnectionClosed):
            while True:
                behind_ns = self._clock() - window.told_ns
                if window.open and behind_ns > CATCH_UP_NS:
                    log.warning("fell behind", connection=connection.name, ns=behind_ns)
                    await connection.socket.close(CloseCode.TRY_AGAIN_LATER, "fell behind")
                    return
                await asyncio.sleep(FRAME_SECONDS if behind_ns < BREATH_NS else 0)
                self.books.sweep()
                now_ns = self._clock()
                said = connection.effects.apply(window.until(now_ns), now_ns)
                connection.socket.dead = connection.effects.dead
                try:
                    async with asyncio.timeout(self._slow_seconds):
                        await self._say(connection, said)
                except TimeoutError:
                    await _hang_up_on_slow(connection)
                    return

    async def _say(self, connection: _Connection, said: list[Said]) -> None:
        """Send ticks in frames, after what a fault does to a connection that hears some."""
        if connection.window.open and not connection.socket.dead and connection.effects.deeds:
            deed = connection.effects.deed(_frame(connection.codec, said))
            if deed:
                await self._do(connection, deed)
                if deed.spoils or deed.then != "go_on":
                    return
        for start in range(0, len(said), FRAME_MESSAGES):
            await self._send(connection, said[start : start + FRAME_MESSAGES])

    async def _send(self, connection: _Connection, said: list[Said]) -> None:
        encoded = [connection.codec.encode(tick) for tick, _ in said]
        # Between this check and the socket's buffer nothing else runs, so the ledger tells exactly
        # what was handed over: not a frame more when the connection closes.
        if connection.socket.state is not State.OPEN:
            return
        self._write_down(
            connection,
            [
                (tick["S"], message, fault)
                for (tick, fault), message in zip(said, encoded, strict=True)
            ],
        )
        await connection.socket.send(connection.codec.frame(encoded), text=connection.codec.text)

    async def _do(self, connection: _Connection, deed: Deed) -> None:
        """Do what a fault does to a connection."""
        log.info("fault", name=deed.fault, connection=connection.name)
        socket, codec = connection.socket, connection.codec
        if deed.control:
            await connection.control(deed.control)
        if deed.garbage is not None and deed.wire:
            opcode = Opcode.TEXT if codec.text else Opcode.BINARY
            whole = WireFrame(opcode, deed.garbage).serialize(mask=False)
            socket.transport.write(whole[: len(whole) // 2])
            socket.transport.close()
            return
        if deed.garbage is not None and socket.state is State.OPEN:
            self._write_down(connection, [("", deed.garbage, deed.fault)])
            await socket.send(deed.garbage, text=codec.text)
        if deed.then == "close":
            await socket.close(deed.code, deed.fault)
        elif deed.then == "abort":
            _reset(socket)

    def _write_down(
        self, connection: _Connection, messages: Sequence[tuple[str, bytes, str]]
    ) -> None:
        """Write down (symbol, bytes, fault) of what is sent next."""
        now_ns = self._clock()
        codec = connection.codec
        self.books.write(
            [
                Entry(
                    source="alpaca",
                    connection=connection.name,
                    sequence=sequence,
                    sent_at_ns=now_ns,
                    symbol=symbol,
                    encoding=codec.name,
                    raw=codec.raw(message),
                    fault=fault,
                )
                for sequence, (symbol, message, fault) in enumerate(
                    messages, start=connection.sent + 1
                )
            ]
        )
        connection.sent += len(messages)


def _frame(codec: Codec, said: list[Said]) -> Frame | None:
    """Return the frame that a deed may spoil, if there is any."""
    messages = [codec.encode(tick) for tick, _ in said]
    if not messages:
        return None
    return Frame(messages=messages, whole=codec.frame(messages), text=codec.text)


def _reset(socket: ServerConnection) -> None:
    """End a TCP connection with a reset instead of an end."""
    raw = socket.transport.get_extra_info("socket")
    raw.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    socket.transport.abort()


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
