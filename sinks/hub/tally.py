"""How much was delivered, and how long it took; pure.

A spread counts values in buckets that are 5 % wide, so that quantiles are right to 2.5 %, and
spreads of minutes can be added up.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from sinks.events import Delivered

#: The ratio of a bucket's bounds.
STEP: Final = 1.05
#: Below this a time is as good as none; clocks that disagree make some negative.
LEAST_S: Final = 1e-4
#: How many minutes are looked back on.
MINUTES: Final = 5


class Spread:
    """How often which value came."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[round(math.log(max(seconds, LEAST_S), STEP))] += 1

    def __len__(self) -> int:
        return self.counts.total()

    def quantile(self, share: float) -> float | None:
        """Return the value that this share of all is at or below; None where there is none."""
        left = share * self.counts.total()
        for bucket in sorted(self.counts):
            left -= self.counts[bucket]
            if left <= 0:
                return float(f"{STEP**bucket:.3g}")
        return None


def together(spreads: Iterable[Spread]) -> Spread:
    """Return one spread of all that several hold."""
    whole = Spread()
    for spread in spreads:
        whole.counts.update(spread.counts)
    return whole


@dataclass(slots=True)
class Minute:
    """What one minute brought."""

    updates: int = 0
    bytes: int = 0
    latency: dict[str, Spread] = field(
        default_factory=lambda: {"alpaca": Spread(), "yahoo": Spread()}
    )
    round_trip: Spread = field(default_factory=Spread)


class Tally:
    """The present minute, and those just before it."""

    def __init__(self) -> None:
        self.now = Minute()
        self.minutes: deque[Minute] = deque([self.now], maxlen=MINUTES)

    def latency(self, source: str) -> Spread:
        """Return the latencies of a source's prices over the last minutes."""
        return together(minute.latency[source] for minute in self.minutes)

    def round_trip(self) -> Spread:
        """Return the round trips of the last minutes."""
        return together(minute.round_trip for minute in self.minutes)

    def cut(self, *, hub_id: str, clients: int, since_ns: int, now_ns: int) -> Delivered:
        """Return the minute that ends now, and begin another."""
        done = self.now
        self.now = Minute()
        self.minutes.append(self.now)
        alpaca, yahoo, trips = done.latency["alpaca"], done.latency["yahoo"], done.round_trip
        return Delivered(
            at_ns=now_ns,
            hub_id=hub_id,
            since_ns=since_ns,
            clients=clients,
            updates=done.updates,
            bytes=done.bytes,
            alpaca_p50_s=alpaca.quantile(0.5),
            alpaca_p95_s=alpaca.quantile(0.95),
            alpaca_p99_s=alpaca.quantile(0.99),
            alpaca_count=len(alpaca),
            yahoo_p50_s=yahoo.quantile(0.5),
            yahoo_p95_s=yahoo.quantile(0.95),
            yahoo_p99_s=yahoo.quantile(0.99),
            yahoo_count=len(yahoo),
            round_trip_p50_s=trips.quantile(0.5),
            round_trip_p95_s=trips.quantile(0.95),
            round_trip_count=len(trips),
        )
