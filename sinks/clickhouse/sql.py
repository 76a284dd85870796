"""Just enough of ClickHouse's lexer to cut SQL where it may be cut.

Two callers need it: the schema, whose files hold several statements, and the HTTP face, which must
tell an INSERT's statement from the data behind it, and the format that a query asks for. Neither
understands SQL; they only must not be fooled by what stands in quotes and comments. Works on bytes,
because what follows `INSERT ... FORMAT Native` is no text.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

_TOKEN = re.compile(
    rb"""
    (?P<gap>      \s+ | --[^\n]* | \#[\ !][^\n]* | /\*.*?\*/ )
  | (?P<quoted>   '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*`
                | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
  | (?P<word>     [A-Za-z_]\w* )
  | (?P<number>   [0-9][\w.]* )
  | (?P<opening>  [(\[{] )
  | (?P<closing>  [)\]}] )
  | (?P<end>      ; )
  | (?P<other>    . )
    """,
    re.VERBOSE | re.DOTALL,
)
_UNCLOSED = (b"'", b'"', b"`")

#: What follows one of these is not data of the statement's own format, but a source of rows.
_ROWS_FROM_ELSEWHERE = frozenset({b"SELECT", b"WITH", b"VALUES", b"FROM", b"WATCH"})


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL: its kind, its text, where it starts, and how deep in brackets it stands."""

    kind: str
    text: bytes
    start: int
    depth: int

    @property
    def keyword(self) -> bytes:
        """The word in capitals where it stands outside all brackets, else nothing."""
        return self.text.upper() if self.kind == "word" and self.depth == 0 else b""


def tokens(sql: bytes) -> Iterator[Token]:
    """Yield the tokens of `sql` that mean something, lazily: what is not asked for is not read."""
    depth = 0
    for match in _TOKEN.finditer(sql):
        kind = match.lastgroup if match.lastgroup != "tag" else "quoted"
        if kind is None or kind == "gap":
            continue
        if kind == "closing":
            depth -= 1
        yield Token(kind, match.group(), match.start(), depth)
        if kind == "opening":
            depth += 1


def split(sql: str) -> list[str]:
    """Return the statements of `sql`, without their semicolons.

    Raises:
        ValueError: a quote is not closed.

    """
    text = sql.encode()
    statements, start, empty = [], 0, True
    for token in tokens(text):
        if token.kind == "other" and token.text in _UNCLOSED:
            line = text.count(b"\n", 0, token.start) + 1
            message = f"line {line}: the quote {token.text.decode()} is not closed"
            raise ValueError(message)
        if token.kind == "end":
            if not empty:
                statements.append(text[start : token.start].decode().strip())
            start, empty = token.start + 1, True
        else:
            empty = False
    if not empty:
        statements.append(text[start:].decode().strip())
    return statements


def verb(sql: bytes) -> str:
    """Return the word that `sql` begins with, in capitals; empty where it begins with no word."""
    first = next(tokens(sql), None)
    return first.keyword.decode() if first else ""


def needs_session(sql: bytes) -> bool:
    """Tell whether all that `sql` does is to change the session that it runs in."""
    first, *others = [token.keyword for token in islice(tokens(sql), 4)] or [b""]
    temporary = others[:1] == [b"TEMPORARY"] or others == [b"OR", b"REPLACE", b"TEMPORARY"]
    return first in {b"SET", b"USE"} or (first == b"CREATE" and temporary)


def output_format(sql: bytes) -> str | None:
    """Return the format that the query `sql` asks for in its own text."""
    words = list(tokens(sql))
    at = _format_at(words)
    return None if at is None else words[at + 1].text.decode()


def without_format(sql: bytes) -> bytes:
    """Return the query `sql` without the FORMAT clause that `output_format` finds, and its end."""
    words = list(tokens(sql))
    while words and words[-1].kind == "end":
        sql = sql[: words.pop().start]
    at = _format_at(words)
    if at is None:
        return sql
    after = words[at + 2].start if at + 2 < len(words) else len(sql)
    return sql[: words[at].start] + sql[after:]


def _format_at(words: Sequence[Token]) -> int | None:
    """Return the index of the FORMAT that a name and the query's end follow."""
    for at in reversed(range(len(words) - 1)):
        after = words[at + 2] if at + 2 < len(words) else None
        if (
            words[at].keyword == b"FORMAT"
            and words[at + 1].kind == "word"
            and (after is None or after.kind == "end" or after.keyword == b"SETTINGS")
        ):
            return at
    return None


@dataclass(frozen=True, slots=True)
class Insert:
    """An INSERT whose data stands behind it: `INSERT INTO <target> <settings> FORMAT <format>`.

    Attributes:
        target: the statement up to its settings.
        settings: its SETTINGS clause, or nothing.
        format: the format of the data.
        data: the data.

    """

    target: bytes
    settings: bytes
    format: str
    data: bytes


def insert(sql: bytes) -> Insert | None:
    """Take an INSERT with data apart, or return None where `sql` is something else."""
    if verb(sql) != "INSERT":
        return None
    settings_at = None
    words = tokens(sql)
    for token in words:
        if token.keyword in _ROWS_FROM_ELSEWHERE:
            return None
        if token.keyword == b"SETTINGS":
            settings_at = token.start
        if token.keyword == b"FORMAT":
            name = next(words, None)
            if name is None or name.kind != "word":
                return None
            if name.text.upper() == b"VALUES":  # its data is SQL, and the engine's to parse
                return None
            settings_at = token.start if settings_at is None else settings_at
            return Insert(
                target=sql[:settings_at].strip(),
                settings=sql[settings_at : token.start].strip(),
                format=name.text.decode(),
                data=_data(sql, name.start + len(name.text)),
            )
    return None


def _data(sql: bytes, at: int) -> bytes:
    """Return what stands behind the format's name: after the line's end, or after blanks."""
    gap = re.compile(rb"[ \t\f]*(\r?\n)?").match(sql, at)
    return sql[gap.end() if gap else at :]
