"""Which source is to be trusted? Decided on a grid of 250 ms, by a table, with no clock inside.

What the router reads are facts, each with its time: the life-cycle events and heartbeats of
`sources.status`, and what operators ask in `ops.commands`. `decide` takes what has come of them by
a point of the grid, boils down what is known to one signal, looks it up in `route_table`, and
answers with what the router remembers then, and what came of it: a transition, where the state
changed, and an answer to the operator who asked. It is a function of what it is given, so whoever
knows what was given (see `looks`) can have it decide again, and gets the same.

An operator may ask for a failover, which also holds; a hold keeps the router on Yahoo until it is
released. Neither goes against what is there: a failover to a source that is down is refused, and
changes nothing, and a held router leaves Yahoo when Yahoo is stale.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from infra.commands import Answer, Command
from infra.market_calendar import ALWAYS_OPEN, Calendar
from ingest.events import SourceStatus
from processors.events import RouterTransition, State
from processors.evidence import HEARTBEAT_NS, NS, presumed_up, unknown
from processors.route_orders import heed
from processors.route_reading import FLAPPING_NS, Reading, Router, check, observe, read
from processors.route_table import TABLE, reason_of
from processors.skew import ours

#: How far apart the moments are at which the router decides.
GRID_NS = 250_000_000
#: A switch is in force this much after the decision, so that who forwards ticks knows in time.
AHEAD_NS = 150_000_000
#: A router that is there says so at least this often; one that has not for so long was away.
PRESENT_NS, AWAY_NS = NS, 2 * NS


class Inputs(NamedTuple):
    """What has come by a point of the grid, by offset; what cannot be read is None."""

    facts: Sequence[tuple[int, SourceStatus | None]] = ()
    commands: Sequence[tuple[int, Command | None]] = ()


class Decision(NamedTuple):
    """What the router made of a point of the grid.

    Attributes:
        router: what it remembers afterwards.
        transition: where its state changed.
        answer: to the operator whose command was looked at.
        recovery_ns: where Yahoo took over from Alpaca: since the failure was detected.
        restoration_ns: where Alpaca was taken back by itself: since it was back.

    """

    router: Router
    transition: RouterTransition | None = None
    answer: Answer | None = None
    recovery_ns: int | None = None
    restoration_ns: int | None = None


def decide(
    router: Router,
    inputs: Inputs,
    until: int,
    *,
    generation: int = 0,
    calendar: Calendar = ALWAYS_OPEN,
) -> Decision:
    """Take what has come until a point of the grid, and decide.

    Args:
        router: what is remembered.
        inputs: what has come since, in order; at most one command for the router. What was taken
            into account before changes nothing.
        until: the point of the grid, in ns since the epoch.
        generation: of the router that decides.
        calendar: the market's hours.

    """
    before, now = router, until
    for offset, fact in inputs.facts:
        router = observe(router, fact, offset, now, calendar)
    router = check(_as_of(router, before.looked_at_ns, now), now, calendar)
    router, asked, answer = heed(router, inputs.commands, now, calendar)
    if asked is not None:
        decision = _switch(router, asked.to_state, now, asked.because, generation)
    else:
        reading = read(router, now, calendar)
        target = TABLE[router.state][reading.signal]
        decision = (
            Decision(router)
            if target == router.state
            else _switch(router, target, now, reading, generation)
        )
    if answer is not None:
        answer = msgspec.structs.replace(answer, epoch=decision.router.epoch)
        decision = decision._replace(answer=answer)
    changed = msgspec.structs.replace(decision.router, looked_at_ns=before.looked_at_ns) != before
    if changed or not 0 <= now - before.looked_at_ns < PRESENT_NS:
        seen = msgspec.structs.replace(decision.router, looked_at_ns=now)
        return decision._replace(router=seen)
    return Decision(before)


def _as_of(router: Router, looked_at_ns: int, now: int) -> Router:
    """Return the router made up to a moment, however long it was away, or its clock went back.

    Where it was away, and the log is silent, of both sources, nobody was there to write it: the
    stack was off. That is held against no source; they get their time from now on.
    """
    if now < looked_at_ns:
        router = msgspec.structs.replace(
            router,
            started_at_ns=min(now, router.started_at_ns),
            checked_at_ns=min(now, router.checked_at_ns),
            alpaca=router.alpaca.by(now),
            yahoo=router.yahoo.by(now),
            failovers=tuple(min(now, at) for at in router.failovers),
        )
    heard_at_ns = max(router.alpaca.heard_at_ns, router.yahoo.heard_at_ns)
    if now - looked_at_ns <= AWAY_NS or now - heard_at_ns <= HEARTBEAT_NS:
        return router
    # what is not routed from is not claimed to be there before it has said so
    there = presumed_up if router.state == "FALLBACK_ACTIVE" else unknown
    return msgspec.structs.replace(
        router,
        started_at_ns=now,
        checked_at_ns=now,
        failed_checks=0,
        alpaca=msgspec.structs.replace(unknown(now), skew=router.alpaca.skew),
        yahoo=msgspec.structs.replace(there(now), skew=router.yahoo.skew),
    )


def _switch(router: Router, target: State, now: int, because: Reading, generation: int) -> Decision:
    detail = because.detail
    if because.reason != "manual":
        detail = f"{detail}, yahoo {because.signal[1].name.lower()}"
    wrong_ns = ours(router.alpaca.skew, router.yahoo.skew)
    transition = RouterTransition(
        epoch=router.epoch + 1,
        from_state=router.state,
        to_state=target,
        reason=reason_of(router.state, target, because.reason),
        detail=detail,
        # whoever goes by these has the sources' clocks
        detected_at_ns=min(because.detected_at_ns, now) - wrong_ns,
        switched_at_ns=now + AHEAD_NS - wrong_ns,
        by=because.by,
        cause_offset=router.offset,
        command_offset=router.command_offset,
        generation=generation,
    )
    later = after(router, transition, now)
    failing_since_ns = router.failing_since_ns
    if router.state == "PRIMARY_ACTIVE":
        failing_since_ns = min(because.detected_at_ns, now)
    recovery_ns = restoration_ns = None
    if target == "FALLBACK_ACTIVE" and failing_since_ns is not None:
        recovery_ns = now + AHEAD_NS - failing_since_ns
    # what an operator had wait, or did not let wait, says nothing of how fast we are
    asked = because.reason == "manual" or router.held
    waited = router.released_at_ns > router.alpaca.since_ns
    if target == "PRIMARY_ACTIVE" and router.state != "STARTUP" and not asked and not waited:
        restoration_ns = now + AHEAD_NS - router.alpaca.since_ns
    if target != "BOTH_UNAVAILABLE":
        failing_since_ns = None
    later = msgspec.structs.replace(later, failing_since_ns=failing_since_ns)
    return Decision(later, transition, recovery_ns=recovery_ns, restoration_ns=restoration_ns)


def after(router: Router, transition: RouterTransition, at_ns: int) -> Router:
    """Return the router after a transition that was decided at a moment."""
    failovers = router.failovers
    if transition.from_state == "PRIMARY_ACTIVE" and transition.reason != "manual":
        failovers = (*(at for at in failovers if at >= at_ns - FLAPPING_NS), at_ns)
    return msgspec.structs.replace(
        router,
        state=transition.to_state,
        epoch=transition.epoch,
        failovers=failovers,
        failed_checks=0,
    )
