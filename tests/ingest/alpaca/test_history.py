"""What is asked of the history, and what its answers say; and what identifies a trade."""

import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.alpaca import history
from ingest.alpaca.history import (
    MAX_AFTER_S,
    MAX_SYMBOLS,
    Blame,
    Page,
    Query,
    Refusal,
    UnusableAnswerError,
    bar_identity,
    blame,
    identities,
    read_object,
    read_page,
    refusal,
    trade_identity,
)
from ingest.raw import MAX_RAW_BYTES

T = "2026-02-22T15:51:44.208123456Z"
T_NS = 1_771_775_504_208_123_456
HOUR_NS = 3_600_000_000_000
TRADES = Query(
    resource="trades",
    feed="iex",
    symbols=("AAPL", "BRK.B"),
    start_ns=T_NS,
    end_ns=T_NS + 1,
)
BARS = Query(resource="bars", feed="sip", symbols=("AAPL",), start_ns=T_NS, end_ns=T_NS + 1)
TRADE = {"t": T, "x": "V", "p": 10.5, "s": 3, "c": ["@"], "i": 7, "z": "C"}


def _asked(query: Query, page_token: str | None = None) -> tuple[str, dict[str, list[str]]]:
    url = urlsplit(query.path(page_token))
    return url.path, parse_qs(url.query, strict_parsing=True)


def test_trades_are_asked_for_as_documented() -> None:
    """Symbols in one parameter, moments to the nanosecond, the largest page."""
    assert _asked(TRADES) == (
        "/v2/stocks/trades",
        {
            "symbols": ["AAPL,BRK.B"],
            "start": [T],
            "end": ["2026-02-22T15:51:44.208123457Z"],
            "feed": ["iex"],
            "limit": ["10000"],
            "sort": ["asc"],
        },
    )


def test_bars_are_asked_for_by_the_minute() -> None:
    """The next page by the token of the one before, whatever is in it."""
    path, parameters = _asked(BARS, "QUFQTA==&x=1")
    assert path == "/v2/stocks/bars"
    assert (parameters["timeframe"], parameters["page_token"]) == (["1Min"], ["QUFQTA==&x=1"])


def test_a_request_for_as_many_symbols_as_allowed_stays_short() -> None:
    """No server refuses its first line."""
    symbols = tuple(f"SYMBOL{number:02}.ABC" for number in range(MAX_SYMBOLS))
    query = Query(resource="trades", feed="iex", symbols=symbols, start_ns=0, end_ns=1)
    assert len(query.path("x" * 200)) < 4096


