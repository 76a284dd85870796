"""Simulators of the stream, in this process."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.simulators.alpaca.server import AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.ledger import Ledger
from infra.simulators.market import Market

Start = Callable[..., Awaitable[str]]


@pytest.fixture
def ledger_path(tmp_path: Path) -> Path:
    """Where the simulators of a test write down what they sent."""
    return tmp_path / "ledger.jsonl"


@pytest_asyncio.fixture
async def start(ledger_path: Path) -> AsyncIterator[Start]:
    """Return a function that starts a simulator, with options, and returns its address."""
    started: list[AlpacaSimulator] = []
    with Ledger(ledger_path) as ledger:

        async def start_one(*, symbol_limit: int = 30, **options: Any) -> str:
            rules = Rules(keys={"key": "secret"}, symbol_limit=symbol_limit)
            options = {"rate": 500, **options}
            simulator = AlpacaSimulator(Market(7), ledger, rules=rules, **options)
            started.append(simulator)
            return f"ws://127.0.0.1:{await simulator.start('127.0.0.1', 0)}"

        yield start_one
        for simulator in started:
            await simulator.stop()
