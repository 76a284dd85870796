"""Every line comes to each backend, however it behaves, and one keeps no other waiting."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from infra.redaction import Secrets
from infra.telemetry import Meters
from sinks.logs import ship, wire
from sinks.logs.clickhouse import ClickHouse
from sinks.logs.loki import Loki
from sinks.logs.ship import Backend, Shipper
from tests.sinks.logs.receivers import LokiReceiver, Receiver, entries, serve

NOON = "2026-11-25T12:00:00.000001Z"
NOON_NS = "1795608000000001000"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ship, "POLL_S", 0.01)
    monkeypatch.setattr(ship, "ANSWER_S", 300.0)  # or a slow machine would look like a dead one
    monkeypatch.setattr(wire, "BATCH_SECONDS", 0.0)
    monkeypatch.setattr(wire, "_FIRST_PAUSE_S", 0.01)


@contextlib.asynccontextmanager
async def shipping(
    backend: Backend, directory: Path, meters: Meters, behind: int = 10**6
) -> AsyncIterator[None]:
    """Ship, until the end."""
    shipper = Shipper(
        backend,
        directory=directory,
        kept=directory / f"{backend.name}.json",
        meters=meters,
        redact=Secrets().redact,
        behind=behind,
    )
    running = asyncio.create_task(shipper.run())
    try:
        yield
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait([running])


def loki(receiver: Receiver) -> Loki:
    """Return the backend."""
    return Loki(url=receiver.url, environment="test", headers={"X-Scope-OrgID": "t"})


def clickhouse(receiver: Receiver) -> ClickHouse:
    """Return the backend."""
    return ClickHouse(url=receiver.url, database="d", headers={"X-ClickHouse-User": "u"})


def counted(meters: Meters, name: str, **labels: str) -> float:
    """Return a counter or a gauge."""
    return meters.registry.get_sample_value(name, labels) or 0.0


async def until(meters: Meters, count: int, name: str, **labels: str) -> None:
    """Return when something was counted so often."""
    async with asyncio.timeout(30):
        while counted(meters, name, **labels) < count:
            await asyncio.sleep(0.01)


def ours(service: str, event: str, **fields: str) -> str:
    """Return a line of ours."""
    said = {"timestamp": NOON, "level": "info", "service": service, "event": event, **fields}
    return json.dumps(said)


async def test_loki_gets_few_labels_and_the_rest_as_metadata(tmp_path: Path) -> None:
    """Times are nanoseconds in strings; what Kafka prints is wrapped."""
    line = ours("hub", "e", trace_id="ab" * 16, symbol="AAPL")
    (tmp_path / "hub.log").write_text(f"{line}\n")
    (tmp_path / "kafka.log").write_text("2026-11-25T12:00:00Z WARN password=hunter22\n")
    receiver, meters = LokiReceiver(), Meters("logs")
    async with serve(receiver), shipping(loki(receiver), tmp_path, meters):
        await until(meters, 2, "log_lines_shipped_total", backend="loki")
    told = {labels["service_name"]: (labels, entry) for labels, entry in entries(receiver.taken)}
    assert told["hub"] == (
        {"service_name": "hub", "level": "info", "environment": "test"},
        [NOON_NS, line, {"trace_id": "ab" * 16, "symbol": "AAPL"}],
    )
    labels, (moment, wrapped) = told["kafka"]
    assert (labels["level"], moment) == ("warning", "1795608000000000000")
    assert json.loads(wrapped)["text"] == "2026-11-25T12:00:00Z WARN password=[redacted]"
    (_, headers), *_ = receiver.asked
    assert headers["X-Scope-OrgID"] == "t"


async def test_clickhouse_gets_lines_as_they_are(tmp_path: Path) -> None:
    """As one statement with its data."""
    lines = [ours("hub", str(number)) for number in range(3)]
    (tmp_path / "hub.log").write_text("".join(f"{line}\n" for line in lines))
    receiver = Receiver()
    async with serve(receiver), shipping(clickhouse(receiver), tmp_path, Meters("logs")):
        await receiver.until(taken=1)
    assert receiver.taken == ["".join(f"{line}\n" for line in lines).encode()]
    ((path, headers),) = receiver.asked
    assert path == "/?database=d&query=INSERT+INTO+logs+(line)+FORMAT+LineAsString"
    assert headers["X-ClickHouse-User"] == "u"


async def test_what_is_not_taken_comes_again_and_is_said_once(tmp_path: Path) -> None:
    """After too many requests, an error, and no connection at all."""
    receiver, meters = LokiReceiver(), Meters("logs")
    receiver.answers = [
        (429, {"Retry-After": "0"}, "slow"),
        (500, {}, ""),
        (302, {"Location": "/elsewhere"}, ""),  # with the credentials? no
    ]
    path = tmp_path / "a.log"
    path.write_text("one\n")
    with capture_logs() as said:
        async with contextlib.AsyncExitStack() as running:
            async with serve(receiver):
                await running.enter_async_context(shipping(loki(receiver), tmp_path, meters))
                await receiver.until(taken=1, asked=4)
                await until_said(said, "log_backend_back")
            receiver.closing.clear()
            with path.open("a") as file:
                file.write("two\n")
            await until_said(said, "log_backend_away", 2)
            async with serve(receiver):
                await receiver.until(taken=2)
                await until(meters, 2, "log_lines_shipped_total", backend="loki")
    texts = [json.loads(entry[1])["text"] for _, entry in entries(receiver.taken)]
    assert texts == ["one", "two"]
    away = [line["error"] for line in said if line["event"] == "log_backend_away"]
    assert away[0] == "HTTP 429: slow"
    assert len(away) == 2
    assert counted(meters, "log_lines_dropped_total", backend="loki", reason="behind") == 0


async def until_said(said: Sequence[Mapping[str, object]], event: str, times: int = 1) -> None:
    """Return when something was logged so often."""
    async with asyncio.timeout(30):
        while sum(line["event"] == event for line in said) < times:
            await asyncio.sleep(0.01)


async def test_what_is_refused_is_counted_and_keeps_nothing_waiting(tmp_path: Path) -> None:
    """Of a batch of which Loki takes a part, the part."""
    receiver, meters = LokiReceiver(), Meters("logs")
    receiver.answers = [(400, {}, "too far behind, total ignored: 1 out of 3")]
    path = tmp_path / "a.log"
    path.write_text("1\n2\n3\n")
    with capture_logs() as said:
        async with serve(receiver), shipping(loki(receiver), tmp_path, meters):
            await until(meters, 2, "log_lines_shipped_total", backend="loki")
            with path.open("a") as file:
                file.write("4\n")
            await until(meters, 3, "log_lines_shipped_total", backend="loki")
    assert counted(meters, "log_lines_dropped_total", backend="loki", reason="refused") == 1
    assert len(receiver.taken) == 1
    assert [line["event"] for line in said].count("log_lines_dropped") == 1


async def test_a_dead_backend_keeps_no_other_waiting(tmp_path: Path) -> None:
    """And when it answers again it has lost the oldest lines, which were counted."""
    dead, alive, meters = LokiReceiver(), Receiver(), Meters("logs")
    dead.answers = [None]  # it takes the request, and never answers
    path = tmp_path / "a.log"
    path.write_text("0\n")
    async with (
        serve(dead),
        serve(alive),
        shipping(loki(dead), tmp_path, meters, behind=100),
        shipping(clickhouse(alive), tmp_path, meters, behind=10**6),
    ):
        await dead.until(asked=1)
        for number in range(1, 101):
            with path.open("a") as file:
                file.write(f"{number:09}\n")
        await until(meters, 101, "log_lines_shipped_total", backend="clickhouse")
        assert not dead.taken
        dead.closing.set()
        await until(meters, 1, "log_lines_shipped_total", backend="loki")
        await until(meters, 10, "log_lines_shipped_total", backend="loki")
    dropped = counted(meters, "log_lines_dropped_total", backend="loki", reason="behind")
    assert dropped == 91
    texts = [json.loads(entry[1])["text"] for _, entry in entries(dead.taken)]
    assert texts == [f"{number:09}" for number in range(91, 101)]


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """By the file that keeps the positions; one that cannot be read is started anew."""
    receiver, meters = Receiver(), Meters("logs")
    path, kept = tmp_path / "a.log", tmp_path / "clickhouse.json"
    path.write_text("one\n")
    async with serve(receiver):
        async with shipping(clickhouse(receiver), tmp_path, meters):
            await until(meters, 1, "log_lines_shipped_total", backend="clickhouse")
        path.write_text("one\ntwo\n")
        async with shipping(clickhouse(receiver), tmp_path, meters):
            await until(meters, 2, "log_lines_shipped_total", backend="clickhouse")
        kept.write_text("{")
        with capture_logs() as said:
            async with shipping(clickhouse(receiver), tmp_path, meters):
                await until(meters, 4, "log_lines_shipped_total", backend="clickhouse")
    bodies = [[json.loads(line)["text"] for line in body.splitlines()] for body in receiver.taken]
    assert bodies == [["one"], ["two"], ["one", "two"]]
    assert said[0]["event"] == "log_positions_unreadable"
