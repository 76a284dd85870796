"""Where a list of symbols may be besides the file: what to ask, and what an answer says.

Pure. SYMBOLS_SOURCE names a page on the web (a symbol a line as in the file, or a JSON array of
strings) or a table in ClickHouse (as infra/clickhouse/0004_gaps.sql makes one). Either address may
hold a password: that goes into the request, and into nothing else.

Which list counts is a rule of its own (`choose`). A list that was right once is worth more than
none, and what an operator's system says is worth more than the file.
"""

import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from ingest.symbols import check, parse

#: As much as an answer may hold: ten times all symbols that are listed in the United States.
ANSWER_BYTES = 1024 * 1024
#: As much of an error's words is repeated.
SHOWN = 200

CLICKHOUSE_PORT = 8123
OK = 200

FORMS = "http[s]://... or clickhouse://user:password@host:port/database/table"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_columns = msgspec.json.Decoder(list[list[str]])
_array = msgspec.json.Decoder(list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A list of symbols, and where it came from.

    Attributes:
        symbols: most important first.
        origin: a path or an address, without credentials.

    """

    symbols: tuple[str, ...]
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One question over HTTP.

    Attributes:
        origin: what is asked, without credentials.
        answer: `page`: lines or a JSON array; `table`: ClickHouse's rows.
        url: where to; without user and password.
        headers: with the credentials, if there are any.
        body: to be posted; None for a GET.
        secrets: what may not be repeated, wherever it is found.

    """

    origin: str
    answer: Literal["page", "table"]
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def question(source: str) -> Question:
    """Return what to ask of `source`, an address as SYMBOLS_SOURCE names one.

    Raises:
        ValueError: it is none; the sentence does not repeat it, because it may hold a password.

    """
    try:
        url = urlsplit(source)
        _ = url.port
    except ValueError as error:
        message = f"expected {FORMS}: {str(error).partition(':')[0]}"
        raise ValueError(message) from None  # its words may quote the address
    if not url.hostname or not source.isprintable() or any(map(str.isspace, source)):
        message = f"expected {FORMS}"
        raise ValueError(message)
    match url.scheme:
        case "http" | "https":
            return _page(url)
        case "clickhouse":
            return _table(url)
    message = f"expected {FORMS}"
    raise ValueError(message)


def _page(url: SplitResult) -> Question:
    user, password = _credentials(url)
    asked = f"?{url.query}" if url.query else ""
    place = f"{url.scheme}://{_host(url)}{url.path or '/'}"
    basic = b64encode(f"{user}:{password}".encode()).decode()
    return Question(
        origin=f"{place}?..." if asked else place,
        answer="page",
        url=place + asked,
        headers={"Authorization": f"Basic {basic}"} if user or password else {},
        # a query may hold a token
        secrets=_secrets(password, basic, url.query),
    )


def _table(url: SplitResult) -> Question:
    names = url.path.strip("/").split("/")
    if len(names) != 2 or not all(map(_NAME.fullmatch, names)) or url.query:  # noqa: PLR2004  # database, table
        message = "expected /database/table behind clickhouse://host:port, each a plain name"
        raise ValueError(message)
    user, password = _credentials(url)
    if not (user + password).isprintable():
        message = "expected a user and a password without control characters"
        raise ValueError(message)
    host = _host(url) if url.port else f"{_host(url)}:{CLICKHOUSE_PORT}"
    database, table = names
    return Question(
        origin=f"clickhouse://{host}/{database}/{table}",
        answer="table",
        url=f"http://{host}/",
        headers={"X-ClickHouse-User": user or "default", "X-ClickHouse-Key": password},
        body=(
            f"SELECT symbol FROM `{database}`.`{table}` FINAL WHERE followed "  # noqa: S608  # checked above
            "ORDER BY priority, symbol FORMAT JSONCompactColumns"
        ).encode(),
        secrets=_secrets(password),
    )


def _credentials(url: SplitResult) -> tuple[str, str]:
    return unquote(url.username or ""), unquote(url.password or "")


def _host(url: SplitResult) -> str:
    return url.netloc.rpartition("@")[2]


def _secrets(*values: str) -> tuple[str, ...]:
    return tuple(value for value in values if value)


def read_answer(asked: Question, status: int, body: bytes) -> tuple[str, ...]:
    """Return the symbols of an answer, most important first.

    Args:
        asked: what was asked.
        status: HTTP's.
        body: at most `ANSWER_BYTES` and one, so that a longer one is seen to be longer.

    Raises:
        ValueError: it is no list of symbols; the sentence says why.

    """
    if status != OK:
        raise ValueError(_refused(asked, status, body))
    if len(body) > ANSWER_BYTES:
        message = f"answered more than {ANSWER_BYTES} bytes"
        raise ValueError(message)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        message = "did not answer text in UTF-8"
        raise ValueError(message) from None
    if asked.answer == "page" and not text.lstrip().startswith("["):
        return parse(text)
    try:
        if asked.answer == "page":
            return check(_array.decode(body))
        columns = _columns.decode(body)
    except msgspec.DecodeError as error:
        message = f"did not answer a JSON array of strings: {error}"
        raise ValueError(message) from None
    if len(columns) > 1:
        message = f"answered {len(columns)} columns, expected one"
        raise ValueError(message)
    # a table without rows has no columns either
    return check(columns[0] if columns else ())


def _refused(asked: Question, status: int, body: bytes) -> str:
    words = body[: 4 * SHOWN].decode(errors="replace").strip().partition("\n")[0]
    if asked.answer == "page" or not words:
        return f"answered with status {status}"
    for secret in asked.secrets:
        words = words.replace(secret, "***")
    return f"answered with status {status}: {words[:SHOWN]}"


def choose(
    kept: Listing, *, answered: Listing | None, asked: Question | None, file: Listing | None
) -> Listing:
    """Return the list that counts.

    Args:
        kept: the one that counted until now.
        answered: what the source answered now; None where it did not, or has not been asked.
        asked: the source; None where there is none but the file.
        file: what the file says now; None where that is no list.

    """
    if answered is not None:
        return answered
    if asked is not None and kept.origin == asked.origin:
        return kept
    return file or kept
