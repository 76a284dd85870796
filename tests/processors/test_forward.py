"""Which prices go out: of the routed source, in order, each once; and what goes out at a switch."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import forward
from processors.events import (
    Cancel,
    Correction,
    Last,
    QuarantineBegan,
    QuarantineEnded,
    QuarantineEvent,
    Quote,
    RoutedPrice,
    RouterTransition,
    Trade,
)
from processors.forward import KEPT, NO_ROUTE, Book, BookEntry, Route

ALPACA, YAHOO = Route(1, "alpaca"), Route(2, "yahoo")
NOW = 1_000


def _where(source: str, symbol: str, offset: int, at: int) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "source": source,
        "feed": "",
        "session_id": "s",
        "session_seq": offset + 1,
        "received_at_ns": at,
        "raw_topic": f"ticks.raw.{source}",
        "raw_partition": 0,
        "raw_offset": offset,
        "market_time_ns": at,
    }


def trade(offset: int, at: int, price: float = 10, symbol: str = "A", gap_id: str = "") -> Trade:
    """Return a trade of Alpaca's."""
    return Trade(
        **_where("alpaca", symbol, offset, at),
        gap_id=gap_id,
        price=price,
        size=1,
        exchange="V",
        tape="C",
        trade_id=offset,
        conditions=[],
    )


def last(offset: int, at: int, price: float = 20, previous: float | None = None) -> Last:
    """Return a last sale of Yahoo's."""
    return Last(
        **_where("yahoo", "A", offset, at),
        price=price,
        previous_close=previous,
        day_high=None,
        day_low=None,
        volume=None,
        currency="USD",
    )


def quote(offset: int, at: int) -> Quote:
    """Return a quote of Alpaca's."""
    return Quote(
        **_where("alpaca", "A", offset, at),
        bid_price=1,
        bid_size=1,
        bid_exchange="V",
        ask_price=2,
        ask_size=1,
        ask_exchange="V",
        tape="C",
        conditions=[],
    )


def cancel(offset: int, at: int, trade_id: int, **changed: Any) -> Cancel:
    """Return a cancel of a trade of Alpaca's."""
    rest = {"exchange": "V", "tape": "C", "price": 10, "size": 1, "action": "C"}
    fields: dict[str, Any] = {**_where("alpaca", "A", offset, at), **rest, **changed}
    return Cancel(**fields, trade_id=trade_id)


def correction(offset: int, at: int, trade_id: int, price: float) -> Correction:
    """Return a correction of a trade of Alpaca's."""
    return Correction(
        **_where("alpaca", "A", offset, at),
        exchange="V",
        tape="C",
        original_id=trade_id,
        original_price=10,
        original_size=1,
        original_conditions=[],
        corrected_id=1_000 + trade_id,
        corrected_price=price,
        corrected_size=2,
        corrected_conditions=["T"],
    )


def quarantined(fence: int, *, begins: bool = True) -> QuarantineEvent:
    """Return the beginning of a quarantine, or its end."""
    event = QuarantineBegan if begins else QuarantineEnded
    return event(
        symbol="A",
        reason="disagrees",
        detail="",
        at_ns=0,
        fence=fence,
        raw_topic="ticks.raw.yahoo",
        raw_partition=0,
        raw_offset=0,
    )


def take(book: Book, tick: Any, route: Route = ALPACA) -> RoutedPrice | None:
    """Have the book take a tick."""
    return book.take(tick, route, NOW)


def test_a_price_of_the_routed_source_goes_out() -> None:
    """With its epoch, its place, and when it was routed."""
    price = take(Book(), trade(5, 7, 10.25))
    assert price is not None
    assert (price.price, price.epoch, price.raw_offset, price.routed_at_ns) == (10.25, 1, 5, NOW)
    assert price.is_real_time


@pytest.mark.parametrize("route", [NO_ROUTE, YAHOO])
def test_a_price_of_another_source_does_not(route: Route) -> None:
    """Without a route, or with another, nothing goes out."""
    assert take(Book(), trade(0, 1), route) is None


def test_a_quote_is_no_price() -> None:
    """Only trades and last sales carry a last price."""
    assert take(Book(), quote(0, 1)) is None


