"""A router, or a source, whose clock is an hour off: what goes on, or was long ago."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import SourceStatus
from processors.evidence import HEARTBEAT_NS, NS
from processors.route import AHEAD_NS, GRID_NS
from processors.route_reading import DISCONNECTED_NS
from processors.skew import SAME_NS, STAYS_NS, TOLERATED_NS, Skew, ours
from tests.processors.test_route import T0, disconnected, heartbeat
from tests.processors.test_route_looks import Operation

HOUR_NS = 3600 * NS


def _believed(*heard: tuple[int, int]) -> Skew:
    """Return what is believed after facts: each of a moment, heard at another."""
    skew = Skew()
    for at_ns, now in heard:
        skew = skew.after(at_ns, now)
    return skew


def test_what_is_tolerated_is_no_skew() -> None:
    """Up to a minute is lateness, either way."""
    assert _believed((0, TOLERATED_NS), (NS, NS + TOLERATED_NS)) == Skew()
    assert _believed((TOLERATED_NS, 0), (NS + TOLERATED_NS, NS)) == Skew()


@pytest.mark.parametrize("wrong_ns", [HOUR_NS, -HOUR_NS])
def test_a_difference_that_stays_is_believed(wrong_ns: int) -> None:
    """At the second heartbeat; and it is forgotten at once when the clocks agree again."""
    once = _believed((0, wrong_ns))
    assert (once.ns, once.odd_ns) == (0, wrong_ns)
    twice = once.after(NS, NS + wrong_ns + SAME_NS)
    assert twice == Skew(ns=wrong_ns + SAME_NS)
    assert twice.after(2 * NS, 2 * NS + wrong_ns) == twice
    assert twice.after(3 * NS, 3 * NS) == Skew()


def test_what_comes_all_at_once_is_late() -> None:
    """A broker that was away for ten minutes has the facts of ten minutes; the next are not so."""
    now = 600 * NS
    flood = [(second * NS, now + second * 1_000_000) for second in range(500)]
    assert _believed(*flood).ns == 0
    # and the last of them that is on its way does not stay
    assert _believed(*flood, (590 * NS, now + STAYS_NS)).ns == 0


def test_a_fact_is_never_from_the_future() -> None:
    """Whatever its clock says."""
    assert Skew().on_our_clock(HOUR_NS, NS) == NS
    assert Skew(ns=-HOUR_NS).on_our_clock(HOUR_NS, NS) == 0


def test_our_clock_is_wrong_where_both_say_so() -> None:
    """One source alone has a wrong clock itself."""
    right, wrong = Skew(), Skew(ns=HOUR_NS)
    assert ours(wrong, Skew(ns=HOUR_NS + NS)) == HOUR_NS
    assert ours(wrong, right) == ours(right, wrong) == ours(right, right) == 0
    assert ours(wrong, Skew(ns=2 * HOUR_NS)) == 0


class Wrong(Operation):
    """Live operation by a clock that is wrong."""

    def __init__(self, wrong_ns: int) -> None:
        super().__init__()
        self.wrong_ns = wrong_ns

    def live_for(self, seconds: int, *, alpaca: bool | None, yahoo: bool | None) -> None:
        """Live seconds in which the sources are up, down, or dead, by their own right clocks."""
        for _ in range(seconds * (NS // GRID_NS)):
            facts: list[SourceStatus] = []
            now = self.now - self.wrong_ns + GRID_NS
            for source, up in (("alpaca", alpaca), ("yahoo", yahoo)):
                if up is not None and (now - T0) % NS == 0:
                    facts.append(heartbeat(source, now - GRID_NS // 3, up=up))
            self.live(facts, [])

    def step(self) -> None:
        """Have somebody take over whose clock is wrong; nobody was there for a second."""
        self.now += self.wrong_ns + NS
        self.office = self.hire()

    def states(self) -> list[str]:
        """Return where it has been."""
        return [d.transition.to_state for d in self.cluster.retold() if d.transition]


@pytest.mark.parametrize("hours", [1, -1])
def test_a_router_whose_clock_is_an_hour_off_decides_as_any(hours: int) -> None:
    """It leaves nobody for its own mistake, leaves who is dead in time, and says when by theirs."""
    operation = Wrong(hours * HOUR_NS)
    right, operation.wrong_ns = operation.wrong_ns, 0
    operation.live_for(20, alpaca=True, yahoo=True)
    operation.wrong_ns = right
    operation.step()
    operation.live_for(30, alpaca=True, yahoo=True)
    assert operation.states() == ["PRIMARY_ACTIVE"]
    gone = operation.now - right
    operation.live_for(12, alpaca=None, yahoo=True)
    assert operation.states() == ["PRIMARY_ACTIVE", "FALLBACK_ACTIVE"]
    failover = [d for d in operation.cluster.retold() if d.transition][-1]
    assert failover.transition is not None
    waited = failover.transition.switched_at_ns - gone
    assert DISCONNECTED_NS - NS <= waited <= DISCONNECTED_NS + NS + AHEAD_NS
    operation.live_for(5, alpaca=None, yahoo=None)
    assert operation.states()[2:] == ["BOTH_UNAVAILABLE"]
    operation.live_for(2, alpaca=None, yahoo=True)
    operation.live_for(13, alpaca=True, yahoo=True)
    assert operation.states()[3:] == ["FALLBACK_ACTIVE", "PRIMARY_ACTIVE"]
    # a successor with the right clock goes on
    operation.now, operation.wrong_ns = operation.now - right, 0
    operation.office = operation.hire()
    operation.live_for(30, alpaca=True, yahoo=True)
    assert len(operation.states()) == 5
    operation.live_for(12, alpaca=False, yahoo=True)
    operation.live_for(30, alpaca=True, yahoo=True)
    assert operation.states()[5:] == ["FALLBACK_ACTIVE", "PRIMARY_ACTIVE"]


@pytest.mark.parametrize("hours", [1, -1])
def test_a_source_whose_clock_is_an_hour_off_is_as_good_as_any(hours: int) -> None:
    """It is up while it speaks, and down when it does not."""
    operation = Operation()

    def live(seconds: int, *, alpaca: bool) -> None:
        for _ in range(seconds):
            now = operation.now + GRID_NS
            facts = [heartbeat("yahoo", now)]
            if alpaca:
                facts.append(heartbeat("alpaca", now - hours * HOUR_NS))
            operation.live([*facts], [])
            for _ in range(NS // GRID_NS - 1):
                operation.live([], [])

    live(60, alpaca=True)
    live(9 + HEARTBEAT_NS // NS, alpaca=False)
    live(20, alpaca=True)
    states = [d.transition.to_state for d in operation.cluster.retold() if d.transition]
    assert states == ["PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "PRIMARY_ACTIVE"]


@given(st.integers(-(10**13), 10**13), st.lists(st.integers(0, 10**12), max_size=5))
def test_one_fact_moves_nothing(late_ns: int, steady: list[int]) -> None:
    """A single fact, however old or new, is no reason to doubt a clock."""
    skew = Skew()
    for at in sorted(steady):
        skew = skew.after(at, at)
    assert skew.after(0, late_ns).ns == 0
    word = disconnected(T0)
    assert skew.on_our_clock(word.at_ns, T0 - NS) == T0 - NS
