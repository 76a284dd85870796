"""Which faults are on: the rules that hold for all of them, on a clock that is passed in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.alpaca import faults as alpaca
from infra.simulators.faults import (
    SECOND_NS,
    BadParameters,
    Fault,
    OfSymbols,
    Switchboard,
    UnknownFault,
    name_of,
    parameters_of,
    sentence_of,
)
from infra.simulators.ledger import FaultBegun, FaultEnded
from infra.simulators.yahoo import faults as yahoo


class HighFever(OfSymbols, frozen=True, kw_only=True):
    """It is hot."""


class Sneeze(Fault, frozen=True, kw_only=True):
    """It is loud."""

    once = True


class Cold(Fault, frozen=True, kw_only=True):
    """It lasts."""

    stays = True


class Aspirin(Fault, frozen=True, kw_only=True):
    """It ends a fever."""

    immediate = True

    def alters(self, other: Fault) -> Fault | None:
        """End it."""
        return None if isinstance(other, HighFever) else other


KINDS: tuple[type[Fault], ...] = (HighFever, Sneeze, Cold, Aspirin)


def board() -> Switchboard:
    """Return a switchboard of the faults above."""
    return Switchboard(source="alpaca", kinds=KINDS, symbols=frozenset({"KO"}), run="run")


def told(lines: list[FaultBegun | FaultEnded]) -> list[tuple[str, str]]:
    """Return each line's fault, and how it is with it."""
    return [(line.name, line.reason if isinstance(line, FaultEnded) else "begun") for line in lines]


def test_a_fault_is_on_until_it_is_cleared() -> None:
    """It is found by its kind, and every time that it was on is remembered."""
    faults = board()
    assert told(faults.put("high-fever", {}, 10)) == [("high-fever", "begun")]
    active = faults.find(HighFever)
    assert active
    assert active.was_on(10)
    assert not active.was_on(9)
    assert told(faults.sweep(10**18)) == []
    assert told(faults.clear("high-fever", 20)) == [("high-fever", "cleared")]
    assert told(faults.clear("high-fever", 21)) == []
    assert faults.find(HighFever) is None
    assert (active.was_on(19), active.was_on(20)) == (True, False)
    assert faults.had(HighFever) == [active]


def test_a_fault_ends_when_its_seconds_are_over() -> None:
    """At the very moment, however late it is seen."""
    faults = board()
    faults.put("high-fever", {"seconds": 2}, SECOND_NS)
    assert faults.sweep(3 * SECOND_NS - 1) == []
    (ended,) = faults.sweep(9 * SECOND_NS)
    assert isinstance(ended, FaultEnded)
    assert (ended.reason, ended.at_ns) == ("expired", 3 * SECOND_NS)


def test_a_fault_ends_when_its_count_is_reached() -> None:
    """It does nothing more from then on, even before that is noticed."""
    faults = board()
    faults.put("high-fever", {"count": 2}, 0)
    active = faults.find(HighFever)
    assert active
    assert [active.use() for _ in range(3)] == [True, True, False]
    (ended,) = faults.sweep(5)
    assert isinstance(ended, FaultEnded)
    assert (ended.reason, ended.uses) == ("used_up", 2)
    assert not active.use()


def test_what_is_done_once_is_done_once_by_default() -> None:
    """With seconds it is done for so long, with a count so many times."""
    for parameters, count in (({}, 1), ({"seconds": 1}, None), ({"count": 3}, 3)):
        faults = board()
        (begun,) = faults.put("sneeze", parameters, 0)
        assert isinstance(begun, FaultBegun)
        assert begun.parameters["count"] == count


def test_what_stays_stays_when_its_count_is_reached() -> None:
    """It befalls nobody else, and ends by command or by time."""
    faults = board()
    faults.put("cold", {"count": 1}, 0)
    active = faults.find(Cold)
    assert active
    assert [active.use() for _ in range(2)] == [True, False]
    assert faults.sweep(10**18) == []
    assert told(faults.stop(1)) == [("cold", "stopped")]


def test_a_fault_is_replaced_by_itself() -> None:
    """With new parameters, under a new id, without a moment in between."""
    faults = board()
    first = faults.put("high-fever", {}, 0)
    second = faults.put("high-fever", {"symbols": ["KO"]}, 5)
    assert told(second) == [("high-fever", "replaced"), ("high-fever", "begun")]
    assert {line.at_ns for line in second} == {5}
    assert len({line.fault_id for line in (*first, *second)}) == 2


def test_some_faults_end_others() -> None:
    """And are over themselves at once; without anything to end they are a mistake."""
    faults = board()
    with pytest.raises(BadParameters, match="aspirin: nothing is on that it could end"):
        faults.put("aspirin", {}, 0)
    faults.put("high-fever", {}, 0)
    faults.put("cold", {}, 0)
    assert told(faults.put("aspirin", {}, 1)) == [
        ("aspirin", "begun"),
        ("high-fever", "cleared"),
        ("aspirin", "used_up"),
    ]
    assert [active.name for active in faults.on] == ["cold"]


