"""What a client sends, a frame at a time: its pings are answered, and everything is counted; thin.

We do without two things of aiohttp's. It answers pings itself, however many there are, and waits
until the answers are read; and its timeout does not go for what it says while it closes. A client
that reads nothing would be waited for without end.
"""

import asyncio
import time
from collections.abc import Callable

from aiohttp import WSMessage, WSMsgType, web

from sinks.hub.limits import Window
from sinks.hub.protocol.messages import ProtocolError


class Hearing:
    """A client's socket, to be listened to.

    Args:
        socket: where it speaks; one that does not answer pings.
        window: how much it may say.
        pong: answers a ping with what was in it.

    """

    def __init__(
        self, socket: web.WebSocketResponse, window: Window, pong: Callable[[bytes], None]
    ) -> None:
        self._socket = socket
        self._window = window
        self.pong = pong

    async def data(self, within_s: float) -> bytes | None:
        """Return what it says next; None when it has left, or aiohttp has sent it away.

        Raises:
            TimeoutError: nothing was heard for so long.
            ProtocolError: it says too much.

        """
        while True:
            async with asyncio.timeout(within_s):
                message = await self._socket.receive()
            if message.type not in {WSMsgType.PING, WSMsgType.PONG}:
                return _data(message)
            self.count(time.monotonic_ns())
            if message.type is WSMsgType.PING:
                self.pong(message.data)

    def count(self, counted_ns: int) -> None:
        """Count something that it said. Raises ProtocolError where that is too much."""
        if not self._window.allows(counted_ns):
            message = "too many messages"
            raise ProtocolError(message)


def _data(message: WSMessage) -> bytes | None:
    match message.type:
        case WSMsgType.TEXT:
            text: str = message.data
            return text.encode()
        case WSMsgType.BINARY:
            data: bytes = message.data
            return data
    return None
