"""A record to be written; below whoever writes it, so that pure modules can make one."""

from typing import NamedTuple


class Record(NamedTuple):
    """One record to produce; `timestamp_ms` is the time it is stamped with, None for now."""

    key: bytes | None
    value: bytes
    timestamp_ms: int | None = None
