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

A symbol in quarantine goes out from Yahoo whatever the route is. Of each source the last ten prices
are kept: where the newest is cancelled or corrected, what stands then goes out in its place.

A price goes out at most once an epoch. A tick that comes again (a crash replays) has an offset at
or below one seen before, and changes nothing. Nor does one that was fetched to fill a gap: it is
history, and what is the price now has long been told by what came live.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from processors.events import (
    Cancel,
    Correction,
    Last,
    QuarantineBegan,
    QuarantineEvent,
    QuarantineReason,
    RoutedPrice,
    RouterTransition,
    Source,
    State,
    Trade,
    ValidTick,
)

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
#: Which change one that was told before.
Amendment = Cancel | Correction

#: How many prices of a symbol are kept, by source.
KEPT = 10


def route_of(transition: RouterTransition) -> Route:
    """Return the route that a transition leads to."""
    return Route(transition.epoch, ROUTED_SOURCE[transition.to_state], transition.switched_at_ns)


class BookEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a book has of one symbol.

    Attributes:
        seen: of each source the last prices seen, the newest last.
        routed: the last one that was routed.
        previous_close: the close of the session before.
        quarantine: why it goes out from Yahoo alone; None where it does not.
        fence: how often it went into quarantine or came back.

    """

    seen: list[Priced]
    routed: RoutedPrice | None
    previous_close: float | None
    quarantine: QuarantineReason | None = None
    fence: int = 0


@dataclass(slots=True)
class Book:
    """What one partition remembers. Bounded by the number of symbols."""

    seen: dict[tuple[Source, str], deque[Priced]] = field(default_factory=dict)
    routed: dict[str, RoutedPrice] = field(default_factory=dict)
    previous_close: dict[str, float] = field(default_factory=dict)
    quarantines: dict[str, QuarantineReason] = field(default_factory=dict)
    fences: dict[str, int] = field(default_factory=dict)

    def recall(self, price: RoutedPrice) -> None:
        """Take over a price that was routed before this process began; the latest offset wins."""
        before = self.routed.get(price.symbol)
        if before is None or place_of(price) >= place_of(before):
            self.routed[price.symbol] = price
            if price.previous_close is not None:
                self.previous_close[price.symbol] = price.previous_close

    def take(self, tick: ValidTick, route: Route, now: int) -> RoutedPrice | None:
        """Remember a tick, and return the price to route, if it is one."""
        if tick.gap_id:
            return None
        if not isinstance(tick, Priced):
            return self._amend(tick, route, now) if isinstance(tick, Amendment) else None
        recent = self.seen.get((tick.source, tick.symbol))
        before = recent[-1] if recent else None
        if before is not None and _follows(before, tick):
            return None
        if isinstance(tick, Last) and tick.previous_close is not None:
            self.previous_close[tick.symbol] = tick.previous_close
        if before is not None and not _is_news(tick, before):
            return None
        if recent is None:
            recent = self.seen[tick.source, tick.symbol] = deque(maxlen=KEPT)
        recent.append(tick)
        if tick.source != self._source(tick.symbol, route) or self._is_out(tick):
            return None
        return self._route(tick, route, now)

    def switch(self, route: Route, now: int) -> list[RoutedPrice]:
        """Return what goes out at once when `route` comes into force."""
        return [
            self._route(recent[-1], route, now)
            for (source, symbol), recent in self.seen.items()
            if recent
            and source == self._source(symbol, route)
            and self._newer_than_routed(symbol, recent[-1])
        ]

    def quarantine(self, event: QuarantineEvent, route: Route, now: int) -> list[RoutedPrice]:
        """Route a symbol from Yahoo alone, or no longer so; return what goes out at once.

        In the beginning that is Yahoo's price even if it is older than what was routed, which is
        not to be trusted.
        """
        symbol, begins = event.symbol, isinstance(event, QuarantineBegan)
        self.fences[symbol] = event.fence
        if begins:
            self.quarantines[symbol] = event.reason
        else:
            self.quarantines.pop(symbol, None)
        source = self._source(symbol, route)
        recent = self.seen.get((source, symbol)) if source else None
        if route.source != "alpaca" or not recent:
            return []
        if not begins and not self._newer_than_routed(symbol, recent[-1]):
            return []
        return [self._route(recent[-1], route, now)]

    def state(self, symbol: str) -> BookEntry:
        """Return what is remembered of a symbol."""
        seen = (self.seen.get((source, symbol), ()) for source in SOURCES)
        return BookEntry(
            seen=[tick for recent in seen for tick in recent],
            routed=self.routed.get(symbol),
            previous_close=self.previous_close.get(symbol),
            quarantine=self.quarantines.get(symbol),
            fence=self.fences.get(symbol, 0),
        )

    def restore(self, states: Mapping[str, BookEntry]) -> None:
        """Take up what was remembered."""
        for symbol, state in states.items():
            for tick in state.seen:
                self.seen.setdefault((tick.source, symbol), deque(maxlen=KEPT)).append(tick)
            if state.previous_close is not None:
                self.previous_close[symbol] = state.previous_close
            if state.routed is not None:
                self.recall(state.routed)
            self.fences[symbol] = state.fence
            if state.quarantine is not None:
                self.quarantines[symbol] = state.quarantine

    def _source(self, symbol: str, route: Route) -> Source | None:
        """Return whose prices of a symbol go out."""
        if symbol in self.quarantines and route.source == "alpaca":
            return "yahoo"
        return route.source

    def _is_out(self, tick: Priced) -> bool:
        """Return whether a price went out before this process began, or a newer one of its log."""
        routed = self.routed.get(tick.symbol)
        return routed is not None and _follows(routed, tick)

    def _newer_than_routed(self, symbol: str, tick: Priced) -> bool:
        routed = self.routed.get(symbol)
        return routed is None or tick.market_time_ns > routed.market_time_ns

    def _amend(self, amendment: Amendment, route: Route, now: int) -> RoutedPrice | None:
        """Change what is remembered; return what stands now, if it was the price that is out."""
        recent = self.seen.get((amendment.source, amendment.symbol))
        routed = self.routed.get(amendment.symbol)
        if not recent:
            return None
        found = (i for i, tick in enumerate(recent) if _is_meant(tick, amendment))
        index = next(found, None)
        if index is None:
            return None
        gone, newest = recent[index], index == len(recent) - 1
        if isinstance(amendment, Correction):
            recent[index] = msgspec.structs.replace(
                gone,
                trade_id=amendment.corrected_id,
                price=amendment.corrected_price,
                size=amendment.corrected_size,
                conditions=amendment.corrected_conditions,
            )
        else:
            del recent[index]
        is_out = (
            newest
            and routed is not None
            and routed.source == amendment.source == self._source(amendment.symbol, route)
            and routed.market_time_ns == gone.market_time_ns
            and not _follows(routed, amendment)
        )
        if not (is_out and recent):
            return None
        return self._route(recent[-1], route, now, amendment, gone.raw_offset)

    def _route(
        self,
        tick: Priced,
        route: Route,
        now: int,
        amendment: Amendment | None = None,
        amends: int | None = None,
    ) -> RoutedPrice:
        previous = self.previous_close.get(tick.symbol)
        change = None if previous is None else tick.price - previous
        origin = amendment or tick
        price = RoutedPrice(
            symbol=tick.symbol,
            source=tick.source,
            feed=tick.feed,
            session_id=origin.session_id,
            session_seq=origin.session_seq,
            received_at_ns=origin.received_at_ns,
            raw_topic=origin.raw_topic,
            raw_partition=origin.raw_partition,
            raw_offset=origin.raw_offset,
            price=tick.price,
            previous_close=previous,
            change=change,
            change_percent=None if change is None or not previous else 100 * change / previous,
            epoch=route.epoch,
            is_real_time=tick.source == "alpaca",
            market_time_ns=tick.market_time_ns,
            routed_at_ns=now,
            fence=self.fences.get(tick.symbol, 0),
            amends=amends,
        )
        self.routed[tick.symbol] = price
        return price


def place_of(price: RoutedPrice) -> tuple[int, int, int]:
    """Return what rises with every price of a symbol's that goes out."""
    return price.epoch, price.fence, price.raw_offset


def _is_meant(tick: Priced, amendment: Amendment) -> bool:
    """Return whether an amendment is of a trade. An id is unique only within exchange and tape."""
    if not isinstance(tick, Trade):
        return False
    told = amendment.original_id if isinstance(amendment, Correction) else amendment.trade_id
    return (tick.trade_id, tick.exchange, tick.tape) == (told, amendment.exchange, amendment.tape)


def _follows(before: Priced | RoutedPrice, tick: Priced | Amendment) -> bool:
    """Return whether a tick stands at or before another in the same log."""
    return tick.raw_topic == before.raw_topic and tick.raw_offset <= before.raw_offset


def _is_news(tick: Priced, before: Priced) -> bool:
    # Yahoo answers with the same last sale until there is another. Two trades may share a time.
    if isinstance(tick, Last):
        return tick.market_time_ns > before.market_time_ns
    return tick.market_time_ns >= before.market_time_ns
