"""`twinfeed drill`: makes an alert fire on the running stack, and waits for it where alerts end up.

That is the history (`ops.alerts`): what stands there has gone from the fault through a stage's
metrics, Prometheus's scrape and rules, and Alertmanager's route. One that a louder alert mutes is
there as muted, and has fired.

The next drill begins once an alert has fired and its fault is taken away; its end is waited for
beside.
"""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from aiokafka.errors import KafkaError

from infra import drill_report, ops_cli
from infra.drill_report import Played
from infra.drill_scene import Scene
from infra.drills import Drill, named
from infra.kafka.read import Tail
from infra.settings import EX_SOFTWARE, EX_UNAVAILABLE, StageSettings, load
from infra.stack import preflight
from infra.stack.refusal import Refusal
from infra.topics import ALERTS

Data = Annotated[Path, typer.Option("--data", help="The running stack's directory.")]
#: How often the history is looked into.
LOOK_S = 0.5
FIRED = {"alert_fired", "alert_inhibited"}


class Line(msgspec.Struct, frozen=True):
    """A line of the history, as far as a drill reads it."""

    event: str
    name: str = ""
    severity: str = ""
    fingerprint: str = ""
    started_at_ns: int = 0
    labels: dict[str, str] = {}
    inhibited_by: list[str] = []

    @property
    def firing(self) -> tuple[str, int]:
        """Which time it is about."""
        return self.fingerprint, self.started_at_ns


_line = msgspec.json.Decoder(Line)


class MissedError(Exception):
    """An alert did not come, or did not end; the message says how long was waited."""


class History:
    """What `ops.alerts` says, and since when."""

    def __init__(self, tail: Tail) -> None:
        self._tail = tail
        self._reading = asyncio.Lock()
        self.lines: list[Line] = []
        self._since = 0

    async def begin(self, *, anew: bool = False) -> None:
        """Read what was told before; where all rules are others now, none of it fires on."""
        await self._look()
        if anew:
            self._since = len(self.lines)

    async def calm(self, of: Drill, within_s: float) -> None:
        """Wait until an alert is over that fires already. Raises MissedError."""
        began = time.monotonic()
        while self._on(of):
            if time.monotonic() - began > within_s:
                message = f"{of.alert.name} fires already, and is not over within {within_s:.0f} s"
                raise MissedError(message)
            await asyncio.sleep(LOOK_S)
            await self._look()

    def _on(self, of: Drill) -> set[tuple[str, int]]:
        lines = self.lines[self._since :]
        over = {line.firing for line in lines if line.event == "alert_resolved"}
        return {line.firing for line in lines if _is(line, of)} - over

    async def _look(self) -> None:
        async with self._reading:
            self.lines += [_line.decode(record.value) for record in await self._tail.fresh()]

    async def until(self, told: Callable[[Line], bool], within_s: float, what: str) -> Line:
        """Wait for a line. Raises MissedError."""
        began = time.monotonic()
        seen = 0
        while True:
            await self._look()
            found = next(filter(told, self.lines[seen:]), None)
            if found:
                return found
            seen = len(self.lines)
            if time.monotonic() - began > within_s:
                message = f"{what}: not within {within_s:.0f} s"
                raise MissedError(message)
            await asyncio.sleep(LOOK_S)


def _is(line: Line, of: Drill) -> bool:
    return (
        line.event in FIRED
        and (line.name, line.severity) == (of.alert.name, of.alert.severity)
        and of.about.items() <= line.labels.items()
    )


def _list(shown: bool) -> None:  # noqa: FBT001  # as Typer calls it
    if shown:
        typer.echo(drill_report.listed(), nl=False)
        raise typer.Exit


def drill(
    alerts: Annotated[list[str], typer.Argument(help="Their names or ids; or all.")],
    *,
    to_the_end: Annotated[
        bool, typer.Option("--to-the-end/--fire-only", help="Wait until it is over as well.")
    ] = True,
    patience: Annotated[
        float, typer.Option(min=1, help="So many times as long as expected is waited.")
    ] = 2.0,
    compress: Annotated[
        float, typer.Option(min=1, max=60, help="The rules' times are divided by this.")
    ] = 1.0,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print a table of the times, at the end.")
    ] = False,
    shown: Annotated[
        bool,
        typer.Option("--list", is_eager=True, callback=_list, help="What is drilled and not."),
    ] = False,
    data: Data = Path(".twinfeed"),
) -> None:
    """Make alerts fire on the running stack with simulated vendors; wait until they are over."""
    del shown
    try:
        asked = [each for alert in alerts for each in named(alert)]
    except LookupError as error:
        raise typer.BadParameter(str(error)) from error
    drills = tuple({each.alert.id: each for each in asked}.values())
    data = data.absolute()
    if not preflight.is_running(data):
        message = f"no stack is running on {data}"
        raise Refusal(message, EX_UNAVAILABLE)
    play = Play(data, to_the_end=to_the_end, patience=patience, factor=compress)
    try:
        played = asyncio.run(_until_asked_to_end(play.all(drills)))
    except KafkaError as error:
        message = f"the stack's Kafka does not answer: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    if markdown:
        typer.echo(drill_report.markdown(played, compress), nl=False)
    missed = [each.drill.alert.name for each in played if each.missed]
    if missed:
        message = f"{len(missed)} of {len(drills)} drills failed: {', '.join(missed)}"
        raise Refusal(message, EX_SOFTWARE)


