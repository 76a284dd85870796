"""Who is asked how long it takes, and which answers count."""

from collections.abc import Sequence

import pytest

from sinks.hub.probes import Probe, sample
from sinks.hub.protocol.messages import Completion


def first(candidates: Sequence[int], number: int) -> Sequence[int]:
    """Choose without chance."""
    return candidates[:number]


@pytest.mark.parametrize(("candidates", "asked"), [(0, 0), (1, 1), (100, 1), (101, 2), (1000, 10)])
def test_a_hundredth_is_asked(candidates: int, asked: int) -> None:
    """At least one, where there is one."""
    assert len(sample(range(candidates), first)) == asked


def test_an_answer_counts_once_and_only_to_the_last_question() -> None:
    """An error is an answer, too: it has been there and back."""
    probe = Probe()
    assert probe.answered(Completion("probe-1"), 5) is None
    late = probe.ask(10)
    call = probe.ask(20)
    assert late.id
    assert call.id
    assert probe.answered(Completion(late.id), 25) is None
    assert probe.answered(Completion(call.id, error="no such method"), 27) == 7
    assert probe.answered(Completion(call.id), 30) is None
