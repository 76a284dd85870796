"""The market's sessions in the log: written by the router alone, and never twice."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import msgspec
import pytest

from infra import market_calendar
from infra import topics as declared
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from processors.events import SessionChanged

pytestmark = pytest.mark.service

#: On a machine that is busy with everything else.
DEADLINE_S = 120


class Router:
    """A router's process, and what it is read by."""

    def __init__(self, kafka: Broker, topics: str, metrics: str) -> None:
        self._servers, self._topics, self._metrics = kafka.bootstrap_servers, topics, metrics

    async def told(self, market: str) -> list[SessionChanged]:
        """Return a market's sessions in the log."""
        name = self._topics + declared.SESSIONS.name
        sessions = [
            msgspec.json.decode(record.value, type=SessionChanged)
            async for record in read_to_end(self._servers, name, 0)
            if record.key == market.encode()
        ]
        assert {session.market for session in sessions} <= {market}
        return sessions

    async def is_open(self) -> float | None:
        """Return `market_session_open`, or None as long as nobody answers."""
        try:
            async with aiohttp.ClientSession() as http, http.get(self._metrics) as response:
                lines = (await response.text()).splitlines()
        except aiohttp.ClientConnectorError:
            return None
        (value,) = (
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith('market_session_open{market="XNYS"}')
        )
        return value

    async def is_ready(self) -> bool:
        """Say whether it has its partition."""
        try:
            async with (
                aiohttp.ClientSession() as http,
                http.get(self._metrics.replace("/metrics", "/ready")) as response,
            ):
                return response.status == 200
        except aiohttp.ClientConnectorError:
            return False


@asynccontextmanager
async def router(kafka: Broker, topics: str, port: int, **env: str) -> AsyncIterator[Router]:
    """Run a router that has its partition, until the context is left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "processors", "route"),
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TOPIC_PREFIX": topics,
            "METRICS_PORT": str(port),
            "MEMBER_NAME": "only",
            **env,
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        running = Router(kafka, topics, f"http://127.0.0.1:{port}/metrics")
        async with asyncio.timeout(DEADLINE_S):
            while not await running.is_ready():
                await asyncio.sleep(0.1)
        yield running
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def told_by(running: Router, market: str, more_than: int = 0) -> list[SessionChanged]:
    """Return a market's sessions once there are more than so many."""
    async with asyncio.timeout(DEADLINE_S):
        while len(sessions := await running.told(market)) <= more_than:
            await asyncio.sleep(0.1)
    return sessions


async def test_each_session_is_in_the_log_once(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """At the start the session in force, none again after a restart, one more where it changed."""
    port = free_port()
    async with router(kafka, topics, port) as running:
        first = (await told_by(running, "XNYS"))[-1]
        calendar = market_calendar.load()
        session = calendar.session(first.at_ns)
        assert (first.state, first.since_ns, first.until_ns) == session
        assert await running.is_open() in (0, 1)

    always = {"MARKET_HOURS": "always"}
    async with router(kafka, topics, port, **always) as running:
        (only,) = await told_by(running, "always")
        assert (only.state, only.since_ns, only.until_ns) == ("regular", 0, None)
        assert await running.is_open() == 1

    # the router that comes next has the whole log to learn from, and writes `always` after all else
    async with router(kafka, topics, port, **always) as running:
        assert await running.told("always") == [only]

    # the operator closes the week: whatever the session was, it is another now
    overrides = tmp_path / "overrides"
    overrides.write_text(_closed_week(first.at_ns))
    before = len(await running.told("XNYS"))
    async with router(kafka, topics, port, MARKET_OVERRIDES_FILE=str(overrides)) as running:
        sessions = await told_by(running, "XNYS", before)
        assert sessions[-1].state == "closed"
        assert await running.is_open() == 0
        places = [(s.state, s.since_ns, s.until_ns) for s in sessions]
        assert len(set(places)) == len(places)


def _closed_week(at_ns: int) -> str:
    """Return overrides that close the days around a moment."""
    day = datetime.fromtimestamp(at_ns / market_calendar.NS, UTC).date()
    return "".join(f"{day + timedelta(days=offset)} closed\n" for offset in range(-3, 4))
