"""A process that cannot start says why, in words and by its exit code."""

import asyncio
import errno
import socket

import pytest

from infra.process import CannotStartError, live, reason
from infra.settings import EX_CANTCREAT, EX_CONFIG, StageSettings
from infra.telemetry import Meters


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EADDRINUSE, "error while attempting to bind"), "Address already in use"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service"),
        (OSError("something else"), "something else"),
    ],
)
def test_the_systems_words_are_used(error: OSError, words: str) -> None:
    """Without what asyncio puts around them, and also where there is no number."""
    assert reason(error).startswith(words)


async def _live(settings: StageSettings, work_ends_with: int | CannotStartError) -> int:
    async def work(_: asyncio.Event) -> int:
        if isinstance(work_ends_with, CannotStartError):
            raise work_ends_with
        return work_ends_with

    return await live(work, settings=settings, meters=Meters(), waiting_for=lambda: None)


async def test_the_works_exit_code_is_the_processs() -> None:
    """What the work returns is what the process leaves with."""
    assert await _live(StageSettings(), 70) == 70


async def test_a_taken_port_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """The sentence names the variable by which to move it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert await _live(StageSettings(metrics_port=port), 0) == EX_CANTCREAT
    sentence = f"METRICS_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert capsys.readouterr().err == sentence


async def test_metrics_are_not_opened_to_anyone(capsys: pytest.CaptureFixture[str]) -> None:
    """A setting that cannot be followed ends the process before it listens or works."""
    everywhere = StageSettings(metrics_host="0.0.0.0")  # noqa: S104  # what is refused
    assert await _live(everywhere, 0) == EX_CONFIG
    said = capsys.readouterr().err
    assert said.startswith("METRICS_HOST: 0.0.0.0 is open to other machines: set METRICS_TOKEN")
    assert said.count("\n") == 1


async def test_what_is_missing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A stage that cannot start leaves with its sentence and its code."""
    assert await _live(StageSettings(), CannotStartError(69, "KAFKA: not there")) == 69
    assert capsys.readouterr().err == "KAFKA: not there\n"
