"""Cutting SQL where it may be cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.clickhouse import sql


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        ("SELECT 1", ["SELECT 1"]),
        ("SELECT 1;", ["SELECT 1"]),
        (" SELECT 1 ;\n;; SELECT 2 -- end", ["SELECT 1", "SELECT 2 -- end"]),
        ("SELECT ';'; SELECT 2", ["SELECT ';'", "SELECT 2"]),
        (r"SELECT 'it''s; \'; '; SELECT 2", [r"SELECT 'it''s; \'; '", "SELECT 2"]),
        ('SELECT ";" AS `a;b`; SELECT 2', ['SELECT ";" AS `a;b`', "SELECT 2"]),
        ("SELECT 1 -- it's; \n; SELECT 2", ["SELECT 1 -- it's;", "SELECT 2"]),
        ("SELECT 1 /* it's; */; SELECT 2", ["SELECT 1 /* it's; */", "SELECT 2"]),
        ("SELECT $x$ ; ' $x$; SELECT 2", ["SELECT $x$ ; ' $x$", "SELECT 2"]),
        ("-- nothing; at all\n", []),
        ("", []),
    ],
)
def test_splits_where_a_statement_ends(text: str, statements: list[str]) -> None:
    """A semicolon in a quote, a comment or a heredoc ends nothing."""
    assert sql.split(text) == statements


@given(st.lists(st.text(alphabet="ab;'\\\"` \n-/*"), min_size=1))
def test_splits_what_was_joined(texts: list[str]) -> None:
    """Statements around any quoted text come back as they were."""
    escaped = (text.replace("\\", "\\\\").replace("'", "\\'") for text in texts)
    statements = [f"SELECT '{text}'" for text in escaped]
    assert sql.split(";\n".join(statements)) == statements


def test_an_open_quote_is_refused() -> None:
    """A file whose quote never ends is told by its line, not applied by halves."""
    with pytest.raises(ValueError, match="line 2: the quote ' is not closed"):
        sql.split("SELECT 1;\nSELECT 'a; SELECT 2")


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON", b"SELECT 1 "),
        (b"SELECT 1 format Native;", "Native", b"SELECT 1 "),
        (b"SELECT 1\n FORMAT TSV SETTINGS a = 1", "TSV", b"SELECT 1\n SETTINGS a = 1"),
        (b"SELECT 1 AS format FORMAT CSV", "CSV", b"SELECT 1 AS format "),
        (b"SELECT 1", None, b"SELECT 1"),
        (b"SELECT format FROM t", None, b"SELECT format FROM t"),
        (b"SELECT 'x FORMAT JSON'", None, b"SELECT 'x FORMAT JSON'"),
        (b"SELECT 1 -- FORMAT JSON", None, b"SELECT 1 -- FORMAT JSON"),
        (b"SELECT (1 FORMAT JSON)", None, b"SELECT (1 FORMAT JSON)"),
    ],
)
def test_finds_the_format_of_a_query(text: bytes, name: str | None, rest: bytes) -> None:
    """Only the word FORMAT at the end of the query itself names its format."""
    assert (sql.output_format(text), sql.without_format(text)) == (name, rest)


@pytest.mark.parametrize(
    ("text", "target", "settings", "name", "data"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2\n", b"INSERT INTO t", b"", "CSV", b"1,2\n"),
        (b"insert into t (a, b) format TSV 1\t2", b"insert into t (a, b)", b"", "TSV", b"1\t2"),
        (b"INSERT INTO t FORMAT CSV \r\n\n1", b"INSERT INTO t", b"", "CSV", b"\n1"),
        (
            b"INSERT INTO t SETTINGS a = 1 FORMAT Native\n\x00;'\xff",
            b"INSERT INTO t",
            b"SETTINGS a = 1",
            "Native",
            b"\x00;'\xff",
        ),
        (b"INSERT INTO t (`format`) FORMAT CSV", b"INSERT INTO t (`format`)", b"", "CSV", b""),
    ],
)
def test_takes_an_insert_apart(
    text: bytes, target: bytes, settings: bytes, name: str, data: bytes
) -> None:
    """The data begins behind the format's line, and nothing in it is read as SQL."""
    assert sql.insert(text) == sql.Insert(target, settings, name, data)


@pytest.mark.parametrize(
    "text",
    [
        b"SELECT 1 FORMAT CSV",
        b"INSERT INTO t SELECT 1 FORMAT CSV",
        b"INSERT INTO t VALUES (1)",
        b"INSERT INTO t FORMAT Values (1)",
        b"INSERT INTO t FROM INFILE 'x' FORMAT CSV",
        b"INSERT INTO t",
        b"INSERT INTO t FORMAT",
        b"",
    ],
)
def test_leaves_to_the_engine_what_carries_no_data(text: bytes) -> None:
    """Rows that come from a query, from VALUES or from a file are the engine's to read."""
    assert sql.insert(text) is None


@pytest.mark.parametrize(
    ("text", "only"),
    [
        (b"SET a = 1", True),
        (b"/* x */ use db", True),
        (b"CREATE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE OR REPLACE TEMPORARY TABLE t (a Int8)", True),
        (b"CREATE TABLE temporary (a Int8)", False),
        (b"CREATE TABLE t (a Int8)", False),
        (b"SELECT 1 SETTINGS a = 1", False),
        (b"", False),
    ],
)
def test_knows_what_only_a_session_would_feel(text: bytes, *, only: bool) -> None:
    """SET, USE and temporary tables change nothing that lasts longer than a session."""
    assert sql.needs_session(text) is only


@given(st.binary())
def test_reads_any_bytes(text: bytes) -> None:
    """No input makes it fail, and a query keeps its length where no format is found."""
    sql.insert(text)
    sql.needs_session(text)
    rest = sql.without_format(text)
    assert len(rest) <= len(text)
