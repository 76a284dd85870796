"""Which source is to be trusted? A table over states and signals, with no clock inside.

What the router reads are facts, each with its time: the life-cycle events and heartbeats of
`sources.status`, and the clock itself. `observe` folds a fact into what is known of its source;
`advance` boils that down to one signal, looks the signal up in `TABLE`, and answers with the next
state and, where it differs, the transition.

A signal is a pair: how Alpaca stands, and how Yahoo stands. Alpaca is

    STABLE      up, and known to have been for the whole grace period
    RECOVERING  up, but not for that long
    FAILING     not up, but not yet for so long that we act
    DOWN        not up for longer than that, or refused our keys

and up means: connected, authenticated, and its heartbeats arrive. A process that died sends no
`disconnected`, so missing heartbeats count as a disconnection since the last one.

Yahoo is FRESH while its heartbeats arrive and say that its last poll succeeded, else STALE.
"""

from dataclasses import dataclass, field, replace
from enum import Enum, auto

from infra.market_calendar import Calendar
from ingest import events as source_events
from processors.events import RouterTransition, SessionChanged, State, TransitionReason

NS = 1_000_000_000

#: Alpaca may be away this long before we leave it.
DISCONNECTED_NS = 10 * NS
#: At the start we wait this long for Alpaca before we settle for Yahoo.
STARTUP_NS = 30 * NS
#: Alpaca must be up this long before we go back to it.
GRACE_NS = 10 * NS
#: A source that has not said anything for this long is taken for dead; it says something a second.
HEARTBEAT_NS = 3 * NS


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
class Evidence:
    """What is known of one source.

    Attributes:
        up: whether it said, last, that it is connected (and authenticated).
        since_ns: since when that has been so.
        heard_at_ns: when it last said anything.
        refused: whether it refused our keys, and nothing better has come since.

    """

    up: bool = False
    since_ns: int
    heard_at_ns: int
    refused: bool = False

    def down_since(self, now: int) -> int | None:
        """Return since when the source has been down at `now`, or None if it is up."""
        if not self.up:
            return self.since_ns
        return self.heard_at_ns if now - self.heard_at_ns > HEARTBEAT_NS else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """The router's whole memory.

    Attributes:
        state: where it is.
        epoch: how many transitions there have been.
        started_at_ns: when this router began to watch.
        alpaca, yahoo: what is known of the sources.
        offset: the offset in `sources.status` of the last fact taken into account; -1 for none.

    """

    state: State = "STARTUP"
    epoch: int = 0
    started_at_ns: int
    alpaca: Evidence
    yahoo: Evidence
    offset: int = -1


def begin(now: int, *, state: State = "STARTUP", epoch: int = 0) -> Router:
    """Return a router that begins to watch at `now`, in the state that the log left it in.

    Nothing is held against a source that has not had time to speak: its clock starts now.
    """
    unknown = Evidence(since_ns=now, heard_at_ns=now)
    return Router(state=state, epoch=epoch, started_at_ns=now, alpaca=unknown, yahoo=unknown)


def resume(router: Router, now: int) -> Router:
    """Return a router, folded from the log, ready to decide from `now` on.

    Where the log has been silent, of both sources, nobody was there to write it: the stack was off.
    That is held against no source; they get their time from now on.
    """
    if now - max(router.alpaca.heard_at_ns, router.yahoo.heard_at_ns) <= HEARTBEAT_NS:
        return replace(router, started_at_ns=now)
    return replace(
        router,
        started_at_ns=now,
        alpaca=Evidence(since_ns=now, heard_at_ns=now),
        yahoo=Evidence(up=True, since_ns=now, heard_at_ns=now),
    )


