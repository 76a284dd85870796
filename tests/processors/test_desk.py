"""What comes of a partition's ticks: routes as of their receipt, symbols with one of their own."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from infra.market_calendar import ALWAYS_OPEN
from processors.compare import NS
from processors.desk import Desk
from processors.events import QuarantineBegan, QuarantineEnded
from processors.forward import Route, SymbolState
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
    """What speaks for it is not all remembered: the log of quarantines says what was decided."""
    desk = Desk(ALWAYS_OPEN)
    ticks = [t for i in range(9) for t in (trade(i, 15 * i * NS, 80), last(i, 15 * i * NS + NS))]
    assert desk.take_all(ticks, NOW, decides=False).quarantines == []


def test_a_successor_knows_what_was_decided_since_its_predecessor_wrote() -> None:
    """The newest of what was remembered and what is in the log, by the fence."""
    desk = Desk(ALWAYS_OPEN)
    state = SymbolState(seen=[], routed=None, previous_close=None, quarantine="disagrees", fence=3)
    old = [quarantined(1), quarantined(2, begins=False), quarantined(3)]
    desk.restore({"A": state}, old)
    assert desk.book.quarantines == {"A": "disagrees"}
    desk = Desk(ALWAYS_OPEN)
    desk.restore({"A": state}, [*old, quarantined(4, begins=False)])
    assert desk.book.quarantines == {}
    assert desk.book.fences == {"A": 4}


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


@given(steps, st.data())
def test_a_successor_sends_the_rest(told: list[tuple[str, int, Any]], data: st.DataObject) -> None:
    """Cut anywhere, with what was written down there: together they send what one would have."""
    ticks, routes = play(told)
    cut = data.draw(st.integers(0, len(ticks)))
    whole, first, second = Desk(ALWAYS_OPEN), Desk(ALWAYS_OPEN), Desk(ALWAYS_OPEN)
    for route in routes:
        whole.learn(route)
        first.learn(route)
        second.learn(route)
    sent = first.take_all(ticks[:cut], NOW, decides=False).prices
    written = msgspec.json.encode(first.book.state("A"))
    second.restore({"A": msgspec.json.decode(written, type=SymbolState)}, [])
    second.go_on_from(first.route.epoch)
    sent += second.take_all(ticks[cut:], NOW, decides=False).prices
    assert sent == whole.take_all(ticks, NOW, decides=False).prices
