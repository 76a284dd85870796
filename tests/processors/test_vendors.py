"""What the vendors' bytes mean: each message type, both encodings, and what is wrong with some."""

from typing import Any

import msgpack
import pytest

from processors import events
from processors.vendors import alpaca, yahoo

WHERE: dict[str, Any] = {
    "source": "alpaca",
    "feed": "iex",
    "session_id": "s",
    "session_seq": 1,
    "received_at_ns": 2,
    "raw_topic": "ticks.raw.alpaca",
    "raw_partition": 3,
    "raw_offset": 4,
}
T = "2026-02-22T15:51:44.208123456Z"
T_NS = 1_771_775_504_208_123_456

#: One message of each type, from the vendor's documentation, and what it means.
MESSAGES: list[tuple[dict[str, Any], type, dict[str, Any]]] = [
    (
        {"T": "t", "i": 96921, "S": "AAPL", "x": "D", "p": 126.55, "s": 1.5, "c": ["@"], "z": "C"},
        events.Trade,
        {
            "price": 126.55,
            "size": 1.5,
            "exchange": "D",
            "tape": "C",
            "trade_id": 96921,
            "conditions": ["@"],
        },
    ),
    (
        {
            "T": "q",
            "S": "AAPL",
            "bx": "U",
            "bp": 87.66,
            "bs": 100,
            "ax": "X",
            "ap": 0,
            "as": 0,
            "c": ["R"],
            "z": "A",
        },
        events.Quote,
        {
            "bid_price": 87.66,
            "bid_size": 100,
            "bid_exchange": "U",
            "ask_price": 0,
            "ask_size": 0,
            "ask_exchange": "X",
            "conditions": ["R"],
        },
    ),
    (
        {"T": "b", "S": "SPY", "o": 1.0, "h": 4.0, "l": 0.5, "c": 2.0, "v": 49, "n": 7, "vw": 1.7},
        events.Bar,
        {
            "interval": "1m",
            "updated": False,
            "open": 1.0,
            "high": 4.0,
            "low": 0.5,
            "close": 2.0,
            "volume": 49,
            "trade_count": 7,
            "vwap": 1.7,
        },
    ),
    (
        {"T": "u", "S": "SPY", "o": 1, "h": 4, "l": 1, "c": 2, "v": 49},
        events.Bar,
        {"interval": "1m", "updated": True, "trade_count": None, "vwap": None},
    ),
    (
        {"T": "d", "S": "SPY", "o": 1, "h": 4, "l": 1, "c": 2, "v": 49},
        events.Bar,
        {"interval": "1d", "updated": False},
    ),
    (
        {"T": "s", "S": "A", "sc": "H", "sm": "Halted", "rc": "T12", "rm": "Info", "z": "C"},
        events.Status,
        {"status_code": "H", "status_message": "Halted", "reason_code": "T12", "tape": "C"},
    ),
    (
        {"T": "l", "S": "IONM", "u": 3.24, "d": 2.65, "i": "B", "z": "C"},
        events.Luld,
        {"limit_up": 3.24, "limit_down": 2.65, "indicator": "B"},
    ),
    (
        {
            "T": "c",
            "S": "EEM",
            "x": "M",
            "oi": 52983525033527,
            "op": 39.1582,
            "os": 440000,
            "oc": [" ", "7"],
            "ci": 52983525034326,
            "cp": 39.1809,
            "cs": 440000,
            "cc": None,
            "z": "B",
        },
        events.Correction,
        {
            "original_id": 52983525033527,
            "original_price": 39.1582,
            "original_conditions": [" ", "7"],
            "corrected_id": 52983525034326,
            "corrected_price": 39.1809,
            "corrected_conditions": [],
        },
    ),
    (
        {"T": "x", "S": "GOOGL", "i": 465, "x": "D", "p": 87.66, "s": 2, "a": "C", "z": "A"},
        events.Cancel,
        {"trade_id": 465, "price": 87.66, "size": 2, "action": "C", "exchange": "D"},
    ),
]


