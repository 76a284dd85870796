"""What is sent to a backend and what its answer means, whoever sends it; pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

#: However long a backend asks to be left alone.
LONGEST_PAUSE_S: Final = 300.0
_FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 30.0

#: A batch goes out when it is this large, or when the first of its lines is this old.
BATCH_BYTES: Final = 512 * 1024
BATCH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Request:
    """A POST.

    Attributes:
        url: where, without user and password.
        body: what.
        headers: with the credentials, so never shown.
        parameters: behind the question mark.

    """

    url: str
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Taken:
    """All of the batch is there."""


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing is lost: the same again, after so many seconds if the backend says how many."""

    why: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """So many lines will never be taken; the rest of the batch is there."""

    why: str
    lines: int


Verdict = Taken | Later | Refused


def due(waiting: int, since: float | None, now: float) -> bool:
    """Tell whether a batch is to go out.

    Args:
        waiting: bytes that are not shipped.
        since: when there was first something to ship; None: there is nothing.
        now: by the same clock.

    """
    if since is None or not waiting:
        return False
    return waiting >= BATCH_BYTES or now - since >= BATCH_SECONDS


def pause(failures: int, asked: float | None) -> float:
    """Return the seconds to leave a backend alone after so many failures in a row, at least one."""
    if asked is not None:
        return min(max(asked, 0.0), LONGEST_PAUSE_S)
    return float(min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 16), _LAST_PAUSE_S))


def retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, by number or by date."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):  # no date; or one without a zone
        return None


def words(body: bytes) -> str:
    """Return the beginning of an answer, to be told to a person."""
    return " ".join(body[:1000].decode(errors="replace").split())[:300]
