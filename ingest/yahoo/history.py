"""The bars of five minutes, fetched whatever the router does: of whom, from when, how often. Pure.

Each symbol's bars are asked for by themselves, in one request for all that are over since the last
one. So whoever falls behind misses nothing: the next request simply brings more bars, up to a day
of them. A poller that was restarted reads in the log what it has.

The budget: users of this undocumented interface report that some 2,000 requests an hour from one
address are put up with. Quotes come first; the bars get what is left, in even steps.

    30 symbols, polls of a minute: 2 calls a minute, 120 an hour. The bars need 30 calls every five
    minutes, one each 10 s: 360 an hour. In all 480.

    500 symbols: 25 calls a minute, 1,500 an hour. That leaves 500 for the bars, one each 7.2 s: a
    round takes an hour, not five minutes, and brings twelve bars a request. In all 2,000.

    500 symbols, polls each 15 s, because Yahoo is routed: 6,000 an hour, and far beyond. The bars
    slow down to one a minute; a round would take eight hours, well within the day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from infra.market_calendar import NS, Calendar
from ingest.yahoo.wire import BAR_S, LAG_S, SPARK_SYMBOLS

#: How far back bars are fetched.
REACH_S = 24 * 60 * 60
#: A bar is asked for this long after its end, for the trades that are reported late.
SETTLE_S = 30
#: A symbol whose bars could not be had is asked for again after this long.
AGAIN_S = BAR_S

HOURLY_BUDGET = 2000
#: Bars are never fetched more slowly than this, however much the polls take of the budget.
SLOWEST_S = 60.0

HOUR_S = 3600.0


def spacing_s(symbols: int, poll_s: float) -> float:
    """Return the seconds from one request for bars to the next.

    Args:
        symbols: how many are followed.
        poll_s: from one poll for quotes to the next.

    """
    polls_an_hour = -(-symbols // SPARK_SYMBOLS) * HOUR_S / poll_s
    left = max(HOUR_S / SLOWEST_S, HOURLY_BUDGET - polls_an_hour)
    return max(BAR_S / max(symbols, 1), HOUR_S / left)


class Window(NamedTuple):
    """Whose bars to ask for, and which: those that begin in [`since_s`, `until_s`)."""

    symbol: str
    since_s: int
    until_s: int


@dataclass(slots=True)
class _Progress:
    """How far a symbol's bars have come; seconds since the epoch."""

    #: Until when they have been told; None before the first answer.
    fetched_s: int | None = None
    #: The end of the last window that was answered.
    asked_s: int = 0
    #: Not before then again.
    again_s: int = 0


class History:
    """What has been fetched of each symbol's bars.

    Args:
        symbols: most important first.
        market: when there are bars.

    """

    def __init__(self, symbols: Sequence[str], market: Calendar) -> None:
        self._market = market
        self._progress = {symbol: _Progress() for symbol in symbols}

    def follow(self, symbols: Sequence[str]) -> None:
        """Take another list."""
        self._progress = {symbol: self._progress.get(symbol) or _Progress() for symbol in symbols}

    def next(self, now_s: int) -> Window | None:
        """Return what to ask for now; None while all is there.

        Whoever was not asked for longest comes first; each once a bar, while the market is open,
        and then for as long as Yahoo may be behind.
        """
        until_s = (now_s - SETTLE_S) // BAR_S * BAR_S
        due = sorted(
            (
                (symbol, progress)
                for symbol, progress in self._progress.items()
                if progress.asked_s < until_s and progress.again_s <= now_s
            ),
            key=lambda pair: pair[1].asked_s,
        )
        for symbol, progress in due:
            since_s = progress.fetched_s
            if since_s is None:
                since_s = self._session_began_s(until_s)
            since_s = max(since_s, until_s - REACH_S)
            news_s = max(since_s, progress.asked_s - LAG_S)
            if self._market.open_ns(news_s * NS, until_s * NS) > 0:
                return Window(symbol, since_s, until_s)
        return None

    def answered(self, window: Window, told_until_s: int) -> None:
        """Note that a window was answered, with all that there was up to `told_until_s`.

        What Yahoo has not told yet, because it is behind or stands still, is asked for again.
        """
        progress = self._progress.get(window.symbol)
        if progress is not None:
            progress.asked_s = window.until_s
            told_s = min(window.until_s, told_until_s // BAR_S * BAR_S)
            progress.fetched_s = max(window.since_s, told_s)

    def published(self, symbol: str, until_s: int) -> None:
        """Note that the log has a symbol's bars up to a moment: a former process had them."""
        progress = self._progress.get(symbol)
        if progress is not None:
            progress.fetched_s = max(progress.fetched_s or 0, until_s)

    def began_s(self, now_s: int) -> int:
        """Return from when on bars are fetched that nobody has: the last session's beginning."""
        return self._session_began_s((now_s - SETTLE_S) // BAR_S * BAR_S)

    def failed(self, window: Window, now_s: int) -> None:
        """Note that a window was not answered: others come first."""
        progress = self._progress.get(window.symbol)
        if progress is not None:
            progress.again_s = now_s + AGAIN_S

    def _session_began_s(self, until_s: int) -> int:
        """Return when the last regular session began; at most a day ago."""
        earliest_s = until_s - REACH_S
        session = self._market.session(until_s * NS - 1)
        while session.state != "regular" and session.since_ns > earliest_s * NS:
            session = self._market.session(session.since_ns - 1)
        return max(earliest_s, session.since_ns // NS)