def _timestamp(ns: int) -> msgpack.Timestamp:
    return msgpack.Timestamp(ns // 10**9, ns % 10**9)


@pytest.mark.parametrize(("message", "kind", "fields"), MESSAGES, ids=lambda m: str(m)[:12])
@pytest.mark.parametrize("packed", [False, True], ids=["json", "msgpack"])
def test_each_type_is_read(
    message: dict[str, Any], kind: type, fields: dict[str, Any], *, packed: bool
) -> None:
    """Every message type means the same in both encodings, to the nanosecond."""
    if packed:
        raw = msgpack.packb({**message, "t": _timestamp(T_NS)})
    else:
        raw = _json({**message, "t": T})
    tick = alpaca.read(raw, msgpack=packed, where=dict(WHERE))
    assert type(tick) is kind
    assert {name: getattr(tick, name) for name in fields} == fields
    assert (tick.symbol, tick.market_time_ns, tick.raw_offset) == (message["S"], T_NS, 4)


def _json(message: dict[str, Any]) -> bytes:
    import orjson  # noqa: PLC0415  # an encoder other than the one under test

    return orjson.dumps(message)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b'{"T":"t","S":"A"}', "missing required field"),
        (b'{"T":"t","S":"A","t":"%s","i":1,"x":"D","p":"7","s":1}' % T.encode(), "float"),
        (b'{"T":"t","S":"A","t":"yesterday","i":1,"x":"D","p":7,"s":1}', "'yesterday'"),
        (b'{"T":"t","S":"A","t":"2026-02-30T00:00:00Z","i":1,"x":"D","p":7,"s":1}', "day"),
        (b'{"T":"t","S":"A","t":"2026-02-20T25:00:00Z","i":1,"x":"D","p":7,"s":1}', "RFC 3339"),
        (b'{"T":"t",', "truncated"),
    ],
)
def test_what_is_wrong_is_said(raw: bytes, words: str) -> None:
    """A message that cannot be read is refused with what is wrong with it."""
    with pytest.raises(ValueError, match=words):
        alpaca.read(raw, msgpack=False, where=dict(WHERE))


@pytest.mark.parametrize("raw", [b'{"T":"i","S":"A","p":1}', b'{"S":"A"}', b'{"T":7}', b"[1]"])
def test_an_unknown_type_is_told_apart(raw: bytes) -> None:
    """A type that we do not know is not confused with a known one that is broken."""
    with pytest.raises(alpaca.UnknownTypeError):
        alpaca.read(raw, msgpack=False, where=dict(WHERE))


META = (
    '{"currency":"USD","symbol":"AAPL","regularMarketPrice":190.5,"regularMarketTime":1771775504,'
    '"regularMarketDayHigh":191,"regularMarketDayLow":189.25,"regularMarketVolume":1234,'
    '"chartPreviousClose":188.0}'
)
YAHOO = {**WHERE, "source": "yahoo"}


@pytest.mark.parametrize(
    ("feed", "raw"),
    [
        ("spark", f'{{"symbol":"AAPL","response":[{{"meta":{META},"timestamp":[1]}}]}}'),
        ("chart", f'{{"meta":{META},"timestamp":[1],"indicators":{{}}}}'),
    ],
)
def test_a_yahoo_answer_is_a_last_sale(feed: str, raw: str) -> None:
    """Spark and chart say the same: a price, when it was traded, and the close before."""
    tick = yahoo.read(raw.encode(), feed=feed, where=YAHOO)
    assert (tick.symbol, tick.price, tick.previous_close) == ("AAPL", 190.5, 188.0)
    assert tick.market_time_ns == 1_771_775_504_000_000_000
    assert (tick.day_high, tick.day_low, tick.volume, tick.currency) == (191, 189.25, 1234, "USD")


def test_yahoo_writes_share_classes_its_own_way() -> None:
    """Its BRK-B is the BRK.B that everyone else knows."""
    raw = f'{{"meta":{META.replace("AAPL", "BRK-B")}}}'
    assert yahoo.read(raw.encode(), feed="chart", where=YAHOO).symbol == "BRK.B"


@pytest.mark.parametrize(
    "raw",
    [
        b'{"symbol":"AAPL","response":[]}',
        b'{"symbol":"A","response":[{"meta":{"symbol":"A","regularMarketPrice":null}}]}',
        b'{"symbol":"AAPL"}',
        b"not json",
    ],
)
def test_a_yahoo_answer_without_a_price_is_refused(raw: bytes) -> None:
    """An empty, null or torn answer is no price."""
    with pytest.raises(ValueError, match=r"empty|Expected|missing|malformed"):
        yahoo.read(raw, feed="spark", where=YAHOO)


#: 2026-11-24 10:00 in New York.
TEN_S = 1_795_532_400
COLUMNS = ("open", "high", "low", "close", "volume")


