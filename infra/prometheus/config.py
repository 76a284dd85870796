"""Prometheus's configuration, made from where the stages listen.

The job names are what dashboards and alerts select by; within a job, `instance` is the stage.
"""

from collections.abc import Mapping
from pathlib import Path

#: Dense enough for a minute's rate, and for an alert within seconds.
SCRAPE_SECONDS = 5

RULES = Path(__file__).parent / "rules"

#: job -> the stages in it, by their process names
JOBS: Mapping[str, tuple[str, ...]] = {
    "alpaca-gateway": ("alpaca",),
    "alpaca-yahoo": ("yahoo",),
    "alpaca-backfill": ("backfill",),
    "alpaca-router": ("validate", "route", "forward"),
    "alpaca-sink": ("clickhouse", "prometheus-sink", "alerts"),
    "alpaca-hub": ("hub",),
    "log-shipper": ("logs",),  # no tick waits for it, so nobody is woken when it is down
    "prometheus": ("prometheus",),
    "alertmanager": ("alertmanager",),
}


def render(addresses: Mapping[str, str], *, rules: Path = RULES) -> str:
    """Return `prometheus.yml` for processes at these `host:port` addresses.

    Args:
        addresses: by process name; a process without an address is not scraped, and alerts are
            sent to `alertmanager` if it has one.
        rules: the directory of the files of rules.

    """
    lines = [
        "global:",
        f"  scrape_interval: {SCRAPE_SECONDS}s",
        f"  scrape_timeout: {SCRAPE_SECONDS - 1}s",
        f"  evaluation_interval: {SCRAPE_SECONDS}s",
        "rule_files:",
        f"  - '{rules}/*.yml'",
    ]
    if "alertmanager" in addresses:
        lines += [
            "alerting:",
            "  alertmanagers:",
            "    - static_configs:",
            f"        - targets: ['{addresses['alertmanager']}']",
        ]
    lines.append("scrape_configs:")
    for job, stages in JOBS.items():
        targets = [(stage, addresses[stage]) for stage in stages if stage in addresses]
        if targets:
            lines += [f"  - job_name: {job}", "    static_configs:"]
        for stage, address in targets:
            lines += [f"      - targets: ['{address}']", f"        labels: {{instance: {stage}}}"]
    return "\n".join(lines) + "\n"
