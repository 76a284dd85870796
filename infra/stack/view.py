"""How a running stack looks: as a live picture on a terminal, as plain lines elsewhere.

The picture and the line are pure functions of a board.
"""

import time
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.stack.board import Board
from infra.stack.supervisor import State

STYLES = {
    State.WAITING: "dim",
    State.STARTING: "yellow",
    State.READY: "green",
    State.UNREADY: "yellow",
    State.DONE: "green",
    State.BACKOFF: "bold red",
    State.FAILED: "bold red",
    State.STOPPING: "yellow",
    State.STOPPED: "dim",
}
ROUTES = {
    "PRIMARY_ACTIVE": "bold green",
    "FALLBACK_ACTIVE": "bold yellow",
    "BOTH_UNAVAILABLE": "bold red",
}
UNKNOWN = "-"
#: Plain lines are for logs: one that often says as much as one a second.
PLAIN_SECONDS = 5.0
#: The least width that holds the processes and the flow beside each other.
SIDE_BY_SIDE = 96


class View(Protocol):
    """Where the stack's words and boards go."""

    def say(self, sentence: str) -> None:
        """Tell the user something that happened."""

    def show(self, board: Board) -> None:
        """Show how things are."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class LiveView:
    """A picture that stays in place, with what happened scrolling by above it."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="visible")
        self._live.start()

    def say(self, sentence: str) -> None:
        """Print a sentence above the picture."""
        self._live.console.print(_stamped(sentence), markup=False, highlight=False)

    def show(self, board: Board) -> None:
        """Redraw the picture."""
        self._live.update(picture(board, self._live.console.width), refresh=True)

    def close(self) -> None:
        """Leave the last picture where it is."""
        self._live.stop()


class PlainView:
    """Lines, for a log or a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown_at = 0.0

    def say(self, sentence: str) -> None:
        """Print a sentence."""
        self._print(_stamped(sentence))

    def show(self, board: Board) -> None:
        """Print a line, now and then."""
        if board.at - self._shown_at >= PLAIN_SECONDS:
            self._shown_at = board.at
            self._print(_stamped(line(board)))

    def close(self) -> None:
        """Nothing to put back."""

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


def line(board: Board) -> str:
    """Return a board as one line."""
    facts = board.facts
    ready = sum(status.state in (State.READY, State.DONE) for status in board.statuses)
    return "  ".join(
        (
            f"{ready}/{len(board.statuses)} ready",
            facts.route or "no route yet",
            *(f"{source} {_rate(rate)}" for source, rate in facts.received.items()),
            f"routed {_rate(facts.routed)}",
            f"rejected {_rate(facts.rejected)}",
            f"latency {_latency(facts.latency)}",
            f"rows {_count(facts.rows)}",
        )
    )


def picture(board: Board, width: int) -> RenderableType:
    """Return a board as a picture of so many columns, made for 100."""
    body: RenderableType
    if width >= SIDE_BY_SIDE:
        body = Table.grid(expand=True, padding=(0, 1))
        body.add_column(ratio=61)
        body.add_column(ratio=39)
        body.add_row(_processes(board), _flow(board))
    else:
        body = Group(_processes(board), _flow(board))
    ended = all(status.pid is None for status in board.statuses)
    head = Text.assemble(
        (" twinfeed ", "bold reverse"),
        f"  {board.title}",
        (f"  up {_duration(board.at - board.started_at)}", "dim"),
    )
    foot = "Nothing runs any more." if ended else "Ctrl-C or `twinfeed down` ends all of it."
    return Group(head, body, _addresses(board), Text(f" {foot}", style="dim"))


def _processes(board: Board) -> RenderableType:
    table = Table(box=None, padding=(0, 0, 0, 1), header_style="dim", expand=True)
    table.add_column("process", no_wrap=True)
    table.add_column("state", no_wrap=True, ratio=1)
    for name in ("pid", "again", "up", "cpu", "mem"):
        table.add_column(name, justify="right", no_wrap=True)
    for status in board.statuses:
        load = board.loads.get(status.name)
        up = board.at - status.started_at if status.started_at else None
        table.add_row(
            status.name,
            Text(status.state.value, style=STYLES[status.state]),
            str(status.pid or ""),
            Text(str(status.restarts), style="bold red") if status.restarts else "",
            _duration(up) if up is not None else "",
            f"{load.cpu:.0%}" if load else "",
            f"{load.memory / 1024**2:,.0f}M" if load else "",
        )
    return table


def _flow(board: Board) -> RenderableType:
    facts = board.facts
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    route = Text(facts.route or UNKNOWN, style=ROUTES.get(facts.route or "", "dim"))
    grid.add_row("route", route)
    if board.spell:
        grid.add_row("for", _duration(board.at - board.spell.since))
    for source, rate in facts.received.items():
        grid.add_row(f"{source} received", _rate(rate))
    grid.add_row("routed", _rate(facts.routed))
    grid.add_row("rejected", _rate(facts.rejected))
    median, tail = facts.latency or (None, None)
    grid.add_row("latency p50", _milliseconds(median))
    grid.add_row("latency p95", _milliseconds(tail))
    grid.add_row("rows in ClickHouse", _count(facts.rows))
    return Panel(grid, title="flow", border_style="dim", padding=(0, 1))


def _addresses(board: Board) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for address in board.addresses:
        grid.add_row(f" {address.name}", Text(address.where))
    return grid


def _stamped(sentence: str) -> str:
    return f"{time.strftime('%H:%M:%S')}  {sentence}"


def _rate(rate: float | None) -> str:
    if rate is None:
        return UNKNOWN
    return f"{rate:,.0f}/s" if rate >= 10 or rate == 0 else f"{rate:.1f}/s"  # noqa: PLR2004


def _latency(latency: tuple[float, float] | None) -> str:
    if latency is None:
        return UNKNOWN
    return f"p50 {_milliseconds(latency[0])} p95 {_milliseconds(latency[1])}"


def _milliseconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else f"{seconds * 1000:,.0f} ms"


def _count(count: int | None) -> str:
    return UNKNOWN if count is None else f"{count:,}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
