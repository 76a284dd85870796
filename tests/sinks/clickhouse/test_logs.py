"""From a supervisor's files through the log shipper into ClickHouse, and to `twinfeed logs`."""

import asyncio
import contextlib
import datetime as dt
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE
from infra.stack.refusal import Refusal
from sinks.clickhouse import schema
from tests.sinks.clickhouse.conftest import EngineProcess
from tests.sinks.logs.receivers import LokiReceiver, entries, serve
from tests.sinks.processes import process_of, until_ready

MODULE = "sinks.logs"


def said(service: str, level: str, event: str, **fields: object) -> str:
    """Return a line of ours, said now."""
    now = dt.datetime.now(dt.UTC).isoformat().replace("+00:00", "Z")
    return json.dumps(
        {"timestamp": now, "level": level, "service": service, "event": event, **fields}
    )


def logs(url: str, database: str, *arguments: str) -> Result:
    """Run `twinfeed logs` as an analyst."""
    env = {"CLICKHOUSE_URL": url.replace("//", "//analyst@"), "CLICKHOUSE_DATABASE": database}
    return CliRunner(env=env).invoke(app, ["logs", *arguments])


async def until_shipped(port: int, lines: int) -> None:
    """Return when ClickHouse has taken so many lines, by the shipper's metrics."""
    wanted = f'log_lines_shipped_total{{backend="clickhouse"}} {lines:.1f}\n'
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        while True:
            async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
                if wanted in await answer.text():
                    return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def following(url: str, database: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run `twinfeed logs --follow`; yield what it says."""
    env = {"CLICKHOUSE_URL": url, "CLICKHOUSE_DATABASE": database, "PATH": ""}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", "logs", "--follow", "--json", "--service", "hub"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


@pytest.mark.service
async def test_what_processes_say_can_be_asked_for(
    clickhouse: EngineProcess, database: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """In ClickHouse and in Loki; what is shipped twice is there once."""
    schema.apply(clickhouse.store(database), schema.read())
    hub, kafka = tmp_path / "hub.log", tmp_path / "kafka.log"
    good = said("hub", "info", "stage_started")
    bad = said("hub", "error", "send_failed", symbol="AAPL", reason="slow client")
    hub.write_text(f"{good}\n{bad}\n")
    kafka.write_text(f"{dt.datetime.now(dt.UTC).isoformat()} WARN Broker token=hunter22\n\tat x\n")
    loki, port = LokiReceiver(), free_port()
    env = {
        "LOGS_DIRECTORY": str(tmp_path),
        "LOGS_POSITIONS": str(tmp_path / "positions"),
        "CLICKHOUSE_URL": clickhouse.url,
        "CLICKHOUSE_DATABASE": database,
        "METRICS_PORT": str(port),
    }

    async with serve(loki), process_of(MODULE, {**env, "LOKI_URL": loki.url}) as process:
        await until_ready(port)
        await until_shipped(port, 4)
        async with following(clickhouse.url, database) as news:
            events = [json.loads(await news.readline())["event"] for _ in range(2)]
            assert events == ["stage_started", "send_failed"]
            with hub.open("a") as file:
                file.write(f"{said('hub', 'info', 'second')}\n")
            assert json.loads(await news.readline())["event"] == "second"
        process.terminate()
        assert await process.wait() == 0
    assert {labels["service_name"] for labels, _ in entries(loki.taken)} == {"hub", "kafka"}
    for kept in (tmp_path / "positions").iterdir():
        kept.unlink()
    async with process_of(MODULE, env):  # all over again
        await until_ready(port)
        await until_shipped(port, 5)
    await asyncio.to_thread(_ask, clickhouse.url, database, bad)


def _ask(url: str, database: str, bad: str) -> None:
    """Ask for what was shipped, by every option."""

    def lines(*arguments: str) -> list[str]:
        return logs(url, database, *arguments).stdout.splitlines()

    assert len(lines()) == 5
    shown = [" ".join(line.split()[1:]) for line in lines("--level", "warning", "--since", "5m")]
    assert shown[0] == 'error hub send_failed symbol=AAPL reason="slow client"'
    assert shown[1].startswith("warning kafka 2")
    assert shown[1].endswith(" WARN Broker token=[redacted]")
    assert shown[2:] == ["warning kafka at x"]
    assert lines("--grep", "SLOW client", "--json") == [bad]
    assert [line.split()[3] for line in lines("--service", "hub", "--limit", "1")] == ["second"]
    assert not [line for line in lines() if "hunter22" in line]
    nobody = logs(url, database, "--service", "hubb")
    assert isinstance(nobody.exception, Refusal)
    assert nobody.exception.exit_code == EX_DATAERR
    assert str(nobody.exception) == "--service: 'hubb' has said nothing: hub, kafka did"
    none = logs(url, database, "--service", "hub", "--level", "critical")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "twinfeed: no such line\n")
    missing = logs(url, "nowhere", "--since", "1m")
    assert isinstance(missing.exception, Refusal)
    assert "nowhere" in str(missing.exception)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--level", "loud"], "--level: 'loud' is unknown: expected debug, info, warning, error"),
        (["--since", "noon"], "--since: 'noon' is no span: expected 30s, 15m, 1h or 7d"),
        (["--limit", "0"], "greater than or equal to 1"),
    ],
)
def test_a_wrong_argument_is_named(arguments: list[str], sentence: str) -> None:
    """With what was expected."""
    found = logs("http://127.0.0.1:1", "twinfeed", *arguments)
    assert found.exit_code == 2
    assert sentence in " ".join(found.output.replace("│", " ").split())


def test_where_nothing_runs_it_says_so(tmp_path: Path) -> None:
    """No stack, or no ClickHouse at the address."""
    alone = CliRunner(env={"CLICKHOUSE_URL": ""}).invoke(app, ["logs", "--data", str(tmp_path)])
    assert isinstance(alone.exception, Refusal)
    assert alone.exception.exit_code == EX_UNAVAILABLE
    assert str(alone.exception) == (
        f"no stack is running on {tmp_path}, and CLICKHOUSE_URL names no ClickHouse"
    )
    away = logs("http://127.0.0.1:1", "twinfeed")
    assert isinstance(away.exception, Refusal)
    assert away.exception.exit_code == EX_UNAVAILABLE
    assert "http://127.0.0.1:1" in str(away.exception)


@pytest.mark.service
@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({"LOGS_DIRECTORY": "/nowhere"}, EX_CONFIG, "LOGS_DIRECTORY: /nowhere is no directory"),
        ({"LOGS_POSITIONS": "/dev/null/x"}, EX_CANTCREAT, "LOGS_POSITIONS: /dev/null/x cannot be"),
        ({"LOKI_URL": "loki:3100"}, EX_CONFIG, "LOKI_URL: expected http[s]://"),
    ],
)
async def test_a_shipper_that_cannot_start_says_why(
    env: dict[str, str], code: int, sentence: str, tmp_path: Path
) -> None:
    """And leaves with the code of its kind."""
    usual = {"LOGS_DIRECTORY": str(tmp_path), "LOKI_URL": "http://127.0.0.1:1"}
    async with process_of(MODULE, {**usual, **env}) as process:
        _, stderr = await process.communicate()
    assert process.returncode == code
    assert stderr.decode().startswith(sentence)
