"""What may not be said, taken out of what is said.

Two ways, and both are used on every text. *Known* secrets, those that the process was given, are
found however they are spelt: as they are, in a URL, in JSON, in a literal of Python's, in hex, and
in base64 at any place of a longer text. *Unknown* ones are known by where they stand: behind a name
that says so (`access_token=`, `"password": `), in a URL before the host, in a header, or by their
own shape (a JSON Web Token, a PEM key, an Alpaca key's id).
"""

import html
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

REDACTED: Final = "[redacted]"
#: What is shorter is no secret, and would tear other words apart.
LEAST: Final = 6

_NAMES = (
    r"(?:pass(?:word|wd|phrase)|secret(?:[-_](?:access[-_])?key)?|token|api[-_]?key|key[-_]?id"
    r"|authorization|credential|signature|cookie|private[-_]?key)s?"
)
_SENSITIVE = re.compile(rf"{_NAMES}$", re.IGNORECASE)
#: What was seen to already.
_DONE = r"(?!\[redacted|bearer\s|basic\s)"
#: A word of prose behind a colon: "API_TOKEN: expected a word".
_PROSE = r"(?![a-z]{1,12}[ ,.;])"
_SHAPES: Final = (
    # in a URL, before the host
    (
        re.compile(r"([a-z][a-z0-9+.-]{0,15}:(?:\\?/){2})[^\s/?#\"'<>]*@", re.IGNORECASE),
        rf"\1{REDACTED}@",
    ),
    (re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {REDACTED}"),
    # in quotes behind its name, which may be in quotes as well: JSON, a mapping's repr
    (
        re.compile(
            rf"({_NAMES}\\*[\"']?\s*(?:[=:]|=>)\s*)b?"
            # an end that is missing is no reason to look again: each of these matches
            r"(?:\"(?:[^\"\\]|\\.)*+\"?|'(?:[^'\\]|\\.)*+'?|\\+[\"'][^\\]*+(?:\\+[\"'])?)",
            re.IGNORECASE | re.DOTALL,
        ),
        rf'\1"{REDACTED}"',
    ),
    # behind its name and an equals sign, or in a URL
    (
        re.compile(
            rf"({_NAMES}\s?(?:=\s?|%(?:25){{0,4}}3d)){_DONE}"
            r"(?:(?!%(?:25){0,4}26)[^\s&,;\"'<>})\]])+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(rf"({_NAMES}:\s*){_DONE}{_PROSE}[^\s&,;\"'<>}})\]\[]+", re.IGNORECASE),
        rf"\1{REDACTED}",
    ),
    (
        re.compile(
            r"([?&](?:sig|key|auth|code|policy|awsaccesskeyid|key-pair-id|crumb)=)[^\s&\"'<>]+",
            re.IGNORECASE,
        ),
        rf"\1{REDACTED}",
    ),
    (re.compile(r"(?<![\w-])eyJ[\w-]{5,}\.[\w-]+\.[\w-]*"), REDACTED),
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        REDACTED,
    ),
    (re.compile(r"\b[PAC]K[A-Z0-9]{16,24}\b"), REDACTED),
    (re.compile(r"(hooks\.slack\.com/services/)[\w/]+"), rf"\1{REDACTED}"),
)


def is_sensitive(name: str) -> bool:
    """Tell whether what stands under this name is a secret, by the name."""
    return bool(_SENSITIVE.search(name))


class Secrets:
    """The secrets that a process was given."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._spellings: re.Pattern[str] | None = None

    def add(self, value: str) -> None:
        """Let a secret be known. Of an address, it is the password and what is signed."""
        new = {part for part in _parts(value) if len(part) >= LEAST} - self._known
        if new:
            self._known |= new
            # the longest first: one may be the beginning of another
            longest_first = sorted(self._known, key=len, reverse=True)
            self._spellings = re.compile("|".join(map(spellings, longest_first)))

    def redact(self, text: str) -> str:
        """Return a text without the known secrets, and without what looks like one."""
        if self._spellings is not None:
            text = self._spellings.sub(REDACTED, text)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text


#: Those of this process: what is logged is logged without them.
SECRETS: Final = Secrets()


def _parts(value: str) -> Iterable[str]:
    if "://" not in value:
        yield value.strip()
        yield from re.split(r"[\s,]+", value)  # a list of them
        return
    try:
        parts = urlsplit(value)
    except ValueError:
        yield value
        return
    if parts.password:
        yield from (parts.password, unquote(parts.password))
    yield from (text for name, text in parse_qsl(parts.query) if is_sensitive(name))


_SHORT: Final[Mapping[str, str]] = {
    "\n": "n",
    "\r": "r",
    "\t": "t",
    "\b": "b",
    "\f": "f",
    "\v": "v",
    "\a": "a",
    "\0": "0",
}


def _spelt(char: str, slashes: str = r"\\{1,8}+") -> str:
    """Return a pattern of one character, however a URL, JSON, Python or HTML spells it.

    Args:
        char: the character.
        slashes: a pattern of what escapes it.

    """
    octets = char.encode("utf-8", "surrogatepass")
    units = char.encode("utf-16-be", "surrogatepass").hex()
    ways = [
        re.escape(char),
        "".join(rf"%(?:25){{0,4}}(?i:{octet:02x})" for octet in octets),
        "".join(rf"{slashes}u(?i:{units[at : at + 4]})" for at in range(0, len(units), 4)),
        "".join(rf"{slashes}x(?i:{octet:02x})" for octet in octets),
        rf"{slashes}U(?i:{ord(char):08x})",
    ]
    if len(octets) > 1:
        ways.append(rf"{slashes}x(?i:{ord(char):02x})")
    if char in _SHORT:
        ways.append(f"{slashes}{_SHORT[char]}")
    if char in "\"'/":
        ways.append(f"{slashes}{re.escape(char)}")
    if char == " ":
        ways.append(r"\+")
    if html.escape(char) != char:
        ways += [re.escape(html.escape(char)), rf"&\#{ord(char)};"]
    return f"(?:{'|'.join(ways)})"


def _as_it_is(secret: str) -> Iterator[str]:
    """Yield patterns of a secret's characters; of backslashes in a row, one."""
    after = False
    for run in re.findall(r"\\+|[^\\]", secret):
        if run[0] == "\\":
            in_urls = _spelt("\\").removeprefix(r"(?:\\|")  # all ways but the plain one
            yield rf"(?:\\{{{len(run)},{8 * len(run) + 8}}}+|(?:{in_urls}{{{len(run)}}})"
        else:
            # what escapes it was taken with the backslashes before it
            yield _spelt(run, r"\\{0,8}+" if after else r"\\{1,8}+")
        after = run[0] == "\\"


def spellings(secret: str) -> str:
    """Return a pattern of all the ways in which a secret may be spelt."""
    octets = secret.encode("utf-8", "surrogatepass")
    found = ["".join(_as_it_is(secret)), f"(?i:{octets.hex()})"]
    for before in range(3):
        # three octets are four letters: at both ends some are shared with the neighbours
        encoded = b64encode(bytes(before) + octets).decode().rstrip("=")
        own = encoded[-(-8 * before // 6) : 8 * (before + len(octets)) // 6]
        found.append("".join(_BASE64.get(letter, letter) for letter in own))
    return "|".join(found)


_BASE64: Final = {"+": f"(?:{_spelt('+')}|-)", "/": f"(?:{_spelt('/')}|_)"}
