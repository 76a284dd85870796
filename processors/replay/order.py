"""In which order are a partition's raw ticks taken, both sources'? Pure.

Where the journal of `validate.merges` tells it, in that one: so they were taken. What it does not
tell of comes in the order of the times at which it was written, of two at the same time Alpaca's
first: nobody can know better.

Alpaca's come by the million and are read as they are needed; Yahoo's are few.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from infra.capture import Captured
from processors.events import Merged

#: So many records are a run, at most.
RUN_RECORDS = 1_000


def in_order(
    alpaca: Iterable[Captured], yahoo: Sequence[Captured], merges: Iterable[Merged]
) -> Iterator[list[Captured]]:
    """Yield runs of one source's records each, in the order in which they were taken.

    Args:
        alpaca: raw records, by offset.
        yahoo: the same of the other source.
        merges: the journal; what it tells twice counts as told first.

    """
    records, waiting = _Peekable(alpaca), deque(yahoo)
    taken = -1
    for merged in merges:
        if merged.yahoo_until <= taken:
            continue
        taken = merged.yahoo_until
        if not waiting or waiting[0].offset >= taken:
            continue
        yield from _runs(records, until=merged.alpaca_until)
        run = []
        while waiting and waiting[0].offset < taken:
            run.append(waiting.popleft())
        yield run
    while waiting:
        yield from _runs(records, written_by=waiting[0].timestamp_ms)
        yield [waiting.popleft()]
    yield from _runs(records)


class _Peekable:
    """An iterator whose next record can be looked at."""

    def __init__(self, records: Iterable[Captured]) -> None:
        self._records = iter(records)
        self.next = next(self._records, None)

    def take(self) -> None:
        self.next = next(self._records, None)


def _runs(
    records: _Peekable, *, until: int | None = None, written_by: int | None = None
) -> Iterator[list[Captured]]:
    run: list[Captured] = []
    while (
        (record := records.next) is not None
        and (until is None or record.offset < until)
        and (written_by is None or record.timestamp_ms <= written_by)
    ):
        run.append(record)
        records.take()
        if len(run) == RUN_RECORDS:
            yield run
            run = []
    if run:
        yield run