def bars_chart(
    starts: list[int], rows: list[tuple[Any, ...]], *, traded_at_s: int | None, **meta: Any
) -> bytes:
    """Return a chart of bars as Yahoo shapes it: a column a figure."""
    columns = {name: [row[place] for row in rows] for place, name in enumerate(COLUMNS)}
    return _json(
        {
            "meta": {"symbol": "BRK-B", "regularMarketTime": traded_at_s, **meta},
            "timestamp": starts,
            "indicators": {"quote": [columns]},
        }
    )


ROW: tuple[float, ...] = (10.0, 12.5, 9.5, 11.0, 1200)


def _bars(raw: bytes, received_at_s: int = TEN_S) -> list[events.Bar]:
    return yahoo.read_bars(raw, where={**YAHOO, "received_at_ns": received_at_s * 10**9})


def test_a_chart_of_bars_is_its_bars() -> None:
    """Every row is a bar of five minutes, at the time that it begins."""
    raw = bars_chart([TEN_S - 600, TEN_S - 300], [ROW, (11, 11, 11, 11, 0)], traded_at_s=TEN_S + 9)
    first, second = _bars(raw, TEN_S + 30)
    assert (first.symbol, first.interval, first.updated) == ("BRK.B", "5m", False)
    assert (first.open, first.high, first.low, first.close, first.volume) == ROW
    assert first.market_time_ns == (TEN_S - 600) * 10**9
    assert (second.market_time_ns, second.volume) == ((TEN_S - 300) * 10**9, 0)


@pytest.mark.parametrize(
    ("row", "start_s", "traded_at_s", "received_at_s", "meta"),
    [
        ((None, None, None, None, None), TEN_S - 300, TEN_S, TEN_S, {}),
        ((10.0, 12.5, 9.5, None, 1200), TEN_S - 300, TEN_S, TEN_S, {}),
        # its trades are not all told yet: the last one told was within it
        (ROW, TEN_S - 300, TEN_S - 1, TEN_S + 30, {}),
        # the price of the moment, which Yahoo appends
        (ROW, TEN_S - 299, TEN_S + 600, TEN_S + 600, {}),
        # the closing auction
        (
            ROW,
            TEN_S,
            TEN_S + 900,
            TEN_S + 900,
            {"currentTradingPeriod": {"regular": {"end": TEN_S}}},
        ),
    ],
    ids=["nulls", "a null", "in progress", "of the moment", "after the close"],
)
def test_what_is_no_whole_and_final_bar_is_left_out(
    row: tuple[Any, ...], start_s: int, traded_at_s: int, received_at_s: int, meta: dict[str, Any]
) -> None:
    """It is left out beside a good one, and refused alone."""
    good = TEN_S - 1800
    both = bars_chart([good, start_s], [ROW, row], traded_at_s=traded_at_s, **meta)
    assert [bar.market_time_ns for bar in _bars(both, received_at_s)] == [good * 10**9]
    alone = bars_chart([start_s], [row], traded_at_s=traded_at_s, **meta)
    with pytest.raises(ValueError, match="no bar is whole and final, of 1"):
        _bars(alone, received_at_s)


def test_a_bar_of_a_symbol_that_seldom_trades_is_final_after_a_while() -> None:
    """Yahoo is never more than twenty minutes behind; then nothing more can come into a bar."""
    raw = bars_chart([TEN_S - 300], [ROW], traded_at_s=TEN_S - 200)
    assert len(_bars(raw, TEN_S + 1200)) == 1
    with pytest.raises(ValueError, match="no bar is whole and final"):
        _bars(raw, TEN_S + 1199)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"not json", "malformed"),
        (b'{"meta":{"symbol":"A"}}', "indicators"),
        (b'{"meta":{"symbol":"A"},"indicators":{"quote":[]}}', "empty"),
        (b'{"meta":{"symbol":"A"},"indicators":{"quote":[{}]}}', "of 0"),
        (
            b'{"meta":{"symbol":"A"},"timestamp":[300],"indicators":{"quote":[{}]}}',
            "1 times, but 0",
        ),
        (bars_chart([300], [("1", 1, 1, 1, 1)], traded_at_s=None), "float"),
    ],
)
def test_a_chart_without_bars_is_refused(raw: bytes, words: str) -> None:
    """Torn, empty, ragged or of other types: it is said which."""
    with pytest.raises(ValueError, match=words):
        _bars(raw)
