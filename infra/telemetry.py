"""What a process says of itself: metrics, readiness and log lines.

The catalogue below declares the metrics, once. A process exposes the metrics that only it can know,
so that its death is visible in them; what is counted from the log itself is exposed by the
Prometheus sink (see DESIGN.md, "Who exports a metric").

Two rules: a state is a set of 0/1 series, all there from birth; and every bounded child of a
counter is there at 0 from birth, or the first error would be invisible to `increase()`.
"""

import itertools
import logging
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import structlog
from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

E2E = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
HOP = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5)
REC = (0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)

About = Literal[
    "alpaca", "yahoo", "backfill", "router", "forward", "prices", "pipeline", "clickhouse"
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name, kind and meaning, and the values that bound its labels."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "stateset"]
    about: About
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


ROUTER_STATES = ("PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "BOTH_UNAVAILABLE")
SOURCES = ("alpaca", "yahoo")

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        "alpaca_connection_status",
        "stateset",
        "alpaca",
        "Alpaca WebSocket connection state; exactly one state is 1",
        {"state": ("Disconnected", "Connecting", "Authenticating", "Connected", "Error")},
    ),
    Metric(
        "alpaca_authentication_status",
        "gauge",
        "alpaca",
        "1 if the Alpaca session is authenticated",
    ),
    Metric(
        "alpaca_consecutive_auth_failures",
        "gauge",
        "alpaca",
        "Authentication failures since the last success",
    ),
    Metric(
        "alpaca_reconnection_total",
        "counter",
        "alpaca",
        "Reconnections of the Alpaca WebSocket",
        {"reason": ("timeout", "closed", "error", "auth", "stalled", "asked")},
    ),
    Metric(
        "alpaca_messages_received_total",
        "counter",
        "alpaca",
        "Messages received from Alpaca",
        {"type": ("trade", "quote", "bar", "control")},
    ),
    Metric(
        "alpaca_last_message_timestamp_seconds",
        "gauge",
        "alpaca",
        "Unix time of the last data message from Alpaca",
    ),
    Metric(
        "alpaca_errors_total",
        "counter",
        "alpaca",
        "Errors in Alpaca processing",
        {"type": ("authentication", "connection", "parse", "validation", "publish")},
    ),
    Metric("alpaca_subscribed_symbols", "gauge", "alpaca", "Symbols subscribed at Alpaca"),
    Metric("alpaca_symbols_limit", "gauge", "alpaca", "Symbol limit of the Alpaca plan"),
    Metric(
        "alpaca_tier_info", "gauge", "alpaca", "Alpaca plan, value 1", {"tier": ("free", "plus")}
    ),
    Metric(
        "alpaca_streaming_enabled",
        "gauge",
        "alpaca",
        "1 if the feature flag EnableAlpacaStreaming is on",
    ),
    Metric(
        "alpaca_subscription_changes_total",
        "counter",
        "alpaca",
        "Symbols added to or removed from the subscription",
        {"action": ("added", "removed")},
    ),
    Metric("alpaca_quarantined_symbols", "gauge", "alpaca", "Symbols that Alpaca calls malformed"),
    Metric("alpaca_stalled_symbols", "gauge", "alpaca", "Symbols silent while the others flow"),
    Metric(
        "alpaca_gaps_total",
        "counter",
        "alpaca",
        "Gaps opened in the stream",
        {"cause": ("disconnected", "stalled", "asked", "torn", "restarted", "shed")},
    ),
    Metric(
        "alpaca_shed_total",
        "counter",
        "alpaca",
        "Messages received and shed, because Kafka was away for too long",
        {"type": ("trade", "quote", "bar", "control")},
    ),
    Metric(
        "alpaca_publish_buffer_bytes", "gauge", "alpaca", "Bytes on their way to Kafka, in memory"
    ),
    Metric(
        "alpaca_streaming_processing_duration_seconds",
        "histogram",
        "alpaca",
        "Time in the gateway",
        buckets=HOP,
    ),
    Metric(
        "yahoo_messages_received_total", "counter", "yahoo", "Quotes received from Yahoo polling"
    ),
    Metric(
        "yahoo_polls_total", "counter", "yahoo", "Yahoo polls", {"result": ("success", "failure")}
    ),
    Metric(
        "yahoo_last_success_timestamp_seconds",
        "gauge",
        "yahoo",
        "Unix time of the last good Yahoo poll",
    ),
    Metric("yahoo_breaker_open", "gauge", "yahoo", "1 while Yahoo is left alone after HTTP 429"),
    Metric("yahoo_frozen_symbols", "gauge", "yahoo", "Symbols whose quotes stand still"),
    Metric(
        "backfill_ticks_total",
        "counter",
        "backfill",
        "Ticks fetched from Alpaca's history and published",
        {"type": ("trade", "bar")},
    ),
    Metric(
        "backfill_requests_total",
        "counter",
        "backfill",
        "Requests to Alpaca's history",
        {"result": ("success", "failure", "limited")},
    ),
    Metric("backfill_open_gaps", "gauge", "backfill", "Gaps known and not yet closed"),
    Metric(
        "market_session_open",
        "gauge",
        "router",
        "1 while the regular session is open",
        {"market": ("XNYS",)},
    ),
    Metric(
        "datasource_router_state",
        "stateset",
        "router",
        "Router state; exactly one state is 1",
        {"state": ROUTER_STATES},
    ),
    Metric(
        "datasource_router_held",
        "gauge",
        "router",
        "1 while an operator holds the router on Yahoo",
    ),
    Metric(
        "datasource_router_state_duration_seconds_total",
        "counter",
        "router",
        "Seconds spent in each state, accrued at every scrape",
        {"state": ROUTER_STATES},
    ),
    Metric(
        "datasource_router_transitions_total",
        "counter",
        "router",
        "State transitions",
        {
            "from": ("STARTUP", *ROUTER_STATES),
            "to": ROUTER_STATES,
            "reason": (
                "startup",
                "timeout",
                "disconnected",
                "health",
                "auth",
                "manual",
                "recovered",
            ),
        },
    ),
    Metric("datasource_router_failover_total", "counter", "router", "Failovers away from Alpaca"),
    Metric(
        "datasource_router_last_failover_timestamp_seconds",
        "gauge",
        "router",
        "Unix time of the last failover; absent until the first",
    ),
    Metric(
        "datasource_router_recovery_time_seconds",
        "histogram",
        "router",
        "From failure detection to fallback active (SLI-R1)",
        buckets=REC,
    ),
    Metric(
        "datasource_router_messages_processed_total",
        "counter",
        "prices",
        "Messages that reached validation",
        {"source": SOURCES},
    ),
    Metric(
        "datasource_router_validation_failures_total",
        "counter",
        "prices",
        "Messages rejected by validation",
        {
            "reason": (
                "malformed",
                "unknown_type",
                "unknown_symbol",
                "invalid_price",
                "negative_volume",
                "future_timestamp",
                "circuit_breaker",
            )
        },
    ),
    Metric(
        "datasource_router_processing_duration_seconds",
        "histogram",
        "prices",
        "From the socket (or poll) to the routed price",
        buckets=HOP,
    ),
    Metric(
        "pipeline_price_age_seconds",
        "histogram",
        "prices",
        "From the trade on the market to the routed price",
        {"source": SOURCES},
        E2E,
    ),
    Metric(
        "pipeline_records_processed_total",
        "counter",
        "pipeline",
        "Records leaving a stage",
        {
            "stage": ("validate", "route", "forward", "clickhouse"),
            "result": ("ok", "error", "dead_letter"),
        },
    ),
    Metric(
        "pipeline_sink_pending_records",
        "gauge",
        "clickhouse",
        "Records read and not yet written",
        {"sink": ("clickhouse",)},
    ),
    Metric(
        "pipeline_sink_last_success_timestamp_seconds",
        "gauge",
        "clickhouse",
        "Unix time of the last committed write",
        {"sink": ("clickhouse",)},
    ),
    Metric(
        "pipeline_sink_write_failures_total",
        "counter",
        "clickhouse",
        "Failed writes",
        {"sink": ("clickhouse",)},
    ),
)

