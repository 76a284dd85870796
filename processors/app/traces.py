"""The spans of a stage: what it took that is traced, and what came of that.

A stage takes records by the chunk, of hundreds of traces, of which nearly all are not followed. So
there is no span of the chunk, but one of each traced record in it, under the span that wrote that
record; how many were taken with it is told beside it. It begins when the chunk is taken up, which
is when the record's wait in the log ends.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from aiokafka import ConsumerRecord

from infra.clock import now_ns
from infra.record import Record
from infra.traces.kafka import Sending, process_context, process_span, sending
from infra.traces.span import Attributes, Context, Headers, Span, span_of, trace_named, traced
from infra.traces.ticks import receipt_context, receipt_span, trace_of
from infra.traces.tracer import Tracer
from processors.events import (
    Provenance,
    RejectedTick,
    RoutedPrice,
    RouterTransition,
    RouteTaken,
)

#: The raw tick that something came of.
RawPlace = tuple[str, int]

#: So many of the first prices in a partition after a switch are followed under its trace.
FOLLOWED_A_SWITCH = 3

VERDICT, REASON = "twinfeed.verdict", "twinfeed.reject.reason"
EPOCH, IN_PARTITION = "twinfeed.epoch", "twinfeed.partition"


class Arrival(NamedTuple):
    """A record that was taken, and the span that it is of."""

    record: Any
    parent: Context
    own: Context


class _Place(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    headers: Headers = ()


def raw_place(tick: Any) -> RawPlace:
    """Return which raw tick something came of."""
    return tick.raw_topic, tick.raw_offset


class Cause(NamedTuple):
    """A transition that was learnt of, and is traced.

    Attributes:
        record: its record.
        parent: the span that wrote it.
        since_ns: when it was learnt of.

    """

    record: ConsumerRecord
    parent: Context
    since_ns: int


@dataclass(eq=False, slots=True)
class Switch:
    """A traced transition that came into force in a partition.

    Attributes:
        cause: the transition.
        own: the span of its coming into force.
        partition: where.
        epoch: the transition's.
        left: how many prices are still followed that go out under it.

    """

    cause: Cause
    own: Context
    partition: int
    epoch: int
    left: int = FOLLOWED_A_SWITCH


def transition_context(transition: RouterTransition) -> Context:
    """Return the first span of a transition's trace: whoever carries it out finds the same."""
    trace_id = trace_named(f"transition {transition.epoch} of {transition.generation}")
    return span_of(trace_id, "decide")


def transition_span(transition: RouterTransition, end_ns: int) -> Span:
    """Return that span: from the moment that its cause held until it was written."""
    return Span(
        f"route {transition.from_state} to {transition.to_state}",
        "internal",
        transition_context(transition),
        0,
        transition.detected_at_ns,
        max(end_ns, transition.detected_at_ns),
        {
            "twinfeed.transition.from": transition.from_state,
            "twinfeed.transition.to": transition.to_state,
            "twinfeed.transition.reason": transition.reason,
            EPOCH: transition.epoch,
        },
    )


def switch_context(cause: Cause, stage: str, partition: int) -> Context:
    """Return the span of a transition's coming into force in a partition."""
    return process_context(cause.record, cause.parent, f"{stage} in partition {partition}")