def observe(router: Router, fact: source_events.SourceStatus, offset: int) -> Router:
    """Return the router with one more fact taken into account; one seen before changes nothing."""
    if offset <= router.offset:
        return router
    known = router.alpaca if fact.source == "alpaca" else router.yahoo
    silent = known.up and fact.at_ns - known.heard_at_ns > HEARTBEAT_NS
    up = known.up
    refused = known.refused
    match fact:
        case source_events.Heartbeat(state=state, authenticated=authenticated):
            up = state == "connected" and authenticated
            refused = refused and not up
        case source_events.Disconnected(reason=reason):
            up = False
            refused = reason == "auth"
        case source_events.Subscribed():
            up, refused = True, False
        case source_events.Connected() | source_events.Authenticated():
            # on the way up; the heartbeat says when it is
            pass
    # Coming back from a silence is coming back: the grace period counts from now.
    changed = up != known.up or (up and silent)
    evidence = Evidence(
        up=up,
        since_ns=fact.at_ns if changed else known.since_ns,
        heard_at_ns=max(known.heard_at_ns, fact.at_ns),
        refused=refused,
    )
    if fact.source == "alpaca":
        return replace(router, alpaca=evidence, offset=offset)
    return replace(router, yahoo=evidence, offset=offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The signal at a moment, and what a transition would say of its cause."""

    signal: Signal
    reason: TransitionReason
    detail: str
    detected_at_ns: int = field(default=0)


def read(router: Router, now: int) -> Reading:
    """Boil down what is known at `now` to one signal."""
    fallback = Fallback.STALE if router.yahoo.down_since(now) is not None else Fallback.FRESH
    alpaca = router.alpaca
    down_since = alpaca.down_since(now)
    if down_since is None:
        stable_at = alpaca.since_ns + GRACE_NS
        # by what was heard, not by the clock: a silence that has just begun proves nothing
        primary = Primary.STABLE if alpaca.heard_at_ns >= stable_at else Primary.RECOVERING
        return Reading(
            signal=(primary, fallback),
            reason="recovered",
            detail=f"alpaca up for {_s(now - alpaca.since_ns)}",
            detected_at_ns=min(now, stable_at),
        )
    if alpaca.refused:
        return Reading(
            signal=(Primary.DOWN, fallback),
            reason="auth",
            detail="alpaca refused the keys",
            detected_at_ns=down_since,
        )
    starting = router.state == "STARTUP"
    deadline = router.started_at_ns + STARTUP_NS if starting else down_since + DISCONNECTED_NS
    return Reading(
        signal=(Primary.DOWN if now > deadline else Primary.FAILING, fallback),
        reason="timeout" if alpaca.up else "disconnected",
        detail=f"alpaca {'silent' if alpaca.up else 'disconnected'} for {_s(now - down_since)}",
        detected_at_ns=min(now, deadline),
    )


def advance(router: Router, now: int) -> tuple[Router, RouterTransition | None]:
    """Return the router at `now`, and the transition where its state changed.

    Args:
        router: what is known.
        now: nanoseconds since the epoch.

    """
    reading = read(router, now)
    target = TABLE[router.state][reading.signal]
    if target == router.state:
        return router, None
    transition = RouterTransition(
        epoch=router.epoch + 1,
        from_state=router.state,
        to_state=target,
        reason=_reason(router.state, target, reading),
        detail=f"{reading.detail}, yahoo {reading.signal[1].name.lower()}",
        detected_at_ns=reading.detected_at_ns,
        switched_at_ns=now,
        by="router",
        cause_offset=router.offset,
    )
    return replace(router, state=target, epoch=transition.epoch), transition


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


def session_changed(
    calendar: Calendar, last: SessionChanged | None, now: int
) -> SessionChanged | None:
    """Return the market's session at `now`, where the log does not have it yet.

    Args:
        calendar: the market's.
        last: the last of this market in the log.
        now: nanoseconds since the epoch. Where it is before `last`, the clock was set back, and the
            log is believed.

    """
    state, since_ns, until_ns = calendar.session(now)
    if last is not None and (
        now < last.at_ns
        or (last.state, last.since_ns, last.until_ns) == (state, since_ns, until_ns)
    ):
        return None
    return SessionChanged(
        market=calendar.name, state=state, since_ns=since_ns, until_ns=until_ns, at_ns=now
    )
