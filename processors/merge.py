"""In which order were both sources' raw ticks of a partition taken? Pure.

A verdict may depend on what the other source told before, so whoever validates a partition takes
both raw topics in *one* order. How they come in is chance; so before a run of Yahoo's is taken, a
`Merged` is written that says how far Alpaca's had been taken by then. Who takes over, or replays,
goes by that journal, and comes to the same verdicts.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from processors.events import Merged


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


def needed(merges: Iterable[Merged], after: Places) -> Places:
    """Return up to where the journal says what was taken."""
    alpaca, yahoo = after
    for merged in merges:
        if merged.yahoo_until > yahoo:
            alpaca, yahoo = max(alpaca, merged.alpaca_until), merged.yahoo_until
    return Places(alpaca, yahoo)


def interleave(
    alpaca: Sequence[R], yahoo: Sequence[R], merges: Iterable[Merged], after: Places
) -> Iterator[Sequence[R]]:
    """Yield runs of one source's records each, in the order in which they were taken.

    What the journal tells twice counts as told first. What it does not tell of yet comes last:
    Alpaca's, and then Yahoo's.

    Args:
        alpaca: raw records, by offset.
        yahoo: the same of the other source.
        merges: the journal.
        after: what was taken before; these records are passed over.

    """
    done_alpaca, done_yahoo = bisect(alpaca, after.alpaca), bisect(yahoo, after.yahoo)
    taken = after.yahoo
    for merged in merges:
        if merged.yahoo_until <= taken:
            continue
        taken = merged.yahoo_until
        until = bisect(alpaca, merged.alpaca_until)
        if until > done_alpaca:
            yield alpaca[done_alpaca:until]
            done_alpaca = until
        until = bisect(yahoo, taken)
        if until > done_yahoo:
            yield yahoo[done_yahoo:until]
            done_yahoo = until
    if done_alpaca < len(alpaca):
        yield alpaca[done_alpaca:]
    if done_yahoo < len(yahoo):
        yield yahoo[done_yahoo:]


def bisect(records: Sequence[R], offset: int) -> int:
    """Return the index of the first record at or after an offset."""
    return bisect_left(records, offset, key=lambda record: record.offset)
