"""A raw client of the hub, to say what no real one would, and a server to say it to."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Literal, TypeVar

import aiohttp
import orjson

from infra.commands import Answer, Command, name_of
from infra.kafka.give import NotTakenError
from infra.telemetry import Meters
from sinks.events import DeliveryEvent, SessionEvent
from sinks.hub.access import Access
from sinks.hub.api import Api
from sinks.hub.broadcast import Broadcast
from sinks.hub.methods import Hub
from sinks.hub.page import Page
from sinks.hub.promises import Promises
from sinks.hub.replies import Replies
from sinks.hub.server import Limits, Server

END = b"\x1e"
HELLO = b'{"protocol":"json","version":1}\x1e'


E = TypeVar("E")


class Serving:
    """A server that listens, and the address of its market data."""

    def __init__(self, server: Server, port: int, meters: Meters) -> None:
        self.server = server
        self.broadcast = server.broadcast
        self.port = port
        self.meters = meters
        self.given: list[Command] = []
        #: What the router says to all of them; empty where it says nothing.
        self.outcome: Literal["", "done", "refused"] = ""
        #: Why Kafka takes no command, if so.
        self.refusing: str | None = None
        self.noted: list[SessionEvent | DeliveryEvent] = []
        self.url = f"http://127.0.0.1:{port}"
        self.hub = f"{self.url}/hubs/market-data"

    def note(self, event: SessionEvent | DeliveryEvent) -> None:
        """Keep what is to be written down."""
        self.noted.append(event)

    def noted_of(self, kind: type[E]) -> list[E]:
        """Return what was written down of one kind."""
        return [event for event in self.noted if isinstance(event, kind)]


@contextlib.asynccontextmanager
async def serving(
    access: Access | None = None,
    limits: Limits | None = None,
    promises: Promises | None = None,
) -> AsyncIterator[Serving]:
    """A hub on a free port, by default for everybody."""
    meters = Meters("hub", "pipeline", stage="hub")
    access = access or Access(secret=None, anonymous=True)
    server = Server(Broadcast(Hub(), meters), access, limits or Limits())
    hub: Serving

    replies = Replies()

    async def give(command: Command) -> int:
        if hub.refusing:
            raise NotTakenError(hub.refusing)
        hub.given.append(command)
        if hub.outcome:
            replies.take(
                Answer(
                    command_offset=len(hub.given),
                    command=name_of(command),
                    who=command.who,
                    why=command.why,
                    at_ns=command.at_ns,
                    outcome=hub.outcome,
                    reason="source_down" if hub.outcome == "refused" else "",
                    detail="in words",
                    state="PRIMARY_ACTIVE",
                    epoch=1,
                )
            )
        return len(hub.given)

    api = Api(server.broadcast, access, give, replies, promises=promises, patience_s=0.05)
    api.add_to(server.app)
    Page().add_to(server.app)
    port = await server.start("127.0.0.1", 0)
    try:
        hub = Serving(server, port, meters)
        server.broadcast.journal = hub
        yield hub
    finally:
        await server.stop()


class Talk:
    """A WebSocket over which JSON is spoken, a message at a time."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.patience_s = 10.0
        self._waiting: list[Any] = []

    async def say(self, **message: Any) -> None:
        """Send a message."""
        await self.socket.send_str((orjson.dumps(message) + END).decode())

    async def call(self, target: str, *arguments: Any) -> None:
        """Call a method without waiting for its completion."""
        await self.say(type=1, target=target, arguments=arguments)

    async def hear(self) -> Any:
        """Return the next message that is no ping; None once the socket is closed."""
        async with asyncio.timeout(self.patience_s):
            while True:
                while self._waiting:
                    message = orjson.loads(self._waiting.pop(0))
                    if message.get("type") != 6:
                        return message
                frame = await self.socket.receive()
                if frame.type not in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
                    return None
                data = frame.data.encode() if isinstance(frame.data, str) else frame.data
                assert data.endswith(END)
                self._waiting = data[:-1].split(END)

    async def event(self, target: str) -> Any:
        """Return the argument of the next event of this name."""
        while (message := await self.hear()) is not None:
            if message.get("target") == target:
                return message["arguments"][0]
        error = f"closed before {target}"
        raise AssertionError(error)


@contextlib.asynccontextmanager
async def talking(url: str, **options: Any) -> AsyncIterator[Talk]:
    """A connection whose handshake is done, at a hub's address."""
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(url, **options) as socket,
    ):
        talk = Talk(socket)
        await socket.send_str(HELLO.decode())
        assert await talk.hear() == {}
        yield talk
