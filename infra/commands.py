"""What an operator may ask of the running pipeline (`ops.commands`), and is answered.

Commands are the one thing that runs from right to left: the command line and the admin API write
them, the stage that one is meant for carries it out and says so in its own events. They live here,
below all stages, because those who write them and those who read them share nothing else.

A command asks for something now. One given while nobody was there is not carried out when it is no
longer meant: ingest reads them from the end of the log on, the router refuses a failover that was
asked for more than a minute ago.
"""

from typing import Literal

import msgspec

from infra.naming import snake


class _Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="command", tag=snake):
    """What all commands tell.

    Attributes:
        at_ns: when it was given.
        who: who gave it: a person's or a system's name.
        why: in words, for whoever reads the log later.

    """

    at_ns: int
    who: str
    why: str


class Reconnect(_Command, frozen=True, kw_only=True):
    """Leave the present connection in good order and open another; also ends a stop."""

    target: Literal["alpaca"]


class ReloadSymbols(_Command, frozen=True, kw_only=True):
    """Read the list of symbols again, now."""

    target: Literal["alpaca", "yahoo", "all"]


Routable = Literal["alpaca", "yahoo"]


class Failover(_Command, frozen=True, kw_only=True):
    """Route from the other source, now. To Yahoo it also holds; to Alpaca it also releases.

    Refused where that source is down, or where it was asked for more than a minute ago.
    """

    target: Literal["router"]
    to: Routable


class Hold(_Command, frozen=True, kw_only=True):
    """Do not go back to Alpaca until released, however well it is, while Yahoo is fresh."""

    target: Literal["router"]


class Release(_Command, frozen=True, kw_only=True):
    """Go back to Alpaca by the usual rules."""

    target: Literal["router"]


Command = Reconnect | ReloadSymbols | Failover | Hold | Release


def name_of(command: Command) -> str:
    """Return the word that a command is tagged with in the log."""
    return snake(type(command).__name__)


#: Why a command was refused; empty where it was not.
Refused = Literal["", "too_old", "source_down", "not_held"]


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a command to the router (`ops.answers`).

    Its identity is the command's place. One that was answered twice, by a router and its successor,
    has the same answer.

    Attributes:
        command_offset: the offset in `ops.commands` of the command.
        command: `failover`, `hold` or `release`.
        who: as in the command.
        why: as in the command.
        at_ns: when the router looked at it.
        outcome: `done`: it is so now; `refused`: nothing has changed.
        reason: why it was refused. `too_old`: it was meant for another situation; `source_down`:
            the source that was asked for has nothing to route; `not_held`: nothing to release.
        detail: the same in words, with the figures that decided.
        state: the router's state when it looked.
        epoch: the router's epoch afterwards.

    """

    command_offset: int
    command: str
    who: str
    why: str
    at_ns: int
    outcome: Literal["done", "refused"]
    reason: Refused
    detail: str
    state: str
    epoch: int
