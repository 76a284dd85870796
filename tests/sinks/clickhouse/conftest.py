"""A ClickHouse engine in a child process, shared by the tests of the sink."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from sinks.clickhouse.connect import ClickHouseStore
from tests.sinks.clickhouse.engine_process import AUTHKEY, Manager

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
