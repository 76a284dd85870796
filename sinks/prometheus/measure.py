"""What a record of the log says in numbers. Pure: a topic and values in, samples out.

Only live records are measured: the binding reads from the end of the log on, so that a replay or a
restart makes no storm.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

import msgspec

from infra import topics
from processors.events import RejectReason, Source

NS = 1_000_000_000


class Count(NamedTuple):
    """So many more of something."""

    name: str
    labels: dict[str, str]
    amount: int


class Observation(NamedTuple):
    """One value of a distribution."""

    name: str
    labels: dict[str, str]
    value: float


Sample = Count | Observation


# Only the fields that are counted by: the rest of a record is not even parsed.
class _Valid(msgspec.Struct, frozen=True):
    source: Source


class _Rejected(msgspec.Struct, frozen=True):
    source: Source
    reason: RejectReason


class _Routed(msgspec.Struct, frozen=True):
    source: Source
    received_at_ns: int
    market_time_ns: int
    routed_at_ns: int


_valid = msgspec.json.Decoder(_Valid)
_rejected = msgspec.json.Decoder(_Rejected)
_routed = msgspec.json.Decoder(_Routed)

PROCESSED = "datasource_router_messages_processed_total"
FAILURES = "datasource_router_validation_failures_total"
DURATION = "datasource_router_processing_duration_seconds"
AGE = "pipeline_price_age_seconds"


def _processed(sources: Iterable[Source]) -> list[Sample]:
    return [Count(PROCESSED, {"source": s}, n) for s, n in sorted(Counter(sources).items())]


def _of_valid(values: Iterable[bytes]) -> list[Sample]:
    return _processed(_valid.decode(value).source for value in values)


def _of_rejected(values: Iterable[bytes]) -> list[Sample]:
    verdicts = [_rejected.decode(value) for value in values]
    reasons = sorted(Counter(verdict.reason for verdict in verdicts).items())
    return [
        *_processed(verdict.source for verdict in verdicts),
        *(Count(FAILURES, {"reason": reason}, n) for reason, n in reasons),
    ]


def _of_routed(values: Iterable[bytes]) -> list[Sample]:
    samples: list[Sample] = []
    for value in values:
        price = _routed.decode(value)
        taken = (price.routed_at_ns - price.received_at_ns) / NS
        age = (price.routed_at_ns - price.market_time_ns) / NS
        samples += (
            Observation(DURATION, {}, taken),
            Observation(AGE, {"source": price.source}, age),
        )
    return samples


#: By topic, what its records say.
MEASURED: dict[topics.Topic, Callable[[Iterable[bytes]], list[Sample]]] = {
    topics.VALID: _of_valid,
    topics.REJECTED: _of_rejected,
    topics.ROUTED: _of_routed,
}
