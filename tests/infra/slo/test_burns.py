"""Budgets burn as fast as the tables of service levels say, and no faster."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import pytest

from infra.prometheus.rules import files
from infra.slo.levels import LEVELS
from infra.slo.rules import seconds
from infra.stack.toolchain import Monitoring
from tests.infra.prometheus.promtool import Case, Clock, needed, play

STATE = 'datasource_router_state{state="PRIMARY_ACTIVE"}'
CONNECTED = 'alpaca_connection_status{state="Connected"}'
AUTHENTICATED = "alpaca_authentication_status"
PROCESSED = 'datasource_router_messages_processed_total{source="alpaca"}'
COMPARED = "datasource_router_price_comparisons_total"


@dataclass(frozen=True, slots=True)
class Burning:
    """A row of the tables of service levels, written down by hand."""

    alert: str
    id: str
    severity: str
    long: str
    short: str
    threshold: float

    @property
    def selector(self) -> str:
        """What selects its series."""
        return (
            f'alertname="{self.alert}", alert_id="{self.id}", severity="{self.severity}", slo!=""'
        )


TIME = (
    Burning("AlpacaServiceAvailabilityBurn", "A1-burn1", "critical", "1h", "5m", 0.072),
    Burning("AlpacaServiceAvailabilityBurn", "A1-burn2", "high", "6h", "30m", 0.03),
    Burning("AlpacaServiceAvailabilityBurn", "A1-burn3", "medium", "1d", "2h", 0.015),
    Burning("AlpacaServiceAvailabilityBurn", "A1-burn4", "low", "3d", "6h", 0.005),
    Burning("AlpacaUptimeBurn", "A2-burn1", "high", "1h", "5m", 0.2688),
    Burning("AlpacaUptimeBurn", "A2-burn2", "medium", "6h", "30m", 0.07),
    Burning("AlpacaUptimeBurn", "A2-burn3", "low", "1d", "2h", 0.028),
    Burning("AlpacaUptimeBurn", "A2-burn4", "low", "3d", "6h", 0.0196),
)
EVENTS = (
    Burning("AlpacaEndToEndLatencyBurn", "L1-burn1", "high", "1h", "5m", 0.24),
    Burning("AlpacaEndToEndLatencyBurn", "L1-burn2", "medium", "6h", "30m", 0.1),
    Burning("AlpacaEndToEndLatencyBurn", "L1-burn3", "low", "1d", "2h", 0.05),
    Burning("AlpacaPipelineLatencyBurn", "L2-burn1", "medium", "1h", "5m", 0.24),
    Burning("AlpacaPipelineLatencyBurn", "L2-burn2", "medium", "6h", "30m", 0.1),
    Burning("AlpacaPipelineLatencyBurn", "L2-burn3", "low", "1d", "2h", 0.05),
    Burning("AlpacaValidationBurn", "Q1-burn1", "high", "1h", "5m", 0.048),
    Burning("AlpacaValidationBurn", "Q1-burn2", "medium", "6h", "30m", 0.02),
    Burning("AlpacaValidationBurn", "Q1-burn3", "low", "1d", "2h", 0.01),
    Burning("AlpacaConsistencyBurn", "Q2-burn1", "medium", "15m", "5m", 0.1),
    Burning("AlpacaConsistencyBurn", "Q2-burn2", "low", "1h", "15m", 0.05),
)
#: Of so many events a second.
EVENTS_A_SECOND = 10
Timeline = tuple[tuple[float, float], ...]


def _clock(burning: Burning) -> Clock:
    """As coarse as the short window allows, and so that a sample is never five minutes old."""
    return Clock(min(240, max(15, seconds(burning.short) // 20)))


def _lasting(burning: Burning, step: float) -> float:
    """Return how many minutes it has to last, in whole steps: what burns slowly has time."""
    return ceil((15 if burning.severity == "low" else 0) / step + 1) * step


def _outage(burning: Burning, share: float) -> Case:
    """A level of time: healthy for the long window, down for `share` of what fires, and well."""
    clock = _clock(burning)
    long, short = seconds(burning.long) / 60, seconds(burning.short) / 60
    step = clock.step / 60
    down = round(share * burning.threshold * long / step) * step
    assert (down > burning.threshold * long) == (share > 1)
    states = clock.level((1, long), (0, down), (1, 2 * short))
    after = long + down + _lasting(burning, step)
    over = long + down + short + 3 * step
    series = (
        {STATE: states}
        if "Availability" in burning.alert
        else {CONNECTED: states, AUTHENTICATED: clock.level((1, long + down + 2 * short))}
    )
    fires = (after,) if share > 1 else ()
    return Case(
        name=f"{burning.id}: down for {down:g} min",
        series=series,
        alert=burning.selector,
        fires=fires,
        silent=(long, over) if fires else (long, after - step, after, over),
        clock=clock,
    )


def _bad(burning: Burning, share: float) -> Case:
    """A level of events: so many of them are bad for the long window; then none is."""
    clock = _clock(burning)
    long, short = seconds(burning.long) / 60, seconds(burning.short) / 60
    rate = EVENTS_A_SECOND * share * burning.threshold
    long += _lasting(burning, clock.step / 60)
    all_the_time = long + 2 * short
    bad = clock.counter((rate, long), (0, 2 * short))
    good = clock.counter((EVENTS_A_SECOND - rate, long), (EVENTS_A_SECOND, 2 * short))
    total = clock.counter((EVENTS_A_SECOND, all_the_time))
    series = {
        "L1": {
            'alpaca_message_latency_seconds_bucket{source="alpaca", le="2.0"}': good,
            'alpaca_message_latency_seconds_count{source="alpaca"}': total,
        },
        "L2": {
            'alpaca_websocket_to_signalr_seconds_bucket{le="0.1"}': good,
            "alpaca_websocket_to_signalr_seconds_count": total,
        },
        "Q1": {
            'datasource_router_validation_failures_total{reason="malformed"}': bad,
            PROCESSED: total,
        },
        "Q2": {
            f'{COMPARED}{{result="inconsistent"}}': bad,
            f'{COMPARED}{{result="consistent"}}': good,
            'market_session_open{market="XNYS"}': clock.level((1, all_the_time)),
        },
    }[burning.id[:2]]
    return Case(
        name=f"{burning.id}: {rate / EVENTS_A_SECOND:.2%} are bad",
        series=series,
        alert=burning.selector,
        fires=(long,) if share > 1 else (),
        silent=(long + 1.5 * short,) if share > 1 else (long / 2, long, long + 1.5 * short),
        clock=clock,
    )


def _cases() -> Iterator[Case]:
    for burnings, make in ((TIME, _outage), (EVENTS, _bad)):
        of: Callable[[Burning, float], Case] = make
        for burning in burnings:
            # the budget of one minute's steps is coarse: far enough off to be clear, near enough
            yield of(burning, 1.25)
            yield of(burning, 0.75)


@pytest.mark.service
def test_every_budget_burns_as_told(monitoring: Monitoring, tmp_path: Path) -> None:
    """A quarter more than it takes fires, a quarter less does not; and it ends with its cause."""
    assert play(monitoring.promtool, tmp_path, _cases()) == ""


def test_every_burn_is_tested() -> None:
    """The table here and the specification have the same alerts, windows and severities."""
    told = {(b.alert, b.id, b.severity, b.long, b.short, b.threshold) for b in (*TIME, *EVENTS)}
    specified = {
        (
            level.alert,
            f"{level.id}-burn{number}",
            burn.severity,
            burn.long,
            burn.short,
            round(burn.factor * level.budget, 9),
        )
        for level in LEVELS
        for number, burn in enumerate(level.burns, 1)
    }
    assert told == specified


CLOCK = Clock(60)
QUIET_LEVEL = 'alertname="AlpacaServiceAvailabilityBurn"'


@pytest.mark.service
def test_an_hour_old_budget_is_not_spent_by_a_minute(
    monitoring: Monitoring, tmp_path: Path
) -> None:
    """Bad seconds count against the whole window's, not against the little that was observed."""
    case = Case(
        name="two minutes down in the first five",
        series={STATE: CLOCK.level((1, 3), (0, 2), (1, 60))},
        alert=QUIET_LEVEL,
        silent=(4, 5, 6, 10, 60),
        clock=CLOCK,
    )
    assert play(monitoring.promtool, tmp_path, [case]) == ""


