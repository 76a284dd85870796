"""What an operator may ask of the running pipeline (`ops.commands`).

Commands are the one thing that runs from right to left: the command line and the admin API write
them, the stage that one is meant for carries it out and says so in its own events. They live here,
below all stages, because those who write them and those who read them share nothing else.

A command asks for something now. A stage reads them from the end of the log on, so that one given
while it was away is not carried out when it is no longer meant.
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


class Failover(_Command, frozen=True, kw_only=True):
    """Route from the other source, now. To Yahoo it also holds; to Alpaca it also releases.

    Refused where that source is down.
    """

    target: Literal["router"]
    to: Literal["alpaca", "yahoo"]


class Hold(_Command, frozen=True, kw_only=True):
    """Do not go back to Alpaca until released, however well it is, while Yahoo is fresh."""

    target: Literal["router"]


class Release(_Command, frozen=True, kw_only=True):
    """Go back to Alpaca by the usual rules."""

    target: Literal["router"]


Command = Reconnect | ReloadSymbols | Failover | Hold | Release
