"""ClickHouse's HTTP interface, without a socket: what a request asks, what a response says.

https://clickhouse.com/docs/interfaces/http. Not here yet, and answered with a clear error: roles,
sessions, external data in forms, the `compress` and `decompress` parameters, and the
progress headers. A result is held whole before its first byte is sent.
"""

import ipaddress
import json
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

import lz4.frame

from sinks.clickhouse import sql

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: As much as a request's body may hold, before and after decompression.
BODY_LIMIT = 256 * 1024**2

#: Parameters that this interface reads itself.
_READ = frozenset(
    {"query", "database", "default_format", "query_id", "user", "password", "role"}
    | {"session_id", "enable_http_compression", "compress", "decompress"}
)
#: Parameters that are no settings of the engine and change nothing here: an answer is only sent
#: when it is whole, in the oldest version of the Native format, which all clients understand.
_NOTHING = frozenset(
    {"wait_end_of_query", "buffer_size", "client_protocol_version", "http_zlib_compression_level"}
    | {"send_progress_in_http_headers", "http_headers_progress_interval_ms", "stacktrace"}
    | {"session_timeout", "session_check", "quota_key"}
    | {"cancel_http_readonly_queries_on_client_close"}
)

#: As ClickHouse maps its error codes; what is not here is 500.
_STATUS = {
    194: 401,
    **dict.fromkeys((192, 193, 497, 516), 403),
    **dict.fromkeys((46, 47, 50, 56, 60, 73, 78, 81, 115), 404),
    **dict.fromkeys((6, 25, 26, 27, 36, 38, 41, 42, 43, 53, 62, 69, 72, 117, 321, 457, 469), 400),
    159: 408,
    **dict.fromkeys((307, 396), 413),
    48: 501,
}


_CONTENT_TYPES = {
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8",
    "CSVWithNames": "text/csv; charset=UTF-8",
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "Arrow": "application/octet-stream",
}


class QueryError(Exception):
    """A request that failed, as ClickHouse tells it.

    Args:
        code: ClickHouse's number of the error.
        name: its name.
        detail: what happened.

    """

    def __init__(self, code: int, name: str, detail: str) -> None:
        super().__init__(f"Code: {code}. DB::Exception: {detail}. ({name})")
        self.code = code

    @classmethod
    def in_words_of_the_engine(cls, code: int, message: str) -> "QueryError":
        """Make one of a message of the engine, which has the shape already."""
        error = cls(code, "", "")
        error.args = (message,)
        return error

    @property
    def status(self) -> int:
        """The HTTP status that goes with it."""
        return _STATUS.get(self.code, 500)


def _refuse(what: str) -> NoReturn:
    detail = f"the embedded engine's HTTP interface does not support {what}"
    raise QueryError(48, "NOT_IMPLEMENTED", detail)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a request asks for.

    Attributes:
        text: the statement, with its data if it has any.
        database: the database it means when it names none; None for the usual one.
        default_format: the format of the result when the statement names none.
        settings: settings of the engine for this statement.
        parameters: values for `{name:Type}`, escaped as in TabSeparated.
        read_only: whether it may change nothing.
        analyst: whether it runs with the rights of an analyst.
        revision: the version of the Native format that the client would take; 0: the oldest.
        query_id: what the client calls it.
        encoding: how the result is to be compressed.

    """

    text: bytes
    database: str | None = None
    default_format: str = "TabSeparated"
    settings: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    read_only: bool = False
    analyst: bool = False
    revision: int = 0
    query_id: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a statement. `format` is None where it has no result."""

    body: bytes = b""
    format: str | None = None
    read_rows: int = 0
    read_bytes: int = 0
    result_rows: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    elapsed_ns: int = 0

    def within(self, elapsed_ns: int) -> "Answer":
        """Return the same answer with the time it took."""
        return replace(self, elapsed_ns=elapsed_ns)

    @property
    def content_type(self) -> str:
        """The `Content-Type` header."""
        return _CONTENT_TYPES.get(self.format or "", "text/plain; charset=UTF-8")

    @property
    def summary(self) -> str:
        """The `X-ClickHouse-Summary` header."""
        counts = {
            "read_rows": self.read_rows,
            "read_bytes": self.read_bytes,
            "written_rows": self.written_rows,
            "written_bytes": self.written_bytes,
            "total_rows_to_read": self.read_rows,
            "result_rows": self.result_rows,
            "result_bytes": len(self.body),
            "elapsed_ns": self.elapsed_ns,
        }
        return json.dumps({name: str(count) for name, count in counts.items()})


