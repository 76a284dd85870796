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
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    """Start a simulator on free ports and yield it with the event that tells where it listens."""
    with subprocess.Popen(
        [*COMMAND, *arguments, "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        try:
            event = json.loads(process.stdout.readline())
            assert event["event"] == "listening"
            yield process, event
        finally:
            process.kill()


@pytest.mark.service
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(("vendor", "scheme"), [("alpaca", "ws"), ("yahoo", "http")])
def test_a_signal_ends_it_cleanly(
    vendor: str, scheme: str, number: signal.Signals, tmp_path: Path
) -> None:
    """It says where it listens, answers there, and leaves with 0 and a last line."""
    with running(vendor, "--ledger", str(tmp_path / "ledger.jsonl")) as (process, event):
        address = event["address"]
        assert address.startswith(f"{scheme}://127.0.0.1:")
        for url in filter(None, (address, event.get("http"))):
            host = url.split("/")[2]
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
def test_a_taken_second_port_is_named(tmp_path: Path) -> None:
    """It is told which of the two it is."""
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        arguments = ("--port", "0", "--http-port", port, "--ledger", str(tmp_path / "l"))
        assert refused("alpaca", *arguments) == (
            os.EX_CANTCREAT,
            f"cannot listen on 127.0.0.1:{port}: Address already in use\n",
        )


@pytest.mark.service
def test_a_second_port_beyond_all_ports_is_named(tmp_path: Path) -> None:
    """Two above the highest there is none."""
    arguments = ("--port", "65535", "--ledger", str(tmp_path / "l"))
    words = "cannot listen on 127.0.0.1:65537: ports end at 65535\n"
    assert refused("alpaca", *arguments) == (os.EX_CANTCREAT, words)


@pytest.mark.service
@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        (None, (), "cannot read {file}: No such file or directory"),
        ("an-id a-secret\nonly-an-id\n", (), "{file}, line 2: expected a key's id, a space, its"),
        ("an-id a-secret\n", ("--key", "x"), "--keys-file: give the keys there, or with --key"),
    ],
)
def test_a_wrong_keys_file_is_told(
    tmp_path: Path, content: str | None, options: tuple[str, ...], words: str
) -> None:
    """The sentence names the file and the line, and no key."""
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    code, said = refused(
        *("alpaca", "--port", "0", "--ledger", str(tmp_path / "l"), "--keys-file", str(file)),
        *options,
    )
    assert code == os.EX_CONFIG
    assert said.startswith(words.format(file=file))
    assert "an-id" not in said


@pytest.mark.service
def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """All that are in it are let in, and the usual one is not."""
    file = tmp_path / "keys"
    file.write_text("one first\ntwo second\n")
    arguments = ("alpaca", "--ledger", str(tmp_path / "l"), "--keys-file", str(file))
    with running(*arguments) as (_, event):
        host = event["http"].split("/")[2]
        with urllib.request.urlopen(f"http://{host}/keys", timeout=5) as answer:
            assert json.load(answer) == {"keys": ["one", "two"]}


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
        (["alpaca", "--rate", "0"], "'0' is no number of messages a second: expected 1 to 1000000"),
        (["alpaca", "--rate", "1000001"], "'1000001' is no number of messages a second"),
        (["alpaca", "--rest-limit", "0"], "argument --rest-limit: '0' is not a whole number"),
        (["alpaca", "--http-port", "x"], "argument --http-port: 'x' is no port"),
        (["yahoo", "--http-port", "1", "--ledger", "l"], "unrecognized arguments: --http-port 1"),
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
