"""From the service levels to Prometheus's rules, with Sloth's names. Pure.

A level becomes the error ratio over each window (`slo:sli_error:ratio_rate5m`, ...), what that
means for its budget (`slo:period_error_budget_remaining:ratio`, ...), and its burn-rate alerts:
both windows must burn, the long one so that it matters and the short one so that it ends with its
cause.
"""

from typing import Any

from infra.prometheus.runbooks import runbook
from infra.slo.levels import Burn, EventSli, Level, TimeSli

Rule = dict[str, Any]

SERVICE = "twinfeed"
#: window -> the step at which it is looked whether there was anything to see
STEPS = {
    "5m": "15s",
    "15m": "15s",
    "30m": "15s",
    "1h": "30s",
    "2h": "1m",
    "6h": "1m",
    "1d": "5m",
    "3d": "5m",
    "7d": "5m",
    "30d": "5m",
}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
#: What burns slowly has time: a day's first minutes may be worse than the day.
LASTING = "15m"
#: Longer windows need not be looked at so often.
SHORT_S, SHORT_EVERY, LONG_EVERY = 2 * 3600, "15s", "1m"


def seconds(window: str) -> int:
    """Return how long `5m`, `2h` or `30d` is."""
    return int(window[:-1]) * _SECONDS[window[-1]]


def windows(level: Level) -> list[str]:
    """Return the windows over which a level's errors are recorded, the period last."""
    named = {window for burn in level.burns for window in (burn.short, burn.long)}
    return [*sorted(named - {level.period}, key=seconds), level.period]


def error_ratio(level: Level, window: str) -> str:
    """Return the expression of the share that was bad over a window."""
    match level.sli:
        case TimeSli(metric):
            step = STEPS[window]
            steps = seconds(window) // seconds(step)
            # none before the first step; less one: one that has only begun is not yet a step
            seen = f"(count_over_time({metric}[{window}:{step}]) or 0 * {metric})"
            return f"(1 - avg_over_time({metric}[{window}])) * clamp(({seen} - 1) / {steps}, 0, 1)"
        case EventSli(bad, total, least, while_):
            total = total.format(w=window)
            gate = f" and on() {while_}" if while_ else ""
            return f"(({bad.format(w=window)}) / ({total} >= {least})){gate}"


def _labels(level: Level, **more: str) -> dict[str, str]:
    return {
        "sloth_id": f"{SERVICE}-{level.name}",
        "sloth_service": SERVICE,
        "sloth_slo": level.name,
        **more,
    }


def _errors(level: Level, every: str) -> dict[str, Any]:
    rules = [
        {
            "record": f"slo:sli_error:ratio_rate{window}",
            "expr": error_ratio(level, window),
            "labels": _labels(level, sloth_window=window),
        }
        for window in windows(level)
        if (seconds(window) <= SHORT_S) == (every == SHORT_EVERY)
    ]
    length = "short" if every == SHORT_EVERY else "long"
    return {"name": f"slo-errors-{length}-{level.name}", "interval": every, "rules": rules}


def _meta(level: Level) -> dict[str, Any]:
    of = f'{{sloth_id="{SERVICE}-{level.name}"}}'
    join = "on(sloth_id, sloth_slo, sloth_service) group_left"
    days = seconds(level.period) / 86400
    recorded = {
        "slo:objective:ratio": f"vector({level.objective:g})",
        "slo:error_budget:ratio": f"vector(1 - {level.objective:g})",
        "slo:time_period:days": f"vector({days:.6g})",
        "slo:current_burn_rate:ratio": (
            f"slo:sli_error:ratio_rate5m{of} / {join} slo:error_budget:ratio{of}"
        ),
        "slo:period_burn_rate:ratio": (
            f"slo:sli_error:ratio_rate{level.period}{of} / {join} slo:error_budget:ratio{of}"
        ),
        "slo:period_error_budget_remaining:ratio": f"1 - slo:period_burn_rate:ratio{of}",
    }
    rules: list[Rule] = [
        {"record": name, "expr": expr, "labels": _labels(level)} for name, expr in recorded.items()
    ]
    return {"name": f"slo-budget-{level.name}", "interval": SHORT_EVERY, "rules": rules}


def burn_expression(level: Level, burn: Burn) -> str:
    """Return when a burn-rate alert is told."""
    return " and ".join(
        f"(max by (sloth_slo) (slo:sli_error:ratio_rate{window}"
        f'{{sloth_id="{SERVICE}-{level.name}"}}) > {burn.factor:g} * {level.budget:.6g})'
        for window in (burn.long, burn.short)
    )


def _alerts(level: Level) -> dict[str, Any]:
    rules = []
    for number, burn in enumerate(level.burns, 1):
        rules.append(
            {
                "alert": level.alert,
                "expr": burn_expression(level, burn),
                **({"for": LASTING} if burn.severity == "low" else {}),
                "labels": {
                    "severity": burn.severity,
                    "component": level.component,
                    # a ladder of its own: a fast burn mutes the slow ones of the same level
                    "family": f"slo-{level.name}",
                    "service": "slo",
                    "alert_id": f"{level.id}-burn{number}",
                    "slo": level.name,
                },
                "annotations": {
                    "summary": f"{level.title}: the error budget burns too fast",
                    "description": (
                        f"{{{{ $value | humanizePercentage }}}} was bad over {burn.long}, more than"
                        f" {burn.factor:g} times what {level.objective * 100:g} % over"
                        f" {level.period} allows, and it goes on."
                    ),
                    "runbook_url": runbook(level.alert),
                    "dashboard_url": "d/twinfeed-reliability",
                },
            }
        )
    return {"name": f"slo-alerts-{level.name}", "rules": rules}


def groups(levels: tuple[Level, ...]) -> list[dict[str, Any]]:
    """Return the groups of rules of all levels; a group without rules is left out."""
    found = [
        group
        for level in levels
        for group in (
            _errors(level, SHORT_EVERY),
            _errors(level, LONG_EVERY),
            _meta(level),
            _alerts(level),
        )
    ]
    return [group for group in found if group["rules"]]
