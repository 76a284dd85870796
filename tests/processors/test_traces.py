"""What a stage tells of the traced ones among what it takes."""

import asyncio
from typing import Any, NamedTuple

import msgspec
import pytest

from infra.record import Record
from infra.traces.span import Context, parse, traceparent
from infra.traces.tracer import ALWAYS_A_MINUTE
from processors.app.traces import FOLLOWED_A_SWITCH, Cause, Passage
from processors.events import RejectedTick, RouteTaken
from tests.processors.test_forward import trade
from tests.sinks.hub.prices import price
from tests.spans import Heard, heard

PARENT = Context(5, 6)


class _Taken(NamedTuple):
    offset: int
    headers: list[tuple[str, bytes]]
    topic: str = "ticks.raw.alpaca"
    partition: int = 0
    key: bytes = b"A"


def _chunk(size: int, *followed: int) -> list[Any]:
    schema = ("schema", b"x/1")
    return [
        _Taken(n, [schema, traceparent(PARENT)] if n in followed else [schema]) for n in range(size)
    ]


def _passage(tracer: Heard, records: list[Any], **more: Any) -> Passage:
    return Passage(
        tracer,
        stage="validate",
        group="validate",
        records=records,
        place=lambda record: (record.topic, record.offset),
        **more,
    )


def _rejected(offset: int, gap_id: str = "") -> RejectedTick:
    fields = msgspec.structs.asdict(trade(offset, at=offset))
    place = {name: fields[name] for name in RejectedTick.__struct_fields__ if name in fields}
    return RejectedTick(
        **{**place, "gap_id": gap_id},
        reason="invalid_price",
        detail="",
        encoding="json",
        raw=msgspec.Raw(b"{}"),
    )


def _records(count: int) -> list[Record]:
    return [Record(b"A", b"{}") for _ in range(count)]


async def test_what_came_of_a_traced_record_says_so() -> None:
    """It, and nothing else; and it is told of once it is in the log."""
    with heard() as tracer:
        passage = _passage(tracer, _chunk(3, 1))
        passage.decided()
        marked = passage.mark("ticks.valid", 0, _records(3), [trade(n, n) for n in range(3)])
        delivery = asyncio.get_running_loop().create_future()
        passage.follow(delivery)
        assert not tracer.spans
        delivery.set_result(None)
        await asyncio.sleep(0)
        process, send = tracer.spans
    assert [parse(record.headers) for record in marked] == [None, send.context, None]
    assert (process.name, process.parent_id) == ("process ticks.raw.alpaca", PARENT.span_id)
    assert (send.name, send.parent_id) == ("send ticks.valid", process.context.span_id)
    assert process.attributes["messaging.batch.message_count"] == 3
    assert process.attributes["messaging.kafka.offset"] == 1


async def test_the_same_record_taken_again_is_the_same_span() -> None:
    """A stage that does its work again after a crash tells of nothing new."""
    with heard() as tracer:
        for _ in range(2):
            passage = _passage(tracer, _chunk(1, 0))
            passage.mark("ticks.valid", 0, _records(1), [trade(0, 0)])
            passage.tell()
        names = [(span.context, span.parent_id) for span in tracer.spans]
    assert names[:2] == names[2:]


@pytest.mark.parametrize("failure", [RuntimeError("Kafka"), None])
async def test_what_does_not_get_into_the_log_is_not_told(failure: Exception | None) -> None:
    """A delivery that failed, or was given up, is not a sending that ended."""
    with heard() as tracer:
        passage = _passage(tracer, _chunk(1, 0))
        delivery = asyncio.get_running_loop().create_future()
        passage.follow(delivery)
        if failure:
            delivery.set_exception(failure)
        else:
            delivery.cancel()
        await asyncio.sleep(0)
        assert not tracer.spans


def test_rejected_ticks_are_traced_up_to_a_cap() -> None:
    """Those that the sampler did not choose too, but no history; with why, from the receipt on.

    One that was chosen anyway takes nothing from the others.
    """
    count = ALWAYS_A_MINUTE + 10
    rejected = [_rejected(0), _rejected(1, gap_id="g"), *map(_rejected, range(2, count))]
    with heard() as tracer:
        passage = _passage(tracer, _chunk(count, 0))
        passage.rejected(rejected)
        passage.decided()
        marked = passage.mark("ticks.rejected", 0, _records(count), rejected)
        passage.tell()
        spans = tracer.spans
    followed = [parse(record.headers) is not None for record in marked]
    assert followed[:3] == [True, False, True]
    assert sum(followed) == ALWAYS_A_MINUTE + 1
    roots = [span for span in spans if not span.parent_id]
    assert len(roots) == ALWAYS_A_MINUTE
    assert all(root.attributes["twinfeed.rebuilt"] for root in roots)
    processes = [span for span in spans if span.name == "process ticks.raw.alpaca"]
    assert {span.error for span in processes} == {"invalid_price"}
    assert len(processes) == ALWAYS_A_MINUTE + 1


def test_the_first_prices_after_a_switch_belong_to_its_trace() -> None:
    """Some of those under its epoch, in any chunk; that of a traced tick keeps its own."""
    cause: Any = Cause(_Taken(9, [], "router.transitions"), PARENT, 1)
    taken = [RouteTaken(epoch=2, after_topic="", after_offset=-1, at_ns=0)]
    prices = [price(epoch=epoch, raw_offset=n) for n, epoch in enumerate((1, 2, 2, 2, 2, 2))]
    with heard() as tracer:
        passage = _passage(tracer, _chunk(2, 1))
        passage.decided()
        switch = passage.switched(3, taken, {2: cause})
        assert switch is not None
        first = passage.mark("prices.routed", 3, _records(3), prices[:3])
        passage.tell()
        later = _passage(tracer, [], switch=switch)
        second = later.mark("prices.routed", 3, _records(3), prices[3:])
        assert later.switched(3, [], {}) is switch
        spans = {span.context: span for span in tracer.spans}
    parents = [
        spans[context].parent_id if (context := parse(record.headers)) in spans else context
        for record in first
    ]
    (own,) = [s for s in spans.values() if s.name == "process router.transitions"]
    assert own.parent_id == PARENT.span_id
    process = next(s for s in spans.values() if s.name == "process ticks.raw.alpaca")
    assert parents == [None, process.context.span_id, own.context.span_id]
    assert sum(bool(record.headers) for record in second) == FOLLOWED_A_SWITCH - 1


def test_a_switch_that_is_not_traced_ends_the_one_before() -> None:
    """Its prices are not those of the transition before."""
    cause: Any = Cause(_Taken(9, [], "router.transitions"), PARENT, 1)
    taken = [RouteTaken(epoch=e, after_topic="", after_offset=-1, at_ns=0) for e in (2, 3)]
    with heard() as tracer:
        assert _passage(tracer, []).switched(0, taken, {2: cause}) is None
