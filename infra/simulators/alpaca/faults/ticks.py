"""Ticks that are wrong, come at the wrong time, or should not be."""

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from infra.simulators.alpaca.faults.places import Line, Said, Step, also
from infra.simulators.alpaca.tape import Tick
from infra.simulators.faults import SECOND_NS, Active, OfSymbols, Seconds


class _Edits(OfSymbols, frozen=True, kw_only=True):
    """A fault that changes ticks one by one; its count is theirs."""

    kinds: ClassVar[str]

    def edit(self, tick: Tick) -> Tick:
        """Return the tick, changed."""
        raise NotImplementedError

    def step(self, _: Line) -> Step:
        """Return the step."""
        return _edited


def _edited(said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
    del now_ns
    if on is None:
        return said
    fault: _Edits = on.fault
    return [
        (fault.edit(tick), also(by, on.name))
        if _meant(fault, fault.kinds, tick, on)
        else (tick, by)
        for tick, by in said
    ]


def _meant(fault: OfSymbols, kinds: str, tick: Tick, on: Active[Any]) -> bool:
    """Return whether a tick is to be changed, and count it."""
    return tick["T"] in kinds and fault.concerns(tick["S"]) and on.use()


class PriceZero(_Edits, frozen=True, kw_only=True):
    """Trades have the price 0."""

    kinds = "t"

    def edit(self, tick: Tick) -> Tick:
        """Return the trade without its price."""
        return {**tick, "p": 0}


class NegativeSize(_Edits, frozen=True, kw_only=True):
    """Trades have a size below 0."""

    kinds = "t"

    def edit(self, tick: Tick) -> Tick:
        """Return the trade with its size turned round."""
        return {**tick, "s": -tick["s"]}


class FutureTime(_Edits, frozen=True, kw_only=True):
    """Trades and quotes are of a time to come."""

    kinds = "tq"

    ahead: Annotated[Seconds, Meta(description="seconds ahead of their time")] = 600.0

    def edit(self, tick: Tick) -> Tick:
        """Return the tick with its time moved ahead."""
        return {**tick, "t": tick["t"] + round(self.ahead * SECOND_NS)}


class Jump(_Edits, frozen=True, kw_only=True):
    """The prices of trades and quotes are off."""

    kinds = "tq"

    by: Annotated[float, Meta(gt=-1, le=10, description="by this share of the price")] = 0.25

    def edit(self, tick: Tick) -> Tick:
        """Return the tick with its prices moved; a side without a price stays without."""
        moved: Tick = {
            key: round(tick[key] * (1 + self.by), 2) for key in ("p", "bp", "ap") if key in tick
        }
        return {**tick, **moved}


class Duplicate(OfSymbols, frozen=True, kw_only=True):
    """Trades and quotes are sent twice."""

    def step(self, _: Line) -> Step:
        """Return the step."""
        return _doubled


def _doubled(said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
    del now_ns
    if on is None:
        return said
    goes_on = []
    for tick, by in said:
        goes_on.append((tick, by))
        if _meant(on.fault, "tq", tick, on):
            goes_on.append((tick, also(by, on.name)))
    return goes_on


class OutOfOrder(OfSymbols, frozen=True, kw_only=True):
    """Trades and quotes come after their symbol's next one."""

    def step(self, _: Line) -> Step:
        """Return the step."""
        return _Swapped()


class _Swapped:
    """Holds a symbol's tick until the next has gone out."""

    def __init__(self) -> None:
        self._held: dict[str, Said] = {}

    def __call__(self, said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
        del now_ns
        goes_on = []
        for tick, by in said:
            held = self._held.pop(tick["S"], None)
            if held is None and on and _meant(on.fault, "tq", tick, on):
                self._held[tick["S"]] = (tick, also(by, on.name))
                continue
            goes_on.append((tick, by))
            if held:
                goes_on.append(held)
        if on is None:
            goes_on += self._held.values()
        return goes_on


class Late(OfSymbols, frozen=True, kw_only=True):
    """Trades and quotes are held back."""

    by: Annotated[Seconds, Meta(description="seconds for which they are held")] = 5.0

    def step(self, _: Line) -> Step:
        """Return the step."""
        return _HeldBack()


class _HeldBack:
    """Holds ticks until their time has come, or the fault is over."""

    def __init__(self) -> None:
        self._held: list[tuple[int, Said]] = []

    def __call__(self, said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
        goes_on = [item for due_ns, item in self._held if on is None or due_ns <= now_ns]
        self._held = [(due_ns, item) for due_ns, item in self._held if on and due_ns > now_ns]
        for tick, by in said:
            if on and _meant(on.fault, "tq", tick, on):
                due_ns = now_ns + round(on.fault.by * SECOND_NS)
                self._held.append((due_ns, (tick, also(by, on.name))))
            else:
                goes_on.append((tick, by))
        return goes_on


class UnknownType(OfSymbols, frozen=True, kw_only=True):
    """Among the ticks are messages of a type that nobody knows."""

    once = True

    type: Annotated[str, Meta(min_length=1, max_length=16, description="their T")] = "zz"

    def step(self, _: Line) -> Step:
        """Return the step."""
        return _strangers


def _strangers(said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
    del now_ns
    if on is None:
        return said
    goes_on = []
    for tick, by in said:
        goes_on.append((tick, by))
        if _meant(on.fault, "tq", tick, on):
            stranger = {"T": on.fault.type, "S": tick["S"], "novelty": 1, "t": tick["t"]}
            goes_on.append((stranger, on.name))
    return goes_on


class Luld(OfSymbols, frozen=True, kw_only=True):
    """Price bands are told of the symbols, every second; each of them counts."""

    once = True

    band: Annotated[float, Meta(gt=0, lt=1, description="share of the price, up and down")] = 0.05
    indicator: Annotated[str, Meta(min_length=1, max_length=1, description="their `i`")] = "B"

    def step(self, line: Line) -> Step:
        """Return the step."""
        return _Bands(line)


class _Bands:
    """Tells bands, a round a second."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._due_ns = 0

    def __call__(self, said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
        if on is None or now_ns < self._due_ns:
            return said
        self._due_ns = now_ns + SECOND_NS
        fault: Luld = on.fault
        told = (
            self._band(fault, symbol, now_ns)
            for symbol in self._line.follows("lulds")
            if fault.concerns(symbol) and on.use()
        )
        return [*said, *((tick, on.name) for tick in told)]

    def _band(self, fault: Luld, symbol: str, now_ns: int) -> Tick:
        price = self._line.market.price(symbol, now_ns)
        up, down = (round(price * (1 + sign * fault.band), 2) for sign in (1, -1))
        return self._line.message("l", symbol, now_ns, u=up, d=down, i=fault.indicator)


class _Regrets(OfSymbols, frozen=True, kw_only=True):
    """A fault that takes back trades that have just been sent."""

    once = True

    def regret(self, line: Line, trade: Tick, now_ns: int) -> Tick:
        """Return the message that follows the trade."""
        raise NotImplementedError

    def step(self, line: Line) -> Step:
        """Return the step."""

        def regretted(said: list[Said], on: Active[Any] | None, now_ns: int) -> list[Said]:
            if on is None:
                return said
            goes_on = []
            for tick, by in said:
                goes_on.append((tick, by))
                if _meant(on.fault, "t", tick, on):
                    goes_on.append((on.fault.regret(line, tick, now_ns), on.name))
            return goes_on

        return regretted


class Correction(_Regrets, frozen=True, kw_only=True):
    """A trade that was sent is corrected: a cent more."""

    def regret(self, line: Line, trade: Tick, now_ns: int) -> Tick:
        """Return the correction, whose trade has an id that no other has."""
        return line.message(
            "c",
            trade["S"],
            now_ns,
            x=trade["x"],
            oi=trade["i"],
            op=trade["p"],
            os=trade["s"],
            oc=trade["c"],
            ci=trade["i"] + CORRECTED_IDS,
            cp=round(trade["p"] + 0.01, 2),
            cs=trade["s"],
            cc=trade["c"],
        )


#: Added to a trade's id for the one that corrects it: far above the tape's, and below 2**53.
CORRECTED_IDS = 5_000_000_000_000_000


class Cancel(_Regrets, frozen=True, kw_only=True):
    """A trade that was sent is cancelled."""

    def regret(self, line: Line, trade: Tick, now_ns: int) -> Tick:
        """Return the cancellation."""
        kept = {key: trade[key] for key in ("i", "x", "p", "s")}
        return line.message("x", trade["S"], now_ns, **kept, a="C")
