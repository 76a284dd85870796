"""SignalR's JSON encoding: objects, each ended by 0x1E; pure."""

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

NAME: Final = "json"
END: Final = b"\x1e"


class _Wire(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    type: int
    target: str = ""
    arguments: list[Any] = []  # msgspec copies it
    invocation_id: str | None = None
    result: Any = msgspec.UNSET
    error: str | None = None
    allow_reconnect: bool | None = None


class _Call(_Wire, frozen=True, rename="camel"):
    type: int
    target: str
    arguments: list[Any]
    invocation_id: str | None = None


_decoder = msgspec.json.Decoder(_Wire)
_encode = msgspec.json.Encoder().encode


def decode(data: bytes) -> list[Message]:
    """Return the messages of a WebSocket frame, which holds whole ones only.

    Raises:
        ProtocolError: it is not SignalR.

    """
    if not data.endswith(END):
        message = "a message without its end"
        raise ProtocolError(message)
    return [_message(part) for part in data[:-1].split(END)]


def _message(data: bytes) -> Message:
    try:
        wire = _decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        message = f"not a message: {error}"
        raise ProtocolError(message) from error
    match wire:
        case _Wire(type=1, target=target) if target:
            return Invocation(target, wire.arguments, wire.invocation_id)
        case _Wire(type=3, invocation_id=str(id_)):
            has_result = wire.result is not msgspec.UNSET
            return Completion(id_, wire.result if has_result else None, wire.error, has_result)
        case _Wire(type=4, target=target, invocation_id=str(id_)) if target:
            return StreamInvocation(target, id_)
        case _Wire(type=6):
            return Ping()
        case _Wire(type=7):
            return Close(wire.error, allow_reconnect=bool(wire.allow_reconnect))
        case _Wire(type=1 | 3 | 4):
            message = f"a message of type {wire.type} without its target or invocationId"
            raise ProtocolError(message)
    return Ignored(wire.type)


def encode(message: Message) -> bytes:
    """Return a message as it goes on the wire."""
    return _encode(_written(message)) + END


def _written(message: Message) -> _Wire:
    match message:
        case Invocation(target, arguments, id_):
            # a client wants to see an empty list of arguments, too
            return _Call(INVOCATION, target, list(arguments), id_)
        case StreamInvocation(target, id_):
            return _Call(STREAM_INVOCATION, target, [], id_)
        case Completion(id_, result, error, has_result):
            shown = result if has_result else msgspec.UNSET
            return _Wire(COMPLETION, invocation_id=id_, result=shown, error=error)
        case Ping():
            return _Wire(PING)
        case Close(error, allow_reconnect):
            return _Wire(CLOSE, error=error, allow_reconnect=allow_reconnect or None)
        case Ignored(type_):
            return _Wire(type_)
