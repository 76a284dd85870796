"""Faults that are switched on and off while a simulator runs, as every vendor has them.

A fault is a frozen value: its class says what it does, its fields are its parameters, its docstring
is the sentence that describes it. What a class does is a small pure function that its simulator
knows where to call; `infra.simulators.alpaca.faults` and `infra.simulators.yahoo.faults` are the
tables. Here is what they have in common: which are on, since when, and when they end.

Pure: whoever asks says what time it is, has swept away what is over by then, and writes the lines
that are returned into the ledger.
"""

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar

import msgspec
from msgspec import Meta

from infra.simulators.ledger import FaultBegun, FaultEnded

SECOND_NS = 1_000_000_000

#: So many ended faults are remembered: a halt that is over is still a hole in the history.
_REMEMBERED = 1_000

Source = Literal["alpaca", "yahoo"]
Symbol = Annotated[str, Meta(min_length=1, max_length=32)]
Lines = list[FaultBegun | FaultEnded]
Reason = Literal["cleared", "replaced", "expired", "used_up", "stopped"]

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Times = Annotated[int, Meta(ge=1)]
_Wait = Annotated[int, Meta(ge=0, le=86_400)]
RetryAfter = Annotated[_Wait | None, Meta(description="Retry-After, in seconds; none without")]


class UnknownFault(LookupError):  # noqa: N818  # it is a fact about a request, not an error of ours
    """A name that no fault has, in a sentence."""


class BadParameters(ValueError):  # noqa: N818  # likewise
    """Parameters that a fault cannot have, in a sentence."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all faults have in common.

    Attributes:
        seconds: after how many it ends by itself; None for not by itself.
        count: how many times it does something, as its sentence says of what; None for always.

    """

    #: Done once where neither seconds nor a count were given.
    once: ClassVar[bool] = False
    #: Over as soon as it has begun: an event, not a state.
    immediate: ClassVar[bool] = False
    #: Stays with what it has befallen when its count is reached, until it is cleared or expires.
    stays: ClassVar[bool] = False

    seconds: Annotated[Seconds | None, Meta(description="ends by itself after so many")] = None
    count: Annotated[Times | None, Meta(description="does it so many times")] = None

    def named(self) -> Sequence[str]:
        """Return the symbols that it speaks of and that therefore have to be known."""
        return ()

    def alters(self, other: "Fault") -> "Fault | None":
        """Return what becomes of another fault that is on: itself, a changed one, or none."""
        return other


class OfSymbols(Fault, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault of some symbols, or of all."""

    symbols: Annotated[list[Symbol], Meta(description="whose; none for all")] = []

    def named(self) -> Sequence[str]:
        """Return the symbols."""
        return self.symbols

    def concerns(self, symbol: str) -> bool:
        """Return whether a symbol is one of its."""
        return not self.symbols or symbol in self.symbols


F_co = TypeVar("F_co", bound=Fault, covariant=True)


@dataclass(slots=True, eq=False)
class Active(Generic[F_co]):
    """A fault, from when to when it was on.

    Attributes:
        fault: the fault with its parameters.
        name: what it is called.
        fault_id: names this time that it was on.
        began_ns: since when.
        uses: how often it did something.
        ended_ns: since when it does nothing any more.

    """

    fault: F_co
    name: str
    fault_id: str
    began_ns: int
    uses: int = 0
    ended_ns: int | None = None

    @property
    def used_up(self) -> bool:
        """Whether its count is reached."""
        return self.fault.count is not None and self.uses >= self.fault.count

    def use(self) -> bool:
        """Count that it does something; False where it may do nothing any more."""
        if self.ended_ns is not None or self.used_up:
            return False
        self.uses += 1
        return True

    def was_on(self, at_ns: int) -> bool:
        """Return whether it was on at a moment."""
        return self.began_ns <= at_ns and (self.ended_ns is None or at_ns < self.ended_ns)


def name_of(kind: type[Fault]) -> str:
    """Return what a fault is called: `AuthFailed` is `auth-failed`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind.__name__).lower()


def sentence_of(kind: type[Fault]) -> str:
    """Return the sentence that describes a fault."""
    return (kind.__doc__ or "").partition("\n")[0]


def parameters_of(kind: type[Fault]) -> dict[str, Any]:
    """Return a fault's parameters: JSON Schemas, without a default where one has to be given."""
    parameters: dict[str, Any] = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"]
    return parameters


K = TypeVar("K", bound=Fault)