async def _until_asked_to_end(playing: Coroutine[Any, Any, list[Played]]) -> list[Played]:
    """Play; asked to end, take all of it back first, and leave with 128 and the signal."""
    task = asyncio.ensure_future(playing)
    asked: list[signal.Signals] = []

    def end(how: signal.Signals) -> None:
        # once: whoever asks again would cut off what is taken back
        if not asked:
            asked.append(how)
            typer.echo("asked to end: all is taken back", err=True)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not asked:
            raise
        raise typer.Exit(128 + asked[0]) from None


class Play:
    """Some drills on one stack.

    Args:
        data: the stack's directory.
        to_the_end: whether the alerts' ends are waited for.
        patience: so many times as long as expected is waited.
        factor: the rules' times are divided by it.

    """

    def __init__(self, data: Path, *, to_the_end: bool, patience: float, factor: float) -> None:
        self._data = data
        self._to_the_end = to_the_end
        self._patience = patience
        self._factor = factor
        self._scene = Scene(data, factor)

    async def all(self, drills: Iterable[Drill]) -> list[Played]:
        """Play them, and return what came of each."""
        tail = Tail(ops_cli.kafka_of(self._data), load(StageSettings).topic(ALERTS.name))
        self._history = History(tail)
        played: list[Played] = []
        async with self._scene.ready() as cut_off:
            for alert in cut_off:
                typer.echo(f"a drill of {alert} was cut off: all of it is taken back", err=True)
            ends: list[asyncio.Task[None]] = []
            await tail.start()
            try:
                await self._history.begin(anew=self._factor > 1)
                for each in drills:
                    if each.alone:
                        await asyncio.gather(*ends)
                    played.append(Played(drill=each))
                    end = await self._begin(played[-1])
                    if end:
                        ends.append(asyncio.create_task(self._end(played[-1], *end)))
                await asyncio.gather(*ends)
            finally:
                for task in ends:
                    task.cancel()
                await tail.stop()
        return played

    async def _begin(self, played: Played) -> tuple[Line, float] | None:
        """Play a drill until its fault is away; return its firing, if its end is to be seen."""
        of = played.drill
        patience_s = self._patience * of.expected_s(self._factor)
        try:
            # an event of its own is a firing of its own; what lasts may last from before
            if of.faults and (of.alert.severity != "info" or self._factor > 1):
                calm_s = 0 if of.stays else self._patience * of.over_s(self._factor)
                await self._history.calm(of, calm_s)
            # one without a fault fires all the time
            since_ns = time.time_ns() if of.faults else 0

            def fired(line: Line) -> bool:
                return _is(line, of) and line.started_at_ns >= since_ns

            line = await self._fire(played, fired, patience_s)
        except (MissedError, Refusal) as error:
            self._miss(played, str(error))
            return None
        played.muted_by = tuple(line.inhibited_by)
        typer.echo(drill_report.fired(played, self._factor), err=True)
        if not (self._to_the_end and of.faults) or of.stays:
            return None
        return line, time.monotonic()

    async def _fire(self, played: Played, fired: Callable[[Line], bool], patience_s: float) -> Line:
        of = played.drill
        began = time.monotonic()
        line: Line | None = None
        async with self._scene.struck(of):
            if of.away_s:
                # what makes it fire is its end, and the fault has to be seen first
                await asyncio.sleep(of.away_s)
            else:
                line = await self._history.until(fired, patience_s, "did not fire")
            taken = time.monotonic() - began
        if line is None:
            began = time.monotonic()
            line = await self._history.until(fired, patience_s, "did not fire")
            taken = time.monotonic() - began
        played.fired_s = taken
        return line

    async def _end(self, played: Played, line: Line, since: float) -> None:
        of = played.drill

        def over(other: Line) -> bool:
            return other.event == "alert_resolved" and other.firing == line.firing

        try:
            patience_s = self._patience * of.over_s(self._factor)
            await self._history.until(over, patience_s, "was not over")
        except MissedError as error:
            self._miss(played, str(error))
            return
        played.over_s = time.monotonic() - since
        typer.echo(drill_report.over(played, self._factor), err=True)

    def _miss(self, played: Played, why: str) -> None:
        played.missed = why
        typer.echo(f"{played.drill.alert.id} {played.drill.alert.name}: {why}", err=True)
