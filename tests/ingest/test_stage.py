"""A stage: its wiring, and its end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import pytest
import structlog
from aiokafka.errors import KafkaTimeoutError

from infra.settings import EX_SOFTWARE, EX_USAGE, StageSettings
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA, SOURCES_GAPS, SOURCES_STATUS
from ingest.__main__ import main
from ingest.events import GapEnded, GapEvent
from ingest.losses import Losses
from ingest.publish import RECORD_OVERHEAD, Publisher
from ingest.shed import Kind
from ingest.stage import Stage, W
from tests.ingest.fakes import InMemoryProducer, eventually


@pytest.mark.parametrize("arguments", [[], ["bloomberg"], ["alpaca", "yahoo"]])
def test_wrong_command_line_is_one_sentence(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Anything but one known source is a usage error that names the known ones."""
    assert main(arguments) == EX_USAGE
    said = " ".join(arguments) or "nothing"
    assert capsys.readouterr().err == (
        f"python -m ingest: unknown source {said!r}: expected alpaca, yahoo or backfill\n"
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


def _made(worker: Callable[[Publisher], W]) -> Callable[[Publisher], Awaitable[W]]:
    async def build(publisher: Publisher) -> W:
        return worker(publisher)

    return build


def _wired(
    undelivered: list[None], *beside: Callable[[OneRecord, Publisher], Coroutine[Any, Any, None]]
) -> Stage[OneRecord]:
    return Stage(
        "yahoo",
        settings=StageSettings(),
        meters=Meters("yahoo"),
        topics=(),
        build=_made(OneRecord),
        beside=lambda worker, publisher: [make(worker, publisher) for make in beside],
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
    producer, undelivered = InMemoryProducer(), list[None]()
    producer.answering.clear()
    with structlog.testing.capture_logs() as said:
        stage = _wired(undelivered)
        assert await stage._work(producer, _told_to_end(), drain_s=0.05) == EX_SOFTWARE
    producer.answering.set()
    size = len(b"yahoo") + len(b"{}") + RECORD_OVERHEAD
    assert said == [
        {
            "event": "undelivered",
            "log_level": "error",
            "bytes": size,
            "records": 1,
            "after_s": 0.05,
        }
    ]
    assert undelivered == [None]


async def test_end_in_order_is_a_success() -> None:
    """Told to end, the stage leaves when all it holds is delivered."""
    producer = InMemoryProducer()
    assert await _wired([])._work(producer, _told_to_end()) == 0
    assert len(producer.records(SOURCES_STATUS)) == 1


async def test_what_runs_beside_the_worker_ends_with_it() -> None:
    """A watcher runs as long as the worker, sees both, and is cancelled and awaited at the end."""
    seen, ended = asyncio.Event(), asyncio.Event()

    async def watch(worker: OneRecord, publisher: Publisher) -> None:
        assert worker._publisher is publisher
        publisher.put(SOURCES_STATUS, "yahoo", b"seen", 2)
        seen.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            ended.set()

    async def nothing_to_watch(_worker: OneRecord, _publisher: Publisher) -> None:
        """End at once, which is no failure."""

    producer, stop = InMemoryProducer(), asyncio.Event()
    stage = _wired([], watch, nothing_to_watch)
    working = asyncio.create_task(stage._work(producer, stop))
    await seen.wait()
    assert not working.done()
    stop.set()
    assert await working == 0
    assert ended.is_set()
    assert {record.value for record in producer.records(SOURCES_STATUS)} == {b"{}", b"seen"}


async def test_watcher_that_fails_ends_the_stage_with_its_error() -> None:
    """The error is logged with its name; what the worker had in hand is delivered all the same."""

    async def fail(_worker: OneRecord, _publisher: Publisher) -> None:
        await asyncio.sleep(0)
        message = "a bug"
        raise RuntimeError(message)

    producer, stop = InMemoryProducer(), asyncio.Event()
    with structlog.testing.capture_logs() as said:
        assert await _wired([], fail)._work(producer, stop) == EX_SOFTWARE
    assert [(line["event"], repr(line["exc_info"])) for line in said] == [
        ("stage_failed", "RuntimeError('a bug')")
    ]
    assert len(producer.records(SOURCES_STATUS)) == 1


class Failing(OneRecord):
    """A worker with a bug."""

    async def run(self, stop: asyncio.Event) -> None:
        """Publish, and fail."""
        del stop
        self._publisher.put(SOURCES_STATUS, "yahoo", b"{}", 1)
        message = "a bug"
        raise RuntimeError(message)


class Lingering(OneRecord):
    """A worker that does not leave its vendor."""

    async def run(self, stop: asyncio.Event) -> None:
        """Publish, and pay no attention."""
        del stop
        self._publisher.put(SOURCES_STATUS, "yahoo", b"{}", 1)
        await asyncio.Event().wait()


@pytest.mark.parametrize(("worker", "code"), [(Failing, EX_SOFTWARE), (Lingering, 0)])
async def test_worker_that_fails_or_lingers_costs_no_record(
    worker: Callable[[Publisher], OneRecord], code: int
) -> None:
    """What it had put is delivered, whether it fails or has to be made to leave."""
    producer, stop = InMemoryProducer(), asyncio.Event()
    stage = Stage(
        "yahoo",
        settings=StageSettings(),
        meters=Meters("yahoo"),
        topics=(),
        build=_made(worker),
    )
    working = asyncio.create_task(stage._work(producer, stop, leave_s=0.05))
    await asyncio.sleep(0)
    stop.set()
    assert await working == code
    assert len(producer.records(SOURCES_STATUS)) == 1


class Flood(OneRecord):
    """A worker that reads more than memory holds."""

    async def run(self, stop: asyncio.Event) -> None:
        """Publish trades and quotes, and wait."""
        for number in range(1_000):
            kind: Kind = "trade" if number % 2 else "quote"
            self._publisher.put(RAW_ALPACA, "AAPL", b"x" * 100, 1_000 + number, kind)
        await stop.wait()


async def test_what_is_shed_is_in_the_gap_ledger_and_in_the_metrics() -> None:
    """Each kind's loss is a gap, opened and ended; counts and bytes are exposed."""
    producer, stop = InMemoryProducer(), asyncio.Event()
    producer.answering.clear()
    meters = Meters("alpaca")
    stage = Stage(
        "alpaca",
        settings=StageSettings(),
        meters=meters,
        topics=(),
        build=_made(Flood),
        limit_bytes=100_000,
        losses=Losses(source="alpaca", feed="iex", run_id="run", meters=meters, wall_ns=lambda: 7),
    )
    working = asyncio.create_task(stage._work(producer, stop))
    shed = "alpaca_shed_total"
    trades = await eventually(lambda: stage._publisher and stage._publisher.shed["trade"])
    assert trades
    stage._refresh()
    stage._refresh()
    assert meters.registry.get_sample_value(shed, {"type": "quote"}) == 500
    assert meters.registry.get_sample_value(shed, {"type": "trade"}) == trades
    assert meters.registry.get_sample_value(shed, {"type": "bar"}) == 0
    assert meters.registry.get_sample_value("alpaca_gaps_total", {"cause": "shed"}) == 2
    held = meters.registry.get_sample_value("alpaca_publish_buffer_bytes")
    assert held
    assert 99_000 < held < 102_000
    # told to end in the middle of it, while Kafka comes back
    stop.set()
    producer.answering.set()
    assert await working == 0
    gaps = [
        msgspec.json.decode(record.value, type=GapEvent)
        for record in producer.records(SOURCES_GAPS)
    ]
    assert [type(gap).__name__ for gap in gaps] == [
        "GapOpened",
        "GapOpened",
        "GapEnded",
        "GapEnded",
    ]
    assert [gap.gap_id for gap in gaps] == ["run-shed-1", "run-shed-2"] * 2
    assert {(gap.source, gap.feed, gap.cause, gap.at_ns) for gap in gaps} == {
        ("alpaca", "iex", "shed", 7)
    }
    ended = [gap for gap in gaps if isinstance(gap, GapEnded)]
    assert [(gap.shed, gap.symbols) for gap in ended] == [
        ({"quote": 500}, ["AAPL"]),
        ({"trade": trades}, ["AAPL"]),
    ]
    assert (ended[0].since_ns, ended[0].until_ns) == (1_000, 1_999)
    assert (ended[1].since_ns, ended[1].until_ns) == (2_001 - 2 * trades, 2_000)
    assert len(producer.records(RAW_ALPACA)) == 1_000 - 500 - trades
