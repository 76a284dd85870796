"""From records of the log to rows of a table, without decoding them.

A record's value is JSON already, and so is a row: its place in the log is spliced in front of the
value's own fields, and the engine parses the line. That is a fifth of what decoding costs.

The engine keeps a JSON object that lands in a String column byte for byte, but it reads a JSON
string as what it says, and null as nothing. A vendor's message is an object; where `raw` is
anything else, it is put into quotes here, so that `raw` always holds the vendor's bytes.
"""

import base64
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from infra.traces.kafka import Headed
from sinks.clickhouse.tables import Table


class Record(Headed, Protocol):
    """A record with its value."""

    @property
    def value(self) -> bytes | None:
        """Its value."""


class Rows(NamedTuple):
    """Lines of JSON for a table, and the records that they were made of, in the same order.

    Two lists, because a pair a row is one more object a row for the garbage collector to visit.
    """

    lines: list[bytes]
    records: list[Record]

    def halves(self) -> "tuple[Rows, Rows]":
        """Return the first half and the second."""
        middle = len(self.lines) // 2
        return (
            Rows(self.lines[:middle], self.records[:middle]),
            Rows(self.lines[middle:], self.records[middle:]),
        )


class Refused(NamedTuple):
    """A record that no table takes, and why."""

    record: Record
    error: str


class Batch:
    """Records read and not yet written.

    Args:
        tables: the table of each topic, by its name on the broker.

    Attributes:
        rows: what to write, by table.
        refused: what cannot be written.
        offsets: where to go on reading once all is written, by (topic, partition).
        records: how many records it holds.
        size: how many bytes their values have.

    """

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables
        self.rows: defaultdict[Table, Rows] = defaultdict(lambda: Rows([], []))
        self.refused: list[Refused] = []
        self.offsets: dict[tuple[str, int], int] = {}
        self.records = 0
        self.size = 0

    def add(self, topic: str, partition: int, records: Iterable[Record]) -> None:
        """Take in consecutive records of one partition."""
        table = self._tables[topic]
        rows = self.rows[table]
        place = f'{{"topic":{json.dumps(topic)},"partition":{partition},"offset":'.encode()
        count = size = 0
        for record in records:
            value, offset = record.value, record.offset
            count += 1
            if value is None or not value.startswith(b"{"):
                self.refused.append(Refused(record, "the value is not a JSON object"))
                continue
            size += len(value)
            if table.keeps_raw:
                value = exact(value)
            rows.lines.append(b"%b%d,%b" % (place, offset, value[1:]))
            rows.records.append(record)
        if count:
            self.offsets[topic, partition] = offset + 1
        self.records += count
        self.size += size


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])

#: What msgspec raises besides its own: for text that is not UTF-8, and for endless brackets.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def exact(value: bytes) -> bytes:
    """Return a raw or rejected tick's value such that the engine keeps the vendor's bytes.

    Looks at the two shapes that ingest writes all day, and decodes only what is neither.
    """
    if b'"encoding":"json","raw":{' in value or b'"encoding":"msgpack","raw":"' in value:
        return value
    try:
        fields = _FIELDS.decode(value)
    except _UNREADABLE:
        return value  # the engine will refuse it, with a better reason than ours
    raw = bytes(fields.get("raw", b""))
    if bytes(fields.get("encoding", b"")) != b'"json"' or not raw or raw[:1] in (b"{", b"["):
        return value
    quoted = b'"%b"' % raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return msgspec.json.encode({**fields, "raw": msgspec.Raw(quoted)})


def dead_letter(refused: Refused) -> bytes:
    """Return the line for `dead_letters` that keeps a record's bytes, whatever they are."""
    record, error = refused
    return msgspec.json.encode(
        {
            "topic": record.topic,
            "partition": record.partition,
            "offset": record.offset,
            "error": error,
            "key_base64": base64.b64encode(record.key or b"").decode(),
            "value_base64": base64.b64encode(record.value or b"").decode(),
        }
    )
