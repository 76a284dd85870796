"""What the stream says: trades, quotes and bars of the market, as messages with their times.

A tape belongs to one connection. It is told how far time has come and answers with the messages
since it was last told, spread evenly, so that times increase strictly from message to message.
What is subscribed decides what is said; the rate is shared by whatever that is.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.simulators.alpaca.session import Session
from infra.simulators.market import CANARY, LISTINGS, MINUTE_NS, SECOND_NS, Bar, Market

Tick = dict[str, Any]

#: After a pause of the process, or of a slow client, no more than this is made up for.
CATCH_UP_NS = 2 * SECOND_NS

#: A part of the vendor's times have trailing zeros, which it does not write. (unit in ns, share)
_ROUNDED = ((SECOND_NS, 0.01), (1_000_000, 0.06), (1_000, 0.26))

ROUND_LOT = 100

_FRACTIONAL = 0.03  # share of trades that are not of whole shares
_ODD_LOTS = 0.47  # share of trades of fewer than a round lot of them
_ONE_SIDED = 0.005  # share of quotes with nobody on one side
_NOBODY = (0, 0)  # their price and size
_SHARES_A_TRADE = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One endpoint.

    Attributes:
        symbols: what is traded on it.
        exchanges: the codes of the exchanges that it carries.
        share: its part of the market's volume.

    """

    symbols: frozenset[str]
    exchanges: tuple[str, ...]
    share: float


FEEDS = {
    "/v2/iex": Feed(symbols=frozenset(LISTINGS), exchanges=("V",), share=0.025),
    "/v2/sip": Feed(symbols=frozenset(LISTINGS), exchanges=tuple("NPQKZVDXJ"), share=1.0),
    "/v2/test": Feed(symbols=frozenset({CANARY}), exchanges=("V",), share=1.0),
}


class Tape:
    """The messages of one connection.

    Args:
        market: where prices come from.
        feed: whose messages they are.
        rate: trades and quotes a second.
        ids: trade ids, never the same twice.
        now_ns: the moment at which it begins.

    """

    def __init__(
        self, market: Market, feed: Feed, *, rate: int, ids: Iterator[int], now_ns: int
    ) -> None:
        self._market = market
        self._feed = feed
        self._rate = rate
        self._ids = ids
        self._random = random.Random(f"{market.seed}/{now_ns}")
        self._told_ns = now_ns
        self._begun_ns = now_ns
        self._owed = 0  # fractions of a message, in units of rate x ns
        self._last_ns: dict[str, int] = {}
        self._ticks: tuple[tuple[str, tuple[str, ...]], ...] = ()
        self._bars: tuple[str, ...] = ()
        self._daily_bars: tuple[str, ...] = ()

    def follow(self, session: Session) -> None:
        """Say from now on what the session is subscribed to."""
        ticks = (("t", session.follows("trades")), ("q", session.follows("quotes")))
        self._ticks = tuple((kind, symbols) for kind, symbols in ticks if symbols)
        self._bars = session.follows("bars")
        self._daily_bars = session.follows("dailyBars")

    def until(self, now_ns: int) -> list[Tick]:
        """Return what was said since it was last told, up to `now_ns`; nothing if time stood."""
        if now_ns <= self._told_ns:
            return []
        told_ns, self._told_ns = self._told_ns, now_ns
        ticks = self._ticks_between(max(told_ns, now_ns - CATCH_UP_NS), now_ns)
        return [*ticks, *self._bars_between(told_ns, now_ns)]

    def _ticks_between(self, since_ns: int, now_ns: int) -> Iterator[Tick]:
        if not self._ticks:
            return
        span = now_ns - since_ns
        count, self._owed = divmod(span * self._rate + self._owed, SECOND_NS)
        for number in range(1, count + 1):
            kind, symbols = self._random.choice(self._ticks)
            symbol = self._random.choice(symbols)
            at_ns = self._stamp(symbol, since_ns + span * number // count)
            yield self._trade(symbol, at_ns) if kind == "t" else self._quote(symbol, at_ns)

    def _stamp(self, symbol: str, at_ns: int) -> int:
        """Return a moment as the exchange writes it, after everything said of the symbol."""
        last = self._last_ns.get(symbol, self._begun_ns)
        chance = self._random.random()
        for unit, share in _ROUNDED:
            if chance < share and at_ns - at_ns % unit > last:
                at_ns -= at_ns % unit
                break
        self._last_ns[symbol] = at_ns
        return at_ns

    def _trade(self, symbol: str, at_ns: int) -> Tick:
        size = self._size()
        tape = self._market.listing(symbol).tape
        regular = " " if tape == "A" else "@"
        return {
            "T": "t",
            "S": symbol,
            "i": next(self._ids),
            "x": self._random.choice(self._feed.exchanges),
            "p": self._market.price(symbol, at_ns),
            "s": size,
            "c": [regular] if size >= ROUND_LOT else [regular, "I"],
            "t": at_ns,
            "z": tape,
        }

    def _size(self) -> float:
        chance = self._random.random()
        if chance < _FRACTIONAL:
            return round(self._random.uniform(0.001, 20), 3)
        if chance < _FRACTIONAL + _ODD_LOTS:
            return self._random.randint(1, ROUND_LOT - 1)
        return ROUND_LOT * self._random.randint(1, 5)

    def _quote(self, symbol: str, at_ns: int) -> Tick:
        price = self._market.price(symbol, at_ns)
        half_spread = max(0.01, round(price * 0.0001, 2))
        bid = (round(price - half_spread, 2), self._lots())
        ask = (round(price + half_spread, 2), self._lots())
        chance = self._random.random()
        if chance < _ONE_SIDED:
            bid, ask = (_NOBODY, ask) if chance < _ONE_SIDED / 2 else (bid, _NOBODY)
        exchange = self._random.choice(self._feed.exchanges)
        return {
            "T": "q",
            "S": symbol,
            "bx": exchange if bid[1] else " ",
            "bp": bid[0],
            "bs": bid[1],
            "ax": exchange if ask[1] else " ",
            "ap": ask[0],
            "as": ask[1],
            "c": ["R"],
            "t": at_ns,
            "z": self._market.listing(symbol).tape,
        }

    def _lots(self) -> int:
        return ROUND_LOT * self._random.randint(1, 12)

    def _bars_between(self, since_ns: int, now_ns: int) -> Iterator[Tick]:
        """Yield the bars of the last minute that ended in between, the days' so far after them."""
        end = now_ns - now_ns % MINUTE_NS
        if end <= since_ns:
            return
        for symbol in self._bars:
            yield self._bar("b", symbol, self._market.bar(symbol, end - MINUTE_NS, end))
        for symbol in self._daily_bars:
            yield self._bar("d", symbol, self._market.day(symbol, end - 1))

    def _bar(self, kind: str, symbol: str, bar: Bar) -> Tick:
        volume = round(bar.volume * self._feed.share)
        return {
            "T": kind,
            "S": symbol,
            "o": bar.open,
            "h": bar.high,
            "l": bar.low,
            "c": bar.close,
            "v": volume,
            "t": bar.start_ns,
            "n": max(1, volume // _SHARES_A_TRADE),
            "vw": round((bar.open + bar.high + bar.low + bar.close) / 4, 6),
        }
