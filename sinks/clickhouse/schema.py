"""The database's schema: numbered SQL files, each applied once, in order.

The known migration tools fail on the embedded engine or on a server. So: the statements are
idempotent, a table remembers the checksum of each file that was applied, and a file that changed
after it was applied is refused, because a database made before the change would differ from one
made after it.

The same files serve a cluster: each statement is sent to all of it, and tables are replicated.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import infra
from sinks.clickhouse.sql import split

DIRECTORY = Path(infra.__file__).parent / "clickhouse"

_LEDGER = """
CREATE TABLE IF NOT EXISTS schema_files
(
    name       String,
    checksum   String,
    applied_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY name
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1
"""


class SchemaError(Exception):
    """The files and the database do not belong together; the message says how."""


@dataclass(frozen=True, slots=True)
class SchemaFile:
    """A numbered file of statements."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """What tells whether the file changed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


class Database(Protocol):
    """What the schema needs of a database."""

    def execute(self, statement: str) -> None:
        """Run a statement that returns nothing."""

    def rows(self, query: str) -> Sequence[Sequence[str]]:
        """Return the rows of a query, as text."""

    def insert(self, table: str, lines: Sequence[bytes]) -> None:
        """Write rows, each a JSON object."""


def read(directory: Path = DIRECTORY) -> list[SchemaFile]:
    """Return the schema's files in order."""
    return [SchemaFile(path.name, path.read_text()) for path in sorted(directory.glob("*.sql"))]


def pending(files: Iterable[SchemaFile], applied: Mapping[str, str]) -> list[SchemaFile]:
    """Return the files that are not applied yet.

    A file that is applied and not here is a newer version's: files only add, so an older version
    may go on with what they made.

    Args:
        files: all files, in order.
        applied: the checksum of each file that was applied.

    Raises:
        SchemaError: a file changed after it was applied.

    """
    files = list(files)
    for file in files:
        if applied.get(file.name, file.checksum) != file.checksum:
            message = (
                f"{file.name} changed after it was applied to this database: "
                "restore it, and put the change into a new file"
            )
            raise SchemaError(message)
    return [file for file in files if file.name not in applied]


_SENT = re.compile(
    r"^(CREATE TABLE IF NOT EXISTS|CREATE MATERIALIZED VIEW IF NOT EXISTS|CREATE OR REPLACE VIEW"
    r"|ALTER TABLE) (\w+)",
    re.MULTILINE,
)
_COPIES = re.compile(r"^INSERT INTO \w+ \([^)]+\)\s+SELECT .*^FROM (\w+)", re.MULTILINE | re.DOTALL)


def on_cluster(statement: str, cluster: str | None) -> list[str]:
    """Return a statement of a file as it is sent to a cluster; as it stands without one.

    What copies rows from one table to another is done on one server, and replicated from there;
    this server first fetches what others have written.

    Raises:
        SchemaError: the statement is none that could be sent to all of a cluster.

    """
    if cluster is None:
        return [statement]
    if copies := _COPIES.match(statement):
        return [f"SYSTEM SYNC REPLICA {copies[1]}", statement]
    sent, count = _SENT.subn(rf"\1 \2 ON CLUSTER '{cluster}'", statement)
    if count != 1:
        message = (
            "expected a CREATE TABLE, a CREATE VIEW, an ALTER TABLE, or an INSERT of another's "
            f"rows: {statement[:60]}"
        )
        raise SchemaError(message)
    # without arguments: the server's own default_replica_path, by the table's uuid
    sent = re.sub(r"^ENGINE = (?=\w*MergeTree)", "ENGINE = Replicated", sent, flags=re.MULTILINE)
    return [sent.replace("non_replicated_deduplication_window", "replicated_deduplication_window")]


def apply(database: Database, files: Iterable[SchemaFile], cluster: str | None = None) -> list[str]:
    """Bring `database` up to date, and return the names of the files that were applied.

    Args:
        database: where.
        files: all files, in order.
        cluster: the name of the cluster that the statements are sent to; None: one server.

    Raises:
        SchemaError: as `pending` does.

    """
    _run(database, _LEDGER, cluster)
    rows = database.rows("SELECT name, checksum FROM schema_files FINAL")
    applied = {name: checksum for name, checksum in rows}  # noqa: C416  # of rows, not of pairs
    names = []
    for file in pending(files, applied):
        for statement in split(file.text):
            _run(database, statement, cluster)
        line = f'{{"name":"{file.name}","checksum":"{file.checksum}"}}'
        database.insert("schema_files", [line.encode()])
        names.append(file.name)
    return names


def _run(database: Database, statement: str, cluster: str | None) -> None:
    for sent in on_cluster(statement, cluster):
        database.execute(sent)
