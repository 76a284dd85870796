"""What is drilled is there, and takes no longer than its alert says."""

from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from typer.testing import CliRunner

from infra.cli import app
from infra.drill_cli import COMMANDS, History, Line, MissedError
from infra.drills import DRILLS, Asked, Drill, Fault, Stopped, named
from infra.kafka.read import Tail
from infra.settings import EX_UNAVAILABLE
from infra.simulators.alpaca.faults import FAULTS as ALPACA
from infra.simulators.faults import name_of
from infra.simulators.yahoo.faults import FAULTS as YAHOO
from infra.slo.rules import seconds
from infra.stack.plan import PORTS
from infra.stack.refusal import Refusal

THERE = {
    "alpaca": {name_of(kind) for kind in ALPACA},
    "yahoo": {name_of(kind) for kind in YAHOO},
}
IDS = [drill.alert.id for drill in DRILLS]


@pytest.mark.parametrize("drill", DRILLS, ids=IDS)
def test_what_a_drill_does_is_there(drill: Drill) -> None:
    """Faults that the simulators have, processes of the stack, commands of operators."""
    for act in (*drill.faults, *drill.after):
        match act:
            case Fault(vendor, name, _):
                assert name in THERE[vendor]
            case Stopped(process):
                assert process in PORTS
            case Asked(command, options):
                COMMANDS[command](at_ns=1, who="w", why="y", **options)


@pytest.mark.parametrize("drill", DRILLS, ids=IDS)
def test_a_drill_waits_at_least_as_long_as_its_alert(drill: Drill) -> None:
    """For what it has to hold, and for what it is kept up."""
    assert drill.expected_s > seconds(drill.alert.wait)
    assert drill.over_s > seconds(drill.alert.keep)


def test_these_are_drilled_at_least() -> None:
    """Both sources down, refused keys, disconnected, rejected, the two events, the watchdog."""
    assert {"C1", "C4", "H1", "H3", "I1", "I2", "X1"} <= set(IDS)
    assert len(IDS) == len(set(IDS))


def test_drills_are_found_by_name_and_id() -> None:
    """And all of them by `all`."""
    assert named("C1") == named("AlpacaBothSourcesUnavailable")
    assert named("all") == DRILLS


def test_a_drill_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With those that are."""
    done = CliRunner().invoke(app, ["drill", "C9", "--data", str(tmp_path)])
    assert done.exit_code == 2
    assert "no drill for 'C9'" in done.output


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
    assert await history.until(lambda line: line.name == "Watchdog", 0, "x") >= 0


async def test_an_alert_that_fires_already_is_waited_for() -> None:
    """What fires on is no new firing; and a drill does not wait for its end for ever."""
    history = History(_Silent())
    history.lines.append(Line(event="alert_fired", name="A", started_at_ns=1))
    await history.calm("B", 0)
    with pytest.raises(MissedError, match="A fires already"):
        await history.calm("A", 0)
    history.lines.append(Line(event="alert_resolved", name="A", started_at_ns=1))
    await history.calm("A", 0)
