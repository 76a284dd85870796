"""History over REST: what is asked, what is answered, and that it is what the stream said."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.simulators.alpaca.rest import Allowance, Invalid, Query, page, query, snapshots
from infra.simulators.alpaca.tape import FEEDS, Tape
from infra.simulators.alpaca.wire import JsonCodec, rfc3339
from infra.simulators.market import DAY_NS, LISTINGS, MINUTE_NS, SECOND_NS, Market

MARKET = Market(7)
TAPE = Tape(MARKET, "/v2/iex", rate=500)
#: 2026-11-23 12:34:56.5
NOW = 1_795_437_296 * SECOND_NS + SECOND_NS // 2
IEX = sorted(FEEDS["/v2/iex"].symbols)


def never(_: str, __: int) -> bool:
    """Return that nothing is halted."""
    return False


def ask(**asked: str) -> Query:
    """Read a request for trades of the IEX feed."""
    return query("trades", {"symbols": "AAPL", "feed": "iex", **asked}, NOW)


def ask_bars(**asked: str) -> Query:
    """Read a request for bars of the IEX feed."""
    return query("bars", {"symbols": "AAPL", "feed": "iex", "timeframe": "1Min", **asked}, NOW)


def read(**asked: str) -> dict[str, Any]:
    """Return the body of an answer with trades."""
    body: dict[str, Any] = json.loads(page("trades", TAPE, ask(**asked), never))
    return body


def read_bars(**asked: str) -> dict[str, Any]:
    """Return the body of an answer with bars."""
    body: dict[str, Any] = json.loads(page("bars", TAPE, ask_bars(**asked), never))
    return body


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-23T12:34:56Z", datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)),
        ("2026-11-23T07:34:56-05:00", datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)),
        ("2026-11-23t12:34:56.000000z", datetime(2026, 11, 23, 12, 34, 56, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
    ],
)
def test_times_as_alpaca_takes_them(text: str, at: datetime) -> None:
    """RFC 3339 in any zone, or a date."""
    assert ask(start=text).start_ns == int(at.timestamp()) * SECOND_NS


@given(st.integers(NOW - DAY_NS, NOW))
def test_times_are_exact(at_ns: int) -> None:
    """To the nanosecond, as the stream writes them."""
    asked = ask(start=rfc3339(at_ns), end=rfc3339(at_ns))
    assert (asked.start_ns, asked.end_ns) == (at_ns, at_ns)


def test_what_is_not_said_has_alpacas_defaults() -> None:
    """From the day's beginning until now, a thousand, the oldest first, of the SIP."""
    asked = query("trades", {"symbols": "KO,AAPL,KO"}, NOW)
    assert asked == Query(
        symbols=("AAPL", "KO"),
        path="/v2/sip",
        start_ns=NOW - NOW % DAY_NS,
        end_ns=NOW,
        limit=1000,
        newest_first=False,
        after=None,
    )


def test_a_date_as_an_end_is_the_whole_day() -> None:
    """And nothing after now is promised; of bars nothing that is not over."""
    assert ask(end="2026-11-22", start="2026-11-22").end_ns == NOW - NOW % DAY_NS - 1
    assert ask(end="2026-12-31").end_ns == NOW
    assert ask_bars().end_ns == NOW - MINUTE_NS


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"symbols": ""}, "symbols is required"),
        ({"symbols": "AA PL"}, "invalid symbol: AA PL"),
        ({"feed": "otc"}, "invalid feed: 'otc': expected iex or sip"),
        ({"limit": "0"}, "invalid limit: '0': expected 1 to 10000"),
        ({"limit": "10001"}, "invalid limit: '10001'"),
        ({"limit": "ten"}, "invalid limit: 'ten'"),
        ({"sort": "up"}, "invalid sort: 'up': expected asc or desc"),
        ({"start": "yesterday"}, "invalid start: 'yesterday': expected RFC 3339 or YYYY-MM-DD"),
        ({"start": "2026-11-23T12:34:56"}, "invalid start: "),
        ({"start": "2026-13-01T00:00:00Z"}, "invalid start: "),
        ({"end": "2026-02-30"}, "invalid end: '2026-02-30'"),
        ({"end": "2026-11-22T00:00:00Z"}, "end should not be before start"),
        ({"page_token": "%"}, "invalid page_token: '%'"),
        ({"page_token": "QUFQTA=="}, "invalid page_token: "),
    ],
)
def test_a_wrong_parameter_is_named(asked: dict[str, str], words: str) -> None:
    """With its value and what is expected."""
    with pytest.raises(Invalid) as invalid:
        ask(**asked)
    assert str(invalid.value).startswith(words)


