"""What comes of one partition's valid ticks: prices, comparisons, quarantines. Pure.

Ticks are taken in the order of the log, each under the epoch of its receipt; see
`processors.forward`.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from infra.market_calendar import Calendar
from processors.compare import Comparer
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
from processors.forward import NO_ROUTE, Book, Route, SymbolState
from processors.quarantine import Warden


class Forwarded(NamedTuple):
    """What came of a run of ticks, in order."""

    prices: list[RoutedPrice]
    comparisons: list[Comparison]
    quarantines: list[QuarantineEvent]


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
        #: Which routes came into force, and where; for its owner to write down, and to clear.
        self.taken: list[RouteTaken] = []
        self._ahead: deque[Route] = deque()
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

    def go_on_from(self, epoch: int) -> None:
        """Take routes up to an epoch for being in force: prices went out under it already."""
        while self._ahead and self._ahead[0].epoch <= epoch:
            self.route = self._ahead.popleft()
        self._look_ahead()

    def restore(
        self, states: Mapping[str, SymbolState], quarantines: Iterable[QuarantineEvent]
    ) -> None:
        """Take up what was remembered, and the quarantines that were decided since."""
        self.book.restore(states)
        for symbol, state in states.items():
            self._warden.recall(symbol, state.quarantine, state.fence)
        for event in quarantines:
            if event.fence > self.book.fences.get(event.symbol, 0):
                self.book.quarantine(event, NO_ROUTE, 0)
                reason = event.reason if isinstance(event, QuarantineBegan) else None
                self._warden.recall(event.symbol, reason, event.fence)

    def take_all(self, ticks: Iterable[ValidTick], now: int, *, decides: bool = True) -> Forwarded:
        """Take ticks, and return what comes of them.

        Args:
            ticks: in the order of the log.
            now: when they are taken.
            decides: whether quarantines are begun and ended; not while what was decided before is
                folded again, because what speaks for it is not all remembered.

        """
        out = Forwarded([], [], [])
        for tick in ticks:
            if tick.received_at_ns >= self._next_at:
                out.prices.extend(self.pass_to(tick.received_at_ns, now))
            self._last = tick
            price = self.book.take(tick, self.route, now)
            if price is not None:
                out.prices.append(price)
            comparison = self._comparer.take(tick)
            if isinstance(tick, Trade):
                self._warden.hear(tick)
            elif isinstance(tick, Last):
                if comparison is not None:
                    out.comparisons.append(comparison)
                if decides:
                    self._look(tick, comparison, out, now)
        return out

    def pass_to(self, until_ns: int, now: int) -> list[RoutedPrice]:
        """Have the switches up to a moment come into force, and return what they send."""
        sent: list[RoutedPrice] = []
        while self._ahead and self._ahead[0].since_ns <= until_ns:
            self.route = self._ahead.popleft()
            self.taken.append(self._taken(now))
            sent += self.book.switch(self.route, now)
        self._look_ahead()
        return sent

    def _look(self, last: Last, comparison: Comparison | None, out: Forwarded, now: int) -> None:
        if not self._comparer.is_traded(last.symbol, last.market_time_ns):
            return
        recent = self.book.seen.get(("alpaca", last.symbol))
        newest = recent[-1] if recent else None
        trade = newest if isinstance(newest, Trade) else None
        routed = self.route.source == "alpaca"
        event = self._warden.look(last, trade, comparison, alpaca_routed=routed)
        if event is not None:
            out.quarantines.append(event)
            out.prices.extend(self.book.quarantine(event, self.route, now))

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
