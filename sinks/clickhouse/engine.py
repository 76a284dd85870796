"""The embedded ClickHouse engine (chDB): whose directory it is, and running statements on it.

Traps, all measured on chdb-core 26.9:

* one process owns a directory, and one directory a process: `Directory` says so before the engine
  does, in one sentence;
* the engine obeys a `config.xml` in the working directory, already at import: `Directory.enter`
  goes to an empty directory first, and chdb is imported after it;
* a statement given with its data goes wrong where the data is binary, and the streaming insert
  hides errors: data goes through a temporary file;
* an empty result in the Native format comes without its header: it is made from DESCRIBE.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from sinks.clickhouse import sql
from sinks.clickhouse.access import CONFIG_XML, USERS_XML, User
from sinks.clickhouse.http import Answer, QueryError, Statement, native_header

#: What the connections of readers start with; a reader's own settings go over it.
READER_SETTINGS = {
    "async_insert": "0",
    "max_memory_usage": str(2 * 1024**3),  # a greedy query fails, instead of the sink
    "max_result_bytes": str(256 * 1024**2),  # results are held whole before they are sent
    "result_overflow_mode": "throw",
}

_ERROR_CODE = re.compile(r"Code: (\d+)\.")
_SUBQUERY_VERBS = frozenset({"SELECT", "WITH", ""})  # "" begins with a bracket


class DirectoryTakenError(Exception):
    """Another process has the engine's directory."""


class EngineError(Exception):
    """The engine does not open its directory; the message is its own."""


