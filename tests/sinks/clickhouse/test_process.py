"""The sink as a process: how it starts, ends, dies and comes back."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil
import pytest

from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_UNAVAILABLE
from infra.topics import RAW_ALPACA, TICK_PARTITIONS
from tests.sinks.clickhouse.conftest import EngineProcess
from tests.sinks.clickhouse.records import raw_tick

pytestmark = pytest.mark.service

ROOT = Path(__file__).parents[3]
START_S = 60.0


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

    async def event(self, name: str) -> dict[str, object]:
        """Wait for an event in the log."""
        async with asyncio.timeout(START_S):
            while True:
                for event in self.events():
                    if event["event"] == name:
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

    async def ended(self, within: float = 10.0) -> int:
        """Tell it to end, and return its exit code. What it talks to may be in this loop."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, within)

    def kill(self) -> None:
        """Kill it as the system would."""
        self.process.kill()
        self.process.wait()


Start = Callable[..., Run]


@pytest.fixture
def start(tmp_path: Path, free_port: Callable[[], int]) -> Iterator[Start]:
    """A function that starts the sink with its data under the test's directory."""
    runs: list[Run] = []

    def begin(cwd: Path = ROOT, **settings: str) -> Run:
        metrics = free_port()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}",
            "CLICKHOUSE_DIRECTORY": str(tmp_path / "clickhouse"),
            "CLICKHOUSE_HTTP_PORT": "0",
            "METRICS_PORT": str(metrics),
            **settings,
        }
        log = tmp_path / f"log-{len(runs)}"
        with log.open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "sinks.clickhouse"],
                cwd=cwd,
                env=environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
            )
        runs.append(Run(process, log, metrics))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.kill()


@pytest.fixture
def where(kafka: Broker, topics: str) -> dict[str, str]:
    """The settings that name a broker with all topics."""
    return {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}


