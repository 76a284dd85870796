"""What speaks against Alpaca's price of one symbol, and what for it again."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.compare import NS
from processors.events import Comparison, QuarantineBegan, QuarantineEnded, QuarantineEvent
from processors.quarantine import SILENT_NS, SPAN_NS, Warden
from tests.processors.test_compare import T0, last, trade


def comparison(second: int, *, consistent: bool) -> Comparison:
    """Return a comparison of Yahoo's sale of a second."""
    at = T0 + second * NS
    return Comparison(
        symbol="A",
        verdict="consistent" if consistent else "inconsistent",
        alpaca_price=100,
        alpaca_time_ns=at,
        alpaca_offset=7,
        yahoo_price=100 if consistent else 110,
        yahoo_time_ns=at,
        delta_percent=0 if consistent else 9.1,
        compared_at_ns=at + 60 * NS,
        raw_topic="ticks.raw.yahoo",
        raw_partition=0,
        raw_offset=second,
    )


class Watch:
    """A warden, told of one symbol second by second."""

    def __init__(self) -> None:
        self.warden = Warden()

    def compared(self, second: int, *, consistent: bool) -> QuarantineEvent | None:
        """Yahoo tells a sale that can be compared."""
        sale = last(second, T0 + second * NS, 100)
        found = comparison(second, consistent=consistent)
        newest = trade(second, T0 + second * NS, 100)
        return self.warden.look(sale, newest, found, alpaca_routed=True)

    def sold(
        self,
        second: int,
        price: float,
        alpaca: tuple[int, float] | None = (0, 100.0),
        *,
        routed: bool = True,
    ) -> QuarantineEvent | None:
        """Yahoo tells a sale that cannot be compared; Alpaca's last trade was (second, price)."""
        known = trade(1, T0 + alpaca[0] * NS, alpaca[1]) if alpaca else None
        sale = last(second, T0 + second * NS, price)
        return self.warden.look(sale, known, None, alpaca_routed=routed)

    def others(self, second: int) -> None:
        """Alpaca tells a trade of another symbol."""
        self.warden.hear(T0 + second * NS)


def test_a_symbol_that_disagrees_three_times_is_put_in_quarantine() -> None:
    """Over twenty seconds or more; the event says which tick decided it, and why."""
    watch = Watch()
    assert watch.compared(0, consistent=False) is None
    assert watch.compared(15, consistent=False) is None
    event = watch.compared(30, consistent=False)
    assert event == QuarantineBegan(
        symbol="A",
        reason="disagrees",
        detail="3 comparisons in a row are inconsistent, the last by 9.1 %: 100 at Alpaca, "
        "110 at Yahoo",
        at_ns=T0 + 90 * NS,
        fence=1,
        raw_topic="ticks.raw.yahoo",
        raw_partition=0,
        raw_offset=30,
    )


def test_three_in_a_breath_are_not_enough() -> None:
    """A poll a second while Yahoo is routed makes one bad moment no bad symbol."""
    watch = Watch()
    span = SPAN_NS // NS
    found = [watch.compared(second, consistent=False) for second in range(span + 1)]
    assert [second for second, event in enumerate(found) if event] == [span]


def test_one_that_agrees_in_between_begins_anew() -> None:
    """In a row means in a row."""
    watch = Watch()
    for second, consistent in ((0, False), (15, False), (30, True), (45, False), (60, False)):
        assert watch.compared(second, consistent=consistent) is None
    assert watch.compared(75, consistent=False) is not None


def test_it_returns_when_three_agree() -> None:
    """By the same measure as it went."""
    watch = Watch()
    for second in (0, 15, 30):
        watch.compared(second, consistent=False)
    for second, consistent in ((45, True), (60, True), (75, False), (90, True), (105, True)):
        assert watch.compared(second, consistent=consistent) is None
    event = watch.compared(120, consistent=True)
    assert isinstance(event, QuarantineEnded)
    assert (event.reason, event.fence) == ("disagrees", 2)
    assert event.detail == "the prices agree again, within 0.0 %: 100 at Alpaca, 100 at Yahoo"


SILENT = SILENT_NS // NS


def test_a_silent_symbol_whose_price_moved_is_put_in_quarantine() -> None:
    """Alpaca tells of others, and Yahoo has told two sales since."""
    watch = Watch()
    watch.others(SILENT + 60)
    assert watch.sold(SILENT, 102) is None
    assert watch.sold(SILENT, 102) is None  # the same sale again
    event = watch.sold(SILENT + 15, 102)
    assert isinstance(event, QuarantineBegan)
    assert event.reason == "silent"
    assert event.detail == (
        "Alpaca has told no trade for 135 s, but of other symbols; it was at 100.0, and Yahoo has "
        "102"
    )


