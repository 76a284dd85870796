"""The supervisor against small children: in order, again after a crash, to the end, no orphan."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.settings import EX_CONFIG
from infra.stack import restarts
from infra.stack.plan import Finished, HttpReady, Probe, Process
from infra.stack.probes import Asker
from infra.stack.supervisor import STOP_SECONDS, State, Status, Supervisor

pytestmark = pytest.mark.service

WAIT_SECONDS = 15.0

#: Listens, answers GET /ready with 503 until the file named by FLAG is there, then with 200.
SERVER = """
import http.server, os, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = os.path.exists(os.environ["FLAG"])
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ready" if ready else b"waiting for the flag")
    def log_message(self, *_): pass
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
#: The same, deaf to SIGTERM.
DEAF_SERVER = SERVER.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")


class Stage:
    """A supervisor of some children, running beside a test."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.when_said: Callable[[str], None] = lambda _: None
        self.stop = asyncio.Event()
        self.supervisor: Supervisor
        self.task: asyncio.Task[int]

    def say(self, sentence: str) -> None:
        """Note a sentence, and what is so while it is said."""
        self.said.append(sentence)
        self.when_said(sentence)

    def status(self, name: str) -> Status:
        """What is known of a child."""
        (found,) = (status for status in self.supervisor.statuses if status.name == name)
        return found

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for a condition, with a deadline."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():
                await asyncio.sleep(0.02)


@asynccontextmanager
async def supervised(
    tmp_path: Path, *processes: Process, ready_seconds: float = WAIT_SECONDS
) -> AsyncIterator[Stage]:
    """Run the supervisor over these processes; ends it after."""
    stage, asker = Stage(), Asker()
    stage.supervisor = Supervisor(
        processes,
        ask=asker.ready,
        logs=tmp_path,
        environment=os.environ,
        say=stage.say,
        ready_seconds=ready_seconds,
    )
    stage.task = asyncio.create_task(stage.supervisor.run(stage.stop))
    try:
        yield stage
    finally:
        stage.stop.set()
        await stage.task
        await asker.close()


@pytest.fixture
def server(tmp_path: Path, free_port: Callable[[], int]) -> Callable[..., Process]:
    """A function that makes a small server; it gets ready when `<name>.flag` is there."""

    def make(name: str, code: str = SERVER, *, after: Sequence[str] = ()) -> Process:
        port = free_port()
        return Process(
            name=name,
            command=(sys.executable, "-c", code),
            env={"PORT": str(port), "FLAG": str(tmp_path / f"{name}.flag")},
            ready=HttpReady(f"http://127.0.0.1:{port}/ready"),
            after=tuple(after),
            stop_seconds=1.0,
        )

    return make


def step(name: str, code: str, *, after: Sequence[str] = (), essential: bool = True) -> Process:
    """A process that is ready when it has ended well."""
    return Process(
        name=name,
        command=(sys.executable, "-c", code),
        ready=Finished(),
        after=tuple(after),
        essential=essential,
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts without much of a pause."""
    monkeypatch.setattr(restarts, "BACKOFF", (0.05, 0.1))


