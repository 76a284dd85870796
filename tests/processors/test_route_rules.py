"""What else the router goes by: silence in market time, checks, flapping, and operators."""

import msgspec
import pytest

from infra import market_calendar
from infra.commands import Command, Failover, Hold, Release, ReloadSymbols
from ingest.events import Stopped
from processors.events import State
from processors.evidence import NS, SILENT_NS
from processors.route import AHEAD_NS, Inputs, decide
from processors.route_orders import STALE_COMMAND_NS
from processors.route_reading import CHECK_NS, CHECKS, GRACE_NS
from tests.processors.test_route import T0, Watch, disconnected, heartbeat

#: 2026-11-24 09:30 in New York; the day before, at the close.
OPENING = 1_795_530_600 * NS
CLOSE_BEFORE = OPENING - (17 * 3600 + 1800) * NS


class MarketWatch(Watch):
    """A router that knows the market's hours, fed with heartbeats whose data are from some time."""

    def __init__(self, now: int) -> None:
        super().__init__("PRIMARY_ACTIVE", now, market_calendar.load())

    def beat(self, seconds: float, *, data: int | None) -> None:
        """Let time pass with both sources up; Alpaca's last data are from `data`, or from now."""
        end = self.now + int(seconds * NS)
        while self.now < end:
            self.now += NS
            self.tell(heartbeat("yahoo", self.now))
            self.tell(heartbeat("alpaca", self.now, data=data or self.now))


def test_a_night_without_data_is_no_silence() -> None:
    """From the close to the opening nothing is held against a source that says nothing new."""
    watch = MarketWatch(CLOSE_BEFORE)
    watch.beat(5, data=CLOSE_BEFORE)
    watch.now = OPENING - 60 * NS
    replace = msgspec.structs.replace
    heard = replace(watch.router.alpaca, heard_at_ns=watch.now)  # all night long
    watch.router = replace(watch.router, alpaca=heard, yahoo=heard)
    watch.beat(59, data=CLOSE_BEFORE)
    assert watch.transitions == []