@contextmanager
def listening() -> Iterator[int]:
    """Hold a port, and return it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_a_wrong_setting_ends_it(start: Start) -> None:
    """One line, and the code that means: do not try again."""
    run = start(CLICKHOUSE_DATABASE="default")
    assert run.process.wait(START_S) == EX_CONFIG
    (sentence,) = run.log.read_text().splitlines()
    assert sentence.startswith("CLICKHOUSE_DATABASE: 'default' is ClickHouse's own")


def test_a_directory_that_cannot_be_is_said(start: Start) -> None:
    """Nothing can be made under a device."""
    run = start(CLICKHOUSE_DIRECTORY="/dev/null/clickhouse")
    assert run.process.wait(START_S) == EX_CANTCREAT
    last = run.log.read_text().splitlines()[-1]
    assert last == "CLICKHOUSE_DIRECTORY: cannot write to /dev/null/clickhouse: Not a directory"


@pytest.mark.parametrize("variable", ["METRICS_PORT", "CLICKHOUSE_HTTP_PORT"])
def test_a_taken_port_is_said(start: Start, variable: str) -> None:
    """Which, and by which variable it moves."""
    with listening() as port:
        run = start(**{variable: str(port)})
        assert run.process.wait(START_S) == EX_CANTCREAT
    last = run.log.read_text().splitlines()[-1]
    assert last == f"{variable}: cannot listen on 127.0.0.1:{port}: Address already in use"


def test_a_broker_that_is_not_there_is_said(start: Start, free_port: Callable[[], int]) -> None:
    """By the variable that names it; a supervisor may try again."""
    address = f"127.0.0.1:{free_port()}"
    run = start(KAFKA_BOOTSTRAP_SERVERS=address)
    assert run.process.wait(START_S) == EX_UNAVAILABLE
    sentence = f"KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at {address}"
    assert sentence in run.log.read_text()


def test_a_server_that_refuses_us_is_said(start: Start, clickhouse: EngineProcess) -> None:
    """A wrong password does not get right by a restart."""
    run = start(CLICKHOUSE_URL=clickhouse.url.replace("//", "//me:hush@"))
    assert run.process.wait(START_S) == EX_CONFIG
    last = run.log.read_text().splitlines()[-1]
    assert last.startswith("CLICKHOUSE_URL: ")
    assert "516" in last
    assert "hush" not in run.log.read_text()


async def test_a_directory_has_one_owner(
    start: Start, where: Mapping[str, str], tmp_path: Path
) -> None:
    """The second is told who; the first goes on; and a killed owner leaves the way free."""
    # what stands in the working directory is nobody's configuration
    (tmp_path / "config.xml").write_text("<clickhouse><broken>")
    first = start(cwd=tmp_path, **where)
    await first.ready()
    second = start(**where)
    assert second.process.wait(START_S) == EX_UNAVAILABLE
    last = second.log.read_text().splitlines()[-1]
    path = tmp_path / "clickhouse"
    pid = first.process.pid
    assert last == f"CLICKHOUSE_DIRECTORY: process {pid} has the ClickHouse directory {path}"
    first.kill()
    third = start(**where)
    await third.ready()
    assert await third.ended() == 0


async def test_it_ends_in_time_whatever_readers_do(start: Start, where: Mapping[str, str]) -> None:
    """What is in hand is written; a statement that runs for minutes is not waited for."""
    run = start(**where)
    await run.ready()
    url = f"http://127.0.0.1:{await run.port()}/"
    async with aiohttp.ClientSession() as session:
        slow = "SELECT sleepEachRow(1) FROM numbers(100) SETTINGS max_block_size = 1"
        statement = asyncio.create_task(session.post(url, data=slow))
        async with session.post(url, data="SELECT 1") as response:
            assert await response.text() == "1\n"
        began = time.monotonic()
        assert await run.ended() == 0
        assert time.monotonic() - began < 5
        with pytest.raises(aiohttp.ClientError):
            await statement


@dataclass(frozen=True)
class Produced:
    """What a producer has written so far."""

    producer: BatchProducer
    topic: str

    async def write(self, first: int, count: int) -> None:
        """Write numbered ticks, spread over the partitions."""
        for partition in range(TICK_PARTITIONS):
            numbers = range(first + partition, first + count, TICK_PARTITIONS)
            ticks = [
                Record(b"AAPL", raw_tick(b'{"n": %d }' % n, symbol=f"S{n % 30}")) for n in numbers
            ]
            done = await self.producer.send(self.topic, partition, ticks, RAW_ALPACA.header)
            await done


@pytest.fixture
async def produced(kafka: Broker, topics: str) -> AsyncIterator[Produced]:
    """A producer of raw ticks."""
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    yield Produced(producer, topics + RAW_ALPACA.name)
    await producer.stop()


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


#: More of them prove more: `SINK_KILLS=100`.
KILLS = int(os.environ.get("SINK_KILLS", "4"))
EACH = 15_000
COUNTS = (
    "SELECT count(), uniqExact(topic, partition, offset), sum(JSONExtractInt(raw, 'n')) "
    "FROM raw_ticks FINAL"
)


@pytest.mark.timeout(60 + 30 * KILLS)
@pytest.mark.parametrize("seed", [7])
async def test_nothing_is_lost_or_doubled_by_kills(
    start: Start, where: Mapping[str, str], produced: Produced, seed: int
) -> None:
    """A kill -9 at any moment of its work, again and again, with ticks coming in all the while."""
    chance = random.Random(seed)
    total = 0
    for _ in range(KILLS):
        run = start(**where)
        await produced.write(total, EACH)
        total += EACH
        port = await run.port()
        # let it write something new, so that the kill falls into its work and not before it
        already = await query(port, "SELECT count() FROM raw_ticks")
        async with asyncio.timeout(START_S):
            while await query(port, "SELECT count() FROM raw_ticks") == already:
                await asyncio.sleep(0.005)
        await asyncio.sleep(chance.uniform(0, 0.3))
        run.kill()
    run = start(**where)
    await reaches(await run.port(), COUNTS, f"{total}\t{total}\t{total * (total - 1) // 2}")
    await run.ready()
    assert await run.ended() == 0


async def test_a_full_disk_is_waited_out(
    start: Start, where: Mapping[str, str], produced: Produced
) -> None:
    """It says what it waits for, readers read on, and all of it is there once there is room."""
    run = start(**where)
    port = await run.port()
    await run.ready()
    process = psutil.Process(run.process.pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (64 * 1024, psutil.RLIM_INFINITY))  # no file gets longer
    await produced.write(0, 4_000)
    await run.ready("waiting for ClickHouse\n")
    failed = await run.event("write_failed")
    assert failed["again_in_s"]
    assert await query(port, "SELECT count() FROM raw_ticks") == "0"
    process.rlimit(psutil.RLIMIT_FSIZE, (psutil.RLIM_INFINITY, psutil.RLIM_INFINITY))
    await reaches(port, COUNTS, f"4000\t4000\t{4000 * 3999 // 2}")
    await run.ready()
    assert await run.ended() == 0


async def test_a_server_may_go_and_come_back(
    start: Start,
    where: Mapping[str, str],
    produced: Produced,
    clickhouse: EngineProcess,
    database: str,
) -> None:
    """Away at the start, there, away again: it says what it waits for, and loses nothing."""
    count = f"SELECT count() FROM {database}.raw_ticks FINAL"  # noqa: S608  # a name of ours
    async with walled(clickhouse.port) as wall:
        run = start(
            **where,
            CLICKHOUSE_URL=f"http://127.0.0.1:{wall.port}",
            CLICKHOUSE_DATABASE=database,
        )
        await produced.write(0, 100)
        await run.ready("waiting for ClickHouse\n")
        wall.open = True
        await reaches(clickhouse.port, f"EXISTS TABLE {database}.raw_ticks", "1")
        await reaches(clickhouse.port, count, "100")
        await run.ready()
        wall.open = False
        await produced.write(100, 100)
        await run.ready("waiting for ClickHouse\n")
        wall.open = True
        await reaches(clickhouse.port, count, "200")
        assert await run.ended() == 0


async def test_a_server_that_went_mute_does_not_keep_it(
    start: Start,
    where: Mapping[str, str],
    produced: Produced,
    clickhouse: EngineProcess,
    database: str,
) -> None:
    """Told to end while a write has no answer, it ends; its successor writes that again, once."""
    count = f"SELECT count() FROM {database}.raw_ticks"  # noqa: S608  # a name of ours
    settings = {**where, "CLICKHOUSE_DATABASE": database}
    async with walled(clickhouse.port) as wall:
        wall.open = True
        run = start(**settings, CLICKHOUSE_URL=f"http://127.0.0.1:{wall.port}")
        await produced.write(0, 100)
        await run.ready()
        await reaches(clickhouse.port, count, "100")
        wall.mute = True
        await produced.write(100, 100)
        await reaches(clickhouse.port, count, "200")
        assert await run.ended() == 0
        await run.event("ended_with_a_write_under_way")
    run = start(**settings, CLICKHOUSE_URL=f"http://127.0.0.1:{clickhouse.port}")
    await produced.write(200, 100)
    await reaches(clickhouse.port, f"{count} FINAL", "300")
    assert await run.ended() == 0


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
