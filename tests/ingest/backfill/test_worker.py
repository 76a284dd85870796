"""The backfill on a real Kafka, against a scripted history: each trade once, whatever happens."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.kafka.batches import BatchProducer
from infra.kafka.broker import Broker
from infra.settings import StageSettings
from infra.simulators.alpaca.server import AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.ledger import Ledger
from infra.simulators.market import Market
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA, SOURCES_GAPS
from ingest.backfill.plan import HORIZON_NS
from ingest.backfill.worker import BackfillWorker, Patience
from ingest.events import GapOpened, RawTick
from ingest.keys import Keys
from ingest.publish import Publisher
from tests.ingest.backfill import vendor as scripted
from tests.ingest.backfill.books import Books, S, books_on, ended
from tests.ingest.backfill.vendor import Fault, Vendor, bar, status, text, trade
from tests.ingest.fakes import eventually

pytestmark = pytest.mark.service

KEYS = Keys(key_id="PKEY", secret="hush-hush")
QUICK = Patience(request_s=1.0, first_retry_s=0.02, retry_cap_s=0.1, refused_s=0.3, takeover_s=0.0)


@pytest_asyncio.fixture
async def books(kafka: Broker, topics: str) -> AsyncIterator[Books]:
    """The log, empty."""
    async with books_on(kafka, topics) as opened:
        yield opened


class Filling:
    """A worker at work."""

    def __init__(self, worker: BackfillWorker, meters: Meters) -> None:
        self.worker = worker
        self._meters = meters

    def metric(self, series: str) -> float:
        """Return the value of one series."""
        self.worker.refresh()
        for line in self._meters.exposition().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        raise AssertionError(series)


@asynccontextmanager
async def filling(
    books: Books, url: str, *, keys: Keys = KEYS, patience: Patience = QUICK, run_id: str = "run"
) -> AsyncIterator[Filling]:
    """Run a worker, until the context is left."""
    producer = BatchProducer(books.servers, client_id="backfill", patient=True)
    await producer.start()
    meters = Meters("backfill")
    stop = asyncio.Event()
    settings = StageSettings(kafka_bootstrap_servers=books.servers, topic_prefix=books.prefix)
    try:
        publisher = Publisher(producer, topic_name=settings.topic)
        async with publisher.running():
            worker = BackfillWorker(
                settings=settings,
                data_url=url,
                keys=keys,
                member=None,
                publisher=publisher,
                meters=meters,
                run_id=run_id,
                jitter=lambda: 0.0,
                patience=patience,
            )
            working = asyncio.create_task(worker.run(stop))
            try:
                yield Filling(worker, meters)
            finally:
                stop.set()
                await working
    finally:
        await producer.stop()


def _trades(count: int, since_ns: int) -> list[dict[str, Any]]:
    symbols = ("AAPL", "MSFT")
    return [
        trade(number, since_ns + number * 100_000_000, symbols[number % 2])
        for number in range(count)
    ]


async def test_what_half_came_live_is_there_once(books: Books) -> None:
    """Every trade and bar of the window, each once; the missing ones with the vendor's bytes."""
    minute_end_ns = (time.time_ns() - 30 * S) // (60 * S) * (60 * S)
    gap = ended(since_ns=minute_end_ns - 5 * S, until_ns=minute_end_ns + S, at_ns=minute_end_ns + S)
    trades = _trades(100, gap.since_ns - 5 * S)
    bars = [bar(minute_end_ns - 60 * S, symbol) for symbol in ("AAPL", "MSFT")]
    await books.live(*trades[::2])
    await books.live(*bars[:1], kind="b")
    await books.gap(gap)
    async with Vendor(trades, bars).serving() as vendor:
        vendor.page = 7
        async with filling(books, vendor.url) as fill:
            closed = await books.closed()
            assert fill.metric("backfill_open_gaps") == 0
            assert fill.metric('backfill_ticks_total{type="trade"}') == 50
            assert fill.metric('backfill_requests_total{result="success"}') == len(vendor.asked)
    assert (closed.outcome, closed.trades, closed.bars) == ("filled", 50, 1)
    assert (closed.lost, closed.detail) == (["quotes", "statuses", "lulds"], "")
    assert await books.numbers() == list(range(100))
    fetched = [tick for tick in await books.ticks() if tick.backfill == "trades"]
    assert {tick.gap_id for tick in fetched} == {"g"}
    assert sorted(tick.session_seq for tick in fetched)[:3] == [1, 2, 3]
    assert {tick.session_id for tick in fetched} == {"run"}
    assert {tick.feed for tick in fetched} == {"iex"}
    by_number = {each["i"]: each for each in trades}
    for tick in fetched:
        told = json.loads(bytes(tick.raw))
        source = by_number[told["i"]]
        assert tick.symbol == source["S"]
        wire = {name: value for name, value in source.items() if name != "S"}
        assert bytes(tick.raw).decode() == json.dumps(wire)


