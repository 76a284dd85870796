"""What the hub tells its clients, in their words; pure.

Times are ISO 8601 in UTC, because a JavaScript number does not hold nanoseconds. Fields that no
source has told are null.
"""

from datetime import UTC, datetime
from typing import Any, Final

from infra.clock import NS
from processors.events import Last, RoutedPrice, RouterTransition, SessionChanged
from sinks.hub.day import figures

ASSET_CLASS: Final = "STOCK"
PROVIDERS: Final = {"alpaca": "Alpaca", "yahoo": "Yahoo Finance"}
#: From a state of the router: the source that prices come from.
SOURCE_OF: Final = {"PRIMARY_ACTIVE": "alpaca", "FALLBACK_ACTIVE": "yahoo"}


def iso(ns: int) -> str:
    """Return a time as ISO 8601, to the microsecond."""
    seconds, rest = divmod(ns, NS)
    whole = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return whole.isoformat(timespec="microseconds").replace("+00:00", "Z")


def price_update(price: RoutedPrice, day: Last | None = None) -> dict[str, Any]:
    """Return the argument of `PriceUpdate`; the day is that of its symbol, by Yahoo."""
    return {
        "assetClass": ASSET_CLASS,
        "symbol": price.symbol,
        "price": price.price,
        "previousClose": price.previous_close,
        "priceChange": price.change,
        "priceChangePercent": price.change_percent,
        **figures(price, day),
        "timestamp": iso(price.market_time_ns),
        "dataProvider": PROVIDERS[price.source],
        "source": price.source,
        "isRealTime": price.is_real_time,
        "epoch": price.epoch,
    }


def data_source(transition: RouterTransition) -> dict[str, Any]:
    """Return the argument of `DataSourceChanged`."""
    source = SOURCE_OF.get(transition.to_state)
    return {
        "epoch": transition.epoch,
        "previousState": transition.from_state,
        "state": transition.to_state,
        "source": source,
        "dataProvider": PROVIDERS.get(source or ""),
        "isRealTime": source == "alpaca",
        "reason": transition.reason,
        "detail": transition.detail,
        "by": transition.by,
        "timestamp": iso(transition.switched_at_ns),
    }


def market_status(session: SessionChanged | None) -> dict[str, Any]:
    """Return the argument of `CurrentMarketStatus`; before any is known, it says so."""
    if session is None:
        return {
            "assetClass": ASSET_CLASS,
            "market": None,
            "status": "unknown",
            "isOpen": None,
            "since": None,
            "until": None,
        }
    return {
        "assetClass": ASSET_CLASS,
        "market": session.market,
        "status": session.state,
        "isOpen": session.state == "regular",
        "since": iso(session.since_ns),
        "until": None if session.until_ns is None else iso(session.until_ns),
    }
