"""What is said of a cost is said the right way round."""

import pytest

from tests.benchmarks.overhead import row


@pytest.mark.parametrize(
    ("name", "on", "off", "said"),
    [
        ("latency P95, ms", [10.9, 99, 1], [10, 10, 10], ("+9%", "< +10%", "yes")),
        ("latency P95, ms", [11.1], [10], ("+11%", "< +10%", "NO")),
        ("valid ticks/s", [91], [100], ("-9%", "> -10%", "yes")),
        ("valid ticks/s", [89], [100], ("-11%", "> -10%", "NO")),
        ("valid ticks/s", [120], [100], ("+20%", "> -10%", "yes")),
    ],
)
def test_a_change_is_held_against_its_budget(
    name: str, on: list[float], off: list[float], said: tuple[str, ...]
) -> None:
    """By medians; of throughput less is worse, of all else more."""
    assert row(name, on, off)[3:] == said
