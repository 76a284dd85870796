"""Ingest's processes: what they say, and what they leave with."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from infra.kafka.admin import delete_topics
from infra.kafka.broker import Broker
from infra.settings import EX_CANTCREAT, EX_SOFTWARE, EX_UNAVAILABLE
from infra.topics import RAW_ALPACA, SOURCES_STATUS
from ingest.events import Disconnected, RawTick, SourceStatus
from tests.ingest.processes import Vendor, process_of, settings, tick, values
from tests.ingest.yahoo.vendor import yahoo

pytestmark = pytest.mark.service

#: What a supervisor waits between SIGTERM and SIGKILL.
GRACE_S = 10.0
RATE = 5_000


async def _ends(name: str, variables: Mapping[str, str], directory: Path) -> tuple[int | None, str]:
    """Run a stage to its end; return its exit code and what it said to the terminal."""
    async with process_of(name, variables, directory) as running:
        return await running.ended(60), running.err


async def test_missing_kafka_is_one_sentence(free_port: Callable[[], int], tmp_path: Path) -> None:
    """Where no broker answers, the sentence names the variable to look at."""
    server = f"127.0.0.1:{free_port()}"
    assert await _ends("yahoo", {"KAFKA_BOOTSTRAP_SERVERS": server}, tmp_path) == (
        EX_UNAVAILABLE,
        f"KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at {server}\n",
    )


async def test_missing_topic_is_one_sentence(kafka: Broker, tmp_path: Path) -> None:
    """A cluster without our topics is named as such, and nothing is made on it."""
    settings = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": "nowhere."}
    assert await _ends("yahoo", settings, tmp_path) == (
        EX_UNAVAILABLE,
        "topic nowhere.ticks.raw.yahoo is not on the Kafka cluster: create the topics first\n",
    )


async def test_taken_port_is_one_sentence(tmp_path: Path) -> None:
    """A port that another listens on is named with its variable."""
    async with await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        code, said = await _ends("yahoo", {"METRICS_PORT": str(port)}, tmp_path)
    assert code == EX_CANTCREAT
    assert said == f"METRICS_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"


async def test_told_to_end_before_kafka_answers(
    free_port: Callable[[], int], tmp_path: Path
) -> None:
    """A process that still waits for a broker's answer ends at once when told to."""
    heard = asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as broker:
        port = broker.sockets[0].getsockname()[1]
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}",
            "METRICS_PORT": str(free_port()),
        }
        async with process_of("yahoo", variables, tmp_path) as running:
            async with asyncio.timeout(60):
                await heard.wait()
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended(GRACE_S) == 0
            assert running.err == ""


