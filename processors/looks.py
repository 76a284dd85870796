"""What the router had read when it decided: with it, its decisions can be made again; pure.

The router looks at what has come at every point of a grid of 250 ms (see `route`). Which facts had
come by which point depends on the network, on pauses, on who was the router. So each look at which
anything changed is written down first, with how far the router had read (`router.looks`), and what
comes of it afterwards. Then a transition is a function of three logs: `sources.status`,
`ops.commands`, and the looks. A point of the grid that is not in the log changed nothing.

The looks also say who is the router. Each router begins with a generation, higher than all before;
what is written behind that by an earlier one does not count, and whoever reads his own look back
knows whether it does. A look that counts is carried out by whoever comes to it: the router that
wrote it, or, if that was cut off, its successor, who comes to the same by the same function.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import NamedTuple, TypeVar

import msgspec

from infra.commands import Command
from infra.market_calendar import ALWAYS_OPEN, Calendar
from infra.naming import snake
from ingest.events import SourceStatus
from processors.route import Decision, Inputs, decide
from processors.route_orders import is_for_router
from processors.route_reading import Router

T = TypeVar("T")


class _Look(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=snake):
    """What all looks tell.

    Attributes:
        generation: of the router.
        at_ns: the point of the grid.
        since: the offset, in this topic, of the last look before that counts and has a memory: who
            wants to know how things stand reads from there; -1 for none.

    """

    generation: int
    at_ns: int
    since: int


class RouterBegan(_Look, frozen=True, kw_only=True):
    """A router took over: what an earlier one writes behind this does not count."""


class RouterLooked(_Look, frozen=True, kw_only=True):
    """The router looked at what had come, and something changed.

    Attributes:
        facts: the offset in `sources.status` of the last fact that it had read; -1 for none.
        commands: the same in `ops.commands`.
        memory: what it remembered before, now and then, so that nobody has to read all of the log.

    """

    facts: int
    commands: int
    memory: Router | None = None


Look = RouterBegan | RouterLooked


class Fence(NamedTuple):
    """Who is the router, by the log of looks: up to where it was read."""

    generation: int = 0

    def accepts(self, look: Look) -> bool:
        """Return whether a look counts."""
        if isinstance(look, RouterBegan):
            return look.generation > self.generation
        return look.generation == self.generation

    def after(self, look: Look) -> "Fence":
        """Return how things stand after one more record, which may not count."""
        return Fence(look.generation) if self.accepts(look) else self


def that_count(looks: Iterable[tuple[int, Look]]) -> Iterator[tuple[int, Look]]:
    """Yield, with their offsets, the looks that count; the first is known to."""
    fence: Fence | None = None
    for offset, look in looks:
        if fence is None:
            fence = Fence(look.generation)
            yield offset, look
        elif fence.accepts(look):
            fence = fence.after(look)
            yield offset, look


class Pending:
    """What was read and not looked at yet: facts and commands, by offset."""

    def __init__(self) -> None:
        self._facts: deque[tuple[int, SourceStatus | None]] = deque()
        self._commands: deque[tuple[int, Command | None]] = deque()

    def add_fact(self, offset: int, fact: SourceStatus | None) -> None:
        """Take up a fact, None if nobody can read it; one that waits already is passed over."""
        self._facts = _with(self._facts, offset, fact)

    def add_command(self, offset: int, command: Command | None) -> None:
        """Take up a command, in the same way."""
        self._commands = _with(self._commands, offset, command)

    def next(self) -> Inputs:
        """Return what to look at next: all facts, and commands up to the first for the router."""
        commands = []
        for offset, command in self._commands:
            commands.append((offset, command))
            if is_for_router(command):
                break
        return Inputs(list(self._facts), commands)

    def take(self, facts: int, commands: int) -> Inputs:
        """Return what waits up to two offsets, and let it go."""
        return Inputs(_taken(self._facts, facts), _taken(self._commands, commands))


def _with(waiting: deque[tuple[int, T]], offset: int, what: T) -> deque[tuple[int, T]]:
    if not waiting or offset > waiting[-1][0]:
        waiting.append((offset, what))
    elif all(offset != other for other, _ in waiting):
        # it was read back, while the stream was ahead
        return deque(sorted([*waiting, (offset, what)], key=itemgetter(0)))
    return waiting


def _taken(waiting: deque[tuple[int, T]], until: int) -> list[tuple[int, T]]:
    taken = []
    while waiting and waiting[0][0] <= until:
        taken.append(waiting.popleft())
    return taken


def retell(
    looks: Iterable[Look], pending: Pending, *, calendar: Calendar = ALWAYS_OPEN
) -> Iterator[tuple[RouterLooked, Decision]]:
    """Decide again what was decided.

    Args:
        looks: those that count, in order, from one with a memory on.
        pending: the facts and commands from that memory on; what no look has taken is left in it.
        calendar: the market's hours.

    """
    router: Router | None = None
    for look in looks:
        if isinstance(look, RouterBegan):
            continue
        router = router if look.memory is None else look.memory
        if router is None:
            continue
        inputs = pending.take(look.facts, look.commands)
        decision = decide(router, inputs, look.at_ns, generation=look.generation, calendar=calendar)
        router = decision.router
        yield look, decision
