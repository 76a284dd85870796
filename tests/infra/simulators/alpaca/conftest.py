"""Simulators of the stream, in this process."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from infra.simulators.alpaca.server import AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.ledger import Ledger
from infra.simulators.market import Market

Start = Callable[..., Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulator and where it is.

    Attributes:
        stream: the address of the stream, without a path.
        http: a client of its second port.

    """

    simulator: AlpacaSimulator
    stream: str
    http: aiohttp.ClientSession

    @property
    def iex(self) -> str:
        """The feed's address."""
        return self.stream + "/v2/iex"

    async def fault(self, name: str, **parameters: Any) -> None:
        """Switch a fault on."""
        async with self.http.put(f"/faults/{name}", json=parameters) as answer:
            assert answer.status == 200, await answer.text()

    async def clear(self, name: str = "") -> None:
        """Switch a fault off, or all."""
        async with self.http.delete(f"/faults/{name}".rstrip("/")) as answer:
            assert answer.status == 200, await answer.text()

    async def on(self) -> set[str]:
        """Return the names of the faults that are on."""
        async with self.http.get("/faults") as answer:
            return {fault["name"] for fault in (await answer.json())["faults"] if fault["on"]}

    async def until_off(self, name: str) -> None:
        """Wait until a fault has ended; at most ten seconds."""
        async with asyncio.timeout(10):
            while name in await self.on():
                await asyncio.sleep(0.01)


Simulate = Callable[..., Awaitable[Simulated]]


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    """Where the simulators of a test write down what they sent."""
    return tmp_path / "ledger.jsonl"


@pytest_asyncio.fixture
async def simulate(ledger_path: Path) -> AsyncIterator[Simulate]:
    """Return a function that starts a simulator with both of its ports, with options."""
    started: list[Simulated] = []
    with Ledger(ledger_path) as ledger:

        async def start_one(*, symbol_limit: int = 30, **options: Any) -> Simulated:
            rules = Rules(keys={"key": "secret"}, symbol_limit=symbol_limit)
            options = {"rate": 500, **options}
            simulator = AlpacaSimulator(Market(7), ledger, rules=rules, **options)
            stream = f"ws://127.0.0.1:{await simulator.start('127.0.0.1', 0)}"
            port = await simulator.start_http("127.0.0.1", 0)
            http = aiohttp.ClientSession(f"http://127.0.0.1:{port}")
            started.append(Simulated(simulator, stream, http))
            return started[-1]

        yield start_one
        for simulated in started:
            await simulated.http.close()
            await simulated.simulator.stop()


@pytest.fixture
def start(simulate: Simulate) -> Start:
    """Return a function that starts a simulator, with options, and returns its address."""

    async def start_one(**options: Any) -> str:
        return (await simulate(**options)).stream

    return start_one
