"""The rule files, as data: name -> content. Pure; `rules/` holds them as Prometheus reads them."""

from typing import Any

from infra.prometheus.alerts import ALERTS, Alert
from infra.prometheus.recording import RECORDED
from infra.prometheus.runbooks import runbook
from infra.slo import rules as slo
from infra.slo.levels import LEVELS


def alert(declared: Alert) -> dict[str, Any]:
    """Return an alert as Prometheus wants it."""
    rule: dict[str, Any] = {"alert": declared.name, "expr": declared.expr}
    if declared.wait != "0s":
        rule["for"] = declared.wait
    if declared.keep != "0s":
        rule["keep_firing_for"] = declared.keep
    rule["labels"] = {
        "severity": declared.severity,
        "component": declared.component,
        "family": declared.family,
        "service": declared.service,
        "alert_id": declared.id,
    }
    rule["annotations"] = {
        "summary": declared.summary,
        "description": declared.description,
        "runbook_url": runbook(declared.name),
        "dashboard_url": f"d/twinfeed-{declared.dashboard}",
    }
    return rule


def _alerts() -> list[dict[str, Any]]:
    by_service: dict[str, list[dict[str, Any]]] = {}
    for declared in ALERTS:
        by_service.setdefault(declared.service, []).append(alert(declared))
    return [{"name": f"alerts-{service}", "rules": rules} for service, rules in by_service.items()]


def files() -> dict[str, Any]:
    """Return every rule file's content, by its name."""
    recorded = [{"record": name, "expr": expr} for name, expr in RECORDED.items()]
    return {
        "recording.yml": {"groups": [{"name": "recording", "rules": recorded}]},
        "alerts.yml": {"groups": _alerts()},
        "slo.yml": {"groups": slo.groups(LEVELS)},
    }
