"""Every alert: when it fires, what is a near miss, and when it is over.

Written from the alerts' meaning, minute by minute; a case does not know how a rule is written.
"""

from collections.abc import Callable, Mapping

from tests.infra.prometheus.promtool import CLOCK, Case, Clock

level, counter, steps = CLOCK.level, CLOCK.counter, CLOCK.steps

#: For what takes more than a day.
COARSE = Clock(step=300)

CONNECTED = 'alpaca_connection_status{state="Connected"}'
ENABLED = "alpaca_streaming_enabled"
OPEN = 'market_session_open{market="XNYS"}'
BOTH_DOWN = 'datasource_router_state{state="BOTH_UNAVAILABLE"}'
FAILURES = 'datasource_router_validation_failures_total{reason="invalid_price"}'
PROCESSED = 'datasource_router_messages_processed_total{source="alpaca"}'
TRADES = 'alpaca_messages_received_total{type="trade"}'
FAILOVERS = "datasource_router_failover_total"
RECONNECTED = 'alpaca_reconnection_total{reason="closed"}'
RECOVERY = "datasource_router_recovery_time_seconds"
LATENCY = "alpaca_message_latency_seconds"
RECEIPT = "pipeline_receipt_age_seconds"
ON_YAHOO = 'datasource_router_state{state="FALLBACK_ACTIVE"}'
LAG = 'pipeline_consumer_lag_seconds{group="forward", topic="ticks.valid"}'
WAITING = 'pipeline_consumer_lag_records{group="forward", topic="ticks.valid"}'
FORWARDED = 'pipeline_records_processed_total{stage="forward", result="ok"}'
DEAD = 'pipeline_records_processed_total{stage="forward", result="dead_letter"}'
WRITTEN = 'pipeline_sink_last_success_timestamp_seconds{sink="clickhouse"}'
PENDING = 'pipeline_sink_pending_records{sink="clickhouse"}'
JOBS = ("gateway", "yahoo", "backfill", "router", "sink")
IS_OPEN = {OPEN: level((1, 60))}
UP = {f'up{{job="alpaca-{job}", instance="{job}"}}': level((1, 60)) for job in JOBS}
NEEDED = {
    "datasource_router_state": level((1, 60)),
    "alpaca_connection_status": level((1, 60)),
    f"{LATENCY}_count": level((1, 60)),
    "datasource_router_messages_processed_total": level((1, 60)),
    "datasource_router_validation_failures_total": level((1, 60)),
    "slo:period_error_budget_remaining:ratio": level((1, 60)),
}


def latency(
    lower: float, upper: float, per_second: float = 10, of_metric: str = LATENCY
) -> dict[str, str]:
    """All of Alpaca's messages took between two neighbouring bounds; from minute 5 to 20."""
    timeline, none = counter((0, 5), (per_second, 15), (0, 20)), counter((0, 40))
    of = '{source="alpaca", le="%s"}'
    return {
        f"{of_metric}_bucket{of % lower}": none,
        f"{of_metric}_bucket{of % upper}": timeline,
        f"{of_metric}_bucket{of % '+Inf'}": timeline,
        f'{of_metric}_count{{source="alpaca"}}': timeline,
    }


def deltas(symbols: int, percent: float) -> dict[str, str]:
    """So many symbols' prices differ by so much, from minute 2 to 10."""
    return {
        f'datasource_router_price_delta_percent{{symbol="S{n}"}}': level(
            (0.1, 2), (percent, 8), (0.1, 20)
        )
        for n in range(symbols)
    }


def jumps(metric: str, times: int, every: float = 2) -> dict[str, str]:
    """A counter that is there from birth jumps by one, from minute 5 on; then nothing for a day."""
    return {metric: steps((0, 5), *((1, every) for _ in range(times)), (0, 100))}


def burst(metric: str, times: int) -> dict[str, str]:
    """Jumps of one, five minutes apart, from minute 5 on; then nothing until the day is over."""
    return {metric: COARSE.steps((0, 5), *((1, 5) for _ in range(times)), (0, 1560))}


def case(
    id_: str,
    alert: str,
    *parts: Mapping[str, str],
    fires: tuple[float, ...] = (),
    silent: tuple[float, ...] = (),
    clock: Clock = CLOCK,
) -> Case:
    """Make a case of the alert."""
    return Case(
        name=id_,
        series={name: values for part in parts for name, values in part.items()},
        alert=f'alertname="{alert}"',
        fires=fires,
        silent=silent,
        clock=clock,
    )


