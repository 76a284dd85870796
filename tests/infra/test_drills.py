"""What is drilled is there, and takes no longer than its alert says."""

from pathlib import Path

import msgspec
import pytest
from aiokafka import ConsumerRecord
from typer.testing import CliRunner

from infra.cli import app
from infra.drill_cli import History, Line, MissedError
from infra.drill_journal import Changed, Journal, forget
from infra.drill_report import Played, markdown
from infra.drill_scene import KINDS
from infra.drills import (
    ALL,
    DRILLS,
    WITHOUT,
    Asked,
    Drill,
    Faltering,
    Fault,
    Garbled,
    Misruled,
    Stopped,
    Unwatched,
    named,
)
from infra.kafka.read import Tail
from infra.prometheus.config import JOBS
from infra.prometheus.rules import files
from infra.settings import EX_UNAVAILABLE
from infra.simulators.alpaca.faults import FAULTS as ALPACA
from infra.simulators.faults import name_of
from infra.simulators.yahoo.faults import FAULTS as YAHOO
from infra.stack.plan import PORTS
from infra.stack.refusal import Refusal
from infra.topics import TOPICS

THERE = {
    "alpaca": {name_of(kind) for kind in ALPACA},
    "yahoo": {name_of(kind) for kind in YAHOO},
}
ROOT = Path(__file__).parents[2]
IDS = [drill.alert.id for drill in DRILLS]


@pytest.mark.parametrize("drill", DRILLS, ids=IDS)
def test_what_a_drill_does_is_there(drill: Drill) -> None:
    """Faults that the simulators have, processes of the stack, commands of operators."""
    for act in (*drill.faults, *drill.after):
        match act:
            case Fault(vendor, name, _):
                assert name in THERE[vendor]
            case Stopped(process) | Faltering(process):
                assert process in PORTS
            case Asked(command, options):
                KINDS[command](at_ns=1, who="w", why="y", **options)
            case Unwatched(job):
                assert job in JOBS
            case Garbled(topic):
                assert topic in {each.name for each in TOPICS}
            case Misruled():
                pass


@pytest.mark.parametrize("factor", [1, 30])
@pytest.mark.parametrize("drill", DRILLS, ids=IDS)
def test_a_drill_waits_at_least_as_long_as_its_alert(drill: Drill, factor: float) -> None:
    """For what it has to hold, and for what it is kept up, divided as the rules are."""
    assert drill.expected_s(factor) > drill.alert.wait_s / factor
    assert drill.over_s(factor) > drill.alert.keep_s / factor


def test_what_stops_the_delivery_is_drilled_alone() -> None:
    """No other alert's end could be told meanwhile; so it waits for those that are awaited.

    Prometheus that reads its files again delivers nothing for some seconds either.
    """
    carriers = [Stopped("alertmanager"), Stopped("alerts")]

    def stops(act: object) -> bool:
        return act in carriers or isinstance(act, Unwatched | Misruled)

    assert {d.alert.id for d in DRILLS if d.alone} == {
        d.alert.id for d in DRILLS if any(map(stops, d.faults))
    }


def test_what_is_to_be_taken_back_stands_in_the_journal(tmp_path: Path) -> None:
    """Until it is; a new stack has nothing to take back."""
    journal = Journal(tmp_path)
    assert journal.left() is None
    assert not forget(tmp_path)
    journal.begin({"prometheus.yml": "before"})
    for alert in ("H1", "C1"):
        journal.strike(alert)
    journal.heal("H1")
    assert Journal(tmp_path).left() == Changed(before={"prometheus.yml": "before"}, playing=("C1",))
    journal.end()
    assert Journal(tmp_path).left() is None
    journal.begin({})
    assert forget(tmp_path)
    assert Journal(tmp_path).left() is None


def test_every_alert_is_drilled_or_it_is_said_why_not() -> None:
    """Each of the rule files, by its id; none twice."""
    rules = [rule for content in files().values() for g in content["groups"] for rule in g["rules"]]
    ids = {rule["labels"]["alert_id"] for rule in rules if "alert" in rule}
    assert ids == set(ALL)
    assert sorted([*IDS, *WITHOUT]) == sorted(ids)
    listed = CliRunner().invoke(app, ["drill", "--list"])
    assert listed.exit_code == 0
    assert {line.split()[0] for line in listed.output.splitlines()} == ids
    assert all(why in listed.output for why in WITHOUT.values())