def page(body: object, query: Query = TRADES, token: str | None = None) -> Page:
    """Read an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_page(data, query, token)


def test_a_page_keeps_every_byte() -> None:
    """Objects come out in order, each as it stood in the answer."""
    raws = ['{"t": "%s" ,"i":1,"x":"V"}' % T, '{"t":"%s","i": 2,"x":"V","new":[1]}' % T]  # noqa: UP031
    body = '{"trades":{"AAPL":[%s , %s]},"next_page_token":"abc"}' % (raws[0], raws[1])  # noqa: UP031
    found = page(body.encode())
    assert [bytes(past.raw).decode() for past in found.objects] == raws
    assert [past.at_ns for past in found.objects] == [T_NS, T_NS]
    assert found.next_token == "abc"


@pytest.mark.parametrize(
    "body",
    [
        {"trades": {}, "next_page_token": None},
        {"trades": None, "next_page_token": None},
        {"trades": {"AAPL": None}},
        {"trades": {"AAPL": []}, "currency": "USD"},
    ],
)
def test_nothing_is_an_answer(body: dict[str, Any]) -> None:
    """A window in which nothing happened, in all the ways that say so."""
    assert page(body) == Page([], None)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not a page"),
        (b"<html>", "not a page"),
        (b'{"trades":{"AAPL":[{"t"', "not a page"),
        (b'{"trades":{"AAPL":[{"x":"\xff"}]}}', "not a page"),
        (b"[" * 100_000, "not a page"),
        ([], "not a page"),
        ({"trades": {"AAPL": 1}}, "not a page"),
        ({"trades": [], "next_page_token": None}, "not a page"),
        ({"message": "hello"}, "`trades` is missing"),
        ({"bars": {}, "next_page_token": None}, "`trades` is missing"),
        ({"trades": {"NVDA": []}}, "'NVDA', which was not asked for"),
        ({"trades": {}, "next_page_token": ""}, "followed by ''"),
        ({"trades": {"AAPL": ["x" * MAX_RAW_BYTES]}}, "expected at most"),
    ],
)
def test_what_is_no_answer_says_why(body: object, words: str) -> None:
    """Cut, garbled, or about something else."""
    with pytest.raises(UnusableAnswerError, match=words):
        page(body)


def test_a_page_that_is_followed_by_itself_is_none() -> None:
    """Else we would read it for ever."""
    with pytest.raises(UnusableAnswerError, match="page 'p1' is followed by 'p1'"):
        page({"trades": {}, "next_page_token": "p1"}, token="p1")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_page_or_none(body: bytes) -> None:
    """Whatever a server sends, there is an answer or a reason."""
    try:
        found = read_page(body, TRADES, None)
    except UnusableAnswerError:
        return
    assert isinstance(found, Page)


def past(message: dict[str, Any], resource: Any = "trades") -> history.Past:
    """Read an object."""
    return read_object(resource, "AAPL", msgspec.Raw(json.dumps(message).encode()))


def live(message: dict[str, Any], *, msgpacked: bool = False) -> Any:
    """Return the identities of a message of the stream."""
    kind: Any = history.LiveMessage
    if msgpacked:
        moment = msgpack.Timestamp(*divmod(T_NS, 10**9))
        return identities(
            msgspec.msgpack.decode(msgpack.packb({**message, "t": moment}), type=kind)
        )
    return identities(msgspec.json.decode(json.dumps(message), type=kind))


@pytest.mark.parametrize("msgpacked", [False, True])
@pytest.mark.parametrize(
    ("message", "resource", "fetched"),
    [
        ({**TRADE, "T": "t", "S": "AAPL"}, "trades", [TRADE]),
        ({"T": "b", "S": "AAPL", "t": T, "o": 1}, "bars", [{"t": T, "o": 9}]),
        ({"T": "u", "S": "AAPL", "t": T, "o": 1}, "bars", [{"t": T, "o": 9}]),
        (
            {"T": "x", "S": "AAPL", "i": 7, "x": "V", "z": "C", "t": T, "a": "C"},
            "trades",
            [{**TRADE, "u": "canceled"}],
        ),
        (
            {"T": "c", "S": "AAPL", "oi": 7, "ci": 8, "x": "V", "z": "C", "t": T},
            "trades",
            [{**TRADE, "u": "incorrect"}, {**TRADE, "i": 8, "u": "corrected"}],
        ),
        ({"T": "q", "S": "AAPL", "t": T}, "trades", []),
    ],
)
def test_both_wires_give_the_same_identity(
    message: dict[str, Any], resource: str, fetched: list[dict[str, Any]], *, msgpacked: bool
) -> None:
    """What came live is recognised in the history, and the other way round."""
    _, found = live(message, msgpacked=msgpacked)
    assert list(found) == [past(each, resource).identity for each in fetched]


CHANGES: list[dict[str, Any]] = [
    {},
    {"i": 8},
    {"x": "Q"},
    {"z": "A"},
    {"t": "2026-02-23T15:51:44Z"},
    {"u": "canceled"},
]


def test_each_part_of_an_identity_counts() -> None:
    """Ids are unique within symbol, exchange, tape and day; the rest may be corrected."""
    seen = {past({**TRADE, **change}).identity for change in CHANGES}
    assert len(seen) == len(CHANGES)
    assert past({**TRADE, "p": 1, "s": 9, "c": []}).identity == past(TRADE).identity
    other = read_object("trades", "MSFT", msgspec.Raw(json.dumps(TRADE).encode()))
    assert other.identity not in seen


def test_the_trade_date_is_the_exchanges() -> None:
    """Late trades of an evening in New York are of that day, though London's has changed."""
    evening_ns = T_NS - T_NS % (24 * HOUR_NS) + 24 * HOUR_NS + HOUR_NS // 2
    assert trade_identity("A", "V", "C", evening_ns, 1) == trade_identity("A", "V", "C", T_NS, 1)
    assert trade_identity("A", "V", "C", T_NS + 24 * HOUR_NS, 1) != trade_identity(
        "A", "V", "C", T_NS, 1
    )


