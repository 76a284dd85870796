"""Alpaca's history over REST ("Historical Stock Data"): what to ask, and what the answers say.

Pure. An answer is `{"trades": {"AAPL": [{..}, ..], ..}, "next_page_token": ..}`, or the same with
`bars`. It is split without decoding the objects, so that each one's exact bytes can be kept, as
`ingest.alpaca.wire` splits a frame; of an object only what identifies it is read.

An identity is the same whether its object came live or from the history: a trade's are symbol,
exchange, tape, trade date and id, because ids are documented as unique no further; a bar's symbol
and minute. That a trade was taken back (cancelled, or corrected into another) has an identity of
its own: it is news, also where the trade itself is known.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple
from urllib.parse import urlencode

import msgspec
from msgspec.msgpack import Ext

from ingest.alpaca.times import NS, rfc3339, time_ns
from ingest.raw import MAX_RAW_BYTES, MAX_SYMBOL_LENGTH

Resource = Literal["trades", "bars"]

#: The most objects that the vendor gives in one page.
PAGE_LIMIT = 10_000
#: Symbols in one request: a line of some hundred bytes, far below what any server refuses.
MAX_SYMBOLS = 100

MINUTE_NS = 60 * NS
_DAY_NS = 24 * 60 * MINUTE_NS
#: From UTC to the exchanges' winter time. In summer the day changes an hour after their midnight,
#: when nobody trades; what matters is that both wires give the same day.
_EXCHANGES_NS = -5 * 60 * MINUTE_NS

#: What identifies an object.
Identity = tuple[str | int | bytes, ...]

#: What decoding bytes of any content can raise.
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A question to the history.

    Attributes:
        resource: trades, or bars of one minute.
        feed: `iex`, `sip`.
        symbols: at most `MAX_SYMBOLS`.
        start_ns: the first moment asked for.
        end_ns: the last one; it is included.

    """

    resource: Resource
    feed: str
    symbols: tuple[str, ...]
    start_ns: int
    end_ns: int

    def path(self, page_token: str | None) -> str:
        """Return the path and query that ask for a page: the first, or the one that is named."""
        parameters = {
            "symbols": ",".join(self.symbols),
            "start": rfc3339(self.start_ns),
            "end": rfc3339(self.end_ns),
            "feed": self.feed,
            "limit": str(PAGE_LIMIT),
            "sort": "asc",
        }
        if self.resource == "bars":
            parameters["timeframe"] = "1Min"
        if page_token is not None:
            parameters["page_token"] = page_token
        return f"/v2/stocks/{self.resource}?{urlencode(parameters, safe=',:')}"


class Past(NamedTuple):
    """An object of the history.

    Attributes:
        symbol: whose it is.
        at_ns: its time on the market; None where it tells none that can be read.
        identity: equal for the same object, however it came.
        raw: the vendor's bytes.

    """

    symbol: str
    at_ns: int | None
    identity: Identity
    raw: msgspec.Raw


@dataclass(frozen=True, slots=True)
class Page:
    """An answer: its objects, in order, and the token of the page after it, if there is one."""

    objects: list[Past]
    next_token: str | None


class UnusableAnswerError(Exception):
    """The answer is none to the question: cut, garbled, or about something else."""


#: By symbol; where there is nothing the vendor leaves a symbol out, or says null.
_BySymbol = dict[str, list[msgspec.Raw] | None]


class _Answer(msgspec.Struct, frozen=True):
    trades: _BySymbol | msgspec.UnsetType | None = msgspec.UNSET
    bars: _BySymbol | msgspec.UnsetType | None = msgspec.UNSET
    next_page_token: str | None = None


_answer = msgspec.json.Decoder(_Answer)


