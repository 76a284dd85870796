"""The router's laws, whatever the sources say, operators ask, and however often it is restarted.

What the router is held to is known from what was said to it, and not from what it remembers.
"""

import itertools
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from infra.commands import Answer, Command
from ingest.events import SourceStatus
from processors.events import RouterTransition
from processors.evidence import HEARTBEAT_NS, NS, SILENT_NS
from processors.route import GRID_NS
from processors.route_reading import CHECK_NS, CHECKS, DISCONNECTED_NS, GRACE_NS, STARTUP_NS
from processors.route_table import STATES, TABLE, reasons
from tests.processors.test_route import T0, heartbeat
from tests.processors.test_route_looks import Operation, command, word

UP_OR_NOT = st.sampled_from([True, True, False, None])


class Said:
    """What a source has said, as an observer would note it.

    Attributes:
        good: whether its last word was good.
        at_ns: when that was.
        good_at_ns: when its last good word was.
        since_ns: since when all its words were good, and never far apart.
        data_at_ns: when it last had data.

    """

    def __init__(self) -> None:
        self.good = False
        self.at_ns = self.good_at_ns = self.since_ns = self.data_at_ns = T0

    def say(self, at_ns: int, *, good: bool, data_at_ns: int) -> None:
        """Note a word."""
        mute = at_ns - self.data_at_ns > SILENT_NS
        if not good or not self.good or at_ns - self.at_ns > HEARTBEAT_NS:
            self.since_ns = at_ns
        elif mute and data_at_ns != self.data_at_ns:
            self.since_ns = data_at_ns
        self.good, self.at_ns = good, at_ns
        if good:
            self.good_at_ns, self.data_at_ns = at_ns, max(self.data_at_ns, data_at_ns)

    def is_well(self, now: int) -> bool:
        """Return whether it is up, by its last word, and that is fresh."""
        return self.good and now - self.at_ns <= HEARTBEAT_NS


