"""The alerts, declared once: when somebody is told, how loudly, and what it says.

The thresholds stand here and nowhere else. `rules/alerts.yml` is generated from this table, the
drills take their expected times from it, and the page of alerts its words. An alert that has no
test in `tests/infra/prometheus/rules` does not exist.

A count that may be extrapolated is compared with a half: `increase()` makes 3.007 of three.
"""

from dataclasses import dataclass
from typing import Literal

from infra.prometheus.config import JOBS

Severity = Literal["critical", "high", "medium", "low", "info", "none"]
#: The severity ladder: within a family, who stands further left mutes the others.
LADDER: tuple[Severity, ...] = ("critical", "high", "medium", "low")

_CONNECTED = 'max(alpaca_connection_status{state="Connected"})'
_ENABLED = "and on() max(alpaca_streaming_enabled) == 1"
_OPEN = "and on() max(market_session_open) == 1"
#: Whose silence about these would be the silence of the alerts made of them.
NEEDED = (
    "datasource_router_state",
    "alpaca_connection_status",
    "alpaca_message_latency_seconds_count",
    "datasource_router_messages_processed_total",
    "datasource_router_validation_failures_total",
    "slo:period_error_budget_remaining:ratio",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One alert.

    Attributes:
        id: what tables and drills call it.
        name: its name.
        severity: who is told, and how.
        family: within one, the loudest mutes the others.
        component: where to look.
        service: what the digest groups by.
        expr: when it holds.
        wait: for how long it has to hold.
        keep: for how long it is kept up after it held last, so that it does not flap.
        summary: what has happened, in a sentence.
        description: what that means, with the measured value.
        dashboard: where to see it.

    """

    id: str
    name: str
    severity: Severity
    family: str
    component: str
    service: str
    expr: str
    wait: str = "0s"
    keep: str = "0s"
    summary: str
    description: str
    dashboard: Literal["operations", "performance", "reliability", "business"] = "operations"


ALERTS: tuple[Alert, ...] = (
    Alert(
        id="C1",
        name="AlpacaBothSourcesUnavailable",
        severity="critical",
        family="availability",
        component="router",
        service="delivery",
        expr='max(datasource_router_state{state="BOTH_UNAVAILABLE"}) == 1',
        wait="1m",
        keep="2m",
        summary="Neither Alpaca nor Yahoo delivers prices",
        description="No price is routed. Users see the last ones, growing old.",
    ),
    Alert(
        id="C2",
        name="AlpacaExtremeLatency",
        severity="critical",
        family="latency",
        component="hub",
        service="delivery",
        expr="alpaca:lateness_seconds:p95_5m > 10",
        wait="5m",
        keep="5m",
        summary="Alpaca's prices are more than 10 s late",
        description=(
            "One in twenty takes {{ $value | humanizeDuration }} from the market to the browser; or"
            " only to us, while Yahoo is routed."
        ),
        dashboard="performance",
    ),
    Alert(
        id="C3",
        name="AlpacaMemoryCritical",
        severity="critical",
        family="memory",
        component="process",
        service="platform",
        expr=(
            'max by (job, instance) (process_resident_memory_bytes{job=~"alpaca-.+"})'
            ' / max by (job, instance) (process_memory_limit_bytes{job=~"alpaca-.+"}) > 0.9'
        ),
        wait="5m",
        keep="5m",
        summary="{{ $labels.instance }} is about to be killed for its memory",
        description="It uses {{ $value | humanizePercentage }} of what its cgroup allows.",
        dashboard="performance",
    ),
    Alert(
        id="C4",
        name="AlpacaAuthFailure",
        severity="critical",
        family="auth",
        component="alpaca",
        service="ingest",
        expr="max(alpaca_consecutive_auth_failures) >= 5",
        keep="5m",
        summary="Alpaca refuses the keys",
        description=(
            "{{ $value }} times in a row. Nothing more is tried with these keys; prices come from"
            " Yahoo until there are others."
        ),
    ),
    Alert(
        id="H1",
        name="AlpacaDisconnected",
        severity="high",
        family="connection",
        component="alpaca",
        service="ingest",
        expr=f"{_CONNECTED} == 0 {_ENABLED}",
        wait="1m",
        keep="2m",
        summary="Alpaca is disconnected",
        description="For more than a minute. Prices come from Yahoo, delayed.",
    ),
    Alert(
        id="H1x",
        name="AlpacaDisconnectedProlonged",
        severity="critical",
        family="connection",
        component="alpaca",
        service="ingest",
        expr=f"{_CONNECTED} == 0 {_ENABLED} {_OPEN}",
        wait="10m",
        keep="5m",
        summary="Alpaca has been disconnected for ten minutes of open market",
        description="It does not come back by itself. Prices come from Yahoo, delayed.",
    ),
    Alert(
        id="H2",
        name="AlpacaHighLatency",
        severity="high",
        family="latency",
        component="hub",
        service="delivery",
        expr="alpaca:lateness_seconds:p95_5m > 5",
        wait="5m",
        keep="5m",
        summary="Alpaca's prices are more than 5 s late",
        description=(
            "One in twenty takes {{ $value | humanizeDuration }} from the market to the browser; or"
            " only to us, while Yahoo is routed."
        ),
        dashboard="performance",
    ),
    Alert(
        id="H3",
        name="AlpacaValidationFailureHigh",
        severity="high",
        family="data_quality",
        component="validate",
        service="processing",
        expr=(
            "datasource_router:validation_failures:ratio_rate2m > 0.05"
            " and on() sum(increase(datasource_router_messages_processed_total[2m])) >= 20"
        ),
        wait="1m",
        keep="2m",
        summary="Many ticks are rejected",
        description="{{ $value | humanizePercentage }} of the ticks of the last two minutes.",
    ),
    Alert(
        id="M1",
        name="AlpacaFailoverFrequencyHigh",
        severity="medium",
        family="stability",
        component="router",
        service="processing",
        expr="datasource_router:failovers:increase1h > 3.5",
        keep="15m",
        summary="The router fails over again and again",
        description="{{ $value | humanize }} times within the hour.",
        dashboard="reliability",
    ),
    Alert(
        id="M2",
        name="AlpacaErrorRateElevated",
        severity="medium",
        family="errors",
        component="alpaca",
        service="ingest",
        expr=(
            "alpaca:message_errors:ratio_rate5m > 0.01"
            " and on() sum(increase(alpaca_messages_received_total[5m])) >= 100"
        ),
        wait="5m",
        keep="5m",
        summary="Messages of Alpaca's cannot be processed",
        description="{{ $value | humanizePercentage }} of them end in an error.",
        dashboard="performance",
    ),
    Alert(
        id="M3",
        name="AlpacaPriceDiscrepancyHigh",
        severity="medium",
        family="data_quality",
        component="validate",
        service="processing",
        expr="datasource_router:symbols_inconsistent:count > 10",
        wait="5m",
        keep="5m",
        summary="Alpaca and Yahoo disagree about many symbols",
        description="Their prices differ by more than 5 % for {{ $value }} symbols.",
    ),
    Alert(
        id="L1",
        name="AlpacaSLOErrorBudgetLow",
        severity="low",
        family="slo",
        component="slo",
        service="slo",
        expr=(
            'slo:period_error_budget_remaining:ratio{sloth_slo!="cross-source-consistency"} < 0.2'
        ),
        wait="1h",
        keep="1h",
        summary="Little is left of the error budget of {{ $labels.sloth_slo }}",
        description="{{ $value | humanizePercentage }}. Below 20 % features wait.",
        dashboard="reliability",
    ),
    Alert(
        id="L2",
        name="AlpacaConnectionFlapping",
        severity="low",
        family="stability",
        component="alpaca",
        service="ingest",
        expr="sum(increase(alpaca_reconnection_total[1h])) > 5.5",
        wait="10m",
        keep="30m",
        summary="Alpaca's connection is lost again and again",
        description="{{ $value | humanize }} times within the hour.",
        dashboard="reliability",
    ),
    Alert(
        id="I1",
        name="AlpacaConnectionRecovered",
        severity="info",
        family="event",
        component="alpaca",
        service="ingest",
        expr=("alpaca:connected:bool == 1 and min_over_time(alpaca:connected:bool[5m]) == 0"),
        summary="Alpaca is connected again",
        description="It was not within the last five minutes.",
    ),
    Alert(
        id="I2",
        name="AlpacaRouterStateChange",
        severity="info",
        family="event",
        component="router",
        service="processing",
        expr=("sum by (from, to, reason) (increase(datasource_router_transitions_total[2m])) > 0"),
        summary="The router went from {{ $labels.from }} to {{ $labels.to }}",
        description="Because of: {{ $labels.reason }}.",
        dashboard="reliability",
    ),
    Alert(
        id="I3",
        name="AlpacaSymbolSubscriptionChanged",
        severity="info",
        family="event",
        component="alpaca",
        service="ingest",
        expr="sum by (action) (increase(alpaca_subscription_changes_total[5m])) > 0",
        summary="Symbols were {{ $labels.action }}",
        description="{{ $value | humanize }} within five minutes.",
    ),
    Alert(
        id="R1",
        name="AlpacaFailoverRecoverySlow",
        severity="medium",
        family="stability",
        component="router",
        service="processing",
        expr="datasource_router:recovery_time_seconds:mean1h > 15",
        keep="30m",
        summary="Failovers take long",
        description="{{ $value | humanizeDuration }} on average, within the hour.",
        dashboard="reliability",
    ),
    Alert(
        id="R1b",
        name="AlpacaFailoverRecoverySLOBreached",
        severity="low",
        family="stability",
        component="router",
        service="slo",
        expr="datasource_router:recovery_time_seconds:mean30d > 10",
        wait="15m",
        keep="1h",
        summary="Failovers have taken too long this month",
        description="{{ $value | humanizeDuration }} on average; 10 s are promised.",
        dashboard="reliability",
    ),
    Alert(
        id="R2",
        name="AlpacaFailoverDailyBudgetExceeded",
        severity="low",
        family="stability",
        component="router",
        service="slo",
        expr="datasource_router:failovers:increase1d > 5.5",
        keep="1h",
        summary="More failovers than five within a day",
        description="{{ $value | humanize }} within 24 hours.",
        dashboard="reliability",
    ),
    Alert(
        id="R2b",
        name="AlpacaFailoverDailyCritical",
        severity="high",
        family="stability",
        component="router",
        service="processing",
        expr="datasource_router:failovers:increase1d > 10.5",
        keep="1h",
        summary="More failovers than ten within a day",
        description="{{ $value | humanize }} within 24 hours.",
        dashboard="reliability",
    ),
    Alert(
        id="P1",
        name="PipelineConsumerLagHigh",
        severity="high",
        family="pipeline",
        component="kafka",
        service="processing",
        expr="max by (group) (pipeline_consumer_lag_seconds) > 5",
        wait="2m",
        keep="2m",
        summary="{{ $labels.group }} is behind",
        description="By {{ $value | humanizeDuration }}: what users see is at least as old.",
        dashboard="performance",
    ),
    Alert(
        id="P2",
        name="PipelineConsumerStuck",
        severity="critical",
        family="pipeline",
        component="kafka",
        service="processing",
        expr=(
            "(sum by (group) (pipeline_consumer_lag_records) > 0) and on (group)"
            " (label_replace(sum by (stage) (rate(pipeline_records_processed_total[2m])),"
            ' "group", "$1", "stage", "(.+)") == 0)'
        ),
        wait="2m",
        keep="1m",
        summary="{{ $labels.group }} does nothing, and there is something to do",
        description="{{ $value }} records wait for it.",
        dashboard="performance",
    ),
    Alert(
        id="P3",
        name="PipelineSinkStalled",
        severity="medium",
        family="pipeline",
        component="clickhouse",
        service="history",
        expr=(
            "time() - max by (sink) (pipeline_sink_last_success_timestamp_seconds) > 120"
            " and on (sink) max by (sink) (pipeline_sink_pending_records) > 0"
        ),
        wait="1m",
        keep="2m",
        summary="Nothing is written to {{ $labels.sink }}",
        description="For {{ $value | humanizeDuration }}. Nothing is lost: Kafka keeps it.",
        dashboard="performance",
    ),
    Alert(
        id="P4",
        name="PipelineDeadLetters",
        severity="medium",
        family="pipeline",
        component="kafka",
        service="processing",
        expr=(
            "sum by (stage) (increase(pipeline_records_processed_total"
            '{result="dead_letter"}[10m])) > 0'
        ),
        keep="10m",
        summary="{{ $labels.stage }} cannot read what is in its topic",
        description="{{ $value | humanize }} records were set aside.",
        dashboard="performance",
    ),
    Alert(
        id="X1",
        name="Watchdog",
        severity="none",
        family="meta",
        component="prometheus",
        service="monitoring",
        expr="vector(1)",
        summary="The alerts work",
        description="Always firing. Whoever hears it no more is to look after the monitoring.",
    ),
    Alert(
        id="X2",
        name="AlpacaTargetDown",
        severity="critical",
        family="meta",
        component="process",
        service="monitoring",
        expr='up{job=~"alpaca-.+"} == 0',
        wait="1m",
        keep="1m",
        summary="{{ $labels.instance }} does not answer",
        description="Its process is dead, hangs, or cannot be reached by Prometheus.",
    ),
    Alert(
        id="X3",
        name="AlpacaTargetAbsent",
        severity="critical",
        family="meta",
        component="prometheus",
        service="monitoring",
        # the backfill too: without it holes stay open, and nobody would hear of that either
        expr=" or ".join(f'absent(up{{job="{job}"}})' for job in JOBS if job.startswith("alpaca-")),
        wait="2m",
        summary="Nobody asks {{ $labels.job }} how it is",
        description="Prometheus has no such target: what it would say, nobody hears.",
    ),
    Alert(
        id="X4",
        name="AlpacaMetricAbsent",
        severity="high",
        family="meta",
        component="prometheus",
        service="monitoring",
        expr=" or ".join(
            f'label_replace(absent({name}), "metric", "{name}", "", "")' for name in NEEDED
        ),
        wait="5m",
        summary="{{ $labels.metric }} is not there",
        description="The alerts that are made of it cannot fire.",
    ),
    Alert(
        id="X5",
        name="AlpacaRouterStateInvalid",
        severity="high",
        family="meta",
        component="router",
        service="monitoring",
        expr="sum by (job, instance) (datasource_router_state) != 1",
        wait="1m",
        summary="The router is in {{ $value }} states at once",
        description="It has to be in one. What is made of its state cannot be believed.",
    ),
    Alert(
        id="X6",
        name="AlpacaNoMessages",
        severity="high",
        family="connection",
        component="alpaca",
        service="ingest",
        expr=(
            f"time() - max(alpaca_last_message_timestamp_seconds) > 60 {_OPEN}"
            f" and on() {_CONNECTED} == 1"
        ),
        wait="1m",
        keep="1m",
        summary="Alpaca is connected and says nothing, while the market is open",
        description="For {{ $value | humanizeDuration }}.",
    ),
    Alert(
        id="X7",
        name="PrometheusRuleFailures",
        severity="high",
        family="meta",
        component="prometheus",
        service="monitoring",
        expr=(
            "increase(prometheus_rule_evaluation_failures_total[5m]) > 0"
            " or increase(prometheus_rule_group_iterations_missed_total[5m]) > 0"
        ),
        wait="1m",
        summary="Prometheus does not evaluate all of its rules",
        description="{{ $labels.rule_group }}: alerts may be late, or not come at all.",
    ),
    Alert(
        id="X8",
        name="PrometheusNotificationsDropped",
        severity="critical",
        family="meta",
        component="prometheus",
        service="monitoring",
        # for up to five seconds after it read its files again Prometheus knows no Alertmanager, and
        # drops what it has to say; that it says again within a minute
        expr=(
            "(increase(prometheus_notifications_dropped_total[5m]) > 0"
            " unless changes(prometheus_config_last_reload_success_timestamp_seconds[5m]) > 0)"
            " or prometheus_notifications_alertmanagers_discovered < 1"
        ),
        wait="1m",
        summary="Prometheus does not reach Alertmanager",
        description="Alerts fire, and nobody is told.",
    ),
    Alert(
        id="X9",
        name="AlertmanagerNotificationsFailing",
        severity="critical",
        family="meta",
        component="alertmanager",
        service="monitoring",
        expr="sum by (integration) (rate(alertmanager_notifications_failed_total[5m])) > 0",
        wait="1m",
        keep="2m",
        summary="Alertmanager does not reach {{ $labels.integration }}",
        description="{{ $value | humanize }} notifications a second fail; it tries again.",
    ),
)
