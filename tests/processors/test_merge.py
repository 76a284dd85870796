"""In which order both sources' raw ticks were taken: what the journal says, and what not."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from processors.events import Merged
from processors.merge import RUN_RECORDS, Places, in_order, needed


class Raw(NamedTuple):
    """A raw record."""

    source: str
    offset: int
    written_at: int = 0


def raw(source: str, *offsets: int) -> list[Raw]:
    """Return records of a source."""
    return [Raw(source, offset) for offset in offsets]


def merged(yahoo_until: int, alpaca_until: int) -> Merged:
    """Return a journal's entry."""
    return Merged(yahoo_since=0, yahoo_until=yahoo_until, alpaca_until=alpaca_until, at_ns=0)


NOTHING = Places()


def order(
    alpaca: list[Raw], yahoo: list[Raw], journal: list[Merged], after: Places = NOTHING
) -> list[tuple[str, int]]:
    """Return the records in the order of the journal."""
    runs = in_order(alpaca, yahoo, journal, after, written_at=lambda record: record.written_at)
    return [(record.source, record.offset) for run in runs for record in run]


A, Y = raw("a", 0, 1, 2, 3), raw("y", 0, 1, 2)


def test_a_run_of_yahoos_stands_where_the_journal_says() -> None:
    """Two of Alpaca's, one of Yahoo's, one of Alpaca's, and so on."""
    journal = [merged(1, 2), merged(3, 3)]
    assert order(A, Y, journal) == [
        *(("a", 0), ("a", 1), ("y", 0), ("a", 2), ("y", 1), ("y", 2), ("a", 3))
    ]
    assert needed(journal, Places()) == Places(3, 3)


def written(source: str, *times: int) -> list[Raw]:
    """Return records of a source that were written at these times."""
    return [Raw(source, offset, at) for offset, at in enumerate(times)]


def test_without_a_journal_the_time_of_writing_counts() -> None:
    """Of two at the same time Alpaca's comes first."""
    assert order(written("a", 10, 20, 30), written("y", 5, 20, 40), []) == [
        *(("y", 0), ("a", 0), ("a", 1), ("y", 1), ("a", 2), ("y", 2))
    ]


def test_the_journal_counts_for_more_than_the_time() -> None:
    """What it does not tell of any more is in the order of the times."""
    alpaca, yahoo = written("a", 10, 20, 30, 40), written("y", 1, 2, 35)
    assert order(alpaca, yahoo, [merged(2, 3)]) == [
        *(("a", 0), ("a", 1), ("a", 2), ("y", 0), ("y", 1), ("y", 2), ("a", 3))
    ]


def test_runs_are_bounded() -> None:
    """However many of one source come in a row."""
    many = raw("a", *range(2 * RUN_RECORDS + 5))
    runs = in_order(many, [], [], written_at=lambda record: record.written_at)
    assert [len(run) for run in runs] == [RUN_RECORDS, RUN_RECORDS, 5]


def test_what_the_journal_does_not_tell_comes_last() -> None:
    """Of records that were written at one time: Alpaca's and then Yahoo's."""
    assert order(A, Y, [merged(1, 1)]) == [
        *(("a", 0), ("y", 0), ("a", 1), ("a", 2), ("a", 3), ("y", 1), ("y", 2))
    ]


def test_what_is_told_twice_counts_as_told_first() -> None:
    """Somebody who no longer owned the partition wrote on; what it says was known already."""
    journal = [merged(2, 1), merged(1, 3), merged(2, 4), merged(3, 3)]
    assert order(A, Y, journal) == order(A, Y, [merged(2, 1), merged(3, 3)])
    assert needed(journal, Places()) == Places(3, 3)


def test_what_was_taken_before_is_passed_over() -> None:
    """Whether or not the journal goes back so far."""
    assert order(A, Y, [merged(1, 1), merged(3, 3)], Places(2, 1)) == [
        *(("a", 2), ("y", 1), ("y", 2), ("a", 3))
    ]
    assert needed([merged(1, 1)], Places(2, 1)) == Places(2, 1)


def test_offsets_may_have_holes() -> None:
    """What is not kept any more was taken all the same."""
    assert order(raw("a", 7, 9), raw("y", 5), [merged(2, 3), merged(6, 8)]) == [
        *(("a", 7), ("y", 5), ("a", 9))
    ]


def test_a_journal_that_begins_before_or_goes_on_behind_is_cut() -> None:
    """A capture has a part of the ticks; the journal of it may have more."""
    alpaca, yahoo = raw("a", 50, 51, 52), raw("y", 7, 8)
    journal = [merged(3, 20), merged(7, 49), merged(8, 51), merged(8, 53), merged(12, 99)]
    assert order(alpaca, yahoo, journal) == [*(("a", 50), ("y", 7), ("a", 51), ("a", 52), ("y", 8))]


@given(st.lists(st.sampled_from("ay"), max_size=60), st.data())
def test_any_order_is_told_by_its_journal(sources: list[str], data: st.DataObject) -> None:
    """Whatever was done, and wherever it is taken up again."""
    taken: list[tuple[str, int]] = []
    journal: list[Merged] = []
    count = {"a": 0, "y": 0}
    for source in sources:
        taken.append((source, count[source]))
        count[source] += 1
        if source == "y":
            journal.append(merged(count["y"], count["a"]))
    cut = data.draw(st.integers(0, len(taken)))
    after = Places(*(sum(s == source for s, _ in taken[:cut]) for source in "ay"))
    alpaca, yahoo = raw("a", *range(count["a"])), raw("y", *range(count["y"]))
    assert order(alpaca, yahoo, journal, after) == taken[cut:]