class RouterLaws(RuleBasedStateMachine):
    """Two pipelines live the same life; in one of them the router is restarted now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.undisturbed, self.restarted = Operation(), Operation()
        self.up: dict[str, bool | None] = {"alpaca": True, "yahoo": True}
        self.said = {"alpaca": Said(), "yahoo": Said()}
        self.refused = self.held = False
        #: When Alpaca began to be mute; None while its data flow.
        self.mute_since: int | None = None
        self.transitions: list[RouterTransition] = []
        self.answers: list[Answer] = []

    @rule(alpaca=UP_OR_NOT, yahoo=UP_OR_NOT)
    def turn(self, alpaca: bool | None, yahoo: bool | None) -> None:  # noqa: FBT001
        """The sources are up, down and say so, or dead, from now on."""
        self.up = {"alpaca": alpaca, "yahoo": yahoo}

    @rule()
    def go_mute_or_speak(self) -> None:
        """Alpaca's connection stays, and its data stop; or they flow again."""
        self.mute_since = self.undisturbed.now if self.mute_since is None else None

    @rule(cells=st.integers(1, 20))
    def wait_a_little(self, cells: int) -> None:
        """Some points of the grid pass."""
        for _ in range(cells):
            self._live()

    @rule(seconds=st.sampled_from([4, 11, 14, 40]))
    def wait(self, seconds: int) -> None:
        """Time passes, for longer than the router has patience for this or that."""
        for _ in range(seconds * (NS // GRID_NS)):
            self._live()

    @rule(said=st.sampled_from(["closed", "timeout", "auth", "stop"]))
    def lose(self, said: str) -> None:
        """Alpaca's connection ends, or it refuses us."""
        self.up["alpaca"] = False
        self.refused = said in {"auth", "stop"}
        now = self.undisturbed.now + GRID_NS
        self.said["alpaca"].say(now, good=False, data_at_ns=T0)
        self._live([word(said, now)])

    @rule(asked=st.sampled_from(["yahoo", "alpaca", "hold", "release"]))
    def ask(self, asked: str) -> None:
        """An operator asks."""
        self._live([], [command(asked, self.undisturbed.now + GRID_NS)])

    @rule()
    def restart(self) -> None:
        """Kill the router, and have another take over at once."""
        self.restarted.office = self.restarted.hire()

    def _live(self, facts: Any = (), commands: Any = ()) -> None:
        """Live one cell of the grid in both, and hold what came of it to the laws."""
        now = self.undisturbed.now + GRID_NS
        facts, given = list[SourceStatus](facts), list[Command](commands)
        for source, up in self.up.items():
            if up is not None and (now - T0) % NS == 0:
                data = self.mute_since if source == "alpaca" and self.mute_since else now
                facts.append(heartbeat(source, now, up=up, data=data))
                self.said[source].say(now, good=up, data_at_ns=data)
                self.refused = self.refused and not (source == "alpaca" and up)
        for operation in (self.undisturbed, self.restarted):
            operation.live(facts, given)
        cluster = self.undisturbed.cluster
        if len(cluster.answers) > len(self.answers):
            self._answered(msgspec.json.decode(cluster.answers[-1], type=Answer), given)
        assert len(cluster.transitions) - len(self.transitions) in {0, 1}
        if len(cluster.transitions) > len(self.transitions):
            transition = msgspec.json.decode(cluster.transitions[-1], type=RouterTransition)
            self.transitions.append(transition)
            self._has_a_cause(transition, now, given)
        self._claims_nothing_that_is_not_there(now)

    def _answered(self, answer: Answer, given: list[Command]) -> None:
        """Note what an operator was answered."""
        assert len(given) == 1
        self.answers.append(answer)
        asked = {"failover": getattr(given[0], "to", "")}.get(answer.command, answer.command)
        if answer.outcome == "done":
            self.held = asked in {"hold", "yahoo"}

    def _has_a_cause(self, transition: RouterTransition, now: int, given: list[Command]) -> None:
        """No transition without cause, no way back inside the grace period, no hold broken."""
        alpaca, yahoo = self.said["alpaca"], self.said["yahoo"]
        to_primary = transition.to_state == "PRIMARY_ACTIVE"
        assert transition.reason == "manual" or transition.reason in {
            reason
            for signal, target in TABLE[transition.from_state].items()
            if target == transition.to_state
            for reason in reasons(transition.from_state, signal)
        }
        match transition.reason:
            case "manual":
                assert [getattr(c, "to", "") for c in given] == [
                    "alpaca" if to_primary else "yahoo"
                ]
                assert self.answers[-1].outcome == "done"
                assert (alpaca if to_primary else yahoo).is_well(now)
            case "startup":
                assert transition.from_state == "STARTUP"
                assert to_primary or self.refused or now - T0 > STARTUP_NS
            case "recovered":
                assert transition.to_state != "BOTH_UNAVAILABLE"
                if to_primary:
                    assert alpaca.is_well(now)
                    assert now - alpaca.since_ns >= GRACE_NS
                    assert not (self.held and yahoo.is_well(now))
                else:
                    assert yahoo.is_well(now)
            case "auth":
                assert self.refused
            case "health":
                assert now - max(alpaca.since_ns, T0) < CHECKS * CHECK_NS or not alpaca.is_well(now)
            case "disconnected" | "timeout" if transition.from_state == "PRIMARY_ACTIVE":
                away = now - alpaca.good_at_ns > DISCONNECTED_NS
                assert away or now - alpaca.data_at_ns > SILENT_NS
            case _:
                assert transition.to_state == "BOTH_UNAVAILABLE"
                assert not yahoo.is_well(now)

    def _claims_nothing_that_is_not_there(self, now: int) -> None:
        """Availability is never claimed with both stale."""
        state = self.transitions[-1].to_state if self.transitions else "STARTUP"
        alpaca, yahoo = self.said["alpaca"], self.said["yahoo"]
        if state == "PRIMARY_ACTIVE":
            # its last good word may have been three seconds before the one that it is gone
            noticed_ns = HEARTBEAT_NS + GRID_NS
            assert now - alpaca.good_at_ns <= DISCONNECTED_NS + noticed_ns
            assert now - alpaca.data_at_ns <= SILENT_NS + 2 * NS or not alpaca.is_well(now)
        if state == "FALLBACK_ACTIVE":
            assert yahoo.is_well(now) or alpaca.is_well(now)
        if state == "STARTUP":
            assert now - T0 <= STARTUP_NS + GRID_NS

    @invariant()
    def epochs_rise_by_one(self) -> None:
        """Every transition has the next epoch, and begins where the one before ended."""
        assert [t.epoch for t in self.transitions] == list(range(1, len(self.transitions) + 1))
        assert not self.transitions or self.transitions[0].from_state == "STARTUP"
        for before, after in itertools.pairwise(self.transitions):
            assert after.from_state == before.to_state != after.to_state
            assert after.switched_at_ns > before.switched_at_ns
        for transition in self.transitions:
            assert transition.detected_at_ns <= transition.switched_at_ns

    @invariant()
    def it_is_in_one_state_and_a_restart_changes_nothing(self) -> None:
        """The state is that of the log, and the same however often the router began again."""
        router = self.undisturbed.office.router
        assert router is not None
        assert router.state in STATES
        assert router.state == (self.transitions[-1].to_state if self.transitions else "STARTUP")
        assert router.held is self.held
        assert self.restarted.office.router == router
        assert self.restarted.cluster.answers == self.undisturbed.cluster.answers
        assert self.restarted.transitions() == [
            msgspec.structs.replace(t, generation=0) for t in self.transitions
        ]


TestRouterLaws = RouterLaws.TestCase
TestRouterLaws.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
