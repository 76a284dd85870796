"""Which page of `docs/runbooks` an alert's link leads to. Pure."""

from collections.abc import Mapping
from typing import Final

#: Where every alert is that no page is about.
OTHERS: Final = "other-alerts"

#: page -> the alerts that it is about
PAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "RUNBOOK-001": ("AlpacaBothSourcesUnavailable",),
    "RUNBOOK-002": (
        "AlpacaDisconnected",
        "AlpacaDisconnectedProlonged",
        "AlpacaNoMessages",
        "AlpacaConnectionFlapping",
        "AlpacaErrorRateElevated",
    ),
    "RUNBOOK-003": (
        "AlpacaExtremeLatency",
        "AlpacaHighLatency",
        "AlpacaEndToEndLatencyBurn",
        "AlpacaPipelineLatencyBurn",
        "PipelineConsumerLagHigh",
    ),
    "RUNBOOK-004": (
        "AlpacaValidationFailureHigh",
        "AlpacaValidationBurn",
        "AlpacaPriceDiscrepancyHigh",
        "AlpacaConsistencyBurn",
    ),
    "RUNBOOK-005": (
        "AlpacaFailoverFrequencyHigh",
        "AlpacaFailoverDailyCritical",
        "AlpacaFailoverDailyBudgetExceeded",
        "AlpacaFailoverRecoverySlow",
        "AlpacaFailoverRecoverySLOBreached",
    ),
    "RUNBOOK-006": ("AlpacaAuthFailure",),
}
_PAGE_OF: Final = {alert: page for page, alerts in PAGES.items() for alert in alerts}


def runbook(alert: str) -> str:
    """Return where the words about an alert stand, relative to the project."""
    return f"docs/runbooks/{_PAGE_OF.get(alert, OTHERS)}.md#{alert.lower()}"
