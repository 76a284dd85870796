"""One made-up market, which both simulators read and neither owns.

A price is a function of (seed, symbol, moment) and of nothing else, so two processes that never
talk agree on the market to the cent, today and after a restart. The function is *value noise*: on
each of eight time scales, from four days down to a second, random heights stand at regular moments
and a smooth curve runs through them. A scale's amplitude goes with the square root of its length,
as a random walk's does, so a chart looks alike at any zoom; yet the sum is bounded, so that a price
stays within `REACH` of its base for ever and no rule about plausible moves is ever broken by
accident.

The market never closes: it trades around the clock, on every day, so that a demonstration always
moves. Its day is the UTC day; one day's last price is the next one's previous close.

Bars and the day's range are read off the curve every `STEP_NS`, so bars of any length agree with
each other: the day's high is the highest of its bars' highs.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 24 * 60 * MINUTE_NS

#: How often bars and the day's range look at the price. Divides a minute.
STEP_NS = 15 * SECOND_NS

#: The longest scale's share of the price. From it follows a usual day: about 1 % from close to
#: close, 1.5 % from low to high.
_AMPLITUDE = 0.025
_LONGEST_NS = 4 * DAY_NS
_SCALES = 8
_RATIO = 6

#: (length in ns, amplitude as a share of the price), longest first.
SCALES = tuple(
    (_LONGEST_NS // _RATIO**scale, _AMPLITUDE * _RATIO ** (-scale / 2)) for scale in range(_SCALES)
)

#: No price is ever further than this share from its base.
REACH = sum(amplitude for _, amplitude in SCALES)

#: Random heights a symbol; a power of two. A scale repeats itself after so many of its lengths.
_HEIGHTS = 4096

Tape = Literal["A", "B", "C"]


@dataclass(frozen=True, slots=True)
class Listing:
    """What the market knows of a symbol.

    Attributes:
        base: the price in dollars that it moves around.
        tape: A for New York listings, B for Arca and the regional exchanges, C for Nasdaq.
        turnover: shares a minute, on all exchanges together.

    """

    base: float
    tape: Tape
    turnover: int


LISTINGS = {
    "AAPL": Listing(255.0, "C", 110_000),
    "MSFT": Listing(510.0, "C", 45_000),
    "NVDA": Listing(185.0, "C", 420_000),
    "AMZN": Listing(225.0, "C", 95_000),
    "GOOGL": Listing(245.0, "C", 80_000),
    "META": Listing(720.0, "C", 30_000),
    "TSLA": Listing(430.0, "C", 190_000),
    "BRK.B": Listing(495.0, "A", 9_000),
    "JPM": Listing(310.0, "A", 20_000),
    "V": Listing(345.0, "A", 14_000),
    "UNH": Listing(350.0, "A", 22_000),
    "XOM": Listing(114.0, "A", 34_000),
    "JNJ": Listing(188.0, "A", 18_000),
    "WMT": Listing(103.0, "C", 36_000),
    "MA": Listing(575.0, "A", 6_500),
    "PG": Listing(152.0, "A", 18_000),
    "AVGO": Listing(340.0, "C", 50_000),
    "HD": Listing(400.0, "A", 8_500),
    "CVX": Listing(155.0, "A", 19_000),
    "MRK": Listing(84.0, "A", 27_000),
    "ABBV": Listing(225.0, "A", 13_000),
    "COST": Listing(925.0, "C", 4_500),
    "PEP": Listing(142.0, "C", 17_000),
    "KO": Listing(67.0, "A", 36_000),
    "ADBE": Listing(350.0, "C", 9_000),
    "CRM": Listing(240.0, "A", 17_000),
    "AMD": Listing(165.0, "C", 130_000),
    "NFLX": Listing(1180.0, "C", 8_000),
    "SPY": Listing(665.0, "B", 160_000),
    "QQQ": Listing(600.0, "C", 120_000),
}

#: Alpaca's canary, which its test feed serves around the clock and nobody else knows.
CANARY = "FAKEPACA"
_CANARY_LISTING = Listing(100.0, "C", 1_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a symbol did from `start_ns` to before `end_ns`.

    Attributes:
        start_ns: the first moment in it, ns since the epoch.
        end_ns: the first moment after it.
        open: the price at its start.
        high: the highest price in it.
        low: the lowest price in it.
        close: the price at its end.
        volume: shares traded in its minutes, on all exchanges together.

    """

    start_ns: int
    end_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: int


