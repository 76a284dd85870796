"""What the router makes of an operator's command: carried out or refused, and answered; pure.

A command is never obeyed against what is there. One that is refused changes nothing.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from infra import commands
from infra.market_calendar import Calendar
from processors.events import State
from processors.evidence import NS
from processors.route_reading import Reading, Router, in_seconds, read
from processors.route_table import Fallback, Primary
from processors.skew import ours

#: A failover that was asked for longer ago was meant for another situation.
STALE_COMMAND_NS = 60 * NS

_Command = commands.Failover | commands.Hold | commands.Release


def is_for_router(command: commands.Command | None) -> bool:
    """Return whether a command is for the router; it looks at one of these at a time."""
    return isinstance(command, _Command)


class Asked(NamedTuple):
    """What an operator asked for, and gets."""

    to_state: State
    because: Reading


def heed(
    router: Router,
    given: Sequence[tuple[int, commands.Command | None]],
    now: int,
    calendar: Calendar,
) -> tuple[Router, Asked | None, commands.Answer | None]:
    """Take commands into account; at most one is for the router, and it is answered."""
    asked, answer = None, None
    for offset, command in given:
        if offset <= router.command_offset:
            continue
        router = msgspec.structs.replace(router, command_offset=offset)
        match command:
            case commands.Failover():
                router, asked, answer = _fail_over(router, command, now, calendar)
            case commands.Hold():
                detail = "yahoo was held already" if router.held else "yahoo is held once routed"
                router = msgspec.structs.replace(router, held=True)
                answer = _answer(command, router, now, detail)
            case commands.Release() if router.held:
                router = msgspec.structs.replace(router, held=False, released_at_ns=now)
                answer = _answer(command, router, now, "the usual rules decide")
            case commands.Release():
                answer = _answer(command, router, now, "yahoo is not held", "not_held")
            case _:
                pass  # somebody else's, or unreadable
    return router, asked, answer


def _fail_over(
    router: Router, command: commands.Failover, now: int, calendar: Calendar
) -> tuple[Router, Asked | None, commands.Answer]:
    age_ns = now - ours(router.alpaca.skew, router.yahoo.skew) - command.at_ns
    if age_ns > STALE_COMMAND_NS:
        detail = f"it was asked for {in_seconds(age_ns)} ago"
        return router, None, _answer(command, router, now, detail, "too_old")
    reading = read(router, now, calendar)
    to_state: State = "FALLBACK_ACTIVE" if command.to == "yahoo" else "PRIMARY_ACTIVE"
    if to_state != router.state and (missing := _missing(router, reading, command.to, now)):
        return router, None, _answer(command, router, now, missing, "source_down")
    router = msgspec.structs.replace(router, held=command.to == "yahoo")
    held = ", and held" if router.held else ""
    if to_state == router.state:
        detail = f"{command.to} was routed already{held}"
        return router, None, _answer(command, router, now, detail)
    because = Reading(
        signal=reading.signal,
        reason="manual",
        detail=f"{command.who}: {command.why}",
        detected_at_ns=now - max(0, age_ns),
        by=command.who,
    )
    answer = _answer(command, router, now, f"{command.to} is routed{held}")
    return router, Asked(to_state, because), answer


def _missing(router: Router, reading: Reading, to: commands.Routable, now: int) -> str:
    """Return why a source cannot be routed; nothing where it can."""
    primary, fallback = reading.signal
    if to == "alpaca":
        return "" if primary in {Primary.STABLE, Primary.RECOVERING} else reading.detail
    if fallback is Fallback.FRESH:
        return ""
    away_ns = now - (router.yahoo.down_since(now) or now)
    what = "silent" if router.yahoo.up else "without a good poll"
    return f"yahoo {what} for {in_seconds(away_ns)}"


def _answer(
    command: _Command,
    router: Router,
    now: int,
    detail: str,
    refused: commands.Refused = "",
) -> commands.Answer:
    return commands.Answer(
        command_offset=router.command_offset,
        command=commands.name_of(command),
        who=command.who,
        why=command.why,
        at_ns=now,
        outcome="refused" if refused else "done",
        reason=refused,
        detail=detail,
        state=router.state,
        epoch=router.epoch,
    )
