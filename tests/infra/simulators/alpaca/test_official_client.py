"""The vendor's own client, which knows nothing of this project, reads from the simulator."""

import asyncio
import json
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.simulators.market import LISTINGS, MINUTE_NS
from tests.infra.simulators.alpaca.conftest import Simulate, Simulated

with warnings.catch_warnings():
    # alpaca-py is built on a part of websockets that is to go
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.common.exceptions import APIError
    from alpaca.data.enums import DataFeed
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.live import StockDataStream
    from alpaca.data.models import Bar, Quote, Trade
    from alpaca.data.requests import StockBarsRequest, StockSnapshotRequest, StockTradesRequest
    from alpaca.data.timeframe import TimeFrame

pytestmark = pytest.mark.service

Start = Callable[..., Awaitable[str]]


async def test_alpaca_py_streams_trades_quotes_and_bars(start: Start) -> None:
    """Unmodified but for its URL; every message parses into the vendor's own models."""
    shift_ns = 0
    url = await start(clock=lambda: time.time_ns() + shift_ns)
    trades: list[Trade] = []
    quotes: list[Quote] = []
    bars: list[Bar] = []
    enough = threading.Event()

    async def keep(message: Trade | Quote | Bar | dict[Any, Any]) -> None:
        nonlocal shift_ns
        match message:
            case Trade():
                trades.append(message)
            case Quote():
                quotes.append(message)
            case Bar():
                bars.append(message)
        if not shift_ns and min(len(trades), len(quotes)) >= 30:
            # The simulator's clock jumps to the next full minute: the bars come now.
            shift_ns = MINUTE_NS - time.time_ns() % MINUTE_NS
        if len(bars) >= len(LISTINGS):
            enough.set()

    stream = StockDataStream("key", "secret", url_override=url + "/v2/iex")
    stream.subscribe_trades(keep, "AAPL", "BRK.B")
    stream.subscribe_quotes(keep, *LISTINGS)
    stream.subscribe_bars(keep, "*")
    running = asyncio.create_task(asyncio.to_thread(stream.run))
    assert await asyncio.to_thread(enough.wait, 45)
    await asyncio.to_thread(stream.stop)
    await asyncio.wait_for(running, 10)

    assert {trade.symbol for trade in trades} == {"AAPL", "BRK.B"}
    assert {bar.symbol for bar in bars} == set(LISTINGS)
    now = datetime.now(UTC) + timedelta(microseconds=shift_ns / 1000)
    times = [trade.timestamp for trade in trades] + [quote.timestamp for quote in quotes]
    assert max(abs(at - now) for at in times) < timedelta(minutes=3)
    for bar in bars:
        assert bar.timestamp.second == 0
        assert bar.low <= bar.open <= bar.high
        assert bar.low <= bar.close <= bar.high


def client_of(simulated: Simulated) -> StockHistoricalDataClient:
    """Return the vendor's own client, unmodified but for its address."""
    url = str(simulated.http._base_url).rstrip("/")
    return StockHistoricalDataClient("key", "secret", url_override=url)


async def test_alpaca_py_reads_trades_bars_and_snapshots(simulate: Simulate) -> None:
    """Page after page, into the vendor's own models, and equal to what the stream would say."""
    simulated = await simulate(rate=2000)
    official = client_of(simulated)
    end = datetime.now(UTC)
    start = end - timedelta(minutes=6)
    symbols = ["AAPL", "BRK.B"]
    window: dict[str, Any] = {
        "symbol_or_symbols": symbols,
        "start": start,
        "end": end,
        "feed": DataFeed.IEX,
    }
    trades: Any = await asyncio.to_thread(official.get_stock_trades, StockTradesRequest(**window))
    assert set(trades.data) == set(symbols)
    assert sum(map(len, trades.data.values())) > 20_000
    for symbol in symbols:
        times = [trade.timestamp for trade in trades.data[symbol]]
        assert times == sorted(times)
        assert start <= times[0] < start + timedelta(seconds=5)
        assert end - timedelta(seconds=5) < times[-1] <= end
        assert len({trade.id for trade in trades.data[symbol]}) == len(times)
    bars: Any = await asyncio.to_thread(
        official.get_stock_bars, StockBarsRequest(timeframe=TimeFrame.Minute, **window)
    )
    assert {symbol: len(found) for symbol, found in bars.data.items()} in (
        {"AAPL": 5, "BRK.B": 5},
        {"AAPL": 6, "BRK.B": 6},
    )
    for bar in bars.data["AAPL"]:
        assert bar.low <= bar.vwap <= bar.high
    request = StockSnapshotRequest(symbol_or_symbols=symbols, feed=DataFeed.IEX)
    snapshots: Any = await asyncio.to_thread(official.get_stock_snapshot, request)
    snapshot = snapshots["AAPL"]
    assert snapshot.latest_trade.timestamp > end
    assert snapshot.previous_daily_bar.close > 0


async def test_alpaca_py_understands_the_refusals(simulate: Simulate) -> None:
    """It reads their sentence out of them."""
    simulated = await simulate()
    await simulated.fault("rest-refused", status=422, message="not this")
    request = StockSnapshotRequest(symbol_or_symbols="AAPL")
    with pytest.raises(APIError) as refused:
        await asyncio.to_thread(client_of(simulated).get_stock_snapshot, request)
    assert refused.value.status_code == 422
    assert json.loads(str(refused.value)) == {"message": "not this"}
