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
#: The intervals served, in minutes; the history reaches back as far as a regular session lasts.
INTERVALS = {"1m": 1, "5m": 5}
_HISTORY_MINUTES = 390
#: One bar in so many has nulls: the vendor missed it.
_HOLES = 60

_EXCHANGES = {"A": ("NYQ", "NYSE"), "B": ("PCX", "NYSEArca"), "C": ("NMS", "NasdaqGS")}
_FUNDS = {"SPY", "QQQ"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an answer says of one symbol.

    Attributes:
        symbol: the symbol as the market calls it.
        body: its object in the body, byte for byte.

    """

    symbol: str
    body: bytes


def symbols() -> dict[str, str]:
    """Return Yahoo's name of every symbol that it knows, with the market's."""
    return {symbol.replace(".", "-"): symbol for symbol in LISTINGS}


_SYMBOLS = symbols()


def spark(market: Market, names: Iterable[str], *, at_ns: int, interval: str) -> list[Part]:
    """Return an entry for each known symbol, in the order asked; unknown ones are left out."""
    parts = []
    for name in dict.fromkeys(names):
        if name not in _SYMBOLS:
            continue
        symbol = _SYMBOLS[name]
        bars = _history(market, symbol, at_ns, interval)
        response = {
            "meta": _meta(market, symbol, at_ns, interval),
            "timestamp": _timestamps(bars, at_ns),
            "indicators": {"quote": [{"close": _column(symbol, bars, market, at_ns, "close")}]},
        }
        body = orjson.dumps({"symbol": name, "response": [response]})
        parts.append(Part(symbol=symbol, body=body))
    return parts


def chart(market: Market, name: str, *, at_ns: int, interval: str) -> Part | None:
    """Return the one result of a chart, or None where the symbol is unknown."""
    if name not in _SYMBOLS:
        return None
    symbol = _SYMBOLS[name]
    bars = _history(market, symbol, at_ns, interval)
    columns = {
        column: _column(symbol, bars, market, at_ns, column)
        for column in ("open", "high", "low", "close", "volume")
    }
    result = {
        "meta": _meta(market, symbol, at_ns, interval),
        "timestamp": _timestamps(bars, at_ns),
        "indicators": {"quote": [columns]},
    }
    return Part(symbol=symbol, body=orjson.dumps(result))


def body(kind: str, parts: Sequence[Part]) -> bytes:
    """Return the body of an answer: `kind` is `spark` or `chart`."""
    results = b",".join(part.body for part in parts)
    return b'{"%b":{"result":[%b],"error":null}}' % (kind.encode(), results)


def refusal(kind: str, code: str, description: str) -> bytes:
    """Return the body of an error, as Yahoo shapes it."""
    error = {"code": code, "description": description}
    return orjson.dumps({kind: {"result": None, "error": error}})


def _history(market: Market, symbol: str, at_ns: int, interval: str) -> list[Bar]:
    """Return the day's bars that are over by `at_ns`, at most the last session's length of them."""
    length = INTERVALS[interval] * MINUTE_NS
    last_end = at_ns - at_ns % length
    first = max(day_start(at_ns), last_end - _HISTORY_MINUTES * MINUTE_NS)
    return [market.bar(symbol, start, start + length) for start in range(first, last_end, length)]


def _timestamps(bars: Sequence[Bar], at_ns: int) -> list[int]:
    return [*(bar.start_ns // SECOND_NS for bar in bars), at_ns // SECOND_NS]


def _column(
    symbol: str, bars: Sequence[Bar], market: Market, at_ns: int, column: str
) -> list[float | int | None]:
    """Return one column: a value a bar, and last the price of the moment, without volume yet."""
    now = 0 if column == "volume" else market.price(symbol, at_ns)
    return [*(None if _hole(symbol, bar) else getattr(bar, column) for bar in bars), now]


def _hole(symbol: str, bar: Bar) -> bool:
    return zlib.crc32(f"{symbol}/{bar.start_ns}".encode()) % _HOLES == 0


def _meta(market: Market, symbol: str, at_ns: int, interval: str) -> dict[str, Any]:
    """Return what both endpoints say of a symbol beside its history."""
    listing = market.listing(symbol)
    exchange, full_exchange = _EXCHANGES[listing.tape]
    day = market.day(symbol, at_ns)
    previous_close = market.previous_close(symbol, at_ns)
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
        "chartPreviousClose": previous_close,
        "previousClose": previous_close,
        "priceHint": 2,
        "currentTradingPeriod": _trading_period(at_ns),
        "dataGranularity": interval,
        "range": "1d",
    }


def _trading_period(at_ns: int) -> dict[str, dict[str, str | int]]:
    """Return the day's sessions: this market has a regular one of 24 hours and no others."""
    start = day_start(at_ns) // SECOND_NS
    end = start + 24 * 60 * 60

    def period(first: int, last: int) -> dict[str, str | int]:
        return {"timezone": "UTC", "start": first, "end": last, "gmtoffset": 0}

    return {"pre": period(start, start), "regular": period(start, end), "post": period(end, end)}
