"""`twinfeed sim` against running simulators, and tried wrong."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.settings import EX_UNAVAILABLE
from infra.stack import board as boards
from infra.stack import up
from infra.stack.board import Board
from infra.stack.plan import CONTROL, Address
from infra.stack.refusal import Refusal

pytestmark = pytest.mark.service

EX_WRONG_COMMAND = 2


@dataclass(frozen=True, slots=True)
class Simulators:
    """Both, as processes: their control interfaces' addresses."""

    alpaca: str
    yahoo: str

    def on(self, vendor: str) -> dict[str, dict[str, Any]]:
        """Return the parameters of the faults that are on."""
        url = f"{getattr(self, vendor)}/faults"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # on loopback
            faults = json.load(answer)["faults"]
        return {fault["name"]: fault["on"]["parameters"] for fault in faults if fault["on"]}


@contextmanager
def running(vendor: str, ledger: Path) -> Iterator[str]:
    """Run a simulator and yield where its control interface is."""
    with subprocess.Popen(
        [sys.executable, "-m", "infra.simulators", vendor, "--port", "0", "--ledger", str(ledger)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            event = json.loads(process.stdout.readline())
            yield event.get("http", event["address"])
        finally:
            process.kill()


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulators]:
    """Both simulators, for all tests of this file."""
    directory = tmp_path_factory.mktemp("ledgers")
    with (
        running("alpaca", directory / "alpaca.jsonl") as alpaca,
        running("yahoo", directory / "yahoo.jsonl") as yahoo,
    ):
        yield Simulators(alpaca, yahoo)


@pytest.fixture
def stack(simulators: Simulators, tmp_path: Path) -> Iterator[Path]:
    """The data directory of a stack with both simulators, as far as its board tells."""
    data = tmp_path / "data"
    with up.hold(data):
        _board(
            data, {name: f"{getattr(simulators, name.split()[0])}/faults" for name, *_ in CONTROL}
        )
        yield data


def _board(data: Path, addresses: dict[str, str]) -> None:
    board = Board(
        pid=os.getpid(),
        created=0,
        started_at=0,
        at=0,
        title="t",
        addresses=tuple(Address(name, where) for name, where in addresses.items()),
    )
    boards.write(data, board)


def sim(*arguments: str, stdin: str = "") -> Result:
    """Run `twinfeed sim` in this process."""
    return CliRunner().invoke(app, ["sim", *arguments], input=stdin, env={"COLUMNS": "200"})


def said(result: Result) -> str:
    """Return what a successful command printed."""
    assert result.exit_code == 0, result.output
    return result.output


def refusal(*arguments: str) -> Refusal:
    """Return why a command cannot be done here."""
    result = sim(*arguments)
    assert isinstance(result.exception, Refusal), result.output
    return result.exception


def test_a_fault_is_switched_on_and_off(simulators: Simulators, stack: Path) -> None:
    """Found by the stack's data directory; it says what it has done."""
    data = ("--data", str(stack))
    options = ("--symbols", "AAPL,KO", "--for", "600", "--count", "5", "--by", "-0.5")
    assert said(sim("fault", "alpaca", "jump", *options, *data)).startswith(
        "twinfeed: alpaca jump began, with "
    )
    assert simulators.on("alpaca") == {
        "jump": {"seconds": 600.0, "count": 5, "symbols": ["AAPL", "KO"], "by": -0.5}
    }
    assert simulators.on("yahoo") == {}
    assert said(sim("clear", "alpaca", "jump", *data)) == (
        "twinfeed: alpaca jump ended (cleared), after 0 times\n"
    )
    assert said(sim("clear", "alpaca", "jump", *data)) == "twinfeed: jump was not on\n"
    assert simulators.on("alpaca") == {}


def test_all_faults_of_a_vendor_are_cleared(simulators: Simulators, stack: Path) -> None:
    """And none of the other's."""
    data = ("--data", str(stack))
    said(sim("fault", "yahoo", "frozen", *data))
    said(sim("fault", "yahoo", "too-many-requests", "--retry-after=120", *data))
    said(sim("fault", "alpaca", "ghost", "--held", "30", "--cut", *data))
    assert simulators.on("yahoo")["too-many-requests"]["retry_after"] == 120
    assert simulators.on("alpaca")["ghost"] == {
        "seconds": None,
        "count": None,
        "held": 30.0,
        "cut": True,
    }
    assert said(sim("clear", "yahoo", *data)).count("ended (cleared)") == 2
    assert simulators.on("yahoo") == {}
    assert set(simulators.on("alpaca")) == {"ghost"}
    said(sim("clear", "alpaca", *data))
    assert said(sim("clear", "alpaca", *data)) == "twinfeed: nothing was on\n"


def test_the_list_tells_what_there_is_and_what_is_on(simulators: Simulators, stack: Path) -> None:
    """Of both vendors or of one, for people and as JSON."""
    data = ("--data", str(stack))
    said(sim("fault", "yahoo", "slow", "--by", "7", *data))
    both = said(sim("faults", *data))
    assert "connection-limit" in both
    assert "missing-close" in both
    assert "Answers come late." in both
    assert "'by': 7.0" in both
    assert "missing-close" not in said(sim("faults", "alpaca", *data))
    as_json = json.loads(said(sim("faults", "yahoo", "--json", *data)))
    assert {fault["name"] for fault in as_json["yahoo"] if fault["on"]} == {"slow"}
    said(sim("clear", "yahoo", "--url", simulators.yahoo))


def test_keys_are_rotated(simulators: Simulators) -> None:
    """Added, listed, removed, and all replaced; a secret may come from the standard input."""
    url = ("--url", simulators.alpaca)
    assert said(sim("key", "list", *url)) == "twinfeed: let in: simulated-key\n"
    assert said(sim("key", "add", "second", "secret", *url)) == (
        "twinfeed: let in: second, simulated-key\n"
    )
    assert said(sim("key", "remove", "simulated-key", *url)) == "twinfeed: let in: second\n"
    assert said(sim("key", "rotate", "third", "-", *url, stdin="hush\n")) == (
        "twinfeed: let in: third\n"
    )
    keys = {"APCA-API-KEY-ID": "third", "APCA-API-SECRET-KEY": "hush"}
    url_ = f"{simulators.alpaca}/v2/stocks/snapshots?symbols=KO"
    request = urllib.request.Request(url_, headers=keys)  # noqa: S310  # on loopback
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  # on loopback
        assert answer.status == 200
    said(sim("key", "rotate", "simulated-key", "simulated-secret", *url))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fault", "alpaca", "gost"), "unknown fault 'gost': expected one of too-many-requests,"),
        (("fault", "yahoo", "ghost"), "unknown fault 'ghost': expected one of too-many-requests,"),
        (("clear", "alpaca", "gost"), "unknown fault 'gost'"),
        (("fault", "alpaca", "a/b"), "unknown fault 'a/b'"),
        (("fault", "alpaca", "jump", "--by", "far"), "jump: by: expected `float`, got `str`"),
        (("fault", "alpaca", "jump", "--buy", "1"), "jump: object contains unknown field `buy`"),
        (("fault", "alpaca", "jump", "--symbols", "APPL"), "jump: unknown symbol 'APPL'"),
        (("fault", "alpaca", "ghost", "--held"), "ghost: held: expected `float`, got `bool`"),
        (("fault", "alpaca", "jump", "--for", "0"), "jump: seconds: expected `float` > 0.0"),
        (
            ("fault", "alpaca", "jump", "--for", "soon"),
            "Invalid value for '--for'",
        ),
        (
            ("fault", "alpaca", "jump", "--count", "1.5"),
            "Invalid value for '--count'",
        ),
        (("fault", "alpaca", "jump", "0.5"), "unexpected '0.5': parameters are --name value"),
        (("fault", "alpaca", "halt"), "halt: object missing required field `symbols`"),
        (("fault", "nasdaq", "halt"), "'nasdaq' is not one of 'alpaca', 'yahoo'"),
        (("fault", "alpaca", "resume"), "resume: nothing is on that it could end"),
        (("faults",), "whose simulator is at that --url? expected alpaca or yahoo"),
        (("key", "remove", "nobody"), "unknown key 'nobody'"),
        (("key", "add", "new", ""), "keys: Expected `str` of length >= 1"),
    ],
)
def test_a_wrong_command_is_told(
    simulators: Simulators, arguments: tuple[str, ...], words: str
) -> None:
    """In the simulator's own words where it is the one to know; with 2, and nothing is changed."""
    url = simulators.yahoo if "yahoo" in arguments else simulators.alpaca
    result = sim(*arguments, "--url", url)
    assert result.exit_code == EX_WRONG_COMMAND, result.output
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert simulators.on("alpaca") == simulators.on("yahoo") == {}


