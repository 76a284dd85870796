"""Which alerts fire, as they were told: so that no firing is left without its end. Pure.

Alertmanager tells of a group at intervals, and then what has changed since it told of it last. Of
an alert that was over in between, and fires again, nothing has: neither is told. What is told at
last is the end of a firing that nobody was told of, and of the one before nothing at all. Both
follow from that end, or from what is told when the second lasts for long.
"""

from collections.abc import Iterable

import msgspec

from sinks.events import AlertEvent, AlertFired, AlertInhibited, AlertResolved


class Firing:
    """The firings that were written down, and not their ends."""

    def __init__(self) -> None:
        self._fired: dict[str, AlertFired] = {}

    def with_ends(self, events: Iterable[AlertEvent]) -> list[AlertEvent]:
        """Return events, and before what speaks of another firing what was missed of both."""
        found: list[AlertEvent] = []
        for event in events:
            if isinstance(event, AlertFired | AlertResolved):
                before = self._fired.get(event.fingerprint)
                if before and before.started_at_ns < event.started_at_ns:
                    found += _missed(before, event)
            found.append(event)
        return found

    def wrote(self, events: Iterable[AlertEvent]) -> None:
        """Learn what was written down, in its order."""
        for event in events:
            if isinstance(event, AlertFired):
                before = self._fired.setdefault(event.fingerprint, event)
                if before.started_at_ns < event.started_at_ns:
                    self._fired[event.fingerprint] = event
            elif isinstance(event, AlertResolved):
                fired = self._fired.get(event.fingerprint)
                if fired and fired.started_at_ns <= event.started_at_ns:
                    del self._fired[event.fingerprint]


def _missed(before: AlertFired, event: AlertFired | AlertResolved) -> list[AlertEvent]:
    began, told = event.started_at_ns, event.told_at_ns
    # the same alert has the same labels; what it said may have been other figures
    anew = msgspec.structs.replace(before, started_at_ns=began, told_at_ns=told)
    end = over(before, began, told)
    return [end, anew] if isinstance(event, AlertResolved) else [end]


def over(of: AlertFired | AlertInhibited, ended_at_ns: int, told_at_ns: int) -> AlertResolved:
    """Return that one firing is over, at the latest since `ended_at_ns`."""
    return AlertResolved(
        fingerprint=of.fingerprint,
        name=of.name,
        severity=of.severity,
        started_at_ns=of.started_at_ns,
        told_at_ns=told_at_ns,
        ended_at_ns=ended_at_ns,
    )
