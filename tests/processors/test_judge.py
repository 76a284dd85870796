"""What a partition remembers of its symbols: marks, references, halts, and the other source."""

from typing import Any

import msgspec
import pytest

from infra import market_calendar
from infra.market_calendar import ALWAYS_OPEN, Calendar
from processors.breaker import NS
from processors.events import (
    Bar,
    BreakerClosed,
    BreakerOpened,
    Cancel,
    Last,
    Luld,
    Quote,
    Status,
    Trade,
    ValidTick,
)
from processors.judge import LATE_NS, Judge, SymbolState
from processors.validate import Broken
from tests.processors.test_forward import last as yahoo
from tests.processors.test_forward import quote as alpaca_quote
from tests.processors.test_forward import trade as alpaca

NOON = 1_795_540_000 * NS  # a second of a Tuesday noon in New York, 2026-11-24
MINUTE_NS, HOUR_NS, DAY_NS = 60 * NS, 3600 * NS, 24 * 3600 * NS


class Bench:
    """A judge, and what came of the ticks so far."""

    def __init__(self, calendar: Calendar = ALWAYS_OPEN) -> None:
        self.judge = Judge(calendar)
        self.offset = 0

    def take(self, tick: ValidTick, at: int, **changed: Any) -> ValidTick | Broken:
        """Return the verdict on a tick of that time, received then unless said otherwise."""
        self.offset += 1
        placed = {"market_time_ns": at, "received_at_ns": at, "raw_offset": self.offset}
        return self.judge.take(msgspec.structs.replace(tick, **{**placed, **changed}))

    def trade(self, price: float, at: int, **changed: Any) -> bool:
        """Take a trade of Alpaca's; return whether it is believed."""
        return isinstance(self.take(alpaca(0, 0, price), at, **changed), Trade)

    def last(self, price: float, at: int, **changed: Any) -> bool:
        """Take a last sale of Yahoo's; return whether it is believed."""
        return isinstance(self.take(yahoo(0, 0, price), at, **changed), Last)

    def changes(self) -> list[Any]:
        """Return what happened to the breakers since it was last asked."""
        return self.judge.take_all([]).changes


@pytest.fixture
def bench() -> Bench:
    """A market that never closes, on which Yahoo told 100 as the close of the day before."""
    bench = Bench()
    bench.last(100, NOON, previous_close=100.0)
    return bench


def of_kind(kind: Any, **fields: Any) -> Any:
    """Return a tick of Alpaca's of another kind."""
    where = msgspec.structs.asdict(alpaca(0, 0))
    return kind(**{k: v for k, v in where.items() if k in kind.__struct_fields__} | fields)


def status(code: str) -> Status:
    """Return a trading status."""
    words = {"status_message": "", "reason_code": "", "reason_message": "", "tape": "C"}
    return of_kind(Status, status_code=code, **words)  # type: ignore[no-any-return]


def luld(down: float, up: float) -> Luld:
    """Return a limit-up limit-down band."""
    return of_kind(Luld, limit_down=down, limit_up=up, indicator="B", tape="C")  # type: ignore[no-any-return]


def bar(close: float, interval: str = "1m") -> Bar:
    """Return a bar."""
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    rest = {"interval": interval, "updated": False, "volume": 1.0, "trade_count": 1, "vwap": None}
    return of_kind(Bar, **prices, **rest)  # type: ignore[no-any-return]


def cancel() -> Cancel:
    """Return a cancelled trade."""
    rest = {"exchange": "V", "tape": "C", "trade_id": 1, "price": 1.0, "size": 1.0, "action": "C"}
    return of_kind(Cancel, **rest)  # type: ignore[no-any-return]


# -- the breaker's rules, bound to ticks


def test_a_price_far_from_the_close_that_yahoo_told_is_refused(bench: Bench) -> None:
    """With the figures, and an event that names the tick."""
    found = bench.take(alpaca(0, 0, 130), NOON + NS)
    assert found == Broken(
        "circuit_breaker", "130 is +30.0 % from 100.0, where more than 20 % need evidence"
    )
    (opened,) = bench.changes()
    assert opened == BreakerOpened(
        symbol="A",
        source="alpaca",
        reference=100,
        price=130,
        at_ns=NOON + NS,
        raw_topic="ticks.raw.alpaca",
        raw_partition=0,
        raw_offset=bench.offset,
    )


def test_quotes_and_cancels_are_not_judged(bench: Bench) -> None:
    """A one-sided quote at night is no mistake, and neither is what takes a trade back."""
    assert isinstance(bench.take(alpaca_quote(0, 0), NOON), Quote)
    assert isinstance(bench.take(cancel(), NOON), Cancel)
    assert bench.changes() == []


