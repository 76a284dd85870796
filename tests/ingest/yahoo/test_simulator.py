"""The worker against the simulated Yahoo, fault by fault; and what becomes of the bars."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from infra.simulators.ledger import Ledger
from infra.simulators.ledger import read as read_ledger
from infra.simulators.market import Market
from infra.simulators.yahoo.server import YahooSimulator
from ingest.events import (
    Connected,
    Disconnected,
    RawTick,
    Resumed,
    Stalled,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.yahoo.history import SETTLE_S
from ingest.yahoo.wire import BAR_S, LAG_S
from ingest.yahoo.worker import LOOK_S
from processors.events import Bar
from processors.validate import Position, judge_all
from tests.ingest.fakes import eventually
from tests.ingest.yahoo.working import MINUTE_S, ONCE_S, TEN_S, Clock, Run, working

NS = 1_000_000_000
DELAY_S = 15
SYMBOLS = ["AAPL", "BRK.B"]


class Simulated:
    """A worker that polls a simulated Yahoo, both on one clock."""

    def __init__(self, run: Run, http: aiohttp.ClientSession, market: Market) -> None:
        self.run = run
        self.market = market
        self._http = http

    async def first_bars(self) -> list[RawTick]:
        """Return the first answer with bars."""
        await eventually(lambda: self.run.told(Connected))
        self.run.clock.leap(LOOK_S)
        return await eventually(self.run.bars)

    async def fault(self, name: str, **parameters: Any) -> None:
        """Switch a fault on."""
        async with self._http.put(f"/faults/{name}", json=parameters) as answer:
            assert answer.status == 200, await answer.text()

    async def clear(self) -> None:
        """Switch all faults off."""
        async with self._http.delete("/faults") as answer:
            assert answer.status == 200, await answer.text()


@asynccontextmanager
async def simulated(tmp_path: Path, **settings: Any) -> AsyncIterator[Simulated]:
    """A worker and a simulator, at work until the context is left."""
    clock, market = Clock(TEN_S + SETTLE_S + DELAY_S), Market(7)
    settings = {"poll_s": MINUTE_S, "symbols": SYMBOLS, **settings}
    with Ledger(tmp_path / "ledger.jsonl") as ledger:
        simulator = YahooSimulator(market, ledger, delay=DELAY_S, clock=lambda: clock().wall_ns)
        url = f"http://127.0.0.1:{await simulator.start('127.0.0.1', 0)}"
        try:
            async with (
                aiohttp.ClientSession(url) as http,
                working(url, clock=clock, **settings) as run,
            ):
                yield Simulated(run, http, market)
        finally:
            await simulator.stop()


async def test_what_the_simulator_sent_is_what_is_in_the_log(tmp_path: Path) -> None:
    """Quotes and bars, byte for byte, each once."""
    async with simulated(tmp_path) as its:
        await its.first_bars()
        await its.run.polls()
        await its.run.polls()
    published = [bytes(tick.raw).decode() for tick in (*its.run.quotes(), *its.run.bars())]
    sent = [entry.raw for entry in read_ledger(tmp_path / "ledger.jsonl")]
    assert len(published) >= 7
    assert sorted(published) == sorted(sent)


async def test_bars_become_canonical_bars_of_the_market(tmp_path: Path) -> None:
    """Those of a day, and then one by one: each once, and with the market's own figures."""
    async with simulated(tmp_path, symbols=["AAPL"], poll_s=ONCE_S) as its:
        await its.first_bars()
        for count in range(2, 5):
            its.run.clock.leap(BAR_S)
            await eventually(lambda count=count: len(its.run.bars()) == count)  # type: ignore[misc]
    bars = judged(its.run)
    starts = [bar.market_time_ns for bar in bars]
    assert sorted(set(starts)) == starts
    assert starts[-1] == (TEN_S + 2 * BAR_S) * NS
    # the market was open all day, and one bar in sixty is full of nulls
    assert 275 <= len(bars) <= 291
    for bar in bars:
        truth = its.market.bar("AAPL", bar.market_time_ns, bar.market_time_ns + BAR_S * NS)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (
            *(truth.open, truth.high, truth.low, truth.close, truth.volume),
        )


def judged(run: Run) -> list[Bar]:
    """Return the canonical bars in what was published, as the validator sees them."""
    values = [msgspec.json.encode(tick) for tick in run.bars()]
    places = (Position("ticks.raw.yahoo", 0, offset, 0) for offset in range(len(values)))
    valid, _ = judge_all(zip(values, places, strict=True), frozenset(SYMBOLS))
    return [tick for tick in valid if isinstance(tick, Bar)]


@pytest.mark.parametrize(
    ("fault", "parameters", "said", "wait_s"),
    [
        ("too-many-requests", {"retry_after": 300}, (429, "left alone for 300 s"), 300),
        ("too-many-requests", {}, (429, "left alone for 120 s"), 120),
        ("server-error", {"status": 503}, (503, "HTTP 503"), MINUTE_S),
        ("garbage", {}, (None, "malformed"), MINUTE_S),
    ],
)
async def test_a_yahoo_that_fails_is_left_and_comes_back(
    fault: str,
    parameters: dict[str, Any],
    said: tuple[int | None, str],
    wait_s: float,
    tmp_path: Path,
) -> None:
    """It is disconnected with the reason in words, and connected again when it answers."""
    async with simulated(tmp_path) as its:
        await its.first_bars()
        await its.fault(fault, **parameters)
        await its.run.polls()
        (lost,) = await eventually(lambda: its.run.told(Disconnected))
        assert lost.code == said[0]
        assert said[1] in lost.detail
        await its.clear()
        its.run.clock.leap(wait_s)
        await eventually(lambda: len(its.run.told(Connected)) == 2)


