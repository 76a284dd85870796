"""Alpaca's history over REST: what is asked, and the page that answers it.

`GET /v2/stocks/{trades,bars,snapshots}`, the forms for several symbols, as Alpaca documents them:
data are sorted by symbol and then by time, the limit counts over all symbols, and a page that is
not the last ends with a token to go on from. Times are RFC 3339 or dates, both ends inclusive.

Pure but for the time that a page takes: a long window of a busy market is worth a thread.
"""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final, Literal

import orjson

from infra.simulators.alpaca.tape import FEEDS, QUOTE, TRADE, Tape, Tick
from infra.simulators.alpaca.wire import rfc3339
from infra.simulators.market import DAY_NS, MINUTE_NS, SECOND_NS, day_start

DEFAULT_LIMIT: Final = 1_000
HIGHEST_LIMIT: Final = 10_000

#: by the name that REST has for it: a feed's path on the stream
PATHS: Final = {path.rpartition("/")[2]: path for path in FEEDS if path != "/v2/test"}

Resource = Literal["trades", "bars"]
#: Whether a symbol was halted at a moment.
Halted = Callable[[str, int], bool]

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]{0,15}")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)")


class Invalid(ValueError):  # noqa: N818  # it is a fact about a request, not an error of ours
    """A parameter that is wrong, in Alpaca's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked of `trades` or `bars`.

    Attributes:
        symbols: whose, sorted.
        path: the feed's path on the stream.
        start_ns: the first moment.
        end_ns: the last moment; never later than what there is.
        limit: data on a page.
        newest_first: the order within a symbol.
        after: the symbol and time of the last datum of the page before.

    """

    symbols: tuple[str, ...]
    path: str
    start_ns: int
    end_ns: int
    limit: int
    newest_first: bool
    after: tuple[str, int] | None


def query(resource: Resource, asked: Mapping[str, str], now_ns: int) -> Query:
    """Read a request's parameters. Raises Invalid."""
    if resource == "bars" and asked.get("timeframe") != "1Min":
        message = f"invalid timeframe: {asked.get('timeframe', '')!r}: expected 1Min"
        raise Invalid(message)
    start_ns = _moment("start", asked, day_start(now_ns))
    end_ns = _moment("end", asked, now_ns)
    if "end" in asked and end_ns < start_ns:
        message = "end should not be before start"
        raise Invalid(message)
    # nothing has happened yet after now, and a minute is told when it is over
    newest_ns = now_ns - MINUTE_NS if resource == "bars" else now_ns
    return Query(
        symbols=symbols(asked),
        path=feed(asked),
        start_ns=start_ns,
        end_ns=min(end_ns, newest_ns),
        limit=_limit(asked),
        newest_first=_choice("sort", asked, ("asc", "desc")) == "desc",
        after=_after(asked),
    )


def symbols(asked: Mapping[str, str]) -> tuple[str, ...]:
    """Return the symbols of a request, sorted. Raises Invalid."""
    names = [name for name in asked.get("symbols", "").split(",") if name]
    if not names:
        message = "symbols is required"
        raise Invalid(message)
    for name in names:
        if not _SYMBOL.fullmatch(name):
            message = f"invalid symbol: {name}"
            raise Invalid(message)
    return tuple(sorted(set(names)))


def feed(asked: Mapping[str, str]) -> str:
    """Return the path of a request's feed on the stream. Raises Invalid."""
    return PATHS[_choice("feed", asked, ("sip", *PATHS))]


def _choice(name: str, asked: Mapping[str, str], choices: tuple[str, ...]) -> str:
    """Return one of the choices, the first where nothing was asked."""
    value = asked.get(name, choices[0])
    if value not in choices:
        message = f"invalid {name}: {value!r}: expected {' or '.join(sorted(set(choices)))}"
        raise Invalid(message)
    return value


def _limit(asked: Mapping[str, str]) -> int:
    text = asked.get("limit", str(DEFAULT_LIMIT))
    if not text.isdecimal() or not 1 <= int(text) <= HIGHEST_LIMIT:
        message = f"invalid limit: {text!r}: expected 1 to {HIGHEST_LIMIT}"
        raise Invalid(message)
    return int(text)


def _moment(name: str, asked: Mapping[str, str], default_ns: int) -> int:
    """Return a time in ns; a date is its midnight, and as an end its last moment."""
    if name not in asked:
        return default_ns
    text = asked[name]
    try:
        if found := _TIME.fullmatch(text):
            day, clock, fraction, zone = found.groups()
            whole = datetime.fromisoformat(f"{day}T{clock}{zone.upper()}")
            return int(whole.timestamp()) * SECOND_NS + int((fraction or "").ljust(9, "0"))
        midnight = datetime.combine(date.fromisoformat(text), datetime.min.time(), UTC)
    except ValueError as error:
        message = f"invalid {name}: {text!r}: expected RFC 3339 or YYYY-MM-DD"
        raise Invalid(message) from error
    return int(midnight.timestamp()) * SECOND_NS + (DAY_NS - 1 if name == "end" else 0)


