"""In which order were both sources' raw ticks of a partition taken? Pure.

A verdict may depend on what the other source told before, so whoever validates a partition takes
both raw topics in *one* order. How they come in is chance; so before a run of Yahoo's is taken, a
`Merged` is written that says how far Alpaca's had been taken by then. Who takes over, or replays,
goes by that journal, and comes to the same verdicts.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Generic, NamedTuple, Protocol, TypeVar

from processors.events import Merged

#: So many records are a run, at most.
RUN_RECORDS = 1_000


class HasOffset(Protocol):
    """A record of a topic."""

    @property
    def offset(self) -> int:
        """Its place in its partition."""


R = TypeVar("R", bound=HasOffset)


class Places(NamedTuple):
    """Of each source, the first offset in its raw topic that was not taken."""

    alpaca: int = 0
    yahoo: int = 0


BEGINNING = Places()


def needed(merges: Iterable[Merged], after: Places) -> Places:
    """Return up to where the journal says what was taken."""
    alpaca, yahoo = after
    for merged in merges:
        if merged.yahoo_until > yahoo:
            alpaca, yahoo = max(alpaca, merged.alpaca_until), merged.yahoo_until
    return Places(alpaca, yahoo)


def in_order(
    alpaca: Iterable[R],
    yahoo: Iterable[R],
    merges: Iterable[Merged],
    after: Places = BEGINNING,
    *,
    written_at: Callable[[R], int],
) -> Iterator[list[R]]:
    """Yield runs of one source's records each, in the order in which they were taken.

    What the journal tells twice counts as told first. What it does not tell of comes in the order
    of the times at which it was written, of two at the same time Alpaca's first: nobody can know
    better.

    Args:
        alpaca: raw records, by offset; they come by the million, and are read as they are needed.
        yahoo: the same of the other source.
        merges: the journal.
        after: what was taken before; these records are passed over.
        written_at: when a record was written.

    """
    records = _Peekable(record for record in alpaca if record.offset >= after.alpaca)
    others = _Peekable(record for record in yahoo if record.offset >= after.yahoo)
    taken = after.yahoo
    for merged in merges:
        if merged.yahoo_until <= taken:
            continue
        taken = merged.yahoo_until
        if others.next is not None and others.next.offset < taken:
            yield from _runs(records, _lies_before(merged.alpaca_until))
            yield from _runs(others, _lies_before(taken))
    while (other := others.next) is not None:
        yield from _runs(records, partial(_was_written_by, written_at(other), written_at))
        yield [other]
        others.pass_on()
    yield from _runs(records, lambda _: True)


class _Peekable(Generic[R]):
    """An iterator whose next record can be looked at."""

    def __init__(self, records: Iterable[R]) -> None:
        self._records = iter(records)
        self.next = next(self._records, None)

    def pass_on(self) -> None:
        self.next = next(self._records, None)


def _lies_before(offset: int) -> Callable[[HasOffset], bool]:
    return lambda record: record.offset < offset


def _was_written_by(time: int, written_at: Callable[[R], int], record: R) -> bool:
    return written_at(record) <= time


def _runs(records: _Peekable[R], belongs: Callable[[R], bool]) -> Iterator[list[R]]:
    run: list[R] = []
    while (record := records.next) is not None and belongs(record):
        run.append(record)
        records.pass_on()
        if len(run) == RUN_RECORDS:
            yield run
            run = []
    if run:
        yield run
