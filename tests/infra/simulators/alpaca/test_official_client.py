"""The vendor's own client, which knows nothing of this project, streams from the simulator."""

import asyncio
import threading
import time
import warnings
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.simulators.market import LISTINGS, MINUTE_NS

with warnings.catch_warnings():
    # alpaca-py is built on a part of websockets that is to go
    warnings.simplefilter("ignore", DeprecationWarning)
    from alpaca.data.live import StockDataStream
    from alpaca.data.models import Bar, Quote, Trade

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
