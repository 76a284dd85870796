"""What is told becomes an event; what is not signed, or is nothing, does not."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.alerts import notices
from sinks.events import AlertAcknowledged, AlertFired, AlertJudged, AlertPaged, AlertResolved
from tests.sinks.alerts.payloads import INCIDENT, SECRET, notice, notification, signature

NOW = 1_790_000_000_000_000_000
STARTED = 1_795_532_400_123_456_789


def test_what_fires_and_resolves() -> None:
    """With the labels and words of the alert, to the nanosecond."""
    (fired,) = notices.alerts(notification(), NOW)
    assert isinstance(fired, AlertFired)
    assert (fired.name, fired.alert_id, fired.severity) == (
        "AlpacaBothSourcesUnavailable",
        "C1",
        "critical",
    )
    assert (fired.started_at_ns, fired.told_at_ns) == (STARTED, NOW)
    assert fired.summary == "Neither delivers"
    (resolved,) = notices.alerts(notification(over=True), NOW)
    assert isinstance(resolved, AlertResolved)
    assert (resolved.fingerprint, resolved.started_at_ns) == (fired.fingerprint, STARTED)
    assert resolved.ended_at_ns == STARTED // 10**9 * 10**9 + 480 * 10**9
    assert notices.key(fired) == notices.key(resolved) == b"03ec4371900ea457"


def test_who_was_paged_is_told_by_the_pagers_key() -> None:
    """The digest of the group's key; a page that is over pages nobody."""
    (paged,) = notices.pages(notification(), NOW)
    assert isinstance(paged, AlertPaged)
    assert paged.incident_key == INCIDENT
    assert notices.pages(notification(over=True), NOW) == []


def test_who_acknowledged() -> None:
    """Matched by the incident's key; the key of the record is it as well."""
    body = notice()
    (taken,) = notices.acknowledgements(body, signature(body, SECRET), [SECRET], NOW)
    assert isinstance(taken, AlertAcknowledged)
    assert (taken.incident_key, taken.who) == (INCIDENT, "Tenex Engineer")
    assert taken.at_ns == 1_795_532_550_000_000_000
    assert notices.key(taken) == INCIDENT.encode()


@pytest.mark.parametrize(
    "body",
    [
        notice("incident.triggered"),
        notice("pagey.ping", data={"message": "Hello from your friend Pagey!", "type": "ping"}),
        notice(data={"id": "P1", "incident_key": None}),
    ],
)
def test_what_else_pagerduty_tells_is_nothing(body: bytes) -> None:
    """Another event, its test of the address, an incident that a person opened by hand."""
    assert notices.acknowledgements(body, signature(body, SECRET), [SECRET], NOW) == []


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v1=",
        "v1=00",
        signature(notice(), "another secret"),
        signature(notice() + b" ", SECRET),
        ",".join(["v1=00"] * 10 + [signature(notice(), SECRET)]),
    ],
)
def test_a_notice_that_is_not_signed_is_refused(header: str) -> None:
    """By nobody, by somebody else, for another body, or behind more tries than there are."""
    with pytest.raises(notices.UnsignedError):
        notices.acknowledgements(notice(), header, [SECRET], NOW)


def test_while_a_secret_is_replaced_both_hold() -> None:
    """PagerDuty signs with each of them, and so may we know each."""
    body = notice()
    both = signature(body, "an old secret", SECRET)
    assert notices.acknowledgements(body, both, [SECRET], NOW)
    assert notices.acknowledgements(body, signature(body, SECRET), ["an old secret", SECRET], NOW)
    with pytest.raises(notices.UnsignedError):
        notices.acknowledgements(body, both, [], NOW)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "no notification"),
        (b"[]", "no notification"),
        (b'{"version":"4","groupKey":"k"}', "alerts"),
        (notification(version="5"), "expected 4"),
        (notification().replace(b"2026-11-24T15:00", b"yesterday"), "is no time"),
        (notification().replace(b"789Z", b"789"), "no time zone"),
    ],
)
def test_what_is_no_notification_is_refused(body: bytes, sentence: str) -> None:
    """In words that say what it should be."""
    for read in (notices.alerts, notices.pages):
        with pytest.raises(notices.MalformedError, match=sentence):
            read(body, NOW)


def test_a_signed_notice_that_is_none_is_refused() -> None:
    """A secret does not make sense of nonsense."""
    body = json.dumps({"event": "hello"}).encode()
    with pytest.raises(notices.MalformedError, match="no notice"):
        notices.acknowledgements(body, signature(body, SECRET), [SECRET], NOW)


def test_what_somebody_says_that_it_was_worth() -> None:
    """In one of three words, with a name and a reason; a fourth word is refused."""
    said = {"fingerprint": "f", "started_at_ns": 1, "verdict": "noise", "who": "w", "why": "y"}
    (judged,) = notices.judgement(json.dumps(said).encode(), NOW)
    assert isinstance(judged, AlertJudged)
    assert (judged.verdict, judged.at_ns, notices.key(judged)) == ("noise", NOW, b"f")
    for wrong in ({**said, "verdict": "meh"}, {**said, "at_ns": 1}, {"fingerprint": "f"}):
        with pytest.raises(notices.MalformedError, match="no judgement"):
            notices.judgement(json.dumps(wrong).encode(), NOW)


@given(
    st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001  # made aware below
    st.integers(0, 999_999_999),
    st.integers(0, 9),
)
def test_every_time_keeps_its_nanoseconds(second: datetime, nanos: int, digits: int) -> None:
    """However many of its digits were written."""
    second = second.replace(microsecond=0, tzinfo=UTC)
    fraction = f"{nanos:09d}"[:digits]
    text = second.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "") + "Z"
    expected = int(second.timestamp()) * 10**9 + int(fraction.ljust(9, "0"))
    assert notices.nanoseconds(text) == expected
