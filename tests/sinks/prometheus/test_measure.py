"""What records say in numbers."""

import msgspec
import pytest

from infra import topics
from infra.catalogue import CATALOGUE
from sinks.prometheus.measure import (
    AGE,
    COMPARED,
    DELTA,
    DURATION,
    FRESH_S,
    MEASURED,
    RECEIPT,
    Count,
    Level,
    Levels,
    Observations,
)

SECOND = 1_000_000_000


def _values(*fields: dict[str, object]) -> list[bytes]:
    return [msgspec.json.encode({"symbol": "A", **each}) for each in fields]


def test_valid_ticks_count_by_source() -> None:
    """Every valid tick reached validation."""
    values = _values({"source": "alpaca"}, {"source": "yahoo"}, {"source": "alpaca"})
    assert MEASURED[topics.VALID](values) == [
        Count("datasource_router_messages_processed_total", {"source": "alpaca"}, 2),
        Count("datasource_router_messages_processed_total", {"source": "yahoo"}, 1),
    ]


def test_trades_tell_how_late_they_were_received() -> None:
    """Whichever source is routed; not quotes, and not what fills a gap."""
    times = {"market_time_ns": SECOND, "received_at_ns": 3 * SECOND, "source": "alpaca"}
    values = _values(
        {**times, "kind": "trade"},
        {**times, "kind": "quote"},
        {**times, "kind": "trade", "gap_id": "g"},
    )
    assert MEASURED[topics.VALID](values) == [
        Count("datasource_router_messages_processed_total", {"source": "alpaca"}, 2),
        Observations(RECEIPT, {"source": "alpaca"}, [2.0]),
    ]


def test_rejected_ticks_count_twice() -> None:
    """A rejected tick reached validation as well, and failed it for a reason."""
    values = _values({"source": "alpaca", "reason": "invalid_price"})
    assert MEASURED[topics.REJECTED](values) == [
        Count("datasource_router_messages_processed_total", {"source": "alpaca"}, 1),
        Count("datasource_router_validation_failures_total", {"reason": "invalid_price"}, 1),
    ]


def test_what_fills_a_gap_is_not_live() -> None:
    """History reaches validation by the thousand, and says nothing about the stream."""
    filled: dict[str, object] = {"source": "alpaca", "reason": "malformed", "gap_id": "g"}
    live: dict[str, object] = {"source": "alpaca", "reason": "malformed"}
    assert MEASURED[topics.VALID](_values(filled)) == []
    assert MEASURED[topics.REJECTED](_values(filled)) == []
    assert MEASURED[topics.VALID](_values(filled, live)) == [
        Count("datasource_router_messages_processed_total", {"source": "alpaca"}, 1)
    ]
    mixed = MEASURED[topics.REJECTED](_values(live, filled))
    assert mixed == MEASURED[topics.REJECTED](_values(live))


def test_breakers_count_when_they_open() -> None:
    """The one that closes is no activation."""
    values = _values({"event": "breaker_opened"}, {"event": "breaker_closed"})
    assert MEASURED[topics.BREAKERS](values) == [
        Count("datasource_router_circuit_breaker_total", {"reason": "price_movement_exceeded"}, 1)
    ]
    assert MEASURED[topics.BREAKERS](values[1:]) == []


def test_routed_prices_tell_their_way_and_age() -> None:
    """From receipt to route, and from the market to the route, in seconds."""
    values = _values(
        {
            "source": "yahoo",
            "market_time_ns": SECOND,
            "received_at_ns": 3 * SECOND,
            "routed_at_ns": 5 * SECOND,
        }
    )
    assert MEASURED[topics.ROUTED](values) == [
        Observations(DURATION, {}, [2.0]),
        Observations(AGE, {"source": "yahoo"}, [4.0]),
    ]


def test_comparisons_count_and_tell_the_difference() -> None:
    """By verdict; and how far apart a symbol's prices are now, which is the one series a symbol."""
    values = [
        msgspec.json.encode({"symbol": symbol, "verdict": verdict, "delta_percent": delta})
        for symbol, verdict, delta in [
            ("A", "consistent", 1.0),
            ("B", "inconsistent", 6.0),
            ("A", "consistent", 0.5),
        ]
    ]
    assert MEASURED[topics.COMPARISONS](values) == [
        Count(COMPARED, {"result": "consistent"}, 2),
        Count(COMPARED, {"result": "inconsistent"}, 1),
        Level(DELTA, {"symbol": "A"}, 1.0),
        Level(DELTA, {"symbol": "B"}, 6.0),
        Level(DELTA, {"symbol": "A"}, 0.5),
    ]


def test_a_level_is_forgotten_once_it_is_old() -> None:
    """One that is told again holds on; one that is not goes, once."""
    levels, a, b = Levels(), Level(DELTA, {"symbol": "A"}, 1.0), Level(DELTA, {"symbol": "B"}, 1.0)
    levels.told(a, 0)
    levels.told(b, 0)
    levels.told(a, 100)
    assert levels.expired(FRESH_S) == []
    assert levels.expired(FRESH_S + 1) == [(DELTA, {"symbol": "B"})]
    assert levels.expired(FRESH_S + 1) == []
    assert levels.expired(FRESH_S + 101) == [(DELTA, {"symbol": "A"})]


def test_a_record_that_is_none_is_refused() -> None:
    """The binding sets it aside; it is not counted as anything."""
    with pytest.raises(msgspec.DecodeError):
        MEASURED[topics.REJECTED](_values({"source": "alpaca", "reason": "bad mood"}))


def test_every_sample_is_in_the_catalogue() -> None:
    """The mapping names only metrics that are declared, with the labels declared."""
    declared = {metric.name: set(metric.labels) for metric in CATALOGUE}
    route = {"market_time_ns": 0, "received_at_ns": 0, "routed_at_ns": 0}
    verdict = {"source": "alpaca", "reason": "malformed", "event": "breaker_opened"}
    compared = {"verdict": "consistent", "delta_percent": 0}
    values = _values({**verdict, **route, **compared})
    for measure in MEASURED.values():
        for sample in measure(values):
            assert set(sample.labels) == declared[sample.name]
