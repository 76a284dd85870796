"""The schema's files, and bringing a database up to date with them."""

import datetime as dt
import json
import re
import time
from collections.abc import Sequence

import msgspec
import pytest

from sinks.clickhouse import schema
from sinks.clickhouse.schema import SchemaError, SchemaFile, apply, on_cluster, pending
from sinks.clickhouse.sql import split
from tests.sinks.clickhouse.conftest import EngineProcess

ONE = SchemaFile("0001_one.sql", "CREATE TABLE a; CREATE TABLE b")
TWO = SchemaFile("0002_two.sql", "CREATE TABLE c;")


IDEMPOTENT = re.compile(
    r"^CREATE OR REPLACE VIEW \w+\n"
    r"|^CREATE MATERIALIZED VIEW IF NOT EXISTS \w+ TO \w+\n"
    r"|^INSERT INTO \w+ \([^)]+\)\s+SELECT "  # into a table that knows its rows again
    r"|^ALTER TABLE \w+\s+(ADD COLUMN IF NOT EXISTS|MODIFY COMMENT|COMMENT COLUMN|MODIFY TTL) ",
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


STATEMENTS = [statement for file in schema.read() for statement in split(file.text)]


def test_the_same_files_serve_a_cluster() -> None:
    """Every statement goes to all of it, and every table is replicated."""
    for statement in STATEMENTS:
        *first, sent = on_cluster(statement, "{cluster}")
        if statement.startswith("INSERT"):
            assert first == ["SYSTEM SYNC REPLICA valid_ticks"]
            assert sent == statement
            continue
        assert first == []
        assert sent.count(" ON CLUSTER '{cluster}'") == 1
        assert ("ENGINE = ReplicatedReplacingMergeTree\n" in sent) == ("ENGINE = " in statement)
        assert "non_replicated" not in sent
    assert [on_cluster(statement, None) for statement in STATEMENTS] == [[s] for s in STATEMENTS]


def test_what_would_reach_one_server_alone_is_refused() -> None:
    """A file may do nothing that the others of a cluster would not do."""
    for statement in ("INSERT INTO t SELECT 1", "DROP TABLE t", "OPTIMIZE TABLE t"):
        with pytest.raises(SchemaError, match="expected a CREATE TABLE"):
            on_cluster(statement, "main")


def test_a_cluster_is_brought_up_to_date_as_one() -> None:
    """The table of the files as well."""
    database = Database()
    file = SchemaFile("0001_one.sql", "CREATE TABLE IF NOT EXISTS a\n(a Int8)\nENGINE = MergeTree")
    assert apply(database, [file], "main") == ["0001_one.sql"]
    assert all(" ON CLUSTER 'main'" in statement for statement in database.ran)
    assert all("ENGINE = Replicated" in statement for statement in database.ran)


@pytest.mark.service
def test_the_engine_can_read_what_a_cluster_is_sent(clickhouse: EngineProcess) -> None:
    """By its own parser; there is no second server here to run it on."""
    with clickhouse.client() as client:
        for statement in STATEMENTS:
            for sent in on_cluster(statement, "main"):
                read = client.query("SELECT formatQuery({q:String})", parameters={"q": sent})
                whole = read.result_rows[0][0]
                assert ("ON CLUSTER main" in whole) == ("ON CLUSTER 'main'" in sent)
                assert ("ENGINE = Replicated" in whole) == ("ENGINE = " in statement)


@pytest.mark.service
def test_logs_are_kept_by_their_level(clickhouse: EngineProcess, database: str) -> None:
    """Errors for 90 days, warnings for 30, all else for 7; and a line shipped twice is one."""
    store = clickhouse.store(database)
    apply(store, schema.read())
    now = dt.datetime.now(dt.UTC)
    lines = []
    for level, days in (("error", 90), ("warning", 30), ("info", 7)):
        for age in (days - 1, days + 1):
            said = {"service": "s", "event": f"{level} {age}", "level": level}
            moment = (now - dt.timedelta(days=age)).isoformat().replace("+00:00", "Z")
            lines.append(json.dumps({**said, "timestamp": moment}))
    with clickhouse.client(database) as client:
        for body in ("\n".join(lines), "\n".join(lines), "no JSON at all"):
            client.raw_insert("logs", ["line"], insert_block=body, fmt="LineAsString")
        client.command("OPTIMIZE TABLE logs FINAL")
        rows = client.query("SELECT event FROM logs FINAL ORDER BY event").result_rows
        assert rows == [("",), ("error 89",), ("info 6",), ("warning 29",)]


@pytest.mark.service
def test_what_is_old_goes(clickhouse: EngineProcess, database: str) -> None:
    """By the time that it was received; and of a source's life, heartbeats alone."""
    store = clickhouse.store(database)
    apply(store, schema.read())
    old, new = time.time_ns() - 91 * 86_400 * 10**9, time.time_ns()
    for offset, moment in enumerate((old, new)):
        place = f'"topic":"t","partition":0,"offset":{offset}'
        store.insert("raw_ticks", [f'{{{place},"received_at_ns":{moment}}}'.encode()])
        store.insert(
            "source_status", [f'{{{place},"event":"heartbeat","at_ns":{moment}}}'.encode()]
        )
        store.insert(
            "source_status", [f'{{{place},"event":"stopped","at_ns":{moment + 1}}}'.encode()]
        )
    with clickhouse.client(database) as client:
        for table, left in (("raw_ticks", 1), ("source_status", 3)):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
            assert client.command(f"SELECT count() FROM {table}") == left  # noqa: S608  # ours
