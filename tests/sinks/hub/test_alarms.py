"""Which alerts fire, by what was told of them."""

import pytest

from sinks.events import AlertEvent, AlertFired, AlertPaged, AlertResolved
from sinks.hub.alarms import Alarms


def fired(fingerprint: str = "a", since: int = 1) -> AlertFired:
    """An alert that fires."""
    return AlertFired(
        fingerprint=fingerprint,
        name="Mute",
        severity="warning",
        started_at_ns=since,
        told_at_ns=since,
        alert_id="A1",
        service="ingest",
        labels={},
        summary="",
        description="",
    )


def over(since: int = 1) -> AlertResolved:
    """The same alert's end."""
    return AlertResolved(
        fingerprint="a",
        name="Mute",
        severity="warning",
        started_at_ns=since,
        told_at_ns=9,
        ended_at_ns=9,
    )


PAGED = AlertPaged(
    fingerprint="a",
    name="Mute",
    severity="warning",
    started_at_ns=1,
    told_at_ns=2,
    incident_key="k",
)


@pytest.mark.parametrize(
    ("told", "firing"),
    [
        ([], []),
        ([fired()], [("a", 1)]),
        ([fired(), fired()], [("a", 1)]),
        ([fired(), PAGED], [("a", 1)]),
        ([PAGED], []),
        ([fired(), over()], []),
        ([over()], []),
        ([fired(), over(), fired(since=3)], [("a", 3)]),
        ([fired(since=3), over(since=1)], [("a", 3)]),
        ([fired(), fired("b", 2), fired("c", 2)], [("b", 2), ("c", 2), ("a", 1)]),
    ],
)
def test_the_last_that_was_told_counts(
    told: list[AlertEvent], firing: list[tuple[str, int]]
) -> None:
    """By fingerprint; the end of an earlier time does not end a later one."""
    alarms = Alarms()
    for event in told:
        alarms.take(event)
    assert [(each.fingerprint, each.started_at_ns) for each in alarms.firing()] == firing
