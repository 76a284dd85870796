"""A record to be written; below whoever writes it, so that pure modules can make one."""

from typing import NamedTuple


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
