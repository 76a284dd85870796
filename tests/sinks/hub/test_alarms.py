"""Which alerts fire, by what was told of them."""

import msgspec
import pytest

from infra.alertmanager.config import PRODUCTION, render
from sinks.events import AlertEvent
from sinks.hub.alarms import HEARD_NS, Alarms
from tests.sinks.hub.told import PAGED, fired, over, taken, watchdog


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


@pytest.mark.parametrize(
    ("told", "who"),
    [
        ([fired(), PAGED], None),
        ([fired(), taken(3)], None),
        ([fired(), PAGED, taken(3)], "ann"),
        ([PAGED, taken(3), fired()], "ann"),
        ([fired(), PAGED, taken(3), over(), fired(since=5)], None),
        ([fired(), PAGED, taken(3), over(), fired(since=5), PAGED], None),
        ([fired(), PAGED, taken(3), over(), fired(since=5), PAGED, taken(6)], "ann"),
    ],
)
def test_who_took_it_on(told: list[AlertEvent], who: str | None) -> None:
    """By the incident; who took an earlier one on has not taken this one."""
    alarms = Alarms()
    for event in told:
        alarms.take(event)
    (alarm,) = alarms.told(9).alerts
    assert alarm.acknowledged_by == who


def test_what_always_fires_is_nothing_to_do() -> None:
    """And each of the others leads to the words about it."""
    alarms = Alarms()
    alarms.take(watchdog(1))
    assert alarms.told(9).count == 0
    alarms.take(msgspec.structs.replace(fired(), name="AlpacaAuthFailure"))
    (alarm,) = alarms.told(9).alerts
    assert alarm.runbook == "docs/runbooks/RUNBOOK-006.md#alpacaauthfailure"


@pytest.mark.parametrize(
    ("told", "now_ns", "known"),
    [
        ([], 9, False),
        ([fired()], 9, False),
        ([watchdog(1)], 9, True),
        ([watchdog(1)], 1 + HEARD_NS, True),
        ([watchdog(1)], 2 + HEARD_NS, False),
        ([watchdog(1), watchdog(9)], 2 + HEARD_NS, True),
        ([watchdog(1), over("w")], 9, False),
        ([watchdog(1), over("w"), watchdog(9)], 9, True),
    ],
)
def test_silence_is_news_only_where_alerts_are_told(
    told: list[AlertEvent], now_ns: int, *, known: bool
) -> None:
    """What always fires proves it: while it does, and was told of when it had to be."""
    alarms = Alarms()
    for event in told:
        alarms.take(event)
    assert alarms.told(now_ns).known is known


def test_the_history_is_told_before_it_is_given_up() -> None:
    """Alertmanager repeats itself to it more often than that."""
    history = render(PRODUCTION)["route"]["routes"][0]
    assert history["receiver"] == "history"
    assert int(history["repeat_interval"].removesuffix("ms")) * 10**6 < HEARD_NS