async def test_each_is_started_when_what_it_comes_after_is_ready(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """A follower waits for readiness, not for a start; and its waiting is told."""
    first, second = server("first"), server("second", after=["first"])
    async with supervised(tmp_path, first, second) as stage:
        await stage.until(lambda: stage.status("first").detail == "waiting for the flag")
        assert stage.status("second").state == State.WAITING
        (tmp_path / "first.flag").touch()
        await stage.until(lambda: stage.status("second").pid)
        assert stage.status("first").state == State.READY
        (tmp_path / "second.flag").touch()
        async with asyncio.timeout(WAIT_SECONDS):
            await stage.supervisor.all_ready()


async def test_a_step_is_done_and_not_started_again(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """A step that ended well lets its followers start, once."""
    counting = f"open({str(tmp_path / 'count')!r}, 'a').write('x')"
    async with supervised(
        tmp_path, step("step", counting), server("server", after=["step"])
    ) as stage:
        await stage.until(lambda: stage.status("server").pid)
        assert stage.status("step").state == State.DONE
        assert stage.status("step").restarts == 0
    assert (tmp_path / "count").read_text() == "x"


@pytest.mark.usefixtures("quick")
async def test_a_crash_is_told_with_its_last_lines_and_restarted(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """A killed server is named, with how it ended and what it last said, and comes back."""
    talking = "print('these are my last words', flush=True)\n" + SERVER
    (tmp_path / "server.flag").touch()
    async with supervised(tmp_path, server("server", talking)) as stage:
        await stage.until(lambda: stage.status("server").state == State.READY)
        pid = stage.status("server").pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await stage.until(
            lambda: (
                stage.status("server").state == State.READY and stage.status("server").pid != pid
            )
        )
        assert stage.status("server").restarts == 1
        (crash,) = (said for said in stage.said if "killed" in said)
        assert crash.startswith("server ended (killed by SIGKILL), again in 0.05 s")
        assert "these are my last words" in crash
    assert (tmp_path / "server.log").read_text().count("last words") == 2


@pytest.mark.usefixtures("quick")
async def test_what_a_killed_process_left_is_gone_when_its_successor_starts(tmp_path: Path) -> None:
    """Each run finds its place for temporary files empty, whatever the one before could not do."""
    leaving = (
        "import os, signal, tempfile; print(os.listdir(tempfile.gettempdir()), flush=True);"
        "tempfile.mkdtemp(prefix='twinfeed-'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    scratch = tmp_path / "scratch"
    process = replace(step("killed", leaving, essential=False), scratch=scratch)
    async with supervised(tmp_path, process) as stage:
        await stage.until(lambda: stage.status("killed").restarts >= 2)
    said = (tmp_path / "killed.log").read_text().split()
    assert set(said) == {"[]"}
    assert len(said) >= 2
    assert len(list(scratch.iterdir())) <= 1


@pytest.mark.usefixtures("quick")
async def test_what_never_starts_ends_the_stack(tmp_path: Path) -> None:
    """After some first starts that failed the stack gives up, with the child's exit code."""
    async with supervised(tmp_path, step("broken", "raise SystemExit(69)")) as stage:
        async with asyncio.timeout(WAIT_SECONDS):
            assert await stage.task == 69
        assert stage.status("broken").state == State.FAILED
        assert stage.status("broken").restarts == restarts.FIRST_STARTS - 1
        assert str(tmp_path / "broken.log") in stage.said[-1]


async def test_a_bad_setting_ends_the_stack_with_its_sentence(tmp_path: Path) -> None:
    """Exit code 78 is not restarted: its sentence is told and the stack ends with 78."""
    mistaken = "import sys; print('RATE: not a number', file=sys.stderr); sys.exit(78)"
    async with supervised(tmp_path, step("stage", mistaken)) as stage:
        async with asyncio.timeout(WAIT_SECONDS):
            assert await stage.task == EX_CONFIG
        (said,) = stage.said
        assert "RATE: not a number" in said


@pytest.mark.usefixtures("quick")
async def test_the_stack_runs_on_without_what_is_not_essential(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """What may be missing is left ended, and counts as no obstacle."""
    (tmp_path / "server.flag").touch()
    optional = step("optional", "raise SystemExit(1)", essential=False)
    async with supervised(tmp_path, optional, server("server")) as stage:
        async with asyncio.timeout(WAIT_SECONDS):
            await stage.supervisor.all_ready()
        assert stage.status("optional").state == State.FAILED
        assert stage.status("server").state == State.READY


@pytest.mark.usefixtures("quick")
async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The last words of a missing program name it."""
    missing = Process(name="missing", command=("/nowhere/java",), ready=Finished())
    async with supervised(tmp_path, missing) as stage:
        await stage.until(lambda: stage.said)
        assert "cannot run /nowhere/java: No such file or directory" in stage.said[0]


@pytest.mark.usefixtures("quick")
async def test_what_does_not_get_ready_in_time_is_ended_and_restarted(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """A process that starts and never serves is a failure like a crash."""
    async with supervised(tmp_path, server("server"), ready_seconds=0.5) as stage:
        await stage.until(lambda: stage.status("server").restarts)
        said = stage.said[0]  # what it waits for depends on how far it has come by then
        assert said.startswith("server is not ready after 0 s (")
        assert said.endswith("): ending it")


async def test_a_server_that_is_ready_no_longer_is_told(
    tmp_path: Path, server: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readiness is watched on: what is waited for is seen, and its return."""
    monkeypatch.setattr("infra.stack.supervisor.STILL_READY_SECONDS", 0.05)
    flag = tmp_path / "server.flag"
    flag.touch()
    async with supervised(tmp_path, server("server")) as stage:
        await stage.until(lambda: stage.status("server").state == State.READY)
        flag.unlink()
        await stage.until(lambda: stage.status("server").state == State.UNREADY)
        assert stage.status("server").detail == "waiting for the flag"
        flag.touch()
        await stage.until(lambda: stage.status("server").state == State.READY)


async def test_all_ends_in_reverse_order_and_in_time(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """A follower ends first, a deaf one is killed, no process is left, and no port held."""
    first = server("first")
    deaf = replace(server("deaf", DEAF_SERVER, after=["between"]), stop_seconds=1.5)
    for name in ("first", "deaf"):
        (tmp_path / f"{name}.flag").touch()
    async with supervised(tmp_path, first, step("between", "", after=["first"]), deaf) as stage:
        async with asyncio.timeout(WAIT_SECONDS):
            await stage.supervisor.all_ready()
        pids = {name: stage.status(name).pid for name in ("first", "deaf")}
        began, lived = time.monotonic(), {}
        stage.when_said = lambda sentence: lived.update({sentence: alive(pids["first"])})
        stage.stop.set()
        assert await stage.task == 0
        assert lived["deaf did not end within 2 s: killing it"]
        assert time.monotonic() - began < STOP_SECONDS
        assert stage.status("first").state == State.STOPPED
    assert not any(alive(pid) for pid in pids.values())
    asker = Asker()
    assert await asker.ready(first.ready) == "no answer yet"
    await asker.close()


async def test_what_a_child_started_goes_with_it(
    tmp_path: Path, server: Callable[..., Process]
) -> None:
    """A grandchild in the child's group does not stay behind when the child crashes."""
    parent = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'grandchild')!r}, 'w').write(str(child.pid))\n"
        "time.sleep(600)"
    )
    noted = tmp_path / "grandchild"
    async with supervised(tmp_path, server("parent", parent)) as stage:
        await stage.until(lambda: noted.exists() and noted.read_text())
        grandchild = int(noted.read_text())
        assert alive(grandchild)
        pid = stage.status("parent").pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await stage.until(lambda: not alive(grandchild))


async def test_a_bug_in_the_supervisor_leaves_no_process(
    tmp_path: Path, server: Callable[..., Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception where none is expected ends and reaps all children and is not hidden."""

    async def ask(_: Probe) -> str | None:
        message = "a bug"
        raise ZeroDivisionError(message)

    supervisor = Supervisor(
        [server("server")], ask=ask, logs=tmp_path, environment=os.environ, say=lambda _: None
    )
    started, start = [], asyncio.create_subprocess_exec

    async def create_subprocess_exec(*args: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await start(*args, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", create_subprocess_exec)
    with pytest.raises(BaseExceptionGroup) as raised:
        await supervisor.run(asyncio.Event())
    assert raised.group_contains(ZeroDivisionError)
    assert [process.returncode for process in started] == [-signal.SIGKILL]


def test_no_orphan_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    """Kill -9 of the supervisor takes its children along, even one deaf to SIGTERM."""
    program = f"""
import asyncio, os, pathlib
from infra.stack.plan import Finished, Process
from infra.stack.supervisor import Supervisor
logs = pathlib.Path({str(tmp_path)!r})
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
code += "print('deaf', flush=True); time.sleep(600)"
command = ({sys.executable!r}, "-c", code)
children = [Process(name=n, command=command, ready=Finished()) for n in "ab"]
async def ask(_): return "nothing"
async def main():
    s = Supervisor(children, ask=ask, logs=logs, environment=os.environ, say=lambda _: None)
    running = asyncio.create_task(s.run(asyncio.Event()))
    while not all((logs / f"{{n}}.log").read_text() for n in "ab"):
        await asyncio.sleep(0.02)
    print(*(status.pid for status in s.statuses), flush=True)
    await running
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout
        pids = [int(pid) for pid in it.stdout.readline().split()]
        try:
            assert len(pids) == 2
            assert all(alive(pid) for pid in pids)
            it.kill()
            deadline = time.monotonic() + WAIT_SECONDS
            while any(alive(pid) for pid in pids) and time.monotonic() < deadline:
                time.sleep(0.02)
            assert not any(alive(pid) for pid in pids)
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def alive(pid: int | None) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return bool(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
