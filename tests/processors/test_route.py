"""The router's table, cell by cell, its timing at the edges, and its laws over any history."""

import itertools
from typing import Any

import msgspec
import pytest

from infra.commands import Answer, Command
from infra.market_calendar import ALWAYS_OPEN, Calendar
from ingest.events import Authenticated, Connected, Disconnected, Heartbeat, Subscribed
from processors.events import RouterTransition, State
from processors.evidence import NS
from processors.route import AHEAD_NS, GRID_NS, Decision, Inputs, decide
from processors.route_reading import (
    DISCONNECTED_NS,
    GRACE_NS,
    STARTUP_NS,
    begin,
    observe,
)
from processors.route_table import STATES, TABLE, Fallback, Primary, Signal, reasons

T0 = 1_000_000 * NS
SIGNALS = tuple(itertools.product(Primary, Fallback))


def heartbeat(source: str, at: int, *, up: bool = True, data: int | None = None) -> Heartbeat:
    """Return a heartbeat of a source that is up, or not; with data just now, if not told when."""
    return Heartbeat(
        source=source,  # type: ignore[arg-type]  # the parameter of a test
        feed="",
        session_id="s",
        at_ns=at,
        state="connected" if up else "disconnected",
        authenticated=up,
        symbols=30,
        messages=0,
        last_message_at_ns=(at if up else None) if data is None else data,
    )


def disconnected(at: int, reason: str = "closed") -> Disconnected:
    """Return the end of Alpaca's connection."""
    return Disconnected(source="alpaca", feed="", session_id="s", at_ns=at, reason=reason)  # type: ignore[arg-type]


NOTHING = Inputs()


class Watch:
    """A router under test, fed second by second."""

    def __init__(
        self, state: State = "STARTUP", now: int = T0, calendar: Calendar = ALWAYS_OPEN
    ) -> None:
        self.router = begin(now, state=state)
        self.calendar = calendar
        self.now = now
        self.transitions: list[RouterTransition] = []
        self.answers: list[Answer] = []
        self.decisions: list[Decision] = []

    def tell(self, fact: Any) -> None:
        """Have the router learn a fact, and decide."""
        self.decide(Inputs([(self.router.offset + 1, fact)]))

    def give(self, command: Command) -> None:
        """Have the router hear a command, and decide."""
        self.decide(Inputs(commands=[(self.router.command_offset + 1, command)]))

    def decide(self, inputs: Inputs = NOTHING) -> None:
        """Have the router decide at the present moment."""
        decision = decide(self.router, inputs, self.now, calendar=self.calendar)
        self.router = decision.router
        if decision.transition:
            self.transitions.append(decision.transition)
            self.decisions.append(decision)
        if decision.answer:
            self.answers.append(decision.answer)

    def run(self, seconds: float, *, alpaca: bool | None, yahoo: bool | None) -> None:
        """Let time pass; a source is up, down (and says so), or dead (None: says nothing)."""
        end = self.now + int(seconds * NS)
        while self.now < end:
            self.now = min(self.now + GRID_NS, end)
            for source, up in (("alpaca", alpaca), ("yahoo", yahoo)):
                if up is not None and (self.now - T0) % NS == 0:
                    self.tell(heartbeat(source, self.now, up=up))
            self.decide()


def test_every_state_has_every_signal() -> None:
    """No cell of the table is left to a default."""
    assert set(TABLE) == set(STATES)
    assert all(set(row) == set(SIGNALS) for row in TABLE.values())


def test_every_change_and_nothing_else_has_a_reason() -> None:
    """What docs/router.md says of a cell is what a transition by it may say."""
    for state, signal in itertools.product(STATES, SIGNALS):
        assert bool(reasons(state, signal)) is (TABLE[state][signal] != state)
    down = (Primary.DOWN, Fallback.FRESH)
    assert reasons("STARTUP", down) == ("startup",)
    assert reasons("PRIMARY_ACTIVE", down) == ("timeout", "disconnected", "health", "auth")


@pytest.mark.parametrize(("state", "signal"), tuple(itertools.product(STATES, SIGNALS)))
def test_no_cell_claims_what_is_not_there(state: State, signal: Signal) -> None:
    """No signal leads to a source that is down or stale, unless it was just there."""
    primary, fallback = signal
    target = TABLE[state][signal]
    if target == "PRIMARY_ACTIVE" and state != "PRIMARY_ACTIVE":
        assert primary in {Primary.STABLE, Primary.RECOVERING}
    if target == "FALLBACK_ACTIVE" and state != "FALLBACK_ACTIVE":
        assert fallback is Fallback.FRESH
    if primary is Primary.DOWN and fallback is Fallback.STALE:
        assert target == "BOTH_UNAVAILABLE"