def read_page(body: bytes, query: Query, page_token: str | None) -> Page:
    """Read an answer.

    Args:
        body: the answer's.
        query: what was asked.
        page_token: of the page that was asked for.

    Raises:
        UnusableAnswerError: it is no answer to that.

    """
    try:
        body.decode()  # msgspec passes over text without looking at its characters
        answer = _answer.decode(body)
    except _UNDECODABLE as error:
        message = f"not a page of {query.resource}: {error}"
        raise UnusableAnswerError(message) from error
    by_symbol = answer.trades if query.resource == "trades" else answer.bars
    if by_symbol is msgspec.UNSET:
        message = f"not a page of {query.resource}: `{query.resource}` is missing"
        raise UnusableAnswerError(message)
    if answer.next_page_token is not None and answer.next_page_token in ("", page_token):
        message = f"page {page_token!r} is followed by {answer.next_page_token!r}"
        raise UnusableAnswerError(message)
    objects: list[Past] = []
    for symbol, raws in (by_symbol or {}).items():
        if symbol not in query.symbols:
            message = f"{query.resource} of {symbol[:MAX_SYMBOL_LENGTH]!r}, which was not asked for"
            raise UnusableAnswerError(message)
        for raw in raws or ():
            if len(raw) > MAX_RAW_BYTES:
                message = f"an object of {len(raw)} bytes: expected at most {MAX_RAW_BYTES}"
                raise UnusableAnswerError(message)
            objects.append(read_object(query.resource, symbol, raw))
    return Page(objects, answer.next_page_token)


class _Trade(msgspec.Struct, frozen=True, gc=False):
    t: str
    i: int
    x: str
    z: str = ""
    u: str = ""


class _Bar(msgspec.Struct, frozen=True, gc=False):
    t: str


_trade = msgspec.json.Decoder(_Trade)
_bar = msgspec.json.Decoder(_Bar)

#: What the vendor's `u` says of a trade that counts no more.
TAKEN_BACK = frozenset({"canceled", "incorrect"})


def read_object(resource: Resource, symbol: str, raw: msgspec.Raw) -> Past:
    """Return an object of the history with what identifies it; at worst that is its bytes."""
    try:
        if resource == "bars":
            at_ns = time_ns(_bar.decode(raw).t)
            return Past(symbol, at_ns, bar_identity(symbol, at_ns), raw)
        trade = _trade.decode(raw)
        at_ns = time_ns(trade.t)
    except (*_UNDECODABLE, ValueError):
        return Past(symbol, None, ("?", symbol, bytes(raw)), raw)
    identity = trade_identity(
        symbol, trade.x, trade.z, at_ns, trade.i, taken_back=trade.u in TAKEN_BACK
    )
    return Past(symbol, at_ns, identity, raw)


def trade_identity(
    symbol: str, exchange: str, tape: str, at_ns: int, trade_id: int, *, taken_back: bool = False
) -> Identity:
    """Return what identifies a trade, or that it was taken back."""
    day = (at_ns + _EXCHANGES_NS) // _DAY_NS
    return ("x" if taken_back else "t", symbol, exchange, tape, day, trade_id)


