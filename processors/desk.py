"""What comes of one partition's valid ticks: prices, comparisons, quarantines. Pure.

Ticks are taken in the order of the log, each under the epoch of its receipt; see
`processors.forward`.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from infra.market_calendar import Calendar
from processors.compare import Comparer, Heard, Page
from processors.events import (
    Comparison,
    Last,
    QuarantineBegan,
    QuarantineEvent,
    RoutedPrice,
    RouteTaken,
    Trade,
    ValidTick,
)
from processors.forward import NO_ROUTE, Book, BookEntry, Route, place_of
from processors.quarantine import Suspicion, Warden


class Forwarded(NamedTuple):
    """What came of a run of ticks, in order."""

    prices: list[RoutedPrice]
    comparisons: list[Comparison]
    quarantines: list[QuarantineEvent]


class SymbolState(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a partition remembers of one symbol (`forward.symbols`), but for its pages.

    Attributes:
        book: its prices.
        heard: what it takes to compare it.
        suspicion: what was heard since it was last decided whether it is in quarantine.

    """

    book: BookEntry
    heard: Heard = Heard()
    suspicion: Suspicion | None = None


Identity = tuple[str, str, int, int, int]
"""What tells one routed price from all others: symbol, raw topic and offset, epoch and fence."""


class Desk:
    """Forwards one partition's ticks.

    Args:
        calendar: the market's hours.
        next_offset: the first offset of the log that was not taken.

    """

    def __init__(self, calendar: Calendar, next_offset: int = 0) -> None:
        self.book = Book()
        self.next_offset = next_offset
        self.route = NO_ROUTE
        self._comparer = Comparer(calendar)
        self._warden = Warden()
        #: Quarantines that were decided already, in the order of the ticks that did it.
        self._decided: deque[QuarantineEvent] = deque()
        self._remembered = frozenset[str]()
        #: Which routes came into force, and where; for its owner to write down, and to clear.
        self.taken: list[RouteTaken] = []
        self._ahead: deque[Route] = deque()
        #: What went out before this desk was taken over, and may be found again; the last epoch of
        #: it, and by symbol the newest price.
        self._told: set[Identity] = set()
        self._told_epoch = 0
        self._told_until = 0
        self._newest_told: dict[str, RoutedPrice] = {}
        self._next_at: float = math.inf
        self._last: ValidTick | None = None

    @property
    def switch_due_at(self) -> float:
        """When the next switch that is known comes into force, in ns; infinity where none does."""
        return self._next_at

    def learn(self, route: Route) -> None:
        """Take note of a route, which comes into force at its time."""
        if route.epoch > (self._ahead[-1] if self._ahead else self.route).epoch:
            self._ahead.append(route)
            self._look_ahead()

    def go_on_from(self, epoch: int | None, told: Iterable[RoutedPrice], until: int) -> None:
        """Take routes up to an epoch for being in force, as they were when all was written down.

        What is folded from there on yields again what went out since; none of it does so twice, and
        nothing goes out under an earlier epoch than what did.

        Args:
            epoch: of the route that was in force; None where nothing was written down.
            told: prices that went out, in order; all since, and of each symbol the last.
            until: an offset of the log that is behind all that was taken before.

        """
        self._told_until = until
        for price in told:
            self._told.add(_identity(price))
            self._told_epoch = max(self._told_epoch, price.epoch)
            self._newest_told[price.symbol] = price
        while self._ahead and self._ahead[0].epoch <= (epoch or 0):
            self.route = self._ahead.popleft()
        self._look_ahead()

    def state(self, symbol: str) -> SymbolState:
        """Return what is remembered of a symbol, but for its pages."""
        return SymbolState(
            book=self.book.state(symbol),
            heard=self._comparer.state(symbol),
            suspicion=self._warden.suspicions.get(symbol),
        )

    def turn(self, symbol: str) -> list[Page]:
        """Return a symbol's pages that were not returned before; before its state is asked for."""
        return self._comparer.turn(symbol)

    def restore(
        self,
        states: Mapping[str, SymbolState],
        pages: Mapping[str, Sequence[Page]],
        quarantines: Iterable[QuarantineEvent],
    ) -> None:
        """Take up what was remembered, and the quarantines that were decided since.

        Those come into force with the ticks that decided them, which come again; or, where such a
        tick is kept no more, with the next of Yahoo's.
        """
        self._remembered = frozenset(states)
        self.book.restore({symbol: state.book for symbol, state in states.items()})
        for symbol, state in states.items():
            self._comparer.restore(symbol, state.heard, pages.get(symbol, ()))
            self._warden.recall(symbol, state.book.quarantine, state.book.fence)
            if state.suspicion is not None:
                self._warden.suspicions[symbol] = state.suspicion
        self._warden.hear(self._comparer.newest_ns())
        fences = self.book.fences
        since = [event for event in quarantines if event.fence > fences.get(event.symbol, 0)]
        self._decided.extend(sorted(since, key=lambda event: event.raw_offset))

    def recall(self, told: Iterable[RoutedPrice]) -> None:
        """Take up what went out, of symbols of which nothing else is known."""
        for price in told:
            if price.symbol not in self._remembered:
                self.book.recall(price)

    def take_all(self, ticks: Iterable[ValidTick], now: int, *, decides: bool = True) -> Forwarded:
        """Take ticks, and return what comes of them.

        Args:
            ticks: in the order of the log.
            now: when they are taken.
            decides: whether quarantines are begun and ended; not while what was decided before is
                folded again: the log says what.

        """
        out = Forwarded([], [], [])
        if self._told and self.next_offset > self._told_until:
            self._told.clear()
        for tick in ticks:
            if tick.received_at_ns >= self._next_at:
                out.prices.extend(self.pass_to(tick.received_at_ns, now))
            self._last = tick
            price = self.book.take(tick, self.route, now)
            if price is not None:
                out.prices.extend(self._unless_told([price]))
            comparison = self._comparer.take(tick)
            if isinstance(tick, Trade):
                if not tick.gap_id:
                    self._warden.hear(tick.market_time_ns)
            elif isinstance(tick, Last):
                if comparison is not None:
                    out.comparisons.append(comparison)
                self._look(tick, comparison, out, now, decides=decides)
        return out

    def pass_to(self, until_ns: int, now: int) -> list[RoutedPrice]:
        """Have the switches up to a moment come into force, and return what they send."""
        sent: list[RoutedPrice] = []
        while self._ahead and self._ahead[0].since_ns <= until_ns:
            self.route = self._ahead.popleft()
            self.taken.append(self._taken(now))
            sent += self.book.switch(self.route, now)
        self._look_ahead()
        return self._unless_told(sent)

    def unsent(self) -> list[RoutedPrice]:
        """Return the prices that stand by what was folded, and never went out.

        A switch sends some with no tick that could come again: it may have been cut off. To be
        asked once, when what was committed has been folded.
        """
        standing, told = self.book.routed, self._newest_told
        self._newest_told = {}
        return self._unless_told(
            price
            for symbol, price in standing.items()
            if symbol not in told or place_of(told[symbol]) < place_of(price)
        )

    def _unless_told(self, prices: Iterable[RoutedPrice]) -> list[RoutedPrice]:
        """Return prices but for those that went out before this desk was taken over."""
        news: list[RoutedPrice] = []
        for price in prices:
            if self._told and (identity := _identity(price)) in self._told:
                self._told.discard(identity)
            elif price.epoch >= self._told_epoch:
                news.append(price)
        return news

    def _look(
        self, last: Last, comparison: Comparison | None, out: Forwarded, now: int, *, decides: bool
    ) -> None:
        while self._decided and self._decided[0].raw_offset <= last.raw_offset:
            decided = self._decided.popleft()
            out.prices.extend(self._unless_told(self._decide(decided, self.route, now)))
            if decided.raw_offset == last.raw_offset:
                return
        if not self._comparer.is_traded(last.symbol, last.market_time_ns):
            return
        recent = self.book.seen.get(("alpaca", last.symbol))
        newest = recent[-1] if recent else None
        trade = newest if isinstance(newest, Trade) else None
        routed = self.route.source == "alpaca"
        event = self._warden.look(last, trade, comparison, alpaca_routed=routed, decides=decides)
        if event is not None:
            out.quarantines.append(event)
            out.prices.extend(self._unless_told(self.book.quarantine(event, self.route, now)))

    def _decide(self, event: QuarantineEvent, route: Route, now: int) -> list[RoutedPrice]:
        """Carry out what was decided, and is in the log."""
        reason = event.reason if isinstance(event, QuarantineBegan) else None
        self._warden.recall(event.symbol, reason, event.fence)
        return self.book.quarantine(event, route, now)

    def _taken(self, now: int) -> RouteTaken:
        last = self._last
        return RouteTaken(
            epoch=self.route.epoch,
            after_topic=last.raw_topic if last else "",
            after_offset=last.raw_offset if last else -1,
            at_ns=now,
        )

    def _look_ahead(self) -> None:
        self._next_at = self._ahead[0].since_ns if self._ahead else math.inf


def _identity(price: RoutedPrice) -> Identity:
    return price.symbol, price.raw_topic, price.raw_offset, price.epoch, price.fence
