"""What the router remembers, and how it boils that down to one signal; pure.

What "up" and "mute" mean is in `evidence`.

The grace period is ten seconds, and twice as long with every further failover within a quarter of
an hour: a source that comes and goes is not followed back and forth. It starts again when Alpaca
falters in it, and is ten seconds where Yahoo is stale: then there is nothing better to wait with.
"""

from typing import NamedTuple

import msgspec

from infra.market_calendar import ALWAYS_OPEN, Calendar
from ingest.events import SourceStatus
from processors.events import State, TransitionReason
from processors.evidence import NS, SILENT_NS, Evidence, unknown
from processors.route_table import Fallback, Primary, Signal

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


class Router(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The router's whole memory.

    Attributes:
        state: where it is.
        epoch: how many transitions there have been.
        started_at_ns: when the router began to wait for a source to start with.
        looked_at_ns: the grid point at which it last said that it is there.
        alpaca: what is known of Alpaca.
        yahoo: what is known of Yahoo.
        offset: the offset in `sources.status` of the last fact taken into account; -1 for none.
        command_offset: the same in `ops.commands`.
        held: whether it stays on Yahoo until it is released.
        released_at_ns: when it was released.
        failovers: when Alpaca was left, of late.
        failing_since_ns: the detection of the failure for which nothing has taken over yet.
        checked_at_ns: when Alpaca's health was last looked at.
        failed_checks: how many of these looks, in a row, found it wanting.

    """

    state: State = "STARTUP"
    epoch: int = 0
    started_at_ns: int
    looked_at_ns: int
    alpaca: Evidence
    yahoo: Evidence
    offset: int = -1
    command_offset: int = -1
    held: bool = False
    released_at_ns: int = 0
    failovers: tuple[int, ...] = ()
    failing_since_ns: int | None = None
    checked_at_ns: int
    failed_checks: int = 0


def begin(now: int, *, state: State = "STARTUP", epoch: int = 0) -> Router:
    """Return a router that begins to watch at `now`.

    Nothing is held against a source that has not had time to speak: its clock starts now.
    """
    return Router(
        state=state,
        epoch=epoch,
        started_at_ns=now,
        looked_at_ns=now,
        alpaca=unknown(now),
        yahoo=unknown(now),
        checked_at_ns=now,
    )


def observe(
    router: Router,
    fact: SourceStatus | None,
    offset: int,
    now: int,
    calendar: Calendar = ALWAYS_OPEN,
) -> Router:
    """Return the router with one more fact taken into account; one seen before changes nothing."""
    if offset <= router.offset:
        return router
    replace = msgspec.structs.replace
    if fact is None:
        return replace(router, offset=offset)
    if fact.source == "alpaca":
        return replace(router, alpaca=router.alpaca.with_fact(fact, now, calendar), offset=offset)
    return replace(router, yahoo=router.yahoo.with_fact(fact, now, calendar), offset=offset)


class Reading(NamedTuple):
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


def read(router: Router, now: int, calendar: Calendar = ALWAYS_OPEN) -> Reading:
    """Boil down what is known at `now` to one signal."""
    fallback = Fallback.STALE if router.yahoo.down_since(now) is not None else Fallback.FRESH
    alpaca = router.alpaca
    down_since = alpaca.down_since(now)
    if down_since is not None:
        return _away(router, now, fallback, down_since)
    silent_ns = alpaca.silent_ns(now, calendar)
    if silent_ns > SILENT_NS:
        return Reading(
            signal=(Primary.DOWN, fallback),
            reason="timeout",
            detail=f"alpaca mute for {in_seconds(silent_ns)} of open time",
            detected_at_ns=now - (silent_ns - SILENT_NS),
        )
    if router.failed_checks >= CHECKS:
        return _unhealthy(router, fallback)
    if not alpaca.receives(now, calendar):
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
    longer = f" (of {in_seconds(grace)}, after repeated failovers)" if grace > GRACE_NS else ""
    return Reading(
        signal=(Primary.STABLE if stable else Primary.RECOVERING, fallback),
        reason="recovered",
        detail=f"alpaca up for {in_seconds(now - alpaca.since_ns)}{longer}",
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
    how = "silent" if alpaca.up else "disconnected"
    return Reading(
        signal=(Primary.DOWN if now > deadline else Primary.FAILING, fallback),
        reason="timeout" if alpaca.up else "disconnected",
        detail=f"alpaca {how} for {in_seconds(now - down_since)}",
        detected_at_ns=min(now, deadline),
    )


def _unhealthy(router: Router, fallback: Fallback) -> Reading:
    checks = f"{router.failed_checks} checks in a row, {in_seconds(CHECK_NS)} apart"
    return Reading(
        signal=(Primary.DOWN, fallback),
        reason="health",
        detail=f"alpaca failed {checks}",
        detected_at_ns=router.checked_at_ns,
    )


def check(router: Router, now: int, calendar: Calendar = ALWAYS_OPEN) -> Router:
    """Return the router with Alpaca's health looked at, where that is due."""
    if now < router.checked_at_ns + CHECK_NS:
        return router
    alpaca = router.alpaca
    well = alpaca.down_since(now) is None and alpaca.silent_ns(now, calendar) <= SILENT_NS
    # elsewhere nothing is left because of it
    failed = router.state == "PRIMARY_ACTIVE" and not well
    failed_checks = router.failed_checks + 1 if failed else 0
    return msgspec.structs.replace(router, checked_at_ns=now, failed_checks=failed_checks)


def in_seconds(duration_ns: int) -> str:
    """Return a duration as it is told."""
    return f"{duration_ns / NS:.1f} s"
