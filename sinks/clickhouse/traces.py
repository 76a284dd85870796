"""The spans of a batch: for each traced record in it, its way into the table."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from infra.clock import now_ns
from infra.traces.kafka import process_span
from infra.traces.span import Context, Span, span_of, traced
from infra.traces.tracer import Tracer
from sinks.clickhouse.tables import Table

STAGE = "clickhouse"


class _Taken(NamedTuple):
    record: Any
    parent: Context
    at_ns: int


class Traces:
    """What is traced of the batch in hand.

    Args:
        tracer: what spans are told to.
        tables: the table of each topic, by its name on the broker.
        group: the consumer group.

    """

    def __init__(self, tracer: Tracer, tables: Mapping[str, Table], group: str) -> None:
        self._tracer = tracer
        self._tables = tables
        self._group = group
        self._taken: list[_Taken] = []

    def take(self, records: Iterable[Any]) -> None:
        """Note what is traced among records that were read."""
        found = traced(records)
        if found:
            now = now_ns()
            self._taken += (_Taken(record, parent, now) for record, parent in found)

    def forget(self) -> None:
        """Forget what was in hand: it will be read again."""
        self._taken = []

    def written(self, batch: int, began_ns: int, ended_ns: int) -> None:
        """Tell of all of it: it was written, and its offsets are committed.

        Args:
            batch: how many records were written together.
            began_ns: when writing began, at the attempt that succeeded.
            ended_ns: when they were on disk.

        """
        taken, self._taken = self._taken, []
        now = now_ns()
        for record, parent, at_ns in taken:
            process = process_span(
                record,
                parent,
                stage=STAGE,
                start_ns=at_ns,
                end_ns=now,
                batch=batch,
                group=self._group,
            )
            table = self._tables[record.topic].name
            insert = Span(
                f"INSERT {table}",
                "client",
                span_of(process.context.trace_id, f"INSERT by {process.context.span_id:016x}"),
                process.context.span_id,
                began_ns,
                ended_ns,
                {
                    "db.system.name": "clickhouse",
                    "db.operation.name": "INSERT",
                    "db.collection.name": table,
                    "db.operation.batch.size": batch,
                },
            )
            self._tracer.tell(process, insert)
