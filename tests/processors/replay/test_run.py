"""A replay: which ticks it takes, under which route they go out, and what it does not tell."""

import time
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from infra import topics
from infra.capture import Captured, Header, Span
from infra.market_calendar import ALWAYS_OPEN, Calendar
from infra.topics import Topic
from ingest.events import RawTick, SymbolsFollowed
from processors.events import (
    Merged,
    RoutedPrice,
    RouterTransition,
    RouteTaken,
    SessionChanged,
    State,
)
from processors.replay.run import Event, replay
from processors.replay.summary import Counting

S = 1_000_000_000
START_S = 1_790_000_000


def _at(second: float) -> int:
    return int((START_S + second) * S)


def _captured(topic: Topic, offset: int, event: object, second: float = 0) -> Captured:
    value = msgspec.json.encode(event)
    return Captured(topic.name, 0, offset, _at(second) // 1_000_000, b"k", value)


def _trade(offset: int, second: float, price: float = 100, symbol: str = "AAPL") -> Captured:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(START_S + int(second)))
    vendor = {"T": "t", "i": offset, "S": symbol, "x": "V", "p": price, "s": 1, "t": stamp}
    return _captured(topics.RAW_ALPACA, offset, _raw("alpaca", second, vendor, symbol), second)


def _last(offset: int, second: float, price: float = 100) -> Captured:
    meta = {
        "symbol": "AAPL",
        "regularMarketPrice": price,
        "regularMarketTime": START_S + int(second),
    }
    vendor = {"symbol": "AAPL", "response": [{"meta": meta}]}
    return _captured(topics.RAW_YAHOO, offset, _raw("yahoo", second, vendor, "AAPL"), second)


def _raw(source: Any, second: float, vendor: object, symbol: str) -> RawTick:
    return RawTick(
        source=source,
        feed="iex" if source == "alpaca" else "spark",
        symbol=symbol,
        session_id="s",
        session_seq=1,
        received_at_ns=_at(second),
        encoding="json",
        raw=msgspec.Raw(msgspec.json.encode(vendor)),
    )


def _transition(epoch: int, second: float, to_state: State, generation: int = 1) -> Captured:
    transition = RouterTransition(
        epoch=epoch,
        from_state="STARTUP",
        to_state=to_state,
        reason="startup",
        detail="",
        detected_at_ns=_at(second),
        switched_at_ns=_at(second),
        by="router",
        cause_offset=0,
        generation=generation,
    )
    return _captured(topics.TRANSITIONS, epoch, transition)


def _taken(epoch: int, after: Captured | None) -> Captured:
    taken = RouteTaken(
        epoch=epoch,
        after_topic=f"live.{after.topic}" if after else "",
        after_offset=after.offset if after else -1,
        at_ns=0,
    )
    return _captured(topics.FORWARD_SWITCHES, epoch, taken)


def _merged(yahoo_until: int, alpaca_until: int) -> Captured:
    merged = Merged(yahoo_since=0, yahoo_until=yahoo_until, alpaca_until=alpaca_until, at_ns=0)
    return _captured(topics.VALIDATE_MERGES, yahoo_until, merged)


ORDER = (
    topics.SESSIONS,
    topics.SOURCES_SYMBOLS,
    topics.TRANSITIONS,
    topics.FORWARD_SWITCHES,
    topics.VALIDATE_MERGES,
    topics.RAW_YAHOO,
    topics.RAW_ALPACA,
)


def _replay(
    *records: Captured,
    since: dict[str, int] | None = None,
    begin: int = 0,
    since_s: float = 0,
    calendars: list[str] | None = None,
) -> list[Event]:
    header = Header(
        prefix="live.",
        since_ns=_at(since_s),
        until_ns=_at(1_000),
        captured_at_ns=0,
        spans=[
            Span(
                topic=topic.name,
                partition=0,
                begin=begin,
                since=(since or {}).get(topic.name, begin),
                until=99,
            )
            for topic in ORDER
        ],
    )

    def calendar(market: str) -> Calendar:
        if calendars is not None:
            calendars.append(market)
        return ALWAYS_OPEN

    names = [topic.name for topic in ORDER]
    ordered = sorted(records, key=lambda record: (names.index(record.topic), record.offset))
    return list(replay(header, ordered, symbols={"AAPL"}, calendar=calendar))


def _routed(events: Iterable[Event]) -> list[tuple[str, int, int]]:
    prices = [
        msgspec.json.decode(event.record.value, type=RoutedPrice)
        for event in events
        if event.topic is topics.ROUTED
    ]
    return [(price.source, price.epoch, price.raw_offset) for price in prices]


PRIMARY, FALLBACK = _transition(1, 0, "PRIMARY_ACTIVE"), _transition(2, 10, "FALLBACK_ACTIVE")


def test_ticks_become_verdicts_and_prices_where_they_were() -> None:
    """Under the names of the live topics, with the times that they were received at."""
    events = _replay(PRIMARY, _trade(0, 1), _trade(1, 2, price=0), _last(0, 3))
    assert [(event.topic.name, event.kind) for event in events] == [
        ("ticks.rejected", "invalid_price"),
        ("ticks.valid", "trade"),
        ("prices.routed", "alpaca"),
        ("ticks.valid", "last"),
        ("prices.discrepancies", "consistent"),
    ]
    price = msgspec.json.decode(events[2].record.value, type=RoutedPrice)
    assert (price.raw_topic, price.routed_at_ns) == ("live.ticks.raw.alpaca", _at(1))
    assert events[2].record.timestamp_ms == _at(1) // 1_000_000


