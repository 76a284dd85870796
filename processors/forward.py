"""Which prices go out? Those of the routed source, newest last, each once.

Pure. A `Book` is what one partition remembers: by source and symbol the last price seen, and by
symbol the last one routed. A price goes out when its source is the routed one and it is news: later
on the market than what that source said before. At a switch, the new source's last price of every
symbol goes out at once, where it is newer than what was routed.

A price goes out at most once an epoch. A tick that comes again (a crash replays) has an offset at
or below one seen before, and changes nothing. Nor does one that was fetched to fill a gap: it is
history, and what is the price now has long been told by what came live.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

from processors.events import Last, RoutedPrice, RouterTransition, Source, State, Trade, ValidTick

ROUTED_SOURCE: dict[State, Source | None] = {
    "STARTUP": None,
    "PRIMARY_ACTIVE": "alpaca",
    "FALLBACK_ACTIVE": "yahoo",
    "BOTH_UNAVAILABLE": None,
}


class Route(NamedTuple):
    """What the router's last transition made of it."""

    epoch: int
    source: Source | None


NO_ROUTE = Route(epoch=0, source=None)

#: Which kinds of tick carry a last price.
Priced = Trade | Last


def route_of(transition: RouterTransition) -> Route:
    """Return the route that a transition leads to."""
    return Route(transition.epoch, ROUTED_SOURCE[transition.to_state])


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
        if not isinstance(tick, Priced) or tick.gap_id or self._known(tick):
            return None
        before = self.seen.get((tick.source, tick.symbol))
        if isinstance(tick, Last) and tick.previous_close is not None:
            self.previous_close[tick.symbol] = tick.previous_close
        if before is not None and not _is_news(tick, before):
            return None
        self.seen[tick.source, tick.symbol] = tick
        return self._route(tick, route, now) if tick.source == route.source else None

    def switch(self, route: Route, now: int) -> list[RoutedPrice]:
        """Return what goes out at once when `route` comes into force."""
        return [
            self._route(tick, route, now)
            for (source, symbol), tick in self.seen.items()
            if source == route.source and self._newer_than_routed(symbol, tick)
        ]

    def _known(self, tick: Priced) -> bool:
        seen = self.seen.get((tick.source, tick.symbol))
        if seen is not None and seen.raw_topic == tick.raw_topic:
            return tick.raw_offset <= seen.raw_offset
        routed = self.routed.get(tick.symbol)
        return (
            routed is not None
            and routed.raw_topic == tick.raw_topic
            and tick.raw_offset <= routed.raw_offset
        )

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


def _is_news(tick: Priced, before: Priced) -> bool:
    # Yahoo answers with the same last sale until there is another. Two trades may share a time.
    if isinstance(tick, Last):
        return tick.market_time_ns > before.market_time_ns
    return tick.market_time_ns >= before.market_time_ns
