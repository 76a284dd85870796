"""What hub and client say to each other, whichever encoding they agreed on; pure.

Only what a hub of ours can be told or says itself is a message. What a newer client might send
besides (acknowledgements and sequences of stateful reconnect, which is never offered) is `Ignored`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

#: The types by number, as both encodings write them.
INVOCATION: Final = 1
COMPLETION: Final = 3
STREAM_INVOCATION: Final = 4
PING: Final = 6
CLOSE: Final = 7


class ProtocolError(Exception):
    """The peer does not speak SignalR, or said too much: the connection cannot go on."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """A method is called; without an id nobody waits for its completion."""

    target: str
    arguments: Sequence[Any] = ()
    id: str | None = None


@dataclass(frozen=True, slots=True)
class StreamInvocation:
    """A stream is asked for; we have none."""

    target: str
    id: str


@dataclass(frozen=True, slots=True)
class Completion:
    """An invocation has ended: with a result, or an error in words, or neither."""

    id: str
    result: Any = None
    error: str | None = None
    has_result: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """The peer is alive."""


@dataclass(frozen=True, slots=True)
class Close:
    """The connection ends; a client comes back by itself only where it is allowed to."""

    error: str | None = None
    allow_reconnect: bool = False


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that is none of our business, of this type."""

    type: int


Message = Invocation | StreamInvocation | Completion | Ping | Close | Ignored
