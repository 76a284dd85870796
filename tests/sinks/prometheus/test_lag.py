"""How far a group is behind: what it committed, beside what is there."""

import pytest
from aiokafka import TopicPartition

from sinks.prometheus.lag import behind

TP = TopicPartition("t", 0)


@pytest.mark.parametrize(
    ("committed", "begin", "end", "lag"),
    [
        ({TP: 5}, 0, 9, {TP: (5, 4)}),
        ({TP: 9}, 0, 9, {}),
        ({}, 2, 9, {TP: (2, 7)}),
        ({TP: 1}, 4, 9, {TP: (4, 5)}),
        ({}, 0, 0, {}),
        ({TP: 12}, 0, 9, {}),
    ],
)
def test_a_group_is_behind_by_what_it_has_still_to_read(
    committed: dict[TopicPartition, int],
    begin: int,
    end: int,
    lag: dict[TopicPartition, tuple[int, int]],
) -> None:
    """All of it where it committed nothing; not what is kept no more, and never less than none."""
    assert behind([TP], committed, {TP: begin}, {TP: end}) == lag
