"""The view shows what a board says, at the width of any terminal."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from infra.stack import board as boards
from infra.stack.board import Board, Load
from infra.stack.facts import Facts, Spell
from infra.stack.plan import Address
from infra.stack.supervisor import State, Status
from infra.stack.view import PLAIN_SECONDS, LiveView, PlainView, line, picture

BOARD = Board(
    pid=1,
    created=0.0,
    started_at=1000.0,
    at=1000.0 + 3725,
    title="simulated: 500 messages/s, seed 7",
    statuses=(
        Status(name="kafka", state=State.READY, pid=4194304, started_at=1000.0),
        Status(name="topics", state=State.DONE),
        Status(name="alpaca-simulator", state=State.BACKOFF, restarts=12, detail="exit code 1"),
    ),
    loads={"kafka": Load(cpu=0.52, memory=468 * 1024**2)},
    facts=Facts(
        route="BOTH_UNAVAILABLE",
        received={"alpaca": 499.4, "yahoo": 6.04},
        routed=12345.0,
        rejected=0.0,
        latency=(0.0042, 1.5),
        rows=1_234_567,
    ),
    spell=Spell("BOTH_UNAVAILABLE", 1000.0 + 3725 - 61),
    addresses=(Address("logs", "/somewhere/logs"),),
)
SHOWN = (
    *("twinfeed", "simulated: 500 messages/s, seed 7", "up 1:02:05"),
    *("kafka", "ready", "4194304", "52%", "468M", "done", "restarting", "12"),
    *("BOTH_UNAVAILABLE", "1:01", "499/s", "6.0/s", "12,345/s", "0/s", "4 ms", "1,500 ms"),
    *("1,234,567", "/somewhere/logs"),
)


def drawn(board: Board, width: int) -> list[str]:
    """The lines of a picture."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(picture(board, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [72, 80, 100, 200])
def test_all_is_shown_and_nothing_cut(width: int) -> None:
    """Every fact is in the picture whole, and no line is longer than the terminal."""
    lines = drawn(BOARD, width)
    assert [word for word in SHOWN if not any(word in line for line in lines)] == []
    assert not [line for line in lines if "…" in line]
    assert max(map(len, lines)) <= width


def test_a_picture_of_the_start_has_gaps_and_no_numbers() -> None:
    """What is not known yet is a dash."""
    fresh = replace(BOARD, facts=Facts(), spell=None, statuses=(), loads={})
    (rows,) = (line for line in drawn(fresh, 100) if "rows in ClickHouse" in line)
    assert rows.split()[-2] == "-"


def test_a_line_says_the_same() -> None:
    """The plain form has the flow's numbers."""
    assert line(BOARD) == (
        "2/3 ready  BOTH_UNAVAILABLE  alpaca 499/s  yahoo 6.0/s  routed 12,345/s  rejected 0/s"
        "  latency p50 4 ms p95 1,500 ms  rows 1,234,567"
    )


def test_plain_lines_come_now_and_then() -> None:
    """A board a second makes a line every few seconds; what happened is said at once."""
    console = Console(file=io.StringIO(), width=40)
    view = PlainView(console)
    for second in range(10):
        view.show(replace(BOARD, at=BOARD.at + second))
    view.say("kafka is ready after 4.0 s [not markup]")
    view.close()
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert len(lines) == 10 / PLAIN_SECONDS + 1
    assert lines[-1].endswith("kafka is ready after 4.0 s [not markup]")


def test_the_live_view_prints_above_its_picture() -> None:
    """A sentence stays; the picture is drawn again below it."""
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    view = LiveView(console)
    view.show(BOARD)
    view.say("kafka ended [killed]")
    view.close()
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "kafka ended [killed]" in said
    assert said.rindex("BOTH_UNAVAILABLE") > said.index("kafka ended")


def test_a_kept_board_is_read_back_as_it_was(tmp_path: Path) -> None:
    """`stack.json` holds all of it; without one there is none."""
    assert boards.read(tmp_path) is None
    boards.write(tmp_path, BOARD)
    assert boards.read(tmp_path) == BOARD
    assert [path.name for path in tmp_path.iterdir()] == [boards.FILE]


def test_a_supervisor_is_known_by_more_than_its_number() -> None:
    """A process that has the number of a past supervisor is not taken for it."""
    process = boards.supervisor(replace(BOARD, created=0.0))
    assert process is None
