"""What a collector was told by a whole stack, held against what a trace should be."""

import time
from collections.abc import Iterable

import aiohttp
import orjson

from tests.collector import Collector, Told
from tests.journeys.running import Stack

#: What the stages are told: a fifth of all ticks, soon.
TRACED = {
    "OTEL_TRACES_SAMPLER_ARG": "0.2",
    "TRACES_PER_SECOND": "1000",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
}

#: The histograms from which one comes to a trace.
WITH_EXAMPLES = (
    "alpaca_streaming_processing_duration_seconds",
    "datasource_router_processing_duration_seconds",
    "pipeline_price_age_seconds",
    "alpaca_message_latency_seconds",
    "alpaca_websocket_to_signalr_seconds",
)

#: Clocks of one machine, read by different processes.
NEARLY_NS = 50_000_000

#: (service, span), from a browser back to the socket.
SAMPLED = [
    ("hub", "send PriceUpdate"),
    ("hub", "process prices.routed"),
    ("forward", "send prices.routed"),
    ("forward", "process ticks.valid"),
    ("validate", "send ticks.valid"),
    ("validate", "process ticks.raw.alpaca"),
    ("alpaca", "send ticks.raw.alpaca"),
    ("alpaca", "receive alpaca"),
]
#: And from the tables, and what is measured.
STORED = [
    ("clickhouse", "INSERT routed_prices"),
    ("clickhouse", "process prices.routed"),
    *SAMPLED[2:],
]
MEASURED = [("prometheus", "process prices.routed"), *SAMPLED[2:]]
REJECTED = [
    ("clickhouse", "INSERT rejected_ticks"),
    ("clickhouse", "process ticks.rejected"),
    ("validate", "send ticks.rejected"),
    ("validate", "process ticks.raw.alpaca"),
    ("validate", "receive alpaca"),
]
FAILOVER = [
    ("hub", "send DataSourceChanged"),
    ("hub", "process router.transitions"),
    ("route", "send router.transitions"),
    ("route", "route PRIMARY_ACTIVE to FALLBACK_ACTIVE"),
]
SWITCHED = [
    *SAMPLED[:3],
    ("forward", "process router.transitions"),
    *FAILOVER[2:],
]
KEPT = [
    ("clickhouse", "INSERT router_transitions"),
    ("clickhouse", "process router.transitions"),
    *FAILOVER[2:],
]


def _has_ways(trace: Iterable[Told], ways: Iterable[list[tuple[str, str]]]) -> bool:
    """Return whether spans of a trace stand under each other in all of these ways."""
    spans = {span.span: span for span in trace}

    def way_from(span: Told) -> list[tuple[str, str]]:
        way = [(span.service, span.name)]
        while span.parent in spans:
            span = spans[span.parent]
            way.append((span.service, span.name))
        if span.parent:
            way.append((span.parent, "is not told, or not yet"))
        return way

    leaves = {way[0] for way in ways}
    found = [way_from(span) for span in spans.values() if (span.service, span.name) in leaves]
    return all(way in found for way in ways)


def _sound(trace: Iterable[Told]) -> None:
    """Check that a trace has one beginning, and nothing in it comes before what led to it."""
    spans = {span.span: span for span in trace}
    assert sum(not span.parent for span in spans.values()) == 1
    for span in spans.values():
        assert span.start_ns <= span.end_ns, span
        parent = spans.get(span.parent)
        if parent is not None:
            assert parent.start_ns <= span.start_ns + NEARLY_NS, (parent, span)
        text = orjson.dumps(span.attributes).decode()
        assert "simulated" not in text, "the keys, or the secret"


async def traced(collector: Collector, seconds: float, *ways: list[tuple[str, str]]) -> list[Told]:
    """Wait for a trace that goes all of these ways, check it, and return it."""
    found: list[list[Told]] = []

    def complete() -> bool:
        found[:] = [
            trace
            for trace in collector.traces().values()
            if {way[0] for way in ways} <= {(span.service, span.name) for span in trace}
        ]
        found[:] = [trace for trace in found if _has_ways(trace, ways)]
        return bool(found)

    try:
        await collector.until(complete, seconds)
    except TimeoutError:
        names = sorted({(span.service, span.name) for span in collector.spans})
        message = f"no trace goes {ways}; told was {names}"
        raise AssertionError(message) from None
    _sound(found[0])
    return found[0]


async def exemplars(stack: Stack, metric: str) -> list[str]:
    """Return the traces that Prometheus has as examples of a histogram."""
    url = f"http://127.0.0.1:{stack.port('prometheus')}/api/v1/query_exemplars"
    asked = {"query": f"{metric}_bucket", "start": "0", "end": str(time.time())}
    async with aiohttp.ClientSession() as http, http.get(url, params=asked) as answer:
        found = orjson.loads(await answer.read())
    assert found["status"] == "success", found
    return [each["labels"]["trace_id"] for series in found["data"] for each in series["exemplars"]]