class Passage:
    """A chunk's traced records on their way through a stage; told once what came of them is out.

    Args:
        tracer: what spans are told to.
        stage: the stage's name.
        group: its consumer group.
        records: the chunk.
        place: of which raw tick a record is; its own place, where it is one itself.
        switch: the last one in the partition, some of whose prices may still have to be followed.

    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        stage: str,
        group: str,
        records: Sequence[ConsumerRecord],
        place: Callable[[ConsumerRecord], RawPlace],
        switch: Switch | None = None,
    ) -> None:
        self._tracer = tracer
        self._stage = stage
        self._group = group
        self._batch = len(records)
        self._since_ns = now_ns()
        self._arrivals: dict[RawPlace, Arrival] = {}
        for record, parent in traced(records):
            own = process_context(record, parent, stage)
            self._arrivals[place(record)] = Arrival(record, parent, own)
        self._switches: list[Switch] = []
        self._switch = switch
        self._notes: dict[RawPlace, Attributes] = {}
        self._roots: list[Span] = []
        self._sendings: list[Sending] = []
        self._decided_ns = 0

    def decided(self) -> None:
        """Note that it is clear now what comes of them."""
        self._decided_ns = now_ns()

    def rejected(self, ticks: Iterable[RejectedTick]) -> None:
        """Note which were rejected; those that were not traced are from here on, some a minute.

        Their receipt is told of too, as far as it is known now.
        """
        for tick in ticks:
            place = raw_place(tick)
            if place not in self._arrivals:
                if tick.gap_id or not self._tracer.always(self._since_ns):
                    continue
                self._begin(tick, place)
            self._notes[place] = {VERDICT: "rejected", REASON: tick.reason}

    def _begin(self, tick: RejectedTick, place: RawPlace) -> None:
        at = _Place(tick.raw_topic, tick.raw_partition, tick.raw_offset, tick.symbol.encode())
        trace_id = trace_of(tick, f"{at.topic}/{at.partition}/{at.offset}")
        root = receipt_context(trace_id)
        self._roots.append(receipt_span(trace_id, tick, self._since_ns, rebuilt=True))
        self._arrivals[place] = Arrival(at, root, process_context(at, root, self._stage))

    def mark(
        self, topic: str, partition: int, records: list[Record], events: Sequence[Provenance]
    ) -> list[Record]:
        """Return records, of which those that came of traced ones say so.

        Args:
            topic: where they go, by its name on the broker.
            partition: which partition of it.
            records: the records.
            events: what they hold, in the same order.

        """
        if not self._arrivals and not (self._switch and self._switch.left):
            return records
        return [
            record
            if (own := self._own(event)) is None
            else self._mark(own, topic, partition, record)
            for event, record in zip(events, records, strict=True)
        ]

    def _own(self, event: Provenance) -> Context | None:
        """Return the span that an event came of; None where it is not traced."""
        arrival = self._arrivals.get(raw_place(event))
        if arrival is not None:
            return arrival.own
        switch = self._switch
        if switch is None or not switch.left or not isinstance(event, RoutedPrice):
            return None
        if event.epoch != switch.epoch:
            return None
        switch.left -= 1
        return switch.own

    def _mark(self, own: Context, topic: str, partition: int, record: Record) -> Record:
        out = sending(own, topic, partition, record.key, now_ns())
        self._sendings.append(out)
        return record._replace(headers=out.headers)

    def switched(
        self, partition: int, taken: Iterable[RouteTaken], causes: Mapping[int, Cause]
    ) -> Switch | None:
        """Note which routes came into force in a partition; return the last traced switch there.

        Args:
            partition: which.
            taken: the routes.
            causes: by epoch, the transitions that are traced.

        """
        for route in taken:
            cause = causes.get(route.epoch)
            if cause is None:
                self._switch = None
                continue
            own = switch_context(cause, self._stage, partition)
            self._switch = Switch(cause, own, partition, route.epoch)
            self._switches.append(self._switch)
        return self._switch

    def follow(self, delivery: "asyncio.Future[Any]") -> None:
        """Tell of all of them once what came of them is in the log, if it ever is."""
        if self._arrivals or self._switches or self._sendings:
            delivery.add_done_callback(self._settle)

    def _settle(self, delivery: "asyncio.Future[Any]") -> None:
        if not delivery.cancelled() and delivery.exception() is None:
            self.tell()

    def tell(self) -> None:
        """Tell of all of them."""
        now = now_ns()
        tell = self._tracer.tell
        tell(*self._roots)
        tell(*(self._span(place, arrival) for place, arrival in self._arrivals.items()))
        tell(*map(self._switch_span, self._switches))
        tell(*(each.span(now) for each in self._sendings))

    def _span(self, place: RawPlace, arrival: Arrival) -> Span:
        note: Mapping[str, Any] = self._notes.get(place, {})
        span = process_span(
            arrival.record,
            arrival.parent,
            stage=self._stage,
            start_ns=self._since_ns,
            end_ns=self._decided_ns,
            batch=self._batch,
            group=self._group,
            more=note,
        )
        return span._replace(error=note.get(REASON, ""))

    def _switch_span(self, switch: Switch) -> Span:
        span = process_span(
            switch.cause.record,
            switch.cause.parent,
            stage=self._stage,
            start_ns=switch.cause.since_ns,
            end_ns=self._decided_ns,
            batch=1,
            more={EPOCH: switch.epoch, IN_PARTITION: str(switch.partition)},
        )
        return span._replace(context=switch.own)
