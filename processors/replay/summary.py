"""What came of a replay, in a few lines: how much of which kind, and a digest of all of it; pure.

Two replays say the same if, and only if, their events are the same to the byte, and in the same
order in every partition.
"""

from collections import Counter
from hashlib import sha256
from typing import Protocol

import msgspec

from processors.replay.run import Event


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a replay.

    Attributes:
        kinds: by topic and kind, how many events there were.
        digests: by topic, of its events: partition, key and value, in order.

    """

    kinds: dict[str, dict[str, int]]
    digests: dict[str, str]


class Digest(Protocol):
    """A digest under way."""

    def update(self, data: bytes, /) -> None:
        """Take more."""

    def hexdigest(self) -> str:
        """Return it."""


class Counting:
    """Counts events as they go by."""

    def __init__(self) -> None:
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._hashes: dict[str, Digest] = {}

    def add(self, event: Event) -> None:
        """Count one more."""
        name = event.topic.name
        self._kinds[name, event.kind] += 1
        digest = self._hashes.get(name)
        if digest is None:
            digest = self._hashes[name] = sha256()
        key, value = event.record.key, event.record.value
        digest.update(b"%d %d %d " % (event.partition, len(key or b""), len(value)))
        digest.update((key or b"") + value)

    def summary(self) -> Summary:
        """Return what was counted."""
        kinds: dict[str, dict[str, int]] = {}
        for (topic, kind), amount in sorted(self._kinds.items()):
            kinds.setdefault(topic, {})[kind] = amount
        digests = {topic: self._hashes[topic].hexdigest() for topic in sorted(self._hashes)}
        return Summary(kinds=kinds, digests=digests)
