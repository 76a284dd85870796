"""What is given up while Kafka is away for longer than memory lasts: a machine without I/O.

The publisher keeps what it is given while that fits into its budget. When it does not, something
must go, and the least precious goes first. Each level sheds one kind more:

    KEEPING --full--> QUOTES --full--> BARS --full--> TRADES
       ^                 |               |              |
       +---------drained to half the budget-------------+

A quote is worth least: the next one replaces it, and no history gives it back. Bars and trades can
be fetched from the vendor's history afterwards; trades are what prices are made of. So when a level
is reached, what waits of the kinds in `EVICTED` goes as well, to make room for what is worth more.
Waiting trades stay: to trade old ones for new ones would gain nothing.

Whatever has no kind, and `control` (halts and limits), is never shed. It is little, and when even
that fills twice the budget the publisher gives up.

What is shed is counted, and told per kind: so whoever fills the gap knows what to fetch.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ingest.events import GapEnded, GapOpened, Source

Kind = Literal["trade", "quote", "bar", "control"]

MEBIBYTE = 1024 * 1024

#: The budget where nobody sets another: a minute of a busy market, in the memory of a laptop.
LIMIT_BYTES = 64 * MEBIBYTE


class Level(StrEnum):
    """How far it has come."""

    KEEPING = "everything is kept"
    QUOTES = "quotes are shed"
    BARS = "quotes and bars are shed"
    TRADES = "quotes, bars and trades are shed"


#: What a level does not take any more.
SHED: Mapping[Level, frozenset[Kind]] = {
    Level.KEEPING: frozenset(),
    Level.QUOTES: frozenset({"quote"}),
    Level.BARS: frozenset({"quote", "bar"}),
    Level.TRADES: frozenset({"quote", "bar", "trade"}),
}
#: What must go of that which waits when a level is reached.
EVICTED: Mapping[Level, Kind | None] = {
    Level.KEEPING: None,
    Level.QUOTES: "quote",
    Level.BARS: "bar",
    Level.TRADES: None,
}
#: Where a full buffer leads; the last level takes nothing that could be shed.
FULL: Mapping[Level, Level] = {
    Level.KEEPING: Level.QUOTES,
    Level.QUOTES: Level.BARS,
    Level.BARS: Level.TRADES,
}
#: What can be shed at all.
SHEDDABLE: frozenset[Kind] = SHED[Level.TRADES]


class Verdict(StrEnum):
    """What becomes of a record."""

    KEEP = "it is kept"
    SHED = "it is shed"
    FULL = "call `full`, evict what that says, and ask again"
    OVERFLOW = "it can neither be kept nor shed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedBegun:
    """Ticks of one kind are being shed.

    Attributes:
        kind: which.
        since_ns: when the first of them was received.

    """

    kind: Kind
    since_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShedOver:
    """All ticks of one kind are kept again.

    Attributes:
        kind: which.
        since_ns: when the first that was shed was received.
        until_ns: the first moment after the last of them.
        count: how many were shed.
        symbols: whose they were, sorted.

    """

    kind: Kind
    since_ns: int
    until_ns: int
    count: int
    symbols: tuple[str, ...]


@dataclass(slots=True)
class _Episode:
    since_ns: int
    until_ns: int
    count: int
    symbols: set[str]


class Shedder:
    """Decides what is kept.

    Args:
        limit_bytes: the budget.

    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self.level = Level.KEEPING
        self.limit_bytes = limit_bytes
        self._episodes: dict[Kind, _Episode] = {}

    @property
    def resume_bytes(self) -> int:
        """Below this everything is kept again."""
        return self.limit_bytes // 2

    @property
    def hard_limit_bytes(self) -> int:
        """More than this is never held."""
        return 2 * self.limit_bytes

    def judge(self, kind: Kind | None, held_bytes: int) -> Verdict:
        """Say what becomes of a record.

        Args:
            kind: its kind; None for what is never shed.
            held_bytes: what would be held with it.

        """
        if kind not in SHEDDABLE:
            return Verdict.KEEP if held_bytes <= self.hard_limit_bytes else Verdict.OVERFLOW
        if kind in SHED[self.level]:
            return Verdict.SHED
        return Verdict.KEEP if held_bytes <= self.limit_bytes else Verdict.FULL

    def full(self) -> Kind | None:
        """Go on to the next level; return the kind of which nothing may wait any more."""
        self.level = FULL[self.level]
        return EVICTED[self.level]

    def shed(
        self, kind: Kind, symbols: Collection[str], moments: Collection[int]
    ) -> list[ShedBegun]:
        """Take down ticks that were shed, at least one.

        Args:
            kind: theirs.
            symbols: theirs, one a tick.
            moments: when they were received, one a tick; nanoseconds.

        """
        since_ns, until_ns = min(moments), max(moments) + 1
        episode = self._episodes.get(kind)
        if episode is None:
            self._episodes[kind] = _Episode(since_ns, until_ns, len(moments), set(symbols))
            return [ShedBegun(kind=kind, since_ns=since_ns)]
        episode.since_ns = min(episode.since_ns, since_ns)
        episode.until_ns = max(episode.until_ns, until_ns)
        episode.count += len(moments)
        episode.symbols.update(symbols)
        return []

    def drained(self, held_bytes: int) -> list[ShedOver]:
        """Say what is held after a delivery; below half of the budget everything is kept again."""
        if self.level is Level.KEEPING or held_bytes >= self.resume_bytes:
            return []
        return self.end()

    def end(self) -> list[ShedOver]:
        """Keep everything again, or put an end to the account because the process ends."""
        self.level = Level.KEEPING
        episodes, self._episodes = self._episodes, {}
        return [
            ShedOver(
                kind=kind,
                since_ns=episode.since_ns,
                until_ns=episode.until_ns,
                count=episode.count,
                symbols=tuple(sorted(episode.symbols)),
            )
            for kind, episode in episodes.items()
        ]


def gap_event(
    change: ShedBegun | ShedOver, *, source: Source, feed: str, gap_id: str, at_ns: int
) -> GapOpened | GapEnded:
    """Return what the gap ledger is told of a change; a kind's shedding is a gap of its own."""
    if isinstance(change, ShedBegun):
        return GapOpened(
            source=source,
            feed=feed,
            gap_id=gap_id,
            at_ns=at_ns,
            cause="shed",
            symbols=[],
            since_ns=change.since_ns,
        )
    return GapEnded(
        source=source,
        feed=feed,
        gap_id=gap_id,
        at_ns=at_ns,
        cause="shed",
        symbols=list(change.symbols),
        since_ns=change.since_ns,
        until_ns=change.until_ns,
        shed={change.kind: change.count},
    )
