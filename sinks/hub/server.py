"""`/hubs/...`: who comes in, what they say, and how they leave; thin, over aiohttp."""

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import structlog
from aiohttp import WSCloseCode, web
from aiohttp.abc import AbstractAccessLogger

from infra.clock import NS, now_ns
from sinks.events import HubName
from sinks.hub.access import Access, ForbiddenError, RefusedError, User, token_in, without_secrets
from sinks.hub.answers import problem
from sinks.hub.broadcast import Broadcast
from sinks.hub.connection import Connection, keep_little
from sinks.hub.frames import frame, pong
from sinks.hub.hearing import Hearing
from sinks.hub.limits import Moment, Window
from sinks.hub.protocol import handshake, negotiate
from sinks.hub.protocol.handshake import Encoding
from sinks.hub.protocol.messages import (
    Close,
    Completion,
    Invocation,
    Message,
    Ping,
    ProtocolError,
    StreamInvocation,
)
from sinks.hub.sessions import Session

_log = structlog.get_logger()

HUBS: Final[Mapping[str, HubName]] = {
    "/hubs/market-data": "market-data",
    "/hubs/dashboard": "dashboard",
}

#: As many as come at once after a restart; by default the kernel keeps 128 waiting.
BACKLOG: Final = 4096
#: The headers that the official client sends, which a page of another origin has to be allowed.
CORS_HEADERS: Final = "authorization, content-type, x-requested-with, x-signalr-user-agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a client may take.

    Attributes:
        clients: how many may be connected.
        message_bytes: how long a message may be.
        messages: how many messages, pings among them, it may send in `within_s` seconds.
        within_s: see `messages`.
        request_s: how long it may take to ask for something once it is connected.
        handshake_s: how long it may take to say which encoding it speaks.
        silence_s: how long it may say nothing; clients ping every 15 s.
        ping_s: how often it is pinged.
        farewell_s: how long it may take to answer a farewell.

    """

    clients: int = 2000
    message_bytes: int = 32 * 1024
    messages: int = 600
    within_s: float = 10.0
    request_s: float = 10.0
    handshake_s: float = 5.0
    silence_s: float = 30.0
    ping_s: float = 10.0
    farewell_s: float = 1.0


class _Farewell(Exception):  # noqa: N818  # it is nobody's fault
    """The client says that it leaves."""


class _Expired(Exception):  # noqa: N818  # it may come back with another
    """The token is over."""


class _AccessLog(AbstractAccessLogger):
    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        # pages and probes ask every few seconds whether all is well
        routine = request.method == "GET" and response.status == HTTPStatus.OK
        (_log.debug if routine else _log.info)(
            "request",
            method=request.method,
            path=without_secrets(request.path_qs),
            status=response.status,
            seconds=round(time, 4),
            remote=request.remote,
        )


class Server:
    """The hub's server.

    Args:
        broadcast: who is connected.
        access: who may be.
        limits: what they may take.

    """

    def __init__(self, broadcast: Broadcast, access: Access, limits: Limits) -> None:
        self.broadcast = broadcast
        self.access = access
        self._limits = limits
        #: Hubs that share the secret take each other's clients; one without has its own.
        self._secret = (
            hmac.digest(access.secret.encode(), b"connection token", hashlib.sha256)
            if access.secret
            else secrets.token_bytes(32)
        )
        self.app = web.Application(middlewares=[self._guard], client_max_size=limits.message_bytes)
        for path in HUBS:
            self.app.router.add_post(f"{path}/negotiate", self._negotiate)
            self.app.router.add_options(f"{path}/negotiate", self._preflight)
            self.app.router.add_get(path, self._connect)
        self._runner = web.AppRunner(
            self.app, access_log_class=_AccessLog, shutdown_timeout=limits.farewell_s
        )
        self._site: web.TCPSite | None = None
        self._leaving = False
        #: Since when sockets have been asking for nothing, and which are asking now.
        self._since: dict[object, float] = {}
        self._asking: set[object] = set()
        self._sockets: dict[Connection, web.WebSocketResponse] = {}
        #: How many have a socket, and have not said yet which encoding they speak.
        self._greeting = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError where it is taken."""
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, host, port, backlog=BACKLOG)
        await self._site.start()
        self._tasks = [
            asyncio.create_task(work())
            for work in (
                self.broadcast.run,
                self.broadcast.probe,
                self.broadcast.keep_minutes,
                self._ping_all,
                self._end_the_slow,
            )
        ]
        for task in self._tasks:
            task.add_done_callback(self._must_go_on)
        bound: int = self._runner.addresses[0][1]
        return bound

    @staticmethod
    def _must_go_on(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            _log.critical("hub_stopped_working", error=repr(task.exception()))
            os._exit(os.EX_SOFTWARE)  # a hub that looks alive and sends nothing is worse than none

    async def stop(self) -> None:
        """Listen no more, then send everybody elsewhere, then end."""
        self._leaving = True
        if self._site:
            await self._site.stop()
            self._site = None
        # without an error: pysignalr takes one for the end, whatever else is said
        farewell = Close(allow_reconnect=True)
        for connection in self._sockets:
            connection.session.ends("restart")
            connection.say(farewell)
        closing = [
            _close(socket, WSCloseCode.SERVICE_RESTART, b"the hub is going away")
            for socket in self._sockets.values()
        ]
        await asyncio.gather(*closing)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Keep pages of others out, and say every error in the same way."""
        asking = request.protocol
        self._asking.add(asking)
        origin = request.headers.get("Origin")
        try:
            if not self.access.page_may(origin, request.host):
                return problem(403, f"pages of {origin} may not connect: see HUB_ORIGINS")
            response = await handler(request)
        except web.HTTPException as error:
            response = problem(error.status, error.reason)
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
        except ForbiddenError as error:
            response = problem(403, str(error))
        except RefusedError as error:
            response = problem(401, str(error))
            response.headers["WWW-Authenticate"] = "Bearer"
        finally:
            self._asking.discard(asking)
            self._since[asking] = asyncio.get_running_loop().time()
        if origin and not response.prepared:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Credentials"] = "true"
            response.headers["Vary"] = "Origin"
        return response

    async def _preflight(self, _: web.Request) -> web.Response:
        headers = {
            "Access-Control-Allow-Headers": CORS_HEADERS,
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Max-Age": "3600",
        }
        return web.Response(status=204, headers=headers)

    def _user(self, request: web.Request) -> User:
        return self.access.user(token_in(request.headers, request.query))

    def _no_room(self) -> str | None:
        """Return why nobody else may come in, if so."""
        if self._leaving:
            return "the hub is going away"
        if len(self.broadcast.connections) + self._greeting >= self._limits.clients:
            return "as many clients are connected as may be"
        return None

    async def _negotiate(self, request: web.Request) -> web.Response:
        user = self._user(request)
        if no_room := self._no_room():
            return problem(503, no_room)
        version = request.query.get("negotiateVersion", "0")
        random = secrets.token_bytes(16)
        token = negotiate.token(random, secret=self._secret, user=user.name, now_ns=now_ns())
        told = negotiate.answer(int(version == "1"), negotiate.connection_id(random), token)
        return web.json_response(told, headers={"Cache-Control": "no-store"})

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        user = self._user(request)
        socket = web.WebSocketResponse(
            max_msg_size=self._limits.message_bytes,
            compress=False,
            autoping=False,
            timeout=self._limits.farewell_s,
        )
        if not socket.can_prepare(request):
            return problem(400, "expected a WebSocket: this hub has no other transport")
        if no_room := self._no_room():
            return problem(503, no_room)
        try:
            id_ = self._id(request.query.get("id"), user)
        except negotiate.TokenError as error:
            return problem(404, str(error))
        transport = request.transport
        if transport is None:
            return problem(400, "the client has left")
        keep_little(transport)
        self._greeting += 1
        window = Window(self._limits.messages, self._limits.within_s)
        hearing = Hearing(socket, window, lambda payload: transport.write(pong(payload)))
        try:
            await socket.prepare(request)
            encoding, rest = await self._shake_hands(hearing)
        except ProtocolError as error:
            transport.write(frame(handshake.refusal(str(error)), binary=False))
            await _close(socket, WSCloseCode.PROTOCOL_ERROR)
            return socket
        finally:
            self._greeting -= 1
        transport.write(frame(handshake.ACCEPTED, binary=encoding.binary))
        hub = HUBS[request.path]
        session = Session(connection_id=id_, hub=hub, user=user.name, since_ns=now_ns())
        connection = Connection(transport, encoding, session)
        hearing.pong = connection.pong
        self._sockets[connection] = socket
        self.broadcast.join(connection)
        try:
            connection.say(self.broadcast.hub.welcome(id_, now_ns()))
            await self._serve(socket, hearing, connection, rest, user.until_s)
        finally:
            self.broadcast.leave(connection)
            del self._sockets[connection]
        return socket

    def _id(self, token: str | None, user: User) -> str:
        if token is None:  # the client skips the negotiation
            return negotiate.connection_id(secrets.token_bytes(16))
        return negotiate.opened(token, secret=self._secret, user=user.name, now_ns=now_ns())

    async def _shake_hands(self, hearing: Hearing) -> tuple[Encoding, bytes]:
        within_s = self._limits.handshake_s
        try:
            async with asyncio.timeout(within_s):
                first = await hearing.data(within_s)
        except TimeoutError as error:
            message = f"no handshake within {within_s:.0f} seconds"
            raise ProtocolError(message) from error
        return handshake.read(first or b"")

    async def _next(self, hearing: Hearing, until_s: float) -> bytes | None:
        """Return what a client says next. Raises TimeoutError, and _Expired."""
        left_s = until_s - now_ns() / NS
        if left_s <= 0:
            raise _Expired
        try:
            async with asyncio.timeout(left_s) as token:  # however often it pings meanwhile
                return await hearing.data(self._limits.silence_s)
        except TimeoutError:
            if token.expired():
                raise _Expired from None
            raise

    async def _serve(
        self,
        socket: web.WebSocketResponse,
        hearing: Hearing,
        connection: Connection,
        rest: bytes,
        until_s: float,
    ) -> None:
        """Do what a client asks for, until it leaves or has to."""
        try:
            if rest:
                self._take(connection, rest, hearing)
            while (data := await self._next(hearing, until_s)) is not None:
                self._take(connection, data, hearing)
        except _Expired:
            connection.session.ends("expired")
            # without an error, as at our end: it may come back, with another token
            connection.say(Close(allow_reconnect=True))
            await _close(socket, WSCloseCode.POLICY_VIOLATION)
        except TimeoutError:
            reason = f"nothing heard for {self._limits.silence_s:.0f} seconds"
            connection.session.ends("silent", reason)
            await self._send_away(socket, connection, reason)
        except ProtocolError as error:
            connection.session.ends("unfit", str(error))
            await self._send_away(socket, connection, str(error))
        except _Farewell:
            await self._send_away(socket, connection, "")

    async def _send_away(
        self, socket: web.WebSocketResponse, connection: Connection, reason: str
    ) -> None:
        session = connection.session
        _log.info(
            "client_sent_away", connection=session.connection_id, hub=session.hub, reason=reason
        )
        connection.say(Close(reason or None))
        await _close(socket, WSCloseCode.POLICY_VIOLATION)

    def _take(self, connection: Connection, data: bytes, hearing: Hearing) -> None:
        messages = connection.encoding.decode(data)
        if not messages:  # a frame with nothing in it is none the cheaper
            hearing.count(time.monotonic_ns())
        for message in messages:
            now = Moment(now_ns(), time.monotonic_ns())
            hearing.count(now.counted_ns)
            match message:
                case Invocation():
                    connection.say(*self._called(connection, message, now))
                case StreamInvocation(target, id_):
                    # as a method that we do not have, which it is
                    call = Invocation(f"{target} (a stream)", [], id_)
                    connection.say(*self._called(connection, call, now))
                case Completion():
                    self.broadcast.answered(connection, message, now)
                case Close():
                    raise _Farewell
        self.broadcast.wake()

    def _called(self, connection: Connection, call: Invocation, now: Moment) -> list[Message]:
        hub, session = self.broadcast.hub, connection.session
        try:
            said = hub.call(connection.caller, call, now)
        except Exception:  # noqa: BLE001  # a bug of ours costs one call, and nobody else anything
            target = call.target[:60]
            _log.exception("call_failed", connection=session.connection_id, target=target)
            return hub.broken(call)
        for event in session.asked(said, now.at_ns):
            self.broadcast.journal.note(event)
        return said

    async def _ping_all(self) -> None:
        while True:
            await asyncio.sleep(self._limits.ping_s)
            for connection in [*self.broadcast.connections.values()]:
                if not connection.busy:
                    connection.say(Ping())

    async def _end_the_slow(self) -> None:
        """Cut sockets that are open and ask for nothing, or take for ever to say what."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(self._limits.request_s / 4)
            server = self._runner.server
            open_ = [] if server is None else server.connections
            self._since = {each: self._since.get(each, clock()) for each in open_}
            for each in open_:
                if each in self._asking or clock() - self._since[each] < self._limits.request_s:
                    continue
                if each.transport is not None:
                    each.transport.abort()


async def _close(socket: web.WebSocketResponse, code: WSCloseCode, message: bytes = b"") -> None:
    """Say farewell, and wait for the answer, not for a client that reads nothing to take it."""
    await socket.close(code=code, message=message, drain=False)
