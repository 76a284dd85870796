"""Yahoo's spark and chart answers (undocumented), one symbol's part of them, read into a last sale.

Pure. A quote is as old as its `regularMarketTime`, whenever it was polled. `chartPreviousClose` is
the close before the *range*: right here, because polls ask for `range=1d`.

A chart that was asked for a window of bars (`chart-5m`) is read into those, and says nothing else:
there `chartPreviousClose` is the close before the window.
"""

from typing import Any

import msgspec

from ingest.yahoo import bars
from ingest.yahoo.wire import from_yahoo
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


_spark = msgspec.json.Decoder(_Spark)
_chart = msgspec.json.Decoder(_Chart)


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
    chart = bars.read_bars(raw, where["received_at_ns"] // NS)
    if not chart.final:
        message = f"no bar is whole and final, of {chart.rows}"
        raise ValueError(message)
    return [
        events.Bar(
            **where,
            symbol=chart.symbol,
            market_time_ns=bar.start_s * NS,
            interval="5m",
            updated=False,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            trade_count=None,
            vwap=None,
        )
        for bar in chart.final
    ]
