"""The sink as a process: how it starts, ends, dies and comes back."""

import asyncio
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_UNAVAILABLE
from infra.stack.plan import STAGE_STOP_SECONDS
from tests.sinks.clickhouse.conftest import EngineProcess
from tests.sinks.clickhouse.sink_process import COUNTS, START_S, Produced, Start, query, reaches

pytestmark = pytest.mark.service


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
        assert time.monotonic() - began < STAGE_STOP_SECONDS
        with pytest.raises(aiohttp.ClientError):
            await statement


#: More of them prove more: `SINK_KILLS=100`.
KILLS = int(os.environ.get("SINK_KILLS", "4"))
EACH = 15_000


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