@pytest.mark.parametrize("timeframe", [{}, {"timeframe": "5Min"}])
def test_bars_are_of_a_minute(timeframe: dict[str, str]) -> None:
    """Others are refused by name."""
    with pytest.raises(Invalid, match=r"invalid timeframe: .*: expected 1Min"):
        query("bars", {"symbols": "AAPL", **timeframe}, NOW)


def streamed(start_ns: int, end_ns: int, symbols: set[str]) -> dict[str, list[bytes]]:
    """Return the trades that the stream says of a window, as it encodes them."""
    wanted = (frozenset(symbols), frozenset[str]())
    by_symbol: dict[str, list[bytes]] = {}
    for tick in TAPE.between(start_ns - 1, end_ns, wanted):
        by_symbol.setdefault(tick["S"], []).append(JsonCodec().encode(tick))
    return by_symbol


@given(
    symbols=st.sets(st.sampled_from(IEX), min_size=1, max_size=4),
    start=st.integers(NOW - 60 * SECOND_NS, NOW),
    length=st.integers(0, 10 * SECOND_NS),
    limit=st.integers(1, 30),
    newest_first=st.booleans(),
)
@settings(deadline=None, max_examples=30)
def test_the_pages_together_are_what_the_stream_said(
    symbols: set[str], start: int, length: int, limit: int, *, newest_first: bool
) -> None:
    """Sorted by symbol, then by time; no trade is missing or doubled between two pages."""
    asked = {
        "symbols": ",".join(symbols),
        "start": rfc3339(start),
        "end": rfc3339(start + length),
        "limit": str(limit),
        "sort": "desc" if newest_first else "asc",
    }
    past: dict[str, list[Any]] = {}
    order: list[str] = []
    token: str | None = ""
    while token is not None:
        body = read(**asked, page_token=token)
        count = sum(map(len, body["trades"].values()))
        token = body["next_page_token"]
        assert count == limit if token else count <= limit
        for symbol, trades in body["trades"].items():
            assert trades
            past.setdefault(symbol, []).extend(trades)
            order += [symbol] if order[-1:] != [symbol] else []
    live = streamed(start, min(start + length, NOW), symbols)
    step = -1 if newest_first else 1
    assert order == sorted(live)
    for symbol, trades in past.items():
        fields = [
            {key: value for key, value in json.loads(raw).items() if key not in "TS"}
            for raw in live[symbol]
        ]
        assert trades == fields[::step]


def test_the_bytes_are_those_of_the_stream() -> None:
    """Every field of a trade is written by REST exactly as by the stream, zeros and all."""
    start, end = NOW - 20 * SECOND_NS, NOW
    (live,) = streamed(start, end, {"AAPL"}).values()
    text = page("trades", TAPE, ask(start=rfc3339(start), limit="10000"), never)
    body = text.removeprefix(b'{"trades":{"AAPL":[{').removesuffix(b'}]},"next_page_token":null}')
    past = body.split(b"},{")
    assert len(past) == len(live) > 50
    for in_past, in_stream in zip(past, live, strict=True):
        head, at = in_stream.removeprefix(b'{"T":"t","S":"AAPL",').split(b',"t":')
        at, tape = at.removesuffix(b"}").split(b',"z":')
        assert in_past == b'"t":' + at + b"," + head + b',"z":' + tape


