"""What happens on a feed: trades, quotes and bars of the market, as messages with their times.

The market goes on whether or not anybody listens. What happens is a function of (seed, feed, rate,
time) and of nothing else: time is cut into blocks of `BLOCK_NS`, and each message of a block is
made from two words of a hash over (seed, feed, rate, block). So two connections hear the same, a
restart changes nothing, and a minute of last week can be asked for as well as the present second.

A message of a block has a slot of its own, and a time within its slot: times increase strictly from
message to message, over all symbols. A `Window` is what one connection sees: what it subscribed to,
from the moment on at which it did.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import shake_128
from typing import Any, Final, Literal

from infra.simulators.alpaca.session import Session
from infra.simulators.market import CANARY, LISTINGS, MINUTE_NS, SECOND_NS, Bar, Market, day_start

Tick = dict[str, Any]

BLOCK_NS: Final = 100_000_000
#: Blocks that are remembered: several connections, or a page and the next, read the same ones.
_REMEMBERED: Final = 8

#: Trade ids: a block's number, and the message's place in it below this; together under 2**53.
IDS_A_BLOCK: Final = 100_000
#: Messages a second: more have neither ids nor, much further up, times of their own.
HIGHEST_RATE: Final = IDS_A_BLOCK * SECOND_NS // BLOCK_NS

#: No more than this is said at once; who is further behind is told the rest in the next breath.
BREATH_NS: Final = 200_000_000

#: Some of the vendor's times have trailing zeros, which it does not write. (unit in ns, share of
#: the messages whose slot has such a moment, out of 2**16)
_ROUNDED: Final = ((SECOND_NS, 0x8000), (1_000_000, 0x1A00), (1_000, 0x5800))

ROUND_LOT = 100

_FRACTIONAL: Final = 0x07AE  # trades that are not of whole shares, out of 2**16: 3 %
_ODD_LOTS: Final = 0x8000  # and those of fewer than a round lot
_ONE_SIDED: Final = 0x0148  # quotes with nobody on one side: 0.5 %
_NOBODY: Final = (0, 0)  # their price and size
_SHARES_A_TRADE: Final = 90
#: How far back the last trade or quote of a symbol is looked for.
_RECENT_NS: Final = 15 * MINUTE_NS

TRADE: Final = 0
QUOTE: Final = 1


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
    """All that ever happens on one feed.

    Args:
        market: where prices come from.
        path: which feed: a key of `FEEDS`.
        rate: trades and quotes a second, over all symbols; at most `HIGHEST_RATE`.

    """

    def __init__(self, market: Market, path: str, *, rate: int) -> None:
        if not 0 < rate <= HIGHEST_RATE:
            message = f"a rate of {rate} messages a second: expected 1 to {HIGHEST_RATE}"
            raise ValueError(message)
        self.feed = FEEDS[path]
        self.market = market
        self._rate = rate
        self._key = f"{market.seed}{path}/{rate}/".encode()
        self._symbols = sorted(self.feed.symbols)
        self._numbers = {symbol: number for number, symbol in enumerate(self._symbols)}
        #: by symbol's number: (symbol, tape, mark of a regular trade)
        self._listed = [
            (symbol, tape, " " if tape == "A" else "@")
            for symbol in self._symbols
            for tape in (market.listing(symbol).tape,)
        ]
        self._words = lru_cache(maxsize=_REMEMBERED)(self._draw)
        self._times = lru_cache(maxsize=_REMEMBERED)(self._stamp)

    def between(
        self, since_ns: int, until_ns: int, wanted: Sequence[frozenset[str]]
    ) -> Iterator[Tick]:
        """Yield what happens after `since_ns`, up to and including `until_ns`, in its order.

        `wanted` has the symbols whose trades, and those whose quotes are told.
        """
        followed = [[symbol in symbols for symbol in self._symbols] for symbols in wanted]
        many = len(self._symbols)
        for block in range((since_ns + 1) // BLOCK_NS, until_ns // BLOCK_NS + 1):
            words, times = self._words(block), self._times(block)
            first, last = bisect_right(times, since_ns), bisect_right(times, until_ns)
            for place in range(first, last):
                word = words[2 * place]
                if followed[word & 1][((word >> 1) & 0xFFFF) % many]:
                    trade_id = block * IDS_A_BLOCK + place
                    yield self._message(word, words[2 * place + 1], times[place], trade_id)

    def history(
        self, kind: Literal[0, 1], symbol: str, start_ns: int, end_ns: int, *, newest_first: bool
    ) -> Iterator[Tick]:
        """Yield a symbol's trades or quotes of [start, end]; nothing for an unlisted symbol."""
        if symbol not in self._numbers or end_ns < start_ns:
            return
        wanted, many = self._numbers[symbol], len(self._symbols)
        blocks = range(start_ns // BLOCK_NS, end_ns // BLOCK_NS + 1)
        for block in reversed(blocks) if newest_first else blocks:
            words = self._words(block)
            places = [
                place
                for place, word in enumerate(words[::2])
                if word & 1 == kind and ((word >> 1) & 0xFFFF) % many == wanted
            ]
            if not places:
                continue
            times = self._times(block)
            for place in reversed(places) if newest_first else places:
                if start_ns <= times[place] <= end_ns:
                    trade_id = block * IDS_A_BLOCK + place
                    what, how = words[2 * place : 2 * place + 2]
                    yield self._message(what, how, times[place], trade_id)

    def recent(self, kind: Literal[0, 1], symbol: str, at_ns: int) -> Iterator[Tick]:
        """Yield a symbol's last trades or quotes up to a moment, the last one first."""
        return self.history(kind, symbol, at_ns - _RECENT_NS, at_ns, newest_first=True)

    def minute(self, symbol: str, end_ns: int) -> Tick:
        """Return the bar of the minute that ends at `end_ns`."""
        return self._bar("b", symbol, self.market.bar(symbol, end_ns - MINUTE_NS, end_ns))

    def day(self, symbol: str, at_ns: int) -> Tick:
        """Return the bar of the day up to and including `at_ns`."""
        return self._bar("d", symbol, self.market.day(symbol, at_ns))

    def previous_day(self, symbol: str, at_ns: int) -> Tick:
        """Return the bar of the day before, which closes at the previous close."""
        day = self.day(symbol, day_start(at_ns) - 1)
        return {**day, "c": self.market.previous_close(symbol, at_ns)}

    def _count(self, block: int) -> int:
        """Return how many messages a block has: over whole seconds exactly the rate."""
        begun, ended = (n * BLOCK_NS * self._rate // SECOND_NS for n in (block, block + 1))
        return ended - begun

    def _draw(self, block: int) -> tuple[int, ...]:
        """Return a block's chance: two words a message, what and when, and how.

        By a hash that is specified to the bit, so that no version of Python changes the market.
        """
        words = 2 * self._count(block)
        chance = shake_128(self._key + b"%d" % block).digest(8 * words)
        return struct.unpack(f"<{words}Q", chance)

    def _stamp(self, block: int) -> list[int]:
        """Return the times of a block's messages, as the exchange writes them, increasing."""
        words = self._words(block)[::2]
        count, start = len(words), block * BLOCK_NS
        slots = [start + BLOCK_NS * place // count for place in range(count + 1)] if count else []
        times = []
        for place, word in enumerate(words):
            slot = slots[place]
            at_ns = slot + (word >> 33) % (slots[place + 1] - slot)
            chance = (word >> 17) & 0xFFFF
            for unit, share in _ROUNDED:
                if chance < share and at_ns - at_ns % unit >= slot:
                    at_ns -= at_ns % unit
                    break
            times.append(at_ns)
        return times

    def _message(self, what: int, how: int, at_ns: int, trade_id: int) -> Tick:
        symbol, tape, regular = self._listed[((what >> 1) & 0xFFFF) % len(self._listed)]
        exchanges = self.feed.exchanges
        exchange = exchanges[(how & 0xFF) % len(exchanges)]
        price = self.market.price(symbol, at_ns)
        if what & 1 == QUOTE:
            quote = _quote(exchange, price, how)
            quote.update(S=symbol, t=at_ns, z=tape)
            return quote
        size = _size(how)
        return {
            "T": "t",
            "S": symbol,
            "i": trade_id,
            "x": exchange,
            "p": price,
            "s": size,
            "c": [regular] if size >= ROUND_LOT else [regular, "I"],
            "t": at_ns,
            "z": tape,
        }

    def _bar(self, kind: str, symbol: str, bar: Bar) -> Tick:
        volume = round(bar.volume * self.feed.share)
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


def _size(how: int) -> float:
    chance, amount = (how >> 8) & 0xFFFF, (how >> 24) & 0xFFFFFF
    if chance < _FRACTIONAL:
        return round(0.001 + 19.999 * amount / 0x1000000, 3)
    if chance < _ODD_LOTS:
        return 1 + amount % (ROUND_LOT - 1)
    return ROUND_LOT * (1 + amount % 5)


def _quote(exchange: str, price: float, how: int) -> Tick:
    """Return a quote around a price, all but its symbol, time and tape."""
    half_spread = max(0.01, round(price * 0.0001, 2))
    bid: tuple[float, int] = (round(price - half_spread, 2), _lots(how >> 8))
    ask: tuple[float, int] = (round(price + half_spread, 2), _lots(how >> 20))
    chance = (how >> 40) & 0xFFFF
    if chance < _ONE_SIDED:
        bid, ask = (_NOBODY, ask) if chance < _ONE_SIDED // 2 else (bid, _NOBODY)
    return {
        "T": "q",
        "S": "",
        "bx": exchange if bid[1] else " ",
        "bp": bid[0],
        "bs": bid[1],
        "ax": exchange if ask[1] else " ",
        "ap": ask[0],
        "as": ask[1],
        "c": ["R"],
    }


def _lots(how: int) -> int:
    return ROUND_LOT * (1 + (how & 0xFFF) % 12)


class Window:
    """What one connection sees of a tape.

    Args:
        tape: of its feed.
        now_ns: the moment at which it opens.

    """

    def __init__(self, tape: Tape, now_ns: int) -> None:
        self._tape = tape
        #: What happened up to here was told, or was before the connection cared.
        self.told_ns = now_ns
        self._wanted: tuple[frozenset[str], ...] = (frozenset(), frozenset())
        self._bars: tuple[str, ...] = ()
        self._daily_bars: tuple[str, ...] = ()

    def follow(self, session: Session, now_ns: int) -> None:
        """See from `now_ns` on what the session is subscribed to."""
        if not self.open:
            self.told_ns = max(self.told_ns, now_ns)
        self._wanted = (
            frozenset(session.follows("trades")),
            frozenset(session.follows("quotes")),
        )
        self._bars = session.follows("bars")
        self._daily_bars = session.follows("dailyBars")

    @property
    def open(self) -> bool:
        """Whether anything can be seen through it."""
        return bool(any(self._wanted) or self._bars or self._daily_bars)

    def until(self, now_ns: int) -> list[Tick]:
        """Return what happened since it was last told, up to `now_ns`, at most a `BREATH_NS`.

        Nothing if time stood or ran back: no message is told twice, or before its time.
        """
        if now_ns <= self.told_ns:
            return []
        since_ns = self.told_ns
        if not self.open:
            self.told_ns = now_ns
            return []
        until_ns = self.told_ns = min(now_ns, since_ns + BREATH_NS)
        ticks = (
            list(self._tape.between(since_ns, until_ns, self._wanted)) if any(self._wanted) else []
        )
        return [*ticks, *self._bars_between(since_ns, until_ns)]

    def _bars_between(self, since_ns: int, until_ns: int) -> Iterator[Tick]:
        """Yield the bars of the minute that ended in between, the days' so far after them."""
        end = until_ns - until_ns % MINUTE_NS
        if end <= since_ns:
            return
        for symbol in self._bars:
            yield self._tape.minute(symbol, end)
        for symbol in self._daily_bars:
            yield self._tape.day(symbol, end - 1)
