"""Yahoo's spark and chart answers (undocumented), one symbol's part of them, read into a last sale.

Pure. A quote is as old as its `regularMarketTime`, whenever it was polled. `chartPreviousClose` is
the close before the *range*: right here, because polls ask for `range=1d`.

A chart that was asked for a window of bars (`chart-5m`) is read into those, and says nothing else:
there `chartPreviousClose` is the close before the window.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ingest.yahoo.wire import BAR_S, from_yahoo, settled_s
from processors import events

NS = 1_000_000_000


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    regular_market_price: float
    regular_market_time: int
    currency: str = ""
    regular_market_day_high: float | None = None
    regular_market_day_low: float | None = None
    regular_market_volume: float | None = None
    previous_close: float | None = None
    chart_previous_close: float | None = None


class _Chart(msgspec.Struct, frozen=True):
    meta: _Meta


class _Spark(msgspec.Struct, frozen=True):
    symbol: str
    response: list[_Chart]


class _Columns(msgspec.Struct, frozen=True):
    open: list[float | None] = []
    high: list[float | None] = []
    low: list[float | None] = []
    close: list[float | None] = []
    volume: list[float | None] = []


class _Indicators(msgspec.Struct, frozen=True):
    quote: list[_Columns]


class _Regular(msgspec.Struct, frozen=True):
    end: int


class _Periods(msgspec.Struct, frozen=True):
    regular: _Regular | None = None


class _BarsMeta(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    regular_market_time: int | None = None
    current_trading_period: _Periods | None = None


class _BarsChart(msgspec.Struct, frozen=True):
    meta: _BarsMeta
    indicators: _Indicators
    timestamp: list[int] = []


_spark = msgspec.json.Decoder(_Spark)
_chart = msgspec.json.Decoder(_Chart)
_bars_chart = msgspec.json.Decoder(_BarsChart)


def read(raw: bytes, *, feed: str, where: dict[str, Any]) -> events.Last:
    """Read one symbol's part of an answer.

    Args:
        raw: an element of `spark.result`, or of `chart.result`, as the vendor sent it.
        feed: `spark` or `chart`.
        where: the fields of `events.Provenance` but for the symbol.

    Raises:
        ValueError: a field is missing or has another type.

    """
    try:
        meta = _spark.decode(raw).response[0].meta if feed == "spark" else _chart.decode(raw).meta
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    except IndexError:
        message = "`response` is empty"
        raise ValueError(message) from None
    previous = meta.previous_close if meta.previous_close is not None else meta.chart_previous_close
    return events.Last(
        **where,
        symbol=from_yahoo(meta.symbol),
        market_time_ns=meta.regular_market_time * NS,
        price=meta.regular_market_price,
        previous_close=previous,
        day_high=meta.regular_market_day_high,
        day_low=meta.regular_market_day_low,
        volume=meta.regular_market_volume,
        currency=meta.currency,
    )


def read_bars(raw: bytes, *, where: dict[str, Any]) -> list[events.Bar]:
    """Read the bars of five minutes that are final; later answers bring the others.

    Args:
        raw: an element of `chart.result`, as the vendor sent it.
        where: the fields of `events.Provenance` but for the symbol.

    Raises:
        ValueError: a field is missing or has another type, or there is no whole and final bar.

    """
    try:
        chart = _bars_chart.decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    if not chart.indicators.quote:
        message = "`indicators.quote` is empty"
        raise ValueError(message)
    columns = chart.indicators.quote[0]
    rows = list(
        zip(columns.open, columns.high, columns.low, columns.close, columns.volume, strict=False)
    )
    if len(rows) < len(chart.timestamp):
        message = f"{len(chart.timestamp)} times, but {len(rows)} rows of figures"
        raise ValueError(message)
    settled = settled_s(chart.meta.regular_market_time, where["received_at_ns"] // NS)
    bars = []
    for start_s, row in zip(chart.timestamp, rows, strict=False):
        figures = [figure for figure in row if figure is not None]
        if len(figures) == len(row) and _is_final(start_s, settled, chart.meta):
            bars.append(_bar(chart.meta.symbol, start_s, figures, where))
    if not bars:
        message = f"no bar is whole and final, of {len(chart.timestamp)}"
        raise ValueError(message)
    return bars


def _is_final(start_s: int, settled: int, meta: _BarsMeta) -> bool:
    # the row of the moment stands at any second, that of the closing auction begins at the close
    regular = meta.current_trading_period and meta.current_trading_period.regular
    return (
        start_s % BAR_S == 0
        and start_s + BAR_S <= settled
        and (not regular or start_s < regular.end)
    )


def _bar(symbol: str, start_s: int, figures: Sequence[float], where: dict[str, Any]) -> events.Bar:
    opening, high, low, close, volume = figures
    return events.Bar(
        **where,
        symbol=from_yahoo(symbol),
        market_time_ns=start_s * NS,
        interval="5m",
        updated=False,
        open=opening,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trade_count=None,
        vwap=None,
    )
