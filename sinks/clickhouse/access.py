"""Who may do what on the embedded engine: its owner anything, an analyst read; pure.

The engine knows one user, who may do all that this process may. So it is told of two roles, by a
file of its own, and a statement of an analyst runs in the narrower one: the engine itself then
refuses to write, and to read files, addresses and other processes.

Two things slip through the engine's grants, because it takes itself for a program that somebody
runs on files of his own: the function `file`, and INTO OUTFILE. They are refused here by their
words, and so is whatever might spell such a word otherwise.
"""

import hmac
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from sinks.clickhouse import sql
from sinks.clickhouse.http import QueryError

#: What an analyst's statement begins with; "" is a bracket.
_READS = frozenset({"SELECT", "WITH", "FROM", "SHOW", "DESCRIBE", "DESC", "EXISTS", "EXPLAIN", ""})
_FORBIDDEN = {
    b"FILE": "the function file reads any file of the machine",
    b"PYTHON": "the function python reads this process",
    b"OUTFILE": "INTO OUTFILE writes a file on the machine: ask for a format, and keep the answer",
}

USERS_XML = """\
<clickhouse>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
    <roles>
        <owner><grants><query>GRANT ALL ON *.*</query></grants></owner>
        <analyst><grants>
            <query>GRANT SELECT, SHOW DATABASES, SHOW TABLES, SHOW COLUMNS ON *.*</query>
        </grants></analyst>
    </roles>
    <users><default>
        <password/>
        <networks><ip>::/0</ip></networks>
        <profile>default</profile>
        <quota>default</quota>
        <grants><query>GRANT owner</query><query>GRANT analyst</query></grants>
    </default></users>
</clickhouse>
"""

#: Stands beside a file users.xml with the text above.
CONFIG_XML = """\
<clickhouse>
    <user_directories><users_xml><path>users.xml</path></users_xml></user_directories>
</clickhouse>
"""


class User(Enum):
    """A user of the face; the value is the name."""

    OWNER = "default"
    ANALYST = "analyst"


@dataclass(frozen=True, slots=True)
class Doors:
    """The passwords; an empty one admits everybody who says the name."""

    owner: str = field(default="", repr=False)
    analyst: str = field(default="", repr=False)

    def admit(self, name: str, password: str) -> User:
        """Return whom a request comes from. Raises QueryError."""
        wanted = {"default": self.owner, "": self.owner, "analyst": self.analyst}.get(name)
        if wanted is None or not hmac.compare_digest(password.encode(), wanted.encode()):
            detail = (
                f"{name}: Authentication failed: password is incorrect, or there is no user with "
                "such name; the embedded engine has two, default and analyst"
            )
            raise QueryError(516, "AUTHENTICATION_FAILED", detail)
        return User.ANALYST if name == "analyst" else User.OWNER


def check_read(text: bytes, settings: Iterable[str]) -> None:
    """Let pass what an analyst may say, with these settings. Raises QueryError."""
    if "dialect" in settings:  # we read ClickHouse's own
        raise QueryError(497, "ACCESS_DENIED", "analyst: dialect cannot be set")
    verb = sql.verb(text)
    if verb not in _READS:
        detail = (
            f"analyst: {verb} is no reading: expected SELECT, WITH, FROM, SHOW, DESCRIBE, EXISTS "
            "or EXPLAIN"
        )
        raise QueryError(164, "READONLY", detail)
    for word in _words(text):
        if word in _FORBIDDEN:
            raise QueryError(497, "ACCESS_DENIED", f"analyst: {_FORBIDDEN[word]}")


def _words(text: bytes) -> Iterator[bytes]:
    """Yield the names in a statement, in capitals, quoted ones as well."""
    for token in sql.tokens(text):
        if token.kind == "word":
            yield token.text.upper()
        elif token.kind == "quoted" and token.text[:1] in {b"`", b'"'}:
            if b"\\" in token.text:  # another way to spell a word
                detail = f"analyst: expected no escapes in the name {token.text!r}"
                raise QueryError(497, "ACCESS_DENIED", detail)
            yield token.text[1:-1].upper()
