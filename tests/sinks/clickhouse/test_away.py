"""A place to write to that is not there: no room on the disk, or no server."""

import asyncio
from collections.abc import Mapping

import psutil
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from infra.settings import StageSettings
from infra.stack.plan import STAGE_STOP_SECONDS
from infra.telemetry import Meters
from sinks.clickhouse.__main__ import CLOSE_S, DRAIN_S, THREAD_S
from sinks.prometheus.lag import Lags
from tests.sinks.clickhouse.conftest import EngineProcess
from tests.sinks.clickhouse.sink_process import (
    COUNTS,
    START_S,
    Produced,
    Start,
    query,
    reaches,
    walled,
)

pytestmark = pytest.mark.service


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
        assert DRAIN_S + CLOSE_S + THREAD_S < STAGE_STOP_SECONDS  # or its supervisor kills it
        await run.event("ended_with_a_write_under_way")
    run = start(**settings, CLICKHOUSE_URL=f"http://127.0.0.1:{clickhouse.port}")
    await produced.write(200, 100)
    await reaches(clickhouse.port, f"{count} FINAL", "300")
    assert await run.ended() == 0


#: A record's padding, and how many come with every failure that is told of: in all, far more than a
#: sink that holds one batch may have in its memory.
PADDING = b', "padding": "%b"' % (b"x" * 1500)
EACH = 8_000
SAID = (1, 2, 4, 8)
PENDING = 'pipeline_sink_pending_records{sink="clickhouse"}'
LAG = 'pipeline_consumer_lag_seconds{group="clickhouse",topic="ticks.raw.alpaca"}'


async def _members(where: Mapping[str, str]) -> list[str]:
    """Return the names that the group's members have in its present generation."""
    admin = AIOKafkaAdminClient(bootstrap_servers=where["KAFKA_BOOTSTRAP_SERVERS"])
    await admin.start()
    try:
        name = f"{where['TOPIC_PREFIX']}clickhouse"
        (answer,) = await admin.describe_consumer_groups([name])
        (group,) = answer.to_object()["groups"]
    finally:
        await admin.close()
    assert group["state"] == "Stable"
    return [member["member_id"] for member in group["members"]]


async def _grown(meters: Meters, before: float) -> float:
    """Return the lag in seconds, once it is more than it was."""
    async with asyncio.timeout(START_S):
        while True:
            for line in meters.exposition().decode().splitlines():
                series, _, value = line.rpartition(" ")
                if series == LAG and float(value) > before:
                    return float(value)
            await asyncio.sleep(0.05)


async def test_a_long_outage_costs_neither_memory_nor_membership(
    start: Start,
    where: Mapping[str, str],
    produced: Produced,
    clickhouse: EngineProcess,
    database: str,
) -> None:
    """What comes meanwhile stays in the log, which tells how far behind it is; then it is read."""
    async with walled(clickhouse.port) as wall:
        wall.open = True
        url = f"http://127.0.0.1:{wall.port}"
        run = start(**where, CLICKHOUSE_URL=url, CLICKHOUSE_DATABASE=database)
        counts = COUNTS.replace("raw_ticks", f"{database}.raw_ticks")
        await produced.write(0, 400)
        await run.ready()
        await reaches(clickhouse.port, counts, f"400\t400\t{400 * 399 // 2}")
        members = await _members(where)
        assert len(members) == 1

        wall.open = False
        await produced.write(400, 400)
        total = 800
        await run.event("write_failed", failures=1)
        pending = await run.metric(PENDING)
        process = psutil.Process(run.process.pid)
        before = process.memory_info().rss
        meters, behind = Meters("lag"), 0.0
        settings = StageSettings(
            kafka_bootstrap_servers=where["KAFKA_BOOTSTRAP_SERVERS"],
            topic_prefix=where["TOPIC_PREFIX"],
        )
        async with Lags(settings, meters):
            for told in SAID[1:]:
                await produced.write(total, EACH, PADDING)
                total += EACH
                await run.event("write_failed", failures=told)
                assert await run.metric(PENDING) == pending
                behind = await _grown(meters, behind)
        grown, came = process.memory_info().rss - before, (len(SAID) - 1) * EACH * len(PADDING)
        assert grown < came / 2, f"{grown:,} bytes of {came:,}"
        assert await _members(where) == members
        await run.ready("waiting for ClickHouse\n")

        wall.open = True
        await reaches(clickhouse.port, counts, f"{total}\t{total}\t{total * (total - 1) // 2}")
        await run.ready()
        failures = int(str((await run.event("write_recovered"))["failures"]))
        said = [event["failures"] for event in run.events() if event["event"] == "write_failed"]
        assert said == [2**n for n in range(failures.bit_length())]
        assert [event["event"] for event in run.events()].count("partitions_assigned") == 1
        assert await run.ended() == 0
