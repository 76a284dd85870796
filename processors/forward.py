"""Which prices go out? Those of the routed source, newest last, each once.

Pure. A `Book` is what one partition remembers: by source and symbol the last price seen, and by
symbol the last one routed. A price goes out when its source is the routed one and it is news: later
on the market than what that source said before. At a switch, the new source's last price of every
symbol goes out at once, where it is newer than what was routed.

A transition counts **as of the moment that a tick was received**: one that came before the switch
goes under the old epoch, one that came then or later under the new one, whenever either is read. So
what goes out is a function of the logs, and a worker that is behind, or starts again, sends the
same. A partition's epoch never goes back. `Desk` sees to that; where no tick comes, its owner's
clock does.

A price goes out at most once an epoch. A tick that comes again (a crash replays) has an offset at
or below one seen before, and changes nothing. Nor does one that was fetched to fill a gap: it is
history, and what is the price now has long been told by what came live.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from processors.events import Last, RoutedPrice, RouterTransition, Source, State, Trade, ValidTick

ROUTED_SOURCE: dict[State, Source | None] = {
    "STARTUP": None,
    "PRIMARY_ACTIVE": "alpaca",
    "FALLBACK_ACTIVE": "yahoo",
    "BOTH_UNAVAILABLE": None,
}


class Route(NamedTuple):
    """What a transition of the router's made of it.

    Attributes:
        epoch: the transition's.
        source: whose prices go out; None for nobody's.
        since_ns: ticks received from then on go under it.

    """

    epoch: int
    source: Source | None
    since_ns: int = 0


NO_ROUTE = Route(epoch=0, source=None)

SOURCES: tuple[Source, ...] = ("alpaca", "yahoo")

#: Which kinds of tick carry a last price.
Priced = Trade | Last


def route_of(transition: RouterTransition) -> Route:
    """Return the route that a transition leads to."""
    return Route(transition.epoch, ROUTED_SOURCE[transition.to_state], transition.switched_at_ns)


class SymbolState(msgspec.Struct, frozen=True, kw_only=True):
    """What a partition remembers of one symbol (`forward.symbols`).

    Attributes:
        seen: of each source the last price seen.
        routed: the last one that was routed.
        previous_close: the close of the session before.

    """

    seen: list[Priced]
    routed: RoutedPrice | None
    previous_close: float | None


@dataclass(slots=True)
class Book:
    """What one partition remembers. Bounded by the number of symbols."""

    seen: dict[tuple[Source, str], Priced] = field(default_factory=dict)
    routed: dict[str, RoutedPrice] = field(default_factory=dict)
    previous_close: dict[str, float] = field(default_factory=dict)

    def recall(self, price: RoutedPrice) -> None:
        """Take over a price that was routed before this process began; the latest offset wins."""
        before = self.routed.get(price.symbol)
        if before is None or (price.epoch, price.raw_offset) >= (before.epoch, before.raw_offset):
            self.routed[price.symbol] = price
            if price.previous_close is not None:
                self.previous_close[price.symbol] = price.previous_close

    def take(self, tick: ValidTick, route: Route, now: int) -> RoutedPrice | None:
        """Remember a tick, and return the price to route, if it is one."""
        if not isinstance(tick, Priced) or tick.gap_id:
            return None
        before = self.seen.get((tick.source, tick.symbol))
        if before is not None and _follows(before, tick):
            return None
        if isinstance(tick, Last) and tick.previous_close is not None:
            self.previous_close[tick.symbol] = tick.previous_close
        if before is not None and not _is_news(tick, before):
            return None
        self.seen[tick.source, tick.symbol] = tick
        if tick.source != route.source or self._is_out(tick):
            return None
        return self._route(tick, route, now)

    def switch(self, route: Route, now: int) -> list[RoutedPrice]:
        """Return what goes out at once when `route` comes into force."""
        return [
            self._route(tick, route, now)
            for (source, symbol), tick in self.seen.items()
            if source == route.source and self._newer_than_routed(symbol, tick)
        ]

    def state(self, symbol: str) -> SymbolState:
        """Return what is remembered of a symbol."""
        seen = (self.seen.get((source, symbol)) for source in SOURCES)
        return SymbolState(
            seen=[tick for tick in seen if tick is not None],
            routed=self.routed.get(symbol),
            previous_close=self.previous_close.get(symbol),
        )

    def restore(self, states: Mapping[str, SymbolState]) -> None:
        """Take up what was remembered."""
        for symbol, state in states.items():
            self.seen.update(((tick.source, symbol), tick) for tick in state.seen)
            if state.previous_close is not None:
                self.previous_close[symbol] = state.previous_close
            if state.routed is not None:
                self.recall(state.routed)

    def _is_out(self, tick: Priced) -> bool:
        """Return whether a price went out before this process began, or a newer one of its log."""
        routed = self.routed.get(tick.symbol)
        return routed is not None and _follows(routed, tick)

    def _newer_than_routed(self, symbol: str, tick: Priced) -> bool:
        routed = self.routed.get(symbol)
        return routed is None or tick.market_time_ns > routed.market_time_ns

    def _route(self, tick: Priced, route: Route, now: int) -> RoutedPrice:
        previous = self.previous_close.get(tick.symbol)
        change = None if previous is None else tick.price - previous
        price = RoutedPrice(
            symbol=tick.symbol,
            source=tick.source,
            feed=tick.feed,
            session_id=tick.session_id,
            session_seq=tick.session_seq,
            received_at_ns=tick.received_at_ns,
            raw_topic=tick.raw_topic,
            raw_partition=tick.raw_partition,
            raw_offset=tick.raw_offset,
            price=tick.price,
            previous_close=previous,
            change=change,
            change_percent=None if change is None or not previous else 100 * change / previous,
            epoch=route.epoch,
            is_real_time=tick.source == "alpaca",
            market_time_ns=tick.market_time_ns,
            routed_at_ns=now,
        )
        self.routed[tick.symbol] = price
        return price


class Desk:
    """Forwards one partition's ticks, in the order of the log, each under the epoch of its receipt.

    Args:
        next_offset: the first offset of the log that was not taken.

    """

    def __init__(self, next_offset: int = 0) -> None:
        self.book = Book()
        self.next_offset = next_offset
        self.route = NO_ROUTE
        self._ahead: deque[Route] = deque()
        self._next_at: float = math.inf

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

    def take(self, tick: ValidTick, now: int) -> list[RoutedPrice]:
        """Take a tick, and return what goes out, in order."""
        switched = (
            [] if tick.received_at_ns < self._next_at else self.pass_to(tick.received_at_ns, now)
        )
        price = self.book.take(tick, self.route, now)
        return switched if price is None else [*switched, price]

    def pass_to(self, until_ns: int, now: int) -> list[RoutedPrice]:
        """Have the switches up to a moment come into force, and return what they send."""
        sent: list[RoutedPrice] = []
        while self._ahead and self._ahead[0].since_ns <= until_ns:
            self.route = self._ahead.popleft()
            sent += self.book.switch(self.route, now)
        self._look_ahead()
        return sent

    def _look_ahead(self) -> None:
        self._next_at = self._ahead[0].since_ns if self._ahead else math.inf


def _follows(before: Priced | RoutedPrice, tick: Priced) -> bool:
    """Return whether a tick stands at or before another in the same log."""
    return tick.raw_topic == before.raw_topic and tick.raw_offset <= before.raw_offset


def _is_news(tick: Priced, before: Priced) -> bool:
    # Yahoo answers with the same last sale until there is another. Two trades may share a time.
    if isinstance(tick, Last):
        return tick.market_time_ns > before.market_time_ns
    return tick.market_time_ns >= before.market_time_ns
