"""The table of what can go wrong at Alpaca.

A fault takes effect in one of five places, and has the method that is called there:

    `handshake`  the HTTP request that a connection begins with
    `gate`       the rules that the conversation goes by
    `step`       the ticks on their way from a connection's window to its socket
    `deed`       what is done to the connection before its next frame, or instead
    `rest`       a request for history

Ticks go through the steps in the order of `FAULTS`. A step belongs to one connection; it is called
with every frame's ticks while its fault is on, and once more without it, to let go of what it
holds.
"""

from typing import Any

from infra.simulators.alpaca.faults.connection import (
    Close,
    Cut,
    InternalError,
    SlowClient,
    TornFrame,
    Unreadable,
)
from infra.simulators.alpaca.faults.history import RestRefused, RestTooManyRequests, RestUnavailable
from infra.simulators.alpaca.faults.places import Deed, Frame, Line, Refusal, Said, Step
from infra.simulators.alpaca.faults.silence import (
    Halt,
    Mute,
    MuteSocket,
    MuteSymbol,
    NoPong,
    Resume,
)
from infra.simulators.alpaca.faults.ticks import (
    Cancel,
    Correction,
    Duplicate,
    FutureTime,
    Jump,
    Late,
    Luld,
    NegativeSize,
    OutOfOrder,
    PriceZero,
    UnknownType,
)
from infra.simulators.alpaca.faults.way_in import (
    AuthFailed,
    AuthTimeout,
    ConnectionLimit,
    Ghost,
    InsufficientScope,
    InsufficientSubscription,
    MalformedSymbol,
    SymbolLimit,
    TooManyRequests,
)
from infra.simulators.alpaca.session import Rules
from infra.simulators.alpaca.tape import Tick
from infra.simulators.faults import Active, Fault, Switchboard, name_of

#: All there are, in the order in which they take effect.
FAULTS: tuple[type[Fault], ...] = (
    TooManyRequests,
    Ghost,
    ConnectionLimit,
    AuthFailed,
    AuthTimeout,
    InsufficientSubscription,
    InsufficientScope,
    SymbolLimit,
    MalformedSymbol,
    Close,
    Cut,
    SlowClient,
    InternalError,
    TornFrame,
    Unreadable,
    # the steps: what there is, how it is, when it comes, what is added, and whether all is silent
    Halt,
    Resume,
    MuteSymbol,
    PriceZero,
    NegativeSize,
    FutureTime,
    Jump,
    Duplicate,
    OutOfOrder,
    Late,
    UnknownType,
    Luld,
    Correction,
    Cancel,
    MuteSocket,
    NoPong,
    RestUnavailable,
    RestTooManyRequests,
    RestRefused,
)


def rules(board: Switchboard, honest: Rules) -> Rules:
    """Return the rules that the conversation goes by now."""
    for active in board.on:
        if gate := getattr(active.fault, "gate", None):
            honest = gate(honest)
    return honest


def handshake(board: Switchboard) -> Refusal | None:
    """Return what a handshake is answered with instead of being accepted."""
    return next((a.fault.handshake() for a in _with(board, "handshake") if a.use()), None)


def rest(board: Switchboard, now_ns: int) -> Refusal | None:
    """Return what a request for history is answered with instead of history."""
    return next((a.fault.rest(now_ns) for a in _with(board, "rest") if a.use()), None)


def _with(board: Switchboard, place: str) -> list[Active[Any]]:
    return [active for active in board.on if hasattr(active.fault, place)]


class Effects:
    """All faults on one connection.

    Args:
        line: the connection.

    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._steps: dict[str, Step] = {}

    @property
    def dead(self) -> bool:
        """Whether nothing at all may go out any more."""
        step = self._steps.get(name_of(NoPong))
        return isinstance(step, Mute) and step.holds

    def apply(self, ticks: list[Tick], now_ns: int) -> list[Said]:
        """Return what becomes of a frame's ticks."""
        said = [(tick, "") for tick in ticks]
        on = {active.name: active for active in _with(self._line.board, "step")}
        if not on and not self._steps:
            return said
        for kind in FAULTS:
            name = name_of(kind)
            if name in on:
                if name not in self._steps:
                    self._steps[name] = on[name].fault.step(self._line)
                said = self._steps[name](said, on[name], now_ns)
            elif name in self._steps:
                said = self._steps.pop(name)(said, None, now_ns)
        return said

    @property
    def deeds(self) -> bool:
        """Whether anything is to be done to some connection."""
        return bool(_with(self._line.board, "deed"))

    def deed(self, frame: Frame | None) -> Deed | None:
        """Return what is done to the connection before its next frame or instead, if anything."""
        for active in _with(self._line.board, "deed"):
            deed: Deed | None = active.fault.deed(frame)
            if deed is None:
                continue
            if isinstance(active.fault, Ghost):
                # those that come after it are the newcomers
                if self._line.opened_ns <= active.began_ns:
                    return deed
            elif active.use():
                return deed
        return None
