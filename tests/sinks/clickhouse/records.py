"""What the tests of the ClickHouse sink are made of: records, and a store in memory."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from infra.topics import TOPICS
from sinks.clickhouse.store import RowsRefusedError, StoreUnavailableError
from sinks.clickhouse.tables import TABLES, Table

RAW = "ticks.raw.alpaca"
STATUS = "sources.status"
#: Now, because what is old does not stay in its table.
NOW_NS = int(time.time()) * 1_000_000_000 + 123_456_789

BY_NAME: dict[str, Table] = {topic.name: table for topic, table in TABLES.items()}
NOT_STORED = {topic.name for topic in TOPICS} - BY_NAME.keys()


@dataclass(frozen=True)
class Record:
    """A record of the log."""

    offset: int
    value: bytes | None
    topic: str = RAW
    partition: int = 0
    key: bytes | None = b"AAPL"
    headers: tuple[tuple[str, bytes], ...] = ()


def raw_tick(raw: bytes = b'{"T":"t"}', encoding: str = "json", symbol: str = "AAPL") -> bytes:
    """Return a raw tick's value, as ingest writes it."""
    return (
        b'{"source":"alpaca","feed":"iex","symbol":"%b","session_id":"s","session_seq":1,'
        b'"received_at_ns":%d,"encoding":"%b","raw":%b}'
        % (symbol.encode(), NOW_NS, encoding.encode(), raw)
    )


def records(*values: bytes | None, first: int = 0) -> list[Record]:
    """Return consecutive records with these values."""
    return [Record(first + index, value) for index, value in enumerate(values)]


class MemoryStore:
    """A `Store` that forgets: what the engine does with rows, as far as the sink relies on it."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[object, ...], dict[str, object]]] = {}
        self.away = 0
        self.inserts: list[tuple[str, int]] = []

    def insert(self, table: str, lines: Sequence[bytes]) -> None:
        """Write rows."""
        if self.away:
            self.away -= 1
            message = "away"
            raise StoreUnavailableError(message)
        rows = [self._row(line) for line in lines]
        self.inserts.append((table, len(rows)))
        kept = self.tables.setdefault(table, {})
        for row in rows:
            kept[row["topic"], row["partition"], row["offset"]] = row

    @staticmethod
    def _row(line: bytes) -> dict[str, object]:
        try:
            fields = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            row: dict[str, object] = {
                name: bytes(raw).decode()
                if bytes(raw)[:1] in {b"{", b"["}
                else msgspec.json.decode(raw)
                for name, raw in fields.items()
            }
        except msgspec.DecodeError as error:
            raise RowsRefusedError(str(error)) from error
        if "value_base64" in row:
            row["value"] = base64.b64decode(str(row.pop("value_base64")))
            row["key"] = base64.b64decode(str(row.pop("key_base64")))
        elif not any(isinstance(row.get(name), int) for name in ("received_at_ns", "at_ns")):
            message = "no time"
            raise RowsRefusedError(message)
        return row

    def column(self, table: str, name: str) -> list[bytes]:
        """Return a column of a table, as bytes, in order of the rows' places."""
        rows = sorted(self.tables.get(table, {}).items(), key=lambda item: item[0][2])  # type: ignore[arg-type,return-value]
        field = name.removeprefix("toString(").removesuffix(")")
        values = (row[field] for _, row in rows)
        return [value if isinstance(value, bytes) else str(value).encode() for value in values]
