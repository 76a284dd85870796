"""Which alerts fire and are told to nobody, because a louder one mutes them. Pure.

Alertmanager tells its receivers nothing of an alert that is inhibited, not even the history. It has
to be asked: its listing names, for each alert, those that inhibit it. An alert is muted once, by
those that muted it first; that it is over is seen by its being gone, because nobody is told that
either.
"""

from typing import Any

import msgspec

from sinks.alerts.firing import over
from sinks.alerts.notices import MalformedError, nanoseconds
from sinks.events import AlertEvent, AlertInhibited


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    inhibited_by: list[str] = []


class _Listed(msgspec.Struct, frozen=True, rename="camel"):
    """An alert, as `GET /api/v2/alerts` lists it."""

    fingerprint: str
    labels: dict[str, str]
    annotations: dict[str, str]
    starts_at: str
    status: _Status


_listing = msgspec.json.Decoder(list[_Listed])


class Muted:
    """Which alerts are muted, as the last listing said."""

    def __init__(self) -> None:
        self._muted: dict[tuple[str, int], AlertInhibited] = {}

    def take(self, listing: bytes, now_ns: int) -> list[AlertEvent]:
        """Return what is new since the last listing. Raises MalformedError."""
        try:
            listed = _listing.decode(listing)
        except msgspec.DecodeError as error:
            message = f"no listing of Alertmanager's: {error}"
            raise MalformedError(message) from error
        names = {each.fingerprint: each.labels.get("alertname", "") for each in listed}
        there = {(each.fingerprint, nanoseconds(each.starts_at)): each for each in listed}
        events: list[AlertEvent] = []
        for key, each in there.items():
            if each.status.inhibited_by and key not in self._muted:
                by = {names.get(print_, print_) for print_ in each.status.inhibited_by}
                self._muted[key] = _inhibited(each, key[1], sorted(by), now_ns)
                events.append(self._muted[key])
        gone = sorted(self._muted.keys() - there.keys())
        return events + [over(self._muted.pop(key), now_ns, now_ns) for key in gone]


def _inhibited(told: _Listed, started_at_ns: int, by: list[str], now_ns: int) -> AlertInhibited:
    said: dict[str, Any] = {
        "alert_id": told.labels.get("alert_id", ""),
        "service": told.labels.get("service", ""),
        "summary": told.annotations.get("summary", ""),
        "description": told.annotations.get("description", ""),
    }
    return AlertInhibited(
        fingerprint=told.fingerprint,
        name=told.labels.get("alertname", ""),
        severity=told.labels.get("severity", ""),
        started_at_ns=started_at_ns,
        told_at_ns=now_ns,
        labels=told.labels,
        inhibited_by=by,
        **said,
    )
