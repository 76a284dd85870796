"""Rules and routes whose times are divided by a factor, so that a drill need not wait. Pure.

One factor for all: how long an alert has to hold and is kept up, the windows that are looked back
over and their steps, how often is scraped and evaluated, and what Alertmanager waits for. But a
second is the shortest between two scrapes or evaluations. Thresholds stay what they are, those in
seconds too: a price may be as late, and a sink as far behind, as in production.
"""

import json
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.prometheus.config import SCRAPE_SECONDS
from infra.slo.rules import seconds

#: The shortest time from one scrape, or one evaluation, to the next.
LEAST_S = 1.0
_RANGE = re.compile(r"\[(\d+[smhd])(?::(\d+[smhd]))?\]")
_TARGETS = r"(  - job_name: {}\n)    static_configs:\n((?:      .*\n)+)"
_ALERTMANAGERS = ("group_wait", "group_interval", "repeat_interval")


@dataclass(frozen=True, slots=True)
class Apart:
    """A job whose targets stand in a file of their own.

    Prometheus follows the file, so that they can be taken away while all else stays as it is. By a
    new configuration it would begin to scrape the job anew, and of a target that goes before it
    was asked again it would not be marked that its series have ended: for five minutes they would
    look alive.
    """

    job: str
    file: Path


NO_TARGETS = "[]\n"


def duration(length_s: float) -> str:
    """Return a time as Prometheus and Alertmanager read it; at least a millisecond."""
    return f"{max(1, round(length_s * 1000))}ms"


def scrape_seconds(factor: float) -> float:
    """Return how long it is from one scrape to the next."""
    return SCRAPE_SECONDS if factor == 1 else max(LEAST_S, SCRAPE_SECONDS / factor)


def rules(files: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """Return the rule files with their times divided."""
    return {
        name: {"groups": [_group(group, factor) for group in content["groups"]]}
        for name, content in files.items()
    }


def _group(group: Mapping[str, Any], factor: float) -> dict[str, Any]:
    done = {**group, "rules": [_rule(rule, factor) for rule in group["rules"]]}
    if "interval" in group:
        done["interval"] = duration(max(LEAST_S, seconds(group["interval"]) / factor))
    return done


def _rule(rule: Mapping[str, Any], factor: float) -> dict[str, Any]:
    times = {
        key: duration(seconds(rule[key]) / factor)
        for key in ("for", "keep_firing_for")
        if key in rule
    }
    return {**rule, **times, "expr": expression(rule["expr"], factor)}


def expression(expr: str, factor: float) -> str:
    """Return an expression that looks back so many times less far, in steps as much shorter."""

    def divided(found: re.Match[str]) -> str:
        parts = [duration(seconds(part) / factor) for part in found.groups() if part]
        return f"[{':'.join(parts)}]"

    return _RANGE.sub(divided, expr)


def prometheus(config: str, *, factor: float, rules_in: str, apart: Apart | None = None) -> str:
    """Return a configuration that scrapes faster and takes other files of rules.

    Args:
        config: as `infra.prometheus.config` writes it.
        factor: how many times faster.
        rules_in: the directory of the files of rules.
        apart: a job whose targets stand in a file of their own.

    """
    every = duration(scrape_seconds(factor))
    changes = {
        r"(scrape_interval|evaluation_interval): .*": rf"\1: {every}",
        r"scrape_timeout: .*": f"scrape_timeout: {every}",
        r"  - '.*/\*\.(yml)'": rf"  - '{rules_in}/*.\1'",
    }
    if apart:
        found = f"    file_sd_configs:\n      - files: ['{apart.file}']\n"
        changes[_TARGETS.format(re.escape(apart.job))] = rf"\1{found}"
    for pattern, text in changes.items():
        config = re.sub(pattern, text, config)
    return config


def targets(config: str, job: str) -> str:
    """Return a job's targets, as a file of them has them."""
    found = re.search(_TARGETS.format(re.escape(job)), config)
    return textwrap.dedent(found[2]) if found else NO_TARGETS


def alertmanager(config: str, factor: float) -> str:
    """Return a configuration, in JSON, whose routes wait so many times less."""
    told = json.loads(config)
    told["route"] = _route(told["route"], factor)
    return json.dumps(told, indent=2) + "\n"


def _route(route: Mapping[str, Any], factor: float) -> dict[str, Any]:
    times = {
        key: duration(int(route[key].removesuffix("ms")) / 1000 / factor)
        for key in _ALERTMANAGERS
        if key in route
    }
    below = [_route(each, factor) for each in route.get("routes", [])]
    return {**route, **times, **({"routes": below} if below else {})}
