"""Routed prices for the hub's tests."""

from typing import Any

from ingest.events import Heartbeat
from processors.events import RoutedPrice, RouterTransition, SessionChanged

NOW = 1_700_000_000_000_000_000


def price(symbol: str = "AAPL", value: float = 1.0, **other: Any) -> RoutedPrice:
    """A routed price, in real time unless it says otherwise."""
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "session_id": "s",
        "session_seq": 1,
        "received_at_ns": NOW,
        "raw_topic": "ticks.raw.alpaca",
        "raw_partition": 0,
        "raw_offset": 1,
        "previous_close": None,
        "change": None,
        "change_percent": None,
        "epoch": 1,
        "is_real_time": True,
        "market_time_ns": NOW - 1_000_000,
        "routed_at_ns": NOW,
    }
    return RoutedPrice(symbol=symbol, price=value, **{**fields, **other})


def transition(to: str = "FALLBACK_ACTIVE", epoch: int = 2, **other: Any) -> RouterTransition:
    """A transition of the router."""
    fields: dict[str, Any] = {
        "from_state": "PRIMARY_ACTIVE",
        "reason": "timeout",
        "detail": "silent for 30 s",
        "detected_at_ns": NOW,
        "switched_at_ns": NOW,
        "by": "router",
        "cause_offset": 1,
    }
    return RouterTransition(epoch=epoch, to_state=to, **{**fields, **other})  # type: ignore[arg-type]


SESSION = SessionChanged(
    market="XNYS", state="regular", since_ns=NOW, until_ns=NOW + 10**12, at_ns=NOW
)


def beat(at_ns: int = NOW, **other: Any) -> Heartbeat:
    """A source that is well."""
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "session_id": "s",
        "state": "connected",
        "authenticated": True,
        "symbols": 30,
        "messages": 7,
        "last_message_at_ns": at_ns,
    }
    return Heartbeat(at_ns=at_ns, **{**fields, **other})