def test_a_redelivered_tick_goes_out_once() -> None:
    """A crash replays; the replay changes nothing."""
    book = Book()
    assert take(book, trade(3, 5)) is not None
    assert take(book, trade(3, 5)) is None
    assert take(book, trade(2, 9)) is None


def test_a_tick_routed_before_a_restart_does_not_go_out_again() -> None:
    """What the log holds is recalled, and not doubled."""
    before = take(Book(), trade(3, 5))
    assert before is not None
    book = Book()
    book.recall(before)
    assert take(book, trade(3, 5)) is None
    assert take(book, trade(4, 6)) is not None


def test_the_later_of_two_recalled_prices_counts() -> None:
    """The table and the log overlap; whichever is later wins, in any order."""
    source = Book()
    old, new = take(source, trade(3, 5)), take(source, trade(4, 6))
    assert old is not None
    assert new is not None
    book = Book()
    book.recall(new)
    book.recall(old)
    assert book.routed["A"] == new


def test_a_late_trade_is_not_the_latest_price() -> None:
    """A print from before the last one does not take the price back."""
    book = Book()
    take(book, trade(0, 10))
    assert take(book, trade(1, 9)) is None
    assert take(book, trade(2, 10)) is not None


def test_a_last_sale_that_is_polled_again_is_no_news() -> None:
    """Yahoo repeats itself until there is another sale."""
    book = Book()
    assert take(book, last(0, 5), YAHOO) is not None
    assert take(book, last(1, 5), YAHOO) is None
    assert take(book, last(2, 6), YAHOO) is not None


def test_the_change_is_from_the_previous_close() -> None:
    """Whichever source told it; unknown until one has."""
    book = Book()
    first = take(book, trade(0, 1, 11))
    assert first is not None
    assert first.change is None
    take(book, last(0, 2, previous=10))
    price = take(book, trade(1, 3, 11))
    assert price is not None
    assert (price.previous_close, price.change, price.change_percent) == (10, 1, 10)


def test_a_switch_sends_what_is_newer_at_once() -> None:
    """The new source's last price goes out with the new epoch, if it is news."""
    book = Book()
    take(book, trade(0, 5))
    take(book, last(0, 6))
    (price,) = book.switch(YAHOO, NOW)
    assert (price.source, price.epoch, price.price) == ("yahoo", 2, 20)
    assert not price.is_real_time


def test_a_switch_back_sends_again_what_a_delayed_price_had_replaced() -> None:
    """The same tick may go out once an epoch: after an older price of the fallback it is news."""
    book = Book()
    first = take(book, trade(0, 5))
    take(book, last(0, 4), YAHOO)
    (again,) = book.switch(Route(3, "alpaca"), NOW)
    assert first is not None
    assert (again.raw_offset, again.epoch) == (first.raw_offset, 3)


def test_a_switch_sends_nothing_older() -> None:
    """A delayed price does not follow a newer one of the other source."""
    book = Book()
    take(book, trade(0, 5))
    take(book, last(0, 4))
    assert book.switch(YAHOO, NOW) == []


def test_a_switch_to_nothing_sends_nothing() -> None:
    """With both sources away there is no price to trust."""
    book = Book()
    take(book, trade(0, 5))
    assert book.switch(Route(2, None), NOW) == []


# -- what was told is taken back, or changed


def test_what_stands_goes_out_where_the_price_is_cancelled() -> None:
    """The trade before it, in the place of the cancelled one, and by the place of the cancel."""
    book = Book()
    take(book, trade(0, 5, 10))
    take(book, trade(1, 6, 99))
    price = take(book, cancel(2, 7, trade_id=1))
    assert price is not None
    assert (price.price, price.market_time_ns, price.raw_offset, price.amends) == (10, 5, 2, 1)
    assert take(book, cancel(3, 8, trade_id=1)) is None
    later = take(book, trade(4, 8, 11))
    assert later is not None
    assert later.amends is None


def test_a_corrected_price_goes_out_corrected() -> None:
    """And may be cancelled by its new id."""
    book = Book()
    take(book, trade(0, 5, 10))
    take(book, trade(1, 6, 99))
    price = take(book, correction(2, 7, 1, 12))
    assert price is not None
    assert (price.price, price.market_time_ns, price.raw_offset, price.amends) == (12, 6, 2, 1)
    assert take(book, correction(2, 7, 1, 12)) is None  # the same record again
    gone = take(book, cancel(3, 8, trade_id=1_001))
    assert gone is not None
    assert (gone.price, gone.market_time_ns) == (10, 5)


