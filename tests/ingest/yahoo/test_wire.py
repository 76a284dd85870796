"""Yahoo's wire."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.raw import MAX_RAW_BYTES
from ingest.yahoo import wire
from ingest.yahoo.wire import (
    Feed,
    Quote,
    WireError,
    from_yahoo,
    split,
    to_yahoo,
)


def test_spark_is_split_without_touching_a_byte() -> None:
    """Each symbol's part keeps its own bytes, nulls and odd spaces included."""
    apple = '{ "symbol" : "AAPL","response":[{"meta":{"regularMarketPrice":1.10}, "close":[null]}]}'
    berkshire = '{"response":[],"symbol":"BRK-B","x":"é"}'
    body = f'{{"spark":{{"error":null,"result":[ {apple} ,\n{berkshire}]}}}}'.encode()
    assert [(p.quote.symbol, p.encoding, bytes(p.data).decode()) for p in split(body, "spark")] == [
        ("AAPL", "json", apple),
        ("BRK.B", "json", berkshire),
    ]


def test_chart_names_its_symbol_in_its_meta() -> None:
    """A chart's one result is read like an entry of spark."""
    result = '{"meta":{"symbol":"AAPL","currency":"USD"},"timestamp":[1,2]}'
    body = f'{{"chart":{{"result":[{result}],"error":null}}}}'.encode()
    (part,) = split(body, "chart")
    assert (part.quote.symbol, bytes(part.data).decode()) == ("AAPL", result)


@pytest.mark.parametrize("part", [None, 1, {}, {"symbol": None}, {"symbol": "A" * 65}, []])
def test_part_without_a_symbol_is_kept(part: Any) -> None:
    """A part that names no symbol is a fact as well, between two that do."""
    good = {"symbol": "AAPL"}
    body = json.dumps({"spark": {"result": [good, part, good]}}).encode()
    assert [p.quote.symbol for p in split(body, "spark")] == ["AAPL", "", "AAPL"]
    assert json.loads(bytes(split(body, "spark")[1].data)) == part


@pytest.mark.parametrize("feed", ["spark", "chart", "chart-5m"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>Will be right back...</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"spark":{},"chart":{}}',
        b'{"spark":{"result":null},"chart":{"result":null}}',
        b'{"spark":{"result":{}},"chart":{"result":5}}',
        b'{"spark":{"result":["\xff"]},"chart":{"result":["\xff"]}}',
        b'{"spark":' + b"[" * 100_000,
    ],
)
def test_answer_of_another_shape_is_refused(body: bytes, feed: Feed) -> None:
    """What is not a list of parts is named as a wire error."""
    with pytest.raises(WireError, match=r"spark|chart|object|UTF|utf|recursion|Input"):
        split(body, feed)


def test_yahoos_own_error_is_repeated() -> None:
    """An answer without a result says why, in Yahoo's words."""
    body = b'{"chart":{"result":null,"error":{"code":"Not Found","description":"No data"}}}'
    with pytest.raises(WireError, match="No data"):
        split(body, "chart")


def test_oversized_part_is_kept_in_pieces() -> None:
    """A part too long for one record keeps its symbol and all its bytes, in order."""
    huge = json.dumps({"symbol": "AAPL", "x": "y" * MAX_RAW_BYTES * 2}).encode()
    parts = split(b'{"spark":{"result":[' + huge + b"]}}", "spark")
    assert {(part.quote.symbol, part.encoding) for part in parts} == {("AAPL", "bytes")}
    assert b"".join(bytes(part.data) for part in parts) == huge


@given(st.binary(max_size=60), st.sampled_from(["spark", "chart", "chart-5m"]))
def test_no_answer_raises_anything_else(body: bytes, feed: Feed) -> None:
    """Any bytes at all are parts or a wire error."""
    try:
        parts = split(body, feed)
    except WireError:
        return
    assert all(bytes(part.data) in body for part in parts)


@pytest.mark.parametrize(("ours", "theirs"), [("AAPL", "AAPL"), ("BRK.B", "BRK-B")])
def test_symbols_are_spelt_as_each_side_does(ours: str, theirs: str) -> None:
    """A class of shares stands after a dot here, and after a hyphen there."""
    assert to_yahoo(ours) == theirs
    assert from_yahoo(theirs) == ours


def test_calls_of_spark_hold_twenty_symbols() -> None:
    """Forty-one symbols are three calls, in the order of the list."""
    symbols = [f"S{number}" for number in range(41)]
    calls = list(wire.batches(symbols))
    assert [len(call) for call in calls] == [20, 20, 1]
    assert [symbol for call in calls for symbol in call] == symbols


def test_paths_are_the_documented_ones() -> None:
    """Both calls ask for one day, so that the previous close is right."""
    assert (
        wire.spark_path(["AAPL", "BRK.B"])
        == "/v7/finance/spark?symbols=AAPL,BRK-B&range=1d&interval=5m"
    )
    assert wire.chart_path("BRK.B") == "/v8/finance/chart/BRK-B?range=1d&interval=5m"


def test_bars_are_asked_for_by_a_window() -> None:
    """One symbol, from one second on to before another."""
    assert (
        wire.bars_path("BRK.B", 600, 1200)
        == "/v8/finance/chart/BRK-B?period1=600&period2=1200&interval=5m"
    )


TOLD = {"regularMarketTime": 5, "previousClose": 10.5}


@pytest.mark.parametrize(
    ("meta", "quote"),
    [
        (TOLD, Quote("BRK.B", 5, has_close=True)),
        ({"regularMarketTime": 5, "chartPreviousClose": 10}, Quote("BRK.B", 5, has_close=True)),
        ({**TOLD, "previousClose": None, "chartPreviousClose": None}, Quote("BRK.B", 5)),
        ({**TOLD, "previousClose": 0}, Quote("BRK.B", 5)),
        ({**TOLD, "previousClose": "10"}, Quote("BRK.B", 5)),
        ({**TOLD, "previousClose": True}, Quote("BRK.B", 5)),
        ({**TOLD, "regularMarketTime": "5"}, Quote("BRK.B", has_close=True)),
        ({**TOLD, "regularMarketTime": 5.5}, Quote("BRK.B", has_close=True)),
        ({**TOLD, "regularMarketTime": -5}, Quote("BRK.B", has_close=True)),
        ({}, Quote("BRK.B")),
    ],
)
@pytest.mark.parametrize("feed", ["spark", "chart", "chart-5m"])
def test_a_part_says_how_fresh_and_how_whole_it_is(
    meta: dict[str, Any], quote: Quote, feed: Feed
) -> None:
    """Whatever its fields hold, the symbol is known and the bytes are kept."""
    chart = {"meta": {"symbol": "BRK-B", **meta}}
    part = {"symbol": "BRK-B", "response": [chart]} if feed == "spark" else chart
    envelope = "spark" if feed == "spark" else "chart"
    (found,) = split(json.dumps({envelope: {"result": [part]}}).encode(), feed)
    assert found.quote == quote
    assert json.loads(bytes(found.data)) == part


@pytest.mark.parametrize("response", [[], None, {}, [None], [{"meta": None}]])
def test_a_part_of_spark_without_a_response_keeps_its_symbol(response: Any) -> None:
    """It says nothing of the price, but whose it is."""
    part = {"symbol": "AAPL", "response": response}
    (found,) = split(json.dumps({"spark": {"result": [part]}}).encode(), "spark")
    assert found.quote == Quote("AAPL")
