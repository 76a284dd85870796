"""`@microsoft/signalr`, unchanged, against the hub's process on real Kafka."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from infra import topics as declared
from infra.kafka.broker import Broker
from tests.sinks.hub.prices import price, transition
from tests.sinks.hub.running import running, write

pytestmark = pytest.mark.service


class Official:
    """The client as a process: what it says, event by event."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout
        self._said = process.stdout

    async def event(self, name: str, within_s: float = 30) -> Any:
        """Return the argument of the next event of this name."""
        async with asyncio.timeout(within_s):
            while line := await self._said.readline():
                event, argument = json.loads(line)
                if event == name:
                    return argument
        error = f"it ended before {name}"
        raise AssertionError(error)


@contextlib.asynccontextmanager
async def _official(command: tuple[str, ...], *arguments: str) -> AsyncIterator[Official]:
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield Official(process)
        assert process.stdin
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@pytest.mark.parametrize("encoding", ["json", "messagepack"])
async def test_it_connects_unchanged(
    encoding: str,
    official_client: tuple[str, ...],
    kafka: Broker,
    topics: str,
    free_port: Callable[[], int],
) -> None:
    """Snapshot and updates, DELAYED and LIVE, and the newest price after the hub's restart."""
    ports = free_port(), free_port()
    url = f"http://127.0.0.1:{ports[0]}/hubs/market-data"
    await write(kafka, topics, declared.ROUTED, price("AAPL", 1.0))
    async with (
        running(kafka, topics, ports) as first,
        _official(official_client, url, encoding, "AAPL") as client,
    ):
        assert (await client.event("SubscriptionConfirmed"))["symbols"] == ["AAPL"]
        assert (await client.event("PriceUpdate"))["price"] == 1.0
        assert "Unknown hub method 'Nope'" in await client.event("refused")

        await write(kafka, topics, declared.TRANSITIONS, transition("FALLBACK_ACTIVE", 2))
        assert (await client.event("DataSourceChanged", 2))["isRealTime"] is False
        delayed = price("AAPL", 2.0, epoch=2, source="yahoo", is_real_time=False)
        await write(kafka, topics, declared.ROUTED, delayed)
        assert (await client.event("PriceUpdate", 2))["isRealTime"] is False

        first.terminate()
        assert await asyncio.wait_for(first.wait(), 20) == 0
        await client.event("reconnecting")
        await write(kafka, topics, declared.TRANSITIONS, transition("PRIMARY_ACTIVE", 3))
        await write(kafka, topics, declared.ROUTED, price("AAPL", 3.0, epoch=3))
        async with running(kafka, topics, ports):
            welcome = await client.event("ConnectionStatus")
            assert welcome["dataSource"]["isRealTime"] is True
            update = await client.event("PriceUpdate")
            assert (update["price"], update["isRealTime"]) == (3.0, True)
