"""What a record of the log says in numbers. Pure: a topic and values in, samples out.

Only live records are measured: the binding reads from the end of the log on, so that a replay or a
restart makes no storm. What was fetched to fill a gap is not live either: its thousands a second
would hide a live stream that is silent, and water down the share of ticks that break a rule. The
backfill counts what it fetches, and such a tick is never routed, so no time is taken of it. How
late a source's trades come in is measured whether they are routed or not.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Literal, NamedTuple

import msgspec

from infra import topics
from processors.events import RejectReason, Source

NS = 1_000_000_000


class Count(NamedTuple):
    """So many more of something."""

    name: str
    labels: dict[str, str]
    amount: int


class Observations(NamedTuple):
    """Values of a distribution."""

    name: str
    labels: dict[str, str]
    values: list[float]


class Level(NamedTuple):
    """How high something is now; it holds for `FRESH_S`, and then nobody knows."""

    name: str
    labels: dict[str, str]
    value: float


Sample = Count | Observations | Level

#: A level holds for two and a half of Yahoo's polls: one may fail.
FRESH_S = 150.0


class Levels:
    """Which levels are known, and which of them have grown old. Pure: `now` is passed in."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}

    def told(self, level: Level, now: float) -> None:
        """Take note that a level was told."""
        self._told[level.name, tuple(level.labels.items())] = now

    def expired(self, now: float) -> list[tuple[str, dict[str, str]]]:
        """Return the levels that hold no longer, each once."""
        old = [key for key, at in self._told.items() if now - at > FRESH_S]
        for key in old:
            del self._told[key]
        return [(name, dict(labels)) for name, labels in old]


# Only the fields that are counted by: the rest of a record is not even parsed.
class _Valid(msgspec.Struct, frozen=True):
    source: Source
    gap_id: str = ""
    kind: str = ""
    market_time_ns: int = 0
    received_at_ns: int = 0


class _Rejected(msgspec.Struct, frozen=True):
    source: Source
    reason: RejectReason
    gap_id: str = ""


class _Routed(msgspec.Struct, frozen=True):
    source: Source
    received_at_ns: int
    market_time_ns: int
    routed_at_ns: int


class _Breaker(msgspec.Struct, frozen=True):
    event: str


class _Compared(msgspec.Struct, frozen=True):
    symbol: str
    verdict: Literal["consistent", "inconsistent"]
    delta_percent: float


_compared = msgspec.json.Decoder(_Compared)
_valid = msgspec.json.Decoder(_Valid)
_rejected = msgspec.json.Decoder(_Rejected)
_routed = msgspec.json.Decoder(_Routed)
_breaker = msgspec.json.Decoder(_Breaker)

PROCESSED = "datasource_router_messages_processed_total"
FAILURES = "datasource_router_validation_failures_total"
OPENED = "datasource_router_circuit_breaker_total"
DURATION = "datasource_router_processing_duration_seconds"
AGE = "pipeline_price_age_seconds"
RECEIPT = "pipeline_receipt_age_seconds"
COMPARED = "datasource_router_price_comparisons_total"
DELTA = "datasource_router_price_delta_percent"


def _processed(sources: Iterable[Source]) -> list[Sample]:
    return [Count(PROCESSED, {"source": s}, n) for s, n in sorted(Counter(sources).items())]


def _by_source(name: str, ages_ns: Mapping[Source, list[int]]) -> list[Sample]:
    return [
        Observations(name, {"source": source}, [age / NS for age in ages])
        for source, ages in sorted(ages_ns.items())
    ]


def _of_valid(values: Iterable[bytes]) -> list[Sample]:
    ticks = [tick for tick in map(_valid.decode, values) if not tick.gap_id]
    ages: defaultdict[Source, list[int]] = defaultdict(list)
    for tick in ticks:
        if tick.kind == "trade":
            ages[tick.source].append(tick.received_at_ns - tick.market_time_ns)
    return [*_processed(tick.source for tick in ticks), *_by_source(RECEIPT, ages)]


def _of_rejected(values: Iterable[bytes]) -> list[Sample]:
    verdicts = [verdict for verdict in map(_rejected.decode, values) if not verdict.gap_id]
    reasons = sorted(Counter(verdict.reason for verdict in verdicts).items())
    return [
        *_processed(verdict.source for verdict in verdicts),
        *(Count(FAILURES, {"reason": reason}, n) for reason, n in reasons),
    ]


def _of_breakers(values: Iterable[bytes]) -> list[Sample]:
    opened = sum(_breaker.decode(value).event == "breaker_opened" for value in values)
    return [Count(OPENED, {"reason": "price_movement_exceeded"}, opened)] if opened else []


def _of_routed(values: Iterable[bytes]) -> list[Sample]:
    prices = list(map(_routed.decode, values))
    ages: defaultdict[Source, list[int]] = defaultdict(list)
    for price in prices:
        ages[price.source].append(price.routed_at_ns - price.market_time_ns)
    taken = [(price.routed_at_ns - price.received_at_ns) / NS for price in prices]
    return [Observations(DURATION, {}, taken), *_by_source(AGE, ages)]


def _of_compared(values: Iterable[bytes]) -> list[Sample]:
    verdicts = [_compared.decode(value) for value in values]
    results = sorted(Counter(verdict.verdict for verdict in verdicts).items())
    return [
        *(Count(COMPARED, {"result": result}, n) for result, n in results),
        *(Level(DELTA, {"symbol": each.symbol}, each.delta_percent) for each in verdicts),
    ]


#: By topic, what its records say.
MEASURED: dict[topics.Topic, Callable[[Iterable[bytes]], list[Sample]]] = {
    topics.VALID: _of_valid,
    topics.REJECTED: _of_rejected,
    topics.BREAKERS: _of_breakers,
    topics.ROUTED: _of_routed,
    topics.COMPARISONS: _of_compared,
}
