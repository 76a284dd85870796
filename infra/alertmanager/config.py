"""Alertmanager's configuration, made from where people and machines can be reached. Pure.

critical wakes somebody; high is a page that does not; medium is a line in a channel; low waits for
the daily digest, which is made of the alerts' history: Alertmanager would forget what resolved
before the digest's hour. info tells nobody. Everything goes into the history, at once, and a
severity that nobody thought of goes to Slack rather than nowhere.

Secrets stand in files, in one directory, and never here. Of the dead man's switch the address is no
secret, its token is: a webhook's address cannot come from a file in Alertmanager 0.25.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.prometheus.alerts import LADDER

TEMPLATES = Path(__file__).parent / "templates"
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
#: The files in the directory of secrets.
ROUTING_KEY, SLACK_URL = "pagerduty_routing_key", "slack_api_url"
HISTORY_TOKEN, WATCHDOG_TOKEN = "history_token", "watchdog_token"  # their files

#: What neither source being there makes happen besides, and what refused keys do.
SYMPTOMS = (
    "AlpacaDisconnected",
    "AlpacaDisconnectedProlonged",
    "AlpacaNoMessages",
    "AlpacaHighLatency",
    "AlpacaExtremeLatency",
    "AlpacaServiceAvailabilityBurn",
    "AlpacaUptimeBurn",
)
REFUSED = ("AlpacaDisconnected", "AlpacaDisconnectedProlonged", "AlpacaConnectionFlapping")
#: Of an alert's labels, those that say which of several things it is about.
ABOUT = ("family", "instance", "group", "sink")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channels:
    """Where people and machines can be reached; None for not at all.

    Attributes:
        secrets: the directory of the files with secrets.
        pagerduty_url: where its Events API v2 is.
        slack: whether there is a Slack.
        history_url: where the history of alerts is written.
        history_token: whether it asks for a token.
        watchdog_url: the dead man's switch.
        links: what runbooks and dashboards are under; ends with a slash.
        templates: the directory of the templates.
        pace: how many times faster everything is; only for drills and tests.

    """

    secrets: Path
    pagerduty_url: str | None = None
    slack: bool = False
    history_url: str | None = None
    history_token: bool = False
    watchdog_url: str | None = None
    links: str = ""
    templates: Path = TEMPLATES
    pace: float = 1.0

    def secret(self, name: str) -> str:
        """Return where a secret is."""
        return str(self.secrets / name)

    def seconds(self, seconds: float) -> str:
        """Return a time as Alertmanager reads it."""
        return f"{max(1, round(seconds * 1000 / self.pace))}ms"


#: What is there in production; the files are for whoever deploys it to fill.
PRODUCTION = Channels(
    secrets=Path("/etc/alertmanager/secrets"),
    pagerduty_url=PAGERDUTY_URL,
    slack=True,
    history_url="http://alerts:9210",
    history_token=True,
    watchdog_url="https://deadman.example/ping/twinfeed",
    links="https://ops.example/",
    templates=Path("/etc/alertmanager/templates"),
)


def render(channels: Channels) -> dict[str, Any]:
    """Return the configuration as data."""
    return {
        "templates": [f"{channels.templates}/*.tmpl"],
        "route": {
            "receiver": "unknown",
            "group_by": ["alertname", "severity"],
            **_times(channels, 30, 300, 14400),
            "routes": _routes(channels),
        },
        "inhibit_rules": _inhibitions(),
        "receivers": _receivers(channels),
    }


def _times(channels: Channels, wait: float, interval: float, repeat: float) -> dict[str, str]:
    return {
        "group_wait": channels.seconds(wait),
        "group_interval": channels.seconds(interval),
        "repeat_interval": channels.seconds(repeat),
    }


def _routes(channels: Channels) -> list[dict[str, Any]]:
    return [
        {
            "receiver": "history",
            "group_by": ["..."],
            **_times(channels, 0.001, 10, 86400),
            "continue": True,
        },
        {
            "receiver": "watchdog",
            "matchers": ['alertname="Watchdog"'],
            **_times(channels, 0.001, 30, 60),
        },
        {
            "receiver": "critical",
            "matchers": ['severity="critical"'],
            **_times(channels, 5, 60, 3600),
        },
        {"receiver": "high", "matchers": ['severity="high"'], **_times(channels, 30, 300, 14400)},
        {
            "receiver": "medium",
            "matchers": ['severity="medium"'],
            **_times(channels, 120, 600, 43200),
        },
        # the digest and the reports are made of the history
        {"receiver": "nobody", "matchers": ['severity=~"low|info|none"']},
        # not the root's receiver: that is passed over once the history has matched
        {"receiver": "unknown", **_times(channels, 30, 300, 14400)},
    ]


def _inhibitions() -> list[dict[str, Any]]:
    ladder = [
        {
            # a label that is missing on both sides counts as equal: so the source must have it
            "source_matchers": [f'severity="{louder}"', 'family=~".+"'],
            "target_matchers": [f'severity=~"{"|".join(LADDER[place:])}"'],
            "equal": list(ABOUT),
        }
        for place, louder in enumerate(LADDER[:-1], 1)
    ]
    return [
        {
            "source_matchers": ['alertname="AlpacaBothSourcesUnavailable"'],
            "target_matchers": [f'alertname=~"{"|".join(SYMPTOMS)}"'],
        },
        {
            "source_matchers": ['alertname="AlpacaAuthFailure"'],
            "target_matchers": [f'alertname=~"{"|".join(REFUSED)}"'],
        },
        *ladder,
    ]


def _receivers(channels: Channels) -> list[dict[str, Any]]:
    critical, high = _pagerduty(channels, "critical"), _pagerduty(channels, "warning")
    told = {
        "history": {"webhook_configs": _webhook(channels, "alerts")},
        "watchdog": {"webhook_configs": _watchdog(channels)},
        "critical": {**critical, **_slack(channels, "#alerts-critical", "danger")},
        "high": {**high, **_slack(channels, "#alerts-high", "warning")},
        "medium": _slack(channels, "#alerts-medium", "#439FE0"),
        "unknown": _slack(channels, "#alerts-high", "#808080"),
        "nobody": {},
    }
    return [{"name": name, **configs} for name, configs in told.items()]


def _webhook(channels: Channels, path: str) -> list[dict[str, Any]]:
    if channels.history_url is None:
        return []
    webhook: dict[str, Any] = {"url": f"{channels.history_url}/{path}", "send_resolved": True}
    if channels.history_token:
        file = channels.secret(HISTORY_TOKEN)
        webhook["http_config"] = {"authorization": {"credentials_file": file}}
    return [webhook]


def _watchdog(channels: Channels) -> list[dict[str, Any]]:
    if channels.watchdog_url is None:
        return []
    file = channels.secret(WATCHDOG_TOKEN)
    return [
        {
            "url": channels.watchdog_url,
            "send_resolved": False,
            "http_config": {"authorization": {"credentials_file": file}},
        }
    ]


def _pagerduty(channels: Channels, severity: str) -> dict[str, Any]:
    """Page; and tell the history under which key, so that who acknowledges is matched to it."""
    if channels.pagerduty_url is None:
        return {}
    page = {
        "routing_key_file": channels.secret(ROUTING_KEY),
        "url": channels.pagerduty_url,
        "send_resolved": True,
        "severity": severity,
        "description": '{{ template "twinfeed.summary" . }}',
        "class": "{{ .GroupLabels.alertname }}",
        "component": "{{ .CommonLabels.component }}",
        "group": "{{ .CommonLabels.service }}",
        "client": "twinfeed",
        "client_url": f"{channels.links}{{{{ .CommonAnnotations.dashboard_url }}}}",
        "links": [
            {"href": f"{channels.links}{{{{ .CommonAnnotations.runbook_url }}}}", "text": "Runbook"}
        ],
        "details": {
            "description": '{{ template "twinfeed.text" . }}',
            "severity": "{{ .CommonLabels.severity }}",
        },
    }
    return {"pagerduty_configs": [page], "webhook_configs": _webhook(channels, "pages")}


def _slack(channels: Channels, channel: str, color: str) -> dict[str, Any]:
    if not channels.slack:
        return {}
    line = {
        "api_url_file": channels.secret(SLACK_URL),
        "channel": channel,
        "send_resolved": True,
        "color": f'{{{{ if eq .Status "firing" }}}}{color}{{{{ else }}}}good{{{{ end }}}}',
        "title": '{{ template "twinfeed.title" . }}',
        "title_link": f"{channels.links}{{{{ .CommonAnnotations.runbook_url }}}}",
        "text": '{{ template "twinfeed.text" . }}',
        "fallback": '{{ template "twinfeed.summary" . }}',
        "actions": [
            {
                "type": "button",
                "text": "Dashboard",
                "url": f"{channels.links}{{{{ .CommonAnnotations.dashboard_url }}}}",
            }
        ],
    }
    return {"slack_configs": [line]}