def test_bars_are_those_of_the_stream() -> None:
    """The minutes that began in the window and are over, both ends inclusive."""
    first = NOW - NOW % MINUTE_NS - 5 * MINUTE_NS
    body = read_bars(symbols="KO,ZZZZ", start=rfc3339(first), end=rfc3339(first + 2 * MINUTE_NS))
    expected = [TAPE.minute("KO", first + n * MINUTE_NS) for n in (1, 2, 3)]
    fields = [json.loads(JsonCodec().encode(bar)) for bar in expected]
    assert body["bars"] == {
        "KO": [{key: v for key, v in bar.items() if key not in "TS"} for bar in fields]
    }
    latest = read_bars(sort="desc", limit="1")["bars"]["AAPL"]
    assert latest[0]["t"] == rfc3339(NOW - NOW % MINUTE_NS - MINUTE_NS)


def test_nothing_is_an_answer_too() -> None:
    """Unknown symbols and empty windows have no key, and no page follows."""
    assert read(symbols="ZZZZ") == {"trades": {}, "next_page_token": None}
    future = read(start="2026-11-24T00:00:00Z", end="2026-11-25T00:00:00Z")
    assert future == {"trades": {}, "next_page_token": None}


def test_a_halted_symbol_has_no_trades() -> None:
    """They are left out of pages and of the snapshot's last trade, and do not count."""
    asked = ask(start=rfc3339(NOW - 20 * SECOND_NS))
    all_of_them = json.loads(page("trades", TAPE, asked, never))["trades"]["AAPL"]

    def halted(_: str, at_ns: int) -> bool:
        return at_ns > NOW - 10 * SECOND_NS

    left = json.loads(page("trades", TAPE, asked, halted))["trades"]["AAPL"]
    assert left == all_of_them[: len(left)]
    assert 0 < len(left) < len(all_of_them)
    shown = json.loads(snapshots(TAPE, ("AAPL",), NOW, halted))
    assert shown["AAPL"]["latestTrade"] == left[-1]


def test_a_snapshot_is_the_present() -> None:
    """The last trade and quote, the last minute, the day so far, and the day before."""
    shown = json.loads(snapshots(TAPE, ("KO", "ZZZZ"), NOW, never))
    assert shown.keys() == {"KO"}
    snapshot = shown["KO"]
    assert snapshot.keys() == {
        "latestTrade",
        "latestQuote",
        "minuteBar",
        "dailyBar",
        "prevDailyBar",
    }
    trades = read(symbols="KO", start=rfc3339(NOW - 60 * SECOND_NS), limit="10000")["trades"]["KO"]
    assert snapshot["latestTrade"] == trades[-1]
    assert {"ax", "ap", "as", "bx", "bp", "bs", "c", "t", "z"} == snapshot["latestQuote"].keys()
    assert snapshot["prevDailyBar"]["c"] == MARKET.previous_close("KO", NOW)
    assert snapshot["dailyBar"]["t"] == "2026-11-23T00:00:00Z"
    assert snapshot["prevDailyBar"]["t"] == "2026-11-22T00:00:00Z"
    assert abs(snapshot["latestTrade"]["p"] / LISTINGS["KO"].base - 1) < 0.1


def test_an_allowance_is_for_a_minute() -> None:
    """So many requests, then none until the next minute; the headers tell it."""
    allowance = Allowance(2)
    start = NOW - NOW % MINUTE_NS
    taken = [allowance.take(start + n) for n in range(3)]
    assert [granted for granted, _ in taken] == [True, True, False]
    assert [headers["X-RateLimit-Remaining"] for _, headers in taken] == ["1", "0", "0"]
    assert taken[0][1]["X-RateLimit-Limit"] == "2"
    assert taken[0][1]["X-RateLimit-Reset"] == str((start + MINUTE_NS) // SECOND_NS)
    assert allowance.take(start + MINUTE_NS)[0]
