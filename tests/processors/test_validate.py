"""Every rule, at its edge; and every raw tick gets a verdict that keeps its bytes."""

import json
from base64 import b64decode, b64encode
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import RawTick
from processors.events import Bar, Cancel, Last, Quote, RejectedTick, Trade
from processors.validate import FUTURE_TOLERANCE_NS, Position, judge, judge_all

KNOWN = frozenset({"AAPL"})
AT = Position("ticks.raw.alpaca", 2, 41, 1_771_775_504_123)
T_NS = 1_771_775_504_000_000_000
T = "2026-02-22T15:51:44Z"
TRADE = {"T": "t", "i": 1, "S": "AAPL", "x": "D", "p": 10.5, "s": 3, "t": T}
QUOTE = {"T": "q", "S": "AAPL", "bx": "V", "bp": 1, "bs": 1, "ax": "V", "ap": 2, "as": 1, "t": T}
BAR = {"T": "b", "S": "AAPL", "o": 1, "h": 1, "l": 1, "c": 1, "v": 1, "n": 1, "t": T}


def raw_tick(raw: bytes, **changes: Any) -> RawTick:
    """Return a raw tick of Alpaca's, with changes."""
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "symbol": "AAPL",
        "session_id": "s",
        "session_seq": 9,
        "received_at_ns": T_NS,
        "encoding": "json",
        "raw": msgspec.Raw(raw),
    }
    return RawTick(**{**fields, **changes})


def verdict(message: dict[str, Any], **changes: Any) -> Any:
    """Judge a message as it would lie in the log."""
    return judge(msgspec.json.encode(raw_tick(json.dumps(message).encode(), **changes)), AT, KNOWN)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (TRADE, Trade),
        ({**TRADE, "s": 0}, Trade),
        ({**TRADE, "s": 0.25}, Trade),
        (QUOTE, Quote),
        ({**QUOTE, "bp": 0, "bs": 0}, Quote),
        (BAR, Bar),
    ],
)
def test_what_keeps_the_rules_is_valid(
    message: dict[str, Any], kind: type[Trade | Quote | Bar]
) -> None:
    """A good tick comes out canonical, with its place in the log."""
    tick = verdict(message)
    assert isinstance(tick, kind)
    assert (tick.raw_topic, tick.raw_partition, tick.raw_offset) == AT[:3]
    assert (tick.session_seq, tick.received_at_ns) == (9, T_NS)


@pytest.mark.parametrize(
    ("message", "reason", "detail"),
    [
        ({**TRADE, "p": 0}, "invalid_price", "price is 0.0"),
        ({**TRADE, "p": -1}, "invalid_price", "price is -1.0"),
        ({**TRADE, "s": -0.5}, "negative_volume", "size is -0.5"),
        ({**QUOTE, "ap": -1}, "invalid_price", "ask_price is -1.0"),
        ({**QUOTE, "bs": -1}, "negative_volume", "bid_size is -1.0"),
        ({**BAR, "l": 0}, "invalid_price", "low is 0.0"),
        ({**BAR, "v": -1}, "negative_volume", "volume is -1.0"),
        ({**TRADE, "S": "NOPE"}, "unknown_symbol", "'NOPE'"),
        ({**TRADE, "T": "zz"}, "unknown_type", "'zz'"),
        ({**TRADE, "i": None}, "malformed", "int"),
    ],
)
def test_what_breaks_a_rule_is_rejected(message: dict[str, Any], reason: str, detail: str) -> None:
    """A bad tick comes out rejected, with the rule, the figure, and the vendor's bytes."""
    rejected = verdict(message)
    assert isinstance(rejected, RejectedTick)
    assert rejected.reason == reason
    assert detail in rejected.detail
    assert bytes(rejected.raw) == json.dumps(message).encode()
    assert (rejected.raw_topic, rejected.raw_partition, rejected.raw_offset) == AT[:3]


