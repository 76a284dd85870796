"""Reliability: do we keep what we promise?"""

from infra.grafana.board import Board, Panel, Prom, Sql, bound, falling, objective, rising
from infra.slo.levels import BOUNDS, LEVELS

_A1 = '{sloth_slo="service-availability"}'
_BUDGET = "slo:period_error_budget_remaining:ratio"
#: Below this share of the budget, reliability goes before features.
_RELIABILITY_FIRST = 0.4

BOARD = Board(
    name="reliability",
    title="twinfeed / Reliability",
    description="Do we keep what we promise, and what broke it? For engineers and their managers.",
    refresh="1m",
    since="now-30d",
    panels=(
        Panel(
            title="Availability, 30 days",
            description="The share of the last thirty days in which prices were routed, from"
            " whichever source. Green is the service level.",
            kind="stat",
            unit="percent",
            asks=(Prom("datasource_router_uptime_percent", instant=True),),
            width=4,
            steps=falling(objective("service-availability")),
            alerts=("AlpacaServiceAvailabilityBurn",),
        ),
        Panel(
            title="Error budget left",
            description="Of the availability's budget of thirty days. Below 40 % reliability goes"
            " first, below 20 % features stop, at 0 there is a postmortem.",
            kind="stat",
            unit="percentunit",
            asks=(Prom(f"max({_BUDGET}{_A1})", instant=True),),
            width=4,
            steps=falling(_RELIABILITY_FIRST, bound("AlpacaSLOErrorBudgetLow")),
            alerts=("AlpacaSLOErrorBudgetLow",),
        ),
        Panel(
            title="Failovers, 24 hours",
            description="How often prices had to be taken from Yahoo within a day; five may be.",
            kind="stat",
            unit="short",
            asks=(Prom("round(datasource_router:failovers:increase1d)", instant=True),),
            width=4,
            steps=rising(
                bound("AlpacaFailoverDailyBudgetExceeded"), bound("AlpacaFailoverDailyCritical")
            ),
            alerts=(
                "AlpacaFailoverFrequencyHigh",
                "AlpacaFailoverDailyBudgetExceeded",
                "AlpacaFailoverDailyCritical",
            ),
        ),
        Panel(
            title="Mean time to recovery",
            description="From the detection of a failure to Yahoo's prices going out, on average of"
            " thirty days. Empty without a failover.",
            kind="stat",
            unit="s",
            asks=(Prom("datasource_router:recovery_time_seconds:mean30d", instant=True),),
            width=4,
            steps=rising(BOUNDS[0].stretch, bound("AlpacaFailoverRecoverySLOBreached")),
            alerts=("AlpacaFailoverRecoverySlow", "AlpacaFailoverRecoverySLOBreached"),
        ),
        Panel(
            title="Service levels met",
            description=f"Of the {len(LEVELS)} that have an error budget, how many have some left;"
            " a level without data is not met.",
            kind="stat",
            unit="short",
            asks=(Prom(f"count({_BUDGET} >= 0) or vector(0)", instant=True),),
            width=4,
            steps=falling(len(LEVELS), len(LEVELS) - 1),
            alerts=("AlpacaSLOErrorBudgetLow",),
        ),
        Panel(
            title="Sources agree",
            description="Of the last hour's prices of both sources of the same moment, those that"
            " agree within 5 %; while the market is open.",
            kind="stat",
            unit="percentunit",
            asks=(
                Prom(
                    '1 - max(slo:sli_error:ratio_rate1h{sloth_slo="cross-source-consistency"})',
                    instant=True,
                ),
            ),
            width=4,
            steps=falling(objective("cross-source-consistency") / 100),
            alerts=("AlpacaPriceDiscrepancyHigh", "AlpacaConsistencyBurn"),
        ),
        Panel(
            title="Availability trend",
            description="The share of each day in which there were prices, of the time that the"
            " router was up.",
            kind="timeseries",
            unit="percent",
            asks=(
                Sql(
                    "SELECT toDateTime(day, 'UTC') AS time, availability_percent AS availability\n"
                    "FROM availability_1d\n"
                    "WHERE {days}\n"
                    "ORDER BY time"
                ),
            ),
            width=12,
            height=8,
            steps=falling(objective("service-availability")),
            alerts=("AlpacaServiceAvailabilityBurn",),
        ),
        Panel(
            title="Error budgets",
            description="What is left of each service level's budget.",
            kind="timeseries",
            unit="percentunit",
            asks=(Prom(f"max by (sloth_slo) ({_BUDGET})", "{{sloth_slo}}"),),
            width=12,
            height=8,
            steps=falling(_RELIABILITY_FIRST, bound("AlpacaSLOErrorBudgetLow")),
            alerts=("AlpacaSLOErrorBudgetLow",),
        ),
        Panel(
            title="Failover timeline",
            description="When Alpaca's prices were no longer routed, why, how soon Yahoo's were,"
            " how long it lasted, and what of it users saw.",
            services=("route", "alpaca", "yahoo"),
            kind="table",
            unit="none",
            asks=(
                Sql(
                    "SELECT started_at AS `when`, reason AS trigger, by AS decided_by,\n"
                    "       recovery_seconds AS recovery, duration_seconds AS duration,\n"
                    "       unavailable_seconds AS without_prices, delayed_prices,\n"
                    "       delayed_symbols, detail\n"
                    "FROM failovers\n"
                    "WHERE $__timeFilter(started_at)\n"
                    "ORDER BY started_at DESC\n"
                    "LIMIT 100"
                ),
            ),
            width=24,
            height=8,
            units={
                "when": "dateTimeAsIso",
                "recovery": "s",
                "duration": "s",
                "without_prices": "s",
                "delayed_prices": "short",
                "delayed_symbols": "short",
            },
            alerts=("AlpacaFailoverFrequencyHigh",),
        ),
        Panel(
            title="Errors by type",
            description="Errors in Alpaca's processing, by the hour.",
            services=("alpaca",),
            kind="timeseries",
            unit="short",
            asks=(Prom("sum by (type) (increase(alpaca_errors_total[1h]))", "{{type}}"),),
            width=8,
            height=8,
            alerts=("AlpacaErrorRateElevated",),
        ),
        Panel(
            title="Reconnections by reason",
            description="How often the stream from Alpaca was made anew, by the hour.",
            services=("alpaca",),
            kind="timeseries",
            unit="short",
            asks=(Prom("sum by (reason) (increase(alpaca_reconnection_total[1h]))", "{{reason}}"),),
            width=8,
            height=8,
            steps=rising(bound("AlpacaConnectionFlapping")),
            alerts=("AlpacaConnectionFlapping",),
        ),
        Panel(
            title="Circuit breaker by symbol",
            description="How often a stock's price was not believed because it had moved too far,"
            " and how many ticks were rejected until the breaker closed.",
            services=("validate",),
            kind="table",
            unit="short",
            asks=(
                Sql(
                    "SELECT symbol, countIf(event = 'breaker_opened') AS opened,\n"
                    "       sumIf(rejected, event = 'breaker_closed') AS rejected,\n"
                    "       max(at) AS last\n"
                    "FROM symbol_breakers FINAL\n"
                    "WHERE $__timeFilter(at)\n"
                    "GROUP BY symbol\n"
                    "ORDER BY opened DESC\n"
                    "LIMIT 50"
                ),
            ),
            width=8,
            height=8,
            units={"last": "dateTimeAsIso"},
        ),
    ),
)
