"""From what Alertmanager and PagerDuty tell to events. Pure: bytes and `now` in, events out.

Alertmanager tells the same thing again and again; an event's identity makes that harmless. It pages
under a key that is the digest of its group's key, and tells us that key beside, so that who
acknowledges an incident in PagerDuty is matched to its alerts.
"""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import msgspec

from sinks.events import (
    AlertAcknowledged,
    AlertEvent,
    AlertFired,
    AlertJudged,
    AlertPaged,
    AlertResolved,
)

#: How many signatures a notice may have: PagerDuty signs with each secret while one is replaced.
MOST_SIGNATURES = 10
_VERSION = "v1="
ACKNOWLEDGED = "incident.acknowledged"


class UnsignedError(Exception):
    """No signature is one of ours."""


class MalformedError(Exception):
    """It is not what it should be; the message says what."""


class _Told(msgspec.Struct, frozen=True, rename="camel"):
    """An alert, as Alertmanager's webhook tells it."""

    status: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    ends_at: str
    fingerprint: str


class _Notification(msgspec.Struct, frozen=True, rename="camel"):
    version: str
    group_key: str
    alerts: list[_Told]


class _Agent(msgspec.Struct, frozen=True):
    summary: str = ""
    id: str = ""


class _Incident(msgspec.Struct, frozen=True):
    incident_key: str | None = None
    id: str = ""


class _Event(msgspec.Struct, frozen=True):
    id: str
    event_type: str
    occurred_at: str
    data: msgspec.Raw
    agent: _Agent | None = None


class _Notice(msgspec.Struct, frozen=True):
    event: _Event


def _notification(body: bytes) -> _Notification:
    try:
        told = msgspec.json.decode(body, type=_Notification)
    except msgspec.DecodeError as error:
        message = f"no notification of Alertmanager's: {error}"
        raise MalformedError(message) from error
    if told.version != "4":
        message = f"version {told.version!r} of Alertmanager's webhook: expected 4"
        raise MalformedError(message)
    return told


def nanoseconds(text: str) -> int:
    """Return the nanoseconds since the epoch of an RFC 3339 time. Raises MalformedError."""
    main, dot, rest = text.partition(".")
    digits = ""
    while dot and rest[:1].isdigit():
        digits, rest = digits + rest[0], rest[1:]
    try:
        moment = datetime.fromisoformat(main + rest)
    except ValueError as error:
        message = f"{text!r} is no time"
        raise MalformedError(message) from error
    if moment.tzinfo is None:
        message = f"{text!r} has no time zone"
        raise MalformedError(message)
    return int(moment.timestamp()) * 1_000_000_000 + int(digits[:9].ljust(9, "0"))


def alerts(body: bytes, now_ns: int) -> list[AlertEvent]:
    """Return what a notification says of its alerts. Raises MalformedError."""
    return [_alert(each, now_ns) for each in _notification(body).alerts]


def _alert(told: _Told, now_ns: int) -> AlertEvent:
    name, severity = told.labels.get("alertname", ""), told.labels.get("severity", "")
    started_at_ns = nanoseconds(told.starts_at)
    if told.status == "resolved":
        return AlertResolved(
            fingerprint=told.fingerprint,
            name=name,
            severity=severity,
            started_at_ns=started_at_ns,
            told_at_ns=now_ns,
            ended_at_ns=nanoseconds(told.ends_at),
        )
    return AlertFired(
        fingerprint=told.fingerprint,
        name=name,
        severity=severity,
        started_at_ns=started_at_ns,
        told_at_ns=now_ns,
        alert_id=told.labels.get("alert_id", ""),
        service=told.labels.get("service", ""),
        labels=told.labels,
        summary=told.annotations.get("summary", ""),
        description=told.annotations.get("description", ""),
    )


def pages(body: bytes, now_ns: int) -> list[AlertEvent]:
    """Return which alerts somebody was paged for, and under which key. Raises MalformedError."""
    told = _notification(body)
    key = hashlib.sha256(told.group_key.encode()).hexdigest()
    return [
        AlertPaged(
            fingerprint=each.fingerprint,
            name=each.labels.get("alertname", ""),
            severity=each.labels.get("severity", ""),
            started_at_ns=nanoseconds(each.starts_at),
            told_at_ns=now_ns,
            incident_key=key,
        )
        for each in told.alerts
        if each.status == "firing"
    ]


def signed(body: bytes, header: str, secrets: Iterable[str]) -> bool:
    """Return whether one of the signatures in `X-PagerDuty-Signature` was made with a secret."""
    given = [each.strip().removeprefix(_VERSION) for each in header.split(",")[:MOST_SIGNATURES]]
    right = [hmac.new(secret.encode(), body, hashlib.sha256).hexdigest() for secret in secrets]
    # every pair is compared, each in constant time: how long it takes tells nothing
    matches = [hmac.compare_digest(a.encode(), b.encode()) for a in given for b in right]
    return any(matches)


def acknowledgements(
    body: bytes, header: str, secrets: Iterable[str], now_ns: int
) -> list[AlertEvent]:
    """Return who took which incident on; nothing for what else PagerDuty tells.

    Raises:
        UnsignedError: nobody who knows a secret of ours said so.
        MalformedError: it was signed, and is no notice.

    """
    if not signed(body, header, secrets):
        raise UnsignedError
    try:
        event = msgspec.json.decode(body, type=_Notice).event
        if event.event_type != ACKNOWLEDGED:
            return []
        incident = msgspec.json.decode(event.data, type=_Incident)
    except msgspec.DecodeError as error:
        message = f"no notice of PagerDuty's: {error}"
        raise MalformedError(message) from error
    if not incident.incident_key:
        return []  # one that a person opened by hand is no alert of ours
    return [
        AlertAcknowledged(
            incident_key=incident.incident_key,
            notice_id=event.id,
            who=event.agent.summary or event.agent.id if event.agent else "",
            at_ns=nanoseconds(event.occurred_at),
            told_at_ns=now_ns,
        )
    ]


class _Judgement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fingerprint: str
    started_at_ns: int
    verdict: Literal["actionable", "noise", "false"]
    who: str
    why: str


def judgement(body: bytes, now_ns: int) -> list[AlertEvent]:
    """Return what somebody says that an alert was worth. Raises MalformedError."""
    try:
        said = msgspec.json.decode(body, type=_Judgement)
    except msgspec.DecodeError as error:
        message = f"no judgement: {error}"
        raise MalformedError(message) from error
    return [AlertJudged(**msgspec.structs.asdict(said), at_ns=now_ns)]


def key(event: AlertEvent) -> bytes:
    """Return the record's key: the alert's fingerprint, or its incident."""
    if isinstance(event, AlertAcknowledged):
        return event.incident_key.encode()
    return event.fingerprint.encode()