@pytest.mark.parametrize("ahead", [0, FUTURE_TOLERANCE_NS, FUTURE_TOLERANCE_NS + 1])
def test_the_future_begins_after_five_minutes(ahead: int) -> None:
    """A tick may be stamped up to five minutes after its receipt."""
    found = verdict(TRADE, received_at_ns=T_NS - ahead)
    rejected = isinstance(found, RejectedTick) and found.reason == "future_timestamp"
    assert rejected == (ahead > FUTURE_TOLERANCE_NS)


@pytest.mark.parametrize("price", [float("nan"), float("inf"), float("-inf")])
def test_no_price_is_a_price(price: float) -> None:
    """MessagePack can carry what JSON cannot: it is no price either."""
    packed = msgpack.packb({**TRADE, "p": price, "t": msgpack.Timestamp(T_NS // 10**9)})
    text = msgspec.Raw(msgspec.json.encode(b64encode(packed).decode()))
    value = msgspec.json.encode(raw_tick(bytes(text), encoding="msgpack"))
    rejected = judge(value, AT, KNOWN)
    assert isinstance(rejected, RejectedTick)
    assert rejected.reason == "invalid_price"


def test_a_packed_message_is_judged_like_any() -> None:
    """MessagePack in base64 is read."""
    packed = msgpack.packb({**TRADE, "t": msgpack.Timestamp(T_NS // 10**9, 5)})
    text = msgspec.Raw(msgspec.json.encode(b64encode(packed).decode()))
    tick = judge(msgspec.json.encode(raw_tick(bytes(text), encoding="msgpack")), AT, KNOWN)
    assert isinstance(tick, Trade)
    assert tick.market_time_ns == T_NS + 5


def test_yahoo_is_judged_like_any() -> None:
    """A poll's answer becomes a last sale."""
    answer = {
        "symbol": "AAPL",
        "response": [{"meta": {"symbol": "AAPL", "regularMarketPrice": 7, "regularMarketTime": 5}}],
    }
    tick = verdict(answer, source="yahoo", feed="spark")
    assert isinstance(tick, Last)
    assert tick.price == 7


PAST_TRADE = {"t": T, "x": "V", "p": 10.5, "s": 0.5, "c": ["@"], "i": 7, "z": "C"}
PAST_BAR = {"t": T, "o": 1, "h": 4, "l": 1, "c": 2, "v": 100, "n": 3, "vw": 1.5}


def _filled(message: dict[str, Any], resource: str = "trades", **changes: Any) -> Any:
    return verdict(message, backfill=resource, gap_id="g", **changes)


def test_a_trade_of_the_history_is_a_trade() -> None:
    """It names no symbol itself; and it says which gap it fills."""
    tick = _filled(PAST_TRADE)
    assert isinstance(tick, Trade)
    assert (tick.symbol, tick.price, tick.size, tick.exchange) == ("AAPL", 10.5, 0.5, "V")
    assert (tick.trade_id, tick.tape, tick.conditions) == (7, "C", ["@"])
    assert (tick.gap_id, tick.market_time_ns, tick.raw_offset) == ("g", T_NS, 41)


def test_a_bar_of_the_history_is_a_bar() -> None:
    """It is one of a minute, as the stream would have sent it."""
    tick = _filled(PAST_BAR, "bars")
    assert isinstance(tick, Bar)
    assert (tick.symbol, tick.interval, tick.updated, tick.gap_id) == ("AAPL", "1m", False, "g")
    assert (tick.open, tick.high, tick.low, tick.close) == (1, 4, 1, 2)
    assert (tick.volume, tick.trade_count, tick.vwap) == (100, 3, 1.5)


def test_live_ticks_fill_no_gap() -> None:
    """What the stream sent names no gap, and does not take the space to say so."""
    tick = verdict(TRADE)
    assert tick.gap_id == ""
    assert b"gap_id" not in msgspec.json.encode(tick)


@pytest.mark.parametrize(
    ("update", "action"), [("canceled", "C"), ("incorrect", "E"), ("corrected", None), ("", None)]
)
def test_a_trade_that_was_taken_back_is_no_trade(update: str, action: str | None) -> None:
    """The history marks what the stream would have cancelled: it must not pass for a price."""
    tick = _filled({**PAST_TRADE, "u": update})
    if action is None:
        assert isinstance(tick, Trade)
    else:
        assert isinstance(tick, Cancel)
        assert (tick.action, tick.trade_id, tick.gap_id) == (action, 7, "g")


@pytest.mark.parametrize(
    ("message", "resource", "symbol", "reason"),
    [
        ({**PAST_TRADE, "p": 0}, "trades", "AAPL", "invalid_price"),
        ({**PAST_TRADE, "s": -1}, "trades", "AAPL", "negative_volume"),
        ({**PAST_TRADE, "i": "7"}, "trades", "AAPL", "malformed"),
        ({**PAST_TRADE, "t": "soon"}, "trades", "AAPL", "malformed"),
        ({**PAST_TRADE, "t": None}, "trades", "AAPL", "malformed"),
        (PAST_TRADE, "bars", "AAPL", "malformed"),
        (PAST_BAR, "trades", "AAPL", "malformed"),
        ({**PAST_BAR, "v": -1}, "bars", "AAPL", "negative_volume"),
        (PAST_TRADE, "trades", "NOPE", "unknown_symbol"),
    ],
)
def test_history_is_judged_like_any(
    message: dict[str, Any], resource: str, symbol: str, reason: str
) -> None:
    """The same rules, and the gap in the rejection."""
    rejected = _filled(message, resource, symbol=symbol)
    assert isinstance(rejected, RejectedTick)
    assert (rejected.reason, rejected.symbol, rejected.gap_id) == (reason, symbol, "g")
    assert bytes(rejected.raw) == json.dumps(message).encode()


def test_history_that_looks_live_is_history() -> None:
    """What it was fetched for decides, not a `T` and `S` that the vendor might add."""
    tick = _filled({**PAST_TRADE, "T": "t", "S": "NOPE"})
    assert isinstance(tick, Trade)
    assert (tick.symbol, tick.gap_id) == ("AAPL", "g")


def test_bytes_that_are_no_frame_are_kept() -> None:
    """What could not even be taken apart is rejected as malformed, with its bytes."""
    text = msgspec.Raw(b'"3q2+7w=="')
    rejected = judge(
        msgspec.json.encode(raw_tick(bytes(text), encoding="bytes", symbol="")), AT, KNOWN
    )
    assert isinstance(rejected, RejectedTick)
    assert (rejected.reason, bytes(rejected.raw)) == ("malformed", b'"3q2+7w=="')


DEEP = b"[" * 5_000 + b"]" * 5_000


@pytest.mark.parametrize(
    "value",
    [
        b'{"source":"\xff"}',
        DEEP,
        b'{"source":"alpaca","encoding":"json","raw":' + DEEP + b"}",
    ],
    ids=["not UTF-8", "too deep", "too deep within"],
)
def test_no_record_breaks_the_parser(value: bytes) -> None:
    """What a parser gives up on is malformed like anything else that cannot be read."""
    found = judge(value, AT, KNOWN)
    assert isinstance(found, RejectedTick)
    assert found.reason == "malformed"


@pytest.mark.parametrize("source", ["alpaca", "yahoo"])
def test_no_message_breaks_the_parser(source: str) -> None:
    """The same within a sound raw tick."""
    found = judge(msgspec.json.encode(raw_tick(DEEP, source=source, feed="spark")), AT, KNOWN)
    assert isinstance(found, RejectedTick)
    assert found.reason == "malformed"


@given(value=st.binary(max_size=200))
def test_no_record_stops_the_stage(value: bytes) -> None:
    """Whatever lies in the raw topic gets a verdict, and its bytes can be had back."""
    found = judge(value, AT, KNOWN)
    assert isinstance(found, RejectedTick)
    assert b64decode(msgspec.json.decode(found.raw)) == value
    assert found.received_at_ns == AT.written_at_ms * 1_000_000


@given(
    message=st.dictionaries(
        st.sampled_from(["T", "S", "t", "p", "s", "i", "x", "bp", "ap", "o"]),
        st.one_of(
            st.sampled_from(["t", "q", "b", "AAPL", T]),
            st.integers(),
            st.floats(allow_nan=False, allow_infinity=False),
            st.none(),
            st.lists(st.integers(), max_size=2),
        ),
    )
)
def test_every_message_gets_one_verdict_that_survives_the_log(message: dict[str, Any]) -> None:
    """A verdict on any message can be written, and a rejection gives the message back."""
    found = verdict(message)
    msgspec.json.encode(found)
    if isinstance(found, RejectedTick):
        assert json.loads(bytes(found.raw)) == message


def test_verdicts_keep_the_order_and_none_is_missing() -> None:
    """Of many records each is either valid or rejected, in the order of the log."""
    values = [
        msgspec.json.encode(raw_tick(json.dumps({**TRADE, "p": price}).encode()))
        for price in (1, 0, 2, -3, 4)
    ]
    records = [(value, Position("t", 0, n, 1)) for n, value in enumerate(values)]
    valid, rejected = judge_all(records, KNOWN)
    assert [tick.raw_offset for tick in valid] == [0, 2, 4]
    assert [tick.raw_offset for tick in rejected] == [1, 3]


def _bars(*rows: tuple[Any, ...]) -> bytes:
    """Return a raw tick of Yahoo's with bars of the last hour, one a row."""
    names = ("open", "high", "low", "close", "volume")
    begun = T_NS // 10**9 // 300 * 300 - 3600
    chart = {
        "meta": {"symbol": "AAPL", "regularMarketTime": T_NS // 10**9},
        "timestamp": [begun + 300 * place for place in range(len(rows))],
        "indicators": {"quote": [{n: [row[i] for row in rows] for i, n in enumerate(names)}]},
    }
    raw = raw_tick(json.dumps(chart).encode(), source="yahoo", feed="chart-5m")
    return msgspec.json.encode(raw)


def test_an_answer_with_bars_has_a_verdict_a_bar() -> None:
    """Several canonical ticks come of one raw tick, with its place; between others, in order."""
    trade = msgspec.json.encode(raw_tick(json.dumps(TRADE).encode()))
    bars = _bars((1, 2, 1, 2, 7), (None,) * 5, (2, 3, 2, 3, 0))
    valid, rejected = judge_all([(trade, AT), (bars, AT), (trade, AT)], KNOWN)
    assert [type(tick) for tick in valid] == [Trade, Bar, Bar, Trade]
    assert [tick.close for tick in valid if isinstance(tick, Bar)] == [2, 3]
    assert len({(type(tick), tick.market_time_ns) for tick in valid}) == 3
    assert {(tick.raw_partition, tick.raw_offset) for tick in valid} == {AT[1:3]}
    assert rejected == []


def test_bars_that_break_a_rule_are_one_rejection() -> None:
    """The good bars of the answer stay; of the others the first is named."""
    bars = _bars((1, 2, 0, 2, 7), (1, 2, 1, 2, 7), (1, 2, 1, 2, -1))
    valid, rejected = judge_all([(bars, AT)], KNOWN)
    assert [type(tick) for tick in valid] == [Bar]
    assert [(tick.reason, tick.detail) for tick in rejected] == [
        ("invalid_price", "low is 0.0, expected more than 0")
    ]


def test_an_answer_with_nulls_alone_is_malformed() -> None:
    """It has its verdict as well, and that says why."""
    valid, (rejected,) = judge_all([(_bars((None,) * 5), AT)], KNOWN)
    assert valid == []
    assert (rejected.reason, rejected.detail) == ("malformed", "no bar is whole and final, of 1")