async def test_gaps_that_overlap_are_filled_one_after_the_other(books: Books) -> None:
    """The second finds in the log what the first brought; the oldest goes first."""
    old = ended("old", since_ns=time.time_ns() - 90 * S)
    trades = _trades(60, old.since_ns)
    await books.gap(ended("new"), old)
    async with Vendor(trades).serving() as vendor, filling(books, vendor.url):
        assert (await books.closed("old")).trades == 60
        assert (await books.closed("new")).trades == 0
    assert await books.numbers() == list(range(60))


async def test_a_gap_without_symbols_is_of_all_that_is_followed(books: Books) -> None:
    """It waits where nobody says what that is."""
    trades = [trade(1, time.time_ns() - 70 * S, "AAPL"), trade(2, time.time_ns() - 70 * S, "NVDA")]
    await books.gap(ended("all", symbols=[]), ended("some"))
    async with Vendor(trades).serving() as vendor, filling(books, vendor.url):
        await books.closed("some")
        assert "all" not in await books.closings()
        await books.follows("AAPL", "NVDA")
        assert (await books.closed("all")).trades == 1
    assert await books.numbers() == [1, 2]


async def test_a_ledger_with_garbage_in_it_is_read(books: Books) -> None:
    """What is no gap is said and passed over; other sources' gaps and open ones are not ours."""
    now_ns = time.time_ns()
    garbage = [b"", b"{}", b"\xff", b'{"event":"gap_ended"}', b"[" * 10_000]
    await books.write(SOURCES_GAPS, "alpaca", [(value, now_ns) for value in garbage])
    opened = {
        name: getattr(ended("open"), name)
        for name in ("source", "feed", "gap_id", "at_ns", "cause", "symbols", "since_ns")
    }
    await books.gap(ended("theirs", source="yahoo"), GapOpened(**opened), ended())
    await books.write(RAW_ALPACA, "AAPL", [(value, now_ns) for value in garbage])
    async with Vendor().serving() as vendor, filling(books, vendor.url) as fill:
        assert (await books.closed()).outcome == "filled"
        await eventually(lambda: fill.metric("backfill_open_gaps") == 1, 30)
    assert await books.closings() == {"g": 1}


@pytest.mark.parametrize(
    ("changes", "outcome", "lost", "words"),
    [
        ({"shed": {"quote": 9}}, "unfillable", ["quotes"], "no history"),
        ({"feed": "test"}, "unfillable", ["quotes", "statuses", "lulds"], "no history"),
        (
            {"since_ns": S, "until_ns": 2 * S},
            "unfillable",
            ["quotes", "statuses", "lulds"],
            "more than 24 hours ago",
        ),
    ],
)
async def test_what_has_no_history_is_closed_at_once(
    books: Books, changes: dict[str, Any], outcome: str, lost: list[str], words: str
) -> None:
    """It says why, and asks nobody."""
    await books.gap(ended(**changes))
    async with Vendor().serving() as vendor, filling(books, vendor.url):
        closed = await books.closed()
    assert (closed.outcome, closed.lost) == (outcome, lost)
    assert words in closed.detail
    assert vendor.asked == []


