"""A single bad print never gets through; a real move does within a minute."""

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors import breaker
from processors.breaker import NS, Band, Change, Closed, Opened, Seen, Side

DAY_NS = 24 * 3600 * NS
#: What is measured from.
CLOSE = 100.0


def side(reference: float | None = CLOSE) -> Side:
    """Return what a source told of a symbol whose trading day has begun."""
    fresh = Side()
    breaker.begin_day(fresh, 0, DAY_NS, reference, CLOSE)
    return fresh


class Outcome(NamedTuple):
    """What came of prices, each with the second in which it was traded and received."""

    believed: list[bool]
    changes: list[Change]


def judged(
    of: Side, *prices: tuple[float, float], other: Side | None = None, band: Band | None = None
) -> Outcome:
    """Judge prices, as (second, price)."""
    believed, changes = [], []
    for second, price in prices:
        at = 10_000 * NS + int(second * NS)
        good, changed = breaker.judge(of, Seen(price, at, at), other or Side(), band)
        believed.append(good)
        changes += changed
    return Outcome(believed, changes)


def evidence(changes: list[Change]) -> list[str]:
    """Return what happened, a word each."""
    return [change.evidence if isinstance(change, Closed) else "opened" for change in changes]


@pytest.mark.parametrize(
    ("price", "believed"),
    [(119.99, True), (120.0, True), (120.01, False), (80.0, True), (79.99, False), (1e9, False)],
)
def test_a_price_is_believed_up_to_20_percent_from_the_close(
    price: float, *, believed: bool
) -> None:
    """Twenty percent exactly is believed, on both sides."""
    assert judged(side(), (0, price)).believed == [believed]


def test_without_a_reference_nothing_is_judged() -> None:
    """The first price of a symbol that nobody told a close of is as good as any."""
    assert judged(side(None), (0, 1.0), (1, 1e6)) == ([True, True], [])


def test_a_single_bad_print_is_rejected_and_forgotten() -> None:
    """The breaker closes when prices are back, and says how many it kept out."""
    found = judged(side(), (0, 100), (1, 140), (2, 100), (3, 101), (4, 100), (5, 100))
    assert found.believed == [True, False, True, True, True, True]
    assert found.changes == [Opened(CLOSE, 140), Closed(CLOSE, 100, "reverted", 1)]


def test_one_good_price_is_enough_when_the_stray_one_is_old() -> None:
    """A symbol that trades seldom does not wait for three trades."""
    found = judged(side(), (0, 140), (5, 100))
    assert evidence(found.changes) == ["opened", "reverted"]


def test_a_burst_is_one_moment() -> None:
    """A thousand bad prints in four seconds are one mistake."""
    found = judged(side(), *((second / 250, 140.0) for second in range(1000)))
    assert not any(found.believed)
    assert evidence(found.changes) == ["opened"]


def test_a_move_that_lasts_is_believed_within_half_a_minute() -> None:
    """Three moments, five seconds apart or more, that span twenty seconds."""
    found = judged(side(), *((5.0 * i, 140.0 + i % 2) for i in range(8)))
    assert found.believed == [False] * 4 + [True] * 4
    assert evidence(found.changes) == ["opened", "persisted"]
    assert found.changes[1] == Closed(CLOSE, 140, "persisted", 4)


def test_it_is_measured_from_the_new_level_then() -> None:
    """After a move of 40 % another 40 % needs evidence again, and so does the way back."""
    moved = side()
    judged(moved, *((5.0 * i, 140.0) for i in range(5)))
    assert judged(moved, (30, 112), (31, 168), (32, 100)).believed == [True, True, False]


def test_what_happened_before_the_move_may_come_late() -> None:
    """A trade of before is measured from the level of before."""
    moved = side()
    judged(moved, *((5.0 * i, 140.0) for i in range(5)))
    assert judged(moved, (-1, 100), (1, 100)).believed == [True, False]


def test_prices_that_agree_on_nothing_have_not_persisted() -> None:
    """Noise out there is noise."""
    found = judged(side(), *((5.0 * i, 130.0 if i % 2 else 170.0) for i in range(20)))
    assert not any(found.believed)