async def test_a_slow_yahoo_is_a_timeout(tmp_path: Path) -> None:
    """An answer that takes longer than we wait is none."""
    async with simulated(tmp_path, request_s=5) as its:
        await eventually(lambda: its.run.told(Connected))
        await its.fault("slow", by=30)
        its.run.clock.leap(MINUTE_S)
        await its.run.beats()
        its.run.clock.leap(10)
        (lost,) = await eventually(lambda: its.run.told(Disconnected))
        assert (lost.reason, lost.detail) == ("timeout", "no answer within 5 s")


async def test_a_frozen_symbol_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    """After twenty minutes; then all of them, and the source is not to be trusted."""
    async with simulated(tmp_path) as its:
        run = its.run
        await its.first_bars()
        await its.fault("frozen", symbols=["BRK.B"])
        for _ in range(LAG_S // MINUTE_S + 2):
            await run.polls()
        (stalled,) = await eventually(lambda: run.told(Stalled))
        assert stalled.symbols == ["BRK.B"]
        assert (await run.beats()).state == "connected"
        await its.fault("frozen")
        for _ in range(LAG_S // MINUTE_S + 2):
            await run.polls()
        await eventually(lambda: run.told(Stalled)[1:])
        assert (await run.beats()).state == "error"
        await its.clear()
        await run.polls()
        await eventually(lambda: run.told(Resumed)[1:])
        # the second fault began later, so that the first symbol moved once more
        assert [resumed.symbols for resumed in run.told(Resumed)] == [["BRK.B"], SYMBOLS]
        assert (await run.beats()).state == "connected"


async def test_bars_that_a_frozen_yahoo_held_back_come_when_it_moves(tmp_path: Path) -> None:
    """An hour of them, without a hole and none twice."""
    async with simulated(tmp_path, symbols=["AAPL"], poll_s=ONCE_S) as its:
        await its.first_bars()
        await its.fault("frozen")
        answers = its.run.metric("yahoo_messages_received_total") or 0
        for _ in range(12):
            answers += 1
            its.run.clock.leap(BAR_S)
            await eventually(
                lambda due=answers: its.run.metric("yahoo_messages_received_total") == due  # type: ignore[misc]
            )
        assert len(its.run.bars()) == 1, "an answer without a bar is no tick"
        await its.clear()
        its.run.clock.leap(BAR_S)
        await eventually(lambda: len(its.run.bars()) == 2)
    starts = [
        bar.market_time_ns // NS for bar in judged(its.run) if bar.market_time_ns >= TEN_S * NS
    ]
    assert len(set(starts)) == len(starts)
    # but for the nulls, which the simulator has in one bar of sixty
    assert len(starts) >= 11
    assert (starts[0], starts[-1]) == (TEN_S, TEN_S + 12 * BAR_S)


async def test_a_close_that_is_missing_everywhere_is_told(tmp_path: Path) -> None:
    """From the day on that it is missing, until it is told again."""
    async with simulated(tmp_path) as its:
        await eventually(lambda: its.run.told(Connected))
        await its.fault("missing-close", symbols=["AAPL"])
        await its.run.polls(24 * 3600)
        (impaired,) = await eventually(lambda: its.run.told(SymbolsImpaired))
        assert (impaired.reason, impaired.symbols) == ("no_previous_close", ["AAPL"])
        await its.clear()
        await its.run.polls()
        (restored,) = await eventually(lambda: its.run.told(SymbolsRestored))
        assert (restored.reason, restored.symbols) == ("no_previous_close", ["AAPL"])


async def test_a_symbol_that_spark_leaves_out_comes_from_chart(tmp_path: Path) -> None:
    """Poll by poll, and nobody is troubled."""
    async with simulated(tmp_path) as its:
        await eventually(lambda: its.run.told(Connected))
        await its.fault("missing-symbol", symbols=["BRK.B"])
        await its.run.polls()
        feeds = [tick.feed for tick in its.run.quotes() if tick.symbol == "BRK.B"]
        assert feeds == ["spark", "chart"]
        assert its.run.told(SymbolsImpaired) == []


async def test_bars_of_nulls_are_rejected_and_no_bar_is_made_up(tmp_path: Path) -> None:
    """The raw answer is kept, and its verdict says that there was no bar in it."""
    async with simulated(tmp_path, symbols=["AAPL"]) as its:
        await its.fault("nulls")
        (answer,) = await its.first_bars()
    place = Position("ticks.raw.yahoo", 0, 0, 0)
    valid, (rejected,) = judge_all([(msgspec.json.encode(answer), place)], frozenset(SYMBOLS))
    assert valid == []
    assert rejected.reason == "malformed"
    assert rejected.detail.startswith("no bar is whole and final, of ")