@pytest.mark.parametrize(
    ("begin", "price", "others", "alpaca"),
    [
        (SILENT - 20, 102, SILENT + 60, (0, 100.0)),  # for less than two minutes
        (SILENT, 101, SILENT + 60, (0, 100.0)),  # Yahoo's price has not moved
        (SILENT, 102, SILENT, (0, 100.0)),  # Alpaca tells of nobody: that is the router's business
        (SILENT, 102, SILENT + 60, (SILENT + 30, 100.0)),  # it was told of later than Yahoo's sale
    ],
)
def test_silence_that_means_nothing(
    begin: int, price: float, others: int, alpaca: tuple[int, float]
) -> None:
    """Each of what has to come together is needed."""
    watch = Watch()
    watch.others(others)
    found = [watch.sold(begin + i, price, alpaca) for i in (0, 15)]
    assert found == [None, None]


def test_a_silent_symbol_returns_with_the_first_trade_that_agrees() -> None:
    """A comparison takes a fresh trade: it is silent no more."""
    watch = Watch()
    watch.others(500)
    watch.sold(SILENT, 102)
    watch.sold(SILENT + 15, 102)
    assert watch.sold(SILENT + 30, 103) is None
    assert watch.compared(SILENT + 45, consistent=False) is None
    assert isinstance(watch.compared(SILENT + 60, consistent=True), QuarantineEnded)


def test_a_symbol_that_alpaca_never_tells_of_goes_out_from_yahoo() -> None:
    """It lies beyond the plan, or does not trade at that exchange: two sales in two minutes do."""
    watch = Watch()
    assert watch.sold(0, 100, None) is None
    assert watch.sold(SILENT - 1, 100, None) is None
    event = watch.sold(SILENT, 100, None)
    assert isinstance(event, QuarantineBegan)
    assert event.reason == "unheard"
    assert event.detail == (
        "Alpaca, which is routed, has told no trade; Yahoo has told 3 sales in 120 s"
    )
    assert isinstance(watch.compared(SILENT + 1, consistent=True), QuarantineEnded)


def test_a_symbol_that_was_not_heard_is_no_matter_while_alpaca_is_not_routed() -> None:
    """Then it goes out from Yahoo as everything does, and Alpaca may be down."""
    watch = Watch()
    for second in (0, SILENT // 2):
        watch.sold(second, 100, None)
    watch.sold(SILENT - 1, 100, None, routed=False)
    assert watch.sold(SILENT, 100, None) is None
    assert watch.sold(2 * SILENT - 1, 100, None) is None
    assert watch.sold(2 * SILENT, 100, None) is not None


def test_one_sale_that_is_told_for_ever_is_no_trade() -> None:
    """A symbol that nobody trades has no price to send."""
    watch = Watch()
    sale = last(1, T0, 100)
    found = []
    for second in range(0, 3 * SILENT, 60):
        again = msgspec.structs.replace(sale, received_at_ns=T0 + second * NS)
        found.append(watch.warden.look(again, None, None, alpaca_routed=True))
    assert set(found) == {None}


def test_a_successor_goes_on_from_what_was_decided() -> None:
    """It does not begin a quarantine twice, and its fences go on."""
    watch = Watch()
    watch.warden.recall("A", "silent", 5)
    ended = watch.compared(0, consistent=True)
    assert isinstance(ended, QuarantineEnded)
    assert ended.fence == 6
    watch.warden.recall("A", None, 8)
    for second in (15, 30):
        watch.compared(second, consistent=False)
    began = watch.compared(45, consistent=False)
    assert began is not None
    assert began.fence == 9


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([True, False, None])), max_size=60))
def test_it_begins_and_ends_in_turn(steps: list[tuple[int, bool | None]]) -> None:
    """And each change counts the fence on by one; somebody read back knows the same."""
    watch, second, expected = Watch(), 0, 1
    watch.others(10_000)
    for pause, consistent in steps:
        second += pause
        if consistent is None:
            event = watch.sold(second, 105)
        else:
            event = watch.compared(second, consistent=consistent)
        if event is not None:
            assert event.fence == expected
            assert isinstance(event, QuarantineBegan) is (expected % 2 == 1)
            assert msgspec.json.decode(msgspec.json.encode(event), type=QuarantineEvent) == event
            expected += 1