async def test_what_lies_beyond_the_horizon_is_said(books: Books) -> None:
    """The rest of an old gap is filled, part by part, and the outcome is partial."""
    now_ns = time.time_ns()
    trades = [trade(1, now_ns - HORIZON_NS - 60 * S), trade(2, now_ns - 3600 * S)]
    await books.gap(ended(since_ns=now_ns - HORIZON_NS - 100 * S))
    async with Vendor(trades).serving() as vendor, filling(books, vendor.url):
        closed = await books.closed()
    assert (closed.outcome, closed.trades) == ("partial", 1)
    assert "more than 24 hours ago" in closed.detail
    assert await books.numbers() == [2]


@pytest.mark.parametrize("named", [True, False])
async def test_a_symbol_that_is_refused_does_not_cost_the_others(
    books: Books, *, named: bool
) -> None:
    """Whether the vendor names it or not, it is found, and said."""
    symbols = ["AAPL", "BAD", "MSFT", "WORSE"]
    trades = _trades(10, time.time_ns() - 75 * S)
    await books.gap(ended(symbols=symbols))
    async with Vendor(trades).serving() as vendor, filling(books, vendor.url):
        vendor.invalid, vendor.names_the_invalid = {"BAD", "WORSE"}, named
        closed = await books.closed()
    assert (closed.outcome, closed.trades) == ("partial", 10)
    assert set(closed.detail.removeprefix("the vendor does not know ").split(", ")) == {
        "BAD",
        "WORSE",
    }
    assert await books.numbers() == list(range(10))


@pytest.mark.parametrize(
    ("faults", "series", "count"),
    [
        ([status(429, "too many requests.", X_RateLimit_Reset="0")] * 2, "limited", 2),
        ([status(429)], "limited", 1),
        ([status(500), status(503, Retry_After="0"), status(502)], "failure", 3),
        ([text("<html>"), text('{"trades":'), text('{"message":"hi"}')], "failure", 3),
        ([text('{"trades":{},"next_page_token":""}')], "failure", 1),
        ([scripted.hang_up, scripted.hang_up, scripted.half_a_page], "failure", 2),
        ([scripted.never], "failure", 1),
        ([status(302, Location="/elsewhere")], "failure", 1),
    ],
)
async def test_trouble_passes(books: Books, faults: list[Fault], series: str, count: int) -> None:
    """On any page: it is asked for again until it comes, and each trade is there once.

    The client itself asks a second time where the server hangs up without a word.
    """
    trades = _trades(20, time.time_ns() - 75 * S)
    await books.gap(ended())
    async with Vendor(trades).serving() as vendor, filling(books, vendor.url) as fill:
        vendor.faults.extend(faults)
        closed = await books.closed()
        assert fill.metric(f'backfill_requests_total{{result="{series}"}}') == count
    assert (closed.outcome, closed.trades) == ("filled", 20)
    assert await books.numbers() == list(range(20))


async def test_a_limit_is_waited_for(books: Books) -> None:
    """The vendor says when it may be asked again, and is not asked before."""
    await books.gap(ended())
    reset_s = int(time.time()) + 2
    async with Vendor().serving() as vendor, filling(books, vendor.url):
        vendor.faults.append(status(429, X_RateLimit_Reset=str(reset_s)))
        await books.closed()
    assert time.time() >= reset_s


