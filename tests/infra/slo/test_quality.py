"""How good alerts are is told by their history alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.slo.quality import NS, firings, markdown, report

EMPTY: dict[str, Any] = {
    **dict.fromkeys(("fingerprint", "name", "severity", "service", "summary"), ""),
    **dict.fromkeys(("incident_key", "verdict"), ""),
    **dict.fromkeys(("started_at_ns", "at_ns"), 0),
    "ended_at_ns": None,
    "inhibited_by": [],
}
MINUTE = 60 * NS


def row(event: str, **fields: Any) -> dict[str, Any]:
    """Return a row of the table of alerts."""
    return {**EMPTY, "event": event, **fields}


def fired(name: str, at: int, *, severity: str = "critical", ended: int | None = None) -> list[Any]:
    """Return the rows of one firing: it is paged under its name; times in minutes."""
    of = {
        "fingerprint": f"f-{name}",
        "name": name,
        "severity": severity,
        "started_at_ns": at * MINUTE,
    }
    rows = [
        row("alert_fired", **of, service="s", summary="it is so"),
        row("alert_paged", **of, incident_key=f"i-{name}"),
    ]
    if ended is not None:
        rows.append(row("alert_resolved", **of, ended_at_ns=ended * MINUTE))
    return rows


def acknowledged(name: str, at: int) -> dict[str, Any]:
    """Return an acknowledgement."""
    return row("alert_acknowledged", incident_key=f"i-{name}", at_ns=at * MINUTE)


def judged(name: str, started: int, verdict: str, at: int = 10_000) -> dict[str, Any]:
    """Return a judgement."""
    return row(
        "alert_judged",
        fingerprint=f"f-{name}",
        started_at_ns=started * MINUTE,
        verdict=verdict,
        at_ns=at * MINUTE,
    )


def test_times_are_means_over_what_is_known() -> None:
    """MTTA from the beginning to the acknowledgement, MTTR to the end."""
    rows = [
        *fired("A", 100, ended=120),
        acknowledged("A", 102),
        *fired("B", 200, ended=210),
        acknowledged("B", 206),
        *fired("C", 300),
    ]
    figures = report(firings(rows)).all
    assert (figures.fired, figures.known) == (3, 2)
    assert (figures.acknowledged_s, figures.resolved_s) == (240, 900)
    assert (figures.actionable, figures.false) == (1.0, 0.0)


def test_a_judgement_outweighs_an_acknowledgement() -> None:
    """Somebody took it on, and there was nothing wrong; the last word counts."""
    rows = [
        *fired("A", 100, ended=101),
        acknowledged("A", 101),
        judged("A", 100, "actionable", at=500),
        judged("A", 100, "false", at=600),
    ]
    figures = report(firings(rows)).all
    assert (figures.actionable, figures.false) == (0.0, 1.0)


def test_an_incident_of_another_day_is_not_acknowledged_by_this_days() -> None:
    """A group's incidents share their key."""
    rows = [*fired("A", 100, ended=110), *fired("A", 5000, ended=5010), acknowledged("A", 5003)]
    first, second = firings(rows)
    assert first.acknowledged_at_ns is None
    assert second.acknowledged_at_ns == 5003 * MINUTE


def test_nobody_is_told_of_events() -> None:
    """What is written down alone says nothing about how good alerts are."""
    assert report(firings(fired("I", 1, severity="info", ended=2))).all.fired == 0


@pytest.mark.parametrize(
    ("verdicts", "ended", "why"),
    [
        (["false", "actionable", "actionable"], 30, "false 33%"),
        (["noise", "actionable", "actionable"], 30, "something to do 67%"),
        (["actionable"] * 3, 30, ""),
        ([None] * 3, 2, "over by itself after 2 min 0 s"),
        ([None] * 3, 30, ""),
        (["false"] * 2, 30, ""),
    ],
)
def test_what_is_to_be_tuned(verdicts: list[str | None], ended: int, why: str) -> None:
    """Once it is known often enough; and what is over before anybody could look."""
    rows: list[Any] = []
    for number, verdict in enumerate(verdicts):
        start = 100 * (number + 1)
        rows += fired("A", start, ended=start + ended)
        rows += [judged("A", start, verdict)] if verdict else []
    tune = report(firings(rows)).tune
    assert list(tune) == (["A"] if why else [])
    assert tune.get("A", "").startswith(why)


@given(st.randoms(use_true_random=False))
def test_the_order_and_number_of_the_rows_is_nothing(random: Any) -> None:
    """What is told twice, or late, is told once."""
    rows = [
        *fired("A", 100, ended=120),
        acknowledged("A", 102),
        *fired("A", 300, ended=320),
        judged("A", 300, "noise"),
    ]
    told = rows + random.sample(rows, 3)
    random.shuffle(told)
    assert firings(told) == firings(rows)


def test_the_page_has_what_was_promised_beside_it() -> None:
    """And says where nothing is known."""
    page = markdown(report(firings(fired("A", 100))), 30)
    assert "| actionable | - | > 80 % |" in page
    assert "| A | 1 | 0 | 0 | - | - | - | - |" in page
    assert "Nothing to tune." in page


def test_what_was_muted_is_counted_and_nobodys() -> None:
    """It fired and nobody was told; one that was told before or later was told."""
    of = {"fingerprint": "f", "severity": "high", "started_at_ns": MINUTE}
    muted = row("alert_inhibited", **of, name="quiet", inhibited_by=["Loud"])
    rows = [
        *fired("loud", 1, ended=3),
        muted,
        row("alert_resolved", **of, name="quiet", ended_at_ns=2 * MINUTE),
        *fired("both", 1, ended=3),
        row("alert_inhibited", **{**of, "fingerprint": "f-both"}, name="both", inhibited_by=["L"]),
    ]
    found = report(firings(rows))
    assert (found.all.fired, found.all.muted) == (2, 1)
    assert (found.by_alert["quiet"].fired, found.by_alert["quiet"].muted) == (0, 1)
    assert found.by_alert["quiet"].resolved_s is None
    assert "1 more fired while a louder alert muted them" in markdown(found, 1)
    assert "| quiet | 0 | 1 |" in markdown(found, 1)
