"""ClickHouse's HTTP interface, without a socket."""

import gzip
import json
import zlib
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import lz4.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.clickhouse.http import (
    Answer,
    QueryError,
    Statement,
    compress,
    decompress,
    foreign,
    hello,
    native_header,
    understand,
)


def ask(
    query: Mapping[str, str] = MappingProxyType({}),
    body: bytes = b"",
    headers: Mapping[str, str] = MappingProxyType({}),
    method: str = "POST",
) -> Statement:
    """Return what a request asks for."""
    return understand(method, list(query.items()), headers, body)


FORM = {"Content-Type": 'multipart/form-data; boundary="b"'}


def form(encoding: str = "utf-8", **fields: str) -> bytes:
    """Return a form as clickhouse-connect sends it."""
    parts = [
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    return "".join([*parts, "--b--\r\n"]).encode(encoding)


def test_a_form_brings_what_is_too_long_for_the_address() -> None:
    """A query, and parameters; beside those in the address."""
    body = form(query="SELECT {x:String}", param_x="é\\n1\r\n2")
    found = ask({"param_y": "1", "database": "db"}, body, FORM)
    assert found.text == b"SELECT {x:String}"
    assert found.parameters == {"x": "é\\n1\r\n2", "y": "1"}
    assert found.database == "db"


def test_the_statement_is_the_parameter_and_then_the_body() -> None:
    """So that data may follow an INSERT of the query string."""
    assert ask(body=b"SELECT 1").text == b"SELECT 1"
    assert ask({"query": "SELECT 1"}).text == b"SELECT 1"
    text = ask({"query": "INSERT INTO t FORMAT CSV"}, b"1\n2\n").text
    assert text == b"INSERT INTO t FORMAT CSV\n1\n2\n"


def test_a_parameter_is_a_setting_a_value_or_the_transports() -> None:
    """What the engine would not know does not reach it."""
    found = ask(
        {
            "query": "SELECT {x:String}",
            "param_x": "a\\tb",
            "max_threads": "2",
            "database": "db",
            "default_format": "JSON",
            "query_id": "q",
            "session_id": "s",
            "wait_end_of_query": "1",
        }
    )
    assert found == Statement(
        b"SELECT {x:String}",
        database="db",
        default_format="JSON",
        settings={"max_threads": "2"},
        parameters={"x": "a\\tb"},
        query_id="q",
    )


def test_headers_say_the_same_as_parameters() -> None:
    """Where both do, the parameter wins."""
    headers = {"X-ClickHouse-Database": "db", "X-ClickHouse-Format": "CSV"}
    found = ask({}, b"SELECT 1", headers)
    assert (found.database, found.default_format) == ("db", "CSV")
    assert ask({"database": "other"}, b"SELECT 1", headers).database == "other"


def test_a_get_may_change_nothing() -> None:
    """As with a server, so that a link is harmless."""
    assert ask({"query": "SELECT 1"}, method="GET").read_only
    assert not ask({"query": "SELECT 1"}).read_only


@pytest.mark.parametrize(
    ("query", "body", "headers", "code"),
    [
        ({}, b"", {}, 62),
        ({}, b" -- nothing\n", {}, 62),
        ({"session_id": "s"}, b"SET max_threads = 1", {}, 48),
        ({}, b"CREATE TEMPORARY TABLE t (a Int8)", {}, 48),
        ({"compress": "1"}, b"SELECT 1", {}, 48),
        ({"decompress": "1"}, b"SELECT 1", {}, 48),
        ({"role": "r"}, b"SELECT 1", {}, 48),
        ({"query": "SELECT 1"}, form(data="1"), FORM, 48),
        ({}, form(query="\xff", encoding="latin-1"), FORM, 6),
        ({}, b"no form", FORM, 48),
        ({}, b"SELECT 1", {"Content-Encoding": "br"}, 89),
        ({}, b"SELECT 1", {"Content-Encoding": "gzip"}, 271),
    ],
)
def test_what_is_not_supported_is_said(
    query: dict[str, str], body: bytes, headers: dict[str, str], code: int
) -> None:
    """Never a quiet other meaning."""
    with pytest.raises(QueryError) as error:
        ask(query, body, headers)
    assert error.value.code == code


@pytest.mark.parametrize(
    ("query", "accept", "encoding"),
    [
        ({}, "gzip", None),
        ({"enable_http_compression": "0"}, "gzip", None),
        ({"enable_http_compression": "1"}, "", None),
        ({"enable_http_compression": "1"}, "br", None),
        ({"enable_http_compression": "1"}, "br, gzip;q=0.5, lz4", "gzip"),
        ({"enable_http_compression": "1"}, "lz4,zstd,gzip", "lz4"),
    ],
)
def test_a_result_is_compressed_when_asked(
    query: dict[str, str], accept: str, encoding: str | None
) -> None:
    """In the first encoding of the client that is known here."""
    assert ask(query, b"SELECT 1", {"Accept-Encoding": accept}).encoding == encoding


ENCODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": partial(compress, "zstd"),
}


