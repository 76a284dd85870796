"""The keys of a vendor, as they pass through the program: never shown."""

from dataclasses import dataclass, field

KEY_ID = "ALPACA_API_KEY_ID"
SECRET = "ALPACA_API_SECRET_KEY"  # noqa: S105  # the variable's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A pair of keys.

    Attributes:
        key_id: the key's id.
        secret: the key's secret.

    """

    key_id: str = field(repr=False)
    secret: str = field(repr=False)


class KeysError(ValueError):
    """There are no keys where they should be; the sentence repeats nothing of them."""


def check_key(value: str) -> str:
    """Return a key, or a secret, as it is. Raises KeysError where it can be none."""
    if not value.isascii() or not value.isprintable() or " " in value or value[:1] in "'\"":
        # quotes are the shell's, and here they would be part of the key
        message = "expected a key without quotes, spaces and control characters"
        raise KeysError(message)
    return value


def parse_keys(text: str) -> Keys:
    """Return the keys of a file of `NAME=value` lines, `#` for comments. Raises KeysError."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        said = line.strip()
        if not said or said.startswith("#"):
            continue
        name, equals, value = (part.strip() for part in said.partition("="))
        if not equals or name not in (KEY_ID, SECRET) or name in found:
            message = f"line {number}: expected {KEY_ID}=... and {SECRET}=..., each once"
            raise KeysError(message)
        try:
            found[name] = value and check_key(value)
        except KeysError as error:
            message = f"line {number}: {error}"
            raise KeysError(message) from error
    if not found.get(KEY_ID) or not found.get(SECRET):
        missing = SECRET if found.get(KEY_ID) else KEY_ID
        message = f"{missing} is missing"
        raise KeysError(message)
    return Keys(key_id=found[KEY_ID], secret=found[SECRET])
