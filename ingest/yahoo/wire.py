"""Yahoo's wire: answers to symbols' parts, with each part's exact bytes; and symbols' spelling.

Undocumented, so read with distrust: what is not of the expected shape raises `WireError`, and a
part that names no symbol is kept, with its bytes, as one that speaks of none.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

import msgspec

from ingest.raw import MAX_RAW_BYTES, MAX_SYMBOL_LENGTH, pieces

#: The most symbols in one call of spark.
SPARK_SYMBOLS = 20

#: As much of Yahoo's error as we repeat.
ERROR_LENGTH = 200

Feed = Literal["spark", "chart"]


class WireError(Exception):
    """An answer is not what Yahoo is known to answer."""


class Part(NamedTuple):
    """What an answer says of one symbol.

    Attributes:
        symbol: as this pipeline writes it; empty where the bytes name none.
        encoding: `json`, or `bytes` for a piece of a part that is too long for one record.
        data: the vendor's bytes.

    """

    symbol: str
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


class _SparkPart(msgspec.Struct, frozen=True):
    symbol: _Symbol


class _Meta(msgspec.Struct, frozen=True):
    symbol: _Symbol


class _ChartPart(msgspec.Struct, frozen=True):
    meta: _Meta


_spark = msgspec.json.Decoder(_Spark)
_chart = msgspec.json.Decoder(_Chart)
_spark_part = msgspec.json.Decoder(_SparkPart)
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
        symbol = _symbol(data, feed)
        if len(data) > MAX_RAW_BYTES:
            parts += [Part(symbol, "bytes", msgspec.Raw(piece)) for piece in pieces(bytes(data))]
        else:
            parts.append(Part(symbol, "json", data))
    return parts


def _symbol(data: msgspec.Raw, feed: Feed) -> str:
    try:
        named = _spark_part.decode(data) if feed == "spark" else _chart_part.decode(data).meta
    except _UNDECODABLE:
        return ""
    return from_yahoo(named.symbol)
