"""Asks ClickHouse over HTTP for what may be read: a server, or the engine in the sink."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import aiohttp

CONNECT_S = 5.0
CHUNK = 256 * 1024

_ERROR = re.compile(r"Code: (\d+)\. DB::Exception: (.*)\. \(([A-Z_]+)\)", re.DOTALL)
_VERSION = re.compile(r" \(version [^)]*\)")
_READONLY = 164


class AskError(Exception):
    """ClickHouse refused; the message is its own, without its frame."""


class RefusedError(AskError):
    """It did not let this user in."""


class UnreachableError(Exception):
    """Nobody answers there."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ask, and as whom.

    Attributes:
        url: `http[s]://host:port`, without user and password.
        database: what a statement means that names no database.
        user: whose rights count.
        password: theirs.

    """

    url: str
    database: str
    user: str
    password: str = field(default="", repr=False)

    @classmethod
    def of(cls, url: str, database: str) -> "Address":
        """Return the address that `http[s]://[user[:password]@]host[:port]` names."""
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        user, password = unquote(parts.username or "default"), unquote(parts.password or "")
        if not parts.port:
            host = f"{host}:{8443 if parts.scheme == 'https' else 8123}"
        return cls(f"{parts.scheme}://{host}", database, user, password)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: its format, and its bytes as they come."""

    format: str
    chunks: AsyncIterator[bytes]

    async def whole(self) -> bytes:
        """Return all of it."""
        return b"".join([chunk async for chunk in self.chunks])


@asynccontextmanager
async def asked(
    address: Address, query: str, output_format: str, parameters: Mapping[str, str]
) -> AsyncIterator[Answer]:
    """Ask for the result of `query`, which may change nothing.

    Args:
        address: where.
        query: one statement.
        output_format: the result's, where the statement names none.
        parameters: values for `{name:Type}`.

    Raises:
        UnreachableError: nobody answers.
        AskError: the statement is wrong, or not allowed.

    """
    settings = {
        "database": address.database,
        "default_format": output_format,
        "readonly": "1",
        "wait_end_of_query": "1",  # what goes wrong late is an error, not a broken result
        "cancel_http_readonly_queries_on_client_close": "1",
        **{f"param_{name}": _escaped(value) for name, value in parameters.items()},
    }
    headers = {"X-ClickHouse-User": address.user, "X-ClickHouse-Key": address.password}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        try:
            response = await _post(session, address, settings, query)
            async with response:
                told = response.headers.get("X-ClickHouse-Format", "")
                yield Answer(told, response.content.iter_chunked(CHUNK))
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"ClickHouse at {address.url}: {error or type(error).__name__}"
            raise UnreachableError(message) from error


async def _post(
    session: aiohttp.ClientSession, address: Address, settings: dict[str, str], query: str
) -> aiohttp.ClientResponse:
    response = await session.post(address.url, params=settings, data=query.encode())
    if response.ok:
        return response
    code, message = read_error(await response.text())
    if code == _READONLY and "'readonly'" in message and "readonly" in settings:
        # this user can only read anyway, and may not even say so
        del settings["readonly"]
        return await _post(session, address, settings, query)
    if response.status in {401, 403} and code in {None, 192, 193, 194, 516}:
        raise RefusedError(message)
    raise AskError(message)


def read_error(text: str) -> tuple[int | None, str]:
    """Return the code of an error as ClickHouse words it, and what happened."""
    found = _ERROR.search(text)
    if not found:
        return None, text.strip()
    code, message, name = found.groups()
    return int(code), f"{_VERSION.sub('', message)} ({name})"


def _escaped(value: str) -> str:
    """Write a value as TabSeparated does, as parameters are read."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