def test_the_other_source_is_asked(bench: Bench) -> None:
    """In both directions: whoever comes second confirms the first, by a print of its own."""
    assert not bench.trade(140, NOON + NS)
    assert bench.last(139, NOON + 2 * NS)
    assert bench.trade(141, NOON + 3 * NS)
    found = [(change.source, getattr(change, "evidence", "")) for change in bench.changes()]
    assert found == [("alpaca", ""), ("yahoo", ""), ("yahoo", "confirmed"), ("alpaca", "confirmed")]


def test_a_print_that_was_refused_is_no_reference(bench: Bench) -> None:
    """Nor does it confirm anything by being there twice."""
    assert [bench.trade(140, NOON + i * NS) for i in range(4)] == [False] * 4
    assert bench.trade(101, NOON + 10 * NS)


def test_a_move_that_lasts_is_believed(bench: Bench) -> None:
    """And counts what it cost."""
    found = [bench.trade(140, NOON + 5 * i * NS) for i in range(1, 8)]
    assert found == [False] * 4 + [True] * 3
    closed = bench.changes()[-1]
    assert isinstance(closed, BreakerClosed)
    assert (closed.evidence, closed.rejected, closed.source) == ("persisted", 4, "alpaca")


def test_a_halt_s_end_lets_the_first_price_set_the_level(bench: Bench) -> None:
    """Both sources', each by its first price after it."""
    bench.take(status("H"), NOON + NS)
    assert not bench.trade(140, NOON + 2 * NS)  # nobody trades in a halt
    bench.take(status("T"), NOON + 3 * NS)
    assert bench.trade(140, NOON + 4 * NS)
    assert bench.last(60, NOON + 5 * NS)
    assert [getattr(c, "evidence", "") for c in bench.changes()] == [
        *("", "reopened", "", "reopened")
    ]


@pytest.mark.parametrize("code", ["T", "Q", "?"])
def test_an_end_of_no_halt_says_nothing(bench: Bench, code: str) -> None:
    """Where trading was not halted, it is not resumed."""
    bench.take(status(code), NOON + NS)
    assert not bench.trade(140, NOON + 2 * NS)


def test_an_old_status_that_comes_late_changes_nothing(bench: Bench) -> None:
    """It is marked, and what is known since stands."""
    bench.take(status("H"), NOON + 5 * NS)
    late = bench.take(status("T"), NOON + 4 * NS)
    assert isinstance(late, Status)
    assert late.out_of_order
    assert bench.judge.state("A").halted


def test_a_band_confirms(bench: Bench) -> None:
    """Both sides have to be there."""
    bench.take(luld(0, 150), NOON)
    assert not bench.trade(140, NOON + NS)
    bench.take(luld(130, 150), NOON + 2 * NS)
    assert bench.trade(140, NOON + 3 * NS)


# -- what is measured from


def test_without_yahoo_the_last_price_of_the_day_before_is_measured_from() -> None:
    """As well as the close is known."""
    bench = Bench()
    assert bench.trade(100, NOON)
    assert not bench.trade(130, NOON + DAY_NS)
    assert bench.trade(110, NOON + DAY_NS + NS)


def test_yahoo_s_last_price_of_the_day_before_is_the_close() -> None:
    """Before the opening it tells yesterday's official close, again and again."""
    bench = Bench()
    early = NOON + DAY_NS - 6 * HOUR_NS
    assert bench.trade(126, early)
    assert bench.last(100, NOON + 4 * HOUR_NS, received_at_ns=early + NS, previous_close=99.0)
    assert not bench.trade(126, early + 2 * NS)


def test_the_close_that_yahoo_tells_wins_over_what_was_last_heard() -> None:
    """After a split it is told adjusted."""
    bench = Bench()
    bench.trade(100, NOON)
    assert bench.last(10.2, NOON + DAY_NS, previous_close=10.0)
    assert bench.trade(10.1, NOON + DAY_NS + NS)


@pytest.mark.parametrize("nonsense", [None, 0.0, -1.0, float("inf"), float("nan")])
def test_a_close_that_is_none_is_passed_over(nonsense: float | None) -> None:
    """Then nothing is measured."""
    bench = Bench()
    bench.last(100, NOON, previous_close=nonsense)
    assert bench.trade(150, NOON + NS)
    assert bench.judge.state("A").close is None


def test_a_close_of_an_older_day_is_passed_over(bench: Bench) -> None:
    """An answer that Yahoo serves from yesterday does not change what is measured from today."""
    bench.last(50, NOON - DAY_NS, previous_close=50.0)
    assert bench.trade(101, NOON + NS)


def test_a_price_of_a_day_before_is_not_judged(bench: Bench) -> None:
    """Nothing is known of that day any more; it is marked."""
    found = bench.take(alpaca(0, 0, 10), NOON + NS, market_time_ns=NOON - DAY_NS)
    assert isinstance(found, Trade)
    assert found.late
    bench.trade(101, NOON + 2 * NS)
    found = bench.take(alpaca(0, 0, 10), NOON + 3 * NS, market_time_ns=NOON - DAY_NS)
    assert isinstance(found, Trade)
    assert found.out_of_order


