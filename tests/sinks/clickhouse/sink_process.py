"""The sink as a process of its own, for tests: what feeds it, and what stands before its server."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from infra.kafka.batches import BatchProducer, Record
from infra.topics import RAW_ALPACA, TICK_PARTITIONS
from tests.sinks.clickhouse.records import raw_tick

ROOT = Path(__file__).parents[3]
START_S = 60.0

COUNTS = (
    "SELECT count(), uniqExact(topic, partition, offset), sum(JSONExtractInt(raw, 'n')) "
    "FROM raw_ticks FINAL"
)


@dataclass
class Run:
    """A run of the sink."""

    process: subprocess.Popen[str]
    log: Path
    metrics: int

    def events(self) -> list[dict[str, object]]:
        """Return what it logged so far."""
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    async def event(self, name: str, **fields: object) -> dict[str, object]:
        """Wait for an event in the log, with these fields among its own."""
        wanted = {"event": name, **fields}
        async with asyncio.timeout(START_S):
            while True:
                for event in self.events():
                    if event.items() >= wanted.items():
                        return event
                assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def port(self) -> int:
        """Return the port of the face."""
        return int(str((await self.event("clickhouse_served"))["port"]))

    async def ready(self, expected: str = "ready\n") -> None:
        """Wait for an answer of /ready."""
        async with asyncio.timeout(START_S), aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(f"http://127.0.0.1:{self.metrics}/ready") as response:
                        if await response.text() == expected:
                            return
                except aiohttp.ClientConnectionError:
                    assert self.process.poll() is None, self.log.read_text()
                await asyncio.sleep(0.02)

    async def metric(self, series: str) -> float:
        """Return the value of one exposed series."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.metrics}/metrics") as response,
        ):
            lines = (await response.text()).splitlines()
        (value,) = (line.rpartition(" ")[2] for line in lines if line.startswith(f"{series} "))
        return float(value)

    async def ended(self, within: float = 20.0) -> int:
        """Tell it to end, and return its exit code. What it talks to may be in this loop."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, within)

    def kill(self) -> None:
        """Kill it as the system would."""
        self.process.kill()
        self.process.wait()


Start = Callable[..., Run]


@dataclass(frozen=True)
class Produced:
    """What a producer has written so far."""

    producer: BatchProducer
    topic: str

    async def write(self, first: int, count: int, padding: bytes = b"") -> None:
        """Write numbered ticks, spread over the partitions."""
        for partition in range(TICK_PARTITIONS):
            numbers = range(first + partition, first + count, TICK_PARTITIONS)
            raws = ((n, b'{"n": %d %b}' % (n, padding)) for n in numbers)
            ticks = [Record(b"AAPL", raw_tick(raw, symbol=f"S{n % 30}")) for n, raw in raws]
            done = await self.producer.send(self.topic, partition, ticks, RAW_ALPACA.header)
            await done


async def query(port: int, text: str) -> str:
    """Ask the face."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/", data=text) as response,
    ):
        assert response.status == 200, await response.text()
        return (await response.text()).strip()


async def reaches(port: int, text: str, expected: str) -> None:
    """Wait for the answer of a query."""
    async with asyncio.timeout(START_S):
        while await query(port, text) != expected:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def walled(beyond: int) -> AsyncIterator["Wall"]:
    """Stand a wall, closed, before a server's port."""
    wall = Wall(beyond)
    async with await asyncio.start_server(wall.arrive, "127.0.0.1", 0) as server:
        wall.port = server.sockets[0].getsockname()[1]
        try:
            yield wall
        finally:
            await wall.razed()


class Wall:
    """Stands before a server: connections get through while it is open.

    Attributes:
        open: whether what is said gets through; where not, the connection breaks.
        mute: whether answers are kept back, with the connection as it was.
        port: where it stands.

    """

    def __init__(self, beyond: int) -> None:
        self.open = False
        self.mute = False
        self.port = 0
        self._beyond = beyond
        self._through: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def razed(self) -> None:
        """Break what goes through it."""
        for writer in self._through.values():
            writer.close()
        await asyncio.gather(*self._through)

    async def arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection there and back until it breaks."""
        task = asyncio.current_task()
        assert task
        there, back = await asyncio.open_connection("127.0.0.1", self._beyond)
        self._through[task] = writer
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._carry(reader, back))
                group.create_task(self._carry(there, writer, answers=True))
        except* ConnectionError:
            pass  # the wall was closed
        finally:
            writer.close()
            back.close()
            del self._through[task]

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        while data := await reader.read(65536):
            if not self.open:
                raise ConnectionAbortedError
            if answers and self.mute:
                continue
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
