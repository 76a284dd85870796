"""The backfill as a process: killed wherever it hurts, it leaves each trade once."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.kafka.broker import Broker
from infra.settings import EX_CONFIG
from tests.ingest.backfill.books import Books, S, books_on, ended
from tests.ingest.backfill.vendor import HEADERS, Vendor, trade
from tests.ingest.processes import Running, process_of

pytestmark = pytest.mark.service


@pytest_asyncio.fixture
async def books(kafka: Broker, topics: str) -> AsyncIterator[Books]:
    """The log, empty."""
    async with books_on(kafka, topics) as opened:
        yield opened


Variables = Callable[[str], dict[str, str]]


@pytest.fixture
def variables(books: Books, free_port: Callable[[], int]) -> Variables:
    """A function that returns a process's environment, given where its history is."""

    def of(url: str) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": books.servers,
            "TOPIC_PREFIX": books.prefix,
            "METRICS_PORT": str(free_port()),
            "ALPACA_DATA_URL": url,
            "ALPACA_API_KEY_ID": HEADERS["APCA-API-KEY-ID"],
            "ALPACA_API_SECRET_KEY": HEADERS["APCA-API-SECRET-KEY"],
            "MEMBER_NAME": "only",
        }

    return of


def _trades() -> list[dict[str, Any]]:
    since_ns = time.time_ns() - 75 * S
    symbols = ("AAPL", "MSFT")
    return [trade(n, since_ns + n * S // 2, symbols[n % 2]) for n in range(14)]


async def _stalled(vendor: Vendor, process: Running) -> None:
    """Return once the process waits for an answer."""
    async with asyncio.timeout(120):
        while not vendor.stalled.is_set():
            assert process.process.returncode is None, process.err + process.out
            await asyncio.sleep(0.05)


def _said(process: Running) -> set[str]:
    return {line["event"] for line in process.lines}


@pytest.mark.parametrize(
    ("stall_at", "published"),
    [
        (0, 0),  # nothing was asked before
        (2, 4),  # two pages are in the log, a live trade in each
        (5, 10),  # all is in the log but the last word
    ],
)
async def test_killed_at_any_page_it_goes_on(
    books: Books, variables: Variables, tmp_path: Path, stall_at: int, published: int
) -> None:
    """SIGKILL, and a new process: each trade is there once, and the gap is closed once."""
    trades = _trades()
    live = [trades[n] for n in (0, 6, 7, 13)]
    await books.live(*live)
    await books.gap(ended())
    async with Vendor(trades).serving() as vendor:
        vendor.one_more, vendor.stall_at = True, stall_at
        environment = variables(vendor.url)
        async with process_of("backfill", environment, tmp_path) as first:
            await _stalled(vendor, first)
            first.process.kill()
            await first.process.wait()
        before = [tick for tick in await books.ticks() if tick.backfill]
        assert len(before) == published
        assert await books.closings() == {}
        async with process_of("backfill", environment, tmp_path) as second:
            closed = await books.closed()
            second.process.terminate()
            assert (await second.ended(30), second.err) == (0, "")
    assert (closed.outcome, closed.trades) == ("filled", 10)
    assert await books.numbers() == list(range(14))
    after = [tick for tick in await books.ticks() if tick.backfill]
    assert len({tick.session_id for tick in after}) == 1 + (0 < published < 10)
    assert await books.closings() == {"g": 1}


async def test_a_worker_that_slept_too_long_publishes_nothing(
    books: Books, variables: Variables, tmp_path: Path
) -> None:
    """Stopped in the middle until another took over, it wakes up with a page, and keeps it."""
    await books.gap(ended())
    for name in ("sleeper", "other"):
        (tmp_path / name).mkdir()
    async with Vendor(_trades()).serving() as vendor:
        vendor.stall_at = 2
        nameless = {"MEMBER_NAME": ""}
        sleeps = {**variables(vendor.url), **nameless}
        async with process_of("backfill", sleeps, tmp_path / "sleeper") as sleeper:
            await _stalled(vendor, sleeper)
            sleeper.process.send_signal(signal.SIGSTOP)
            others = {**variables(vendor.url), **nameless}
            async with process_of("backfill", others, tmp_path / "other") as other:
                assert (await books.closed()).trades == 14
                vendor.released.set()
                sleeper.process.send_signal(signal.SIGCONT)
                async with asyncio.timeout(60):
                    while not {"gap_not_filled", "ledger_given_up"} & _said(sleeper):
                        assert sleeper.process.returncode is None, sleeper.err + sleeper.out
                        await asyncio.sleep(0.1)
                assert other.process.returncode is None
    assert await books.numbers() == list(range(14))
    assert await books.closings() == {"g": 1}


async def test_killed_after_the_last_word_it_says_it_once(
    books: Books, variables: Variables, tmp_path: Path
) -> None:
    """What the ledger has is closed, whether or not the process came to know that it has."""
    trades = _trades()
    await books.gap(ended())
    async with Vendor(trades).serving() as vendor:
        environment = variables(vendor.url)
        async with process_of("backfill", environment, tmp_path) as first:
            await books.closed()
            first.process.kill()
            await first.process.wait()
        await books.gap(ended("next"))
        async with process_of("backfill", environment, tmp_path):
            await books.closed("next")
    assert await books.numbers() == list(range(14))
    assert await books.closings() == {"g": 1, "next": 1}


async def test_new_keys_in_the_file_are_used(
    books: Books, variables: Variables, tmp_path: Path
) -> None:
    """Refused, it says so and waits; a rotation of the file ends the wait. No log tells a key."""
    await books.gap(ended())
    keys = tmp_path / "keys"
    keys.write_text("ALPACA_API_KEY_ID=PKEY\nALPACA_API_SECRET_KEY=stale-secret\n")
    async with Vendor(_trades()).serving() as vendor:
        environment = {
            **variables(vendor.url),
            "ALPACA_KEYS_FILE": str(keys),
            "ALPACA_API_KEY_ID": "",
            "ALPACA_API_SECRET_KEY": "",
            "LOG_LEVEL": "DEBUG",
        }
        async with process_of("backfill", environment, tmp_path) as process:
            await process.answer("/metrics", 'backfill_requests_total{result="failure"} 1.0')
            assert "backfill_open_gaps 1.0" in await process.get("/metrics")
            fresh = tmp_path / "fresh"
            fresh.write_text("ALPACA_API_KEY_ID=PKEY\nALPACA_API_SECRET_KEY=hush-hush\n")
            fresh.replace(keys)
            await books.closed()
            await process.answer("/metrics", 'backfill_ticks_total{type="trade"} 14.0')
            assert len(vendor.asked) >= 2
        said = process.out + process.err
    assert "history_refused" in said
    assert "stale-secret" not in said
    assert "hush-hush" not in said


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("ALPACA_DATA_URL", "data.alpaca.markets", "is not a URL of the form"),
        ("ALPACA_DATA_URL", "wss://data.alpaca.markets", "is not a URL of the form"),
        ("MEMBER_NAME", "two words", "MEMBER_NAME"),
        ("ALPACA_API_SECRET_KEY", "", "ALPACA_API_SECRET_KEY"),
    ],
)
async def test_wrong_settings_are_one_sentence(
    variables: Variables, tmp_path: Path, variable: str, value: str, words: str
) -> None:
    """The process does not start, and the sentence names the variable."""
    environment = {**variables("http://127.0.0.1:9"), variable: value}
    async with process_of("backfill", environment, tmp_path) as process:
        assert await process.ended(60) == EX_CONFIG
        assert words in process.err
        assert "hush-hush" not in process.err