@pytest.mark.service
@pytest.mark.parametrize(
    ("minute", "left"),
    [(1, 1.0), (6, 0.99), (60, 0.99)],  # two of 216 minutes are nearly a hundredth
)
def test_a_budget_is_known_from_the_first_minute(
    monitoring: Monitoring, tmp_path: Path, minute: int, left: float
) -> None:
    """And what was lost in the first hour is what it will be at the month's end."""
    name = 'slo:period_error_budget_remaining:ratio{sloth_slo="service-availability"}'
    expr = f"round({name}, 0.01)"
    groups = [group for group in files()["slo.yml"]["groups"] if "availability" in group["name"]]
    recorded = [r for r in needed("A1-burn1") if r.get("record") == "alpaca:service_available:bool"]
    rules = {"groups": [{"name": "recording", "rules": recorded}, *groups]}
    (tmp_path / "rules.json").write_text(json.dumps(rules))
    level = "service-availability"
    told = (
        f'sloth_id="twinfeed-{level}", sloth_service="twinfeed", sloth_slo="{level}",'
        ' sloth_window="30d"'
    )
    test = {
        "rule_files": ["rules.json"],
        "evaluation_interval": "15s",
        "tests": [
            {
                "interval": "15s",
                "input_series": [
                    {"series": STATE, "values": Clock(15).level((1, 2), (0, 2), (1, 60))}
                ],
                "promql_expr_test": [
                    {
                        "expr": expr,
                        "eval_time": f"{minute}m",
                        "exp_samples": [{"labels": f"{{{told}}}", "value": left}],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.json").write_text(json.dumps(test))
    done = subprocess.run(
        [monitoring.promtool, "test", "rules", tmp_path / "test.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.service
@pytest.mark.parametrize(
    ("ticks", "session", "compared"),
    [(1.5, 0, 0.0), (0.0, 1, 0.0), (0.0, 1, 0.005), (0.0, 0, 1.0)],
)
def test_too_few_events_say_nothing(
    monitoring: Monitoring, tmp_path: Path, ticks: float, session: int, compared: float
) -> None:
    """All of next to nothing, no traffic at all, a few pairs, and pairs outside of the session."""
    rejected = 'datasource_router_validation_failures_total{reason="malformed"}'
    series = {
        rejected: CLOCK.counter((ticks / 60, 120)),
        PROCESSED: CLOCK.counter((ticks / 60, 120)),
        f'{COMPARED}{{result="inconsistent"}}': CLOCK.counter((compared, 120)),
        'market_session_open{market="XNYS"}': CLOCK.level((session, 120)),
    }
    cases = [
        Case(name=name, series=series, alert=f'alertname="{name}"', silent=(30, 60), clock=CLOCK)
        for name in ("AlpacaValidationBurn", "AlpacaConsistencyBurn")
    ]
    assert play(monitoring.promtool, tmp_path, cases) == ""
