"""Yahoo's wire: answers to symbols' parts, with each part's exact bytes; and symbols' spelling.

Undocumented, so read with distrust: what is not of the expected shape raises `WireError`, and a
part that names no symbol is kept, with its bytes, as one that speaks of none.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from ingest.raw import MAX_RAW_BYTES, MAX_SYMBOL_LENGTH, pieces

#: The most symbols in one call of spark.
SPARK_SYMBOLS = 20

#: As much of Yahoo's error as we repeat.
ERROR_LENGTH = 200

#: A bar's length, as asked for.
BAR_S = 300

#: Further behind the market than this Yahoo is not: where it has no licence for more, it is 15
#: minutes late, and polls are up to a minute apart.
LAG_S = 20 * 60

#: `chart-5m` is the same as `chart`, asked for a window of bars and not for a quote.
Feed = Literal["spark", "chart", "chart-5m"]


class WireError(Exception):
    """An answer is not what Yahoo is known to answer."""


class Quote(NamedTuple):
    """What a part says that the poller itself acts on; the rest is judged later.

    Attributes:
        symbol: as this pipeline writes it; empty where the bytes name none.
        traded_at_s: when its last trade was, seconds since the epoch; None where it does not say.
        has_close: whether it tells the close of the day before.

    """

    symbol: str
    traded_at_s: int | None = None
    has_close: bool = False


class Part(NamedTuple):
    """What an answer says of one symbol.

    Attributes:
        quote: the symbol, and how fresh and how whole it is.
        encoding: `json`, or `bytes` for a piece of a part that is too long for one record.
        data: the vendor's bytes.

    """

    quote: Quote
    encoding: Literal["json", "bytes"]
    data: msgspec.Raw


_Symbol = Annotated[str, msgspec.Meta(max_length=MAX_SYMBOL_LENGTH)]


class _Result(msgspec.Struct, frozen=True):
    result: list[msgspec.Raw] | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Spark(msgspec.Struct, frozen=True):
    spark: _Result


class _Chart(msgspec.Struct, frozen=True):
    chart: _Result


# What is not of the type it should be must not hide the symbol, so it is read as anything at all.
class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    symbol: _Symbol
    regular_market_time: Any = None
    previous_close: Any = None
    chart_previous_close: Any = None


class _ChartPart(msgspec.Struct, frozen=True):
    meta: _Meta


class _SparkPart(msgspec.Struct, frozen=True):
    symbol: _Symbol


class _SparkQuote(msgspec.Struct, frozen=True):
    response: list[_ChartPart]


_spark = msgspec.json.Decoder(_Spark)
_chart = msgspec.json.Decoder(_Chart)
_spark_part = msgspec.json.Decoder(_SparkPart)
_spark_quote = msgspec.json.Decoder(_SparkQuote)
_chart_part = msgspec.json.Decoder(_ChartPart)

_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def to_yahoo(symbol: str) -> str:
    """Return `symbol` as Yahoo writes it: a class of shares after a hyphen, not after a dot."""
    return symbol.replace(".", "-")


def from_yahoo(symbol: str) -> str:
    """Return Yahoo's `symbol` as this pipeline writes it."""
    return symbol.replace("-", ".")


def batches(symbols: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield `symbols` in as many calls of spark as they take."""
    for start in range(0, len(symbols), SPARK_SYMBOLS):
        yield symbols[start : start + SPARK_SYMBOLS]


def spark_path(symbols: Sequence[str]) -> str:
    """Return the path that asks for `symbols` at once."""
    names = ",".join(quote(to_yahoo(symbol), safe="") for symbol in symbols)
    return f"/v7/finance/spark?symbols={names}&range=1d&interval=5m"


def chart_path(symbol: str) -> str:
    """Return the path that asks for one symbol that spark left out."""
    return f"/v8/finance/chart/{quote(to_yahoo(symbol), safe='')}?range=1d&interval=5m"


def bars_path(symbol: str, since_s: int, until_s: int) -> str:
    """Return the path that asks for one symbol's bars that begin in [`since_s`, `until_s`)."""
    name = quote(to_yahoo(symbol), safe="")
    return f"/v8/finance/chart/{name}?period1={since_s}&period2={until_s}&interval=5m"


def split(body: bytes, feed: Feed) -> list[Part]:
    """Return the parts of an answer, in order.

    Raises:
        WireError: the answer is no JSON, or not of the feed's shape.

    """
    try:
        # msgspec passes over text without looking at its characters
        body.decode()
        envelope = _spark.decode(body).spark if feed == "spark" else _chart.decode(body).chart
    except _UNDECODABLE as error:
        message = f"{feed}: {error}"
        raise WireError(message) from error
    parts: list[Part] = []
    if envelope.result is None:
        message = (
            f"{feed}: no result: {bytes(envelope.error)[:ERROR_LENGTH].decode(errors='replace')}"
        )
        raise WireError(message)
    for data in envelope.result:
        said = _quote(data, feed)
        if len(data) > MAX_RAW_BYTES:
            parts += [Part(said, "bytes", msgspec.Raw(piece)) for piece in pieces(bytes(data))]
        else:
            parts.append(Part(said, "json", data))
    return parts


def _quote(data: msgspec.Raw, feed: Feed) -> Quote:
    try:
        if feed != "spark":
            meta = _chart_part.decode(data).meta
            return _said(from_yahoo(meta.symbol), meta)
        symbol = from_yahoo(_spark_part.decode(data).symbol)
    except _UNDECODABLE:
        return Quote("")
    try:
        response = _spark_quote.decode(data).response
    except _UNDECODABLE:
        return Quote(symbol)
    return _said(symbol, response[0].meta) if response else Quote(symbol)


def _said(symbol: str, meta: _Meta) -> Quote:
    time_s = meta.regular_market_time
    return Quote(
        symbol,
        traded_at_s=time_s if type(time_s) is int and time_s > 0 else None,
        has_close=_is_price(meta.previous_close) or _is_price(meta.chart_previous_close),
    )


def _is_price(value: object) -> bool:
    return type(value) in (int, float) and value > 0  # type: ignore[operator]  # a number, as just seen
