"""Spans about records of the log, named as OpenTelemetry's conventions for Kafka have it. Pure."""

from typing import NamedTuple, Protocol

from infra.record import Placed
from infra.traces.span import Attributes, Context, Headers, Span, span_of, traceparent

#: What every span about a record says; the conventions are those of 1.44.
SYSTEM = "messaging.system"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
OFFSET = "messaging.kafka.offset"
KEY = "messaging.kafka.message.key"
GROUP = "messaging.consumer.group.name"
BATCH = "messaging.batch.message_count"
OPERATION, OPERATION_TYPE = "messaging.operation.name", "messaging.operation.type"


class Headed(Placed, Protocol):
    """A record with its headers."""

    @property
    def headers(self) -> Headers:
        """Its headers."""


def _key(key: bytes | None) -> str:
    return (key or b"").decode(errors="replace")


def process_context(record: Headed, parent: Context, stage: str) -> Context:
    """Return the span in which a stage takes a record."""
    place = f"process {record.topic}/{record.partition}/{record.offset} by {stage}"
    return span_of(parent.trace_id, place)


def process_span(
    record: Headed,
    parent: Context,
    *,
    stage: str,
    start_ns: int,
    end_ns: int,
    batch: int,
    group: str = "",
    more: Attributes | None = None,
) -> Span:
    """Return the span of a stage's taking a record.

    Args:
        record: the record.
        parent: the span that wrote it.
        stage: who takes it.
        start_ns: when what was fetched with it was taken up.
        end_ns: when the stage had done with it.
        batch: how many records were taken up together.
        group: the consumer group; empty for who reads without.
        more: what else is to be told.

    """
    return Span(
        f"process {record.topic}",
        "consumer",
        process_context(record, parent, stage),
        parent.span_id,
        start_ns,
        end_ns,
        {
            SYSTEM: "kafka",
            OPERATION: "process",
            OPERATION_TYPE: "process",
            DESTINATION: record.topic,
            PARTITION: str(record.partition),
            OFFSET: record.offset,
            KEY: _key(record.key),
            BATCH: batch,
            **({GROUP: group} if group else {}),
            **(more or {}),
        },
    )


class Sending(NamedTuple):
    """A traced record on its way into the log.

    Attributes:
        context: the span of its sending, which its header names.
        parent_id: the span that made it.
        topic: where to.
        partition: which partition of it.
        key: the record's key.
        start_ns: when it was handed over.

    """

    context: Context
    parent_id: int
    topic: str
    partition: int
    key: bytes | None
    start_ns: int

    @property
    def headers(self) -> tuple[tuple[str, bytes], ...]:
        """What its record says besides its schema."""
        return (traceparent(self.context),)

    def span(self, end_ns: int, error: str = "") -> Span:
        """Return its span, now that the log has it."""
        return Span(
            f"send {self.topic}",
            "producer",
            self.context,
            self.parent_id,
            self.start_ns,
            end_ns,
            {
                SYSTEM: "kafka",
                OPERATION: "send",
                OPERATION_TYPE: "send",
                DESTINATION: self.topic,
                PARTITION: str(self.partition),
                KEY: _key(self.key),
            },
            error,
        )


def sending(
    parent: Context, topic: str, partition: int, key: bytes | None, start_ns: int
) -> Sending:
    """Return the sending of a record that a span made."""
    context = span_of(parent.trace_id, f"send {topic} of {_key(key)} by {parent.span_id:016x}")
    return Sending(context, parent.span_id, topic, partition, key, start_ns)
