"""The schema's files, and bringing a database up to date with them."""

import re
from collections.abc import Sequence

import msgspec
import pytest

from sinks.clickhouse import schema
from sinks.clickhouse.schema import SchemaError, SchemaFile, apply, pending
from sinks.clickhouse.sql import split

ONE = SchemaFile("0001_one.sql", "CREATE TABLE a; CREATE TABLE b")
TWO = SchemaFile("0002_two.sql", "CREATE TABLE c;")


IDEMPOTENT = re.compile(
    r"^CREATE OR REPLACE VIEW \w+\n"
    r"|^ALTER TABLE \w+\s+(ADD COLUMN IF NOT EXISTS|MODIFY COMMENT|COMMENT COLUMN) ",
    re.MULTILINE,
)


class Database:
    """Remembers what was run on it, and the schema's own table."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.applied: dict[str, str] = {}

    def execute(self, statement: str) -> None:
        """Run a statement."""
        self.ran.append(statement)

    def rows(self, query: str) -> Sequence[Sequence[str]]:
        """Answer the one query there is."""
        assert "schema_files" in query
        return list(self.applied.items())

    def insert(self, table: str, lines: Sequence[bytes]) -> None:
        """Write into the one table there is."""
        assert table == "schema_files"
        for line in lines:
            row = msgspec.json.decode(line)
            self.applied[row["name"]] = row["checksum"]


def test_files_are_applied_in_order_and_once() -> None:
    """A second start finds nothing to do; a new file is all that a third start does."""
    database = Database()
    assert apply(database, [ONE]) == ["0001_one.sql"]
    assert apply(database, [ONE]) == []
    assert apply(database, [ONE, TWO]) == ["0002_two.sql"]
    made = [statement for statement in database.ran if "schema_files" not in statement]
    assert made == ["CREATE TABLE a", "CREATE TABLE b", "CREATE TABLE c"]


def test_a_changed_file_is_refused() -> None:
    """A database made before the change would differ from one made after it."""
    changed = SchemaFile(ONE.name, ONE.text + " -- better")
    with pytest.raises(SchemaError, match=r"0001_one\.sql changed after it was applied"):
        pending([changed, TWO], {ONE.name: ONE.checksum})


def test_a_newer_database_is_taken_as_it_is() -> None:
    """An upgrade can be taken back: files only add."""
    assert pending([ONE], {ONE.name: ONE.checksum, TWO.name: TWO.checksum}) == []


def test_a_file_is_done_only_after_its_last_statement() -> None:
    """A crash in between runs the file again, which its statements must allow."""
    database = Database()

    def fail(statement: str) -> None:
        if statement == "CREATE TABLE b":
            raise ConnectionError

    database.execute = fail  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        apply(database, [ONE])
    assert database.applied == {}


@pytest.mark.parametrize("file", schema.read(), ids=lambda file: file.name)
def test_our_files_are_numbered_and_may_run_again(file: SchemaFile) -> None:
    """Every statement is idempotent, and no table has the window that loses rows at a crash."""
    assert re.fullmatch(r"\d{4}_[a-z_]+\.sql", file.name)
    for statement in split(file.text):
        if IDEMPOTENT.search(statement):
            continue
        assert "CREATE TABLE IF NOT EXISTS" in statement
        assert "ENGINE = ReplacingMergeTree\n" in statement
        assert "non_replicated_deduplication_window = 0" in statement
        assert "fsync_after_insert = 1, fsync_part_directory = 1" in statement
