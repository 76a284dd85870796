"""What the polls say of each symbol over time: which price stands still, which close is missing.

Pure: quotes and times in, findings out, each told once.

A frozen price is one that Yahoo goes on serving while the market trades. A quote is as old as its
last trade, never as the poll that brought it, so what counts is that trade's time: where it has not
moved for `LAG_S` of *open* market, while polls succeed, the price stands still. Nights, weekends
and half days do not count. Twenty minutes, because Yahoo may be fifteen minutes late by itself; and
because a thinly traded symbol may honestly not trade for some minutes: one that does not for twenty
is worth a word, and only a word. What costs Yahoo its trust is all of them standing still at once.

The close of the day before is the same all day. So where spark leaves it out, and chart tells it
once, the day is served; a symbol is impaired from the poll on that got it from neither.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from infra.market_calendar import NS, Calendar
from ingest.yahoo.wire import LAG_S, Quote

DAY_S = 24 * 60 * 60

#: The most symbols that are asked for one by one in a poll, because spark did not tell of them.
STRAGGLERS = 10
#: A symbol that Yahoo does not know is asked for again after this long.
UNKNOWN_AGAIN_S = 3600.0

Impairment = Literal["unknown", "no_previous_close"]


@dataclass(frozen=True, slots=True)
class Froze:
    """Prices stand still: those of `symbols`, whose last trade was at `traded_at_s`."""

    symbols: list[str]
    traded_at_s: int


@dataclass(frozen=True, slots=True)
class Moved:
    """Prices that stood still move again."""

    symbols: list[str]


@dataclass(frozen=True, slots=True)
class Impaired:
    """Symbols cannot be had, or not whole."""

    reason: Impairment
    symbols: list[str]


@dataclass(frozen=True, slots=True)
class Restored:
    """Symbols are whole again, or no longer wanted."""

    reason: Impairment
    symbols: list[str]


Finding = Froze | Moved | Impaired | Restored


@dataclass(slots=True)
class _Known:
    """What is remembered of a symbol: bounded by the list that is followed."""

    #: Its last trade, and when we first saw that one; None before the first quote.
    traded_at_s: int | None = None
    seen_at_ns: int = 0
    #: The day whose previous close it has told, in days since the epoch.
    close_of_day: int | None = None
    #: When it was last asked for by itself, and whether Yahoo knew it, on the monotonic clock.
    asked_at_s: float | None = None
    refused_at_s: float | None = None


class Quotes:
    """Follows the quotes of one list of symbols.

    Args:
        symbols: most important first.
        market: when prices should move.

    """

    def __init__(self, symbols: Sequence[str], market: Calendar) -> None:
        self.symbols = tuple(symbols)
        self._market = market
        self._known = {symbol: _Known() for symbol in self.symbols}
        self._frozen: dict[str, None] = {}
        self._impaired: dict[Impairment, dict[str, None]] = {"unknown": {}, "no_previous_close": {}}
        #: What this poll has brought so far.
        self._quoted: dict[str, None] = {}

    @property
    def frozen(self) -> Collection[str]:
        """The symbols whose prices stand still."""
        return self._frozen.keys()

    @property
    def all_frozen(self) -> bool:
        """Whether every symbol that has a quote at all stands still."""
        return bool(self._frozen) and all(
            symbol in self._frozen
            for symbol, known in self._known.items()
            if known.traded_at_s is not None and known.refused_at_s is None
        )

    def follow(self, symbols: Sequence[str]) -> list[Finding]:
        """Take another list, between two polls; what it drops is no longer impaired."""
        self.symbols = tuple(symbols)
        self._known = {symbol: self._known.get(symbol) or _Known() for symbol in self.symbols}
        self._frozen = {symbol: None for symbol in self._frozen if symbol in self._known}
        findings: list[Finding] = []
        for reason, impaired in self._impaired.items():
            if dropped := [symbol for symbol in impaired if symbol not in self._known]:
                findings.append(Restored(reason, dropped))
                for symbol in dropped:
                    del impaired[symbol]
        return findings

    def begin(self) -> None:
        """Begin a poll."""
        self._quoted.clear()

    def quoted(self, quotes: Iterable[Quote], now_ns: int) -> None:
        """Take what an answer says; of symbols that were not asked for, nothing."""
        for quote in quotes:
            known = self._known.get(quote.symbol)
            if known is None:
                continue
            self._quoted[quote.symbol] = None
            known.refused_at_s = None
            if quote.traded_at_s is None:
                continue
            if known.traded_at_s is None or quote.traded_at_s > known.traded_at_s:
                known.traded_at_s, known.seen_at_ns = quote.traded_at_s, now_ns
            if quote.has_close:
                known.close_of_day = quote.traded_at_s // DAY_S

    def stragglers(self, now_s: float) -> list[str]:
        """Return whom to ask for one by one: no quote yet in this poll, or none with its close.

        At most `STRAGGLERS`, who has waited longest first, so that none waits for ever.
        """
        waiting = [symbol for symbol in self.symbols if self._is_wanting(symbol, now_s)]

        def asked_at_s(symbol: str) -> float:
            at_s = self._known[symbol].asked_at_s
            return float("-inf") if at_s is None else at_s

        return sorted(waiting, key=asked_at_s)[:STRAGGLERS]

    def asked(self, symbol: str, now_s: float, *, unknown: bool = False) -> None:
        """Note that a symbol was asked for by itself, and whether Yahoo does not know it."""
        known = self._known[symbol]
        known.asked_at_s = now_s
        if unknown:
            known.refused_at_s = now_s

    def end(self, now_ns: int) -> list[Finding]:
        """End a good poll; return what it changed."""
        findings: list[Finding] = []
        unknown = [symbol for symbol, k in self._known.items() if k.refused_at_s is not None]
        lacking = [symbol for symbol in self._known if self._lacks_close(symbol)]
        findings += self._changed("unknown", unknown)
        findings += self._changed("no_previous_close", lacking)
        return findings + self._standing(now_ns)

    def _changed(self, reason: Impairment, now: Sequence[str]) -> list[Finding]:
        before = self._impaired[reason]
        self._impaired[reason] = dict.fromkeys(now)
        came = [symbol for symbol in now if symbol not in before]
        went = [symbol for symbol in before if symbol not in self._impaired[reason]]
        return [
            *([Impaired(reason, came)] if came else []),
            *([Restored(reason, went)] if went else []),
        ]

    def _standing(self, now_ns: int) -> list[Finding]:
        moved: list[str] = []
        froze: dict[int, list[str]] = {}
        # only those that were quoted: of the others this poll proves nothing
        for symbol in self._quoted:
            known = self._known[symbol]
            if known.traded_at_s is None:
                continue
            stands = self._stands_still(known, now_ns)
            if symbol in self._frozen and not stands:
                del self._frozen[symbol]
                moved.append(symbol)
            elif stands and symbol not in self._frozen:
                self._frozen[symbol] = None
                froze.setdefault(known.traded_at_s, []).append(symbol)
        return [
            *([Moved(moved)] if moved else []),
            *(Froze(symbols, at_s) for at_s, symbols in sorted(froze.items())),
        ]

    def _stands_still(self, known: _Known, now_ns: int) -> bool:
        # a trade that Yahoo dates ahead of the clock is not old, however long it has been served
        since_ns = max(known.seen_at_ns, (known.traded_at_s or 0) * NS)
        return self._market.open_ns(since_ns, max(now_ns, since_ns)) >= LAG_S * NS

    def _is_wanting(self, symbol: str, now_s: float) -> bool:
        refused_at_s = self._known[symbol].refused_at_s
        if refused_at_s is not None and now_s - refused_at_s < UNKNOWN_AGAIN_S:
            return False
        return symbol not in self._quoted or self._lacks_close(symbol)

    def _lacks_close(self, symbol: str) -> bool:
        """Say whether a symbol has a quote, but has not told the close before that day."""
        known = self._known[symbol]
        if known.traded_at_s is None:
            return False
        return known.close_of_day is None or known.close_of_day < known.traded_at_s // DAY_S
