"""Which source is to be trusted? A table over states and signals, with no clock inside.

What the router reads are facts, each with its time: the life-cycle events and heartbeats of
`sources.status`, what operators ask in `ops.commands`, and the clock itself. `observe` and `obey`
fold them into what is known; `advance` boils that down to one signal, looks the signal up in
`TABLE`, and answers with the next state and, where it differs, the transition.

A signal is a pair: how Alpaca stands, and how Yahoo stands. Alpaca is

    STABLE      up and receiving, and known to have been for the whole grace period
    RECOVERING  up and receiving, but not for that long
    FAILING     not so, but not yet for so long that we act
    DOWN        away for more than 10 s, mute for more than 30 s of open time, three checks failed
                in a row, or it refused our keys

Yahoo is FRESH while its heartbeats arrive and say that its last poll succeeded, else STALE. What
"up" and "mute" mean is in `evidence`.

The grace period is ten seconds, and twice as long with every further failover within a quarter of
an hour: a source that comes and goes is not followed back and forth. It starts again when Alpaca
falters in it, and is ten seconds where Yahoo is stale: then there is nothing better to wait with.

An operator may ask for a failover, which also holds; a hold keeps the router on Yahoo until it is
released. Neither goes against what is there: a failover to a source that is down is refused, and a
held router leaves Yahoo when Yahoo is stale.
"""

from dataclasses import dataclass, replace
from enum import Enum, auto

from infra import commands
from infra.market_calendar import ALWAYS_OPEN, Calendar
from ingest import events as source_events
from processors.events import RouterTransition, State, TransitionReason
from processors.evidence import (
    HEARTBEAT_NS,
    NS,
    SILENT_NS,
    Evidence,
    presumed_up,
    unknown,
)

#: Alpaca may be away this long before we leave it.
DISCONNECTED_NS = 10 * NS
#: At the start we wait this long for Alpaca before we settle for Yahoo.
STARTUP_NS = 30 * NS
#: Alpaca must be up this long before we go back to it.
GRACE_NS = 10 * NS
#: Failovers this close together double the grace period, up to this.
FLAPPING_NS, LONGEST_GRACE_NS = 900 * NS, 300 * NS
#: How often Alpaca's health is looked at, and how many failures in a row are too many.
CHECK_NS, CHECKS = 5 * NS, 3
#: A switch is in force this much after the decision, so that who forwards ticks knows in time.
AHEAD_NS = 150_000_000
#: A command that is older was meant for another situation.
STALE_COMMAND_NS = 60 * NS


class Primary(Enum):
    """How Alpaca stands."""

    STABLE = auto()
    RECOVERING = auto()
    FAILING = auto()
    DOWN = auto()


class Fallback(Enum):
    """How Yahoo stands."""

    FRESH = auto()
    STALE = auto()


Signal = tuple[Primary, Fallback]

