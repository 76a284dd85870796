"""The seam to a store of rows, and how a batch gets across it.

A store says one of three things of an insert: done, these rows are at fault, or not now. Rows at
fault are searched by halves and set aside; "not now" is the caller's to wait out, since writing the
same rows again changes nothing.
"""

from collections.abc import Sequence
from typing import Protocol

from sinks.clickhouse.batch import Batch, Refused, Rows, dead_letter
from sinks.clickhouse.tables import DEAD_LETTERS, Table


class RowsRefusedError(Exception):
    """At least one of the rows is at fault, and none was written."""


class StoreUnavailableError(Exception):
    """The store cannot write now: nothing is said of the rows, and some may have been written."""


class Store(Protocol):
    """Where rows go. Rows that stand there already replace themselves."""

    def insert(self, table: str, lines: Sequence[bytes]) -> None:
        """Write rows, each a JSON object, and return once they are on disk.

        Raises:
            RowsRefusedError: a row is at fault.
            StoreUnavailableError: anything else.

        """


def write(store: Store, batch: Batch) -> list[Refused]:
    """Write all of `batch`, and return the records that had to be set aside.

    Raises:
        StoreUnavailableError: the store cannot write now; call again with the same batch.

    """
    refused = list(batch.refused)
    for table, rows in batch.rows.items():
        if rows.lines:
            refused += _write_rows(store, table, rows)
    if refused:
        store.insert(DEAD_LETTERS.name, [dead_letter(letter) for letter in refused])
    return refused


def _write_rows(store: Store, table: Table, rows: Rows) -> list[Refused]:
    try:
        store.insert(table.name, rows.lines)
    except RowsRefusedError as error:
        if len(rows.lines) == 1:
            return [Refused(rows.records[0], str(error))]
        return [letter for half in rows.halves() for letter in _write_rows(store, table, half)]
    return []
