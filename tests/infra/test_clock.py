"""The clock that doubts a jump."""

import time

from hypothesis import given
from hypothesis import strategies as st

from infra.clock import DOUBT_NS, JUMP_NS, NS, SteadyClock, now_ns

START = 1_795_000_000 * NS


class Machine:
    """A machine's two clocks, in a test's hands."""

    def __init__(self) -> None:
        self.wall = START
        self.counted = 7 * NS
        self.clock = SteadyClock(lambda: self.wall, lambda: self.counted)

    def goes_on(self, ns: int) -> int:
        """Let time pass, and return what time it is then."""
        self.wall += ns
        self.counted += ns
        return self.clock.now_ns()


def test_an_hour_that_nobody_lived_is_doubted_and_then_believed() -> None:
    """Forth or back: time goes on at its pace, and the machine is believed after five minutes."""
    for hour in (3600 * NS, -3600 * NS):
        machine = Machine()
        assert machine.goes_on(NS) == START + NS
        machine.wall += hour
        assert machine.goes_on(NS) == START + 2 * NS
        assert machine.goes_on(DOUBT_NS - NS) == START + NS + DOUBT_NS
        assert machine.goes_on(NS) == machine.wall
        assert machine.goes_on(NS) == machine.wall


def test_a_clock_that_is_set_right_again_was_never_followed() -> None:
    """A second jump is doubted anew, for as long."""
    machine = Machine()
    machine.wall += 3600 * NS
    machine.goes_on(NS)
    machine.wall -= 3600 * NS
    assert machine.goes_on(DOUBT_NS) == START + NS + DOUBT_NS
    machine.wall += 3600 * NS
    assert machine.goes_on(NS) == START + 2 * NS + DOUBT_NS


def test_what_a_time_daemon_slews_is_followed() -> None:
    """A clock that drifts for hours, a little at a time, is the machine's throughout."""
    machine = Machine()
    for _ in range(100):
        machine.wall += NS // 2
        assert machine.goes_on(10 * NS) == machine.wall


@given(st.lists(st.tuples(st.integers(1, DOUBT_NS), st.integers(-(10**13), 10**13)), max_size=20))
def test_time_never_leaps_within_five_minutes_of_a_jump(steps: list[tuple[int, int]]) -> None:
    """Whatever the wall clock does: it is followed when it is near, or was far for long enough."""
    machine = Machine()
    machine.goes_on(NS)
    before, far_for = machine.clock.now_ns(), 0
    for passed, jump in steps:
        machine.wall += jump
        now = machine.goes_on(passed)
        leap = now - before - passed
        assert abs(leap) < JUMP_NS or far_for + passed >= DOUBT_NS
        far_for = 0 if now == machine.wall else far_for + passed
        before = now


def test_the_process_has_one() -> None:
    """It tells the machine's time."""
    assert abs(now_ns() - time.time_ns()) < NS
