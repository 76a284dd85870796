"""What an Alpaca session is told by its worker, and what it answers: values, nothing done yet."""

from dataclasses import dataclass
from typing import Literal, TypedDict

from ingest.alpaca import wire
from ingest.events import GapEvent, RawTick, SourceStatus

SOURCE: Literal["alpaca"] = "alpaca"

Reason = Literal["timeout", "closed", "error", "auth", "stalled", "asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session is for.

    Attributes:
        feed: the vendor's name of the stream: `iex`, `sip`, `test`.
        encoding: of the frames, both ways.

    """

    feed: str
    encoding: wire.Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How patient a session is, in seconds; the same everywhere but in tests.

    Attributes:
        answer_s: how long the vendor waits for our authentication, and we for each of its answers.
        healthy_s: how long a connection must have been subscribed to have been healthy: the failure
            that ends it is a first one.
        first_retry_s: the wait after a first failure; it doubles from there.
        retry_cap_s: the longest wait that doubling leads to.
        mute_s: how much market time a subscribed connection may be mute.
        mute_cap_s: what that doubles to, at most, while one connection after the other is mute.
        ghost_s: how long "connection limit exceeded" may be the ghost of our own connection.

    """

    answer_s: float = 10.0
    healthy_s: float = 30.0
    first_retry_s: float = 1.0
    retry_cap_s: float = 60.0
    mute_s: float = 30.0
    mute_cap_s: float = 600.0
    ghost_s: float = 120.0


PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class Closure:
    """Why a socket is gone, or was never there.

    Attributes:
        reason: the class of the cause.
        code: the WebSocket close code, or the HTTP status that refused the handshake.
        detail: the peer's or the operating system's words.
        retry_after_s: how long a refused handshake asked to be left alone, if it did.

    """

    reason: Literal["timeout", "closed", "error"]
    code: int | None = None
    detail: str = ""
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Open:
    """Open a socket; answer with `connected`, or with `closed` where that fails."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this as one message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket, and answer with `closed`."""


@dataclass(frozen=True, slots=True)
class Received:
    """Publish these ticks.

    Attributes:
        ticks: the frame's data messages, in order.
        meters: what each of them is counted as.
        counts: how many messages of each meter were received, those for us included.

    """

    ticks: list[RawTick]
    meters: list[wire.Meter]
    counts: dict[wire.Meter, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something went wrong that did not end the connection: log it and count it."""

    kind: Literal["authentication", "connection", "parse", "validation"]
    detail: str
    code: int | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Reconnected:
    """A socket is open again that was open before; `reason` is why that one was lost."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Resubscribed:
    """The vendor sends more symbols, or fewer, than it confirmed before."""

    added: int
    removed: int


Output = (
    Open | Send | Close | Received | Problem | Reconnected | Resubscribed | SourceStatus | GapEvent
)


class Stamp(TypedDict):
    """What every event of a connection carries."""

    source: Literal["alpaca"]
    feed: str
    session_id: str
    at_ns: int
