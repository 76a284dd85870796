"""Is a tick's price to be believed, given what both sources told before? Pure.

`validate` looks at one tick by itself; a `Judge` remembers: one for each partition, which both
sources' ticks pass in one order. It asks the circuit breaker (`processors.breaker`) about prices,
tells it of halts and of limit-up limit-down bands, and marks what came late or out of order.

What was fetched to fill a gap is history: it is neither judged nor remembered. Quotes are marked
and not judged: a one-sided market at night is no mistake.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from infra.market_calendar import BeyondCalendarError, Calendar
from processors import breaker
from processors.breaker import Band, Opened, Seen, Side
from processors.events import (
    Bar,
    BreakerClosed,
    BreakerEvent,
    BreakerOpened,
    Last,
    Luld,
    Quote,
    RejectedTick,
    Status,
    Trade,
    ValidTick,
)
from processors.halts import halted
from processors.validate import Broken, Placed, reject

NS = breaker.NS

#: What Alpaca's stream tells is in real time: later than this is late.
LATE_NS = 10 * NS

#: A price that still stands so long after the session is the official close.
FINAL_NS = 15 * 60 * NS

#: Which kinds of tick carry a last price.
PRICED = (Trade, Last)

#: A trading day ends at midnight in New York or an hour later, when nobody trades.
DAY_NS, DAY_BEGINS_NS = 24 * 3600 * NS, 5 * 3600 * NS

INTERVAL_NS = {"1m": 60 * NS, "5m": 300 * NS, "1d": DAY_NS}


class SymbolState(msgspec.Struct, omit_defaults=True):
    """What is remembered of a symbol (`validate.symbols`).

    Attributes:
        alpaca, yahoo: what each source told.
        close: the close of the session before; None where nobody has told it.
        close_since_ns: the beginning of the trading day that it is the reference of.
        band: the newest limit-up limit-down band.
        halted: whether trading was halted when last told.

    """

    alpaca: Side = msgspec.field(default_factory=Side)
    yahoo: Side = msgspec.field(default_factory=Side)
    close: float | None = None
    close_since_ns: int = 0
    band: Band | None = None
    halted: bool = False


class Judged(NamedTuple):
    """What a run of ticks came to.

    Attributes:
        believed: in order, with their marks.
        doubted: the others, in order, with the rule that each broke.
        changes: of the breakers, in order.

    """

    believed: list[ValidTick]
    doubted: list[tuple[ValidTick, Broken]]
    changes: list[BreakerEvent]


class Judge:
    """What one partition remembers. Bounded by the number of symbols.

    Args:
        calendar: the market's, which says when a price is the official close.

    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._symbols: dict[str, SymbolState] = {}
        self._changes: list[BreakerEvent] = []

    def state(self, symbol: str) -> SymbolState:
        """Return what is remembered of a symbol."""
        return self._symbols.get(symbol) or SymbolState()

    def restore(self, states: Mapping[str, SymbolState]) -> None:
        """Take up what was remembered."""
        self._symbols.update(states)

    def take_all(self, ticks: Iterable[ValidTick]) -> Judged:
        """Judge ticks, in the order of the log, and remember them."""
        believed: list[ValidTick] = []
        doubted: list[tuple[ValidTick, Broken]] = []
        for tick in ticks:
            verdict = self.take(tick)
            if isinstance(verdict, Broken):
                doubted.append((tick, verdict))
            else:
                believed.append(verdict)
        changes, self._changes = self._changes, []
        return Judged(believed, doubted, changes)

    def take(self, tick: ValidTick) -> ValidTick | Broken:
        """Return the tick, marked where it is late or out of order; or the rule that it broke."""
        if tick.gap_id:
            return tick
        state = self._symbols.get(tick.symbol)
        if state is None:
            state = self._symbols[tick.symbol] = SymbolState()
        side = state.alpaca if tick.source == "alpaca" else state.yahoo
        if isinstance(tick, Bar):
            return self._bar(tick, state, side) or tick
        if isinstance(tick, PRICED):
            newest = side.price_ns
            broken = self._price(tick, state, side)
            if broken is not None:
                return broken
        elif isinstance(tick, Quote):
            newest, side.quote_ns = side.quote_ns, max(side.quote_ns, tick.market_time_ns)
        else:
            newest = _news(tick, state, side)
        at = tick.market_time_ns
        late = tick.received_at_ns - at > LATE_NS and tick.source == "alpaca"
        if not late and at >= newest:
            return tick
        return msgspec.structs.replace(tick, late=late, out_of_order=at < newest)

    def _price(self, tick: Trade | Last, state: SymbolState, side: Side) -> Broken | None:
        """Take a price; return the rule that it broke, or None."""
        at, price = tick.market_time_ns, tick.price
        if at >= side.until_ns:
            self._begin_day(tick, state, side)
        elif at < side.since_ns:
            return None  # of a day before: nothing is known of that any more
        if not side.low <= price <= side.high:
            seen = Seen(price, at, tick.received_at_ns, is_final=self._is_final(tick))
            broken = self._ask(tick, seen, state, side)
            if broken is not None:
                return broken
        if at >= side.price_ns:
            side.price, side.price_ns = price, at
        if isinstance(tick, Last):
            _refer(state, tick)
            _refer_to_last(state, tick)
        return None

    def _bar(self, tick: Bar, state: SymbolState, side: Side) -> Broken | None:
        # the one that is still being made is of now
        at = min(tick.market_time_ns + INTERVAL_NS[tick.interval], tick.received_at_ns)
        if (
            tick.interval == "1d"
            or not side.since_ns <= at < side.until_ns
            or side.low <= tick.close <= side.high
        ):
            return None
        return self._ask(tick, Seen(tick.close, at, tick.received_at_ns, is_bar=True), state, side)

    def _ask(
        self, tick: Trade | Last | Bar, seen: Seen, state: SymbolState, side: Side
    ) -> Broken | None:
        """Ask the breaker about a price, note what that changed, and return a broken rule."""
        other = state.yahoo if side is state.alpaca else state.alpaca
        reference = side.reference
        believed, changes = breaker.judge(side, seen, other, state.band)
        self._changes += [_event(change, tick) for change in changes]
        if believed or reference is None:
            return None
        if not seen.is_bar and seen.at_ns >= side.price_ns:
            side.price, side.price_ns = seen.price, seen.at_ns
        moved = 100 * (seen.price / reference - 1)
        return Broken(
            "circuit_breaker",
            f"{seen.price} is {moved:+.1f} % from {reference}, where more than "
            f"{100 * breaker.MOVE:.0f} % need evidence",
        )

    def _begin_day(self, tick: Trade | Last, state: SymbolState, side: Side) -> None:
        since = _day(tick.market_time_ns)
        closed = breaker.begin_day(
            side, since, since + DAY_NS, _reference(state, side, since), tick.price
        )
        if closed is not None:
            self._changes.append(_event(closed, tick))
        if isinstance(tick, Last):
            _refer(state, tick)

    def _is_final(self, tick: Trade | Last) -> bool:
        if tick.source == "alpaca" or tick.received_at_ns - tick.market_time_ns < FINAL_NS:
            return False
        try:
            return self._calendar.state(tick.received_at_ns) != "regular"
        except BeyondCalendarError:
            return False


