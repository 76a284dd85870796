"""Messages to bytes and back, in the two encodings that the stream speaks.

A message is a dict whose `t`, where it has one, is in integer nanoseconds; on the wire that is
RFC 3339 text with as many fractional digits as it needs (JSON), or a Timestamp (MessagePack). Every
frame is an array. Messages are encoded one by one and joined, so that the ledger can hold each
one's exact bytes.
"""

import base64
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, Protocol

import msgpack
import orjson

SECOND_NS = 1_000_000_000

Message = Mapping[str, Any]


class Malformed(ValueError):  # noqa: N818  # it is a fact about the client's frame, not an error of ours
    """A frame that its encoding does not allow."""


class Codec(Protocol):
    """One encoding."""

    @property
    def name(self) -> Literal["json", "msgpack"]:
        """The encoding's name in the ledger."""

    @property
    def text(self) -> bool:
        """Whether its frames are text frames."""

    def encode(self, message: Message) -> bytes:
        """Encode one message."""

    def frame(self, messages: Iterable[bytes]) -> bytes:
        """Join encoded messages into a frame's array."""

    def decode(self, frame: str | bytes) -> object:
        """Decode a client's frame. Raises Malformed."""

    def raw(self, encoded: bytes) -> str:
        """Write one encoded message as the ledger does."""


class JsonCodec:
    """`Content-Type: application/json`, and what is spoken where the header says nothing."""

    name: Literal["json"] = "json"
    text = True

    def encode(self, message: Message) -> bytes:
        """Encode one message."""
        if "t" in message:
            return orjson.dumps({**message, "t": rfc3339(message["t"])})
        return orjson.dumps(message)

    def frame(self, messages: Iterable[bytes]) -> bytes:
        """Join encoded messages into a frame's array."""
        return b"[" + b",".join(messages) + b"]"

    def decode(self, frame: str | bytes) -> object:
        """Decode a client's frame. Raises Malformed."""
        try:
            return orjson.loads(frame)
        except orjson.JSONDecodeError as error:
            raise Malformed(str(error)) from error

    def raw(self, encoded: bytes) -> str:
        """Write one encoded message as the ledger does."""
        return encoded.decode()


class MsgpackCodec:
    """`Content-Type: application/msgpack`."""

    name: Literal["msgpack"] = "msgpack"
    text = False

    def __init__(self) -> None:
        self._packer = msgpack.Packer()

    def encode(self, message: Message) -> bytes:
        """Encode one message."""
        if "t" in message:
            message = {**message, "t": msgpack.Timestamp(*divmod(message["t"], SECOND_NS))}
        packed: bytes = self._packer.pack(message)
        return packed

    def frame(self, messages: Iterable[bytes]) -> bytes:
        """Join encoded messages into a frame's array."""
        messages = list(messages)
        header: bytes = self._packer.pack_array_header(len(messages))
        return header + b"".join(messages)

    def decode(self, frame: str | bytes) -> object:
        """Decode a client's frame. Raises Malformed."""
        if isinstance(frame, str):
            message = "a text frame on a MessagePack connection"
            raise Malformed(message)
        try:
            decoded: object = msgpack.unpackb(frame)
        except ValueError as error:  # msgpack's own errors are all ValueErrors, some without words
            raise Malformed(str(error) or type(error).__name__) from error
        return decoded

    def raw(self, encoded: bytes) -> str:
        """Write one encoded message as the ledger does."""
        return base64.b64encode(encoded).decode()


def codec_for(content_type: str | None) -> Codec:
    """Choose the encoding that the handshake's Content-Type asks for."""
    if content_type and "msgpack" in content_type.lower():
        return MsgpackCodec()
    return JsonCodec()


def rfc3339(at_ns: int) -> str:
    """Write a moment with the fewest fractional digits that keep it whole: none to nine."""
    second, fraction = divmod(at_ns, SECOND_NS)
    return f"{_whole_second(second)}.{fraction:09d}".rstrip("0").rstrip(".") + "Z"


@lru_cache(maxsize=64)
def _whole_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
