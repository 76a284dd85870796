"""Every hour has somebody: what the schedule of those on call has to be."""

import datetime as dt
import re
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import pytest
import yaml

from infra.prometheus.alerts import LADDER

FILE = Path(__file__).parent.parent.parent / "docs" / "oncall" / "schedule.yml"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ROLES = ("primary", "secondary")
WAKES = ("critical", "high")


class HandOver(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When one hands over to the next."""

    weekday: Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    time: Annotated[str, msgspec.Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class Person(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where somebody is reached."""

    pager: Annotated[str, msgspec.Meta(pattern=r"^[^@\s]+@[^@\s]+$")]
    chat: Annotated[str, msgspec.Meta(pattern=r"^@\S+$")]


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is asked after so many minutes without an acknowledgement."""

    after_minutes: Annotated[int, msgspec.Meta(ge=0)]
    ask: str


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    time_zone: str
    hand_over: HandOver
    first_week: dt.date
    rotation: Annotated[list[str], msgspec.Meta(min_length=2)]
    people: dict[str, Person]
    escalation: dict[str, list[Step]]


def wrong(content: Any) -> list[str]:
    """Return what is wrong in a schedule, in words; nothing where all is well."""
    try:
        schedule = msgspec.convert(content, Schedule)
        ZoneInfo(schedule.time_zone)
    except (msgspec.ValidationError, OSError, ValueError, LookupError) as error:
        return [str(error)]
    found = [
        f"rotation: nobody is called {name!r}"
        for name in schedule.rotation
        if name not in schedule.people
    ]
    if len(set(schedule.rotation)) < len(schedule.rotation):
        found.append("rotation: somebody stands there twice")
    if WEEKDAYS[schedule.first_week.weekday()] != schedule.hand_over.weekday:
        found.append(f"first_week: {schedule.first_week} is no {schedule.hand_over.weekday}")
    found += [
        f"escalation: there is none for {severity}"
        for severity in WAKES
        if severity not in schedule.escalation
    ]
    for severity, steps in schedule.escalation.items():
        if severity not in LADDER:
            found.append(f"escalation: {severity!r} is no severity")
        after = [step.after_minutes for step in steps]
        if not after or after[0] != 0 or sorted(set(after)) != after:
            found.append(f"escalation: {severity} begins at 0 and grows, this is {after}")
        found += [
            f"escalation: nobody is called {step.ask!r}"
            for step in steps
            if step.ask not in {*ROLES, *schedule.people}
        ]
    return found


def _content() -> Any:
    return yaml.safe_load(FILE.read_text("utf-8"))


def on_call(schedule: Schedule, when: dt.datetime) -> tuple[str, str]:
    """Return who is asked first at a moment, and who next."""
    there = when.astimezone(ZoneInfo(schedule.time_zone)).replace(tzinfo=None)
    at = dt.time.fromisoformat(schedule.hand_over.time)
    weeks = (there - dt.datetime.combine(schedule.first_week, at)) // dt.timedelta(weeks=1)
    names = schedule.rotation
    return names[weeks % len(names)], names[(weeks + 1) % len(names)]


def test_the_schedule_has_somebody_for_every_hour() -> None:
    """And a next one to ask; a year through, whoever was next is on call the week after."""
    assert wrong(_content()) == []
    schedule = msgspec.convert(_content(), Schedule)
    at = dt.time.fromisoformat(schedule.hand_over.time)
    begins = dt.datetime.combine(schedule.first_week, at, ZoneInfo(schedule.time_zone))
    utc = begins.astimezone(dt.UTC)
    asked = [on_call(schedule, utc + dt.timedelta(hours=hour)) for hour in range(366 * 24)]
    assert {name for pair in asked for name in pair} == set(schedule.rotation)
    assert all(first != second for first, second in asked)
    changes = [
        (utc + dt.timedelta(hours=hour), before, after)
        for hour, (before, after) in enumerate(pairwise(asked), 1)
        if before != after
    ]
    assert len(changes) == 52
    for moment, (_, second), (first, _) in changes:
        there = moment.astimezone(begins.tzinfo)
        # in winter and in summer
        assert (WEEKDAYS[there.weekday()], there.time()) == (schedule.hand_over.weekday, at)
        assert first == second


def test_the_schedule_names_nobody() -> None:
    """Who runs this puts their own people in; addresses are those that nobody can have."""
    content = _content()
    roles = {"first", "second", "third", "lead"}
    assert set(content["people"]) == roles
    for name, person in content["people"].items():
        assert person == {"pager": f"{name}@example.com", "chat": f"@{name}"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"rotation": ["first", "nobody"]}, "nobody is called 'nobody'"),
        ({"rotation": ["first"]}, "rotation"),
        ({"rotation": ["first", "first"]}, "stands there twice"),
        ({"first_week": dt.date(2026, 1, 6)}, "2026-01-06 is no monday"),
        ({"time_zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"hand_over": {"weekday": "monday", "time": "25:00"}}, "hand_over.time"),
        ({"escalation": {"critical": []}}, "there is none for high"),
        ({"escalation": {"critical": [{"after_minutes": 5, "ask": "primary"}]}}, "begins at 0"),
        ({"escalation": {"loud": [{"after_minutes": 0, "ask": "primary"}]}}, "is no severity"),
        ({"escalation": {"high": [{"after_minutes": 0, "ask": "x"}]}}, "nobody is called 'x'"),
        ({"people": {"first": {"pager": "?", "chat": "@first"}}}, "people"),
        ({"extra": 1}, "extra"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_in_a_schedule_is_said(change: dict[str, Any], sentence: str) -> None:
    """Before the night in which nobody is called."""
    found = wrong(_content() | change)
    assert any(sentence in each for each in found), found


def test_the_matrix_and_the_schedule_say_the_same() -> None:
    """How long each step waits stands in a table for people as well."""
    text = FILE.with_name("README.md").read_text("utf-8")
    waits = {
        severity: int(minutes)
        for severity, minutes in re.findall(
            r"^\| (critical|high) \|[^|]+\| (\d+) min \|", text, re.MULTILINE
        )
    }
    steps = _content()["escalation"]
    assert waits == {severity: steps[severity][1]["after_minutes"] for severity in WAKES}
    assert re.findall(r"^\| (\w+) \| (?!told)", text, re.MULTILINE) == list(LADDER)


def test_the_template_of_a_postmortem_asks_for_all_of_it() -> None:
    """What happened, why, and what is changed so that it does not again."""
    text = FILE.parent.parent.joinpath("postmortem.md").read_text("utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Summary",
        "Timeline",
        "Causes",
        "What went well, what did not, where we were lucky",
        "What we change",
    ]
    for asked in ("began, detected, mitigated, over", "impact", "error budget spent", "until"):
        assert asked in text
