"""One client's socket, once its handshake is done; thin, over aiohttp.

We write whole frames to the transport ourselves: aiohttp's writer frames every message for every
client. That is sound because aiohttp, too, writes nothing but whole frames, and compresses none
here; tests/sinks/hub/test_server.py holds it to that.
"""

import asyncio
import socket

from sinks.hub.frames import frame, pong
from sinks.hub.methods import Caller
from sinks.hub.protocol.handshake import Encoding
from sinks.hub.protocol.messages import Message
from sinks.hub.sessions import Session

#: What the kernel may hold for a client: a slow reader should be behind here, where only the latest
#: counts, not there, where old prices wait in line.
SEND_BUFFER = 64 * 1024
NOT_SENT = 16 * 1024
#: What may be said to a client that does not read, besides prices.
UNREAD = 64 * 1024


def keep_little(transport: asyncio.Transport) -> None:
    """Have the kernel hold little for a client."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)


class Connection:
    """A client that has said which encoding it speaks.

    Args:
        transport: what leads to it.
        encoding: how it wants to be spoken to.
        session: what is written down of it.

    """

    def __init__(
        self,
        transport: asyncio.Transport,
        encoding: Encoding,
        session: Session,
    ) -> None:
        self._transport = transport
        self.encoding = encoding
        self.session = session
        self.caller = Caller(encoding.name)
        self._unread = 0

    @property
    def busy(self) -> bool:
        """Whether it has not taken yet what it was sent before."""
        return self._transport.get_write_buffer_size() > 0

    def write(self, data: bytes) -> None:
        """Send a whole frame."""
        if not self._transport.is_closing():
            self._transport.write(data)

    def say(self, *messages: Message) -> None:
        """Send messages that are for this client alone; give it up where it reads none."""
        if not messages:
            return
        payload = b"".join(map(self.encoding.encode, messages))
        self._tell(frame(payload, binary=self.encoding.binary))

    def pong(self, payload: bytes) -> None:
        """Answer a ping, as any other question."""
        self._tell(pong(payload))

    def _tell(self, data: bytes) -> None:
        self._unread = self._unread + len(data) if self.busy else 0
        if self._unread > UNREAD:
            self.session.ends("too_slow", "it does not read what it is told")
            self.abort()
            return
        self.write(data)

    def abort(self) -> None:
        """Cut the line: it would not read a farewell."""
        self._transport.abort()
