"""A week as Prometheus would see it, every few minutes, on the market's real calendar.

Thanksgiving's: nights, a holiday, a half day, a weekend. It begins with a cold start. Its hours are
noisy, and healthy; two incidents are not. All of it is made by a seed.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from infra.catalogue import CATALOGUE, GROUPS, ROUTER_STATES
from infra.market_calendar import Calendar
from infra.prometheus.config import JOBS

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
MINUTES = 7 * 24 * 60
E2E = (0.5, 1, 2, 3, 5, 10)


def minute(day: int, hour: int, minute_: int = 0) -> int:
    """Return a minute of the week; Monday is day 0."""
    return (day * 24 + hour) * 60 + minute_


#: Alpaca is away, and for eight minutes Yahoo is as well.
AWAY = range(minute(1, 15), minute(1, 15, 20))
BOTH_AWAY = range(minute(1, 15, 4), minute(1, 15, 12))
#: A quarter of the ticks is worth nothing.
GARBAGE = range(minute(2, 18), minute(2, 18, 30))


@dataclass(slots=True)
class Week:
    """Folds the steps into timelines; each is so many minutes."""

    step: int
    noise: Callable[[float, float], float]
    values: dict[str, list[float | None]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)

    def gauge(self, series: str, value: float) -> None:
        """Let a gauge have this value in this step."""
        self.values.setdefault(series, []).append(value)

    def count(self, series: str, by: float) -> None:
        """Let a counter rise by so much in this step."""
        self.totals[series] = self.totals.get(series, 0) + by
        self.gauge(series, round(self.totals[series], 3))

    def series(self) -> dict[str, str]:
        """Return the timelines as promtool reads them."""
        return {name: "_ " + _runs(values) for name, values in self.values.items()}


def _runs(values: list[float | None]) -> str:
    parts: list[str] = []
    index = 0
    while index < len(values):
        end = index
        while end + 1 < len(values) and values[end + 1] == values[index]:
            end += 1
        count = end - index
        parts.append(f"{values[index]:.10g}" + (f"x{count}" if count else ""))
        index = end + 1
    return " ".join(parts)


def _session(calendar: Calendar, at: int) -> str:
    moment = MONDAY + timedelta(minutes=at)
    return calendar.state(int(moment.timestamp()) * 1_000_000_000)


def _noise(seed: random.Random) -> Callable[[float, float], float]:
    """Return what makes a value of a usual and a most: seldom near the most."""
    return lambda usual, most: usual + (most - usual) * seed.random() ** 4


def week(calendar: Calendar, step: int, seed: int = 7) -> dict[str, str]:
    """Return the week's timelines, by series, with a sample every `step` minutes.

    At first nothing is there yet, and then everything begins.
    """
    made = Week(step, _noise(random.Random(seed)))
    last_message = step * 60.0
    for at in range(step, MINUTES, step):
        session = _session(calendar, at)
        traffic = {"regular": 200.0, "pre": 20.0, "post": 20.0, "closed": 0.0}[session]
        traffic *= made.noise(0.7, 2.0)
        if at in AWAY:
            traffic = 0.0
        if traffic:
            last_message = at * 60.0
        made.gauge("alpaca_last_message_timestamp_seconds", last_message)
        made.gauge('market_session_open{market="XNYS"}', float(session == "regular"))
        messages = traffic * 60 * step
        _watched(made)
        _source(made, at, messages)
        _routing(made, at)
        _quality(made, at, session, messages)
        _latency(made, messages)
        _flow(made, at, messages)
    return made.series()


def _watched(made: Week) -> None:
    for job in JOBS:
        for instance in JOBS[job]:
            of = f'{{job="{job}", instance="{instance}"}}'
            made.gauge(f"up{of}", 1)
            made.gauge(f"process_resident_memory_bytes{of}", round(made.noise(40, 85)))
            made.gauge(f"process_memory_limit_bytes{of}", 100)
    made.count('prometheus_rule_evaluation_failures_total{rule_group="g"}', 0)
    made.count('prometheus_rule_group_iterations_missed_total{rule_group="g"}', 0)
    made.count("prometheus_notifications_dropped_total", 0)
    made.gauge("prometheus_notifications_alertmanagers_discovered", 1)
    made.count('alertmanager_notifications_failed_total{integration="slack"}', 0)


def _source(made: Week, at: int, messages: float) -> None:
    away = at in AWAY
    of = '{job="alpaca-gateway", instance="alpaca", '
    for state in ("Disconnected", "Connecting", "Authenticating", "Connected", "Error"):
        now = "Disconnected" if away else "Connecting" if at == made.step else "Connected"
        made.gauge(f'alpaca_connection_status{of}state="{state}"}}', float(state == now))
    made.gauge("alpaca_authentication_status", float(not away and at != made.step))
    made.gauge("alpaca_streaming_enabled", 1)
    # a short-lived refusal now and then is none of anybody's business
    made.gauge("alpaca_consecutive_auth_failures", int(made.noise(0, 3.9)))
    for kind, share in (("trade", 0.3), ("quote", 0.6), ("bar", 0.1)):
        made.count(f'alpaca_messages_received_total{{type="{kind}"}}', messages * share)
    made.count('alpaca_errors_total{type="parse"}', messages * made.noise(0.001, 0.008))
    made.count('alpaca_errors_total{type="connection"}', float(away))
    # a night's reconnections: four within an hour, again and again
    restless = at % 360 in {12, 20, 32, 40}
    made.count('alpaca_reconnection_total{reason="closed"}', float(restless or at == AWAY.stop))
    made.count('alpaca_subscription_changes_total{action="added"}', float(at % 2880 == 900))


def _state(at: int) -> str:
    if at in BOTH_AWAY:
        return "BOTH_UNAVAILABLE"
    return "FALLBACK_ACTIVE" if at in AWAY else "PRIMARY_ACTIVE"


def _routing(made: Week, at: int) -> None:
    for state in ROUTER_STATES:
        of = f'{{job="alpaca-router", instance="route", state="{state}"}}'
        made.gauge(f"datasource_router_state{of}", float(state == _state(at)))
    # two failovers a day for a moment, each within three seconds: that is what they are for
    failover = float(at % 720 == 300 or at == AWAY.start)
    made.count("datasource_router_failover_total", failover)
    made.count("datasource_router_recovery_time_seconds_sum", 3 * failover)
    made.count("datasource_router_recovery_time_seconds_count", failover)


def _quality(made: Week, at: int, session: str, messages: float) -> None:
    bad = 0.25 if at in GARBAGE else made.noise(0.002, 0.015)
    made.count('datasource_router_messages_processed_total{source="alpaca"}', messages)
    made.count(
        'datasource_router_validation_failures_total{reason="invalid_price"}', messages * bad
    )
    is_open = session == "regular"
    differ = made.noise(0, 2) * made.step if is_open else 0.0
    for result, count in (
        ("inconsistent", int(differ)),
        ("consistent", 30 * made.step - int(differ)),
    ):
        made.count(
            f'datasource_router_price_comparisons_total{{result="{result}"}}',
            float(count if is_open else 0),
        )
    for number in range(8):  # some always differ: a split that one source does not know of
        made.gauge(f'datasource_router_price_delta_percent{{symbol="S{number}"}}', 9)


def _latency(made: Week, count: float) -> None:
    late = count * made.noise(0.005, 0.03)
    of = '{job="alpaca-hub", instance="hub", source="alpaca"'
    for bound in E2E:
        beyond = {0.5: 4 * late, 1: 2 * late, 2: late, 3: late / 2}.get(bound, 0.0)
        made.count(
            f'alpaca_message_latency_seconds_bucket{of}, le="{float(bound)}"}}', count - beyond
        )
    made.count(f'alpaca_message_latency_seconds_bucket{of}, le="+Inf"}}', count)
    made.count(f"alpaca_message_latency_seconds_count{of}}}", count)
    made.count('alpaca_websocket_to_signalr_seconds_bucket{le="0.1"}', count - late)
    made.count("alpaca_websocket_to_signalr_seconds_count", count)


def _flow(made: Week, at: int, messages: float) -> None:
    for group in GROUPS:
        of = f'{{group="{group}", topic="ticks.valid"}}'
        made.gauge(
            f"pipeline_consumer_lag_seconds{of}", round(made.noise(0, 4.5), 1) if messages else 0
        )
        made.gauge(
            f"pipeline_consumer_lag_records{of}", round(made.noise(0, 900)) if messages else 0
        )
        for result, count in (("ok", messages), ("error", 0.0), ("dead_letter", 0.0)):
            made.count(
                f'pipeline_records_processed_total{{stage="{group}", result="{result}"}}', count
            )
    made.gauge('pipeline_sink_pending_records{sink="clickhouse"}', 10 if messages else 0)
    made.gauge('pipeline_sink_last_success_timestamp_seconds{sink="clickhouse"}', at * 60.0)


def metrics(timelines: dict[str, str]) -> Iterator[str]:
    """Return which metrics the week tells of."""
    names = {series.partition("{")[0] for series in timelines}
    declared = {metric.name for metric in CATALOGUE}
    for name in names:
        for suffix in ("_bucket", "_count", "_sum", ""):
            if name.removesuffix(suffix) in declared:
                yield name.removesuffix(suffix)
