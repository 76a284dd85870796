"""A WebSocket frame as a server writes it, whole and put together once (RFC 6455, 5.2); pure."""

from typing import Final

_TEXT: Final = 0x81  # the last fragment of a text, which is also its first
_BINARY: Final = 0x82
_PONG: Final = 0x8A
_SHORT: Final = 126
_LONG: Final = 1 << 16


def frame(payload: bytes, *, binary: bool) -> bytes:
    """Return a payload as one unmasked frame."""
    first = _BINARY if binary else _TEXT
    length = len(payload)
    if length < _SHORT:
        return bytes((first, length)) + payload
    if length < _LONG:
        return bytes((first, _SHORT)) + length.to_bytes(2) + payload
    return bytes((first, _SHORT + 1)) + length.to_bytes(8) + payload


def pong(payload: bytes) -> bytes:
    """Return the answer to a ping that held this; control frames are short."""
    return bytes((_PONG, len(payload))) + payload