@pytest.mark.parametrize("encoding", ENCODERS)
@given(parts=st.lists(st.binary(), min_size=1, max_size=4))
def test_every_frame_is_read(encoding: str, parts: list[bytes]) -> None:
    """A client sends one a block; a reader of the first alone loses rows without a word."""
    frames = b"".join(ENCODERS[encoding](part) for part in parts)
    assert decompress(encoding, frames) == b"".join(parts)
    assert decompress(encoding, compress(encoding, b"".join(parts))) == b"".join(parts)


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_frame_cut_short_is_refused(encoding: str) -> None:
    """Half an insert is none."""
    with pytest.raises(QueryError, match="ends too soon"):
        decompress(encoding, ENCODERS[encoding](bytes(1000))[:-1])


@pytest.mark.parametrize("encoding", ENCODERS)
def test_a_bomb_is_refused(encoding: str) -> None:
    """A small body must not become all of the memory."""
    with pytest.raises(QueryError, match="more than 1000 bytes"):
        decompress(encoding, ENCODERS[encoding](bytes(1001)), limit=1000)
    assert decompress(encoding, ENCODERS[encoding](bytes(1000)), limit=1000) == bytes(1000)


@pytest.mark.parametrize(
    ("served_on", "host", "origin", "is_foreign"),
    [
        ("127.0.0.1", "127.0.0.1:18123", None, False),
        ("127.0.0.1", "localhost", None, False),
        ("::1", "[::1]:18123", None, False),
        ("127.0.0.1", "localhost:18123", "http://localhost:3000", False),
        ("127.0.0.1", "127.0.0.1:18123", "https://example.com", True),
        ("127.0.0.1", "127.0.0.1:18123", "null", True),
        ("127.0.0.1", "rebound.example.com:18123", None, True),
        ("0.0.0.0", "history.example.com:18123", None, False),  # noqa: S104  # opened on purpose
        ("0.0.0.0", "history.example.com:18123", "https://example.com", True),  # noqa: S104
    ],
)
def test_web_pages_of_elsewhere_are_known(
    served_on: str, host: str, origin: str | None, *, is_foreign: bool
) -> None:
    """A page may make a browser send SQL to loopback; its origin or its name gives it away."""
    assert foreign(served_on, host, origin) is is_foreign


def test_a_native_header_has_names_and_types() -> None:
    """Columns, no row, and for each its name and type, lengths in front."""
    assert native_header([("a", "Int8"), ("é", "String")]) == (
        b"\x02\x00\x01a\x04Int8\x02\xc3\xa9\x06String"
    )
    assert native_header([("x", "y" * 300)]) == b"\x01\x00\x01x\xac\x02" + b"y" * 300


def test_a_summary_is_text_throughout() -> None:
    """Clients read its numbers as strings, as a server sends them."""
    summary = json.loads(Answer(b"12", read_rows=3).within(7).summary)
    assert summary["read_rows"] == "3"
    assert summary["result_bytes"] == "2"
    assert summary["elapsed_ns"] == "7"


@pytest.mark.parametrize(
    ("code", "status"),
    [(60, 404), (62, 400), (27, 400), (516, 403), (194, 401), (48, 501), (164, 500), (241, 500)],
)
def test_errors_have_the_status_of_a_server(code: int, status: int) -> None:
    """Clients that look at the status alone see what they would see of a server."""
    assert QueryError(code, "NAME", "detail").status == status


HELLO = b"SELECT displayName(), version(), revision(), timezone()"


@pytest.mark.parametrize(
    ("revision", "body"),
    [
        (
            54_483,
            (
                b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01"
                b"\x0ddisplayName()\x06String\x00\x02me\x09version()\x06String\x00\x0426.9"
                b"\x0arevision()\x06UInt32\x00\x00\x00\x00\x00\x0atimezone()\x06String\x00\x03UTC"
            ),
        ),
        (
            54_000,
            (
                b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01"
                b"\x0ddisplayName()\x06String\x02me\x09version()\x06String\x0426.9"
                b"\x0arevision()\x06UInt32\x00\x00\x00\x00\x0atimezone()\x06String\x03UTC"
            ),
        ),
    ],
)
def test_a_drivers_first_question_is_answered_in_its_own_version(
    revision: int, body: bytes
) -> None:
    """clickhouse-go reads it so, and learns from it to read all others in the oldest."""
    asked = {"client_protocol_version": str(revision), "default_format": "Native"}
    answer = hello(ask(asked, HELLO), "me", "26.9", "UTC")
    assert answer is not None
    assert (answer.body, answer.format) == (body, "Native")


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ({"client_protocol_version": "54483", "default_format": "Native"}, b"SELECT version()"),
        ({"client_protocol_version": "54483"}, HELLO),
        ({"default_format": "Native"}, HELLO),
    ],
)
def test_other_questions_are_the_engines(asked: dict[str, str], text: bytes) -> None:
    """In another format, or of a client that names no version."""
    assert hello(ask(asked, text), "me", "26.9", "UTC") is None


def test_a_version_is_a_number() -> None:
    """Said, and not a fault of ours."""
    with pytest.raises(QueryError, match="client_protocol_version 'new': expected a number"):
        ask({"client_protocol_version": "new"}, b"SELECT 1")
