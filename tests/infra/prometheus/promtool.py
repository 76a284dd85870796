"""Rules under test: timelines of series in, and at which minutes an alert has to fire.

A timeline is told in runs: so much for so many minutes. Promtool plays it through Prometheus's own
engine.
"""

import json
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.prometheus.rules import files
from tests.contracts.promql import speaks_of

_MATCHER = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class Clock:
    """The time between two samples, in seconds."""

    step: int = 15

    def samples(self, minutes: float) -> int:
        """Return how many samples there are in so many minutes."""
        count = minutes * 60 / self.step
        assert count == int(count), f"{minutes} min is no whole number of {self.step} s"
        return int(count)

    def level(self, *runs: tuple[float | None, float]) -> str:
        """Return a gauge's timeline: `(value, minutes)`; None for not there."""
        parts = []
        for value, minutes in runs:
            count = self.samples(minutes)
            if value is None:
                parts.append(f"_x{count}")
            elif count:
                parts.append(f"{value:.12g}x{count - 1}" if count > 1 else f"{value:.12g}")
        return " ".join(parts)

    def counter(self, *runs: tuple[float, float]) -> str:
        """Return a counter's timeline from 0: `(per second, minutes)`."""
        parts, total = [], 0.0
        for rate, minutes in runs:
            count, by = self.samples(minutes), rate * self.step
            if count:
                parts.append(f"{total + by:.12g}+{by:.12g}x{count - 1}")
                total += by * count
        return " ".join(["0", *parts])

    def steps(self, *runs: tuple[float, float]) -> str:
        """Return a counter's timeline: `(jump by, then minutes)`, from 0."""
        parts, total = [], 0.0
        for jump, minutes in runs:
            total += jump
            parts.append(self.level((total, minutes)))
        return " ".join(parts)


CLOCK = Clock()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One timeline, and what has to be at its minutes.

    Attributes:
        name: said where it fails.
        series: series -> timeline.
        alert: a selector of the alert's series, as `alertname="..."`.
        fires: the minutes at which it has to fire.
        silent: the minutes at which it must not.
        clock: of the timeline.

    """

    name: str
    series: Mapping[str, str]
    alert: str
    fires: Sequence[float] = ()
    silent: Sequence[float] = ()
    clock: Clock = field(default=CLOCK)

    @property
    def name_of_alert(self) -> str:
        """The alert's name, or its id where that is selected by."""
        selected = dict(_MATCHER.findall(self.alert))
        return str(selected.get("alert_id") or selected["alertname"])

    def group(self) -> dict[str, Any]:
        """Return the case as promtool wants it."""
        # the name, because promtool tells the expression alone
        firing = (
            f"# {self.name}\n"
            f'count(ALERTS{{alertstate="firing", {self.alert}}}) > bool 0 or vector(0)'
        )
        return {
            "name": self.name,
            "interval": f"{self.clock.step}s",
            "input_series": [
                {"series": name, "values": values} for name, values in self.series.items()
            ],
            "promql_expr_test": [
                {
                    "expr": firing,
                    "eval_time": f"{round(minute * 60)}s",
                    "exp_samples": [{"labels": "{}", "value": int(minute in self.fires)}],
                }
                for minute in sorted({*self.fires, *self.silent})
            ],
        }


def needed(alert: str) -> list[dict[str, Any]]:
    """Return the rules of an alert, by its name or id, and those whose recordings they read."""
    groups = [group for content in files().values() for group in content["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    wanted = [r for r in rules if alert in {r.get("alert"), r.get("labels", {}).get("alert_id")}]
    found: list[dict[str, Any]] = []
    while wanted:
        found = [rule for rule in wanted if rule not in found] + found
        read = {name for rule in wanted for name in speaks_of(rule["expr"])}
        wanted = [
            rule
            for rule in rules
            if rule.get("record") in read
            and rule not in found
            # of the service levels' recordings, those of the level that is spoken of
            and any(rule.get("labels", {}).get("sloth_id", "") in other["expr"] for other in found)
        ]
    return found


def play(promtool: Path, directory: Path, cases: Iterable[Case]) -> str:
    """Play cases, each through the rules of its alert; return what promtool says is wrong."""
    by_alert: dict[tuple[str, int], list[Case]] = defaultdict(list)
    for case in cases:
        by_alert[case.name_of_alert, case.clock.step].append(case)
    tests = []
    for (alert, step), of_alert in by_alert.items():
        rules = directory / f"{alert}.rules.json"  # JSON is YAML
        content = {"groups": [{"name": alert, "rules": needed(alert)}]}
        rules.write_text(json.dumps(content), encoding="utf-8")
        test = {
            "rule_files": [str(rules.resolve())],
            "evaluation_interval": f"{step}s",
            "tests": [case.group() for case in of_alert],
        }
        tests.append(directory / f"{alert}-{step}s.json")
        tests[-1].write_text(json.dumps(test), encoding="utf-8")
    done = subprocess.run(
        [promtool, "test", "rules", *tests], capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    said = done.stdout.split("Unit Testing:")
    return "".join(each for each in said if "SUCCESS" not in each) + done.stderr
