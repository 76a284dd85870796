"""Is a price LIVE, DELAYED or STALE? Pure.

Silence counts while the market is open, and from its opening on: the last price of yesterday is not
stale before there could have been another.
"""

from typing import Final, Literal

from infra.clock import NS
from processors.events import RoutedPrice, RouterTransition, SessionChanged

Freshness = Literal["LIVE", "DELAYED", "STALE"]

#: A stock that somebody looks at trades more often than this.
LIVE_S: Final = 300
#: Yahoo's prices are up to 20 minutes late, and a minute apart.
DELAYED_S: Final = 1800


def silent_ns(price: RoutedPrice, session: SessionChanged | None, now_ns: int) -> int:
    """Return for how long of the present session there has been no newer price."""
    if session is None or session.state != "regular":
        return 0
    return max(0, now_ns - max(price.market_time_ns, session.since_ns))


def freshness(
    price: RoutedPrice,
    transition: RouterTransition | None,
    session: SessionChanged | None,
    now_ns: int,
) -> Freshness:
    """Return what a price may be called, by the route, its source, and its silence."""
    state = transition.to_state if transition else None
    live = price.is_real_time and state == "PRIMARY_ACTIVE"
    limit_s = LIVE_S if live else DELAYED_S
    if state not in {"PRIMARY_ACTIVE", "FALLBACK_ACTIVE"}:
        return "STALE"
    if silent_ns(price, session, now_ns) > limit_s * NS:
        return "STALE"
    return "LIVE" if live else "DELAYED"
