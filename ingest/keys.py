"""The keys of a vendor, as they pass through the program: never shown."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A pair of keys.

    Attributes:
        key_id: the key's id.
        secret: the key's secret.

    """

    key_id: str = field(repr=False)
    secret: str = field(repr=False)