def understand(
    method: str,
    parameters: Sequence[tuple[str, str]],
    headers: Mapping[str, str],
    body: bytes,
) -> Statement:
    """Return what a request asks for.

    Args:
        method: GET or POST.
        parameters: the query string's, in order.
        headers: the request's, found whatever the case of their names.
        body: the request's, as sent.

    Raises:
        QueryError: it asks for what is not understood, or not supported.

    """
    asked = dict(parameters)
    data = decompress(headers.get("Content-Encoding", ""), body)
    content_type = headers.get("Content-Type", "")
    if content_type.startswith("multipart/"):
        asked |= _form(content_type, data)
        data = b""
    _refuse_unsupported(asked)
    text = b"\n".join(part for part in (asked.get("query", "").encode(), data) if part)
    if next(sql.tokens(text), None) is None:
        raise QueryError(62, "SYNTAX_ERROR", "Empty query")
    if sql.needs_session(text):
        _refuse("sessions, and this statement would only change one")
    return Statement(
        text=text,
        database=asked.get("database") or headers.get("X-ClickHouse-Database") or None,
        default_format=asked.get("default_format")
        or headers.get("X-ClickHouse-Format")
        or "TabSeparated",
        settings={
            name: value
            for name, value in asked.items()
            if name not in _READ | _NOTHING and not name.startswith("param_")
        },
        parameters={
            name.removeprefix("param_"): value
            for name, value in asked.items()
            if name.startswith("param_")
        },
        read_only=method == "GET",
        revision=_revision(asked.get("client_protocol_version", "0")),
        query_id=asked.get("query_id") or None,
        encoding=_encoding(asked, headers),
    )


