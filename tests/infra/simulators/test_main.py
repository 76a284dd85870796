"""The simulators as processes: how they start, stop and refuse."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.simulators.__main__ import parser

COMMAND = [sys.executable, "-m", "infra.simulators"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a simulator on a free port and yield it with the address that it logs."""
    with subprocess.Popen(
        [*COMMAND, *arguments, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            event = json.loads(process.stdout.readline())
            assert event["event"] == "listening"
            yield process, event["address"]
        finally:
            process.kill()


@pytest.mark.service
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("vendor", "scheme"), [("alpaca", "ws"), ("yahoo", "http")])
def test_a_signal_ends_it_cleanly(
    vendor: str, scheme: str, number: signal.Signals, tmp_path: Path
) -> None:
    """It says where it listens, answers there, and leaves with 0 and a last line."""
    with running(vendor, "--ledger", str(tmp_path / "ledger.jsonl")) as (process, address):
        assert address.startswith(f"{scheme}://127.0.0.1:")
        host = address.split("/")[2]
        with urllib.request.urlopen(f"http://{host}/ready", timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(number)
        out, _ = process.communicate(timeout=10)
        assert process.returncode == 0
        assert json.loads(out.splitlines()[-1])["event"] == "stopped"


def refused(*arguments: str) -> tuple[int, str]:
    """Run a simulator that does not start and return its exit code and what it says."""
    done = subprocess.run(
        [*COMMAND, *arguments], check=False, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.service
@pytest.mark.parametrize("vendor", ["alpaca", "yahoo"])
def test_a_taken_port_is_named(vendor: str, tmp_path: Path) -> None:
    """One sentence and the code for what cannot be had."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        code, words = refused(vendor, "--port", port, "--ledger", str(tmp_path / "ledger.jsonl"))
    assert code == os.EX_CANTCREAT
    assert words == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.service
def test_a_ledger_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    """One sentence and the code for what cannot be had."""
    code, words = refused("yahoo", "--port", "0", "--ledger", str(tmp_path))
    assert code == os.EX_CANTCREAT
    assert words == f"cannot open the ledger {tmp_path}: Is a directory\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nasdaq"], "argument alpaca|yahoo: invalid choice: 'nasdaq'"),
        (["alpaca"], "the following arguments are required: --ledger"),
        (["alpaca", "--rate", "0"], "argument --rate: '0' is not a whole number above 0"),
        (["alpaca", "--symbol-limit", "x"], "'x' is not a whole number above 0"),
        (["yahoo", "--port", "65536"], "'65536' is no port: expected 0 to 65535"),
        (["yahoo", "--delay", "nan"], "'nan' is no number of seconds, 0 or more"),
        (["yahoo", "--rate", "5", "--ledger", "l"], "unrecognized arguments: --rate 5"),
    ],
)
def test_a_wrong_command_line_gets_one_sentence(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the option and the expectation, and has sysexits' code."""
    with pytest.raises(SystemExit) as exit_:
        parser().parse_args(arguments)
    error = capsys.readouterr().err
    assert exit_.value.code == os.EX_USAGE
    assert words in error
    assert error.count("\n") == 1
