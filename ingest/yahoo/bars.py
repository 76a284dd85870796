"""The bars in a chart: which are whole, and final. Pure.

The poller has to know up to when it has a symbol's bars, and the processor which bars to believe;
both ask here, so that none is passed over and none is told twice.

A bar is final once the answer tells a trade after its end; or once it is so old that Yahoo cannot
be further behind, for a symbol that is not traded in every bar. Until then it may grow.
"""

from typing import NamedTuple

import msgspec

from ingest.yahoo.wire import BAR_S, LAG_S, from_yahoo


class FinalBar(NamedTuple):
    """One bar of five minutes.

    Attributes:
        start_s: when it begins, seconds since the epoch.
        open, high, low, close: prices in US dollars.
        volume: shares.

    """

    start_s: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Bars(NamedTuple):
    """What a chart says of one symbol's past.

    Attributes:
        symbol: as this pipeline writes it.
        final: the whole and final ones of its bars.
        rows: how many rows it had, good or not.
        over: how many of them are of bars that are over, whole or not.
        told_until_s: up to when everything has been told: until the last trade, or the end of the
            last final bar; seconds since the epoch.

    """

    symbol: str
    final: list[FinalBar]
    rows: int
    over: int
    told_until_s: int


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


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    symbol: str
    regular_market_time: int | None = None
    current_trading_period: _Periods | None = None


class _Chart(msgspec.Struct, frozen=True):
    meta: _Meta
    indicators: _Indicators
    timestamp: list[int] = []


_chart = msgspec.json.Decoder(_Chart)


def read_bars(data: bytes, received_at_s: int) -> Bars:
    """Read an element of `chart.result`.

    Args:
        data: as the vendor sent it.
        received_at_s: when, in seconds since the epoch.

    Raises:
        ValueError: a field is missing or has another type, or times and figures do not match.

    """
    try:
        chart = _chart.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
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
    traded_at_s = chart.meta.regular_market_time or 0
    settled_s = max(traded_at_s, received_at_s - LAG_S)
    over = [
        (start_s, row)
        for start_s, row in zip(chart.timestamp, rows, strict=False)
        if _is_over(start_s, settled_s, chart.meta)
    ]
    final = []
    for start_s, row in over:
        figures = [figure for figure in row if figure is not None]
        if len(figures) == len(row):
            final.append(FinalBar(start_s, *figures))
    return Bars(
        symbol=from_yahoo(chart.meta.symbol),
        final=final,
        rows=len(chart.timestamp),
        over=len(over),
        told_until_s=max([traded_at_s, *(bar.start_s + BAR_S for bar in final)]),
    )


def _is_over(start_s: int, settled_s: int, meta: _Meta) -> bool:
    # the row of the moment stands at any second, that of the closing auction begins at the close
    regular = meta.current_trading_period and meta.current_trading_period.regular
    return (
        start_s % BAR_S == 0
        and start_s + BAR_S <= settled_s
        and (not regular or start_s < regular.end)
    )
