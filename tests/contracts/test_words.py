"""The words that label a metric are those of the events that it counts."""

import typing

import pytest

from infra.catalogue import CATALOGUE
from processors import events

Verdict = typing.get_type_hints(events.Comparison)["verdict"]
LABELS = {metric.name: metric.labels for metric in CATALOGUE}


@pytest.mark.parametrize(
    ("metric", "label", "words"),
    [
        ("datasource_router_validation_failures_total", "reason", events.RejectReason),
        ("datasource_router_messages_processed_total", "source", events.Source),
        ("datasource_router_price_comparisons_total", "result", Verdict),
        ("datasource_router_transitions_total", "from", events.State),
        ("datasource_router_transitions_total", "reason", events.TransitionReason),
    ],
)
def test_a_label_has_the_words_of_its_event(metric: str, label: str, words: object) -> None:
    """A word that is missing in the catalogue would be born at 1, and its first would not alert."""
    assert set(LABELS[metric][label]) == set(typing.get_args(words))


def test_the_router_enters_every_state_but_the_first() -> None:
    """STARTUP is only ever left."""
    entered = set(LABELS["datasource_router_transitions_total"]["to"])
    assert entered == set(LABELS["datasource_router_state"]["state"])
    assert entered == set(typing.get_args(events.State)) - {"STARTUP"}
