"""What a drill has changed of a stack, written down before it does, and until it is taken back.

A drill that is asked to end takes all of it back by itself. One that is killed cannot: the next
drill on the same stack finds the journal, and does. A stack that is started anew writes its
configuration anew, and its simulated vendors know of no fault.
"""

import fcntl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from infra.settings import EX_UNAVAILABLE
from infra.stack.refusal import Refusal

FILE = "drill.json"
LOCK = "drill.lock"


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be taken back.

    Attributes:
        before: files of the stack's directory, as they were.
        playing: the ids of the alerts whose faults are on.

    """

    before: dict[str, str]
    playing: tuple[str, ...] = ()


class Journal:
    """The journal of one stack.

    Args:
        data: the stack's directory.

    """

    def __init__(self, data: Path) -> None:
        self._file = data / FILE
        self._changed = Changed(before={})

    def left(self) -> Changed | None:
        """Return what a drill that was cut off has not taken back, if one was."""
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Changed)
        except FileNotFoundError:
            return None

    def begin(self, before: Mapping[str, str]) -> None:
        """Write down what the files say that will be others."""
        self._write(Changed(before=dict(before)))

    def strike(self, alert: str) -> None:
        """Write down that the faults of a drill will be on."""
        self._write(msgspec.structs.replace(self._changed, playing=(*self._changed.playing, alert)))

    def heal(self, alert: str) -> None:
        """Write down that they are off."""
        left = tuple(each for each in self._changed.playing if each != alert)
        self._write(msgspec.structs.replace(self._changed, playing=left))

    def end(self) -> None:
        """Have nothing to take back any more."""
        self._file.unlink(missing_ok=True)

    def _write(self, changed: Changed) -> None:
        self._changed = changed
        fresh = self._file.with_suffix(".new")
        fresh.write_bytes(msgspec.json.encode(changed))
        fresh.replace(self._file)


@contextmanager
def alone(data: Path) -> Iterator[None]:
    """Hold a stack for one run of drills. Raises Refusal where another has it."""
    with (data / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another drill is under way on {data}: wait until it is over, or end it"
            raise Refusal(message, EX_UNAVAILABLE) from error
        yield


def forget(data: Path) -> bool:
    """Have the journal gone, as the stack is new; return whether there was one."""
    there = (data / FILE).exists()
    (data / FILE).unlink(missing_ok=True)
    return there