#: Gauges that have no honest value before the first event: absent until set.
ABSENT_UNTIL_SET = {
    "alpaca_last_message_timestamp_seconds",
    "datasource_router_last_failover_timestamp_seconds",
    "pipeline_sink_last_success_timestamp_seconds",
    "yahoo_last_success_timestamp_seconds",
}


class Meters:
    """The metrics of one process, made from the catalogue; all bounded children exist from birth.

    Args:
        about: the parts of the catalogue that this process exposes.
        stage: of the metrics labelled by stage, it exposes this one's alone.

    """

    def __init__(self, *about: About, stage: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._declared = {metric.name: metric for metric in CATALOGUE if metric.about in about}
        self._stage = stage
        self._meters: dict[str, Counter | Gauge | Histogram] = {}
        for metric in self._declared.values():
            if metric.name not in ABSENT_UNTIL_SET:
                self._make(metric)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        names = tuple(metric.labels)
        meter: Counter | Gauge | Histogram
        match metric.kind:
            case "counter":
                meter = Counter(metric.name, metric.help, names, registry=self.registry)
            case "histogram":
                meter = Histogram(
                    metric.name, metric.help, names, registry=self.registry, buckets=metric.buckets
                )
            case "gauge" | "stateset":
                meter = Gauge(metric.name, metric.help, names, registry=self.registry)
        for values in itertools.product(*metric.labels.values()):
            if names and self._mine(dict(zip(names, values, strict=True))):
                meter.labels(*values)
        self._meters[metric.name] = meter
        return meter

    def _mine(self, labels: Mapping[str, str]) -> bool:
        return self._stage is None or labels.get("stage", self._stage) == self._stage

    def _meter(self, name: str) -> Counter | Gauge | Histogram:
        return self._meters.get(name) or self._make(self._declared[name])

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count `amount` more of the counter `name`."""
        meter = self._meter(name)
        (meter.labels(**labels) if labels else meter).inc(amount)  # type: ignore[union-attr]

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set the gauge `name`."""
        meter = self._meter(name)
        (meter.labels(**labels) if labels else meter).set(value)  # type: ignore[union-attr]

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Put `value` into the histogram `name`."""
        meter = self._meter(name)
        (meter.labels(**labels) if labels else meter).observe(value)  # type: ignore[union-attr]

    def state(self, name: str, current: str) -> None:
        """Make `current` the one state of the stateset `name` that is 1."""
        ((label, states),) = self._declared[name].labels.items()
        if current not in states:
            message = f"unknown state {current!r} of {name}: expected one of {', '.join(states)}"
            raise ValueError(message)
        for state in states:
            self.set(name, float(state == current), **{label: state})

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class StatusServer:
    """`/metrics` and `/ready` of one process, on the process's own loop.

    `ready` is asked at every request: None when the stage does its work, else what it waits for.
    `before_scrape` is called before every exposition, for what accrues with time.
    """

    def __init__(
        self,
        meters: Meters,
        *,
        host: str,
        port: int,
        ready: Callable[[], str | None],
        before_scrape: Callable[[], None] = lambda: None,
    ) -> None:
        self._meters = meters
        self._host = host
        self._port = port
        self._ready = ready
        self._before_scrape = before_scrape
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen, and return the port. Raises OSError where the port is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/ready", self._readiness)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        self._before_scrape()
        return web.Response(
            body=self._meters.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )

    async def _readiness(self, _: web.Request) -> web.Response:
        waiting_for = self._ready()
        if waiting_for is None:
            return web.Response(text="ready\n")
        return web.Response(text=f"waiting for {waiting_for}\n", status=503)


class SelfRepetition(logging.Filter):
    """Lets a library say the same thing once a second, and our own lines always.

    While a broker is away aiokafka says so thousands of times a second.
    """

    INTERVAL_S = 1.0
    REMEMBERED = 1000

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether `record` may pass."""
        if isinstance(record.msg, dict):  # structlog's, which is how we log
            return True
        key = (record.name, str(record.msg))
        if record.created - self._said.get(key, float("-inf")) < self.INTERVAL_S:
            return False
        if len(self._said) >= self.REMEMBERED:
            self._said.clear()
        self._said[key] = record.created
        return True


def configure_logging(service: str, level: str) -> None:
    """Log JSON lines to stdout, ours and the libraries', each with its service."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _method, event: {"service": service, **event},
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(SelfRepetition())
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
