"""Each wrong setting of the log shipper has its sentence, and none repeats a password."""

import pytest
from pydantic import ValidationError

from infra.settings import describe
from infra.stack.plan import plan
from sinks.logs.clickhouse import ClickHouse
from sinks.logs.loki import Loki
from sinks.logs.settings import LogsSettings
from tests.infra.stack.test_plan import HERE


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "settings: expected CLICKHOUSE_URL or LOKI_URL: there is nowhere to ship logs to"),
        (
            {"LOKI_URL": "loki:3100/hunter22"},
            "LOKI_URL: expected http[s]://[user[:password]@]host[:port]",
        ),
        ({"LOKI_URL": "http://h?hunter22"}, "LOKI_URL: expected neither ? nor # in it"),
        (
            {"CLICKHOUSE_URL": "http://u:hunter22@h:99999"},
            "CLICKHOUSE_URL: the port is not a number from 0 to 65535",
        ),
        (
            {"CLICKHOUSE_URL": "http://h:1/database"},
            "CLICKHOUSE_URL: expected nothing behind the port: the database is CLICKHOUSE_DATABASE",
        ),
        (
            {"LOKI_URL": "http://h", "LOKI_TENANT": "a/b"},
            "LOKI_TENANT: string should match pattern '^[A-Za-z0-9!._*'()-]{1,150}$'",
        ),
        (
            {"LOKI_URL": "http://h", "LOG_ENVIRONMENT": "a b"},
            "LOG_ENVIRONMENT: string should match pattern '^[A-Za-z0-9_.-]{1,64}$'",
        ),
    ],
)
def test_a_wrong_setting_is_named(
    environment: dict[str, str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what was expected."""
    for name in ("CLICKHOUSE_URL", "LOKI_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        LogsSettings()
    assert describe(error.value) == [sentence]


def test_backends_are_those_that_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials go into headers: no address that is shown has any."""
    monkeypatch.setenv("CLICKHOUSE_URL", "https://me:hunter%402@clickhouse")
    monkeypatch.setenv("CLICKHOUSE_HTTP_PASSWORD", "of the engine")
    monkeypatch.setenv("LOKI_URL", "http://me:hunter22@loki:3100/prefix/")
    monkeypatch.setenv("LOKI_TENANT", "t")
    assert LogsSettings().backends == (
        ClickHouse(
            url="https://clickhouse:8443",
            database="twinfeed",
            headers={"X-ClickHouse-User": "me", "X-ClickHouse-Key": "hunter@2"},
        ),
        Loki(
            url="http://loki:3100/prefix",
            environment="local",
            headers={"X-Scope-OrgID": "t", "Authorization": "Basic bWU6aHVudGVyMjI="},
        ),
    )
    monkeypatch.setenv("CLICKHOUSE_URL", "http://127.0.0.1:18123")
    monkeypatch.delenv("LOKI_URL")
    (engine,) = LogsSettings().backends
    assert engine.headers == {"X-ClickHouse-User": "default", "X-ClickHouse-Key": "of the engine"}
    assert "of the engine" not in repr(engine)


def test_the_local_stack_gives_what_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its supervisor's files, and its ClickHouse."""
    monkeypatch.delenv("LOKI_URL", raising=False)
    (process,) = [process for process in plan(HERE).processes if process.name == "logs"]
    for name, value in process.env.items():
        monkeypatch.setenv(name, value)
    found = LogsSettings()
    assert found.logs_directory in plan(HERE).directories
    assert [backend.url for backend in found.backends] == ["http://127.0.0.1:18123"]