def test_what_is_not_the_price_any_more_is_changed_in_silence() -> None:
    """Nobody's price is that; but it will not come back at a switch."""
    book = Book()
    take(book, trade(0, 5, 10))
    take(book, trade(1, 6, 11))
    assert take(book, cancel(2, 7, trade_id=0)) is None
    assert [tick.price for tick in book.seen["alpaca", "A"]] == [11]


def test_the_only_price_that_is_known_stands_even_cancelled() -> None:
    """There is nothing to put in its place until there is another."""
    book = Book()
    take(book, trade(0, 5, 10))
    assert take(book, cancel(1, 6, trade_id=0)) is None
    assert take(book, trade(2, 7, 11)) is not None


def test_a_cancelled_price_does_not_go_out_at_a_switch() -> None:
    """Even where another source was routed when it was cancelled."""
    book = Book()
    take(book, trade(0, 5, 10), YAHOO)
    take(book, trade(1, 6, 99), YAHOO)
    assert take(book, cancel(2, 7, trade_id=1), YAHOO) is None
    (price,) = book.switch(Route(3, "alpaca"), NOW)
    assert price.price == 10


@pytest.mark.parametrize(
    "other",
    [
        cancel(2, 7, trade_id=8),
        cancel(2, 7, trade_id=1, exchange="D"),
        cancel(2, 7, trade_id=1, tape="A"),
        cancel(2, 7, trade_id=1, symbol="B"),
        cancel(2, 7, trade_id=1, gap_id="g"),
        cancel(2, 7, trade_id=1, source="yahoo"),
    ],
)
def test_an_amendment_of_another_trade_changes_nothing(other: Cancel) -> None:
    """An id says which trade only with symbol, exchange and tape; history is not live."""
    book = Book()
    take(book, trade(0, 5, 10))
    take(book, trade(1, 6, 11))
    assert take(book, other) is None
    assert book.routed["A"].price == 11


def test_an_amendment_that_went_out_before_a_restart_does_not_again() -> None:
    """The log of routed prices is recalled; then the ticks come again."""
    ticks = [trade(0, 5, 10), trade(1, 6, 99), cancel(2, 7, trade_id=1)]
    before, after = Book(), Book()
    for tick in ticks:
        take(before, tick)
    after.recall(before.routed["A"])
    assert [take(after, tick) for tick in ticks] == [None] * 3
    assert after.seen == before.seen


def test_the_last_ten_are_kept() -> None:
    """Of each source; so much can be cancelled."""
    book = Book()
    for i in range(KEPT + 5):
        take(book, trade(i, i))
    assert [tick.raw_offset for tick in book.seen["alpaca", "A"]] == list(range(5, KEPT + 5))


# -- quarantine


def test_a_quarantined_symbol_goes_out_from_yahoo_alone() -> None:
    """From the beginning on, which sends what Yahoo has, even if it is older."""
    book = Book()
    take(book, trade(0, 9, 99))
    take(book, last(0, 5))
    (price,) = book.quarantine(quarantined(1), ALPACA, NOW)
    assert (price.source, price.epoch, price.fence, price.market_time_ns) == ("yahoo", 1, 1, 5)
    assert not price.is_real_time
    assert take(book, trade(1, 10)) is None
    assert take(book, last(1, 6)) is not None
    assert take(book, trade(2, 11, symbol="B")) is not None


def test_it_returns_with_what_alpaca_told_meanwhile() -> None:
    """At once, where that is newer."""
    book = Book()
    take(book, last(0, 5))
    book.quarantine(quarantined(1), ALPACA, NOW)
    take(book, trade(1, 10, 21))
    (price,) = book.quarantine(quarantined(2, begins=False), ALPACA, NOW)
    assert (price.source, price.fence, price.price) == ("alpaca", 2, 21)
    assert take(book, last(1, 11)) is None