def test_a_start_with_both_goes_to_the_primary() -> None:
    """Alpaca's first heartbeat ends the start."""
    watch = Watch()
    watch.run(2, alpaca=True, yahoo=True)
    assert [(t.from_state, t.to_state, t.reason) for t in watch.transitions] == [
        ("STARTUP", "PRIMARY_ACTIVE", "startup")
    ]


@pytest.mark.parametrize(
    ("yahoo", "state"), [(True, "FALLBACK_ACTIVE"), (False, "BOTH_UNAVAILABLE")]
)
def test_a_start_without_alpaca_waits_thirty_seconds(yahoo: bool, state: State) -> None:  # noqa: FBT001
    """Only after thirty seconds is something else settled for."""
    watch = Watch()
    watch.run(30, alpaca=False, yahoo=yahoo)
    assert watch.router.state == "STARTUP"
    watch.run(0.5, alpaca=False, yahoo=yahoo)
    assert watch.router.state == state
    assert watch.transitions[0].detected_at_ns == T0 + STARTUP_NS


def test_a_short_disconnection_changes_nothing() -> None:
    """Ten seconds without Alpaca are borne."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.run(10, alpaca=False, yahoo=True)
    watch.run(20, alpaca=True, yahoo=True)
    assert watch.router.state == "PRIMARY_ACTIVE"
    assert len(watch.transitions) == 1


def test_a_longer_one_fails_over_within_a_tick() -> None:
    """After more than ten seconds Yahoo is routed; detection and switch are told apart."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    gone = watch.now
    watch.tell(disconnected(gone))
    watch.run(11, alpaca=False, yahoo=True)
    last = watch.transitions[-1]
    assert (last.from_state, last.to_state) == ("PRIMARY_ACTIVE", "FALLBACK_ACTIVE")
    assert last.reason == "disconnected"
    assert last.detected_at_ns == gone + DISCONNECTED_NS
    assert AHEAD_NS < last.switched_at_ns - last.detected_at_ns <= AHEAD_NS + NS // 4


def test_a_dead_process_counts_from_its_last_heartbeat() -> None:
    """Who dies says nothing; the silence is the disconnection."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    heard = watch.router.alpaca.heard_at_ns
    watch.run(11, alpaca=None, yahoo=True)
    last = watch.transitions[-1]
    assert (last.to_state, last.reason) == ("FALLBACK_ACTIVE", "timeout")
    assert last.detected_at_ns == heard + DISCONNECTED_NS


def test_who_was_silent_and_then_says_that_it_is_gone_was_gone_before() -> None:
    """The ten seconds count from its last word before the silence."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    heard = watch.router.alpaca.heard_at_ns
    watch.run(5, alpaca=None, yahoo=True)
    watch.tell(disconnected(watch.now))
    watch.run(6, alpaca=None, yahoo=True)
    last = watch.transitions[-1]
    assert (last.to_state, last.reason) == ("FALLBACK_ACTIVE", "disconnected")
    assert last.detected_at_ns == heard + DISCONNECTED_NS


def test_with_both_gone_it_says_so() -> None:
    """Nothing is claimed to be available when neither source is."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=False)
    watch.run(12, alpaca=False, yahoo=False)
    assert watch.transitions[-1].to_state == "BOTH_UNAVAILABLE"


def test_a_stale_fallback_is_left() -> None:
    """When Yahoo goes too, the fallback is not held on to."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(5, alpaca=False, yahoo=True)
    watch.run(1.5, alpaca=False, yahoo=False)
    assert watch.router.state == "BOTH_UNAVAILABLE"


def test_from_nothing_yahoo_is_taken_at_once() -> None:
    """Either source ends an outage; Yahoo without a wait."""
    watch = Watch("BOTH_UNAVAILABLE")
    watch.run(15, alpaca=False, yahoo=False)
    watch.run(1, alpaca=False, yahoo=True)
    assert [(t.to_state, t.reason) for t in watch.transitions] == [("FALLBACK_ACTIVE", "recovered")]


