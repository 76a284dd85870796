"""Does something grow that should stay as it is? The judge of a soak. Pure.

What a process has at first, when it fills its caches and meets each kind of event once, says
nothing; so a series begins where the warm-up ends. Of the rest the first third is held against the
last, by their medians, because what is used goes up and down with every collection of garbage and
every client. What has grown by more than the bound is a leak, by and by or in steps.
"""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple

MEMORY, THREADS, FILES = "memory, MB", "threads", "file descriptors"
SERIES, TEMPORARY = "series", "temporary files"

#: Fewer in either third are no evidence.
LEAST = 5


class Bound(NamedTuple):
    """How much more there may be: so much, or this share of what there was, whichever is more."""

    absolute: float
    share: float


#: By what is counted.
BOUNDS: Mapping[str, Bound] = {
    MEMORY: Bound(24, 0.15),
    THREADS: Bound(3, 0.05),
    FILES: Bound(8, 0.05),
    SERIES: Bound(40, 0.02),
    TEMPORARY: Bound(2, 0),
}
#: Of others' programs, which fill heaps, pools and caches for hours, up to ceilings of their own:
#: Kafka's heap has half of its 512 MB to grow into; the engine has a pool of threads, and open
#: parts until they are merged; Prometheus keeps two hours in memory before it writes a block.
ROOM: Mapping[tuple[str, str], Bound] = {
    ("kafka", MEMORY): Bound(256, 0),
    ("kafka", THREADS): Bound(12, 0),
    ("kafka", FILES): Bound(48, 0),
    ("clickhouse", MEMORY): Bound(128, 0),
    ("clickhouse", THREADS): Bound(24, 0),
    ("clickhouse", FILES): Bound(64, 0),
    ("prometheus", MEMORY): Bound(64, 0),
}


class Sample(NamedTuple):
    """What somebody had of something at a moment."""

    at_s: float
    who: str
    what: str
    value: float


class Verdict(NamedTuple):
    """Whether something has grown.

    Attributes:
        who: whose it is.
        what: what was counted.
        early: the median of the first third after the warm-up.
        late: that of the last.
        most: how much it may be in the end.

    """

    who: str
    what: str
    early: float
    late: float
    most: float

    @property
    def grows(self) -> bool:
        """Whether it has grown beyond its bound."""
        return self.late > self.most

    def __str__(self) -> str:
        """Say it in a line."""
        said = "GROWS" if self.grows else "stays"
        return (
            f"{self.who:18} {self.what:18} {self.early:10,.1f} {self.late:10,.1f}"
            f" of {self.most:10,.1f}  {said}"
        )


def judge(samples: Iterable[Sample], *, from_s: float, until_s: float) -> list[Verdict]:
    """Return what is to be said of everything that was counted, in order.

    Args:
        samples: in any order.
        from_s: when the warm-up was over.
        until_s: when the last was taken.

    Raises:
        ValueError: something was counted too seldom to say anything of it.

    """
    third = (until_s - from_s) / 3
    early: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    late: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    named = set()
    for sample in samples:
        about = (sample.who, sample.what)
        named.add(about)
        if from_s <= sample.at_s <= from_s + third:
            early[about].append(sample.value)
        elif until_s - third <= sample.at_s <= until_s:
            late[about].append(sample.value)
    verdicts = []
    for who, what in sorted(named):
        first, last = early[who, what], late[who, what]
        if min(len(first), len(last)) < LEAST:
            message = f"{who}, {what}: expected {LEAST} samples in each third at least"
            raise ValueError(message)
        was, bound = statistics.median(first), ROOM.get((who, what), BOUNDS[what])
        most = was + max(bound.absolute, bound.share * was)
        verdicts.append(Verdict(who, what, was, statistics.median(last), most))
    return verdicts
