"""Many values at once are what they are one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as Theirs

from infra.histogram import Histogram

BOUNDS = (0.1, 0.5, 1.0)


def _samples(registry: CollectorRegistry) -> dict[tuple[str, str], float]:
    (metric,) = registry.collect()
    return {
        (s.name, s.labels.get("le", "")): s.value
        for s in metric.samples
        if s.name != "h_created"  # when, which no value changes
    }


@given(
    st.lists(
        st.lists(st.sampled_from((-1.0, 0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, float("inf")))),
        max_size=4,
    )
)
def test_all_are_observed_as_each_would_be(batches: list[list[float]]) -> None:
    """The same buckets, on their bounds and beyond the last too; the same sum and count."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram("h", "h", ["source"], registry=ours, buckets=BOUNDS).labels("x")
    reference = Theirs("h", "h", ["source"], registry=theirs, buckets=BOUNDS).labels("x")
    for batch in batches:
        mine.observe_all(batch)
        for value in batch:
            reference.observe(value)
    assert _samples(ours) == pytest.approx(_samples(theirs))
    assert len(_samples(ours)) == len(BOUNDS) + 3


def test_labels_that_are_missing_are_told() -> None:
    """As the client itself tells it."""
    histogram = Histogram("h", "h", ["source"], registry=CollectorRegistry())
    with pytest.raises(ValueError, match="missing label values"):
        histogram.observe_all([1.0])