def bar_identity(symbol: str, at_ns: int) -> Identity:
    """Return what identifies a bar of one minute."""
    return ("b", symbol, at_ns // MINUTE_NS)


class _Live(msgspec.Struct, frozen=True, gc=False, tag_field="T"):
    pass


class _LiveQuote(_Live, frozen=True, gc=False, tag="q"):
    pass


class _LiveTrade(_Live, frozen=True, gc=False, tag="t"):
    S: str
    t: str | Ext
    i: int
    x: str
    z: str = ""


class _LiveCancel(_LiveTrade, frozen=True, gc=False, tag="x"):
    pass


class _LiveCorrection(_Live, frozen=True, gc=False, tag="c"):
    S: str
    t: str | Ext
    oi: int
    ci: int
    x: str
    z: str = ""


class _LiveBar(_Live, frozen=True, gc=False, tag="b"):
    S: str
    t: str | Ext


class _LiveUpdatedBar(_LiveBar, frozen=True, gc=False, tag="u"):
    pass


#: What the stream sends that the history has as well, and the quotes, because there are so many.
LiveMessage = _LiveQuote | _LiveTrade | _LiveCancel | _LiveCorrection | _LiveBar | _LiveUpdatedBar


def identities(message: LiveMessage) -> tuple[int | None, tuple[Identity, ...]]:
    """Return the time and the identities of what came live; none for a quote.

    The time is None where it is that of the news, which may come long after the trade that it is
    about.

    Raises:
        ValueError: its time is no time.

    """
    match message:
        case _LiveTrade(S=symbol, x=exchange, z=tape, i=trade_id):
            at_ns = time_ns(message.t)
            if not isinstance(message, _LiveCancel):
                return at_ns, (trade_identity(symbol, exchange, tape, at_ns, trade_id),)
            gone = trade_identity(symbol, exchange, tape, at_ns, trade_id, taken_back=True)
            return None, (gone,)
        case _LiveBar(S=symbol):
            at_ns = time_ns(message.t)
            return at_ns, (bar_identity(symbol, at_ns),)
        case _LiveCorrection(S=symbol, x=exchange, z=tape):
            at_ns = time_ns(message.t)
            gone = trade_identity(symbol, exchange, tape, at_ns, message.oi, taken_back=True)
            return None, (gone, trade_identity(symbol, exchange, tape, at_ns, message.ci))
    return None, ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no page, and what that means.

    Attributes:
        kind: `limited`: asked too often; `failed`: their trouble, ask again; `keys`: these keys
            will be refused again; `request`: this question will be refused again.
        status: the HTTP status, if there was an answer.
        detail: the vendor's words, or ours.
        after_s: how long the vendor wants to be left alone, if it said so.

    """

    kind: Literal["limited", "failed", "keys", "request"]
    status: int | None
    detail: str
    after_s: float | None = None


#: The longest wait that we let a server ask of us; its limits are per minute.
MAX_AFTER_S = 300.0
#: As much of a vendor's words as we repeat.
DETAIL_LENGTH = 200

_KINDS: Mapping[int, Literal["limited", "failed", "keys", "request"]] = {
    401: "keys",
    403: "keys",
    408: "failed",
    429: "limited",
}
_CLIENT_ERRORS = range(400, 500)


class _Words(msgspec.Struct, frozen=True):
    message: str = ""


_words = msgspec.json.Decoder(_Words)


def refusal(status: int, headers: Mapping[str, str], body: bytes, now_s: float) -> Refusal:
    """Return what an answer other than 200 means.

    Args:
        status: its status.
        headers: its headers, by any spelling that `headers.get` knows.
        body: its body.
        now_s: seconds since the epoch, by our clock.

    """
    kind = _KINDS.get(status, "request" if status in _CLIENT_ERRORS else "failed")
    try:
        words = _words.decode(body).message
    except _UNDECODABLE:
        words = ""
    detail = f"HTTP {status}: {words}"[:DETAIL_LENGTH] if words else f"HTTP {status}"
    after_s = _number(headers.get("Retry-After"))
    reset_s = _number(headers.get("X-RateLimit-Reset"))
    if after_s is None and reset_s is not None and kind == "limited":
        after_s = max(0.0, reset_s - now_s)
    return Refusal(kind, status, detail, None if after_s is None else min(after_s, MAX_AFTER_S))


def _number(text: str | None) -> float | None:
    """Return the seconds that a header tells; None where it does not."""
    if text is None or not re.fullmatch(r"\d{1,12}", text.strip(), re.ASCII):
        return None
    return float(text)


@dataclass(frozen=True, slots=True)
class Blame:
    """What a refusal means for the symbols that were asked for.

    Attributes:
        refused: those that the vendor will not hear of.
        again: those to ask for again, in questions of their own.

    """

    refused: tuple[str, ...]
    again: tuple[tuple[str, ...], ...]


_WORD = re.compile(r"[A-Z0-9.]+")


def blame(refused: Refusal, symbols: tuple[str, ...]) -> Blame | None:
    """Return whom a refusal concerns; None where it is not about symbols.

    The vendor names the symbol that it does not like ("invalid symbol: FOO"). Where it speaks of a
    symbol and names none of ours, the halves are asked for, down to the culprit.
    """
    if refused.kind != "request" or "symbol" not in refused.detail.lower():
        return None
    words = {word.strip(".") for word in _WORD.findall(refused.detail)}
    culprits = tuple(symbol for symbol in symbols if symbol in words)
    if culprits:
        rest = tuple(symbol for symbol in symbols if symbol not in culprits)
        return Blame(culprits, (rest,) if rest else ())
    if len(symbols) == 1:
        return Blame(symbols, ())
    half = len(symbols) // 2
    return Blame((), (symbols[:half], symbols[half:]))
