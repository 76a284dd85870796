"""Runs the processes of a plan: in order, on readiness, again after a crash, and to the end.

Each process has one keeper, a task that waits for what it comes after, starts it, watches it and
decides by `restarts.after` what its end means. A process lives in its own session, so that Ctrl-C
reaches the supervisor alone, and on a leash (leash.py), so that it dies with the supervisor.

To end, every keeper waits until whatever comes after its process has ended, asks it with SIGTERM,
and kills it when its time is up; after `STOP_SECONDS` all that is left is killed.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from infra.stack import restarts
from infra.stack.output import Output
from infra.stack.plan import SECRETS, Finished, HttpReady, Probe, Process

STOP_SECONDS = 9.0
#: How long a process may take to get ready before it counts as failed: hung, not merely slow.
READY_SECONDS = 120.0
POLL_SECONDS = 0.1
#: How often a process that was ready is asked whether it still is.
STILL_READY_SECONDS = 2.0
#: How much of the end of its output is told about a process that crashed.
LAST_LINES = 5
#: How long the pipe of an ended process is listened to, where someone still holds it.
LAST_WORDS_SECONDS = 1.0
LEASH = Path(__file__).with_name("leash.py")

Say = Callable[[str], None]
#: Asked whether a process is ready: None if it is, else what it waits for.
Ask = Callable[[Probe], Awaitable[str | None]]


class State(StrEnum):
    """What a process is doing."""

    WAITING = "waiting"  # for what it comes after
    STARTING = "starting"
    READY = "ready"
    UNREADY = "not ready"  # was, and is not just now
    DONE = "done"  # a step that succeeded
    BACKOFF = "restarting"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is known of one process.

    Attributes:
        name: as in the plan.
        state: what it is doing.
        pid: while it runs.
        started_at: of the present run, seconds since the epoch.
        restarts: how often it was started again.
        detail: what it waits for, or how it ended.

    """

    name: str
    state: State = State.WAITING
    pid: int | None = None
    started_at: float | None = None
    restarts: int = 0
    detail: str = ""


class Supervisor:
    """Keeps the processes of a plan.

    Args:
        processes: in an order in which each comes after what it waits for.
        ask: how to find out whether a process is ready.
        logs: the directory for their output.
        environment: what they inherit, but for the secrets that are not theirs.
        say: told, a sentence each, what the user should know.
        ready_seconds: how long a process may take to get ready.

    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        ask: Ask,
        logs: Path,
        environment: Mapping[str, str],
        say: Say,
        ready_seconds: float = READY_SECONDS,
    ) -> None:
        self._say = say
        self._fatal = asyncio.Event()
        self._exit_code = os.EX_OK
        self._keepers: dict[str, _Keeper] = {}
        for process in processes:
            self._keepers[process.name] = _Keeper(
                process,
                after=[self._keepers[name] for name in process.after],
                output=Output(logs / f"{process.name}.log"),
                environment=visible(environment, process),
                ask=ask,
                say=say,
                give_up=self._give_up,
                ready_seconds=ready_seconds,
            )

    @property
    def statuses(self) -> list[Status]:
        """What is known of every process, in the plan's order."""
        return [keeper.status for keeper in self._keepers.values()]

    async def all_ready(self) -> None:
        """Return when every process has been ready, or is one that the stack can do without."""
        for keeper in self._keepers.values():
            await _first(keeper.ready.wait(), keeper.ended.wait())

    async def run(self, stop: asyncio.Event) -> int:
        """Keep all processes until `stop` is set, end them, and return the exit code.

        0 when asked to stop; otherwise that of a process that the stack could not start without.
        """
        async with asyncio.TaskGroup() as keeping:  # a bug in one keeper ends all, and kills
            for keeper in self._keepers.values():
                keeping.create_task(keeper.keep())
            await _first(stop.wait(), self._fatal.wait())
            await self._end()
        return self._exit_code

    def _give_up(self, exit_code: int) -> None:
        self._exit_code = self._exit_code or exit_code
        self._fatal.set()

    async def _end(self) -> None:
        ending = [asyncio.create_task(keeper.end()) for keeper in self._keepers.values()]
        _, late = await asyncio.wait(ending, timeout=STOP_SECONDS)
        for keeper in self._keepers.values():
            keeper.kill()
        for task in late:
            task.cancel()


