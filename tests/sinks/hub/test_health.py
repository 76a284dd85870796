"""How things are said to be, and what a price may be called."""

from typing import Any

import pytest

from ingest.events import Disconnected, Resumed, Stalled, Stopped
from processors.events import SessionChanged
from sinks.hub import health
from sinks.hub.freshness import LIVE_S
from sinks.hub.methods import Hub
from sinks.hub.tally import Tally
from tests.sinks.hub.prices import NOW, beat, price, transition

S = 10**9
OPEN = SessionChanged(
    market="XNYS", state="regular", since_ns=NOW - 3600 * S, until_ns=None, at_ns=NOW
)
JUST_OPEN = SessionChanged(market="XNYS", state="regular", since_ns=NOW, until_ns=None, at_ns=NOW)
CLOSED = SessionChanged(market="XNYS", state="closed", since_ns=NOW, until_ns=None, at_ns=NOW)
ALPACA: dict[str, Any] = {"source": "alpaca", "feed": "iex", "session_id": "s"}


def a_hub(*, state: str = "PRIMARY_ACTIVE", session: SessionChanged | None = OPEN) -> Hub:
    """All is well, unless it says otherwise."""
    hub = Hub()
    hub.switch(transition(state, 1))
    hub.session = session
    hub.sources["alpaca"].take(beat())
    hub.put(price("AAPL", market_time_ns=NOW - S))
    return hub


STOPPED = Stopped(**ALPACA, at_ns=NOW, code=402, detail="auth failed")
MUTE = Stalled(**ALPACA, at_ns=NOW, symbols=[], since_ns=NOW)
ONE_MUTE = Stalled(**ALPACA, at_ns=NOW, symbols=["A"], since_ns=NOW)
AGAIN = Resumed(**ALPACA, at_ns=NOW, symbols=[])
GONE = Disconnected(**ALPACA, at_ns=NOW, reason="timeout", detail="no pong")


@pytest.mark.parametrize(
    ("said", "status", "detail"),
    [
        ([], "Unhealthy", "the Alpaca worker says nothing"),
        ([beat(NOW - 6 * S)], "Unhealthy", "the Alpaca worker says nothing"),
        ([beat()], "Healthy", "connected"),
        ([beat(state="connecting", authenticated=False)], "Degraded", "not connected: connecting"),
        ([STOPPED, beat(state="error")], "Unhealthy", "refused for good: auth failed"),
        ([MUTE, beat()], "Degraded", "connected, and mute"),
        ([ONE_MUTE, beat()], "Healthy", "connected"),
        ([MUTE, AGAIN, beat()], "Healthy", "connected"),
        ([MUTE, GONE, beat()], "Healthy", "connected"),
    ],
)
def test_alpaca(said: list[Any], status: str, detail: str) -> None:
    """By its own words, and by its silence."""
    hub = Hub()
    for each in said:
        hub.sources["alpaca"].take(each)
    found = health.alpaca(hub, NOW)
    assert (found.status, found.detail) == (status, detail)
    assert found.last_disconnect == ("timeout: no pong" if GONE in said else None)


@pytest.mark.parametrize(
    ("state", "status", "source"),
    [
        ("STARTUP", "Degraded", None),
        ("PRIMARY_ACTIVE", "Healthy", "alpaca"),
        ("FALLBACK_ACTIVE", "Degraded", "yahoo"),
        ("BOTH_UNAVAILABLE", "Unhealthy", None),
    ],
)
def test_the_router(state: str, status: str, source: str | None) -> None:
    """Its state, and what happened before, the newest first."""
    hub = a_hub()
    hub.switch(transition(state, 2))
    found = health.data_source(hub, NOW)
    assert (found.status, found.state, found.source, found.epoch) == (status, state, source, 2)
    assert [each.epoch for each in found.transitions] == [2, 1]
    assert health.data_source(Hub(), NOW).state == "UNKNOWN"


def test_the_prices_as_a_whole() -> None:
    """Counted by what they may be called; stale ones are named."""
    hub = a_hub()
    assert health.stocks(hub, NOW).status == "Healthy"
    hub.put(price("OLD", market_time_ns=NOW - (LIVE_S + 1) * S))
    hub.put(price("SLOW", source="yahoo", is_real_time=False))
    found = health.stocks(hub, NOW)
    assert (found.status, found.live, found.delayed, found.stale) == ("Degraded", 1, 1, 1)
    assert found.stale_symbols == ["OLD"]
    assert health.stocks(Hub(), NOW).status == "Unhealthy"


def test_this_hub() -> None:
    """What it measured, and whether anything comes out of the log."""
    hub, tally = a_hub(), Tally()
    tally.now.latency["alpaca"].add(0.02)
    tally.now.round_trip.add(0.01)
    found = health.realtime(hub, tally, {"dashboard": 1}, 12.34, NOW)
    assert (found.status, found.updates_per_second) == ("Healthy", 12.3)
    assert found.latency["alpaca"].count == 1
    assert found.latency["yahoo"].p50 is None
    assert found.one_way_estimate_p50 == pytest.approx(0.005, rel=0.03)
    assert health.realtime(hub, tally, {}, 0, NOW + 6 * S).status == "Unhealthy"


@pytest.mark.parametrize(
    ("hub", "status"),
    [
        (a_hub(), "Healthy"),
        (a_hub(state="FALLBACK_ACTIVE"), "Degraded"),
        (a_hub(state="BOTH_UNAVAILABLE"), "Unhealthy"),
        (Hub(), "Unhealthy"),
    ],
)
def test_the_worst_counts(hub: Hub, status: str) -> None:
    """But for Alpaca: while Yahoo serves we serve."""
    hub.sources["yahoo"].take(beat(source="yahoo"))
    tally = Tally()
    found = health.overall(
        {
            "alpaca": health.alpaca(hub, NOW),
            "datasource": health.data_source(hub, NOW),
            "stocks": health.stocks(hub, NOW),
            "realtime": health.realtime(hub, tally, {}, 0, NOW),
        },
        NOW,
    )
    assert found.status == status
    assert (found.detail == "all is well") is (status == "Healthy")
    assert "silent for 30 s" not in found.detail  # the router's words, or an operator's


def test_symbols() -> None:
    """Those that are followed and those that have a price."""
    hub = a_hub()
    hub.followed = {"alpaca": ["AAPL", "NEW"], "yahoo": ["AAPL"]}
    found = health.symbols(hub)
    assert [(s.symbol, s.followed_by, s.has_price) for s in found.symbols] == [
        ("AAPL", ["alpaca", "yahoo"], True),
        ("NEW", ["alpaca"], False),
    ]
    (active,) = health.active(hub, NOW).symbols
    assert (active.symbol, active.freshness, active.age_seconds) == ("AAPL", "LIVE", 1.0)
