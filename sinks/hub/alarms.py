"""Which alerts fire now, and who took them on, out of their history; pure."""

from typing import Final

import msgspec

from infra.clock import NS
from infra.prometheus.runbooks import runbook
from sinks.events import AlertAcknowledged, AlertEvent, AlertFired, AlertPaged, AlertResolved
from sinks.hub import words

#: Of the one that always fires, to prove that alerts arrive.
ALWAYS: Final = "none"
#: For so long one telling of it counts: Alertmanager tells the history of it again once a day.
HEARD_NS: Final = 25 * 3600 * NS


class Alarm(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An alert that fires.

    Attributes:
        since: since when its condition has held.
        runbook: where the words about it stand, relative to the project.
        acknowledged_by: who took it on; null for nobody yet.

    """

    name: str
    alert_id: str
    severity: str
    service: str
    since: str
    summary: str
    description: str
    runbook: str
    labels: dict[str, str]
    acknowledged_by: str | None


class Alerts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What fires now, as far as the history of alerts tells, the latest first.

    Attributes:
        known: whether the history would tell of one: the alert that always fires does fire there.

    """

    known: bool
    count: int
    alerts: list[Alarm]


class Alarms:
    """The alerts that fire, by fingerprint: the last that was told of each counts."""

    def __init__(self) -> None:
        self._firing: dict[str, AlertFired] = {}
        self._paged: dict[str, AlertPaged] = {}
        #: By the pager's key, which comes back with the next incident of the same alerts.
        self._taken: dict[str, AlertAcknowledged] = {}

    def take(self, event: AlertEvent) -> None:
        """Fold one more event; what is told of an earlier time changes nothing."""
        match event:
            case AlertFired() if not self._outdated(event):
                self._firing[event.fingerprint] = event
            case AlertResolved() if not self._outdated(event):
                self._firing.pop(event.fingerprint, None)
                self._paged.pop(event.fingerprint, None)
            case AlertPaged():
                self._paged[event.fingerprint] = event
            case AlertAcknowledged():
                self._taken[event.incident_key] = event

    def firing(self) -> list[AlertFired]:
        """Return what fires, the latest first."""
        return sorted(self._firing.values(), key=lambda e: (-e.started_at_ns, e.fingerprint))

    def acknowledged_by(self, fired: AlertFired) -> str | None:
        """Return who took an alert on; None for nobody, or for an earlier time."""
        paged = self._paged.get(fired.fingerprint)
        taken = self._taken.get(paged.incident_key) if paged else None
        return taken.who if taken and taken.at_ns >= fired.started_at_ns else None

    def known(self, now_ns: int) -> bool:
        """Return whether we are told of alerts at all, so that silence means that none fires."""
        return any(
            each.severity == ALWAYS and now_ns - each.told_at_ns <= HEARD_NS
            for each in self._firing.values()
        )

    def told(self, now_ns: int) -> Alerts:
        """Return what there is for somebody to do."""
        found = [
            Alarm(
                name=each.name,
                alert_id=each.alert_id,
                severity=each.severity,
                service=each.service,
                since=words.iso(each.started_at_ns),
                summary=each.summary,
                description=each.description,
                runbook=runbook(each.name),
                labels=each.labels,
                acknowledged_by=self.acknowledged_by(each),
            )
            for each in self.firing()
            if each.severity != ALWAYS
        ]
        return Alerts(known=self.known(now_ns), count=len(found), alerts=found)

    def _outdated(self, event: AlertFired | AlertResolved) -> bool:
        known = self._firing.get(event.fingerprint)
        return known is not None and event.started_at_ns < known.started_at_ns
