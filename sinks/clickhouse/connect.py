"""The store on ClickHouse: a server over HTTP, or the engine in this process, by one client.

clickhouse-connect drives both with the same calls. On the embedded engine it hands the rows over in
a temporary file. That is on purpose: chDB's own streaming insert reports success for rows that
failed after they were parsed (a violated constraint; chdb-core 26.9), and a sink that commits its
offsets on that report would lose them.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self
from urllib.parse import unquote, urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.exceptions import Error as DriverError
from urllib3.exceptions import HTTPError

from sinks.clickhouse.store import RowsRefusedError, StoreUnavailableError

#: ClickHouse's error codes that put the blame on the data wherever they come from. Everything else
#: may pass with time, but for what happens while an input format reads the rows (`_at_fault`).
#: https://github.com/ClickHouse/ClickHouse/blob/master/src/Common/ErrorCodes.cpp
DATA_ERRORS = frozenset(
    {
        6,  # CANNOT_PARSE_TEXT
        26,  # CANNOT_PARSE_QUOTED_STRING
        27,  # CANNOT_PARSE_INPUT_ASSERTION_FAILED
        32,  # ATTEMPT_TO_READ_AFTER_EOF
        33,  # CANNOT_READ_ALL_DATA
        53,  # TYPE_MISMATCH
        69,  # ARGUMENT_OUT_OF_BOUND
        70,  # CANNOT_CONVERT_TYPE
        72,  # CANNOT_PARSE_NUMBER
        117,  # INCORRECT_DATA
        131,  # TOO_LARGE_STRING_SIZE
        321,  # VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE
        349,  # CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN
        469,  # VIOLATED_CONSTRAINT
    }
)
#: What may befall an input format through no fault of the rows.
_ENVIRONMENT = frozenset(
    {
        74,  # CANNOT_READ_FROM_FILE_DESCRIPTOR
        159,  # TIMEOUT_EXCEEDED
        173,  # CANNOT_ALLOCATE_MEMORY
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        241,  # MEMORY_LIMIT_EXCEEDED
        394,  # QUERY_WAS_CANCELLED
        439,  # CANNOT_SCHEDULE_TASK
        1001,  # STD_EXCEPTION
    }
)
REFUSED_USER = frozenset({192, 193, 194, 516})  # unknown user, wrong or missing password

#: Said at every insert, because the defaults differ between versions and between the two engines.
INSERT_SETTINGS = {
    "async_insert": 0,  # once an insert returns, its rows are on disk
    "insert_deduplicate": 0,  # an engine's window may swallow rows after a crash; ours is the key
    "max_partitions_per_insert_block": 0,  # a vendor's odd times must not block the others' rows
    "date_time_input_format": "basic",
    "input_format_skip_unknown_fields": 1,  # a newer writer may say more than our columns
    "input_format_null_as_default": 1,
    "input_format_defaults_for_omitted_fields": 1,
    "input_format_json_read_objects_as_strings": 1,  # `raw` as it came
    "input_format_json_read_arrays_as_strings": 1,  # `symbols` of a source's status
    "input_format_json_read_numbers_as_strings": 1,
}
CONNECT_SECONDS = 5
ANSWER_SECONDS = 60

_CODE = re.compile(r"Code: (\d+)\.")

#: Columns that are filled by their definition, not by us.
_DERIVED = frozenset({"DEFAULT", "MATERIALIZED", "ALIAS"})


class UserRefusedError(Exception):
    """The server does not let this user in."""


class ClickHouseStore:
    """A `Store` and a `schema.Database` on a ClickHouse client. Not for several threads at once.

    Args:
        client: without a database of its own.
        database: the database that holds the tables; made where it is missing.
        cluster: the cluster that all of it is made on.

    """

    def __init__(self, client: Client, database: str, cluster: str | None = None) -> None:
        self.client = client
        self._columns: dict[str, list[str]] = {}
        everywhere = f" ON CLUSTER '{cluster}'" if cluster else ""
        self.execute(f"CREATE DATABASE IF NOT EXISTS `{database}`{everywhere}")
        client.database = database

    @classmethod
    def on_server(cls, url: str, database: str, cluster: str | None = None) -> Self:
        """Connect to a server.

        Raises:
            UserRefusedError: it does not let us in.
            StoreUnavailableError: it does not answer.

        """
        parts = urlsplit(url)
        try:
            client = clickhouse_connect.get_client(
                interface=parts.scheme,
                host=parts.hostname,
                port=parts.port or {"http": 8123, "https": 8443}[parts.scheme],
                username=unquote(parts.username or "default"),
                password=unquote(parts.password or ""),
                connect_timeout=CONNECT_SECONDS,
                send_receive_timeout=ANSWER_SECONDS,
                # nothing of ours lives in a session, and a session admits one query at a time, so
                # a query that timed out here and still runs there would lock us out
                autogenerate_session_id=False,
            )
        except DriverError as error:
            if error.code in REFUSED_USER:
                raise UserRefusedError(str(error)) from error
            raise StoreUnavailableError(str(error)) from error
        return cls(client, database, cluster)

    @classmethod
    def on_engine(cls, directory: str, database: str) -> Self:
        """Join the engine in this process, which has its data in `directory`."""
        with _translated():
            client = clickhouse_connect.get_client(interface="chdb", path=directory)
        return cls(client, database)

    def insert(self, table: str, lines: Sequence[bytes]) -> None:
        """Write rows, as `Store` says."""
        columns = self._columns.get(table) or self._describe(table)
        with _translated():
            self.client.raw_insert(
                f"`{table}`",
                column_names=columns,
                insert_block=b"\n".join(lines),
                fmt="JSONEachRow",
                settings=INSERT_SETTINGS,
            )

    def _describe(self, table: str) -> list[str]:
        # ephemeral columns are only read where they are named
        described = self.rows(f"DESCRIBE TABLE `{table}`")
        self._columns[table] = [row[0] for row in described if row[2] not in _DERIVED]
        return self._columns[table]

    def execute(self, statement: str) -> None:
        """Run a statement that returns nothing. Raises StoreUnavailableError."""
        with _translated():
            self.client.command(statement)

    def rows(self, query: str) -> Sequence[Sequence[str]]:
        """Return the rows of a query. Raises StoreUnavailableError."""
        with _translated():
            return self.client.query(query).result_rows

    def close(self) -> None:
        """Let go of the server, or of the engine."""
        self.client.close()


@contextmanager
def _translated() -> Iterator[None]:
    """Say what went wrong in the words of the seam."""
    try:
        yield
    except ClickHouseError as error:
        code, message = _told(error)
        if _at_fault(code, message):
            raise RowsRefusedError(message) from error
        raise StoreUnavailableError(message) from error
    except (HTTPError, OSError) as error:  # no server, or no room for the temporary file
        raise StoreUnavailableError(str(error) or type(error).__name__) from error


def _at_fault(code: int | None, message: str) -> bool:
    """Tell whether the rows are to blame.

    An unknown code counts where it was raised while an input format read the rows: there are many
    ways to be no row, and one that is not known must not stop the sink. The row is not lost by a
    wrong guess: it is set aside with its bytes.
    """
    return code in DATA_ERRORS or (
        code is not None and code not in _ENVIRONMENT and "InputFormat" in message
    )


def _told(error: ClickHouseError) -> tuple[int | None, str]:
    """Return the engine's code and words."""
    if isinstance(error.__cause__, UnicodeDecodeError):
        # chDB quotes the data it refuses, which may be no text, or be cut within a character; its
        # binding then reports that instead of the error
        message = error.__cause__.object.decode(errors="backslashreplace")
        found = _CODE.search(message)
        return (int(found[1]) if found else None), message
    return (error.code if isinstance(error, DriverError) else None), str(error)
