"""What to do about a process that ended by itself. Pure."""

import signal
from dataclasses import dataclass

from infra.settings import EX_CONFIG, EX_SOFTWARE

#: Seconds before the first, second, ... restart in a row; the last one stays.
BACKOFF = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
#: A process that served this long is healthy: its next end is a new trouble, not the same one.
HEALTHY_SECONDS = 60.0
#: A process that never became ready in so many starts will not in one more.
FIRST_STARTS = 5


@dataclass(frozen=True, slots=True)
class Restart:
    """Start it again after `seconds`."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Leave it ended; where the stack cannot do without it, the stack ends with `exit_code`."""

    exit_code: int
    fatal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process ended.

    Attributes:
        exit_code: as subprocess has it: negative for a signal.
        ever_ready: whether it has been ready, in this start or an earlier one.
        failures: how many times in a row it ended without a healthy spell, this time included.
        essential: whether the stack is of no use without it.

    """

    exit_code: int
    ever_ready: bool
    failures: int
    essential: bool = True


def after(ended: Ended) -> Restart | GiveUp:
    """Decide what follows."""
    if ended.exit_code == EX_CONFIG:
        # a restart reads the same setting; a stack that never ran with it is told to the user
        return GiveUp(EX_CONFIG, fatal=ended.essential and not ended.ever_ready)
    if not ended.ever_ready and ended.failures >= FIRST_STARTS:
        code = ended.exit_code if ended.exit_code > 0 else EX_SOFTWARE
        return GiveUp(code, fatal=ended.essential)
    return Restart(BACKOFF[min(ended.failures, len(BACKOFF)) - 1])


def how(exit_code: int) -> str:
    """Say how a process ended, in words."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"