@pytest.mark.parametrize("route", [YAHOO, Route(2, None)])
def test_where_alpaca_is_not_routed_a_quarantine_sends_nothing(route: Route) -> None:
    """The route is Yahoo's anyway, or nobody's."""
    book = Book()
    take(book, last(0, 5), route)
    assert book.quarantine(quarantined(1), route, NOW) == []
    assert book.quarantine(quarantined(2, begins=False), route, NOW) == []


def test_a_switch_to_alpaca_leaves_out_what_is_in_quarantine() -> None:
    """Its Yahoo price goes out under the new epoch, if it is newer than what did."""
    book = Book()
    take(book, trade(0, 7), YAHOO)
    take(book, last(0, 5), YAHOO)
    book.quarantine(quarantined(1), YAHOO, NOW)
    assert book.switch(Route(3, "alpaca"), NOW) == []
    price = take(book, last(1, 8), Route(3, "alpaca"))
    assert price is not None
    assert (price.source, price.epoch, price.fence) == ("yahoo", 3, 1)


def test_what_is_remembered_is_taken_up_whole() -> None:
    """The last prices of each source in their order, the quarantine and the fence."""
    book = Book()
    for i in range(3):
        take(book, trade(i, i, 10 + i))
        take(book, last(i, i, 20 + i))
    book.quarantine(quarantined(1), ALPACA, NOW)
    encoded = msgspec.json.encode(book.state("A"))
    successor = Book()
    successor.restore({"A": msgspec.json.decode(encoded, type=BookEntry)})
    assert successor == book


@pytest.mark.parametrize(
    ("state", "source"),
    [
        ("PRIMARY_ACTIVE", "alpaca"),
        ("FALLBACK_ACTIVE", "yahoo"),
        ("BOTH_UNAVAILABLE", None),
    ],
)
def test_a_transition_names_the_route(state: Any, source: str | None) -> None:
    """Each state that the router can enter means one source, or none."""
    transition = RouterTransition(
        epoch=9,
        from_state="STARTUP",
        to_state=state,
        reason="startup",
        detail="",
        detected_at_ns=0,
        switched_at_ns=0,
        by="router",
        cause_offset=0,
    )
    assert forward.route_of(transition) == Route(9, source)  # type: ignore[arg-type]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("trade"), st.integers(0, 20)),
            st.tuples(st.just("last"), st.integers(0, 20)),
            st.tuples(st.just("switch"), st.sampled_from(["alpaca", "yahoo", None])),
        ),
        max_size=40,
    )
)
def test_prices_are_in_order_and_follow_the_route(steps: list[tuple[str, Any]]) -> None:
    """Epochs never fall, each price has the routed source, and within one, time never runs back."""
    book, route, out = Book(), NO_ROUTE, []
    for offset, (what, value) in enumerate(steps):
        if what == "switch":
            route = Route(route.epoch + 1, value)
            out += book.switch(route, NOW)
            continue
        tick = trade(offset, value) if what == "trade" else last(offset, value)
        price = take(book, tick, route)
        if price is not None:
            assert price.source == route.source
            out.append(price)
    assert [p.epoch for p in out] == sorted(p.epoch for p in out)
    for source in ("alpaca", "yahoo"):
        times = [p.market_time_ns for p in out if p.source == source]
        assert times == sorted(times)
    identities = [(p.raw_topic, p.raw_offset, p.epoch) for p in out]
    assert len(identities) == len(set(identities))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("trade"), st.integers(0, 20)),
            st.tuples(st.just("last"), st.integers(0, 20)),
            st.tuples(st.just("filled"), st.integers(0, 20)),
            st.tuples(st.just("switch"), st.sampled_from(["alpaca", "yahoo", None])),
        ),
        max_size=40,
    )
)
def test_what_fills_a_gap_changes_nothing(steps: list[tuple[str, Any]]) -> None:
    """History, wherever it comes between live ticks, is not routed and changes no route."""
    with_it, without_it, route = Book(), Book(), NO_ROUTE
    for offset, (what, value) in enumerate(steps):
        if what == "switch":
            route = Route(route.epoch + 1, value)
            assert with_it.switch(route, NOW) == without_it.switch(route, NOW)
        elif what == "filled":
            assert take(with_it, trade(offset, value, 99, gap_id="g"), route) is None
        else:
            tick = trade(offset, value) if what == "trade" else last(offset, value)
            assert take(with_it, tick, route) == take(without_it, tick, route)
        assert with_it == without_it