def test_a_bar_is_its_minute() -> None:
    """Whatever second of it is told."""
    minute_ns = T_NS - T_NS % (HOUR_NS // 60)
    assert bar_identity("A", minute_ns) == bar_identity("A", T_NS)
    assert bar_identity("A", minute_ns) != bar_identity("A", minute_ns - 1)


@pytest.mark.parametrize("message", [{}, {**TRADE, "i": None}, {**TRADE, "t": "soon"}, {"t": 1}])
def test_what_cannot_be_identified_is_its_bytes(message: dict[str, Any]) -> None:
    """It is kept, and recognised when it comes again."""
    found = past(message)
    assert found.at_ns is None
    assert found.identity == past(message).identity
    assert found.identity != past({**message, "more": 1}).identity


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "after_s"),
    [
        (429, {"X-RateLimit-Reset": "1030"}, b'{"message":"too many requests."}', "limited", 30),
        (429, {"X-RateLimit-Reset": "970"}, b"", "limited", 0),
        (429, {"X-RateLimit-Reset": "9999999999"}, b"", "limited", MAX_AFTER_S),
        (429, {"X-RateLimit-Reset": "soon"}, b"", "limited", None),
        (429, {"X-RateLimit-Reset": "-5"}, b"", "limited", None),
        (429, {}, b"", "limited", None),
        (429, {"Retry-After": "7", "X-RateLimit-Reset": "1030"}, b"", "limited", 7),
        (503, {"Retry-After": "7"}, b"", "failed", 7),
        (500, {"X-RateLimit-Reset": "1030"}, b"<html>", "failed", None),
        (504, {}, b"", "failed", None),
        (302, {}, b"", "failed", None),
        (204, {}, b"", "failed", None),
        (408, {}, b"", "failed", None),
        (401, {}, b"", "keys", None),
        (403, {}, b'{"message":"forbidden."}', "keys", None),
        (400, {}, b"", "request", None),
        (404, {}, b"", "request", None),
        (422, {}, b"", "request", None),
    ],
)
def test_what_a_refusal_means(
    status: int, headers: dict[str, str], body: bytes, kind: str, after_s: float | None
) -> None:
    """Ask again, and when; or not with these keys; or not this."""
    found = refusal(status, headers, body, 1000.0)
    assert (found.kind, found.status, found.after_s) == (kind, status, after_s)


def test_a_refusal_repeats_the_vendors_words() -> None:
    """As far as they go, and as far as one reads."""
    assert refusal(403, {}, b'{"message":"forbidden."}', 0).detail == "HTTP 403: forbidden."
    assert refusal(403, {}, b'{"message":7}', 0).detail == "HTTP 403"
    long = json.dumps({"message": "x" * 10_000}).encode()
    assert len(refusal(400, {}, long, 0).detail) == history.DETAIL_LENGTH


@pytest.mark.parametrize(
    ("detail", "kind", "expected"),
    [
        ("invalid symbol: MSFT", "request", Blame(("MSFT",), (("AAPL", "NVDA"),))),
        ("invalid symbols: MSFT, NVDA.", "request", Blame(("MSFT", "NVDA"), (("AAPL",),))),
        ("unknown symbol", "request", Blame((), (("AAPL",), ("MSFT", "NVDA")))),
        ("invalid symbol: aapl", "request", Blame((), (("AAPL",), ("MSFT", "NVDA")))),
        ("invalid feed: MSFT", "request", None),
        ("invalid symbol: MSFT", "keys", None),
    ],
)
def test_whom_a_refusal_concerns(detail: str, kind: Any, expected: Blame | None) -> None:
    """The culprit where it is named, the halves where it is not; else it is not about symbols."""
    assert blame(Refusal(kind, 400, detail), ("AAPL", "MSFT", "NVDA")) == expected


def test_the_last_one_left_is_the_culprit() -> None:
    """Halving ends."""
    assert blame(Refusal("request", 400, "a symbol is wrong"), ("NVDA",)) == Blame(("NVDA",), ())