def test_without_a_journal_a_route_is_in_force_as_of_a_ticks_receipt() -> None:
    """And what the new source said last goes out with it; the end of the span switches, too."""
    back = _transition(3, 900, "PRIMARY_ACTIVE")
    ticks = [_trade(0, 5), _last(0, 6), _trade(1, 9), _trade(2, 11), _trade(3, 12)]
    assert _routed(_replay(PRIMARY, FALLBACK, back, *ticks)) == [
        *(("alpaca", 1, 0), ("alpaca", 1, 1), ("alpaca", 3, 3))
    ]


def test_a_route_is_in_force_where_the_journal_says() -> None:
    """However late that was, and whatever the clocks said."""
    ticks = [_trade(0, 5), _trade(1, 9), _trade(2, 11), _trade(3, 12), _last(0, 13), _last(1, 14)]
    journal = [_taken(1, None), _taken(2, ticks[2])]
    assert _routed(_replay(PRIMARY, FALLBACK, *journal, *ticks)) == [
        *(("alpaca", 1, 0), ("alpaca", 1, 1), ("alpaca", 1, 2), ("yahoo", 2, 0), ("yahoo", 2, 1))
    ]
    # told twice: nothing had gone out the first time
    journal += [_taken(2, ticks[0])]
    assert ("alpaca", 1, 1) not in _routed(_replay(PRIMARY, FALLBACK, *journal, *ticks))


def test_a_route_that_was_in_force_before_the_capture_is_so_from_the_beginning() -> None:
    """What its journal names was not captured."""
    ticks = [_trade(50, 5), _last(50, 6)]
    journal = [_taken(1, None), _taken(2, _trade(49, 1))]
    assert _routed(_replay(PRIMARY, FALLBACK, *journal, *ticks, begin=50)) == [("yahoo", 2, 50)]


def test_a_transition_that_does_not_count_is_passed_over() -> None:
    """A former router's."""
    former = _transition(2, 3, "FALLBACK_ACTIVE", generation=0)
    assert _routed(_replay(PRIMARY, former, _trade(0, 5))) == [("alpaca", 1, 0)]


def test_what_was_before_the_span_is_known_and_not_told() -> None:
    """A price that did not change since is no news, and a switch of before is over."""
    ticks = [_trade(0, 5), _last(0, 6), _trade(1, 7), _last(1, 8), _trade(2, 9)]
    since = {topics.RAW_ALPACA.name: 2, topics.RAW_YAHOO.name: 1}
    whole = _replay(PRIMARY, *ticks)
    told = _replay(PRIMARY, *ticks, since=since, since_s=7.5)
    assert 0 < len(told) < len(whole)
    assert told == [event for event in whole if event in told]
    assert _routed(told) == [("alpaca", 1, 2)]


def test_the_journal_of_merges_decides_the_order() -> None:
    """Yahoo's price is compared with what had been told by then."""
    ticks = [_trade(0, 1, 100), _trade(1, 2, 101), _last(0, 2, 100)]
    late, early = _replay(*ticks, _merged(1, 2)), _replay(*ticks, _merged(1, 1))
    kinds = [event.kind for event in early if event.topic is topics.VALID]
    assert kinds == ["trade", "last", "trade"]
    delta = [
        msgspec.json.decode(event.record.value)["delta_percent"]
        for events in (late, early)
        for event in events
        if event.topic is topics.COMPARISONS
    ]
    assert delta == [1, 0]


def test_symbols_and_the_market_are_those_that_were() -> None:
    """Of what is followed, and of the last session; nobody's where nobody told it."""
    followed = SymbolsFollowed(source="alpaca", symbols=["ZZZ"], origin="", at_ns=0)
    session = SessionChanged(market="XNYS", state="regular", since_ns=0, until_ns=1, at_ns=0)
    stranger = _trade(0, 5, symbol="ZZZ")
    calendars: list[str] = []
    (event,) = _replay(stranger, calendars=calendars)
    assert event.kind == "unknown_symbol"
    told = (_captured(topics.SOURCES_SYMBOLS, 0, followed), _captured(topics.SESSIONS, 0, session))
    (event,) = _replay(*told, stranger, calendars=calendars)
    assert event.kind == "trade"
    assert calendars == ["", "XNYS"]


def test_records_that_nobody_can_read_are_rejected_or_told() -> None:
    """A raw tick is bad input; a journal that is none makes the replay worthless."""
    raw = Captured(topics.RAW_ALPACA.name, 0, 0, 0, None, None)
    (event,) = _replay(raw)
    assert event.kind == "malformed"
    journal = Captured(topics.VALIDATE_MERGES.name, 0, 0, 0, None, b"{}")
    with pytest.raises(
        ValueError, match=r"record validate.merges/0/0 cannot be read: .*yahoo_since"
    ):
        _replay(journal, _trade(0, 1))


def test_a_summary_tells_any_difference() -> None:
    """By topic: another value, another order, another partition; kinds are counted."""
    events = _replay(PRIMARY, _trade(0, 1), _trade(1, 2), _trade(2, 3, price=0))

    def digests(events: Iterable[Event]) -> dict[str, str]:
        counting = Counting()
        for event in events:
            counting.add(event)
        return counting.summary().digests

    counting = Counting()
    for event in events:
        counting.add(event)
    assert counting.summary().kinds == {
        "prices.routed": {"alpaca": 2},
        "ticks.rejected": {"invalid_price": 1},
        "ticks.valid": {"trade": 2},
    }
    same = digests(events)
    assert digests(iter(events)) == same
    assert digests(reversed(events))["ticks.valid"] != same["ticks.valid"]
    elsewhere = [event._replace(partition=1) for event in events]
    assert digests(elsewhere)["ticks.rejected"] != same["ticks.rejected"]
    fewer = [event for event in events if event.record != events[-1].record]
    assert digests(fewer)["prices.routed"] != same["prices.routed"]