class Market:
    """The market of one seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._listings = {**LISTINGS, CANARY: _CANARY_LISTING}
        self._curves = {symbol: _Curve(seed, symbol) for symbol in self._listings}
        # A five-minute bar of the past is asked for again at every poll.
        self._bar = lru_cache(maxsize=16_384)(self._measure)

    def listing(self, symbol: str) -> Listing:
        """Return what is known of a symbol; raises KeyError where it trades nowhere here."""
        return self._listings[symbol]

    def price(self, symbol: str, at_ns: int) -> float:
        """Return the price in dollars, in whole cents, at a moment in ns since the epoch."""
        return round(self._listings[symbol].base * (1 + self._curves[symbol].drift(at_ns)), 2)

    def bar(self, symbol: str, start_ns: int, end_ns: int) -> Bar:
        """Return the bar of [start, end), both of which are multiples of `STEP_NS`."""
        return self._bar(symbol, start_ns, end_ns)

    def previous_close(self, symbol: str, at_ns: int) -> float:
        """Return the price with which the UTC day before `at_ns` ended."""
        return self.price(symbol, day_start(at_ns))

    def day(self, symbol: str, at_ns: int) -> Bar:
        """Return the bar of the UTC day up to and including `at_ns`."""
        start = day_start(at_ns)
        last_step = at_ns - at_ns % STEP_NS
        # Whole hours are remembered, so that a poll at 23:59 does not walk the whole day again.
        whole_hours = range(start, last_step - 60 * MINUTE_NS + 1, 60 * MINUTE_NS)
        bars = [self.bar(symbol, hour, hour + 60 * MINUTE_NS) for hour in whole_hours]
        tail = whole_hours[-1] + 60 * MINUTE_NS if whole_hours else start
        if tail < last_step:
            bars.append(self._measure(symbol, tail, last_step))
        now = self.price(symbol, at_ns)
        first = self.price(symbol, start)
        return Bar(
            start_ns=start,
            end_ns=at_ns,
            open=first,
            high=max(now, first, *(bar.high for bar in bars)),
            low=min(now, first, *(bar.low for bar in bars)),
            close=now,
            volume=sum(bar.volume for bar in bars),
        )

    def _measure(self, symbol: str, start_ns: int, end_ns: int) -> Bar:
        prices = [self.price(symbol, at) for at in range(start_ns, end_ns + 1, STEP_NS)]
        turnover = self._listings[symbol].turnover
        busyness = self._curves[symbol].busyness
        # A minute belongs to the bar it ends in: bars side by side share out the day's volume.
        minutes = range(start_ns // MINUTE_NS, end_ns // MINUTE_NS)
        return Bar(
            start_ns=start_ns,
            end_ns=end_ns,
            open=prices[0],
            high=max(prices),
            low=min(prices),
            close=prices[-1],
            volume=sum(round(turnover * busyness(minute)) for minute in minutes),
        )


class _Curve:
    """The noise of one symbol: the same heights serve every scale, each from another place."""

    __slots__ = ("_heights", "_rises", "_scales")

    def __init__(self, seed: int, symbol: str) -> None:
        # A text seed is hashed by SHA-512: alike in every process and on every platform.
        noise = random.Random(f"{seed}/{symbol}")
        self._heights = [noise.uniform(-1, 1) for _ in range(_HEIGHTS)]
        # From each height to the next, over the end as well: what every price of the tape looks up.
        following = [*self._heights[1:], self._heights[0]]
        self._rises = [
            (height, after - height) for height, after in zip(self._heights, following, strict=True)
        ]
        # Each scale is shifted, so that no two symbols turn at the same moment.
        self._scales = [
            (SECOND_NS / length, amplitude, noise.uniform(0, _HEIGHTS))
            for length, amplitude in SCALES
        ]

    def drift(self, at_ns: int) -> float:
        """Return how far the price is from its base, as a share of it, within +-`REACH`."""
        rises = self._rises
        seconds = at_ns / SECOND_NS
        total = 0.0
        for per_second, amplitude, shift in self._scales:
            place = seconds * per_second + shift
            left = int(place)
            x = place - left
            height, rise = rises[left & (_HEIGHTS - 1)]
            total += amplitude * (height + rise * x * x * (3 - 2 * x))
        return total

    def busyness(self, minute: int) -> float:
        """Return how busy a minute is: 0.5 to 1.5 times the usual."""
        return 1 + self._heights[minute % _HEIGHTS] / 2


def day_start(at_ns: int) -> int:
    """Return the first moment of the UTC day of `at_ns`."""
    return at_ns - at_ns % DAY_NS
