"""Where a fault takes effect, and what passes there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol

from msgspec import Meta

from infra.simulators.alpaca.session import Control
from infra.simulators.alpaca.tape import Tick
from infra.simulators.faults import Active, Switchboard, Symbol
from infra.simulators.market import Market

#: A tick on its way, and the faults that made or changed it, joined by commas.
Said = tuple[Tick, str]

Some = Annotated[list[Symbol], Meta(min_length=1, description="whose")]
Closing = Annotated[bool, Meta(description="whether the connection is closed after it")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An HTTP answer instead of what was asked for.

    Attributes:
        status: its status.
        message: its body's.
        headers: beside the usual ones.

    """

    status: int
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What is done to a connection before it gets its next frame of ticks, or instead.

    Attributes:
        fault: which fault does it.
        control: said first, as a control message.
        garbage: then sent as a frame.
        spoils: whether that was the frame of ticks, which are lost with it.
        wire: whether only half of that frame's bytes go out, and then the end of the TCP stream.
        then: `go_on`, `close` with `code`, or `abort`: the TCP connection is reset.
        code: the close code.

    """

    fault: str
    control: Control | None = None
    garbage: bytes | None = None
    spoils: bool = False
    wire: bool = False
    then: Literal["go_on", "close", "abort"]
    code: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a step knows of its connection.

    Attributes:
        opened_ns: since when the connection is open.
        market: for the prices of what it makes up.
        follows: the symbols that the connection follows on a channel.
        board: the faults.

    """

    opened_ns: int
    market: Market
    follows: Callable[[str], Sequence[str]]
    board: Switchboard

    def message(self, kind: str, symbol: str, at_ns: int, **fields: object) -> Tick:
        """Return a message as the tape's are."""
        tape = self.market.listing(symbol).tape
        return {"T": kind, "S": symbol, **fields, "t": at_ns, "z": tape}


class Step(Protocol):
    """A fault on one connection."""

    def __call__(self, said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
        """Take a frame's ticks, return what goes on; `on` is None once, when the fault is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A frame of ticks that a deed may spoil, as its bytes.

    Attributes:
        messages: each message's.
        whole: the frame's.
        text: whether it is a text frame.

    """

    messages: Sequence[bytes]
    whole: bytes
    text: bool

    @property
    def torn(self) -> bytes:
        """Half of its bytes."""
        return self.whole[: len(self.whole) // 2]

    @property
    def unfinished(self) -> bytes:
        """Its first messages whole, and then nothing, not even the array's end."""
        lost = self.messages[(len(self.messages) + 1) // 2 :]
        separators = len(lost) + 1 if self.text else 0
        end = len(self.whole) - sum(map(len, lost)) - separators
        return self.whole[:end]


def also(by: str, fault: str) -> str:
    """Return the faults of a tick with one more."""
    return f"{by},{fault}" if by else fault