def test_alpaca_is_taken_back_after_the_grace_period_only() -> None:
    """Ten seconds of Alpaca bring it back, not less."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(5, alpaca=False, yahoo=True)
    watch.run(1, alpaca=True, yahoo=True)
    up_since = watch.router.alpaca.since_ns
    watch.run(9.5, alpaca=True, yahoo=True)
    assert watch.router.state == "FALLBACK_ACTIVE"
    watch.run(1, alpaca=True, yahoo=True)
    last = watch.transitions[-1]
    assert (last.to_state, last.reason) == ("PRIMARY_ACTIVE", "recovered")
    assert last.detected_at_ns == up_since + GRACE_NS


@pytest.mark.parametrize("falter", [False, None], ids=["disconnects", "falls silent"])
def test_the_grace_period_restarts_when_alpaca_falters(falter: bool | None) -> None:  # noqa: FBT001
    """Eight good seconds, a break and eight more are not ten."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(5, alpaca=False, yahoo=True)
    watch.run(8, alpaca=True, yahoo=True)
    watch.run(5, alpaca=falter, yahoo=True)
    watch.run(8, alpaca=True, yahoo=True)
    assert watch.router.state == "FALLBACK_ACTIVE"


def test_refused_keys_act_at_once() -> None:
    """There is nothing to wait for when Alpaca refuses our keys."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.now += NS
    watch.tell(disconnected(watch.now, "auth"))
    last = watch.transitions[-1]
    assert (last.to_state, last.reason) == ("FALLBACK_ACTIVE", "auth")
    assert last.switched_at_ns == watch.now + AHEAD_NS


def test_a_way_up_that_is_not_finished_is_not_up() -> None:
    """A socket, and keys accepted, are no data."""
    watch = Watch("FALLBACK_ACTIVE")
    for kind in (Connected, Authenticated):
        watch.tell(kind(source="alpaca", feed="", session_id="s", at_ns=watch.now))
    assert not watch.router.alpaca.up
    watch.tell(Subscribed(source="alpaca", feed="", session_id="s", at_ns=watch.now, symbols=["A"]))
    assert watch.router.alpaca.up


def test_a_fact_read_again_changes_nothing() -> None:
    """A restart reads some facts twice."""
    router = observe(begin(T0), heartbeat("alpaca", T0 + NS), 7, T0 + NS)
    assert observe(router, disconnected(T0 + 2 * NS), 7, T0 + 2 * NS) == router
    assert observe(router, disconnected(T0 + 2 * NS), 3, T0 + 2 * NS) == router


def test_a_restarted_router_goes_on_where_the_log_left_it() -> None:
    """State and epoch come from the log, and no transition is written for having restarted."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    again = Watch("PRIMARY_ACTIVE")
    again.router = msgspec.structs.replace(again.router, epoch=watch.router.epoch)
    again.run(20, alpaca=True, yahoo=True)
    assert again.transitions == []
    again.run(12, alpaca=False, yahoo=True)
    assert [t.epoch for t in again.transitions] == [watch.router.epoch + 1]


def _resumed(after_s: float, *facts: Any, state: State = "PRIMARY_ACTIVE") -> Watch:
    """Return a router that was away for so long, and what it decided on its return."""
    watch = Watch(state)
    watch.router = msgspec.structs.replace(watch.router, epoch=4)
    watch.now = T0 + int(after_s * NS)
    watch.decide(Inputs(list(enumerate(facts))))
    return watch


def test_a_router_that_takes_over_holds_to_what_it_recalls() -> None:
    """While the sources went on speaking, a disconnection counts from when it was."""
    facts = (heartbeat("alpaca", T0), disconnected(T0 + NS), heartbeat("yahoo", T0 + 12 * NS))
    (transition,) = _resumed(12.5, *facts).transitions
    assert transition.epoch == 5
    assert transition.to_state == "FALLBACK_ACTIVE"


def test_a_silent_log_is_held_against_nobody() -> None:
    """When everything was off, the sources get their time from now on."""
    facts = (heartbeat("alpaca", T0), heartbeat("yahoo", T0), disconnected(T0 + NS, "shutdown"))
    watch = _resumed(3_600, *facts)
    watch.run(10, alpaca=None, yahoo=None)
    assert watch.transitions == []
    watch.run(0.5, alpaca=None, yahoo=None)
    assert [t.to_state for t in watch.transitions] == ["BOTH_UNAVAILABLE"]


def test_a_silent_log_makes_nobody_available() -> None:
    """What was away stays so until it says something."""
    facts = (heartbeat("alpaca", T0), heartbeat("yahoo", T0))
    watch = _resumed(3_600, *facts, state="BOTH_UNAVAILABLE")
    watch.run(30, alpaca=None, yahoo=None)
    assert watch.transitions == []
    watch.run(1, alpaca=None, yahoo=True)
    assert [t.to_state for t in watch.transitions] == ["FALLBACK_ACTIVE"]
