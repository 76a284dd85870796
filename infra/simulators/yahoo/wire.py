"""The bodies of `spark` and `chart`, built part by part so that the ledger can hold exact bytes.

A symbol is written as Yahoo writes it, which for share classes is not as the exchanges do: `BRK-B`,
not `BRK.B`. Prices are the market's at the whole second `regularMarketTime`.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from infra.simulators.market import LISTINGS, MINUTE_NS, SECOND_NS, Bar, Market, day_start

#: More symbols than this in one spark call are refused.
SPARK_LIMIT = 20
#: The intervals served, in minutes; the day's history is as long as a regular session.
INTERVALS = {"1m": 1, "5m": 5}
_HISTORY_MINUTES = 390
#: How many days back a period may begin.
REACH_DAYS = {"1m": 30, "5m": 60}
#: One bar in so many has nulls: the vendor missed it.
_HOLES = 60

_EXCHANGES = {"A": ("NYQ", "NYSE"), "B": ("PCX", "NYSEArca"), "C": ("NMS", "NasdaqGS")}
_FUNDS = {"SPY", "QQQ"}


#: What an answer says of one symbol, before it is written.
Content = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an answer says of one symbol, as it is sent.

    Attributes:
        symbol: the symbol as the market calls it.
        body: its object in the body, byte for byte.
        fault: the faults that changed it, joined by commas.

    """

    symbol: str
    body: bytes
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """What is asked of the history.

    Attributes:
        interval: a bar's length, a key of `INTERVALS`.
        period: (first, last) moment in ns of which the second is not in it; None for the day.

    """

    interval: str
    period: tuple[int, int] | None = None


def symbols() -> dict[str, str]:
    """Return Yahoo's name of every symbol that it knows, with the market's."""
    return {symbol.replace(".", "-"): symbol for symbol in LISTINGS}


_SYMBOLS = symbols()


def listed(names: Iterable[str]) -> list[str]:
    """Return the market's names of those that are known, in the order asked, once each."""
    return [_SYMBOLS[name] for name in dict.fromkeys(names) if name in _SYMBOLS]


def spark(market: Market, symbol: str, *, at_ns: int, span: Span) -> Content:
    """Return what `spark` says of a symbol; `sparked` wraps it."""
    return _content(market, symbol, at_ns, span, ("close",))


def sparked(symbol: str, content: Content) -> bytes:
    """Return a symbol's entry in an answer of `spark`."""
    return orjson.dumps({"symbol": symbol.replace(".", "-"), "response": [content]})


def chart(market: Market, symbol: str, *, at_ns: int, span: Span) -> Content:
    """Return the one result of a chart."""
    return _content(market, symbol, at_ns, span, ("open", "high", "low", "close", "volume"))


def charted(_: str, content: Content) -> bytes:
    """Return a symbol's result in an answer of `chart`."""
    return orjson.dumps(content)


def _content(market: Market, symbol: str, at_ns: int, span: Span, names: Sequence[str]) -> Content:
    bars = _history(market, symbol, at_ns, span)
    # The running bar stands last, with the price of the moment as its only one and no volume yet.
    running = span.period is None or span.period[0] <= at_ns < span.period[1]
    columns = {name: _column(symbol, bars, name) for name in names}
    times = [bar.start_ns // SECOND_NS for bar in bars]
    if running:
        price = market.price(symbol, at_ns)
        times.append(at_ns // SECOND_NS)
        for name, column in columns.items():
            column.append(0 if name == "volume" else price)
    return {
        "meta": _meta(market, symbol, at_ns, span),
        "timestamp": times,
        "indicators": {"quote": [columns]},
    }


def body(kind: str, parts: Sequence[Part]) -> bytes:
    """Return the body of an answer: `kind` is `spark` or `chart`."""
    results = b",".join(part.body for part in parts)
    return b'{"%b":{"result":[%b],"error":null}}' % (kind.encode(), results)


def refusal(kind: str, code: str, description: str) -> bytes:
    """Return the body of an error, as Yahoo shapes it."""
    error = {"code": code, "description": description}
    return orjson.dumps({kind: {"result": None, "error": error}})


def _history(market: Market, symbol: str, at_ns: int, span: Span) -> list[Bar]:
    """Return the bars that are over by `at_ns`: of the period, or of the day.

    Of the day at most so many as the last session is long.
    """
    length = INTERVALS[span.interval] * MINUTE_NS
    last_end = at_ns - at_ns % length
    if span.period is None:
        first = max(day_start(at_ns), last_end - _HISTORY_MINUTES * MINUTE_NS)
        starts = range(first, last_end, length)
    else:
        first, until = span.period
        starts = range(-(-first // length) * length, min(until, last_end), length)
    return [market.bar(symbol, start, start + length) for start in starts]


def _column(symbol: str, bars: Sequence[Bar], name: str) -> list[float | int | None]:
    """Return one column, a value a bar."""
    return [None if _hole(symbol, bar) else getattr(bar, name) for bar in bars]


def _hole(symbol: str, bar: Bar) -> bool:
    return zlib.crc32(f"{symbol}/{bar.start_ns}".encode()) % _HOLES == 0


def _meta(market: Market, symbol: str, at_ns: int, span: Span) -> dict[str, Any]:
    """Return what both endpoints say of a symbol beside its history."""
    listing = market.listing(symbol)
    exchange, full_exchange = _EXCHANGES[listing.tape]
    day = market.day(symbol, at_ns)
    # Of a period only the close before it is told, which is not the day's previous one.
    before = market.previous_close(symbol, span.period[0] if span.period else at_ns)
    return {
        "currency": "USD",
        "symbol": symbol.replace(".", "-"),
        "exchangeName": exchange,
        "fullExchangeName": full_exchange,
        "instrumentType": "ETF" if symbol in _FUNDS else "EQUITY",
        "regularMarketTime": at_ns // SECOND_NS,
        "hasPrePostMarketData": False,
        "gmtoffset": 0,
        "timezone": "UTC",
        "exchangeTimezoneName": "UTC",
        "regularMarketPrice": day.close,
        "regularMarketDayHigh": day.high,
        "regularMarketDayLow": day.low,
        "regularMarketVolume": day.volume,
        "chartPreviousClose": before,
        **({} if span.period else {"previousClose": before}),
        "priceHint": 2,
        "currentTradingPeriod": _trading_period(at_ns),
        "dataGranularity": span.interval,
        "range": "" if span.period else "1d",
    }


def _trading_period(at_ns: int) -> dict[str, dict[str, str | int]]:
    """Return the day's sessions: this market has a regular one of 24 hours and no others."""
    start = day_start(at_ns) // SECOND_NS
    end = start + 24 * 60 * 60

    def period(first: int, last: int) -> dict[str, str | int]:
        return {"timezone": "UTC", "start": first, "end": last, "gmtoffset": 0}

    return {"pre": period(start, start), "regular": period(start, end), "post": period(end, end)}
