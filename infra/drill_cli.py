"""`twinfeed drill`: makes an alert fire on the running stack, and waits for it where alerts end up.

That is the history (`ops.alerts`): what stands there has gone from the fault through a stage's
metrics, Prometheus's scrape and rules, and Alertmanager's route.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, assert_never

import msgspec
import typer
from aiokafka.errors import KafkaError

from infra import ops_cli, sim_cli
from infra.clock import now_ns
from infra.commands import Command, Failover, Reconnect, Release
from infra.drills import Act, Asked, Drill, Fault, Stopped, named
from infra.kafka.read import Tail
from infra.settings import EX_SOFTWARE, EX_UNAVAILABLE, StageSettings, load
from infra.stack import board as boards
from infra.stack import preflight
from infra.stack.refusal import Refusal
from infra.topics import ALERTS

Data = Annotated[Path, typer.Option("--data", help="The running stack's directory.")]
WHY, WHO = "a drill", "twinfeed drill"
#: How often the history is looked into.
LOOK_S = 0.5
COMMANDS: dict[str, type[Any]] = {
    "failover": Failover,
    "release": Release,
    "reconnect": Reconnect,
}


class Line(msgspec.Struct, frozen=True):
    """A line of the history, as far as a drill reads it."""

    event: str
    name: str = ""
    started_at_ns: int = 0


_line = msgspec.json.Decoder(Line)


class MissedError(Exception):
    """An alert did not come, or did not end; the message says how long was waited."""


class History:
    """What `ops.alerts` says, and since when."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self.lines: list[Line] = []

    async def begin(self) -> None:
        """Read what was told before."""
        await self._look()

    async def calm(self, name: str, within_s: float) -> None:
        """Wait until an alert is over that fires already. Raises MissedError."""
        began = time.monotonic()
        while self._on(name):
            if time.monotonic() - began > within_s:
                message = f"{name} fires already, and is not over within {within_s:.0f} s"
                raise MissedError(message)
            await asyncio.sleep(LOOK_S)
            await self._look()

    def _on(self, name: str) -> set[int]:
        of = [line for line in self.lines if line.name == name]
        over = {line.started_at_ns for line in of if line.event == "alert_resolved"}
        return {line.started_at_ns for line in of if line.event == "alert_fired"} - over

    async def _look(self) -> None:
        self.lines += [_line.decode(record.value) for record in await self._tail.fresh()]

    async def until(self, told: Callable[[Line], bool], within_s: float, what: str) -> float:
        """Wait for a line; return the seconds that it took. Raises MissedError."""
        began = time.monotonic()
        seen = 0
        while True:
            await self._look()
            if any(told(line) for line in self.lines[seen:]):
                return time.monotonic() - began
            seen = len(self.lines)
            if time.monotonic() - began > within_s:
                message = f"{what}: not within {within_s:.0f} s"
                raise MissedError(message)
            await asyncio.sleep(LOOK_S)


def drill(
    alert: Annotated[str, typer.Argument(help="Its name or id; or all.")],
    *,
    to_the_end: Annotated[
        bool, typer.Option("--to-the-end/--fire-only", help="Wait until it is over as well.")
    ] = True,
    patience: Annotated[
        float, typer.Option(min=1, help="So many times as long as expected is waited.")
    ] = 2.0,
    data: Data = Path(".twinfeed"),
) -> None:
    """Make an alert fire on the running stack with simulated vendors, and wait until it is over."""
    try:
        drills = named(alert)
    except LookupError as error:
        raise typer.BadParameter(str(error)) from error
    data = data.absolute()
    if not preflight.is_running(data):
        message = f"no stack is running on {data}"
        raise Refusal(message, EX_UNAVAILABLE)
    try:
        missed = asyncio.run(_all(drills, data, to_the_end=to_the_end, patience=patience))
    except KafkaError as error:
        message = f"the stack's Kafka does not answer: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    if missed:
        message = f"{len(missed)} of {len(drills)} drills failed: {', '.join(missed)}"
        raise Refusal(message, EX_SOFTWARE)


