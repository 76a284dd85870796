"""What comes of a partition's ticks: routes as of their receipt, symbols with one of their own."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.market_calendar import ALWAYS_OPEN
from processors.compare import NS, PAGES, Page
from processors.desk import Desk, SymbolState
from processors.events import QuarantineBegan, QuarantineEnded
from processors.forward import BookEntry, Route
from tests.processors.test_forward import cancel, last, quarantined, trade

NOW = 10**18


def test_a_tick_goes_out_under_the_route_of_its_receipt() -> None:
    """Whenever it is read; and what the new source has told goes out with the switch."""
    desk = Desk(ALWAYS_OPEN)
    for route in (Route(1, "alpaca", 0), Route(2, "yahoo", 10)):
        desk.learn(route)
    ticks: list[Any] = [trade(0, 5), last(0, 6), trade(1, 9), last(1, 10), trade(2, 11)]
    found = desk.take_all(ticks, NOW).prices
    assert [(p.source, p.epoch, p.market_time_ns) for p in found] == [
        *(("alpaca", 1, 5), ("alpaca", 1, 9), ("yahoo", 2, 10))
    ]


def test_where_a_route_came_into_force_is_told() -> None:
    """Behind the last tick that was taken before; by a tick or by the clock; behind none at all."""
    desk = Desk(ALWAYS_OPEN)
    for route in (Route(1, "alpaca", 0), Route(2, "yahoo", 10), Route(3, "alpaca", 20)):
        desk.learn(route)
    desk.pass_to(0, NOW)
    before = last(0, 6)
    desk.take_all([trade(0, 5), before, trade(1, 11)], NOW + 1)
    desk.pass_to(25, NOW + 2)
    after = trade(1, 11)
    assert [(t.epoch, t.after_topic, t.after_offset, t.at_ns) for t in desk.taken] == [
        (1, "", -1, NOW),
        (2, before.raw_topic, before.raw_offset, NOW + 1),
        (3, after.raw_topic, after.raw_offset, NOW + 2),
    ]


def test_a_symbol_that_disagrees_goes_out_from_yahoo_and_comes_back() -> None:
    """Comparisons decide it, in the order of the log."""
    desk = Desk(ALWAYS_OPEN)
    desk.learn(Route(1, "alpaca", 0))
    ticks: list[Any] = []
    for i in range(10):
        wrong = 2 <= i < 6
        ticks += [trade(i, 15 * i * NS, 80 if wrong else 100), last(i, 15 * i * NS + NS, 100)]
    out = desk.take_all(ticks, NOW)
    assert [(type(e), e.fence) for e in out.quarantines] == [
        *((QuarantineBegan, 1), (QuarantineEnded, 2))
    ]
    assert [c.verdict for c in out.comparisons] == (
        ["consistent"] * 2 + ["inconsistent"] * 4 + ["consistent"] * 4
    )
    sources = [p.source for p in out.prices]
    assert sources == ["alpaca"] * 5 + ["yahoo"] * 5 + ["alpaca"] * 1
    assert [p.fence for p in out.prices] == [0] * 5 + [1] * 5 + [2] * 1


def test_a_symbol_beyond_the_plan_goes_out_from_yahoo_while_alpaca_is_routed() -> None:
    """Alpaca tells of another alone; two minutes of that, and the price that is known is sent."""
    desk = Desk(ALWAYS_OPEN)
    desk.learn(Route(1, "alpaca", 0))
    ticks: list[Any] = []
    for i in range(12):
        others = msgspec.structs.replace(trade(i, 15 * i * NS, 100), symbol="B")
        ticks += [others, last(i, 15 * i * NS + NS, 50 + i)]
    out = desk.take_all(ticks, NOW)
    assert [(e.symbol, e.reason, e.fence) for e in out.quarantines] == [("A", "unheard", 1)]
    sent = [(p.source, p.price, p.is_real_time) for p in out.prices if p.symbol == "A"]
    assert sent == [("yahoo", 50 + i, False) for i in range(8, 12)]


def test_while_what_was_decided_is_folded_again_nothing_is_decided() -> None:
    """The log of quarantines says what was decided."""
    desk = Desk(ALWAYS_OPEN)
    ticks = [t for i in range(9) for t in (trade(i, 15 * i * NS, 80), last(i, 15 * i * NS + NS))]
    assert desk.take_all(ticks, NOW, decides=False).quarantines == []


def known(quarantine: Any, fence: int) -> SymbolState:
    """Return what is remembered of a symbol: whether it is in quarantine."""
    entry = BookEntry(seen=[], routed=None, previous_close=None, quarantine=quarantine, fence=fence)
    return SymbolState(book=entry)


def test_what_was_decided_since_comes_into_force_with_the_tick_that_did_it() -> None:
    """The predecessor wrote it into the log, and died; before that tick it counts for nothing."""
    desk = Desk(ALWAYS_OPEN)
    old = [quarantined(1), quarantined(2, begins=False), quarantined(3)]
    desk.restore({"A": known("disagrees", 3)}, {}, old)
    assert desk.book.quarantines == {"A": "disagrees"}
    desk = Desk(ALWAYS_OPEN)
    ended = quarantined(4, begins=False)
    desk.restore({"A": known("disagrees", 3)}, {}, [*old, ended])
    assert desk.book.quarantines == {"A": "disagrees"}
    tick = last(ended.raw_offset, 5)
    assert (tick.raw_topic, tick.raw_partition) == (ended.raw_topic, ended.raw_partition)
    assert desk.take_all([tick], NOW, decides=False).quarantines == []
    assert desk.book.quarantines == {}
    assert desk.book.fences == {"A": 4}


def test_what_was_decided_by_a_tick_that_is_gone_comes_into_force_with_the_next() -> None:
    """Nobody remembers the symbol, and the log is kept for a time only."""
    desk = Desk(ALWAYS_OPEN)
    event = quarantined(1)
    desk.restore({}, {}, [event])
    assert desk.book.quarantines == {}
    desk.take_all([last(event.raw_offset + 1, 5)], NOW, decides=False)
    assert desk.book.quarantines == {"A": "disagrees"}


steps = st.lists(
    st.one_of(
        st.tuples(st.just("trade"), st.integers(0, 40), st.sampled_from([100.0, 120.0, 80.0])),
        st.tuples(st.just("last"), st.integers(0, 40), st.sampled_from([100.0, 101.0])),
        st.tuples(st.just("cancel"), st.integers(0, 40), st.integers(0, 50)),
        st.tuples(st.just("route"), st.just(0), st.sampled_from(["alpaca", "yahoo", None])),
    ),
    max_size=80,
)


def play(told: list[tuple[str, int, Any]]) -> tuple[list[Any], list[Route]]:
    """Return ticks, received in order, and the routes that come into force between them."""
    ticks, routes, now = list[Any](), [Route(1, "alpaca", 0)], 1
    for offset, (what, pause, value) in enumerate(told):
        now += pause * NS // 2 + 1
        if what == "trade":
            ticks.append(trade(offset, now, value))
        elif what == "last":
            ticks.append(last(offset, now, value))
        elif what == "cancel":
            ticks.append(cancel(offset, now, value))
        else:
            routes.append(Route(routes[-1].epoch + 1, value, now))
    return ticks, routes


@given(steps)
def test_fences_never_go_back(told: list[tuple[str, int, Any]]) -> None:
    """Epoch and fence of a symbol's prices rise; under one of each there is one source."""
    ticks, routes = play(told)
    desk = Desk(ALWAYS_OPEN)
    for route in routes:
        desk.learn(route)
    prices = desk.take_all(ticks, NOW).prices
    fences = [(p.epoch, p.fence) for p in prices]
    assert fences == sorted(fences)
    assert len({(p.epoch, p.fence, p.source) for p in prices}) == len(set(fences))
    identities = [(p.raw_topic, p.raw_offset, p.epoch, p.fence) for p in prices]
    assert len(identities) == len(set(identities))