def test_faults_take_effect_in_the_tables_order() -> None:
    """Not in the order in which they were switched on."""
    faults = board()
    for name in ("cold", "sneeze", "high-fever"):
        faults.put(name, {}, 0)
    assert [active.name for active in faults.on] == ["high-fever", "sneeze", "cold"]
    assert told(faults.clear(None, 1)) == [
        ("high-fever", "cleared"),
        ("sneeze", "cleared"),
        ("cold", "cleared"),
    ]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"symbols": ["PEP"]}, "high-fever: unknown symbol 'PEP'"),
        ({"symbols": "KO"}, "high-fever: symbols: expected `array`, got `str`"),
        ({"symbols": [1]}, "high-fever: symbols[0]: expected `str`, got `int`"),
        ({"seconds": 0}, "high-fever: seconds: expected `float` > 0.0"),
        ({"seconds": 86_401}, "high-fever: seconds: expected `float` <= 86400.0"),
        ({"temperature": 40}, "high-fever: object contains unknown field `temperature`"),
        (None, "high-fever: expected `object`, got `null`"),
    ],
)
def test_wrong_parameters_are_named(parameters: Any, words: str) -> None:
    """And what was on is on as it was."""
    faults = board()
    faults.put("high-fever", {"symbols": ["KO"]}, 0)
    before = faults.find(HighFever)
    with pytest.raises(BadParameters) as bad:
        faults.put("high-fever", parameters, 1)
    assert str(bad.value).startswith(words)
    assert faults.find(HighFever) is before


def test_an_unknown_fault_is_named() -> None:
    """With all those that there are."""
    names = "high-fever, sneeze, cold, aspirin"
    words = f"unknown fault 'flu': expected one of {names}"
    with pytest.raises(UnknownFault, match=words):
        board().put("flu", {}, 0)
    with pytest.raises(UnknownFault, match=words):
        board().clear("flu", 0)


changes: st.SearchStrategy[Any] = st.one_of(
    st.tuples(
        st.just("put"),
        st.sampled_from(["high-fever", "sneeze", "cold"]),
        st.fixed_dictionaries(
            {}, optional={"seconds": st.integers(1, 5), "count": st.integers(1, 3)}
        ),
    ),
    st.tuples(st.just("clear"), st.sampled_from(["high-fever", "cold", None]), st.just({})),
    st.tuples(st.just("use"), st.just(None), st.just({})),
)


@given(st.lists(st.tuples(changes, st.integers(0, 3 * SECOND_NS))))
def test_every_beginning_has_one_end(said: list[Any]) -> None:
    """Whatever is done when: ids are never used twice, and nothing ends before it begins."""
    faults, now = board(), 0
    lines: list[FaultBegun | FaultEnded] = []
    for (act, name, parameters), step in said:
        now += step
        lines += faults.sweep(now)
        if act == "put":
            lines += faults.put(name, parameters, now)
        elif act == "clear":
            lines += faults.clear(name, now)
        else:
            for active in faults.on:
                active.use()
    lines += faults.sweep(now)
    lines += faults.stop(now)
    begun = {line.fault_id: line for line in lines if isinstance(line, FaultBegun)}
    ended = [line for line in lines if isinstance(line, FaultEnded)]
    assert len(begun) == len(ended) == len({line.fault_id for line in ended})
    for line in ended:
        assert line.at_ns >= begun[line.fault_id].at_ns
        count = begun[line.fault_id].parameters["count"]
        assert count is None or line.uses <= count
    assert faults.on == ()


@pytest.mark.parametrize("kind", [*alpaca.FAULTS, *yahoo.FAULTS], ids=name_of)
def test_every_fault_is_described(kind: type[Fault]) -> None:
    """By a name of its own, one sentence, and a description of each parameter."""
    assert name_of(kind) == name_of(kind).lower()
    assert sentence_of(kind).endswith(".")
    for name, schema in parameters_of(kind).items():
        assert schema["description"], name


@pytest.mark.parametrize("table", [alpaca.FAULTS, yahoo.FAULTS], ids=["alpaca", "yahoo"])
def test_every_fault_does_something_somewhere(table: tuple[type[Fault], ...]) -> None:
    """In one of the places that its simulator asks at, and under no other's name."""
    places = {
        *("handshake", "gate", "step", "deed", "rest"),
        *("refusal", "delay", "quoted_at", "leaves_out", "edit"),
    }
    assert len({name_of(kind) for kind in table}) == len(table)
    for kind in table:
        assert kind.immediate or any(hasattr(kind, place) for place in places), name_of(kind)