async def test_process_streams_until_told_to_end(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """From its start to SIGTERM: ready, scraped, its tick in Kafka byte for byte, exit code 0."""
    vendor = Vendor()
    async with vendor.serving() as stream:
        variables = {**settings(kafka, stream, free_port(), topics), "LOG_LEVEL": "DEBUG"}
        async with process_of("alpaca", variables, tmp_path) as running:
            assert await running.answer("/ready", "ready") == "ready\n"
            scraped = await running.answer(
                "/metrics", 'alpaca_messages_received_total{type="trade"} 1.0'
            )
            assert 'alpaca_connection_status{state="Connected"} 1.0' in scraped
            await running.answer("/metrics", "processing_duration_seconds_count 1.0")
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended(GRACE_S) == 0
            assert running.err == ""
        async with asyncio.timeout(20):
            await vendor.left.wait()
    assert {line["service"] for line in running.lines} == {"alpaca"}
    assert "hush-hush" not in running.out
    (value,) = await values(kafka, RAW_ALPACA, topics)
    raw = msgspec.json.decode(value, type=RawTick)
    assert bytes(raw.raw).decode() == tick(1, [raw.symbol])
    statuses = [
        msgspec.json.decode(value, type=SourceStatus)
        for value in await values(kafka, SOURCES_STATUS, topics)
    ]
    assert isinstance(statuses[-1], Disconnected)
    assert statuses[-1].reason == "shutdown"


async def test_a_restarted_poller_reads_in_the_log_which_bars_it_has(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Its successor asks for none of the bars that are in Kafka."""
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL"], int(time.time())
        (tmp_path / "symbols").write_text("AAPL\n")
        variables = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TOPIC_PREFIX": topics,
            "METRICS_PORT": str(free_port()),
            "YAHOO_BASE_URL": vendor.url,
            "YAHOO_POLL_SECONDS": "1",
            "SYMBOLS_FILE": str(tmp_path / "symbols"),
            "MARKET_HOURS": "always",
        }
        for polls in (1, 5):
            async with process_of("yahoo", variables, tmp_path) as running:
                asked = len(vendor.asked_for("spark"))
                async with asyncio.timeout(60):
                    while len(vendor.asked_for("spark")) < asked + polls or not (
                        first := vendor.asked_for("bars")[:1]
                    ):
                        await asyncio.sleep(0.05)
                running.process.send_signal(signal.SIGTERM)
                assert await running.ended(GRACE_S) == 0, running.out
        until_s = int(first[0].query["period2"])
        assert all(int(r.query["period1"]) >= until_s for r in vendor.asked_for("bars")[1:])


async def _numbers(broker: Broker, prefix: str) -> list[int]:
    """Return the numbers of the vendor's ticks that are in Kafka, sorted."""
    ticks = [
        msgspec.json.decode(value, type=RawTick)
        for value in await values(broker, RAW_ALPACA, prefix)
    ]
    return sorted(json.loads(bytes(tick.raw))["i"] for tick in ticks)


async def test_told_to_end_in_mid_flow_loses_nothing(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """At 5,000 ticks a second, all that the vendor sent until SIGTERM is in Kafka, each once."""
    vendor = Vendor(RATE)
    async with vendor.serving() as stream:
        variables = settings(kafka, stream, free_port(), topics)
        async with process_of("alpaca", variables, tmp_path) as running:
            async with asyncio.timeout(60):
                while vendor.sent < 3 * RATE:
                    await asyncio.sleep(0.05)
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended(GRACE_S) == 0, running.out
        async with asyncio.timeout(10):
            await vendor.left.wait()
    assert await _numbers(kafka, topics) == list(range(1, vendor.sent + 1))


async def test_told_to_end_while_kafka_is_away(
    broker: Broker, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """It ends within its supervisor's patience, and says how much may not have arrived."""
    vendor = Vendor(RATE)
    async with vendor.serving() as stream:
        variables = settings(broker, stream, free_port())
        async with process_of("alpaca", variables, tmp_path) as running:
            async with asyncio.timeout(60):
                while vendor.sent < RATE:
                    await asyncio.sleep(0.05)
            assert broker.pid
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                async with asyncio.timeout(60):
                    while await running.metric("alpaca_publish_buffer_bytes") < 1_000_000:
                        await asyncio.sleep(0.1)
                began = time.monotonic()
                running.process.send_signal(signal.SIGTERM)
                assert await running.ended(GRACE_S) == EX_SOFTWARE
            finally:
                os.kill(broker.pid, signal.SIGCONT)
        async with asyncio.timeout(10):
            await vendor.left.wait()
    assert time.monotonic() - began < GRACE_S
    assert running.err == ""
    (said,) = [line for line in running.lines if line["event"] == "undelivered"]
    assert said["bytes"] >= 1_000_000
    there = await _numbers(broker, "")
    assert len(there) == len(set(there)) < vendor.sent
    assert vendor.sent - len(there) <= said["records"]


async def test_topic_that_is_deleted_ends_the_process(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """What no patience can mend ends the process with the topic's name, and is counted in."""
    vendor = Vendor(100)
    async with vendor.serving() as stream:
        variables = settings(kafka, stream, free_port(), topics)
        async with process_of("alpaca", variables, tmp_path) as running:
            async with asyncio.timeout(60):
                while vendor.sent < 100:
                    await asyncio.sleep(0.05)
            await delete_topics(kafka.bootstrap_servers, topics)
            assert await running.ended(120) == EX_SOFTWARE
    (said,) = [line for line in running.lines if line["event"] == "delivery_failed"]
    assert f"{topics}" in said["detail"]
    assert "the cluster has not known" in said["detail"]