#: By state and signal, the next state. Every cell is written out: there is no default.
TABLE: dict[State, dict[Signal, State]] = {
    "STARTUP": {
        (Primary.STABLE, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.STABLE, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.RECOVERING, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.RECOVERING, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.FAILING, Fallback.FRESH): "STARTUP",
        (Primary.FAILING, Fallback.STALE): "STARTUP",
        (Primary.DOWN, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.DOWN, Fallback.STALE): "BOTH_UNAVAILABLE",
    },
    "PRIMARY_ACTIVE": {
        (Primary.STABLE, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.STABLE, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.RECOVERING, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.RECOVERING, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.FAILING, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.FAILING, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.DOWN, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.DOWN, Fallback.STALE): "BOTH_UNAVAILABLE",
    },
    "FALLBACK_ACTIVE": {
        (Primary.STABLE, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.STABLE, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.RECOVERING, Fallback.FRESH): "FALLBACK_ACTIVE",
        # Alpaca is not down: the few seconds of grace that are left need no false alarm
        (Primary.RECOVERING, Fallback.STALE): "FALLBACK_ACTIVE",
        (Primary.FAILING, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.FAILING, Fallback.STALE): "BOTH_UNAVAILABLE",
        (Primary.DOWN, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.DOWN, Fallback.STALE): "BOTH_UNAVAILABLE",
    },
    "BOTH_UNAVAILABLE": {
        (Primary.STABLE, Fallback.FRESH): "PRIMARY_ACTIVE",
        (Primary.STABLE, Fallback.STALE): "PRIMARY_ACTIVE",
        (Primary.RECOVERING, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.RECOVERING, Fallback.STALE): "BOTH_UNAVAILABLE",
        (Primary.FAILING, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.FAILING, Fallback.STALE): "BOTH_UNAVAILABLE",
        (Primary.DOWN, Fallback.FRESH): "FALLBACK_ACTIVE",
        (Primary.DOWN, Fallback.STALE): "BOTH_UNAVAILABLE",
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What an operator asked for, and has not got yet.

    Attributes:
        to_state: the state asked for.
        who, why: as in the command.
        at_ns: when it was asked.

    """

    to_state: State
    who: str
    why: str
    at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """The router's whole memory.

    Attributes:
        state: where it is.
        epoch: how many transitions there have been.
        generation: of the process that decides.
        started_at_ns: when this router began to watch.
        alpaca, yahoo: what is known of the sources.
        offset: the offset in `sources.status` of the last fact taken into account; -1 for none.
        command_offset: the same in `ops.commands`.
        held: whether it stays on Yahoo until it is released.
        released_at_ns: when it was released.
        asked: what an operator asked for.
        failovers: when Alpaca was left, of late.
        checked_at_ns: when Alpaca's health was last looked at.
        failed_checks: how many of these looks, in a row, found it wanting.
        calendar: the market's hours.

    """

    state: State = "STARTUP"
    epoch: int = 0
    generation: int = 0
    started_at_ns: int
    alpaca: Evidence
    yahoo: Evidence
    offset: int = -1
    command_offset: int = -1
    held: bool = False
    released_at_ns: int = 0
    asked: Asked | None = None
    failovers: tuple[int, ...] = ()
    checked_at_ns: int
    failed_checks: int = 0
    calendar: Calendar = ALWAYS_OPEN


def begin(
    now: int,
    *,
    state: State = "STARTUP",
    epoch: int = 0,
    generation: int = 0,
    calendar: Calendar = ALWAYS_OPEN,
) -> Router:
    """Return a router that begins to watch at `now`, in the state that the log left it in.

    Nothing is held against a source that has not had time to speak: its clock starts now.
    """
    return Router(
        state=state,
        epoch=epoch,
        generation=generation,
        started_at_ns=now,
        alpaca=unknown(now),
        yahoo=unknown(now),
        checked_at_ns=now,
        calendar=calendar,
    )


def resume(router: Router, now: int) -> Router:
    """Return a router, folded from the log, ready to decide from `now` on.

    Where the log has been silent, of both sources, nobody was there to write it: the stack was off.
    That is held against no source; they get their time from now on.
    """
    router = replace(router, started_at_ns=now, checked_at_ns=now, failed_checks=0)
    if now - max(router.alpaca.heard_at_ns, router.yahoo.heard_at_ns) <= HEARTBEAT_NS:
        return router
    return replace(router, alpaca=unknown(now), yahoo=presumed_up(now))


def observe(router: Router, fact: source_events.SourceStatus, offset: int) -> Router:
    """Return the router with one more fact taken into account; one seen before changes nothing."""
    if offset <= router.offset:
        return router
    if fact.source == "alpaca":
        alpaca = router.alpaca.with_fact(fact, router.calendar)
        return replace(router, alpaca=alpaca, offset=offset)
    return replace(router, yahoo=router.yahoo.with_fact(fact, router.calendar), offset=offset)


def obey(router: Router, command: commands.Command, offset: int) -> Router:
    """Return the router with one more command taken into account; one seen before changes nothing.

    What was asked is carried out, or dropped, by `advance`.
    """
    if offset <= router.command_offset:
        return router
    router = replace(router, command_offset=offset)
    match command:
        case commands.Failover(to="yahoo"):
            return replace(router, held=True, asked=_asked(command, "FALLBACK_ACTIVE"))
        case commands.Failover():
            return replace(router, held=False, asked=_asked(command, "PRIMARY_ACTIVE"))
        case commands.Hold():
            return replace(router, held=True)
        case commands.Release():
            return replace(router, held=False, released_at_ns=command.at_ns)
        case _:
            return router  # somebody else's


def _asked(command: commands.Failover, to_state: State) -> Asked:
    return Asked(to_state=to_state, who=command.who, why=command.why, at_ns=command.at_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The signal at a moment, and what a transition would say of its cause."""

    signal: Signal
    reason: TransitionReason
    detail: str
    detected_at_ns: int
    by: str = "router"


def grace_ns(router: Router, now: int, fallback: Fallback) -> int:
    """Return for how long Alpaca has to be up before it is taken back."""
    if fallback is Fallback.STALE:
        return GRACE_NS
    repeated = sum(now - at <= FLAPPING_NS for at in router.failovers) - 1
    return int(min(GRACE_NS * 2 ** max(0, repeated), LONGEST_GRACE_NS))


def read(router: Router, now: int) -> Reading:
    """Boil down what is known at `now` to one signal."""
    fallback = Fallback.STALE if router.yahoo.down_since(now) is not None else Fallback.FRESH
    alpaca = router.alpaca
    down_since = alpaca.down_since(now)
    if down_since is not None:
        return _away(router, now, fallback, down_since)
    silent_ns = alpaca.silent_ns(now, router.calendar)
    if silent_ns > SILENT_NS:
        return Reading(
            signal=(Primary.DOWN, fallback),
            reason="timeout",
            detail=f"alpaca mute for {_s(silent_ns)} of open time",
            detected_at_ns=now - (silent_ns - SILENT_NS),
        )
    if router.failed_checks >= CHECKS:
        return _unhealthy(router, fallback)
    if not alpaca.receives(now, router.calendar):
        deadline = router.started_at_ns + STARTUP_NS
        late = router.state == "STARTUP" and now > deadline
        return Reading(
            signal=(Primary.DOWN if late else Primary.FAILING, fallback),
            reason="timeout",
            detail="alpaca up, but without data",
            detected_at_ns=deadline if late else now,
        )
    grace = grace_ns(router, now, fallback)
    stable_at = alpaca.since_ns + grace
    # by what was heard, not by the clock: a silence that has just begun proves nothing
    stable = alpaca.heard_at_ns >= stable_at and not (router.held and fallback is Fallback.FRESH)
    longer = f" (of {_s(grace)}, after repeated failovers)" if grace > GRACE_NS else ""
    return Reading(
        signal=(Primary.STABLE if stable else Primary.RECOVERING, fallback),
        reason="recovered",
        detail=f"alpaca up for {_s(now - alpaca.since_ns)}{longer}",
        detected_at_ns=min(now, max(stable_at, router.released_at_ns)),
    )


def _away(router: Router, now: int, fallback: Fallback, down_since: int) -> Reading:
    alpaca = router.alpaca
    if alpaca.refused:
        return Reading(
            signal=(Primary.DOWN, fallback),
            reason="auth",
            detail="alpaca refused the keys",
            detected_at_ns=down_since,
        )
    starting = router.state == "STARTUP"
    deadline = router.started_at_ns + STARTUP_NS if starting else down_since + DISCONNECTED_NS
    if now <= deadline and router.failed_checks >= CHECKS:
        return _unhealthy(router, fallback)
    return Reading(
        signal=(Primary.DOWN if now > deadline else Primary.FAILING, fallback),
        reason="timeout" if alpaca.up else "disconnected",
        detail=f"alpaca {'silent' if alpaca.up else 'disconnected'} for {_s(now - down_since)}",
        detected_at_ns=min(now, deadline),
    )


def _unhealthy(router: Router, fallback: Fallback) -> Reading:
    return Reading(
        signal=(Primary.DOWN, fallback),
        reason="health",
        detail=f"alpaca failed {router.failed_checks} checks in a row, {_s(CHECK_NS)} apart",
        detected_at_ns=router.checked_at_ns,
    )


def check(router: Router, now: int) -> Router:
    """Return the router with Alpaca's health looked at, where that is due."""
    if now < router.checked_at_ns + CHECK_NS:
        return router
    alpaca = router.alpaca
    well = alpaca.down_since(now) is None and alpaca.silent_ns(now, router.calendar) <= SILENT_NS
    # elsewhere nothing is left because of it
    failed = router.state == "PRIMARY_ACTIVE" and not well
    failed_checks = router.failed_checks + 1 if failed else 0
    return replace(router, checked_at_ns=now, failed_checks=failed_checks)


def advance(router: Router, now: int) -> tuple[Router, RouterTransition | None]:
    """Return the router at `now`, and the transition where its state changed.

    Args:
        router: what is known.
        now: nanoseconds since the epoch.

    """
    router = check(router, now)
    reading = read(router, now)
    asked, router = router.asked, replace(router, asked=None)
    if asked is not None and _can_be_had(asked, reading.signal, now, router.state):
        return _switch(router, asked.to_state, now, _by_hand(asked, reading.signal))
    target = TABLE[router.state][reading.signal]
    if target == router.state:
        return router, None
    because = replace(
        reading,
        reason=_reason(router.state, target, reading),
        detail=f"{reading.detail}, yahoo {reading.signal[1].name.lower()}",
    )
    return _switch(router, target, now, because)


def _can_be_had(asked: Asked, signal: Signal, now: int, state: State) -> bool:
    primary, fallback = signal
    if asked.to_state == state or now - asked.at_ns > STALE_COMMAND_NS:
        return False
    if asked.to_state == "FALLBACK_ACTIVE":
        return fallback is Fallback.FRESH
    return primary in {Primary.STABLE, Primary.RECOVERING}


def _by_hand(asked: Asked, signal: Signal) -> Reading:
    return Reading(
        signal=signal,
        reason="manual",
        detail=f"{asked.who}: {asked.why}",
        detected_at_ns=asked.at_ns,
        by=asked.who,
    )


def _switch(
    router: Router, target: State, now: int, because: Reading
) -> tuple[Router, RouterTransition]:
    transition = RouterTransition(
        epoch=router.epoch + 1,
        from_state=router.state,
        to_state=target,
        reason=because.reason,
        detail=because.detail,
        detected_at_ns=min(because.detected_at_ns, now),
        switched_at_ns=now + AHEAD_NS,
        by=because.by,
        cause_offset=router.offset,
        command_offset=router.command_offset,
        generation=router.generation,
    )
    return after(router, transition), transition


def after(router: Router, transition: RouterTransition) -> Router:
    """Return the router after a transition that counts: its own, or one that it reads."""
    failovers = router.failovers
    if transition.from_state == "PRIMARY_ACTIVE" and transition.reason != "manual":
        recent = transition.switched_at_ns - FLAPPING_NS
        failovers = (*(at for at in failovers if at >= recent), transition.switched_at_ns)
    return replace(
        router,
        state=transition.to_state,
        epoch=transition.epoch,
        failovers=failovers,
        failed_checks=0,
    )


#: How much each state has to offer: a transition to more is a recovery.
_RANK: dict[State, int] = {
    "STARTUP": -1,
    "BOTH_UNAVAILABLE": 0,
    "FALLBACK_ACTIVE": 1,
    "PRIMARY_ACTIVE": 2,
}


def _reason(state: State, target: State, reading: Reading) -> TransitionReason:
    if state == "STARTUP":
        return "startup"
    if _RANK[target] > _RANK[state]:
        return "recovered"
    return reading.reason


def _s(duration_ns: int) -> str:
    return f"{duration_ns / NS:.1f} s"
