"""A simulated Yahoo in this process, whose clock can be moved."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from infra.simulators.ledger import Ledger
from infra.simulators.market import SECOND_NS, Market
from infra.simulators.yahoo.server import YahooSimulator

#: 2026-11-23 12:34:56.789 UTC
NOW_NS = 1_795_437_296_789_000_000


@dataclass(slots=True)
class Clock:
    """A clock that stands until it is moved."""

    now_ns: int = field(default=NOW_NS)

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ns

    def move(self, seconds: int) -> None:
        """Let so many seconds pass."""
        self.now_ns += seconds * SECOND_NS


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulator, its clock, and a client of it."""

    clock: Clock
    http: aiohttp.ClientSession

    async def get(self, path: str) -> tuple[int, Any]:
        """Return an answer's status and JSON."""
        async with self.http.get(path) as answer:
            return answer.status, await answer.json()

    async def fault(self, name: str, **parameters: Any) -> None:
        """Switch a fault on."""
        async with self.http.put(f"/faults/{name}", json=parameters) as answer:
            assert answer.status == 200, await answer.text()

    async def clear(self) -> None:
        """Switch all faults off."""
        async with self.http.delete("/faults") as answer:
            assert answer.status == 200


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    """Where the simulator writes down what it sent."""
    return tmp_path / "ledger.jsonl"


@pytest_asyncio.fixture
async def simulated(ledger_path: Path) -> AsyncIterator[Simulated]:
    """A simulator, 15 s behind the market."""
    clock = Clock()
    with Ledger(ledger_path) as ledger:
        simulator = YahooSimulator(Market(7), ledger, delay=15, clock=clock)
        port = await simulator.start("127.0.0.1", 0)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            yield Simulated(clock, http)
        await simulator.stop()


@pytest.fixture
def yahoo(simulated: Simulated) -> aiohttp.ClientSession:
    """A client of the simulator."""
    return simulated.http
