"""Stacks side by side do not take each other's ports."""

from tests.journeys.running import ports_of_its_own


def test_an_offset_is_nobody_elses_until_it_is_given_back() -> None:
    """From before its stack listens; by then both would have seen the same ports free."""
    with ports_of_its_own() as one:
        with ports_of_its_own() as other:
            assert one != other
        with ports_of_its_own() as again:
            assert again == other
