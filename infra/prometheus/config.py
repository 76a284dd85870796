"""Prometheus's configuration, made from where the stages listen.

The job names are what dashboards and alerts select by; within a job, `instance` is the stage.
"""

from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the stages let Prometheus in beyond loopback; what is secret stands in files.

    Attributes:
        authority: the file of the certificates that theirs come from.
        token: the file of the token that they ask for.
        user: who asks by password instead, where there is no token.
        password: the file of that user's password.

    """

    authority: Path
    token: Path | None = None
    user: str = ""
    password: Path | None = None

    def lines(self) -> list[str]:
        """Return what a job says of it."""
        if self.token:
            shown = ["    authorization:", f"      credentials_file: '{self.token}'"]
        else:
            shown = [
                "    basic_auth:",
                f"      username: '{self.user}'",
                f"      password_file: '{self.password}'",
            ]
        return [
            "    scheme: https",
            "    tls_config:",
            f"      ca_file: '{self.authority}'",
            *shown,
        ]


#: What listens by itself, and is no stage of ours.
NOT_OURS = ("prometheus", "alertmanager")
#: Where each process has its metrics in a deployment; names and files are for whoever deploys it.
PRODUCTION: Mapping[str, str] = {
    name: f"{name}:{9090 if name == 'prometheus' else 9093 if name == 'alertmanager' else 9200}"
    for stages in JOBS.values()
    for name in stages
}
PRODUCTION_RULES = Path("/etc/prometheus/rules")
PRODUCTION_ACCESS = Access(
    authority=Path("/etc/prometheus/secrets/metrics_authority.pem"),
    token=Path("/etc/prometheus/secrets/metrics_token"),
)


def render(
    addresses: Mapping[str, str], *, rules: Path = RULES, access: Access | None = None
) -> str:
    """Return `prometheus.yml` for processes at these `host:port` addresses.

    Args:
        addresses: by process name; a process without an address is not scraped, and alerts are
            sent to `alertmanager` if it has one.
        rules: the directory of the files of rules.
        access: what the stages ask for; none on loopback.

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
            asked = access.lines() if access and job not in NOT_OURS else []
            lines += [f"  - job_name: {job}", *asked, "    static_configs:"]
        for stage, address in targets:
            lines += [f"      - targets: ['{address}']", f"        labels: {{instance: {stage}}}"]
    return "\n".join(lines) + "\n"
