"""A ClickHouse engine in a child process, shared by the tests of the sink."""

import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from infra.kafka.batches import BatchProducer
from infra.kafka.broker import Broker
from infra.topics import RAW_ALPACA
from sinks.clickhouse import schema
from sinks.clickhouse.connect import ClickHouseStore
from sinks.clickhouse.store import Store
from tests.sinks.clickhouse.engine_process import AUTHKEY, Manager
from tests.sinks.clickhouse.records import MemoryStore
from tests.sinks.clickhouse.sink_process import ROOT, Produced, Run, Start

Manager.register("store")


@dataclass(frozen=True)
class EngineProcess:
    """An engine in a child process."""

    port: int
    manager: Manager

    @property
    def url(self) -> str:
        """Where it is served as a server is."""
        return f"http://127.0.0.1:{self.port}"

    def store(self, database: str) -> ClickHouseStore:
        """Return a store on the engine, as the process that has it sees it."""
        return cast("ClickHouseStore", self.manager.store(database))  # type: ignore[attr-defined]

    def client(self, database: str | None = None, username: str = "default") -> Client:
        """Return a client of the HTTP face."""
        return clickhouse_connect.get_client(
            host="127.0.0.1", port=self.port, database=database, username=username
        )


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """A ClickHouse engine for the whole run."""
    directory = tmp_path_factory.mktemp("clickhouse")
    command = [sys.executable, "-m", "tests.sinks.clickhouse.engine_process", str(directory)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        http, manager = process.stdout.readline().split()
        address = Manager(("127.0.0.1", int(manager)), AUTHKEY)
        address.connect()
        yield EngineProcess(int(http), address)
        assert process.stdin
        process.stdin.close()


@pytest.fixture
def database(clickhouse: EngineProcess) -> Iterator[str]:
    """The name of a database of the test's own; dropped afterwards."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with clickhouse.client() as client:
        client.command(f"DROP DATABASE IF EXISTS `{name}`")


class Readable(Store, Protocol):
    """A store that can be asked what it holds."""

    def column(self, table: str, name: str) -> list[bytes]:
        """Return a column, in order of the rows' places, each row once."""


class Engine:
    """The embedded engine, or a server, as a store that can be read."""

    def __init__(self, store: ClickHouseStore, client: Client) -> None:
        self.insert = store.insert
        self.rows = store.rows
        self._client = client

    def column(self, table: str, name: str) -> list[bytes]:
        """Read a column undecoded."""
        order = "ORDER BY topic, partition, offset"
        query = f"SELECT hex({name}) FROM `{table}` FINAL {order}"  # noqa: S608  # ours
        lines = self._client.raw_query(query)
        return [bytes.fromhex(line.decode()) for line in lines.splitlines()]


@contextmanager
def opened(kind: str, clickhouse: EngineProcess, database: str) -> Iterator[Engine]:
    """Open a store with the schema applied, in the engine's process or over HTTP."""
    store = (
        clickhouse.store(database)
        if kind == "engine"
        else ClickHouseStore.on_server(clickhouse.url, database)
    )
    schema.apply(store, schema.read())
    with clickhouse.client(database) as client:
        yield Engine(store, client)
    store.close()


REAL = [pytest.param(kind, marks=pytest.mark.service) for kind in ("engine", "server")]


@pytest.fixture(params=["memory", *REAL])
def store(request: pytest.FixtureRequest) -> Iterator[Readable]:
    """Every store there is."""
    if request.param == "memory":
        yield MemoryStore()
        return
    clickhouse, database = map(request.getfixturevalue, ("clickhouse", "database"))
    with opened(request.param, clickhouse, database) as engine:
        yield engine


@pytest.fixture
def engine(clickhouse: EngineProcess, database: str) -> Iterator[Engine]:
    """The embedded engine, for what only it can show."""
    with opened("engine", clickhouse, database) as engine:
        yield engine


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


@pytest.fixture
async def produced(kafka: Broker, topics: str) -> AsyncIterator[Produced]:
    """A producer of raw ticks."""
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    yield Produced(producer, topics + RAW_ALPACA.name)
    await producer.stop()