def _after(asked: Mapping[str, str]) -> tuple[str, int] | None:
    text = asked.get("page_token")
    if not text:
        return None
    try:
        symbol, at = base64.b64decode(text, validate=True).decode().split("|")
        return symbol, int(at)
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        message = f"invalid page_token: {text!r}"
        raise Invalid(message) from error


def _token(symbol: str, at_ns: int) -> str:
    return base64.b64encode(f"{symbol}|{at_ns}".encode()).decode()


def page(resource: Resource, tape: Tape, asked: Query, halted: Halted) -> bytes:
    """Return the body of an answer."""
    found: dict[str, list[bytes]] = {}
    count, last, token = 0, ("", 0), None
    for symbol in asked.symbols:
        if asked.after and symbol < asked.after[0]:
            continue
        for datum in _data(resource, tape, _rest_of(asked, symbol), symbol):
            if resource == "trades" and halted(symbol, datum["t"]):
                continue
            if count == asked.limit:
                token = _token(*last)
                break
            found.setdefault(symbol, []).append(encoded(datum))
            count, last = count + 1, (symbol, datum["t"])
        if token:
            break
    by_symbol = b",".join(
        b'"%b":[%b]' % (symbol.encode(), b",".join(data)) for symbol, data in found.items()
    )
    return b'{"%b":{%b},"next_page_token":%b}' % (
        resource.encode(),
        by_symbol,
        orjson.dumps(token),
    )


def _rest_of(asked: Query, symbol: str) -> tuple[int, int, bool]:
    """Return (start, end, newest first) of what is still to be told of a symbol."""
    start_ns, end_ns = asked.start_ns, asked.end_ns
    if asked.after and symbol == asked.after[0]:
        if asked.newest_first:
            end_ns = min(end_ns, asked.after[1] - 1)
        else:
            start_ns = max(start_ns, asked.after[1] + 1)
    return start_ns, end_ns, asked.newest_first


def _data(
    resource: Resource, tape: Tape, window: tuple[int, int, bool], symbol: str
) -> Iterator[Tick]:
    start_ns, end_ns, newest_first = window
    if resource == "trades":
        yield from tape.history(TRADE, symbol, start_ns, end_ns, newest_first=newest_first)
    elif symbol in tape.feed.symbols:
        first = -(-start_ns // MINUTE_NS) * MINUTE_NS
        minutes = range(first, end_ns + 1, MINUTE_NS)
        for minute in reversed(minutes) if newest_first else minutes:
            yield tape.minute(symbol, minute + MINUTE_NS)


def encoded(datum: Tick) -> bytes:
    """Return a datum as REST has it: its time first, without type and symbol."""
    fields = {key: value for key, value in datum.items() if key not in "TS"}
    return orjson.dumps({"t": rfc3339(fields.pop("t")), **fields})


def snapshots(tape: Tape, names: tuple[str, ...], now_ns: int, halted: Halted) -> bytes:
    """Return the body of an answer: each known symbol's present, and its day and the one before."""
    shown = [
        b'"%b":%b' % (symbol.encode(), _snapshot(tape, symbol, now_ns, halted))
        for symbol in names
        if symbol in tape.feed.symbols
    ]
    return b"{%b}" % b",".join(shown)


def _snapshot(tape: Tape, symbol: str, now_ns: int, halted: Halted) -> bytes:
    trades = tape.recent(TRADE, symbol, now_ns)
    parts = {
        b"latestTrade": next((t for t in trades if not halted(symbol, t["t"])), None),
        b"latestQuote": next(tape.recent(QUOTE, symbol, now_ns), None),
        b"minuteBar": tape.minute(symbol, now_ns - now_ns % MINUTE_NS),
        b"dailyBar": tape.day(symbol, now_ns),
        b"prevDailyBar": tape.previous_day(symbol, now_ns),
    }
    return b"{%b}" % b",".join(
        b'"%b":%b' % (name, encoded(part)) for name, part in parts.items() if part
    )


@dataclass(slots=True)
class Allowance:
    """What one key may ask in a minute.

    Attributes:
        limit: requests a minute.

    """

    limit: int
    _minute: int = -1
    _spent: int = 0

    def take(self, now_ns: int) -> tuple[bool, dict[str, str]]:
        """Ask for one more; return whether it is granted, and the headers that tell how it is."""
        minute = now_ns // MINUTE_NS
        if minute != self._minute:
            self._minute, self._spent = minute, 0
        granted = self._spent < self.limit
        self._spent += granted
        return granted, {
            "X-RateLimit-Limit": str(self.limit),
            "X-RateLimit-Remaining": str(self.limit - self._spent),
            "X-RateLimit-Reset": str((minute + 1) * MINUTE_NS // SECOND_NS),
        }
