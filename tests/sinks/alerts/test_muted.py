"""What Alertmanager mutes is heard of from its listing, once, and its end by its being gone."""

import json
from typing import Any

import pytest

from sinks.alerts.muted import Muted
from sinks.alerts.notices import MalformedError
from sinks.events import AlertInhibited, AlertResolved

STARTED = "2026-11-24T15:00:00.000Z"


def listed(name: str, *by: str, starts_at: str = STARTED) -> dict[str, Any]:
    """Return an alert as the listing has it; its fingerprint is its name in small letters."""
    return {
        "fingerprint": name.lower(),
        "labels": {"alertname": name, "severity": "high", "alert_id": "H1", "service": "ingest"},
        "annotations": {"summary": "it is so"},
        "startsAt": starts_at,
        "endsAt": STARTED,
        "status": {"state": "suppressed", "inhibitedBy": [each.lower() for each in by]},
    }


def take(muted: Muted, *alerts: dict[str, Any], now: int = 1) -> list[Any]:
    """Have a listing taken."""
    return list(muted.take(json.dumps(alerts).encode(), now))


def test_what_is_muted_is_told_once_with_those_that_mute_it() -> None:
    """Whoever mutes it besides, later, is no news; nor is what nobody mutes."""
    muted = Muted()
    (told,) = take(muted, listed("Quiet", "Loud"), listed("Loud"))
    assert isinstance(told, AlertInhibited)
    assert (told.name, told.inhibited_by, told.alert_id) == ("Quiet", ["Loud"], "H1")
    assert told.started_at_ns == 1_795_532_400_000_000_000
    assert take(muted, listed("Quiet", "Loud", "Other"), listed("Loud"), listed("Other")) == []


def test_what_is_gone_is_over() -> None:
    """And if it fires again later, it is muted again."""
    muted = Muted()
    (first,) = take(muted, listed("Quiet", "Loud"), listed("Loud"))
    (over,) = take(muted, listed("Loud"), now=7)
    assert isinstance(over, AlertResolved)
    assert (over.fingerprint, over.started_at_ns) == (first.fingerprint, first.started_at_ns)
    assert over.ended_at_ns == 7
    assert take(muted, listed("Loud"), now=8) == []
    again = listed("Quiet", "Loud", starts_at="2026-11-24T16:00:00Z")
    assert [type(each) for each in take(muted, again, listed("Loud"))] == [AlertInhibited]


def test_one_that_is_let_go_of_is_not_over() -> None:
    """Once nobody mutes it, Alertmanager tells of it itself, and of its end."""
    muted = Muted()
    take(muted, listed("Quiet", "Loud"), listed("Loud"))
    assert take(muted, listed("Quiet")) == []


def test_who_is_not_listed_is_called_by_the_fingerprint() -> None:
    """One that mutes and is gone by now."""
    (told,) = take(Muted(), listed("Quiet", "Loud"))
    assert told.inhibited_by == ["loud"]


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b"[{}]"])
def test_what_is_no_listing_is_said(body: bytes) -> None:
    """With what is wrong about it."""
    with pytest.raises(MalformedError, match="no listing of Alertmanager's"):
        Muted().take(body, 1)
