"""What a drill does to a process of the stack, and that it takes it back."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from infra.drill_scene import Scene
from infra.drills import Act, Faltering, Stopped
from infra.stack import board as boards
from infra.stack.refusal import Refusal
from infra.stack.supervisor import State, Status

FALTERING = Faltering("forward", still_s=0.05, goes_s=0.05)


def _stack(data: Path, *statuses: Status) -> Scene:
    board = boards.Board(
        pid=1, created=0.0, started_at=0.0, at=0.0, title="a stack", statuses=statuses
    )
    boards.write(data, board)
    return Scene(data, 1)


@pytest_asyncio.fixture
async def process() -> AsyncIterator[psutil.Process]:
    """A process that waits."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "import sys; sys.stdin.read()"), stdin=asyncio.subprocess.PIPE
    )
    yield psutil.Process(started.pid)
    if started.returncode is None:
        started.kill()
    await started.wait()


@pytest.fixture
def scene(tmp_path: Path, process: psutil.Process) -> Scene:
    """A stack whose forwarder it is."""
    return _stack(tmp_path, Status(name="forward", state=State.READY, pid=process.pid))


async def _is(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_one_that_falters_stands_still_and_goes_on_in_turn(
    scene: Scene, process: psutil.Process
) -> None:
    """Again and again; once it is taken back it goes on for good."""
    await scene.do(FALTERING)
    for _ in range(3):
        await _is(lambda: process.status() == psutil.STATUS_STOPPED)
        await _is(lambda: process.status() != psutil.STATUS_STOPPED)
    await _is(lambda: process.status() == psutil.STATUS_STOPPED)
    await scene.undo(FALTERING)
    await _is(lambda: process.status() != psutil.STATUS_STOPPED)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, "somebody is left to stop it again"


@pytest.mark.parametrize("act", [FALTERING, Stopped("forward")], ids=["faltering", "stopped"])
async def test_whoever_was_cut_off_is_taken_back_by_another(
    scene: Scene, process: psutil.Process, act: Act
) -> None:
    """A process that a former drill left standing still goes on."""
    process.suspend()
    await _is(lambda: process.status() == psutil.STATUS_STOPPED)
    await scene.undo(act)
    await _is(lambda: process.status() != psutil.STATUS_STOPPED)


async def test_one_that_ended_meanwhile_is_left_alone(
    scene: Scene, process: psutil.Process, tmp_path: Path
) -> None:
    """What stops it in turn ends with it; to take it back is refused where it is not there."""
    await scene.do(FALTERING)
    process.kill()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait_for(asyncio.gather(*others), 20)
    _stack(tmp_path, Status(name="forward", state=State.WAITING))
    with pytest.raises(Refusal, match="forward does not run"):
        await scene.undo(FALTERING)
