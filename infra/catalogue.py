"""Every metric, declared once: its name, kind and meaning, and the values that bound its labels.

`docs/metrics.md` is generated from this table, the linter holds every rule against it
(`tests/contracts/promql.py`), and `infra/telemetry.py` makes a process's meters of it. Two rules: a
state is a set of 0/1 series, all there from birth; and every bounded child of a counter is there at
0 from birth, or the first error would be invisible to `increase()`.

No series is a symbol's, but those of the one metric in `BY_SYMBOL`: symbols belong in events.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from infra.topics import TOPICS

E2E = (0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 7.5, 10, 15, 20, 30, 60, 120)
HOP = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.5, 1, 2.5, 5)
REC = (0.5, 1, 2.5, 5, 7.5, 10, 15, 20, 30, 60, 120, 300)

#: Which part of the pipeline a metric speaks of; a process exposes the metrics of its parts.
About = Literal[
    "process",
    "alpaca",
    "yahoo",
    "backfill",
    "router",
    "prices",
    "lag",
    "pipeline",
    "clickhouse",
    "hub",
    "logs",
]

#: part -> what exposes it, in words
EXPOSED_BY: Mapping[About, str] = {
    "process": "every process",
    "alpaca": "ingest (alpaca)",
    "yahoo": "ingest (yahoo)",
    "backfill": "ingest (backfill)",
    "router": "route",
    "prices": "the Prometheus sink, from the log",
    "lag": "the Prometheus sink, from the log",
    "pipeline": "validate, route, forward and the sinks, each its own stage's",
    "clickhouse": "the ClickHouse sink",
    "hub": "the hub",
    "logs": "the log shipper",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric.

    Attributes:
        name: as Prometheus knows it; a histogram's series have a suffix besides.
        kind: a stateset is a gauge for each value of its one label, exactly one of them 1.
        about: which part it speaks of.
        help: what it tells, in a sentence.
        labels: label -> every value that it can have; none for what is not bounded.
        buckets: of a histogram, their upper bounds.

    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "stateset"]
    about: About
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()


ROUTER_STATES = ("PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "BOTH_UNAVAILABLE")
SOURCES = ("alpaca", "yahoo")

#: The stages that read with a consumer group, each a group of its name.
GROUPS = ("validate", "route", "forward", "clickhouse")

#: Where log lines are shipped to.
LOG_BACKENDS = ("clickhouse", "loki")

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        "process_memory_limit_bytes",
        "gauge",
        "process",
        "What the process's cgroup may use of memory; absent if unlimited",
    ),
    Metric(
        "process_threads",
        "gauge",
        "process",
        "Threads of the process, those of libraries among them; absent where there is no /proc",
    ),
    Metric(
        "pipeline_spans_total",
        "counter",
        "process",
        "Spans that the collector took or did not, and those dropped as too many waited",
        {"result": ("exported", "failed", "dropped")},
    ),
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
        "datasource_router_restoration_time_seconds",
        "histogram",
        "router",
        "From Alpaca reconnected to PRIMARY_ACTIVE (SLI-R2)",
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
        "datasource_router_circuit_breaker_total",
        "counter",
        "prices",
        "Circuit breaker activations; the symbol is in the event, not in a label",
        {"reason": ("price_movement_exceeded",)},
    ),
    Metric(
        "datasource_router_price_comparisons_total",
        "counter",
        "prices",
        "Prices of both sources of the same moment, compared (SLI-Q2)",
        {"result": ("consistent", "inconsistent")},
    ),
    Metric(
        "datasource_router_price_delta_percent",
        "gauge",
        "prices",
        "100 * |Alpaca - Yahoo| / Yahoo of a fresh pair; gone when either side is stale",
        {"symbol": ()},
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
        "pipeline_receipt_age_seconds",
        "histogram",
        "prices",
        "From the trade on the market to its receipt, whichever source is routed",
        {"source": SOURCES},
        E2E,
    ),
    Metric(
        "alpaca_message_latency_seconds",
        "histogram",
        "hub",
        "Market event time to SignalR send completed (SLI-L1)",
        {"source": SOURCES},
        E2E,
    ),
    Metric(
        "alpaca_websocket_to_signalr_seconds",
        "histogram",
        "hub",
        "WebSocket receipt to SignalR send completed (SLI-L2)",
        buckets=HOP,
    ),
    Metric(
        "multiasset_broadcast_duration_seconds",
        "histogram",
        "hub",
        "Time in the broadcast stage",
        buckets=HOP,
    ),
    Metric(
        "signalr_broadcast_duration_seconds",
        "histogram",
        "hub",
        "Time in SignalR send",
        buckets=HOP,
    ),
    Metric(
        "signalr_client_round_trip_seconds",
        "histogram",
        "hub",
        "From a probe's send to a client's answer; an upper bound of the way there",
        buckets=HOP,
    ),
    Metric(
        "signalr_connections",
        "gauge",
        "hub",
        "Open SignalR connections",
        {"hub": ("market-data", "dashboard")},
    ),
    Metric(
        "pipeline_records_processed_total",
        "counter",
        "pipeline",
        "Records leaving a stage",
        {
            "stage": ("validate", "route", "forward", "clickhouse", "hub"),
            "result": ("ok", "error", "dead_letter"),
        },
    ),
    Metric(
        "pipeline_consumer_lag_records",
        "gauge",
        "lag",
        "Records of a topic that a stage has still to read, over all partitions",
        {"group": GROUPS, "topic": tuple(topic.name for topic in TOPICS)},
    ),
    Metric(
        "pipeline_consumer_lag_seconds",
        "gauge",
        "lag",
        "Age of a topic's oldest record that a stage has still to read; 0 at its end",
        {"group": GROUPS, "topic": tuple(topic.name for topic in TOPICS)},
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
    Metric(
        "log_lines_shipped_total",
        "counter",
        "logs",
        "Log lines that a backend has taken",
        {"backend": LOG_BACKENDS},
    ),
    Metric(
        "log_lines_dropped_total",
        "counter",
        "logs",
        "Log lines left out for a backend: too far behind, or refused by it",
        {"backend": LOG_BACKENDS, "reason": ("behind", "refused")},
    ),
    Metric(
        "log_shipper_behind_bytes",
        "gauge",
        "logs",
        "Output that a backend has not yet been sent",
        {"backend": LOG_BACKENDS},
    ),
)

#: Gauges that have no honest value before the first event: absent until set.
ABSENT_UNTIL_SET = {
    "alpaca_last_message_timestamp_seconds",
    "datasource_router_last_failover_timestamp_seconds",
    "pipeline_sink_last_success_timestamp_seconds",
    "process_memory_limit_bytes",
    "process_threads",
    "yahoo_last_success_timestamp_seconds",
}

#: The one metric with a series a symbol: what is compared right now, and no longer.
BY_SYMBOL = "datasource_router_price_delta_percent"
