"""What the stages' metrics say about the flow, folded into the few numbers a person looks at.

Pure: texts and times in, facts out. Rates and latencies are taken over the window between the first
and the last scrape that are passed in; a counter that went back belongs to a process that was
started again, and counts from zero.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

#: one series: its name and its labels
Series = tuple[str, frozenset[tuple[str, str]]]
Metrics = Mapping[Series, float]

#: the way from the socket to the routed price, once per routed price
DURATION = "datasource_router_processing_duration_seconds"

_Wanted = Callable[[Series], bool]


@dataclass(frozen=True, slots=True)
class Scrape:
    """All stages' metrics at one time.

    Attributes:
        at: seconds since the epoch.
        metrics: by process name; a process that did not answer is not there.
        rows: the rows in ClickHouse, where it told.

    """

    at: float
    metrics: Mapping[str, Metrics] = field(default_factory=dict)
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The flow, in numbers; None for what is not known.

    Attributes:
        route: the router's state.
        received: messages a second by source.
        routed: prices a second.
        rejected: ticks a second that broke a rule.
        latency: seconds from the socket to the routed price: median and 95th percentile.
        rows: in ClickHouse.

    """

    route: str | None = None
    received: Mapping[str, float | None] = field(default_factory=dict)
    routed: float | None = None
    rejected: float | None = None
    latency: tuple[float, float] | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Spell:
    """The router's state, and since when it was seen in it."""

    route: str
    since: float


def parse(text: str) -> Metrics:
    """Read Prometheus's text format. Raises ValueError where it is none."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def facts(window: Sequence[Scrape]) -> Facts:
    """Fold the scrapes of a window, oldest first."""
    if not window:
        return Facts()
    last = window[-1]
    return Facts(
        route=_route(last),
        received={
            "alpaca": _rate(window, "alpaca_messages_received_total", without=("type", "control")),
            "yahoo": _rate(window, "yahoo_messages_received_total"),
        },
        routed=_rate(window, f"{DURATION}_count"),
        rejected=_rate(window, "datasource_router_validation_failures_total"),
        latency=_latency(window),
        rows=last.rows,
    )


def spell(before: Spell | None, scrape: Scrape) -> Spell | None:
    """Fold one more scrape into how long the router has been in its state."""
    route = _route(scrape)
    if route is None or (before and before.route == route):
        return before
    return Spell(route, scrape.at)


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """Return a quantile of a histogram as Prometheus does: linear inside a bucket.

    Args:
        share: which, between 0 and 1.
        buckets: upper bound -> cumulative count; None is returned where they are empty.

    """
    bounds = sorted(buckets)
    if not bounds or buckets[bounds[-1]] <= 0:
        return None
    rank = share * buckets[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= rank:
            if math.isinf(bound):
                return lower
            inside = count - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        lower, below = bound, count
    return lower


def _route(scrape: Scrape) -> str | None:
    for metrics in scrape.metrics.values():
        for (name, labels), value in metrics.items():
            if name == "datasource_router_state" and value == 1:
                return dict(labels)["state"]
    return None


def _rate(
    window: Sequence[Scrape],
    name: str,
    *,
    without: tuple[str, str] | None = None,
) -> float | None:
    """Return how much a counter rose per second, over all its series in all processes."""
    seconds = window[-1].at - window[0].at

    def wanted(series: Series) -> bool:
        return series[0] == name and (without is None or without not in series[1])

    rises = [rise for _, rise in _rises(window, wanted)]
    return sum(rises) / seconds if rises and seconds > 0 else None


def _latency(window: Sequence[Scrape]) -> tuple[float, float] | None:
    buckets: dict[float, float] = {}
    for (_, labels), rise in _rises(window, lambda series: series[0] == f"{DURATION}_bucket"):
        bound = float(dict(labels)["le"])
        buckets[bound] = buckets.get(bound, 0.0) + rise
    median, tail = quantile(0.5, buckets), quantile(0.95, buckets)
    return None if median is None or tail is None else (median, tail)


def _rises(window: Sequence[Scrape], wanted: _Wanted) -> Iterable[tuple[Series, float]]:
    first, last = window[0], window[-1]
    for process, metrics in last.metrics.items():
        before = first.metrics.get(process, {})
        for series, value in metrics.items():
            if wanted(series):
                start = before.get(series, 0.0)
                yield series, value - start if value >= start else value
