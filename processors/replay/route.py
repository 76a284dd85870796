"""What the router decides of what it had read, again; pure.

It goes by the log of looks, from the first on that remembers what was before and whose facts were
captured from there on.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from infra.capture import Captured
from infra.commands import Command
from infra.market_calendar import Calendar
from ingest.events import SourceStatus
from processors.events import RouterTransition
from processors.looks import Look, Pending, RouterLooked, retell, that_count
from processors.route import Decision

T = TypeVar("T")

_fact = msgspec.json.Decoder(SourceStatus)
_command = msgspec.json.Decoder(Command)


class Decided(NamedTuple):
    """What the router decided.

    Attributes:
        epoch: the last one that is not told here.
        decisions: each with the moment at which it was made.

    """

    epoch: int
    decisions: Sequence[tuple[int, Decision]]

    def instead_of(self, transitions: Iterable[RouterTransition]) -> Iterator[RouterTransition]:
        """Yield transitions as they stand in the log, and from `epoch` on those that were decided.

        Args:
            transitions: those that count, in order.

        """
        yield from (known for known in transitions if known.epoch <= self.epoch)
        for _, decision in self.decisions:
            if decision.transition is not None:
                yield decision.transition


def decided(
    looks: Iterable[tuple[int, Look]],
    facts: Sequence[Captured],
    commands: Sequence[Captured],
    *,
    first_fact: int,
    calendar: Calendar,
) -> Decided | None:
    """Return what the router decided; None where that cannot be told.

    Args:
        looks: `router.looks`, by offset.
        facts: `sources.status`.
        commands: `ops.commands`, all there are.
        first_fact: the offset from which on all facts are there.
        calendar: the market's hours.

    """
    counting = [look for _, look in that_count(looks)]
    memories = (
        (n, look.memory)
        for n, look in enumerate(counting)
        if isinstance(look, RouterLooked) and look.memory is not None
    )
    begin, memory = next(
        ((n, memory) for n, memory in memories if memory.offset >= first_fact - 1), (0, None)
    )
    if memory is None:
        return None
    pending = Pending()
    for offset, fact in _behind(memory.offset, facts, _fact.decode):
        pending.add_fact(offset, fact)
    for offset, command in _behind(memory.command_offset, commands, _command.decode):
        pending.add_command(offset, command)
    decisions = [
        (look.at_ns, decision)
        for look, decision in retell(counting[begin:], pending, calendar=calendar)
    ]
    return Decided(memory.epoch, decisions)


def _behind(
    offset: int, records: Sequence[Captured], decode: Callable[[bytes], T]
) -> Iterator[tuple[int, T | None]]:
    """Yield what stands behind an offset; None for what nobody can read."""
    for record in records:
        if record.offset > offset:
            try:
                yield record.offset, decode(record.value or b"")
            except (msgspec.DecodeError, RecursionError):
                yield record.offset, None