def _revision(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        detail = f"client_protocol_version {text!r}: expected a number"
        raise QueryError(72, "CANNOT_PARSE_NUMBER", detail)
    return int(text)


def _form(content_type: str, body: bytes) -> dict[str, str]:
    """Return the fields of a form: a query, and parameters that were too long for the address."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields = {}
    for part in BytesParser(policy=HTTP).parsebytes(head + body).walk():
        name = part.get_param("name", header="Content-Disposition")
        if part.is_multipart():
            continue
        if not isinstance(name, str) or not name.startswith(("param_", "query")):
            _refuse("external data in forms")
        content = part.get_payload(decode=True)
        try:
            fields[name] = content.decode() if isinstance(content, bytes) else ""
        except UnicodeDecodeError as error:
            raise QueryError(6, "CANNOT_PARSE_TEXT", f"{name}: expected UTF-8") from error
    return fields


def _refuse_unsupported(asked: Mapping[str, str]) -> None:
    for name in ("compress", "decompress"):
        if asked.get(name, "0") not in {"", "0"}:
            _refuse(f"{name}=1 (ClickHouse's own compressed blocks)")
    if asked.get("role"):
        _refuse("roles")


def _encoding(asked: Mapping[str, str], headers: Mapping[str, str]) -> str | None:
    """Return the first encoding that the client takes and we know, if it asks for any."""
    if asked.get("enable_http_compression", "0") in {"", "0"}:
        return None
    accepted = headers.get("Accept-Encoding", "").split(",")
    names = (name.partition(";")[0].strip().lower() for name in accepted)
    return next((name for name in names if name in _COMPRESS), None)


def foreign(served_on: str, host: str, origin: str | None) -> bool:
    """Tell whether a request comes from a web page of elsewhere.

    A browser sends a page's POST to any address, loopback too, and this interface runs what it is
    sent. Such a request carries the page's origin, or a host name that merely resolves to loopback.

    Args:
        served_on: the address that is listened on.
        host: the request's Host header.
        origin: its Origin header.

    """
    if origin is not None and not _loopback(urlsplit(origin).netloc):
        return True
    return _loopback(served_on) and not _loopback(host)


def _loopback(netloc: str) -> bool:
    name = urlsplit(f"//{netloc}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


class _Machine(Protocol):
    eof: bool
    unused_data: bytes | None

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


_DECOMPRESS: Mapping[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "deflate": lambda: zlib.decompressobj(wbits=15),
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
}


def _gzip(data: bytes) -> bytes:
    machine = zlib.compressobj(level=3, wbits=31)
    return machine.compress(data) + machine.flush()


_COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstd.compress,
    "gzip": _gzip,
    "deflate": zlib.compress,
}


def compress(encoding: str | None, data: bytes) -> bytes:
    """Return `data` in the encoding that `understand` chose."""
    return data if encoding is None else _COMPRESS[encoding](data)


def decompress(encoding: str, data: bytes, limit: int = BODY_LIMIT) -> bytes:
    """Return what `data` holds.

    All frames of it: clickhouse-connect sends one a block, and what only reads the first would
    lose the other blocks without a word.

    Raises:
        QueryError: the encoding is unknown, the data is not in it, or it holds too much.

    """
    if encoding in {"", "identity"} or not data:
        return data
    if encoding not in _DECOMPRESS:
        known = ", ".join(_DECOMPRESS)
        raise QueryError(
            89, "UNKNOWN_COMPRESSION_METHOD", f"Content-Encoding {encoding!r}: expected {known}"
        )
    parts: list[bytes] = []
    left = limit
    while data:
        machine: _Machine = _DECOMPRESS[encoding]()
        try:
            part = machine.decompress(data, left + 1)
        except (zlib.error, RuntimeError, zstd.ZstdError) as error:
            raise QueryError(271, "CANNOT_DECOMPRESS", f"{encoding}: {error}") from error
        left -= len(part)
        if left < 0:
            raise QueryError(307, "TOO_MANY_BYTES", f"the body holds more than {limit} bytes")
        if not machine.eof:
            raise QueryError(271, "CANNOT_DECOMPRESS", f"{encoding}: the data ends too soon")
        parts.append(part)
        data = machine.unused_data or b""
    return b"".join(parts)


def native_header(columns: Sequence[tuple[str, str]]) -> bytes:
    """Return a block of the Native format, oldest version, with these columns and no row."""
    parts = [_varint(len(columns)), _varint(0)]
    for column in columns:
        parts += [_string(text) for text in column]
    return b"".join(parts)


#: clickhouse-go's first question, so Grafana's. It reads the answer in the version of Native that
#: it names itself, and all others in the one that the answer tells: the oldest.
_HELLO = [b"SELECT", *b"displayName ( ) , version ( ) , revision ( ) , timezone ( )".split()]
_REVISION_WITH_BLOCK_INFO = 1
_REVISION_WITH_SERIALIZATION = 54_454


def hello(statement: Statement, name: str, version: str, timezone: str) -> Answer | None:
    """Return the answer to a driver's first question, or None where it is another."""
    words = [token.text for token in sql.tokens(statement.text)]
    if not statement.revision or statement.default_format != "Native" or words != _HELLO:
        return None
    parts = []
    if statement.revision >= _REVISION_WITH_BLOCK_INFO:
        parts.append(b"\x01\x00\x02\xff\xff\xff\xff\x00")  # no overflow, bucket -1, the end
    parts += [_varint(4), _varint(1)]
    for column, value in (
        ("displayName()", name),
        ("version()", version),
        ("revision()", 0),
        ("timezone()", timezone),
    ):
        kind = "UInt32" if isinstance(value, int) else "String"
        parts += [_string(column), _string(kind)]
        if statement.revision >= _REVISION_WITH_SERIALIZATION:
            parts.append(b"\x00")  # the usual one
        parts.append(value.to_bytes(4, "little") if isinstance(value, int) else _string(value))
    return Answer(body=b"".join(parts), format="Native", result_rows=1)


def _string(text: str) -> bytes:
    return _varint(len(text.encode())) + text.encode()


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number > 127:  # noqa: PLR2004  # seven bits an octet
        octets.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*octets, number])