def test_the_measured_times_are_of_every_drill() -> None:
    """What was printed when they were played last, a row each; play them again after a change."""
    page = (ROOT / "docs" / "alerts-drills-measured.md").read_text(encoding="utf-8")
    divided = page.partition("divided by 30")[2]
    assert sorted(row.split(" | ")[0] for row in divided.split("\n| ")[2:]) == sorted(IDS)


def test_a_drill_that_stays_has_no_end_to_wait_for() -> None:
    """The table says why, and what was muted, and what was missed."""
    played = [
        Played(drill=named("C1")[0], fired_s=71.2, over_s=140.4),
        Played(drill=named("R2")[0], fired_s=12.0),
        Played(drill=named("A1-burn1")[0], fired_s=9.0, muted_by=("AlpacaBothSourcesUnavailable",)),
        Played(drill=named("H1")[0], missed="did not fire: not within 3 s"),
    ]
    table = markdown(played, 30)
    assert "divided by 30; scraped and evaluated every 1 s" in table
    assert "| C1 | AlpacaBothSourcesUnavailable |" in table
    assert "| 71 |" in table
    assert "stays for as long as its window" in table
    assert "muted by AlpacaBothSourcesUnavailable" in table
    assert "did not fire: not within 3 s" in table


def test_drills_are_found_by_name_and_id() -> None:
    """And all of them by `all`."""
    assert named("C1") == named("AlpacaBothSourcesUnavailable")
    assert named("all") == DRILLS


@pytest.mark.parametrize(
    ("alert", "said"),
    [
        ("C9", "no drill for 'C9'"),
        ("C3", "cannot be drilled: a process near its cgroup's limit"),
        ("A1-burn2", "cannot be drilled: the same rule"),
    ],
)
def test_a_drill_that_is_not_there_is_named(tmp_path: Path, alert: str, said: str) -> None:
    """With those that are, or why."""
    done = CliRunner().invoke(app, ["drill", alert, "--data", str(tmp_path)])
    assert done.exit_code == 2
    told = " ".join(done.output.replace("│", " ").split())
    assert said in told


def test_without_a_stack_there_is_nothing_to_drill(tmp_path: Path) -> None:
    """Which is said with the directory."""
    done = CliRunner().invoke(app, ["drill", "C1", "--data", str(tmp_path)])
    assert isinstance(done.exception, Refusal)
    assert done.exception.exit_code == EX_UNAVAILABLE
    assert str(tmp_path) in str(done.exception)


class _Silent(Tail):
    """A history that says nothing more."""

    def __init__(self) -> None:
        super().__init__("127.0.0.1:1", "ops.alerts")

    async def fresh(self) -> list[ConsumerRecord]:
        """Return nothing."""
        return []


async def test_an_alert_that_does_not_come_is_missed() -> None:
    """A drill can fail."""
    with pytest.raises(MissedError, match="did not fire: not within 0 s"):
        await History(_Silent()).until(lambda _: True, 0, "did not fire")


async def test_what_was_told_before_counts() -> None:
    """The watchdog has fired since the stack began."""
    history = History(_Silent())
    history.lines.append(Line(event="alert_fired", name="Watchdog"))
    assert (await history.until(lambda line: line.name == "Watchdog", 0, "x")).event


async def test_an_alert_that_fires_already_is_waited_for() -> None:
    """What fires on is no new firing, muted or not; and a drill does not wait for ever."""
    history, (drill,) = History(_Silent()), named("H1")
    fired = Line(
        event="alert_fired",
        name=drill.alert.name,
        severity="high",
        fingerprint="f",
        started_at_ns=1,
    )
    for event in ("alert_fired", "alert_inhibited"):
        history.lines = [msgspec.structs.replace(fired, event=event)]
        await history.calm(named("C1")[0], 0)
        with pytest.raises(MissedError, match="AlpacaDisconnected fires already"):
            await history.calm(drill, 0)
    history.lines.append(msgspec.structs.replace(fired, event="alert_resolved"))
    await history.calm(drill, 0)


async def test_an_alert_of_something_else_is_no_matter() -> None:
    """The same alert about another thing fires or does not."""
    history, (drill,) = History(_Silent()), named("L1")
    name = drill.alert.name
    other = {"sloth_slo": "alpaca-uptime"}
    history.lines = [Line(event="alert_fired", name=name, severity="low", labels=other)]
    await history.calm(drill, 0)
    history.lines = [Line(event="alert_fired", name=name, severity="low", labels=dict(drill.about))]
    with pytest.raises(MissedError):
        await history.calm(drill, 0)
