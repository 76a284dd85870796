"""The first words of a connection: which encoding, which version; pure.

They are JSON ended by 0x1E, asked and answered, whatever is agreed on: a MessagePack client sends
them in a binary frame, where the first messages may follow at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from sinks.hub.protocol import json, msgpack
from sinks.hub.protocol.messages import Message, ProtocolError

#: Version 2 is stateful reconnect, which a client asks for only where it was offered. Some clients
#: say 0 and mean 1.
VERSIONS: Final = (0, 1)
#: A handshake is two short fields.
LONGEST: Final = 1024

ProtocolName = Literal["json", "messagepack"]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How messages go on the wire.

    Attributes:
        name: what the handshake calls it.
        binary: whether its messages travel in binary frames.
        decode: a frame's messages.
        encode: a message's bytes.

    """

    name: ProtocolName
    binary: bool
    decode: Callable[[bytes], list[Message]]
    encode: Callable[[Message], bytes]


ENCODINGS: Final[Mapping[str, Encoding]] = {
    json.NAME: Encoding(json.NAME, binary=False, decode=json.decode, encode=json.encode),
    msgpack.NAME: Encoding(msgpack.NAME, binary=True, decode=msgpack.decode, encode=msgpack.encode),
}


class _Request(msgspec.Struct, frozen=True):
    protocol: str
    version: int


_decoder = msgspec.json.Decoder(_Request)
#: What an accepted client is answered.
ACCEPTED: Final = b"{}" + json.END


def refusal(error: str) -> bytes:
    """Return what a client is answered that cannot be talked to."""
    return msgspec.json.encode({"error": error}) + json.END


def read(data: bytes) -> tuple[Encoding, bytes]:
    """Return what the first frame agrees on, and what follows in it.

    Raises:
        ProtocolError: it is no handshake, or asks for what we do not speak.

    """
    words, end, rest = data.partition(json.END)
    if not end or len(words) > LONGEST:
        message = "expected a handshake"
        raise ProtocolError(message)
    try:
        request = _decoder.decode(words)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        message = f"expected a handshake: {error}"
        raise ProtocolError(message) from error
    encoding = ENCODINGS.get(request.protocol)
    if encoding is None:
        known = " or ".join(ENCODINGS)
        message = f"unknown protocol {request.protocol[:40]!r}: expected {known}"
        raise ProtocolError(message)
    if request.version not in VERSIONS:
        message = f"the {encoding.name} protocol has no version {request.version} here: expected 1"
        raise ProtocolError(message)
    return encoding, rest
