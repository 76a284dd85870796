"""The order of a partition's raw ticks: as the journal tells it, or by when they were written."""

from hypothesis import given
from hypothesis import strategies as st

from infra.capture import Captured
from processors.events import Merged
from processors.merge import Places, interleave
from processors.replay.order import RUN_RECORDS, in_order


def _records(source: str, times: list[int], first: int = 0) -> list[Captured]:
    topic = f"ticks.raw.{source}"
    return [Captured(topic, 0, first + n, at, b"A", b"{}") for n, at in enumerate(times)]


def _merged(yahoo_until: int, alpaca_until: int) -> Merged:
    return Merged(yahoo_since=0, yahoo_until=yahoo_until, alpaca_until=alpaca_until, at_ns=0)


def _taken(
    alpaca: list[Captured], yahoo: list[Captured], merges: list[Merged]
) -> list[tuple[str, int]]:
    runs = in_order(alpaca, yahoo, merges)
    return [(record.topic[10], record.offset) for run in runs for record in run]


def test_without_a_journal_the_time_of_writing_counts() -> None:
    """Of two at the same time Alpaca's comes first."""
    alpaca, yahoo = _records("alpaca", [10, 20, 30]), _records("yahoo", [5, 20, 40])
    assert _taken(alpaca, yahoo, []) == [
        *(("y", 0), ("a", 0), ("a", 1), ("y", 1), ("a", 2), ("y", 2))
    ]


def test_the_journal_counts_for_more_than_the_time() -> None:
    """What it does not tell of any more is in the order of the times."""
    alpaca, yahoo = _records("alpaca", [10, 20, 30, 40]), _records("yahoo", [1, 2, 35])
    assert _taken(alpaca, yahoo, [_merged(2, 3)]) == [
        *(("a", 0), ("a", 1), ("a", 2), ("y", 0), ("y", 1), ("y", 2), ("a", 3))
    ]


def test_a_journal_that_begins_before_or_goes_on_behind_is_cut() -> None:
    """A capture has a part of the ticks; the journal of it may have more."""
    alpaca, yahoo = _records("alpaca", [10, 20, 30], 50), _records("yahoo", [1, 2], 7)
    merges = [_merged(3, 20), _merged(7, 49), _merged(8, 51), _merged(8, 53), _merged(12, 99)]
    assert _taken(alpaca, yahoo, merges) == [*(("a", 50), ("y", 7), ("a", 51), ("a", 52), ("y", 8))]


def test_runs_are_bounded() -> None:
    """However many of one source come in a row."""
    alpaca = _records("alpaca", [1] * (2 * RUN_RECORDS + 5))
    assert [len(run) for run in in_order(alpaca, [], [])] == [RUN_RECORDS, RUN_RECORDS, 5]


@given(
    st.integers(0, 30),
    st.integers(0, 10),
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 30)), max_size=8),
)
def test_it_is_the_order_in_which_a_successor_takes_them(
    amount: int, of_yahoo: int, steps: list[tuple[int, int]]
) -> None:
    """As `processors.merge` has it, whatever the journal says, as far as the journal goes."""
    alpaca, yahoo = _records("alpaca", [5] * amount), _records("yahoo", [9] * of_yahoo)
    merges = (
        [_merged(y, a) for y, a in zip(*map(sorted, zip(*steps, strict=True)), strict=True)]
        if steps
        else []
    )
    expected = [
        (record.topic[10], record.offset)
        for run in interleave(alpaca, yahoo, merges, Places())
        for record in run
    ]
    assert _taken(alpaca, yahoo, merges) == expected