def rejections(
    records: Sequence[Placed], malformed: Iterable[RejectedTick], judged: Judged
) -> list[RejectedTick]:
    """Return the rejections among a run of records, in its order; one a record, at most.

    Args:
        records: the run.
        malformed: those of ticks that broke a rule by themselves.
        judged: what the others came to.

    """
    rejected = list(malformed)
    if judged.doubted:
        refused = {tick.raw_offset for tick in rejected}
        by_offset = {position.offset: (value, position) for value, position in records}
        for tick, broken in judged.doubted:
            if tick.raw_offset not in refused:
                refused.add(tick.raw_offset)
                rejected.append(reject(*by_offset[tick.raw_offset], broken))
        rejected.sort(key=lambda tick: tick.raw_offset)
    return rejected


def _day(at_ns: int) -> int:
    """Return when the trading day of a moment began."""
    return (at_ns - DAY_BEGINS_NS) // DAY_NS * DAY_NS + DAY_BEGINS_NS


def _reference(state: SymbolState, side: Side, since_ns: int) -> float | None:
    """Return what a day that begins is measured from: the close before, as well as it is known."""
    if state.close_since_ns == since_ns:
        return state.close
    for told in (state.yahoo, side):
        if told.price and told.price_ns < since_ns and told.doubt is None:
            return told.price
    return None


def _refer(state: SymbolState, tick: Last) -> None:
    """Learn from Yahoo what the close was before the day of its tick."""
    since, close = _day(tick.market_time_ns), tick.previous_close
    if close is None or not 0 < close < math.inf or since < state.close_since_ns:
        return
    state.close, state.close_since_ns = close, since
    for side in (state.alpaca, state.yahoo):
        if side.since_ns == since:
            breaker.refer(side, close)


def _refer_to_last(state: SymbolState, tick: Last) -> None:
    """Learn from Yahoo's last price of a day before what Alpaca's day is measured from."""
    since = state.alpaca.since_ns
    if tick.market_time_ns < since != state.close_since_ns:
        breaker.refer(state.alpaca, tick.price)


def _news(tick: ValidTick, state: SymbolState, side: Side) -> int:
    """Take note of a halt, its end, or a band; return the time of the newest of the kind before."""
    at, kind = tick.market_time_ns, type(tick).__name__
    newest = side.newest.get(kind, 0)
    side.newest = {**side.newest, kind: max(newest, at)}
    if at < newest:
        return newest
    if isinstance(tick, Luld) and 0 < tick.limit_down < tick.limit_up:
        state.band = Band(tick.limit_down, tick.limit_up, at)
    elif isinstance(tick, Status) and (now_halted := halted(tick.status_code)) is not None:
        if state.halted and not now_halted:
            breaker.reopen(state.alpaca, at)
            breaker.reopen(state.yahoo, at)
        state.halted = now_halted
    return newest


def _event(change: breaker.Change, tick: ValidTick) -> BreakerEvent:
    what = {
        "symbol": tick.symbol,
        "source": tick.source,
        "reference": change.reference,
        "price": change.price,
        "at_ns": tick.received_at_ns,
        "raw_topic": tick.raw_topic,
        "raw_partition": tick.raw_partition,
        "raw_offset": tick.raw_offset,
    }
    if isinstance(change, Opened):
        return BreakerOpened(**what)  # type: ignore[arg-type]
    return BreakerClosed(**what, evidence=change.evidence, rejected=change.rejected)  # type: ignore[arg-type]
