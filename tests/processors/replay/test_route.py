"""The router's decisions in a replay: those that it made live, from where its memory is known."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import topics
from infra.capture import Captured
from infra.market_calendar import ALWAYS_OPEN
from processors.events import RouterTransition
from processors.looks import Look
from processors.records import answer_record, transition_record
from processors.replay.route import Decided, decided
from tests.processors.route_office import Cluster
from tests.processors.test_route_looks import LIVES, Life, Operation, history

_look = msgspec.json.Decoder(Look)
_transition = msgspec.json.Decoder(RouterTransition)


def _lived(lives: list[Life]) -> Cluster:
    """Return the logs of a router that lived so."""
    operation = Operation()
    for facts, commands in history(lives):
        operation.live(facts, commands)
    return operation.cluster


def _decided(cluster: Cluster, first_fact: int = 0, first_look: int = 0) -> Decided | None:
    facts = [
        Captured(topics.SOURCES_STATUS.name, 0, offset, 0, b"", msgspec.json.encode(fact))
        for offset, fact in enumerate(cluster.facts)
    ]
    commands = [
        Captured(topics.COMMANDS.name, 0, offset, 0, b"", msgspec.json.encode(command))
        for offset, command in enumerate(cluster.commands)
    ]
    looks = enumerate(map(_look.decode, cluster.looks))
    return decided(
        list(looks)[first_look:],
        facts[first_fact:],
        commands,
        first_fact=first_fact,
        calendar=ALWAYS_OPEN,
    )


def _transitions(decided: Decided | None) -> list[bytes]:
    assert decided
    made = [decision.transition for _, decision in decided.decisions]
    return [transition_record(transition).value for transition in made if transition]


@given(LIVES)
@settings(max_examples=25)
def test_what_was_decided_is_decided_again(lives: list[Life]) -> None:
    """Transitions and answers, to the byte."""
    cluster = _lived(lives)
    again = _decided(cluster)
    if again is None:  # nobody said anything, and nobody was asked for anything
        assert cluster.transitions == cluster.answers == []
        return
    assert _transitions(again) == cluster.transitions
    answers = [decision.answer for _, decision in again.decisions]
    assert [answer_record(answer).value for answer in answers if answer] == cluster.answers


#: Two and a half minutes, in which Alpaca goes and comes: a memory is written down each minute.
LONG = [
    Life(cells=cells, alpaca=alpaca, yahoo=True, late=0, asked="", word="")
    for cells, alpaca in ((100, True), (200, False), (200, True), (100, False))
]


@given(st.integers(0, 600), st.integers(0, 600))
@settings(max_examples=20)
def test_from_the_middle_it_goes_on_from_the_next_memory(look: int, fact: int) -> None:
    """What was decided before is as it stands in the log; where no memory is left, all of it."""
    cluster = LONG_LOGS
    known = list(map(_transition.decode, cluster.transitions))
    again = _decided(cluster, min(fact, len(cluster.facts)), min(look, len(cluster.looks)))
    if again is None:
        return
    assert _transitions(again) == cluster.transitions[again.epoch :]
    assert list(again.instead_of(known)) == known


def test_without_a_memory_nothing_can_be_told() -> None:
    """Neither where there are no looks, nor where the facts begin too late."""
    assert _decided(Cluster(0)) is None
    assert _decided(LONG_LOGS, first_fact=len(LONG_LOGS.facts) - 1) is None
    later = _decided(LONG_LOGS, first_fact=1)
    assert later
    assert 0 < len(_transitions(later)) < len(LONG_LOGS.transitions)


def test_a_fact_that_nobody_can_read_is_none() -> None:
    """The router passed it over as well."""
    logs = _lived([Life(cells=8, alpaca=True, yahoo=True, late=0, asked="", word="")])
    looks = list(enumerate(map(_look.decode, logs.looks)))
    broken = [
        Captured(topics.SOURCES_STATUS.name, 0, offset, 0, b"", b"{" if offset % 2 else None)
        for offset in range(len(logs.facts))
    ]
    again = decided(looks, broken, [], first_fact=0, calendar=ALWAYS_OPEN)
    assert again
    assert _transitions(again) == []


LONG_LOGS = _lived(LONG)
