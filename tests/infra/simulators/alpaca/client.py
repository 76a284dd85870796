"""A raw client of the stream: it knows the wire's encodings and nothing of the simulator."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

Encoding = Literal["json", "msgpack"]
Message = dict[str, Any]

KEYS = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
AUTH = {"action": "auth", "key": "key", "secret": "secret"}
CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}


@dataclass(frozen=True, slots=True)
class Client:
    """One connection."""

    socket: ClientConnection
    encoding: Encoding

    async def say(self, request: object) -> None:
        """Send a request."""
        encode = json.dumps if self.encoding == "json" else msgpack.packb
        await self.socket.send(encode(request))

    async def frame(self) -> list[Message]:
        """Return the messages of the next frame."""
        raw = await self.socket.recv()
        assert isinstance(raw, str) == (self.encoding == "json")
        messages: list[Message] = json.loads(raw) if isinstance(raw, str) else msgpack.unpackb(raw)
        assert isinstance(messages, list)
        return messages

    async def control(self) -> Message:
        """Return the next control message, alone in its frame; data before it is dropped."""
        while True:
            messages = await self.frame()
            if messages[0]["T"] in {"success", "subscription", "error"}:
                (message,) = messages
                return message

    async def ask(self, request: object) -> Message:
        """Send a request and return its answer."""
        await self.say(request)
        return await self.control()

    async def data(self, count: int) -> list[Message]:
        """Return at least so many data messages."""
        messages: list[Message] = []
        while len(messages) < count:
            messages += await self.frame()
        return messages

    async def rest(self) -> tuple[list[Message], int | None]:
        """Return the messages until the server hangs up, and its close code if it sent one."""
        messages: list[Message] = []
        try:
            while True:
                messages += await self.frame()
        except ConnectionClosed as closed:
            return messages, closed.rcvd.code if closed.rcvd else None


@asynccontextmanager
async def dial(
    url: str, encoding: Encoding = "json", headers: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Client]:
    """Connect and expect to be welcomed."""
    headers = {"Content-Type": f"application/{encoding}", **(headers or {})}
    async with connect(url, additional_headers=headers, **options) as socket:
        client = Client(socket, encoding)
        assert await client.frame() == [CONNECTED]
        yield client


@asynccontextmanager
async def enter(url: str, encoding: Encoding = "json", **options: Any) -> AsyncIterator[Client]:
    """Connect and authenticate."""
    async with dial(url, encoding, **options) as client:
        assert await client.ask(AUTH) == AUTHENTICATED
        yield client