async def _all(
    drills: tuple[Drill, ...], data: Path, *, to_the_end: bool, patience: float
) -> list[str]:
    settings = load(StageSettings)
    tail = Tail(ops_cli.kafka_of(data), settings.topic(ALERTS.name))
    await tail.start()
    missed = []
    try:
        history = History(tail)
        await history.begin()
        for each in drills:
            try:
                await _one(each, history, data, to_the_end=to_the_end, patience=patience)
            except MissedError as error:
                typer.echo(f"{each.alert.id} {error}", err=True)
                missed.append(each.alert.name)
    finally:
        await tail.stop()
    return missed


async def _one(
    drilled: Drill, history: History, data: Path, *, to_the_end: bool, patience: float
) -> None:
    alert = drilled.alert
    # an event of its own is a firing of its own; what lasts may last from before
    if drilled.faults and alert.severity != "info":
        await history.calm(alert.name, patience * drilled.over_s)
    since_ns = time.time_ns()
    fires_at = since_ns if drilled.faults else 0  # one without a fault fires all the time

    def fired(line: Line) -> bool:
        return (
            line.event == "alert_fired"
            and line.name == alert.name
            and line.started_at_ns >= fires_at
        )

    def over(line: Line) -> bool:
        return (
            line.event == "alert_resolved"
            and line.name == alert.name
            and line.started_at_ns >= fires_at
        )

    taken: float | None = None
    for act in drilled.faults:
        await _do(act, data)
    try:
        if drilled.away_s:
            # what makes it fire is its end, and the fault has to be seen first
            await asyncio.sleep(drilled.away_s)
        else:
            taken = await history.until(fired, patience * drilled.expected_s, "did not fire")
    finally:
        for act in drilled.faults:
            await _undo(act, data)
        for asked in drilled.after:
            await _do(asked, data)
    if taken is None:
        taken = await history.until(fired, patience * drilled.expected_s, "did not fire")
    sentence = f"{alert.id} {alert.name}: fired after {taken:.0f} s"
    sentence += f" (expected {drilled.expected_s:.0f})"
    if to_the_end and drilled.faults:
        ended = await history.until(over, patience * drilled.over_s, "was not over")
        sentence += f", over after {ended:.0f} s (expected {drilled.over_s:.0f})"
    typer.echo(sentence)


async def _do(act: Act, data: Path) -> None:
    match act:
        case Fault(vendor, name, parameters):
            base = sim_cli.base(sim_cli.Vendor(vendor), data, None)
            await asyncio.to_thread(sim_cli.ask, base, "PUT", f"/faults/{name}", dict(parameters))
        case Stopped(process):
            _signal(process, data, signal.SIGSTOP)
        case Asked(command, options):
            await _command(command, options, data)
        case _:
            assert_never(act)


async def _undo(act: Act, data: Path) -> None:
    match act:
        case Fault(vendor, name, _):
            base = sim_cli.base(sim_cli.Vendor(vendor), data, None)
            await asyncio.to_thread(sim_cli.ask, base, "DELETE", f"/faults/{name}")
        case Stopped(process):
            _signal(process, data, signal.SIGCONT)
        case Asked():
            pass  # what ends it is asked afterwards
        case _:
            assert_never(act)


def _signal(process: str, data: Path, how: signal.Signals) -> None:
    board = boards.read(data)
    pids = [s.pid for s in board.statuses if s.name == process and s.pid] if board else []
    if not pids:
        message = f"{process} does not run on {data}"
        raise Refusal(message, EX_UNAVAILABLE)
    os.kill(pids[0], how)


async def _command(command: str, options: Any, data: Path) -> None:
    asked: Command = COMMANDS[command](at_ns=now_ns(), who=WHO, why=WHY, **options)
    await ops_cli.write(asked, ops_cli.kafka_of(data), load(StageSettings).topic("ops.commands"))
