"""What a running stack tells about itself: one value, shown in the view, kept in `stack.json`.

`twinfeed status` and `twinfeed down` know a running stack by nothing but this file.
"""

import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil

from infra.stack.facts import Facts, Scrape, Spell, facts, parse, spell
from infra.stack.plan import Address, Plan
from infra.stack.probes import Asker
from infra.stack.supervisor import Status

FILE = "stack.json"
#: Rates and latencies are taken over so many seconds: several of the slow source's polls.
WINDOW_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a process costs: share of a core, and resident bytes."""

    cpu: float
    memory: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A running stack at one moment.

    Attributes:
        pid: the supervisor's.
        created: when that process was made, to tell it from a later one with its number.
        started_at: when the stack was started.
        at: the moment.
        title: what is being run.
        statuses: of every process.
        loads: by process name.
        facts: the flow.
        spell: since when the router has been in its state.
        addresses: where to look.

    """

    pid: int
    created: float
    started_at: float
    at: float
    title: str
    statuses: tuple[Status, ...] = ()
    loads: dict[str, Load] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)
    spell: Spell | None = None
    addresses: tuple[Address, ...] = ()


class Reporter:
    """Makes boards of a running stack.

    Args:
        plan: what is run.
        title: what to call it.
        asker: how to reach the processes.
        rows_url: answers the number of rows in ClickHouse, where that may be asked.

    """

    def __init__(self, plan: Plan, *, title: str, asker: Asker, rows_url: str | None) -> None:
        self._plan = plan
        self._title = title
        self._asker = asker
        self._rows_url = rows_url
        self._started_at = time.time()
        self._window: deque[Scrape] = deque()
        self._spell: Spell | None = None
        self._known: dict[int, psutil.Process] = {}

    def board(self, statuses: Sequence[Status]) -> Board:
        """Return the present board."""
        return Board(
            pid=os.getpid(),
            created=psutil.Process().create_time(),
            started_at=self._started_at,
            at=time.time(),
            title=self._title,
            statuses=tuple(statuses),
            loads={status.name: load for status in statuses if (load := self._load(status))},
            facts=facts(self._window),
            spell=self._spell,
            addresses=self._plan.addresses,
        )

    async def scrape(self, statuses: Sequence[Status]) -> None:
        """Ask every running process for its metrics, and remember."""
        running = {status.name for status in statuses if status.pid}
        metrics = {}
        for process in self._plan.processes:
            if process.metrics and process.name in running:
                text = await self._asker.text(process.metrics)
                if text is not None:
                    metrics[process.name] = parse(text)
        last = Scrape(at=time.time(), metrics=metrics, rows=await self._rows())
        self._window.append(last)
        while last.at - self._window[0].at > WINDOW_SECONDS:
            self._window.popleft()
        self._spell = spell(self._spell, last)

    async def _rows(self) -> int | None:
        text = await self._asker.text(self._rows_url) if self._rows_url else None
        return int(text) if text and text.strip().isdigit() else None

    def _load(self, status: Status) -> Load | None:
        if status.pid is None:
            return None
        try:
            process = self._known.setdefault(status.pid, psutil.Process(status.pid))
            return Load(cpu=process.cpu_percent() / 100, memory=process.memory_info().rss)
        except psutil.NoSuchProcess:
            self._known.pop(status.pid, None)
            return None


def write(directory: Path, board: Board) -> None:
    """Keep a board where `read` finds it; a reader never sees half of one."""
    fresh = directory / f"{FILE}.new"
    fresh.write_bytes(msgspec.json.format(msgspec.json.encode(board)) + b"\n")
    fresh.replace(directory / FILE)


def read(directory: Path) -> Board | None:
    """Return the last board that was kept, or None."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=Board)
    except FileNotFoundError:
        return None


def supervisor(board: Board) -> psutil.Process | None:
    """Return the supervisor that wrote a board, or None if that process is no more."""
    try:
        process = psutil.Process(board.pid)
    except psutil.NoSuchProcess:
        return None
    return process if process.create_time() == board.created else None
