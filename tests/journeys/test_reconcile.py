"""What balances the books sees what is missing, and what is there too often."""

from collections import Counter

import pytest

from infra.simulators.ledger import Entry
from tests.journeys import reconcile

CUT_NS = 1_000


def entry(raw: str, sent_at_ns: int) -> Entry:
    """Return a message as the ledger has it."""
    return Entry(
        source="yahoo",
        connection="one",
        sequence=1,
        sent_at_ns=sent_at_ns,
        symbol="AAPL",
        encoding="json",
        raw=raw,
    )


SENT = [entry("a", 1), entry("a", 2), entry("b", CUT_NS), entry("c", CUT_NS + 1)]


@pytest.mark.unit
@pytest.mark.parametrize("held", [["a", "a", "b"], ["a", "a", "b", "c"]])
def test_what_was_sent_twice_is_held_twice_and_what_came_after_the_cut_may_be_missing(
    held: list[str],
) -> None:
    """The newest need not be there yet."""
    reconcile.as_often_as_sent(SENT, Counter(held), CUT_NS)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("held", "says"),
    [
        (["a", "b"], "1 messages are missing, a the first"),
        (["a", "a"], "1 messages are missing, b the first"),
        (["a", "a", "b", "b"], "1 messages are there oftener than sent, b the first"),
        (["a", "a", "b", "d"], "1 messages are there oftener than sent, d the first"),
    ],
)
def test_what_is_missing_or_there_too_often_is_named(held: list[str], says: str) -> None:
    """A message sent once that is there twice is one too many, whatever else was sent twice."""
    with pytest.raises(AssertionError, match=says):
        reconcile.as_often_as_sent(SENT, Counter(held), CUT_NS)