@pytest.mark.parametrize("url", ["nowhere", "ftp://x", "http://"])
def test_a_wrong_address_is_told(url: str) -> None:
    """Which, and what is expected."""
    result = sim("faults", "alpaca", "--url", url)
    assert result.exit_code == EX_WRONG_COMMAND
    assert f"'{url}': expected http://host:port" in result.stderr


def test_a_simulator_that_is_not_there_is_told(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Each reason has its sentence, and the code for what is needed and not there."""
    port = free_port()
    absent = refusal("faults", "alpaca", "--url", f"http://127.0.0.1:{port}")
    assert str(absent) == f"no simulator answers at http://127.0.0.1:{port}: Connection refused"
    no_stack = refusal("faults", "--data", str(tmp_path / "none"))
    assert str(no_stack).startswith(f"no stack is running on {tmp_path / 'none'}: name another")
    with up.hold(tmp_path / "live"):
        _board(tmp_path / "live", {"logs": "/logs"})
        live = refusal("fault", "yahoo", "slow", "--data", str(tmp_path / "live"))
    assert str(live) == (
        f"the stack on {tmp_path / 'live'} reads the real markets: yahoo is not simulated there"
    )
    assert {error.exit_code for error in (absent, no_stack, live)} == {EX_UNAVAILABLE}


def test_keys_of_yahoo_there_are_none(simulators: Simulators) -> None:
    """What answers there says so."""
    result = sim("key", "list", "--url", simulators.yahoo)
    assert result.exit_code == EX_WRONG_COMMAND
    assert "404: Not Found" in result.stderr


def test_the_sentence_leaves_with_its_code(tmp_path: Path) -> None:
    """As a command of its own: one line, and 69."""
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", "sim", "faults", "--data", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == EX_UNAVAILABLE
    assert done.stderr.startswith(f"twinfeed: no stack is running on {tmp_path}: ")
    assert done.stderr.count("\n") == 1
