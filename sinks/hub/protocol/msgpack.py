"""SignalR's MessagePack encoding: arrays, each after its length; pure.

The length is a number in groups of seven bits, least significant first, at most five bytes.
"""

from typing import Any, Final

import msgspec

from sinks.hub.protocol.messages import (
    CLOSE,
    COMPLETION,
    INVOCATION,
    PING,
    STREAM_INVOCATION,
    Close,
    Completion,
    Ignored,
    Invocation,
    Message,
    Ping,
    ProtocolError,
    StreamInvocation,
)

NAME: Final = "messagepack"

#: What a completion carries, by number.
FAILED, VOID, RESULT = 1, 2, 3
#: Five bytes hold any length up to two gigabytes.
LENGTH_BYTES: Final = 5
_SEVEN: Final = 0x7F
_MORE: Final = 0x80

_decode = msgspec.msgpack.Decoder().decode
_encode = msgspec.msgpack.Encoder().encode


def decode(data: bytes) -> list[Message]:
    """Return the messages of a WebSocket frame, which holds whole ones only.

    Raises:
        ProtocolError: it is not SignalR.

    """
    messages = []
    at = 0
    while at < len(data):
        length, at = _length(data, at)
        body = data[at : at + length]
        if len(body) < length:
            message = "a message without its end"
            raise ProtocolError(message)
        messages.append(_message(body))
        at += length
    return messages


def _length(data: bytes, at: int) -> tuple[int, int]:
    length = 0
    for place, byte in enumerate(data[at : at + LENGTH_BYTES]):
        length |= (byte & _SEVEN) << (7 * place)
        if not byte & _MORE:
            return length, at + place + 1
    message = "a length without its end"
    raise ProtocolError(message)


def _message(data: bytes) -> Message:
    try:
        wire = _decode(data)
    # a map may have keys that Python cannot hash
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, TypeError) as error:
        message = f"not a message: {error}"
        raise ProtocolError(message) from error
    found = _understood(wire)
    if found is None:
        message = "an array that is no message"
        raise ProtocolError(message)
    return found


def _understood(wire: Any) -> Message | None:
    found: Message | None = None
    match wire:
        case [1, _, str() | None as id_, str(target), list(arguments), *_] if target:
            found = Invocation(target, arguments, id_)
        case [3, _, str(id_), int(kind), *rest]:
            found = _completion(id_, kind, rest)
        case [4, _, str(id_), str(target), list(), *_] if target:
            found = StreamInvocation(target, id_)
        case [6, *_]:
            found = Ping()
        case [7]:
            found = Close()
        case [7, str() | None as reason, *rest]:
            found = Close(reason, allow_reconnect=rest[:1] == [True])
        case [int(type_), *_] if type_ not in {INVOCATION, COMPLETION, STREAM_INVOCATION, CLOSE}:
            found = Ignored(type_)
    return found


def _completion(id_: str, kind: int, rest: list[Any]) -> Completion | None:
    match kind, rest:
        case 1, [str(reason), *_]:
            return Completion(id_, error=reason)
        case 2, _:
            return Completion(id_)
        case 3, [result, *_]:
            return Completion(id_, result, has_result=True)
    return None


def encode(message: Message) -> bytes:
    """Return a message as it goes on the wire."""
    fields: list[Any]
    match message:
        case Invocation(target, arguments, id_):
            fields = [INVOCATION, {}, id_, target, list(arguments), []]
        case StreamInvocation(target, id_):
            fields = [STREAM_INVOCATION, {}, id_, target, [], []]
        case Completion(id_, _, str(error)):
            fields = [COMPLETION, {}, id_, FAILED, error]
        case Completion(id_, result, _, has_result=True):
            fields = [COMPLETION, {}, id_, RESULT, result]
        case Completion(id_):
            fields = [COMPLETION, {}, id_, VOID]
        case Ping():
            fields = [PING]
        case Close(error, allow_reconnect):
            fields = [CLOSE, error, allow_reconnect]
        case Ignored(type_):
            fields = [type_]
    body = _encode(fields)
    return _prefix(len(body)) + body


def _prefix(length: int) -> bytes:
    prefix = bytearray()
    while length > _SEVEN:
        prefix.append(length & _SEVEN | _MORE)
        length >>= 7
    prefix.append(length)
    return bytes(prefix)
