"""A simulated week has its two incidents' alerts, and nothing else."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from infra.market_calendar import load
from infra.prometheus.rules import files
from infra.slo.levels import LEVELS, TimeSli
from infra.stack.toolchain import Monitoring
from tests.infra.prometheus.week import AWAY, GARBAGE, MINUTES, week

DAY = 24 * 60
TIME_LEVELS = {level.sli.metric for level in LEVELS if isinstance(level.sli, TimeSli)}
Told = set[tuple[str, str]]

#: The first incident: Alpaca away for twenty minutes, Yahoo for eight of them.
FIRST: Told = {
    ("AlpacaDisconnected", "high"),
    ("AlpacaDisconnectedProlonged", "critical"),
    ("AlpacaBothSourcesUnavailable", "critical"),
    ("AlpacaServiceAvailabilityBurn", "critical"),
    ("AlpacaUptimeBurn", "high"),
}
#: The second: half an hour in which a quarter of the ticks was rejected.
SECOND: Told = {
    ("AlpacaValidationFailureHigh", "high"),
    ("AlpacaValidationBurn", "high"),
    ("AlpacaValidationBurn", "medium"),
    ("AlpacaValidationBurn", "low"),
    ("AlpacaSLOErrorBudgetLow", "low"),
}
#: (from, until, what is told within)
SPANS: tuple[tuple[int, int, Told], ...] = (
    (0, AWAY.start, set()),
    (AWAY.start, AWAY.stop + 120, FIRST),
    (AWAY.stop + 120, GARBAGE.start, set()),
    (GARBAGE.start, GARBAGE.stop + DAY + 120, SECOND),
    (GARBAGE.stop + DAY + 120, MINUTES - 4, set()),
)


def _test(since: int, until: int, told: Told) -> dict[str, object]:
    firing = 'ALERTS{alertstate="firing", severity!~"info|none"}'
    return {
        "expr": f"group by (alertname, severity) (count_over_time({firing}[{until - since}m]))",
        "eval_time": f"{until}m",
        "exp_samples": [
            {"labels": f'{{alertname="{name}", severity="{severity}"}}', "value": 1}
            for name, severity in sorted(told)
        ],
    }


def _play(monitoring: Monitoring, path: Path, rules: dict[str, Any], step: int, of: str) -> str:
    """Play the week through rules; those spans' alerts must fire that these rules have."""
    names = {
        rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    }
    own = [(since, until, {t for t in told if t[0] in names}) for since, until, told in SPANS]
    (path / f"{of}.rules.json").write_text(json.dumps(rules), encoding="utf-8")
    timelines = week(load(), step)
    if not any(
        rule.get("record", "").startswith("slo:") for g in rules["groups"] for rule in g["rules"]
    ):
        timelines["slo:period_error_budget_remaining:ratio"] = f"_ 1x{MINUTES // step}"
    test = {
        "rule_files": [f"{of}.rules.json"],
        "evaluation_interval": f"{step}m",
        "tests": [
            {
                "interval": f"{step}m",
                "input_series": [
                    {"series": name, "values": values} for name, values in timelines.items()
                ],
                "promql_expr_test": [_test(*span) for span in own],
            }
        ],
    }
    (path / f"{of}.json").write_text(json.dumps(test), encoding="utf-8")
    done = subprocess.run(
        [monitoring.promtool, "test", "rules", path / f"{of}.json"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.service
@pytest.mark.timeout(900)  # it computes for half a minute on two idle cores
def test_a_week_has_its_two_incidents_alerts(monitoring: Monitoring, tmp_path: Path) -> None:
    """No night, no holiday, no half day, no weekend, no noise and no cold start tells anybody.

    What looks back two minutes is played every two minutes; the service levels, which look back
    for days, every four.
    """
    groups = [group for content in files().values() for group in content["groups"]]
    levels = [group for group in groups if group["name"].startswith("slo-")]
    (budget,) = (
        {**group, "rules": [rule for rule in group["rules"] if rule["labels"]["alert_id"] == "L1"]}
        for group in groups
        if group["name"] == "alerts-slo"
    )
    recorded = [
        {**group, "rules": [rule for rule in group["rules"] if rule["record"] in TIME_LEVELS]}
        for group in groups
        if group["name"] == "recording"
    ]
    others = [
        {
            **group,
            "rules": [r for r in group["rules"] if r.get("alert") != "AlpacaSLOErrorBudgetLow"],
        }
        for group in groups
        if group not in levels
    ]
    # both at once: there are two cores
    with ThreadPoolExecutor() as pool:
        of_levels = {"groups": [*recorded, *levels, budget]}
        slow = pool.submit(_play, monitoring, tmp_path, of_levels, 4, "levels")
        quick = pool.submit(_play, monitoring, tmp_path, {"groups": others}, 2, "alerts")
        assert quick.result() == ""
        assert slow.result() == ""


def test_the_spans_cover_the_week() -> None:
    """From the cold start to Sunday's last step."""
    assert SPANS[0][0] == 0
    assert [span[0] for span in SPANS[1:]] == [span[1] for span in SPANS[:-1]]
    assert SPANS[-1][1] == MINUTES - 4