def test_half_a_minute_of_silence_at_noon_is_a_failure() -> None:
    """A socket that is up and mute is left after thirty seconds of open time."""
    watch = MarketWatch(OPENING + 3600 * NS)
    watch.beat(5, data=None)
    last_data = watch.now
    watch.beat(SILENT_NS // NS, data=last_data)
    assert watch.transitions == []
    watch.beat(1, data=last_data)
    (failover,) = watch.transitions
    assert (failover.to_state, failover.reason) == ("FALLBACK_ACTIVE", "timeout")
    assert failover.detected_at_ns == last_data + SILENT_NS
    assert "mute" in failover.detail
    # mute for longer is not well again, and data that come are not trusted at once
    watch.beat(60, data=last_data)
    watch.beat(9, data=None)
    assert len(watch.transitions) == 1
    watch.beat(3, data=None)
    assert [t.to_state for t in watch.transitions[1:]] == ["PRIMARY_ACTIVE"]


def test_the_grace_period_begins_when_it_is_heard_of_again() -> None:
    """Its data may have come a moment before; that it was up then, nobody had heard."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(5, alpaca=True, yahoo=True)
    watch.run(40, alpaca=None, yahoo=True)
    transitions = len(watch.transitions)
    back = watch.now + NS
    for second in range(12):
        watch.now = back + second * NS
        watch.tell(heartbeat("yahoo", watch.now))
        watch.tell(heartbeat("alpaca", watch.now, data=watch.now if second else back - NS))
        assert len(watch.transitions) == transitions or watch.now - back >= GRACE_NS
    assert watch.router.state == "PRIMARY_ACTIVE"


def test_silence_begins_to_count_at_the_opening() -> None:
    """The last data are from yesterday: that is thirty seconds ago, thirty seconds after 09:30."""
    watch = MarketWatch(OPENING - 5 * NS)
    watch.beat(35, data=CLOSE_BEFORE)
    assert watch.transitions == []
    watch.beat(1, data=CLOSE_BEFORE)
    assert [t.to_state for t in watch.transitions] == ["FALLBACK_ACTIVE"]


def test_a_connection_without_data_is_not_gone_back_to() -> None:
    """Connected, authenticated, subscribed is not receiving."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(3, alpaca=False, yahoo=True)
    for _ in range(20):
        watch.now += NS
        watch.tell(heartbeat("yahoo", watch.now))
        watch.tell(heartbeat("alpaca", watch.now, data=T0))
    assert watch.router.state == "FALLBACK_ACTIVE"


def test_a_start_waits_for_data_and_not_for_a_connection() -> None:
    """A mute Alpaca is not what the start is waiting for; after thirty seconds it is Yahoo."""
    watch = Watch()
    for _ in range(31):
        watch.now += NS
        watch.tell(heartbeat("yahoo", watch.now))
        watch.tell(heartbeat("alpaca", watch.now, data=T0 - NS))
    assert [t.to_state for t in watch.transitions] == ["FALLBACK_ACTIVE"]


def test_a_connection_that_flaps_fails_its_checks() -> None:
    """Away for four seconds out of five is never ten seconds, and no good."""
    watch = Watch()
    watch.run(5, alpaca=True, yahoo=True)
    watch.now -= watch.now % CHECK_NS
    before = watch.now
    while not watch.transitions[1:] and watch.now - before < 60 * NS:
        watch.run(1, alpaca=True, yahoo=True)
        watch.run(4, alpaca=False, yahoo=True)
    failover = watch.transitions[1]
    assert (failover.to_state, failover.reason) == ("FALLBACK_ACTIVE", "health")
    assert watch.now - before <= (CHECKS + 1) * CHECK_NS


def test_a_stop_is_terminal_at_once() -> None:
    """The vendor refuses for good: nothing is waited for."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.tell(Stopped(source="alpaca", feed="", session_id="s", at_ns=watch.now, code=402))
    assert [t.reason for t in watch.transitions] == ["startup", "auth"]


def _state(watch: Watch) -> State:
    return watch.router.state


def _fail_over(watch: Watch) -> float:
    """Have Alpaca go and come back; return how long it then took to be taken back."""
    watch.tell(disconnected(watch.now))
    watch.run(12, alpaca=False, yahoo=True)
    assert _state(watch) == "FALLBACK_ACTIVE"
    back = watch.now
    while _state(watch) != "PRIMARY_ACTIVE":
        assert watch.now - back < 400 * NS
        watch.run(1, alpaca=True, yahoo=True)
    return (watch.now - back) / NS


def test_who_comes_and_goes_is_waited_for_longer() -> None:
    """Each further failover within a quarter of an hour doubles the grace period, up to a limit."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    waits = [_fail_over(watch) for _ in range(8)]
    assert waits[0] <= 12  # restored in less than thirty seconds
    for wait, expected in zip(waits, (10, 20, 40, 80, 160), strict=False):
        assert expected <= wait <= expected + 2
    assert 200 < max(waits) <= 302
    assert "repeated failovers" in watch.transitions[-1].detail
    watch.run(1_000, alpaca=True, yahoo=True)
    assert _fail_over(watch) <= 12


def test_a_stale_fallback_is_not_clung_to() -> None:
    """With Yahoo gone there is nothing to wait with: ten seconds, however often Alpaca failed."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    for _ in range(5):
        _fail_over(watch)
    watch.run(12, alpaca=False, yahoo=True)
    watch.run(12, alpaca=True, yahoo=False)
    assert watch.router.state == "PRIMARY_ACTIVE"


def _failover(watch: Watch, to: str) -> Failover:
    return Failover(at_ns=watch.now, who="ann", why="a test", target="router", to=to)  # type: ignore[arg-type]


def _hold(watch: Watch) -> Hold:
    return Hold(at_ns=watch.now, who="ann", why="a test", target="router")


def _release(watch: Watch) -> Release:
    return Release(at_ns=watch.now, who="ann", why="a test", target="router")


def test_an_operator_fails_over_holds_and_releases() -> None:
    """At once, with who and why; Alpaca's health changes nothing until the release."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.give(_failover(watch, "yahoo"))
    failover = watch.transitions[-1]
    assert (failover.to_state, failover.reason, failover.by) == ("FALLBACK_ACTIVE", "manual", "ann")
    assert failover.detail == "ann: a test"
    assert failover.switched_at_ns - failover.detected_at_ns == AHEAD_NS
    assert failover.command_offset == 0
    watch.run(600, alpaca=True, yahoo=True)
    assert watch.router.state == "FALLBACK_ACTIVE"
    watch.give(_release(watch))
    assert [t.to_state for t in watch.transitions[-2:]] == ["FALLBACK_ACTIVE", "PRIMARY_ACTIVE"]
    assert watch.transitions[-1].detected_at_ns == watch.now


def test_an_operator_is_named_whole() -> None:
    """A system's name may hold a colon."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.give(msgspec.structs.replace(_failover(watch, "yahoo"), who="cron: nightly"))
    assert watch.transitions[-1].by == "cron: nightly"


def test_an_operator_goes_back_without_the_grace_period() -> None:
    """Alpaca is up, and somebody knows better than the grace period."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(3, alpaca=False, yahoo=True)
    watch.run(2, alpaca=True, yahoo=True)
    watch.give(_hold(watch))
    watch.give(_failover(watch, "alpaca"))
    assert (watch.router.state, watch.router.held) == ("PRIMARY_ACTIVE", False)


@pytest.mark.parametrize(
    ("state", "alpaca", "yahoo", "asked", "outcome", "detail", "held"),
    [
        ("PRIMARY_ACTIVE", True, True, "yahoo", "done", "yahoo is routed, and held", True),
        ("PRIMARY_ACTIVE", True, True, "alpaca", "done", "alpaca was routed already", False),
        (
            *("PRIMARY_ACTIVE", True, False, "yahoo"),
            *("source_down", "yahoo without a good poll for 5.0 s", False),
        ),
        ("PRIMARY_ACTIVE", True, None, "yahoo", "source_down", "yahoo without a good poll", False),
        ("FALLBACK_ACTIVE", True, True, "alpaca", "done", "alpaca is routed", False),
        (
            *("FALLBACK_ACTIVE", False, True, "yahoo"),
            *("done", "yahoo was routed already, and held", True),
        ),
        (
            *("FALLBACK_ACTIVE", False, True, "alpaca"),
            *("source_down", "alpaca disconnected for 5.0 s", False),
        ),
        (
            *("BOTH_UNAVAILABLE", False, False, "yahoo"),
            *("source_down", "yahoo without a good poll for 5.0 s", False),
        ),
        ("STARTUP", False, True, "yahoo", "done", "yahoo is routed, and held", True),
        ("PRIMARY_ACTIVE", True, True, "hold", "done", "yahoo is held once routed", True),
        ("FALLBACK_ACTIVE", False, True, "release", "not_held", "yahoo is not held", False),
    ],
)
def test_what_comes_of_a_command(  # noqa: PLR0917  # a table
    state: State,
    alpaca: bool | None,  # noqa: FBT001
    yahoo: bool | None,  # noqa: FBT001
    asked: str,
    outcome: str,
    detail: str,
    held: bool,  # noqa: FBT001
) -> None:
    """It is done, or refused with the figures that decided; and then it has changed nothing."""
    watch = Watch(state)
    watch.run(5, alpaca=alpaca, yahoo=yahoo)
    # what the sources did by themselves is not the command's doing
    before = watch.router
    others: dict[str, Command] = {"hold": _hold(watch), "release": _release(watch)}
    command = others.get(asked)
    watch.give(command or _failover(watch, asked))
    (answer,) = watch.answers
    assert (answer.reason or answer.outcome) == outcome
    assert answer.detail.startswith(detail)
    assert (answer.who, answer.why, answer.state) == ("ann", "a test", before.state)
    assert answer.epoch == watch.router.epoch
    assert watch.router.held is held
    if answer.outcome == "refused":
        assert (watch.router.state, watch.router.epoch) == (before.state, before.epoch)


def test_a_hold_is_kept_and_released_once() -> None:
    """Held twice is held; released twice is refused."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(5, alpaca=False, yahoo=True)
    for command in (_hold(watch), _hold(watch), _release(watch), _release(watch)):
        watch.give(command)
    assert [(a.command, a.outcome, a.reason) for a in watch.answers] == [
        ("hold", "done", ""),
        ("hold", "done", ""),
        ("release", "done", ""),
        ("release", "refused", "not_held"),
    ]
    assert watch.answers[1].detail == "yahoo was held already"


def test_a_refused_failover_leaves_a_hold_as_it_was() -> None:
    """To Alpaca it would have released; it did not come to that."""
    watch = Watch("FALLBACK_ACTIVE")
    watch.run(5, alpaca=False, yahoo=True)
    watch.give(_hold(watch))
    watch.give(_failover(watch, "alpaca"))
    assert watch.answers[-1].outcome == "refused"
    assert watch.router.held


def test_what_was_asked_of_a_silent_yahoo_says_for_how_long() -> None:
    """A poller that died says nothing."""
    watch = Watch("PRIMARY_ACTIVE")
    watch.run(5, alpaca=True, yahoo=True)
    watch.run(7, alpaca=True, yahoo=None)
    watch.give(_failover(watch, "yahoo"))
    assert watch.answers[-1].detail == "yahoo silent for 7.0 s"


def test_a_hold_does_not_keep_a_stale_source() -> None:
    """Availability goes before what was asked."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.give(_failover(watch, "yahoo"))
    watch.run(30, alpaca=True, yahoo=False)
    assert watch.router.state == "PRIMARY_ACTIVE"
    assert watch.router.held


def test_a_command_of_another_time_or_for_others_is_not_carried_out() -> None:
    """What was asked while nobody was there was meant for that moment."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    old = msgspec.structs.replace(
        _failover(watch, "yahoo"), at_ns=watch.now - STALE_COMMAND_NS - NS
    )
    watch.give(old)
    assert [(a.outcome, a.reason) for a in watch.answers] == [("refused", "too_old")]
    assert not watch.router.held
    watch.give(ReloadSymbols(at_ns=watch.now, who="ann", why="x", target="all"))
    assert watch.router.state == "PRIMARY_ACTIVE"
    assert len(watch.answers) == 1
    # and one that was read before changes nothing
    again = Inputs(commands=[(watch.router.command_offset, _hold(watch))])
    assert not decide(watch.router, again, watch.now).router.held


def test_the_grace_period_is_as_documented() -> None:
    """Ten seconds, the README says."""
    assert GRACE_NS == 10 * NS


def _measured(watch: Watch) -> list[tuple[str, float | None, float | None]]:
    return [
        (
            decision.router.state,
            None if decision.recovery_ns is None else decision.recovery_ns / NS,
            None if decision.restoration_ns is None else decision.restoration_ns / NS,
        )
        for decision in watch.decisions
    ]


def test_recovery_and_restoration_are_measured() -> None:
    """From the failure's detection to Yahoo, and from Alpaca's return to Alpaca."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.run(12, alpaca=False, yahoo=True)
    watch.run(12, alpaca=True, yahoo=True)
    assert _measured(watch) == [
        ("PRIMARY_ACTIVE", None, None),
        ("FALLBACK_ACTIVE", pytest.approx(0.4), None),
        ("PRIMARY_ACTIVE", None, pytest.approx(10.15)),
    ]


def test_a_recovery_by_way_of_nothing_is_measured_whole() -> None:
    """While both were away nobody had taken over."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=False)
    watch.run(12, alpaca=False, yahoo=False)
    watch.run(30, alpaca=False, yahoo=False)
    watch.run(1, alpaca=False, yahoo=True)
    states = [(state, recovery) for state, recovery, _ in _measured(watch)]
    assert states == [
        ("PRIMARY_ACTIVE", None),
        ("BOTH_UNAVAILABLE", None),
        ("FALLBACK_ACTIVE", pytest.approx(32.15)),
    ]
    # it goes and comes again: that is no failure of Alpaca's any more
    watch.run(5, alpaca=False, yahoo=False)
    watch.run(1, alpaca=False, yahoo=True)
    assert [recovery for _, recovery, _ in _measured(watch)][3:] == [None, None]


def test_an_outage_that_alpaca_ends_is_no_recovery() -> None:
    """Yahoo never took over, and the next failure is counted from its own detection."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=False)
    watch.run(12, alpaca=False, yahoo=False)
    watch.run(15, alpaca=True, yahoo=False)
    watch.run(20, alpaca=True, yahoo=True)
    watch.run(12, alpaca=False, yahoo=True)
    assert [(state, recovery) for state, recovery, _ in _measured(watch)][2:] == [
        ("PRIMARY_ACTIVE", None),
        ("FALLBACK_ACTIVE", pytest.approx(0.4)),
    ]


def test_what_an_operator_had_wait_is_no_restoration() -> None:
    """How long a hold lasted says nothing of the router; nor does what was done by hand."""
    watch = Watch()
    watch.run(20, alpaca=True, yahoo=True)
    watch.give(_failover(watch, "yahoo"))
    watch.run(60, alpaca=True, yahoo=True)
    watch.give(_release(watch))
    watch.give(_failover(watch, "yahoo"))
    watch.give(_failover(watch, "alpaca"))
    watch.give(_failover(watch, "yahoo"))
    watch.run(10, alpaca=True, yahoo=False)
    states = [(state, restoration) for state, _, restoration in _measured(watch)]
    assert len(states) == 7
    assert all(restoration is None for _, restoration in states)
