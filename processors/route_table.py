"""The router's states, signals and next states: data, from which docs/router.md is generated too.

A signal is a pair: how Alpaca stands, and how Yahoo stands.
"""

from enum import Enum

from processors.events import State, TransitionReason

STATES: tuple[State, ...] = ("STARTUP", "PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "BOTH_UNAVAILABLE")


class Primary(Enum):
    """How Alpaca stands."""

    STABLE = "up and receiving, and known to have been for the whole grace period"
    RECOVERING = "up and receiving, but not for that long"
    FAILING = "not so, but not yet for so long that it is left"
    DOWN = (
        "away for more than 10 s (30 s at the start), mute for more than 30 s of open time, "
        "three checks failed in a row, or it refused our keys"
    )


class Fallback(Enum):
    """How Yahoo stands."""

    FRESH = "its heartbeats arrive and say that its last poll succeeded"
    STALE = "not so"


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

#: How much each state has to offer: a transition to more is a recovery.
_RANK: dict[State, int] = {
    "STARTUP": -1,
    "BOTH_UNAVAILABLE": 0,
    "FALLBACK_ACTIVE": 1,
    "PRIMARY_ACTIVE": 2,
}


def reason_of(state: State, target: State, cause: TransitionReason) -> TransitionReason:
    """Return the reason that a transition gives.

    Args:
        state: the state left.
        target: the state entered.
        cause: `manual`, or what is the matter with Alpaca; `recovered` where nothing is.

    """
    if cause == "manual":
        return cause
    if state == "STARTUP":
        return "startup"
    if _RANK[target] > _RANK[state]:
        return "recovered"
    return cause


#: What may be the matter with Alpaca, by how it stands.
_CAUSES: dict[Primary, tuple[TransitionReason, ...]] = {
    Primary.STABLE: ("recovered",),
    Primary.RECOVERING: ("recovered",),
    Primary.FAILING: ("timeout", "disconnected"),
    Primary.DOWN: ("timeout", "disconnected", "health", "auth"),
}


def reasons(state: State, signal: Signal) -> tuple[TransitionReason, ...]:
    """Return which reasons a transition by a cell of the table may give; none where it stays."""
    target = TABLE[state][signal]
    if target == state:
        return ()
    causes = _CAUSES[signal[0]]
    if state != "PRIMARY_ACTIVE":
        # elsewhere Alpaca's health is not looked at
        causes = tuple(cause for cause in causes if cause != "health")
    return tuple(dict.fromkeys(reason_of(state, target, cause) for cause in causes))
