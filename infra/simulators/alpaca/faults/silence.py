"""Ticks that do not come: of a halted symbol, of one symbol, of all."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from msgspec import Meta

from infra.simulators.alpaca.faults.places import Line, Said, Some, Step
from infra.simulators.alpaca.tape import Tick
from infra.simulators.faults import Active, Fault, OfSymbols


class Halt(OfSymbols, frozen=True, kw_only=True):
    """Trading in the symbols is halted: a status, no trades until the end, and a status.

    It happens in the market, so the trades are missing in the history as well; its count is theirs.
    """

    symbols: Some
    reason: Annotated[str, Meta(description="the reason's code, of the symbol's tape")] = "T1"

    def step(self, line: Line) -> Step:
        """Return the step."""
        return _Halts(line)


class Resume(OfSymbols, frozen=True, kw_only=True):
    """Trading in halted symbols resumes."""

    immediate = True

    def alters(self, other: Fault) -> Fault | None:
        """Take the symbols out of the halt."""
        if not isinstance(other, Halt) or not any(map(self.concerns, other.symbols)):
            return other
        left = [symbol for symbol in other.symbols if not self.concerns(symbol)]
        return (
            Halt(symbols=left, reason=other.reason, seconds=other.seconds, count=other.count)
            if left
            else None
        )


def halted(halts: Iterable[Active[Halt]], symbol: str, at_ns: int) -> bool:
    """Return whether a symbol was halted at a moment: then there is no trade of it."""
    return any(halt.fault.concerns(symbol) and halt.was_on(at_ns) for halt in halts)


#: by tape: the status codes and messages of a halt and of a resumption, as Alpaca documents them
_STATUSES = {
    "A": (("2", "Trading Halt"), ("3", "Resume")),
    "B": (("2", "Trading Halt"), ("3", "Resume")),
    "C": (("H", "Trading Halt"), ("T", "Trading Resumption")),
}


class _Halts:
    """What a connection is told of halts; who comes in the middle of one is told of its end."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._told: Active[Halt] | None = None
        self._halted: set[str] = set()

    def __call__(self, said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
        halts = [halt for halt in (self._told, on) if halt]
        goes_on = [item for item in said if not self._withheld(item[0], halts)]
        wanted = set(on.fault.symbols) if on else set()
        if on and not self._told and on.began_ns < self._line.opened_ns:
            self._halted = wanted
        statuses = [
            *(self._status(symbol, halts[-1], 0, now_ns) for symbol in wanted - self._halted),
            *(self._status(symbol, halts[-1], 1, now_ns) for symbol in self._halted - wanted),
        ]
        self._told, self._halted = on, wanted
        followed = self._line.follows("statuses")
        return [*((tick, "halt") for tick in statuses if tick["S"] in followed), *goes_on]

    def _withheld(self, tick: Tick, halts: Sequence[Active[Halt]]) -> bool:
        if tick["T"] != "t" or not halted(halts, tick["S"], tick["t"]):
            return False
        halts[-1].use()
        return True

    def _status(self, symbol: str, halt: Active[Halt], which: int, now_ns: int) -> Tick:
        code, message = _STATUSES[self._line.market.listing(symbol).tape][which]
        return self._line.message(
            "s",
            symbol,
            now_ns,
            sc=code,
            sm=message,
            rc="" if which else halt.fault.reason,
            rm="" if which else "Halt News Pending",
        )


class MuteSymbol(OfSymbols, frozen=True, kw_only=True):
    """Nothing is heard of the symbols, while the others go on."""

    stays = True

    symbols: Some

    def step(self, _: Line) -> Step:
        """Return the step."""
        return Mute()


class MuteSocket(Fault, frozen=True, kw_only=True):
    """The connection is open and pings are answered, but there is no data."""

    stays = True

    def step(self, _: Line) -> Step:
        """Return the step."""
        return Mute()


class NoPong(Fault, frozen=True, kw_only=True):
    """The connection is open and dead: nothing comes any more, not even an answer to a ping."""

    stays = True

    def step(self, _: Line) -> Step:
        """Return the step."""
        return Mute()


class Mute:
    """Says nothing; with a count, on so many connections, for as long as the fault is on."""

    def __init__(self) -> None:
        self._on: Active[Any] | None = None
        self.holds = False

    def __call__(self, said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
        """Let through what the fault does not concern."""
        del now_ns
        if on is not self._on:
            self._on, self.holds = on, on is not None and on.use()
        if not self.holds or on is None:
            return said
        if not isinstance(on.fault, MuteSymbol):
            return []
        return [(tick, by) for tick, by in said if not on.fault.concerns(tick["S"])]