@dataclass(slots=True, kw_only=True)
class Switchboard:
    """Which of a simulator's faults are on.

    Attributes:
        source: whose they are.
        kinds: all there are, in the order in which they take effect.
        symbols: the symbols that there are.
        run: names this run of the simulator; part of every fault's id.

    """

    source: Source
    kinds: tuple[type[Fault], ...]
    symbols: frozenset[str]
    run: str
    _begun: int = 0
    _on: dict[str, Active[Fault]] = field(default_factory=dict)
    _over: deque[Active[Fault]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    @property
    def on(self) -> tuple[Active[Fault], ...]:
        """All that are on, in the order in which they take effect."""
        return tuple(self._on.values())

    def find(self, kind: type[K]) -> Active[K] | None:
        """Return a fault if it is on."""
        found: Active[K] | None = self._on.get(name_of(kind))  # type: ignore[assignment]  # by its name
        return found

    def had(self, kind: type[K]) -> list[Active[K]]:
        """Return every time that a fault was on, the present one last."""
        had: list[Any] = [active for active in self._over if isinstance(active.fault, kind)]
        now = self.find(kind)
        return [*had, now] if now else had

    def kind(self, name: str) -> type[Fault]:
        """Return the fault of a name. Raises UnknownFault."""
        for kind in self.kinds:
            if name_of(kind) == name:
                return kind
        names = ", ".join(name_of(kind) for kind in self.kinds)
        message = f"unknown fault {name!r}: expected one of {names}"
        raise UnknownFault(message)

    def put(self, name: str, parameters: object, now_ns: int) -> Lines:
        """Switch a fault on; if it is on, it goes on with the new parameters.

        Raises:
            UnknownFault: there is no such fault.
            BadParameters: it cannot have these parameters; nothing has changed.

        """
        fault = self._checked(self.kind(name), name, parameters)
        if fault.immediate:
            return self._at_once(name, fault, now_ns)
        previous = self._on.get(name)
        ended = self._end(previous, "replaced", now_ns) if previous else []
        return ended + self._begin(name, fault, now_ns)

    def _at_once(self, name: str, fault: Fault, now_ns: int) -> Lines:
        """Let a fault change the others and be over."""
        changes = [
            (other, after)
            for other in self.on
            if (after := fault.alters(other.fault)) is not other.fault
        ]
        if not changes:
            message = f"{name}: nothing is on that it could end"
            raise BadParameters(message)
        lines = self._begin(name, fault, now_ns)
        for other, after in changes:
            lines += self._end(other, "replaced" if after else "cleared", now_ns)
            if after:
                lines += self._begin(other.name, after, now_ns)
        active = self._on[name]
        active.use()
        return lines + self._end(active, "used_up", now_ns)

    def clear(self, name: str | None, now_ns: int) -> Lines:
        """Switch a fault off, or all of them. Raises UnknownFault."""
        if name is not None:
            self.kind(name)
        return self._end_all([a for a in self.on if name in {None, a.name}], "cleared", now_ns)

    def sweep(self, now_ns: int) -> Lines:
        """End what is over by now."""
        lines: Lines = []
        for active in self.on:
            seconds = active.fault.seconds
            ends_ns = active.began_ns + round(seconds * SECOND_NS) if seconds else None
            if ends_ns is not None and now_ns >= ends_ns:
                lines += self._end(active, "expired", ends_ns)
            elif active.used_up and not active.fault.stays:
                lines += self._end(active, "used_up", now_ns)
        return lines

    def stop(self, now_ns: int) -> Lines:
        """End everything with the simulator."""
        return self._end_all(self.on, "stopped", now_ns)

    def _end_all(self, actives: Iterable[Active[Fault]], reason: Reason, now_ns: int) -> Lines:
        return [line for active in actives for line in self._end(active, reason, now_ns)]

    def _checked(self, kind: type[K], name: str, parameters: object) -> K:
        try:
            fault = msgspec.convert(parameters, kind)
        except msgspec.ValidationError as error:
            message = f"{name}: {_plain(str(error))}"
            raise BadParameters(message) from error
        for symbol in fault.named():
            if symbol not in self.symbols:
                message = f"{name}: unknown symbol {symbol!r}: expected one that trades here"
                raise BadParameters(message)
        if fault.once and fault.seconds is None and fault.count is None:
            fault = msgspec.structs.replace(fault, count=1)
        return fault

    def _begin(self, name: str, fault: Fault, now_ns: int) -> Lines:
        self._begun += 1
        fault_id = f"{self.run}-{self._begun}"
        on = {**self._on, name: Active(fault=fault, name=name, fault_id=fault_id, began_ns=now_ns)}
        order = [name_of(kind) for kind in self.kinds]
        self._on = dict(sorted(on.items(), key=lambda item: order.index(item[0])))
        begun = FaultBegun(
            source=self.source,
            fault_id=fault_id,
            name=name,
            parameters=msgspec.to_builtins(fault),
            at_ns=now_ns,
        )
        return [begun]

    def _end(self, active: Active[Fault], reason: Reason, at_ns: int) -> Lines:
        active.ended_ns = at_ns
        del self._on[active.name]
        self._over.append(active)
        ended = FaultEnded(
            source=self.source,
            fault_id=active.fault_id,
            name=active.name,
            at_ns=at_ns,
            uses=active.uses,
            reason=reason,
        )
        return [ended]


def _plain(message: str) -> str:
    """Say msgspec's finding with the parameter's name first, as our sentences do."""
    found = re.fullmatch(r"(?s)(.*?) - at `\$\.?(.*)`", message)
    if not found or not found[2]:
        return message[0].lower() + message[1:]
    return f"{found[2]}: {found[1][0].lower()}{found[1][1:]}"