def test_what_stands_long_after_the_session_is_the_close() -> None:
    """Of Yahoo's, where the calendar says that the market is closed."""
    bench = Bench(market_calendar.load())
    close = NOON + 4 * HOUR_NS
    bench.last(100, NOON, previous_close=100.0)
    told = {"market_time_ns": close, "previous_close": 100.0}
    assert not bench.last(140, 0, **told, received_at_ns=close + MINUTE_NS)
    assert bench.last(140, 0, **told, received_at_ns=close + 15 * MINUTE_NS)


# -- bars


def test_a_bar_is_judged_by_its_close(bench: Bench) -> None:
    """It was made of trades that were judged: it can only speak against them."""
    bench.trade(100, NOON)
    assert isinstance(bench.take(bar(140), NOON), Broken)
    assert isinstance(bench.take(bar(110), NOON), Bar)
    assert isinstance(bench.take(bar(140, "1d"), NOON), Bar)
    assert isinstance(bench.take(bar(140), NOON - DAY_NS), Bar)


def test_a_bar_that_is_being_made_is_of_now(bench: Bench) -> None:
    """It does not keep what is traded meanwhile from being heard."""
    bench.trade(100, NOON)
    bench.take(bar(140, "5m"), NOON, received_at_ns=NOON + NS)
    found = [bench.trade(140, NOON + 5 * i * NS) for i in range(1, 7)]
    assert found[-1]


# -- marks


@pytest.mark.parametrize(("behind", "late"), [(LATE_NS, False), (LATE_NS + 1, True)])
def test_a_late_tick_is_marked(bench: Bench, behind: int, *, late: bool) -> None:
    """Alpaca's stream is in real time."""
    found = bench.take(alpaca(0, 0, 100), NOON, received_at_ns=NOON + behind)
    assert isinstance(found, Trade)
    assert found.late is late


def test_yahoo_is_never_late(bench: Bench) -> None:
    """Its prices are delayed by nature; and a bar is told when it is over."""
    found = bench.take(yahoo(0, 0, 100), NOON, received_at_ns=NOON + HOUR_NS)
    assert isinstance(found, Last)
    assert not found.late
    found_bar = bench.take(bar(100), NOON, received_at_ns=NOON + HOUR_NS)
    assert isinstance(found_bar, Bar)
    assert not found_bar.late


def test_a_tick_of_before_is_marked_by_its_kind(bench: Bench) -> None:
    """A quote that came meanwhile does not make a trade come out of order."""
    bench.trade(100, NOON + 5 * NS)
    bench.take(alpaca_quote(0, 0), NOON + 9 * NS)
    same = bench.take(alpaca(0, 0, 100), NOON + 5 * NS)
    before = bench.take(alpaca(0, 0, 100), NOON + 4 * NS)
    quote = bench.take(alpaca_quote(0, 0), NOON + 8 * NS)
    assert isinstance(same, Trade)
    assert isinstance(before, Trade)
    assert isinstance(quote, Quote)
    assert [same.out_of_order, before.out_of_order, quote.out_of_order] == [False, True, True]


def test_sources_have_an_order_each(bench: Bench) -> None:
    """Yahoo tells of long ago: that is no disorder."""
    bench.trade(100, NOON + HOUR_NS)
    found = bench.take(yahoo(0, 0, 100), NOON + MINUTE_NS)
    assert isinstance(found, Last)
    assert not found.out_of_order


def test_history_is_neither_judged_nor_remembered(bench: Bench) -> None:
    """What fills a gap is of then, and tells nothing of now."""
    found = bench.take(alpaca(0, 0, 140), NOON + NS, gap_id="g", received_at_ns=NOON + HOUR_NS)
    assert isinstance(found, Trade)
    assert (found.late, found.out_of_order) == (False, False)
    assert bench.judge.state("A").alpaca.price == 0


# -- what a successor takes up


def test_a_successor_judges_the_same(bench: Bench) -> None:
    """From what was written down in the middle of a move."""
    for i in range(1, 4):
        bench.trade(140, NOON + 5 * i * NS)
    written = msgspec.json.encode(bench.judge.state("A"))
    successor = Bench()
    successor.judge.restore({"A": msgspec.json.decode(written, type=SymbolState)})
    for i in range(4, 8):
        assert successor.trade(140, NOON + 5 * i * NS) == bench.trade(140, NOON + 5 * i * NS)


def test_nothing_is_known_of_a_symbol_that_nobody_told_of() -> None:
    """Its state is that of the beginning."""
    assert Judge(ALWAYS_OPEN).state("A") == SymbolState()