class _Keeper:
    """Keeps one process."""

    def __init__(
        self,
        process: Process,
        *,
        after: Sequence["_Keeper"],
        output: Output,
        environment: Mapping[str, str],
        ask: Ask,
        say: Say,
        give_up: Callable[[int], None],
        ready_seconds: float,
    ) -> None:
        self.process = process
        self.status = Status(name=process.name)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.gone = asyncio.Event()  # ended, and so is all that comes after it
        self._stopping = asyncio.Event()
        self._before = after
        self.followers: list[_Keeper] = []
        for keeper in after:
            keeper.followers.append(self)
        self._output = output
        self._environment = environment
        self._ask = ask
        self._say = say
        self._give_up = give_up
        self._ready_seconds = ready_seconds
        self._running: asyncio.subprocess.Process | None = None
        self._ready_at: float | None = None
        self._failures = 0

    async def keep(self) -> None:
        """Start the process in its turn, and again as long as that is right."""
        try:
            for before in self._before:
                await _first(before.ready.wait(), self._stopping.wait())
            while not self._stopping.is_set():
                exit_code = await self._run()
                pause = self._after(exit_code)
                if pause is None:
                    break
                await _first(self._stopping.wait(), asyncio.sleep(pause))
            if self._stopping.is_set():
                self._note(state=State.STOPPED, pid=None, started_at=None, detail="")
        finally:
            self.kill()
            self._output.close()
            self.ended.set()

    async def end(self) -> None:
        """End the process, once what comes after it has ended."""
        self._stopping.set()
        for follower in self.followers:
            await follower.gone.wait()
        if self._running:
            self._note(state=State.STOPPING)
            await self._terminate()
        await self.ended.wait()
        self.gone.set()

    def kill(self) -> None:
        """End the process at once, and whatever it may have started."""
        if self._running:
            _signal(self._running.pid, signal.SIGKILL)

    # -- one run

    async def _run(self) -> int:
        self._output.fresh()
        if self.process.scratch:
            _empty(self.process.scratch)  # what was killed has put nothing away
        process, said, pipe = await self._spawn()
        self._running, self._ready_at = process, None
        self._note(state=State.STARTING, pid=process.pid, started_at=time.time(), detail="")
        try:
            async with asyncio.TaskGroup() as run:
                watching = run.create_task(self._watch(time.monotonic()))
                hearing = run.create_task(self._hear(said))
                exit_code = await process.wait()
                watching.cancel()
                self.kill()  # what it started goes with it, and lets go of the pipe
                await asyncio.wait([hearing], timeout=LAST_WORDS_SECONDS)
                hearing.cancel()
        finally:
            self.kill()
            await process.wait()  # also where a bug cut the run off: no child is left unreaped
            self._running = None
            pipe.close()
        self._note(pid=None, started_at=None)
        return exit_code

    async def _spawn(
        self,
    ) -> tuple[asyncio.subprocess.Process, asyncio.StreamReader, asyncio.BaseTransport]:
        # a pipe of our own: with asyncio's, `wait` would wait for every holder of its other end
        ours, theirs = os.pipe()
        said = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(said), os.fdopen(ours, "rb", buffering=0)
        )
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(LEASH), str(os.getpid())),
                *self.process.command,
                env=self._environment,
                cwd=self.process.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        finally:
            os.close(theirs)
        return process, said, pipe

    async def _hear(self, said: asyncio.StreamReader) -> None:
        while chunk := await said.read(64 * 1024):
            self._output.write(chunk)

    async def _watch(self, started: float) -> None:
        """Notice when the process is ready, and from then on whether it still is."""
        if isinstance(self.process.ready, Finished):
            return
        while (waiting := await self._ask(self.process.ready)) is not None:
            self._note(detail=waiting)
            if time.monotonic() - started > self._ready_seconds:
                name, seconds = self.process.name, self._ready_seconds
                self._say(f"{name} is not ready after {seconds:.0f} s ({waiting}): ending it")
                await self._terminate()
                return
            await asyncio.sleep(POLL_SECONDS)
        self._note(state=State.READY, detail="")
        self._ready_at = time.monotonic()
        self.ready.set()
        self._say(f"{self.process.name} is ready after {time.monotonic() - started:.1f} s")
        while isinstance(self.process.ready, HttpReady):
            await asyncio.sleep(STILL_READY_SECONDS)
            waiting = await self._ask(self.process.ready)
            self._note(
                state=State.READY if waiting is None else State.UNREADY, detail=waiting or ""
            )

    async def _terminate(self) -> None:
        if self._running is None:
            return
        pid = self._running.pid
        _signal(pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(self.process.stop_seconds):
                await self._running.wait()
        except TimeoutError:
            seconds = self.process.stop_seconds
            self._say(f"{self.process.name} did not end within {seconds:.0f} s: killing it")
            _signal(pid, signal.SIGKILL)

    # -- after a run

    def _after(self, exit_code: int) -> float | None:
        """Note how a run ended; return the seconds until the next, or None for no next."""
        name, step = self.process.name, isinstance(self.process.ready, Finished)
        if self._stopping.is_set():
            return None
        if step and exit_code == os.EX_OK:
            self._note(state=State.DONE, detail="")
            self.ready.set()
            return None
        served = time.monotonic() - self._ready_at if self._ready_at is not None else 0.0
        self._failures = 1 if served >= restarts.HEALTHY_SECONDS else self._failures + 1
        ended = restarts.Ended(
            exit_code=exit_code,
            ever_ready=self.ready.is_set(),
            failures=self._failures,
            essential=self.process.essential,
        )
        last = "".join(f"\n    {line}" for line in self._output.last_lines(LAST_LINES))
        match restarts.after(ended):
            case restarts.GiveUp(code, fatal):
                self._note(state=State.FAILED, detail=restarts.how(exit_code))
                how, log = restarts.how(exit_code), self._output.path
                self._say(f"{name} ended ({how}) and is left so; see {log}{last}")
                if fatal:
                    self._give_up(code)
                return None
            case restarts.Restart(seconds):
                self._note(
                    state=State.BACKOFF,
                    restarts=self.status.restarts + 1,
                    detail=restarts.how(exit_code),
                )
                self._say(f"{name} ended ({restarts.how(exit_code)}), again in {seconds:g} s{last}")
                return seconds

    def _note(self, **changes: Any) -> None:
        self.status = replace(self.status, **changes)


def visible(environment: Mapping[str, str], process: Process) -> dict[str, str]:
    """Return what a process gets to see of the environment, with its own settings on top."""
    withheld = set(SECRETS) - set(process.secrets)
    inherited = {name: value for name, value in environment.items() if name not in withheld}
    scratch = {"TMPDIR": str(process.scratch)} if process.scratch else {}
    return {**inherited, **scratch, **process.env}


def _empty(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, exist_ok=True)


def _signal(pid: int, which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it may have ended this very moment
        os.killpg(pid, which)


async def _first(*awaitables: Awaitable[Any]) -> None:
    """Return when the first of these is done, and drop the others."""
    waiting = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for one in waiting:
            one.cancel()
