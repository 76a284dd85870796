"""The bindings, where they could break what the pure modules promise."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
import structlog

from infra.kafka.batches import Record
from infra.logs import current_span, trace_ids
from infra.market_calendar import ALWAYS_OPEN
from infra.topics import Topic
from infra.traces.span import Context, traceparent
from processors.app.forward import WRONG_CLOCK_NS, Forward
from processors.desk import Desk
from processors.events import Comparison, QuarantineBegan, RoutedPrice, RouteTaken
from processors.forward import Route
from processors.settings import ProcessorSettings
from tests.infra.test_fence import transition
from tests.processors.test_forward import last, trade
from tests.spans import heard


class FakeProducer:
    """Keeps what is sent, by topic and partition; a send to a held partition waits.

    What is sent to a topic in `under_way` is delivered when that future is done.
    """

    def __init__(self) -> None:
        self.sent: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        self.held: dict[int, asyncio.Event] = {}
        self.under_way: dict[str, asyncio.Future[None]] = {}

    async def send(
        self, topic: str, partition: int, records: Iterable[Record], _header: Any
    ) -> asyncio.Future[None]:
        """Take records, as the real one does: in the order of the calls."""
        self.sent[topic, partition] += records
        if partition in self.held:
            await self.held[partition].wait()
        if topic in self.under_way:
            return self.under_way[topic]
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done


class FakeRecord:
    """A record of `ticks.valid`."""

    def __init__(self, partition: int, value: bytes) -> None:
        self.topic, self.partition, self.offset, self.value = "ticks.valid", partition, 0, value


class FakeEvent:
    """A chunk as an agent sees it."""

    def __init__(self, *records: FakeRecord) -> None:
        self.value = list(records)
        self.acknowledged = False

    def ack(self) -> None:
        """Note it."""
        self.acknowledged = True


@pytest.fixture
async def forward() -> Any:
    """A forward stage that is not started, with a fake producer."""
    stage = ForwardOnItsOwn(ProcessorSettings())
    stage.producer = FakeProducer()  # type: ignore[assignment]
    for partition in (0, 1):
        stage._desks[partition] = Desk(ALWAYS_OPEN)
    return stage


class ForwardOnItsOwn(Forward):
    """A forward stage without a broker: its partitions end where a test says."""

    ends_at = 0

    def end_of(self, topic: Topic, partition: int) -> int:
        """Return the end."""
        del topic, partition
        return self.ends_at


def _transition(epoch: int, switched_at_ns: int) -> Any:
    found = transition(epoch, generation=1)
    found = msgspec.structs.replace(found, switched_at_ns=switched_at_ns)
    return FakeRecord(0, msgspec.json.encode(found))


def test_only_a_transition_that_is_news_is_traced(forward: Any) -> None:
    """A worker that begins, and reads what was, tells nothing of old failovers."""
    old, new = _transition(1, 5), _transition(2, 6)
    for record in (old, new):
        record.headers = [("schema", b"x/1"), traceparent(Context(7, 8))]
    with heard() as tracer:
        forward.tracer = tracer
        forward._learn(old)
        forward._learn(new, latest_ns=10)
    assert list(forward._causes) == [2]


def _chunk(partition: int, offset: int, at: int) -> FakeEvent:
    return FakeEvent(FakeRecord(partition, msgspec.json.encode(trade(offset, at))))


def _times(stage: Any, partition: int) -> list[int]:
    sent = stage.producer.sent["prices.routed", partition]
    return [msgspec.json.decode(r.value, type=RoutedPrice).market_time_ns for r in sent]


async def test_a_switch_does_not_follow_the_ticks_that_came_during_it(forward: Any) -> None:
    """While one partition's prices are on their way, another's newer ticks may overtake none."""
    for partition in (0, 1):
        await forward._forward(_chunk(partition, 0, 5))
    for desk in forward._desks.values():
        desk.learn(Route(1, "alpaca", 6))
    release = forward.producer.held[0] = asyncio.Event()
    switch = asyncio.ensure_future(forward._switch(now=7))
    await asyncio.sleep(0)
    await forward._forward(_chunk(1, 1, 6))
    release.set()
    await switch
    assert _times(forward, 0) == [5]
    assert _times(forward, 1) == [5, 6]


async def test_a_switch_waits_for_ticks_that_are_not_read(forward: Any) -> None:
    """Those were received before it; but not for ever, where their clock is wrong."""
    await forward._forward(_chunk(0, 0, 5))
    desk = forward._desks[0]
    desk.learn(Route(1, "alpaca", 6))
    forward.ends_at = 9
    await forward._switch(now=7)
    assert desk.route.epoch == 0
    await forward._switch(now=6 + WRONG_CLOCK_NS)
    assert desk.route.epoch == 1
    assert _times(forward, 0) == [5]


@pytest.mark.parametrize("by_the_clock", [True, False])
async def test_where_a_route_came_into_force_is_in_the_log_before_its_prices(
    forward: Any, *, by_the_clock: bool
) -> None:
    """Behind which tick: whoever replays goes by it, however late the transition was heard of."""
    await forward._forward(_chunk(0, 3, 5))
    forward._desks[0].learn(Route(1, "alpaca", 6))
    sent = forward.producer.sent
    under_way = asyncio.get_running_loop().create_future()
    forward.producer.under_way["forward.switches"] = under_way
    switching = forward._switch(now=7) if by_the_clock else forward._forward(_chunk(0, 4, 6))
    switching = asyncio.ensure_future(switching)
    async with asyncio.timeout(20):
        while not sent["forward.switches", 0]:
            await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not sent["prices.routed", 0]
    under_way.set_result(None)
    await switching
    assert _times(forward, 0) == ([5] if by_the_clock else [5, 6])
    (record,) = sent["forward.switches", 0]
    taken = msgspec.json.decode(record.value, type=RouteTaken)
    before = trade(3, 5)
    assert (taken.epoch, taken.after_topic, taken.after_offset) == (1, before.raw_topic, 3)
    await forward._forward(_chunk(0, 5, 7))
    assert len(sent["forward.switches", 0]) == 1


@pytest.mark.parametrize("newer", [False, True])
async def test_a_price_that_never_went_out_is_sent_once(forward: Any, *, newer: bool) -> None:
    """A successor finds it where a switch was cut off; not if a newer one has gone out by then."""
    desk = forward._desks[0]
    desk.learn(Route(1, "alpaca", 0))
    desk.take_all([trade(0, 5)], 7)
    forward._unsent[0] = desk.unsent()
    if newer:
        await forward._forward(_chunk(0, 1, 6))
    for _ in range(2):
        await forward._switch(now=7)
        assert _times(forward, 0) == [6 if newer else 5]


async def test_a_switch_of_a_clock_that_is_ahead_is_in_force_within_a_second(forward: Any) -> None:
    """What a router says of the next hour is meant for now."""
    forward._learn(_transition(1, switched_at_ns=3600 * 10**9), 10**9)
    assert forward._desks[0].switch_due_at == 10**9


async def test_a_chunk_without_a_price_is_done_at_once(forward: Any) -> None:
    """Nothing is sent, and the commit can pass it."""
    event = _chunk(0, 0, 5)
    await forward._forward(event)
    assert event.acknowledged
    assert not forward.producer.sent


async def test_a_record_that_is_no_tick_is_counted_and_passed(forward: Any) -> None:
    """Somebody else's record in the topic does not stop the stage; what is said names its trace."""
    forward._desks[0].learn(Route(1, "alpaca", 0))
    good = _chunk(0, 0, 5).value[0]
    bad: Any = FakeRecord(0, b"{}")
    bad.headers = [("schema", b"x/1"), traceparent(Context(7, 8))]
    with structlog.testing.capture_logs(processors=[trace_ids(current_span)]) as said:
        await forward._forward(FakeEvent(bad, good))
    assert [(each["event"], each.get("trace_id")) for each in said] == [
        ("record_unreadable", f"{7:032x}")
    ]
    assert _times(forward, 0) == [5]
    assert b'result="dead_letter",stage="forward"} 1.0' in forward.meters.exposition()