def test_a_stream_of_good_prices_outvotes_bad_ones() -> None:
    """Bad prints every few seconds among good ones do not add up to a move."""
    bad = [(7.0 * i, 140.0) for i in range(10)]
    good = [(0.5 + 0.5 * i, 100.0) for i in range(140)]
    found = judged(side(), *sorted(bad + good))
    assert sum(found.believed) == len(good)
    assert evidence(found.changes) == ["opened", "reverted"] * len(bad)


def test_the_market_s_clock_has_to_have_gone_on_as_well() -> None:
    """A connection that stalled and lets go of one burst in two parts tells one moment."""
    stalled, at = side(), 10_000 * NS
    believed = [
        breaker.judge(stalled, Seen(140, at + i, at + i * 10 * NS), Side(), None)[0]
        for i in range(6)
    ]
    assert not any(believed)


def told(price: float, second: float) -> Side:
    """Return the other source, that told a price."""
    return Side(price=price, price_ns=10_000 * NS + int(second * NS))


@pytest.mark.parametrize(
    ("other", "believed"),
    [
        (told(138, -60), True),
        (told(133, -60), False),  # more than 5 % away
        (told(138, -130), False),  # too old
        (told(140, 0), False),  # the same print, which may be bad in both
        (told(140, -60), True),  # the same price of another time is not
        (Side(), False),  # it has told nothing
    ],
)
def test_the_other_source_confirms(other: Side, *, believed: bool) -> None:
    """A price that both tell, each by its own print, is believed at once."""
    found = judged(side(), (0, 140), other=other)
    assert found.believed == [believed]
    assert evidence(found.changes) == ["opened", "confirmed"][: 1 + believed]


@pytest.mark.parametrize(
    ("band", "believed"),
    [
        (Band(130, 150, 9_990 * NS), True),
        (Band(141, 150, 9_990 * NS), False),
        (Band(130, 150, 9_600 * NS), False),  # of long ago
        (Band(130, 150, 10_001 * NS), False),  # of later
    ],
)
def test_a_limit_up_limit_down_band_confirms(band: Band, *, believed: bool) -> None:
    """What lies in the exchanges' own band is no mistake."""
    assert judged(side(), (0, 140), band=band).believed == [believed]


def test_trading_after_a_halt_sets_the_level() -> None:
    """The first price after it is the auction's; one of before the halt's end is not."""
    halted = side()
    breaker.reopen(halted, 10_000 * NS)
    found = judged(halted, (-1, 150), (1, 140), (2, 138), (3, 100))
    assert found.believed == [False, True, True, False]
    assert evidence(found.changes) == ["opened", "reopened", "opened"]


def test_a_halt_s_end_needs_no_move() -> None:
    """Where the price did not move, nothing opens."""
    halted = side()
    breaker.reopen(halted, 10_000 * NS)
    assert judged(halted, (1, 101), (2, 102)) == ([True, True], [])


def test_a_bar_opens_and_shows_that_prices_are_back_and_no_more() -> None:
    """A bar's close is made of trades that were judged: it does not speak for a move."""
    of, believed, changes = side(), [], []
    for minute, close in enumerate([140.0, 140.0, 140.0, 140.0, 100.0]):
        at = 10_000 * NS + minute * 60 * NS
        good, changed = breaker.judge(of, Seen(close, at, at, is_bar=True), Side(), None)
        believed.append(good)
        changes += changed
    assert believed == [False] * 4 + [True]
    assert evidence(changes) == ["opened", "reverted"]


def test_what_stands_after_the_session_is_the_close() -> None:
    """The official close is believed, however far it is."""
    of, at = side(), 10_000 * NS
    seen = Seen(140, at, at + 900 * NS, is_final=True)
    assert breaker.judge(of, seen, Side(), None)[0]


def test_another_day_closes_it() -> None:
    """Another close is another reference."""
    of = side()
    judged(of, (0, 140), (1, 140))
    closed = breaker.begin_day(of, DAY_NS, 2 * DAY_NS, 139.0, 141.0)
    assert closed == Closed(139.0, 141.0, "new_day", 2)
    assert judged(of, (2, 141)).believed == [True]