async def test_wrong_keys_are_said_and_other_keys_tried_at_once(
    books: Books, caplog: pytest.LogCaptureFixture
) -> None:
    """No more is asked than now and then; the keys are told nobody."""
    trades = _trades(4, time.time_ns() - 75 * S)
    await books.gap(ended(), ended("other"))
    wrong = Keys(key_id="PKEY", secret="stale-secret")
    patience = Patience(request_s=1.0, first_retry_s=0.02, refused_s=3600.0, takeover_s=0.0)
    async with (
        Vendor(trades).serving() as vendor,
        filling(books, vendor.url, keys=wrong, patience=patience) as fill,
    ):
        await eventually(lambda: vendor.asked, 30)
        fill.worker.rekey(wrong)  # no others: no reason to ask
        fill.worker.rekey(KEYS)
        assert (await books.closed()).trades == 4
        await books.closed("other")
        assert fill.metric('backfill_requests_total{result="failure"}') == 1
    assert "stale-secret" not in caplog.text + repr(wrong)


async def test_keys_that_become_good_are_tried_again(books: Books) -> None:
    """A refusal may be the vendor's mistake: now and then it is asked again."""
    await books.gap(ended())
    async with Vendor().serving() as vendor, filling(books, vendor.url):
        vendor.faults.extend([status(403, "forbidden."), status(401)])
        assert (await books.closed()).outcome == "filled"


async def test_a_question_that_is_refused_lets_others_go_first(books: Books) -> None:
    """One gap that cannot be had now does not hold up the others; it comes back later."""
    now_ns = time.time_ns()
    await books.gap(ended("old", since_ns=now_ns - 100 * S), ended("new"))
    async with Vendor().serving() as vendor, filling(books, vendor.url):
        vendor.faults.extend([status(422, "invalid feed")])
        await books.closed("old")
    assert list(await books.closings()) == ["new", "old"]


async def test_two_workers_share_nothing(books: Books) -> None:
    """One owns the ledger; when it leaves, the other goes on with what it left."""
    trades = _trades(40, time.time_ns() - 75 * S)
    async with Vendor(trades).serving() as vendor:
        vendor.faults.extend([status(500)] * 5)
        async with filling(books, vendor.url, run_id="one") as one:
            await books.gap(ended("a"))
            await eventually(lambda: one.metric("backfill_open_gaps") or vendor.asked, 30)
            async with filling(books, vendor.url, run_id="two"):
                for number in range(5):
                    await books.gap(ended(f"b{number}"))
                await books.closed("b4")
    assert await books.numbers() == list(range(40))
    assert set((await books.closings()).values()) == {1}


async def test_a_new_gap_is_filled_when_it_is_due(books: Books) -> None:
    """While it follows the ledger; not before the window is sure to be in the log."""
    async with Vendor().serving() as vendor, filling(books, vendor.url) as fill:
        now_ns = time.time_ns()
        await books.gap(ended(at_ns=now_ns - 12 * S, until_ns=now_ns - 13 * S))
        await eventually(lambda: fill.metric("backfill_open_gaps"), 30)
        await books.closed()
    assert time.time_ns() >= now_ns + 3 * S


async def test_the_simulators_history_fills_a_gap(books: Books, tmp_path: Path) -> None:
    """Against the simulated vendor: what its tape had in the window, each trade once."""
    with Ledger(tmp_path / "ledger") as ledger:
        rules = Rules(keys={KEYS.key_id: KEYS.secret}, symbol_limit=30)
        simulator = AlpacaSimulator(Market(7), ledger, rules=rules, rate=500)
        url = f"http://127.0.0.1:{await simulator.start_http('127.0.0.1', 0)}"
        try:
            gap = ended()
            await books.gap(gap)
            async with filling(books, url):
                closed = await books.closed()
            tape = simulator.tape("/v2/iex")
            wanted = (frozenset({"AAPL", "MSFT"}), frozenset[str]())
            told = tape.between(gap.since_ns - 10 * S - 1, gap.until_ns + 10 * S, wanted)
            expected = sorted(tick["i"] for tick in told)
        finally:
            await simulator.stop()
    assert closed.outcome == "filled"
    assert closed.trades == len(expected) > 10
    assert await books.numbers() == expected
    assert all(isinstance(tick, RawTick) for tick in await books.ticks())
