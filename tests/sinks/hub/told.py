"""Alerts for the hub's tests, as their history tells them."""

import msgspec

from sinks.events import AlertAcknowledged, AlertFired, AlertPaged, AlertResolved


def fired(fingerprint: str = "a", since: int = 1, name: str = "Mute") -> AlertFired:
    """An alert that fires."""
    return AlertFired(
        fingerprint=fingerprint,
        name=name,
        severity="high",
        started_at_ns=since,
        told_at_ns=since,
        alert_id="A1",
        service="ingest",
        labels={},
        summary="in words",
        description="",
    )


def watchdog(told_at_ns: int) -> AlertFired:
    """The alert that always fires, as the history told of it last."""
    always = fired("w", name="Watchdog")
    return msgspec.structs.replace(always, severity="none", told_at_ns=told_at_ns)


def over(fingerprint: str = "a", since: int = 1) -> AlertResolved:
    """The same alert's end."""
    return AlertResolved(
        fingerprint=fingerprint,
        name="Mute",
        severity="high",
        started_at_ns=since,
        told_at_ns=9,
        ended_at_ns=9,
    )


def taken(at_ns: int) -> AlertAcknowledged:
    """Somebody takes the incident on."""
    return AlertAcknowledged(
        incident_key="k", notice_id="n", who="ann", at_ns=at_ns, told_at_ns=at_ns
    )


PAGED = AlertPaged(
    fingerprint="a",
    name="Mute",
    severity="high",
    started_at_ns=1,
    told_at_ns=2,
    incident_key="k",
)
