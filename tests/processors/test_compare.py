"""Both sources at the same moment of the market: what is compared, with what, and what is not."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra import market_calendar
from infra.market_calendar import ALWAYS_OPEN
from processors.compare import KEPT_NS, NS, SLACK, STALE_NS, Comparer, History
from processors.events import Last, Status, Trade
from tests.processors.test_forward import last as yahoo
from tests.processors.test_forward import trade as alpaca

T0 = 1_795_540_000 * NS  # a second of a Tuesday noon in New York, 2026-11-24


def trade(offset: int, at: int, price: float, **changed: Any) -> Trade:
    """Return a trade of Alpaca's."""
    return msgspec.structs.replace(alpaca(offset, at, price), **changed)


def last(offset: int, at: int, price: float) -> Last:
    """Return a last sale of Yahoo's, which was received a minute after it happened."""
    return msgspec.structs.replace(yahoo(offset, at, price), received_at_ns=at + 60 * NS)


def status(code: str, at: int) -> Status:
    """Return a trading status."""
    where = msgspec.structs.asdict(alpaca(0, at))
    kept = {k: v for k, v in where.items() if k in Status.__struct_fields__}
    words = {"status_message": "", "reason_code": "", "reason_message": "", "tape": "C"}
    return Status(**{**kept, **words, "status_code": code})


def verdicts(*ticks: Any, calendar: Any = ALWAYS_OPEN) -> list[tuple[str, float]]:
    """Return verdict and Alpaca's price of every comparison."""
    comparer = Comparer(calendar)
    found = [comparer.take(tick) for tick in ticks]
    return [(c.verdict, c.alpaca_price) for c in found if c is not None]


def test_the_newest_trade_of_yahoos_second_or_before_is_compared() -> None:
    """Not what Alpaca says now, which is another moment."""
    ticks = [trade(i, T0 + i * NS // 2, 100 + i) for i in range(6)]
    comparer = Comparer(ALWAYS_OPEN)
    for tick in ticks:
        comparer.take(tick)
    found = comparer.take(last(9, T0 + NS, 100))
    assert found is not None
    assert (found.alpaca_price, found.alpaca_time_ns) == (103, T0 + 3 * NS // 2)
    assert (found.alpaca_offset, found.raw_offset) == (3, 9)
    assert found.verdict == "consistent"
    assert found.delta_percent == pytest.approx(3)
    assert (found.yahoo_price, found.yahoo_time_ns) == (100, T0 + NS)
    assert found.compared_at_ns == T0 + 61 * NS


@pytest.mark.parametrize(
    ("price", "verdict"),
    [(105, "consistent"), (95, "consistent"), (105.1, "inconsistent"), (94.9, "inconsistent")],
)
def test_more_than_five_percent_is_inconsistent(price: float, verdict: str) -> None:
    """Of Yahoo's price, in either direction."""
    assert verdicts(trade(0, T0, price), last(0, T0, 100)) == [(verdict, price)]


@pytest.mark.parametrize(
    "ticks",
    [
        (last(0, T0, 100),),
        (trade(0, T0 + NS, 100), last(0, T0, 100)),
        (trade(0, T0 - STALE_NS - 1, 100), last(0, T0, 100)),
        (trade(0, T0, 100, gap_id="g"), last(0, T0, 100)),
        (trade(0, T0, 100, symbol="B"), last(0, T0, 100)),
        (trade(0, T0, 100), status("H", T0), last(0, T0, 100)),
        (trade(0, T0, 100), status("2", T0 - NS), status("5", T0), last(0, T0, 100)),
    ],
    ids=["no trade", "later", "stale", "of a gap", "another", "halt", "still"],
)
def test_what_says_nothing_is_not_compared(ticks: tuple[Any, ...]) -> None:
    """Silence is better than a false alarm."""
    assert verdicts(*ticks) == []


def test_the_same_price_again_is_no_news() -> None:
    """Yahoo answers with the last sale until there is another."""
    ticks = (trade(0, T0, 100), last(0, T0, 100), last(1, T0, 100), last(2, T0 - NS, 100))
    assert len(verdicts(*ticks)) == 1


def test_after_a_halt_it_goes_on() -> None:
    """And what happened before it may still be compared."""
    before = (trade(0, T0, 100), status("H", T0 + NS), last(0, T0, 100))
    after = (status("T", T0 + 9 * NS), trade(1, T0 + 9 * NS, 100), last(1, T0 + 9 * NS, 100))
    assert len(verdicts(*before, *after)) == 2


def test_outside_of_the_session_there_is_no_market_to_agree_on() -> None:
    """By the moment that is compared, not by when it is heard of."""
    calendar = market_calendar.load()
    night = T0 + 12 * 3600 * NS
    assert verdicts(trade(0, T0, 100), last(0, T0, 100), calendar=calendar)
    assert not verdicts(trade(0, night, 100), last(0, night, 100), calendar=calendar)


@given(st.lists(st.tuples(st.integers(0, 4 * NS), st.floats(1, 100)), min_size=1, max_size=200))
def test_a_history_answers_as_a_list_would(steps: list[tuple[int, float]]) -> None:
    """For the end of every second within its reach."""
    history, told, now = History(), [], T0
    for offset, (passed, price) in enumerate(steps):
        now += passed
        history.add(now, price, offset)
        told.append((now, price, offset))
    for second in range(T0 // NS, now // NS + 2):
        moment = (second + 1) * NS - 1
        earlier = [t for t in told if t[0] <= moment]
        assert history.at(moment) == (earlier[-1] if earlier else None)


def test_a_history_is_bounded() -> None:
    """A day of trades, many a second, is twenty minutes of one a second."""
    history = History()
    for step in range(40_000):
        history.add(T0 + step * NS // 4, 1.0, step)
    assert len(history) <= KEPT_NS // NS + 2 * SLACK
    newest = T0 + 39_999 * NS // 4
    assert history.at(newest - KEPT_NS + NS) is not None
