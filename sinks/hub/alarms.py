"""Which alerts fire now, out of their history; pure."""

from sinks.events import AlertEvent, AlertFired, AlertResolved


class Alarms:
    """The alerts that fire, by fingerprint: the last that was told of each counts."""

    def __init__(self) -> None:
        self._firing: dict[str, AlertFired] = {}

    def take(self, event: AlertEvent) -> None:
        """Fold one more event; what is told of an earlier time changes nothing."""
        if not isinstance(event, AlertFired | AlertResolved):
            return
        known = self._firing.get(event.fingerprint)
        if known and event.started_at_ns < known.started_at_ns:
            return
        if isinstance(event, AlertFired):
            self._firing[event.fingerprint] = event
        else:
            self._firing.pop(event.fingerprint, None)

    def firing(self) -> list[AlertFired]:
        """Return what fires, the latest first."""
        return sorted(self._firing.values(), key=lambda e: (-e.started_at_ns, e.fingerprint))