Told = Callable[..., Case]
CASES: tuple[Case, ...] = (
    case(
        "C1: both are down for three minutes",
        "AlpacaBothSourcesUnavailable",
        {BOTH_DOWN: level((0, 5), (1, 3), (0, 10))},
        fires=(6.25, 7.75, 9.5),
        silent=(5.5, 10.5),
    ),
    case(
        "C1 near miss: for 45 seconds",
        "AlpacaBothSourcesUnavailable",
        {BOTH_DOWN: level((0, 5), (1, 0.75), (0, 10))},
        silent=(5.5, 6, 7, 10),
    ),
    case(
        "C2: one in twenty takes more than ten seconds",
        "AlpacaExtremeLatency",
        latency(10, 15),
        fires=(12, 20, 24),
        silent=(5, 9, 33),
    ),
    case(
        "C2: as late, while Yahoo is routed and nothing of Alpaca's is sent",
        "AlpacaExtremeLatency",
        {**latency(10, 15, of_metric=RECEIPT), ON_YAHOO: level((1, 40))},
        fires=(12, 20, 24),
        silent=(5, 9, 33),
    ),
    case(
        "C2 near miss: received late while Alpaca is routed, where the hub's own time counts",
        "AlpacaExtremeLatency",
        {**latency(10, 15, of_metric=RECEIPT), **latency(1, 1.5), ON_YAHOO: level((0, 40))},
        silent=(12, 20),
    ),
    case(
        "C2 near miss: just under ten seconds",
        "AlpacaExtremeLatency",
        latency(7.5, 10),
        silent=(12, 20),
    ),
    case(
        "C2 near miss: slow, and too few to say",
        "AlpacaExtremeLatency",
        latency(10, 15, per_second=1 / 20),
        silent=(12, 20),
    ),
    case(
        "H2: more than five seconds",
        "AlpacaHighLatency",
        latency(7.5, 10),
        fires=(12, 20),
        silent=(9, 33),
    ),
    case(
        "H2: received as late, while Yahoo is routed",
        "AlpacaHighLatency",
        {**latency(7.5, 10, of_metric=RECEIPT), ON_YAHOO: level((1, 40))},
        fires=(12, 20),
        silent=(9, 33),
    ),
    case(
        "H2 near miss: just under five seconds", "AlpacaHighLatency", latency(3, 5), silent=(12, 20)
    ),
    case(
        "C3: nine tenths of its memory",
        "AlpacaMemoryCritical",
        {
            'process_resident_memory_bytes{job="alpaca-router", instance="route"}': level(
                (80, 5), (91, 8), (80, 10)
            ),
            'process_memory_limit_bytes{job="alpaca-router", instance="route"}': level((100, 23)),
        },
        fires=(10.5, 13, 17),
        silent=(9.5, 18.5),
    ),
    case(
        "C3 near miss: another's limit, and just under its own",
        "AlpacaMemoryCritical",
        {
            'process_resident_memory_bytes{job="alpaca-router", instance="route"}': level((89, 23)),
            'process_memory_limit_bytes{job="alpaca-router", instance="route"}': level((100, 23)),
            'process_resident_memory_bytes{job="alpaca-hub", instance="hub"}': level((500, 23)),
            'process_resident_memory_bytes{job="other", instance="x"}': level((99, 23)),
            'process_memory_limit_bytes{job="other", instance="x"}': level((100, 23)),
        },
        silent=(6, 10, 20),
    ),
    case(
        "C4: refused five times",
        "AlpacaAuthFailure",
        {"alpaca_consecutive_auth_failures": level((0, 2), (4, 1), (5, 3), (0, 10))},
        fires=(3, 5.75, 10),
        silent=(2.75, 11.5),
    ),
    case(
        "C4 near miss: four times",
        "AlpacaAuthFailure",
        {"alpaca_consecutive_auth_failures": level((4, 10))},
        silent=(5, 9),
    ),
    case(
        "H1: disconnected for two minutes",
        "AlpacaDisconnected",
        {CONNECTED: level((1, 5), (0, 2), (1, 10)), ENABLED: level((1, 17))},
        fires=(6.25, 8.5),
        silent=(5.75, 9.5),
    ),
    case(
        "H1 near miss: for 45 seconds",
        "AlpacaDisconnected",
        {CONNECTED: level((1, 5), (0, 0.75), (1, 10)), ENABLED: level((1, 15))},
        silent=(5.5, 6, 7),
    ),
    case(
        "H1 near miss: it is switched off",
        "AlpacaDisconnected",
        {CONNECTED: level((0, 10)), ENABLED: level((0, 10))},
        silent=(5, 9),
    ),
    case(
        "H1x: disconnected for twelve minutes of open market",
        "AlpacaDisconnectedProlonged",
        {CONNECTED: level((1, 2), (0, 12), (1, 10)), ENABLED: level((1, 24)), **IS_OPEN},
        fires=(12.25, 18),
        silent=(11.75, 19.5),
    ),
    case(
        "H1x near miss: at night",
        "AlpacaDisconnectedProlonged",
        {CONNECTED: level((0, 30)), ENABLED: level((1, 30)), OPEN: level((0, 30))},
        silent=(12, 29),
    ),
    case(
        "H3: six of a hundred ticks are rejected",
        "AlpacaValidationFailureHigh",
        {
            FAILURES: counter((0, 5), (0.6, 5), (0, 10)),
            PROCESSED: counter((10, 20)),
        },
        fires=(8.5, 10),
        silent=(5, 6, 14),
    ),
    case(
        "H3 near miss: four of a hundred",
        "AlpacaValidationFailureHigh",
        {FAILURES: counter((0.4, 20)), PROCESSED: counter((10, 20))},
        silent=(5, 15),
    ),
    case(
        "H3 near miss: half of next to nothing",
        "AlpacaValidationFailureHigh",
        {FAILURES: counter((0.06, 20)), PROCESSED: counter((0.12, 20))},
        silent=(5, 15),
    ),
    case(
        "M1: four failovers within the hour",
        "AlpacaFailoverFrequencyHigh",
        jumps(FAILOVERS, 4),
        fires=(12, 60, 75),
        silent=(10.75, 82),
    ),
    case(
        "M1 near miss: three, which increase() makes 3.1 of",
        "AlpacaFailoverFrequencyHigh",
        jumps(FAILOVERS, 3),
        silent=(12, 30, 60),
    ),
    case(
        "M2: two of a hundred messages end in an error",
        "AlpacaErrorRateElevated",
        {
            'alpaca_errors_total{type="parse"}': counter((0, 5), (0.2, 12), (0, 20)),
            TRADES: counter((10, 37)),
        },
        fires=(14, 17),
        silent=(5, 10, 28),
    ),
    case(
        "M2 near miss: what went wrong was the connection",
        "AlpacaErrorRateElevated",
        {'alpaca_errors_total{type="connection"}': counter((5, 20)), TRADES: counter((10, 20))},
        silent=(12, 19),
    ),
    case(
        "M2 near miss: too few messages to say",
        "AlpacaErrorRateElevated",
        {'alpaca_errors_total{type="parse"}': counter((0.1, 20)), TRADES: counter((0.3, 20))},
        silent=(12, 19),
    ),
    case(
        "M3: eleven symbols differ",
        "AlpacaPriceDiscrepancyHigh",
        deltas(11, 5.1),
        IS_OPEN,
        fires=(7.5, 14),
        silent=(6.75, 15.5),
    ),
    case(
        "M3 near miss: ten symbols",
        "AlpacaPriceDiscrepancyHigh",
        deltas(10, 9),
        IS_OPEN,
        silent=(7.5, 10),
    ),
    case(
        "M3 near miss: after hours",
        "AlpacaPriceDiscrepancyHigh",
        deltas(11, 9),
        {OPEN: level((0, 40))},
        silent=(7.5, 10),
    ),
    case(
        "L1: a tenth of the budget is left",
        "AlpacaSLOErrorBudgetLow",
        {
            'slo:period_error_budget_remaining:ratio{sloth_slo="x"}': level(
                (0.5, 5), (0.1, 90), (0.5, 90)
            )
        },
        fires=(66, 150),
        silent=(64, 156),
    ),
    case(
        "L1 near miss: a fifth; and the level that has no month to lose",
        "AlpacaSLOErrorBudgetLow",
        {
            'slo:period_error_budget_remaining:ratio{sloth_slo="x"}': level((0.2, 90)),
            'slo:period_error_budget_remaining:ratio{sloth_slo="cross-source-consistency"}': level(
                (-5, 90)
            ),
        },
        silent=(66, 89),
    ),
    case(
        "L2: six reconnections within the hour",
        "AlpacaConnectionFlapping",
        jumps(RECONNECTED, 6),
        fires=(26, 60, 90),
        silent=(24, 102),
    ),
    case(
        "L2 near miss: five",
        "AlpacaConnectionFlapping",
        jumps(RECONNECTED, 5),
        silent=(26, 60),
    ),
    case(
        "I1: connected again",
        "AlpacaConnectionRecovered",
        {
            CONNECTED: level((1, 6), (0, 2), (1, 10)),
            "alpaca_authentication_status": level((1, 6), (0, 2), (1, 10)),
        },
        fires=(8.25, 12),
        silent=(5, 7, 13.5),
    ),
    case(
        "I1 near miss: connected, and not yet authenticated",
        "AlpacaConnectionRecovered",
        {CONNECTED: level((0, 2), (1, 10)), "alpaca_authentication_status": level((0, 12))},
        silent=(2.25, 5, 11),
    ),
    case(
        "I2: the router changed its state",
        "AlpacaRouterStateChange",
        {
            'datasource_router_transitions_total{from="PRIMARY_ACTIVE", to="FALLBACK_ACTIVE",'
            ' reason="timeout"}': steps((0, 5), (1, 20))
        },
        fires=(5.25, 6.5),
        silent=(4.75, 7.5),
    ),
    case(
        "I2 near miss: the first time that it is seen, it has changed before",
        "AlpacaRouterStateChange",
        {
            'datasource_router_transitions_total{from="PRIMARY_ACTIVE", to="FALLBACK_ACTIVE",'
            ' reason="timeout"}': level((None, 5), (3, 20))
        },
        silent=(5.25, 6.5),
    ),
    case(
        "I3: symbols were added",
        "AlpacaSymbolSubscriptionChanged",
        {'alpaca_subscription_changes_total{action="added"}': steps((0, 5), (3, 20))},
        fires=(5.25, 9),
        silent=(4.75, 11),
    ),
    case(
        "I3 near miss: none was",
        "AlpacaSymbolSubscriptionChanged",
        {'alpaca_subscription_changes_total{action="added"}': level((30, 20))},
        silent=(5, 15),
    ),
    case(
        "R1: a failover took sixteen seconds",
        "AlpacaFailoverRecoverySlow",
        {f"{RECOVERY}_sum": steps((0, 5), (16, 100)), f"{RECOVERY}_count": steps((0, 5), (1, 100))},
        fires=(6, 60, 90),
        silent=(4, 97),
    ),
    case(
        "R1 near miss: fourteen",
        "AlpacaFailoverRecoverySlow",
        {f"{RECOVERY}_sum": steps((0, 5), (14, 100)), f"{RECOVERY}_count": steps((0, 5), (1, 100))},
        silent=(6, 60),
    ),
    case(
        "R1b: eleven on average",
        "AlpacaFailoverRecoverySLOBreached",
        {
            f"{RECOVERY}_sum": steps((0, 5), (11, 40), (1, 100)),
            f"{RECOVERY}_count": steps((0, 5), (1, 40), (1, 100)),
        },
        fires=(21, 44, 100),
        silent=(19, 107),
    ),
    case(
        "R1b near miss: nine",
        "AlpacaFailoverRecoverySLOBreached",
        {f"{RECOVERY}_sum": steps((0, 5), (9, 100)), f"{RECOVERY}_count": steps((0, 5), (1, 100))},
        silent=(21, 44),
    ),
    case(
        "R2: six failovers within the day",
        "AlpacaFailoverDailyBudgetExceeded",
        jumps(FAILOVERS, 6, every=10),
        fires=(56, 100),
        silent=(54,),
    ),
    case(
        "R2: an hour after the first of the six is a day old, it is over",
        "AlpacaFailoverDailyBudgetExceeded",
        burst(FAILOVERS, 6),
        fires=(35, 1430, 1490),
        silent=(25, 1515),
        clock=COARSE,
    ),
    case(
        "R2 near miss: five",
        "AlpacaFailoverDailyBudgetExceeded",
        jumps(FAILOVERS, 5, every=10),
        silent=(56, 100),
    ),
    case(
        "R2b: eleven",
        "AlpacaFailoverDailyCritical",
        jumps(FAILOVERS, 11, every=5),
        fires=(56, 100),
        silent=(54,),
    ),
    case(
        "R2b: an hour after the first of the eleven is a day old, it is over",
        "AlpacaFailoverDailyCritical",
        burst(FAILOVERS, 11),
        fires=(60, 1430, 1490),
        silent=(50, 1515),
        clock=COARSE,
    ),
    case(
        "R2b near miss: ten",
        "AlpacaFailoverDailyCritical",
        jumps(FAILOVERS, 10, every=5),
        silent=(56, 100),
    ),
    case(
        "P1: six seconds behind",
        "PipelineConsumerLagHigh",
        {LAG: level((0, 5), (6, 4), (0, 10))},
        fires=(7.25, 10.5),
        silent=(6.75, 11.5),
    ),
    case("P1 near miss: five", "PipelineConsumerLagHigh", {LAG: level((5, 20))}, silent=(8, 15)),
    case(
        "P2: it does nothing, and there is something to do",
        "PipelineConsumerStuck",
        {
            WAITING: level((0, 5), (100, 8), (0, 10)),
            FORWARDED: counter((10, 5), (0, 8), (10, 10)),
            DEAD: counter((0, 23)),
        },
        fires=(9.5, 13.5),
        silent=(8.5, 14.5),
    ),
    case(
        "P2 near miss: slow, but it works",
        "PipelineConsumerStuck",
        {WAITING: level((100, 20)), FORWARDED: counter((0.1, 20)), DEAD: counter((0, 20))},
        silent=(10, 19),
    ),
    case(
        "P2 near miss: at night there is nothing to do",
        "PipelineConsumerStuck",
        {WAITING: level((0, 20)), FORWARDED: counter((0, 20)), DEAD: counter((0, 20))},
        silent=(10, 19),
    ),
    case(
        "P3: nothing was written for three minutes",
        "PipelineSinkStalled",
        {
            WRITTEN: level((240, 8.25), (480, 20)),
            PENDING: level((0, 5), (10, 3.25), (0, 20)),
        },
        fires=(7.25, 10),
        silent=(6.75, 10.5),
    ),
    case(
        "P3 near miss: there was nothing to write",
        "PipelineSinkStalled",
        {WRITTEN: level((240, 20)), PENDING: level((0, 20))},
        silent=(8, 19),
    ),
    case(
        "P4: one was set aside",
        "PipelineDeadLetters",
        {DEAD: steps((0, 5), (1, 40))},
        fires=(5.25, 14, 24),
        silent=(4.75, 26),
    ),
    case("P4 near miss: none", "PipelineDeadLetters", {DEAD: level((3, 20))}, silent=(5, 15)),
    case("X1: always", "Watchdog", {OPEN: level((0, 10))}, fires=(0, 1, 5, 10)),
    case(
        "X2: a process does not answer",
        "AlpacaTargetDown",
        {'up{job="alpaca-sink", instance="clickhouse"}': level((1, 5), (0, 2), (1, 10))},
        fires=(6.25, 7.5),
        silent=(5.75, 8.5),
    ),
    case(
        "X2 near miss: for 45 seconds; and what is none of ours",
        "AlpacaTargetDown",
        {
            'up{job="alpaca-sink", instance="clickhouse"}': level((1, 5), (0, 0.75), (1, 10)),
            'up{job="other", instance="x"}': level((0, 10)),
        },
        silent=(5.5, 6, 7, 9),
    ),
    case(
        "X3: nobody asks the router",
        "AlpacaTargetAbsent",
        UP,
        {
            'up{job="alpaca-hub", instance="hub"}': level((1, 60)),
            'up{job="alpaca-router", instance="router"}': level((1, 5), (None, 15), (1, 10)),
        },
        fires=(13, 19),
        silent=(9, 21),
    ),
    case(
        "X3 near miss: all are asked, and one is down",
        "AlpacaTargetAbsent",
        UP,
        {
            'up{job="alpaca-hub", instance="hub"}': level((1, 60)),
            'up{job="alpaca-router", instance="router"}': level((0, 60)),
        },
        silent=(3, 30),
    ),
    case(
        "X4: the router's state is not there",
        "AlpacaMetricAbsent",
        NEEDED,
        {"datasource_router_state": level((1, 5), (None, 20), (1, 10))},
        fires=(16, 24),
        silent=(9, 14, 26),
    ),
    case("X4 near miss: all are there", "AlpacaMetricAbsent", NEEDED, silent=(6, 30)),
    *(
        case(
            f"X4: {name} is not there",
            "AlpacaMetricAbsent",
            {other: values for other, values in NEEDED.items() if other != name},
            fires=(6,),
        )
        for name in NEEDED
    ),
    case(
        "X5: in two states",
        "AlpacaRouterStateInvalid",
        {
            'datasource_router_state{state="PRIMARY_ACTIVE"}': level((1, 20)),
            'datasource_router_state{state="FALLBACK_ACTIVE"}': level((0, 5), (1, 5), (0, 10)),
        },
        fires=(6.25, 9.75),
        silent=(5.5, 10.25),
    ),
    case(
        "X5: in none, and that for long",
        "AlpacaRouterStateInvalid",
        {'datasource_router_state{state="PRIMARY_ACTIVE"}': level((0, 5), (1, 5))},
        fires=(1.25, 4),
        silent=(0.5, 6),
    ),
    case(
        "X5 near miss: it starts for 30 seconds",
        "AlpacaRouterStateInvalid",
        {'datasource_router_state{state="PRIMARY_ACTIVE"}': level((0, 0.5), (1, 5))},
        silent=(0.25, 1, 1.5, 3),
    ),
    case(
        "X6: mute for three minutes",
        "AlpacaNoMessages",
        {
            "alpaca_last_message_timestamp_seconds": level((300, 8), (480, 0.5), (520, 0.5)),
            CONNECTED: level((1, 20)),
            **IS_OPEN,
        },
        fires=(7.25, 8.75),
        silent=(6.75, 9.25),
    ),
    case(
        "X6 near miss: at night",
        "AlpacaNoMessages",
        {
            "alpaca_last_message_timestamp_seconds": level((1, 20)),
            CONNECTED: level((1, 20)),
            OPEN: level((0, 20)),
        },
        silent=(3, 15),
    ),
    case(
        "X6 near miss: disconnected, which another alert says",
        "AlpacaNoMessages",
        {
            "alpaca_last_message_timestamp_seconds": level((1, 20)),
            CONNECTED: level((0, 20)),
            **IS_OPEN,
        },
        silent=(3, 15),
    ),
    case(
        "X7: a rule fails",
        "PrometheusRuleFailures",
        {'prometheus_rule_evaluation_failures_total{rule_group="g"}': steps((0, 5), (1, 20))},
        fires=(6.25, 9),
        silent=(5.75, 11),
    ),
    case(
        "X7: a group is late",
        "PrometheusRuleFailures",
        {'prometheus_rule_group_iterations_missed_total{rule_group="g"}': steps((0, 5), (1, 20))},
        fires=(6.25, 9),
        silent=(5.75, 11),
    ),
    case(
        "X7 near miss: one did once, long ago",
        "PrometheusRuleFailures",
        {'prometheus_rule_evaluation_failures_total{rule_group="g"}': level((4, 20))},
        silent=(6, 15),
    ),
    case(
        "X8: there is no Alertmanager",
        "PrometheusNotificationsDropped",
        {"prometheus_notifications_alertmanagers_discovered": level((1, 5), (0, 3), (1, 5))},
        fires=(6.25, 7.75),
        silent=(5.75, 8.5),
    ),
    case(
        "X8: notifications are dropped",
        "PrometheusNotificationsDropped",
        {"prometheus_notifications_dropped_total": steps((0, 5), (1, 20))},
        fires=(6.25, 9),
        silent=(5.75, 11),
    ),
    case(
        "X8 near miss: one is there, and nothing was dropped",
        "PrometheusNotificationsDropped",
        {
            "prometheus_notifications_alertmanagers_discovered": level((1, 20)),
            "prometheus_notifications_dropped_total": level((2, 20)),
        },
        silent=(3, 15),
    ),
    case(
        "X8 near miss: one was dropped in the seconds after Prometheus read its files again",
        "PrometheusNotificationsDropped",
        {
            "prometheus_notifications_dropped_total": steps((0, 5), (1, 20)),
            "prometheus_config_last_reload_success_timestamp_seconds": level((0, 5), (300, 20)),
        },
        silent=(5.75, 6.25, 8, 10.25, 12),
    ),
    case(
        "X8: notifications are dropped on and on after Prometheus read its files again",
        "PrometheusNotificationsDropped",
        {
            "prometheus_notifications_dropped_total": counter((0, 5), (0.05, 20)),
            "prometheus_config_last_reload_success_timestamp_seconds": level((0, 5), (300, 20)),
        },
        silent=(5.75, 10),
        fires=(11.5, 13),
    ),
    case(
        "X9: Slack is not reached",
        "AlertmanagerNotificationsFailing",
        {
            'alertmanager_notifications_failed_total{integration="slack"}': steps((0, 5), (1, 20)),
        },
        fires=(6.25, 9, 11),
        silent=(5.75, 12.5),
    ),
    case(
        "X9 near miss: all of them arrive",
        "AlertmanagerNotificationsFailing",
        {'alertmanager_notifications_failed_total{integration="slack"}': level((2, 20))},
        silent=(3, 15),
    ),
)