class Directory:
    """The engine's directory, owned by this process until `close`, or its death.

    Raises:
        DirectoryTakenError: another process owns it.
        OSError: it cannot be made or written to.

    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = self._own()
        # what a killed process left behind is nobody's
        self._inserts = self._fresh("inserts")
        self._work = self._fresh("work")
        config = self._fresh("config")
        (config / "config.xml").write_text(CONFIG_XML)
        (config / "users.xml").write_text(USERS_XML)

    @property
    def data(self) -> Path:
        """Where the engine keeps its data."""
        return self.path / "data"

    def _own(self) -> IO[str]:
        lock = (self.path / "owner").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            owner = lock.read().strip() or "unknown"
            lock.close()
            message = f"process {owner} has the ClickHouse directory {self.path}"
            raise DirectoryTakenError(message) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        return lock

    def _fresh(self, name: str) -> Path:
        path = self.path / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        return path

    def close(self) -> None:
        """Let others have it."""
        self._lock.close()

    def enter(self) -> None:
        """Make this process a safe place for the engine; to be called before chdb is imported."""
        os.chdir(self._work)
        # history must not depend on where the machine stands
        os.environ["TZ"] = "UTC"
        time.tzset()
        tempfile.tempdir = str(self._inserts)


class Engine:
    """Runs statements of readers, each on a connection of its own; for many threads at once.

    Args:
        directory: the engine's, entered; nothing else has opened it in this process yet.
        database: the database that a statement means when it names none.

    Raises:
        EngineError: the engine does not open.

    """

    def __init__(self, directory: Directory, database: str) -> None:
        data = str(directory.data)
        try:
            # only after Directory.enter, and never in a process that writes to a server; the
            # import opens an engine already
            from chdb._exceptions import ChdbError  # noqa: PLC0415
            from chdb.state import sqlitelike  # noqa: PLC0415

            # the engine ends with its last connection, and is configured by its first
            self._anchor = sqlitelike.connect(f"{data}?config-file=../config/config.xml")
        except (RuntimeError, ValueError) as error:
            raise EngineError(str(error)) from error
        self._connect = sqlitelike.connect
        self._failures = (ChdbError, RuntimeError)
        self._data = data
        self._database = database
        self._running = 0
        self._counting = threading.Lock()
        about = self._anchor.query("SELECT version(), timezone()", "TabSeparated").bytes()
        self.version, self.timezone = about.decode().strip().split("\t")

    def close(self) -> None:
        """Let go of the engine."""
        self._anchor.close()

    @property
    def running(self) -> int:
        """How many statements are running now."""
        return self._running

    def run(self, statement: Statement) -> Answer:
        """Run one statement to its end. Raises QueryError."""
        with self._counting:
            self._running += 1
        started = time.perf_counter_ns()
        try:
            with closing(self._connect(self._data)) as connection:
                answer = _Run(connection, statement, self._database).answer()
        except self._failures as error:
            raise _query_error(str(error)) from error
        except UnicodeDecodeError as error:  # the engine's message quotes data that is no text
            raise _query_error(error.object.decode(errors="backslashreplace")) from error
        finally:
            with self._counting:
                self._running -= 1
        return answer.within(time.perf_counter_ns() - started)


class _Run:
    """One statement on one fresh connection."""

    def __init__(self, connection: Any, statement: Statement, database: str) -> None:
        self._connection = connection
        self._statement = statement
        self._query(f"USE {_identifier(statement.database or database)}")
        if statement.analyst:
            self._query(f"SET ROLE {User.ANALYST.value}")
        settings = {**READER_SETTINGS, **statement.settings}
        readonly = settings.pop("readonly", "0")
        for name, value in settings.items():
            self._query(f"SET {_identifier(name)} = {_literal(value)}")
        if statement.read_only and readonly != "1":
            readonly = "2"  # settings may be changed, this one cannot
        self._query(f"SET readonly = {_literal(readonly)}")

    def answer(self) -> Answer:
        text = self._statement.text
        insert = sql.insert(text)
        head = text if insert is None else b" ".join([insert.target, insert.settings])
        # chDB would run several statements; ClickHouse's HTTP interface takes one
        found = self._connection._conn.classify_query(head.decode(errors="replace"))  # noqa: SLF001
        if found["statement_count"] > 1:
            raise QueryError(62, "SYNTAX_ERROR", "Multi-statements are not allowed")
        if insert is not None:
            return self._insert(insert)
        return self._select(text, returns_rows=found["query_class"].name == "READ_ONLY")

    def _select(self, text: bytes, *, returns_rows: bool) -> Answer:
        wanted = sql.output_format(text) or self._statement.default_format
        result = self._query(text, wanted)
        body = result.bytes() or b""
        if not body and returns_rows and wanted == "Native":
            body = self._empty_native(text)
        return Answer(
            body=body,
            format=wanted if body or returns_rows else None,
            read_rows=result.storage_rows_read(),
            read_bytes=result.storage_bytes_read(),
            result_rows=result.rows_read() if returns_rows else 0,
            written_rows=0 if returns_rows else result.rows_written(),
            written_bytes=0 if returns_rows else result.bytes_written(),
        )

    def _empty_native(self, text: bytes) -> bytes:
        """Return the header that the engine leaves out: names and types, and no row."""
        query = sql.without_format(text)
        if sql.verb(query) in _SUBQUERY_VERBS:
            described = self._query(b"DESCRIBE (%b\n)" % query, "JSONEachRow")
            columns = [json.loads(line) for line in described.bytes().splitlines()]
        else:
            columns = json.loads(self._query(query, "JSON").bytes())["meta"]
        return native_header([(column["name"], column["type"]) for column in columns])

    def _insert(self, insert: sql.Insert) -> Answer:
        with tempfile.NamedTemporaryFile() as file:
            file.write(insert.data)
            file.flush()
            infile = f"FROM INFILE {_literal(file.name)}".encode()
            reading = f"FORMAT {insert.format}".encode()
            result = self._query(b" ".join([insert.target, infile, insert.settings, reading]))
        return Answer(written_rows=result.rows_read(), written_bytes=result.bytes_read())

    def _query(self, text: str | bytes, output_format: str = "TabSeparated") -> Any:
        return self._connection.query(text, output_format, params=dict(self._statement.parameters))


def _identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _query_error(message: str) -> QueryError:
    found = _ERROR_CODE.search(message)
    if not found:
        return QueryError(1002, "UNKNOWN_EXCEPTION", message)
    return QueryError.in_words_of_the_engine(int(found[1]), message[found.start() :])