def test_a_close_that_is_told_later_is_measured_from() -> None:
    """Unless a move was accepted since: that says more."""
    of = side(None)
    breaker.refer(of, 100.0)
    assert judged(of, *((5.0 * i, 140.0) for i in range(5))).believed[-1]
    breaker.refer(of, 90.0)
    assert of.reference == 140.0


prices = st.sampled_from([60.0, 79.0, 81.0, 95.0, 100.0, 104.0, 119.0, 121.0, 140.0, 143.0, 180.0])
walks = st.lists(st.tuples(st.floats(0.05, 20), prices), min_size=1, max_size=80)


def walk(steps: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return prices with the second of each, from the seconds between them."""
    second, found = 0.0, []
    for pause, price in steps:
        second += pause
        found.append((second, price))
    return found


@given(walks)
def test_it_opens_and_closes_in_turn(steps: list[tuple[float, float]]) -> None:
    """And a closing counts exactly what was rejected since the opening."""
    of, opened, rejected = side(), False, 0
    for price in walk(steps):
        found = judged(of, price)
        for change in found.changes:
            assert opened is isinstance(change, Closed)
            opened = not opened
            if isinstance(change, Closed):
                assert change.rejected == rejected
                rejected = 0
        rejected += not found.believed[0]
        assert opened is (of.doubt is not None)
        assert found.believed[0] or opened


@given(walks)
def test_what_is_near_the_reference_is_always_believed(steps: list[tuple[float, float]]) -> None:
    """The breaker rejects nothing within 20 % of what it measures from."""
    of = side()
    for second, price in walk(steps):
        reference = of.reference
        assert reference is not None
        near = breaker.within(price, reference)
        assert judged(of, (second, price)).believed[0] or not near


@given(walks, st.data())
def test_a_state_that_was_written_down_goes_on_the_same(
    steps: list[tuple[float, float]], data: st.DataObject
) -> None:
    """What a successor reads back judges as the one who wrote it would have."""
    cut = data.draw(st.integers(0, len(steps)))
    of, whole = side(), side()
    path = walk(steps)
    first = judged(of, *path[:cut])
    read = msgspec.json.decode(msgspec.json.encode(of), type=Side)
    second = judged(read, *path[cut:])
    assert judged(whole, *path) == (
        first.believed + second.believed,
        first.changes + second.changes,
    )


@given(
    st.lists(st.floats(0.1, 4), min_size=1, max_size=40),
    st.integers(1, 12),
    st.floats(121, 400),
    st.floats(0, 4.5),
    st.data(),
)
def test_a_bad_burst_never_gets_through(
    pauses: list[float], burst: int, bad: float, spread: float, data: st.DataObject
) -> None:
    """However many bad prints come within less than five seconds, wherever in a quiet stream."""
    quiet = walk([(pause, 100.0) for pause in pauses])
    begin = data.draw(st.floats(0, quiet[-1][0]))
    strays = [(begin + spread * i / burst, bad) for i in range(burst)]
    found = judged(side(), *sorted(quiet + strays))
    assert sum(found.believed) == len(quiet)


@given(
    st.lists(st.floats(0.05, 15), min_size=30, max_size=200),
    st.floats(1.21, 3.0),
    st.lists(st.floats(-0.02, 0.02), min_size=200, max_size=200),
    st.sampled_from([1, -1]),
)
def test_a_real_move_gets_through_within_a_minute(
    pauses: list[float], factor: float, noise: list[float], direction: int
) -> None:
    """Wherever it goes, if it trades every fifteen seconds at the least and stays within 2 %."""
    level = CLOSE * factor**direction
    path = walk(
        [(pause, level * (1 + wobble)) for pause, wobble in zip(pauses, noise, strict=False)]
    )
    beyond = [at for at, price in path if not breaker.within(price, CLOSE)]
    found = judged(side(), *path)
    if not beyond:
        assert all(found.believed)
        return
    late = [ok for (at, _), ok in zip(path, found.believed, strict=True) if at > beyond[0] + 60]
    assert all(late)
