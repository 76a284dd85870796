"""No firing is left without its end, whatever is told again or late."""

import pytest

from sinks.alerts.firing import Firing, over
from sinks.alerts.notices import alerts
from sinks.events import AlertFired, AlertResolved
from tests.sinks.alerts.payloads import notification

NOW = 5


def fired(minute: int) -> AlertFired:
    """Return the firing that began at that minute."""
    (event,) = alerts(notification(began=f"2026-11-24T15:0{minute}:00Z"), NOW)
    assert isinstance(event, AlertFired)
    return event


def resolved(minute: int) -> AlertResolved:
    """Return the end of the firing that began at that minute."""
    (event,) = alerts(notification(over=True, began=f"2026-11-24T15:0{minute}:00Z"), NOW)
    assert isinstance(event, AlertResolved)
    return event


@pytest.mark.parametrize(
    "before",
    [
        [],
        [fired(1)],
        [fired(0), resolved(0)],
        [fired(2)],
        # told again, behind its end
        [fired(0), resolved(0), fired(1), fired(0)],
    ],
    ids=["nothing", "itself", "one over", "a later one", "an older one again"],
)
def test_nothing_is_added_where_nothing_is_missing(before: list[AlertFired]) -> None:
    """Alertmanager tells the same thing again and again."""
    firing = Firing()
    firing.wrote(before)
    assert firing.with_ends([fired(1)]) == [fired(1)]


def test_the_end_comes_before_what_follows_it() -> None:
    """It was over when the next one began, at the latest."""
    firing = Firing()
    firing.wrote([fired(0)])
    told = firing.with_ends([fired(1)])
    assert told == [over(fired(0), fired(1).started_at_ns, NOW), fired(1)]
    firing.wrote(told)
    assert firing.with_ends([fired(1), resolved(1)]) == [fired(1), resolved(1)]


def test_of_a_firing_that_nobody_was_told_of_its_beginning_is_told_with_its_end() -> None:
    """It is the same alert as the one before, whose end nobody was told of either."""
    firing = Firing()
    firing.wrote([fired(0)])
    told = firing.with_ends([resolved(1)])
    again = fired(1)
    assert told == [over(fired(0), again.started_at_ns, NOW), again, resolved(1)]
    firing.wrote(told)
    assert firing.with_ends([fired(2)]) == [fired(2)]


def test_until_it_is_written_down_it_is_missing() -> None:
    """What Kafka did not take comes again, and its end with it."""
    firing = Firing()
    firing.wrote([fired(0)])
    assert firing.with_ends([fired(1)]) == firing.with_ends([fired(1)])
    assert len(firing.with_ends([fired(1)])) == 2


def test_other_alerts_are_others() -> None:
    """By all their labels, which Alertmanager's fingerprint is of."""
    firing = Firing()
    firing.wrote([fired(0)])
    (body,) = alerts(notification(began="2026-11-24T15:01:00Z").replace(b"03ec", b"ffff"), NOW)
    assert firing.with_ends([body]) == [body]
