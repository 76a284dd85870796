"""What is said of a cost is said the right way round, and no surer than it is."""

import math

import pytest

from tests.benchmarks.overhead import CPU, LATENCY, THROUGHPUT, Pair, row, within


@pytest.mark.parametrize(
    ("name", "on", "said"),
    [
        (LATENCY, [109, 990, 10], ("+9%", "", "< +10%", "yes")),
        (LATENCY, [111], ("+11%", "", "< +10%", "NO")),
        (THROUGHPUT, [91], ("-9%", "", "> -10%", "yes")),
        (THROUGHPUT, [89], ("-11%", "", "> -10%", "NO")),
        (THROUGHPUT, [120], ("+20%", "", "> -10%", "yes")),
        (CPU, [90, 92, 94, 96, 98, 100], ("-5%", "-10% to +0%", "< +50%", "yes")),
    ],
)
def test_a_change_is_held_against_its_budget(
    name: str, on: list[float], said: tuple[str, ...]
) -> None:
    """By the median of the pairs; of throughput less is worse, of all else more."""
    assert row(name, [Pair(each, 100.0) for each in on])[3:] == said


def test_what_two_that_drift_together_say_is_their_ratio() -> None:
    """Minutes that differ by more than what is looked for."""
    pairs = [Pair(1.05 * off, off) for off in (50.0, 200.0, 90.0)]
    assert row(LATENCY, pairs)[1:4] == ("94.5", "90.0", "+5%")


@pytest.mark.parametrize(
    ("many", "outer"),
    # the tables of the sign test: how many may lie outside on each side
    [(6, 0), (8, 0), (9, 1), (12, 2), (20, 5), (30, 9)],
)
def test_a_median_lies_within_as_many_values_as_the_sign_test_says(many: int, outer: int) -> None:
    """From the value after the outermost ones to its mirror image."""
    assert within(range(many, 0, -1)) == (outer + 1, many - outer)


@pytest.mark.parametrize("many", [1, 3, 5])
def test_of_a_few_nothing_is_said(many: int) -> None:
    """Five of one sign happen one time in sixteen."""
    assert within(range(many)) == (-math.inf, math.inf)
