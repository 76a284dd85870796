"""What Alertmanager and PagerDuty send, as they send it."""

import hashlib
import hmac
import json
from typing import Any

SECRET = "the first secret"
GROUP_KEY = '{}/{severity="critical"}:{alertname="AlpacaBothSourcesUnavailable"}'
INCIDENT = hashlib.sha256(GROUP_KEY.encode()).hexdigest()


def notification(
    *, over: bool = False, began: str = "2026-11-24T15:00:00.123456789Z", **changes: Any
) -> bytes:
    """Return a notification of one alert, as Alertmanager's webhook sends it."""
    alert = {
        "status": "resolved" if over else "firing",
        "labels": {
            "alertname": "AlpacaBothSourcesUnavailable",
            "severity": "critical",
            "alert_id": "C1",
            "service": "delivery",
        },
        "annotations": {"summary": "Neither delivers", "description": "No price is routed."},
        "startsAt": began,
        "endsAt": "2026-11-24T15:08:00Z" if over else "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
        "fingerprint": "03ec4371900ea457",
    }
    told = {
        "version": "4",
        "groupKey": GROUP_KEY,
        "truncatedAlerts": 0,
        "status": alert["status"],
        "receiver": "history",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager.example",
        "alerts": [alert],
        **changes,
    }
    return json.dumps(told).encode()


def notice(kind: str = "incident.acknowledged", **changes: Any) -> bytes:
    """Return a notice as PagerDuty's v3 webhooks send it."""
    event = {
        "id": "01BSJJDCXJTH3S5IVXZQQDHWXJ",
        "event_type": kind,
        "resource_type": "incident",
        "occurred_at": "2026-11-24T15:02:30.000Z",
        "agent": {"id": "PLH1HKV", "type": "user_reference", "summary": "Tenex Engineer"},
        "client": None,
        "data": {
            "id": "PGR0VU2",
            "type": "incident",
            "number": 2,
            "status": "acknowledged",
            "incident_key": INCIDENT,
            "title": "AlpacaBothSourcesUnavailable: Neither delivers",
        },
        **changes,
    }
    return json.dumps({"event": event}).encode()


def signature(body: bytes, *secrets: str) -> str:
    """Return the header that PagerDuty signs a body with."""
    return ",".join(
        "v1=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets
    )
