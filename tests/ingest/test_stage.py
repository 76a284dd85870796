"""Ingest's processes: what they say, and what they leave with."""

import asyncio
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import msgspec
import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaTimeoutError
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from infra.kafka.broker import Broker
from infra.settings import EX_CANTCREAT, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, StageSettings
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA, SOURCES_STATUS
from ingest.__main__ import main
from ingest.events import Disconnected, RawTick, SourceStatus
from ingest.publish import Publisher
from ingest.stage import Stage
from tests.ingest.fakes import InMemoryProducer

TRADE = '{"T":"t","S":"AAPL","p":1.10}'


@pytest.mark.parametrize("arguments", [[], ["bloomberg"], ["alpaca", "yahoo"]])
def test_wrong_command_line_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Anything but one known source is a usage error that names the known ones."""
    assert main(arguments) == EX_USAGE
    said = " ".join(arguments) or "nothing"
    assert capsys.readouterr().err == (
        f"python -m ingest: unknown source {said!r}: expected alpaca or yahoo\n"
    )


class OneRecord:
    """A worker that publishes one record, and then waits for its end."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def run(self, stop: asyncio.Event) -> None:
        """Publish, and wait."""
        self._publisher.put(SOURCES_STATUS, "yahoo", b"{}", 1)
        await stop.wait()

    def refresh(self) -> None:
        """Have nothing to refresh."""


def _wired(undelivered: list[None]) -> Stage:
    return Stage(
        "yahoo",
        settings=StageSettings(),
        meters=Meters("yahoo"),
        topics=(),
        build=OneRecord,
        undelivered=lambda: undelivered.append(None),
    )


def _told_to_end() -> asyncio.Event:
    stop = asyncio.Event()
    stop.set()
    return stop


async def test_failed_delivery_ends_the_stage() -> None:
    """A record that Kafka refuses for good is our fault to the supervisor, which restarts us."""
    producer, undelivered = InMemoryProducer(), list[None]()
    producer.failure = KafkaTimeoutError()
    assert await _wired(undelivered)._work(producer, asyncio.Event()) == EX_SOFTWARE
    assert undelivered == [None]


async def test_end_waits_for_deliveries_but_not_for_ever() -> None:
    """Told to end while Kafka is silent, the stage gives up what it holds, and says so."""
    producer = InMemoryProducer()
    producer.answering.clear()
    assert await _wired([])._work(producer, _told_to_end(), drain_s=0.05) == EX_SOFTWARE
    producer.answering.set()


async def test_end_in_order_is_a_success() -> None:
    """Told to end, the stage leaves when all it holds is delivered."""
    producer = InMemoryProducer()
    assert await _wired([])._work(producer, _told_to_end()) == 0
    assert len(producer.records(SOURCES_STATUS)) == 1


@asynccontextmanager
async def process_of(name: str, variables: Mapping[str, str]) -> AsyncIterator[Process]:
    """A stage's process, killed if it outlives the context."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ingest",
        name,
        env={"PATH": os.environ["PATH"], **variables},
        stdout=PIPE,
        stderr=PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _ends(name: str, variables: Mapping[str, str]) -> tuple[int | None, str]:
    """Run a stage to its end; return its exit code and what it said to the terminal."""
    async with process_of(name, variables) as process, asyncio.timeout(30):
        _, err = await process.communicate()
        return process.returncode, err.decode()


@pytest.mark.service
async def test_missing_kafka_is_one_sentence(free_port: Callable[[], int]) -> None:
    """Where no broker answers, the sentence names the variable to look at."""
    server = f"127.0.0.1:{free_port()}"
    assert await _ends("yahoo", {"KAFKA_BOOTSTRAP_SERVERS": server}) == (
        EX_UNAVAILABLE,
        f"KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at {server}\n",
    )


@pytest.mark.service
async def test_missing_topic_is_one_sentence(kafka: Broker) -> None:
    """A cluster without our topics is named as such, and nothing is made on it."""
    settings = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": "nowhere."}
    assert await _ends("yahoo", settings) == (
        EX_UNAVAILABLE,
        "topic nowhere.ticks.raw.yahoo is not on the Kafka cluster: create the topics first\n",
    )


@pytest.mark.service
async def test_taken_port_is_one_sentence() -> None:
    """A port that another listens on is named with its variable."""
    async with await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        code, said = await _ends("yahoo", {"METRICS_PORT": str(port)})
    assert code == EX_CANTCREAT
    assert said == f"METRICS_PORT: cannot listen on 127.0.0.1:{port}: Address already in use\n"


class Vendor:
    """A stream that has one tick to tell, and then listens."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def serve(self, connection: ServerConnection) -> None:
        """Take one client through the handshake to its tick."""
        try:
            await connection.send('[{"T":"success","msg":"connected"}]')
            await connection.recv()
            await connection.send('[{"T":"success","msg":"authenticated"}]')
            symbols = json.loads(await connection.recv())["trades"]
            await connection.send(json.dumps([{"T": "subscription", "trades": symbols}]))
            await connection.send(f"[{TRADE}]")
            await connection.wait_closed()
        except ConnectionClosed:
            pass
        self.left.set()