async def test_a_comparison_is_written_before_its_chunk_is_done(forward: Any) -> None:
    """Where a symbol's price is told by both sources."""
    ticks = [trade(0, 5 * 10**9), last(0, 5 * 10**9)]
    event = FakeEvent(*(FakeRecord(0, msgspec.json.encode(tick)) for tick in ticks))
    await forward._forward(event)
    await forward.deliveries.settled()
    (record,) = forward.producer.sent["prices.discrepancies", 0]
    assert record.key == b"A"
    assert msgspec.json.decode(record.value, type=Comparison).verdict == "inconsistent"
    assert event.acknowledged


async def test_a_quarantine_is_in_the_log_before_a_price_goes_out_under_it(forward: Any) -> None:
    """A successor would otherwise go back to the source that is not to be trusted."""
    sent, second = forward.producer.sent, 10**9
    forward._desks[0].learn(Route(1, "alpaca", 0))
    ticks = [t(n, 15 * n * second) for n in (1, 2, 3) for t in (trade, last)]
    chunk = FakeEvent(*(FakeRecord(0, msgspec.json.encode(tick)) for tick in ticks))
    under_way = asyncio.get_running_loop().create_future()
    forward.producer.under_way["symbols.quarantines"] = under_way
    taking = asyncio.ensure_future(forward._forward(chunk))
    async with asyncio.timeout(20):
        while not sent["symbols.quarantines", 0]:
            await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not sent["prices.routed", 0]
    under_way.set_result(None)
    await taking
    (record,) = sent["symbols.quarantines", 0]
    began = msgspec.json.decode(record.value, type=QuarantineBegan)
    assert (began.symbol, began.reason, began.fence) == ("A", "disagrees", 1)
    price = msgspec.json.decode(sent["prices.routed", 0][-1].value, type=RoutedPrice)
    assert (price.source, price.fence, price.epoch, price.price) == ("yahoo", 1, 1, 20)
