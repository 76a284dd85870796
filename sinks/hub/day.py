"""The day of a stock, as Yahoo tells it with every quote: its volume, its highest and lowest; pure.

Alpaca's free feed sees a few percent of the volume, so the day's figures are Yahoo's, whoever the
price is from. They come out of Yahoo's raw ticks, judged here as `validate` judges them: a few a
second, where the valid ticks are thousands.
"""

from typing import Any, Final

import msgspec

from ingest.events import RawTick
from processors.events import Last, RoutedPrice
from processors.validate import Position, judge

_raw = msgspec.json.Decoder(RawTick)
#: What asks for quotes; the others ask for bars.
QUOTES: Final = {"spark", "chart"}
#: Figures of another day say nothing of this price.
SAME_DAY_NS: Final = 24 * 3600 * 10**9
_NOWHERE: Final = Position("", 0, 0, 0)


def day_of(value: bytes) -> Last | None:
    """Return what a raw tick of Yahoo's says; None where it is no quote, or breaks a rule."""
    raw = _raw.decode(value)
    if raw.feed not in QUOTES or raw.backfill:
        return None
    verdict = judge(value, _NOWHERE, {raw.symbol})
    return verdict if isinstance(verdict, Last) else None


def figures(price: RoutedPrice, day: Last | None) -> dict[str, Any]:
    """Return a price's `volume`, `high24h` and `low24h`: null where they are not known.

    The price itself counts for the highest and lowest, because it may be ahead of Yahoo.
    """
    if day is None or abs(price.market_time_ns - day.market_time_ns) > SAME_DAY_NS:
        return {"volume": None, "high24h": None, "low24h": None}
    return {
        "volume": day.volume,
        "high24h": None if day.day_high is None else max(day.day_high, price.price),
        "low24h": None if day.day_low is None else min(day.day_low, price.price),
    }
