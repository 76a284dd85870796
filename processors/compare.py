"""Do both sources say the same of the same moment? Pure; one partition's ticks in, verdicts out.

Yahoo's price is of a moment that it names, in whole seconds, and that may be twenty minutes ago. So
it is compared with Alpaca's newest trade of that second or before: what happened then, not what is
said now. Of every symbol a trade a second is kept, for as long as Yahoo may be behind.

Nothing is compared

* outside of the regular session, or while a symbol is halted: there is no market to agree on;
* with a trade that is older than a minute: a symbol that trades seldom disagrees with nobody;
* twice: a price that Yahoo says again, and ticks that fill a gap, are no news.

Volumes are never compared: Alpaca's feed has a few percent of the market's.

What is kept can be written down: the minutes that are over once each, as pages, and the rest with
all else that changes.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable

import msgspec

from infra.market_calendar import Calendar
from processors.events import Comparison, Last, Status, Trade, ValidTick
from processors.halts import halted

NS = 1_000_000_000

#: Prices that differ by more than this are inconsistent.
TOLERANCE_PERCENT = 5.0
#: Alpaca's trade may be so much older than Yahoo's moment.
STALE_NS = 60 * NS
#: Yahoo's moment may be so long ago.
KEPT_NS = 20 * 60 * NS
MINUTE_NS = 60 * NS
#: So many pages a symbol has at most: those that are needed, and some that are being written.
PAGES = 32
#: How many seconds' trades are dropped at a time: so that forgetting costs next to nothing.
SLACK = 256


Traded = tuple[int, float, int]
"""The market time, the price and the offset of a trade of Alpaca's."""


class Page(msgspec.Struct, frozen=True):
    """A symbol's trades of a minute that is over, one a second.

    Attributes:
        minute: how many minutes after the epoch.
        trades: by time.

    """

    minute: int
    trades: list[Traded]