async def _get(port: int, path: str) -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(get)


async def _answer(port: int, path: str, text: str) -> str:
    """Return what `path` answers once that contains `text`."""
    async with asyncio.timeout(30):
        while True:
            try:
                body = await _get(port, path)
            except (urllib.error.URLError, ConnectionError):
                body = ""
            if text in body:
                return body
            await asyncio.sleep(0.05)


@pytest.mark.service
async def test_process_streams_until_told_to_end(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """From its start to SIGTERM: ready, scraped, its tick in Kafka byte for byte, exit code 0."""
    vendor, port = Vendor(), free_port()
    async with serve(vendor.serve, "127.0.0.1", 0) as server:
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TOPIC_PREFIX": topics,
            "METRICS_PORT": str(port),
            "ALPACA_STREAM_URL": f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/iex",
            "ALPACA_API_KEY_ID": "PKEY",
            "ALPACA_API_SECRET_KEY": "hush-hush",
            "LOG_LEVEL": "DEBUG",
        }
        async with process_of("alpaca", settings) as process:
            assert await _answer(port, "/ready", "ready") == "ready\n"
            scraped = await _answer(
                port, "/metrics", 'alpaca_messages_received_total{type="trade"} 1.0'
            )
            assert 'alpaca_connection_status{state="Connected"} 1.0' in scraped
            await _answer(port, "/metrics", "processing_duration_seconds_count 1.0")
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(10):
                out, err = await process.communicate()
            assert (process.returncode, err) == (0, b"")
            async with asyncio.timeout(5):
                await vendor.left.wait()
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["service"] for line in lines} == {"alpaca"}
    assert b"hush-hush" not in out
    values = await _values(kafka.bootstrap_servers, topics)
    (tick,) = (msgspec.json.decode(value, type=RawTick) for value in values[RAW_ALPACA.name])
    assert bytes(tick.raw).decode() == TRADE
    statuses = [msgspec.json.decode(v, type=SourceStatus) for v in values[SOURCES_STATUS.name]]
    assert isinstance(statuses[-1], Disconnected)
    assert statuses[-1].reason == "shutdown"


async def _values(servers: str, prefix: str) -> dict[str, list[bytes]]:
    """Return all that is in the topics of the Alpaca worker."""
    names = (RAW_ALPACA.name, SOURCES_STATUS.name)
    consumer = AIOKafkaConsumer(
        *(prefix + name for name in names),
        bootstrap_servers=servers,
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        values: dict[str, list[bytes]] = {name: [] for name in names}
        ends = await consumer.end_offsets(consumer.assignment())
        async with asyncio.timeout(20):
            for tp, end in ends.items():
                while await consumer.position(tp) < end:
                    for record in (await consumer.getmany(tp, timeout_ms=200)).get(tp, []):
                        values[tp.topic.removeprefix(prefix)].append(record.value)
    finally:
        await consumer.stop()
    return values