PAIR = (trade(0, 5), last(0, 6))


class Table:
    """What is written down of a desk, as Kafka has it: encoded, of each key the last."""

    def __init__(self) -> None:
        self.pages: dict[int, bytes] = {}
        self.state = b""
        self.epoch: int | None = None

    def turn(self, desk: Desk) -> None:
        """Write the pages that are due."""
        for page in desk.turn("A"):
            self.pages[page.minute % PAGES] = msgspec.json.encode(page)

    def keep(self, desk: Desk) -> None:
        """Write all that is due."""
        self.turn(desk)
        self.state = msgspec.json.encode(desk.state("A"))
        self.epoch = desk.route.epoch

    def restore(self, desk: Desk, decided: list[Any]) -> None:
        """Give it to a successor."""
        pages = [msgspec.json.decode(page, type=Page) for page in self.pages.values()]
        states = {"A": msgspec.json.decode(self.state, type=SymbolState)} if self.state else {}
        desk.restore(states, {"A": pages}, decided)


@given(steps, st.data())
def test_a_successor_tells_the_rest(told: list[tuple[str, int, Any]], data: st.DataObject) -> None:
    """Killed anywhere, with what was written down some time before: as if there had been none.

    Also where pages were written on the way, and the state that leaves them out was not.
    """
    ticks, routes = play(told)
    cuts = sorted(data.draw(st.integers(0, len(ticks))) for _ in range(5))
    begun, kept, turned, committed, killed = cuts
    whole, first, second = Desk(ALWAYS_OPEN), Desk(ALWAYS_OPEN), Desk(ALWAYS_OPEN)
    for route in routes:
        for desk in (whole, first, second):
            desk.learn(route)
    table, prices, compared, decided = Table(), list[Any](), list[Any](), list[Any]()
    for since, until, then in (
        (0, begun, table.keep if begun else lambda _: None),
        (begun, kept, table.keep if kept else lambda _: None),
        (kept, turned, table.turn),
        (turned, killed, lambda _: None),
    ):
        out = first.take_all(ticks[since:until], NOW)
        prices += out.prices
        compared += out.comparisons
        decided += out.quarantines
        then(first)
    table.restore(second, decided)
    second.go_on_from(table.epoch, prices, 0)
    folded = second.take_all(ticks[kept:committed], NOW, decides=False)
    assert folded.quarantines == []
    assert second.unsent() == []
    rest = second.take_all(ticks[committed:], NOW)
    expected = whole.take_all(ticks, NOW)
    assert once(prices + rest.prices) == expected.prices
    assert once(compared + rest.comparisons) == expected.comparisons
    assert decided + rest.quarantines == expected.quarantines
    epochs = [price.epoch for price in prices + rest.prices]
    assert epochs == sorted(epochs)


@pytest.mark.parametrize("epoch", [None, 1, 2])
def test_a_switch_that_was_cut_off_is_finished(epoch: int | None) -> None:
    """It was the clock that did it, no tick comes again, and one symbol's price did not get out.

    Whether it was in force when all was written down, or not, or nothing ever was.
    """
    desks = [Desk(ALWAYS_OPEN), Desk(ALWAYS_OPEN)]
    for desk in desks:
        desk.learn(Route(1, "alpaca", 0))
        desk.learn(Route(2, "yahoo", 10))
    first, second = desks
    ticks = [
        *(msgspec.structs.replace(tick, symbol=symbol) for symbol in "AB" for tick in PAIR),
    ]
    sent = first.take_all(ticks, NOW).prices
    [a, b] = first.pass_to(10, NOW)
    second.go_on_from(epoch, [*sent, a], 0)
    second.take_all(ticks, NOW, decides=False)
    assert second.unsent() + second.pass_to(10, NOW) == [b]


def once(events: list[Any]) -> list[Any]:
    """Return events, what comes again left out."""
    return [event for i, event in enumerate(events) if event not in events[:i]]