class Heard(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of one symbol, to compare it.

    Attributes:
        trades: Alpaca's, one a second, that are on no page.
        compared_ns: Yahoo's last moment that was compared.
        halted_ns: when the symbol was halted; None where it is not.

    """

    trades: list[Traded] = []
    compared_ns: int = 0
    halted_ns: int | None = None


class History:
    """One symbol's trades of the last twenty minutes, the newest of each second."""

    __slots__ = ("_offsets", "_paged_ns", "_prices", "_times")

    def __init__(self) -> None:
        self._times = array("q")
        self._prices = array("d")
        self._offsets = array("q")
        #: What happened before is on pages.
        self._paged_ns = 0

    def __len__(self) -> int:
        """Return how many trades are kept."""
        return len(self._times)

    def add(self, at_ns: int, price: float, offset: int) -> None:
        """Take a trade; one that happened before the newest is passed over."""
        times = self._times
        if times and at_ns < times[-1]:
            return
        if times and at_ns // NS == times[-1] // NS:
            times[-1], self._prices[-1], self._offsets[-1] = at_ns, price, offset
            return
        times.append(at_ns)
        self._prices.append(price)
        self._offsets.append(offset)
        if len(times) > SLACK and times[SLACK] < at_ns - KEPT_NS:
            del times[:SLACK], self._prices[:SLACK], self._offsets[:SLACK]

    def at(self, moment_ns: int) -> tuple[int, float, int] | None:
        """Return the newest trade at or before a moment; None where that is too long ago."""
        index = bisect_right(self._times, moment_ns) - 1
        if index < 0 or moment_ns < self._times[-1] - KEPT_NS:
            return None
        return self._trade(index)

    @property
    def newest_ns(self) -> int:
        """When the newest trade happened."""
        return self._times[-1]

    def _trade(self, index: int) -> Traded:
        return self._times[index], self._prices[index], self._offsets[index]

    def turn(self) -> list[Page]:
        """Return the pages of minutes that are over, and on no page yet."""
        begun = self._times[-1] // MINUTE_NS
        pages: dict[int, list[Traded]] = {}
        for index in range(bisect_left(self._times, self._paged_ns), len(self._times)):
            minute = self._times[index] // MINUTE_NS
            if minute < begun:
                pages.setdefault(minute, []).append(self._trade(index))
        self._paged_ns = begun * MINUTE_NS
        return [Page(minute, trades) for minute, trades in pages.items()]

    def rest(self) -> list[Traded]:
        """Return the trades that are on no page."""
        first = bisect_left(self._times, self._paged_ns)
        return [self._trade(index) for index in range(first, len(self._times))]

    def restore(self, pages: Iterable[Page], rest: Iterable[Traded]) -> None:
        """Take up what was written down."""
        for page in pages:
            for trade in page.trades:
                self.add(*trade)
            self._paged_ns = (page.minute + 1) * MINUTE_NS
        for trade in rest:
            self.add(*trade)


class Comparer:
    """Compares one partition's ticks, in the order of the log.

    Args:
        calendar: the market's hours.

    """

    def __init__(self, calendar: Calendar) -> None:
        self._calendar = calendar
        self._trades: dict[str, History] = {}
        self._compared: dict[str, int] = {}
        #: By symbol, when it was halted.
        self._halted: dict[str, int] = {}

    def state(self, symbol: str) -> Heard:
        """Return what is remembered of a symbol, but for its pages."""
        history = self._trades.get(symbol)
        return Heard(
            trades=history.rest() if history else [],
            compared_ns=self._compared.get(symbol, 0),
            halted_ns=self._halted.get(symbol),
        )

    def turn(self, symbol: str) -> list[Page]:
        """Return a symbol's pages that were not returned before."""
        history = self._trades.get(symbol)
        return history.turn() if history else []

    def restore(self, symbol: str, heard: Heard, pages: Iterable[Page]) -> None:
        """Take up what was remembered of a symbol.

        Pages that are newer than what was remembered with them are of a worker that died before it
        had written all: what they tell comes again.
        """
        if heard.trades:
            begun = heard.trades[0][0] // MINUTE_NS
            kept = [p for p in pages if begun - KEPT_NS // MINUTE_NS - 1 <= p.minute < begun]
            history = self._trades[symbol] = History()
            history.restore(sorted(kept, key=lambda page: page.minute), heard.trades)
        if heard.compared_ns:
            self._compared[symbol] = heard.compared_ns
        if heard.halted_ns is not None:
            self._halted[symbol] = heard.halted_ns

    def newest_ns(self) -> int:
        """Return when the newest trade of any symbol happened; 0 where there is none."""
        return max((history.newest_ns for history in self._trades.values()), default=0)

    def take(self, tick: ValidTick) -> Comparison | None:
        """Take a tick, and return the comparison that it makes possible."""
        match tick:
            case Trade() if not tick.gap_id:
                history = self._trades.get(tick.symbol)
                if history is None:
                    history = self._trades[tick.symbol] = History()
                history.add(tick.market_time_ns, tick.price, tick.raw_offset)
            case Last():
                return self._compare(tick)
            case Status():
                self._note(tick)
            case _:
                pass
        return None

    def _note(self, status: Status) -> None:
        is_halted = halted(status.status_code)
        if is_halted:
            self._halted.setdefault(status.symbol, status.market_time_ns)
        elif is_halted is False:
            self._halted.pop(status.symbol, None)

    def _compare(self, last: Last) -> Comparison | None:
        symbol, moment_ns = last.symbol, last.market_time_ns
        if moment_ns <= self._compared.get(symbol, 0) or not self.is_traded(symbol, moment_ns):
            return None
        history = self._trades.get(symbol)
        # a sale of second T may have happened until just before T + 1
        trade = history.at(moment_ns + NS - 1) if history else None
        if trade is None or moment_ns - trade[0] > STALE_NS:
            return None
        self._compared[symbol] = moment_ns
        at_ns, price, offset = trade
        delta = 100 * abs(price - last.price) / last.price
        return Comparison(
            symbol=symbol,
            verdict="inconsistent" if delta > TOLERANCE_PERCENT else "consistent",
            alpaca_price=price,
            alpaca_time_ns=at_ns,
            alpaca_offset=offset,
            yahoo_price=last.price,
            yahoo_time_ns=moment_ns,
            delta_percent=delta,
            compared_at_ns=last.received_at_ns,
            raw_topic=last.raw_topic,
            raw_partition=last.raw_partition,
            raw_offset=last.raw_offset,
        )

    def is_traded(self, symbol: str, moment_ns: int) -> bool:
        """Return whether a symbol was traded at a moment: in the regular session, not halted."""
        halted_at = self._halted.get(symbol)
        if halted_at is not None and moment_ns >= halted_at:
            return False
        return self._calendar.state(moment_ns) == "regular"
