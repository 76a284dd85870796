"""A record to be written, and one that was read; below whoever does either, for pure modules."""

from typing import NamedTuple, Protocol


class Record(NamedTuple):
    """One record to produce.

    Attributes:
        key: its key.
        value: its value.
        timestamp_ms: the time it is stamped with; None for now.
        headers: what it has of its own besides its topic's; a traced one says so.

    """

    key: bytes | None
    value: bytes
    timestamp_ms: int | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class Placed(Protocol):
    """A record of the log, as aiokafka hands it over."""

    @property
    def topic(self) -> str:
        """The topic it stands in."""

    @property
    def partition(self) -> int:
        """The partition."""

    @property
    def offset(self) -> int:
        """The offset."""

    @property
    def key(self) -> bytes | None:
        """Its key."""
