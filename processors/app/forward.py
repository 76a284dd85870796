"""The forward stage: `ticks.valid` to prices, comparisons and quarantines."""

import asyncio
import contextlib
import math
from collections import defaultdict
from collections.abc import Awaitable, Sequence
from typing import Any

import msgspec
import structlog
from aiokafka import ConsumerRecord

from infra import topics
from infra.clock import now_ns
from infra.fence import Story
from infra.kafka.read import follow, read_to_end
from infra.traces.current import within
from infra.traces.settings import TraceSettings
from infra.traces.span import parse
from processors import forward
from processors.app.memory import Memory
from processors.app.stage import Stage
from processors.app.traces import Cause, Passage, RawPlace, Switch, switch_context
from processors.chunks import CHUNK_RECORDS
from processors.compare import PAGES, Page
from processors.deliver import CHUNKS_UNDER_WAY
from processors.desk import Desk, Forwarded, SymbolState
from processors.events import (
    QuarantineEvent,
    RoutedPrice,
    RouterTransition,
    ValidTick,
)
from processors.memory import Recollection
from processors.records import (
    comparison_record,
    origin_of,
    price_record,
    quarantine_record,
    switch_record,
)
from processors.settings import ProcessorSettings

log = structlog.get_logger()

_state = msgspec.json.Decoder(SymbolState)
_page = msgspec.json.Decoder(Page)
_epoch = msgspec.json.Decoder(int | None)
_quarantine = msgspec.json.Decoder(QuarantineEvent)

#: How many transitions are remembered that are traced.
CAUSES_KEPT = 20
#: How often the clock is looked at where no tick comes.
TICK_S = 0.1
#: A switch is in force at the latest so much after it was learnt of: the router's clock is wrong.
AT_THE_LATEST_NS = 1_000_000_000
#: Where ticks come all the time and none is of the new epoch by its own clock, a switch waits this
#: long for one: that clock is wrong.
WRONG_CLOCK_NS = 5_000_000_000


class Forward(Stage):
    """`ticks.valid` to `prices.routed` and `prices.latest`, along the route in force.

    The two sources are compared here as well (`prices.discrepancies`), and symbols put in
    quarantine (`symbols.quarantines`): it takes the same ticks, in the same order.
    """

    def __init__(self, settings: ProcessorSettings, traces: TraceSettings | None = None) -> None:
        super().__init__("forward", settings, traces=traces)
        #: The last traced transitions, by epoch.
        self._causes: dict[int, Cause] = {}
        #: By partition, the last switch that is traced, or none of late.
        self._switches: dict[int, Switch | None] = {}
        self._decoder = msgspec.json.Decoder(ValidTick)
        self._story = Story()
        self._routes: list[forward.Route] = []
        self._desks: dict[int, Desk] = {}
        #: One thing at a time in each partition: what is decided first is handed over first.
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: What was remembered when a partition was taken over, while the log has not passed it.
        self._recalled: dict[int, Recollection] = {}
        #: What was still to be sent of a partition that was taken over.
        self._unsent: dict[int, list[RoutedPrice]] = {}
        self._memory = Memory(
            self,
            topics.FORWARD_SYMBOLS,
            lambda partition, symbol: self._desks[partition].state(symbol),
            pages_of=self._pages_of,
            floor_of=lambda partition: self._desks[partition].route.epoch,
        )
        self.reads(self._forward, topics.VALID)

    async def begin(self) -> None:
        """Learn the routes there were, and follow them from here on."""
        name = self.settings.topic(topics.TRANSITIONS.name)
        async for record in read_to_end(self.settings.kafka_bootstrap_servers, name, 0):
            self._learn(record)
        self.app.task(self._follow)
        self.app.task(self._look_at_the_clock)

    async def recover(self) -> None:
        """Take up the partitions that are ours now, and forget those that are not."""
        owned = self.partitions_of(topics.VALID)
        for partition in set(self._desks) - owned:
            del self._desks[partition]
            self._recalled.pop(partition, None)
            self._memory.forget(partition)
        [committed] = await self.committed(topics.VALID)
        for partition in owned - set(self._desks):
            self._desks[partition] = await self._take_over(partition, committed.get(partition, 0))
            self._unsent[partition] = self._desks[partition].unsent()

    async def _take_over(self, partition: int, committed: int) -> Desk:
        """Return the desk of a partition as the logs tell it, up to what the group has done."""
        servers = self.settings.kafka_bootstrap_servers
        recalled = self._recalled[partition] = await self._memory.recall(partition)
        # what was committed was taken, even where there is nothing to fold
        desk = Desk(self.settings.calendar, committed)
        name = self.settings.topic(topics.QUARANTINES.name)
        desk.restore(
            {symbol: _state.decode(raw) for symbol, raw in recalled.states.items()},
            {symbol: list(map(_page.decode, raw)) for symbol, raw in recalled.pages.items()},
            [_quarantine.decode(r.value) async for r in read_to_end(servers, name, partition)],
        )
        under_way = CHUNKS_UNDER_WAY * CHUNK_RECORDS
        # the table of all symbols, and then what may have been routed after its last update
        told: list[RoutedPrice] = []
        for topic, last in ((topics.LATEST, None), (topics.ROUTED, under_way)):
            name = self.settings.topic(topic.name)
            reading = read_to_end(servers, name, partition, last=last)
            told += [msgspec.json.decode(r.value, type=RoutedPrice) async for r in reading]
        for route in self._routes:
            desk.learn(route)
        desk.go_on_from(_epoch.decode(recalled.floor_state), told, committed + under_way)
        place = floor = recalled.begin(topics.VALID.name)
        name = self.settings.topic(topics.VALID.name)
        if floor < committed:
            records: list[ConsumerRecord] = []
            reading = read_to_end(servers, name, partition, since=floor, before=committed)
            async for record in reading:
                if place < record.offset:  # what came before is kept no more
                    desk.recall(told)
                place = record.offset + 1
                records.append(record)
                if len(records) == CHUNK_RECORDS:
                    self._take(partition, desk, records, decides=False)
                    records = []
            if records:
                self._take(partition, desk, records, decides=False)
            if place < committed:
                desk.recall(told)
        desk.taken.clear()  # its predecessor wrote it down
        log.info("took_over", partition=partition, floor=floor, committed=committed)
        return desk

    def _pages_of(self, partition: int, symbol: str) -> dict[str, Page]:
        pages = self._desks[partition].turn(symbol)
        return {str(page.minute % PAGES): page for page in pages}

    def _learn(self, record: ConsumerRecord, latest_ns: float = math.inf) -> None:
        transition = msgspec.json.decode(record.value, type=RouterTransition)
        if not self._story.accepts(transition):
            return
        self._story = self._story.after(transition)
        is_news = latest_ns < math.inf  # what was before we came was told of by who was there
        if self.tracer and is_news and (parent := parse(record.headers)) is not None:
            self._causes[transition.epoch] = Cause(record, parent, now_ns())
            if len(self._causes) > CAUSES_KEPT:
                del self._causes[min(self._causes)]
        route = forward.route_of(transition)
        if route.since_ns > latest_ns:
            route = route._replace(since_ns=int(latest_ns))
        self._routes.append(route)
        for desk in self._desks.values():
            desk.learn(route)

    async def _follow(self) -> None:
        name = self.settings.topic(topics.TRANSITIONS.name)
        async with contextlib.aclosing(
            follow(self.settings.kafka_bootstrap_servers, name)
        ) as records:
            async for record in records:
                self._learn(record, now_ns() + AT_THE_LATEST_NS)

    async def _look_at_the_clock(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(TICK_S)
            if not self.app.rebalancing:
                await self._switch(now_ns())

    async def _switch(self, now: int) -> None:
        """Have switches come into force where no tick does it, and finish those that were cut."""
        for partition, desk in list(self._desks.items()):
            async with self._turns[partition]:
                # Decided and handed over in one turn: ticks that come meanwhile go out after these,
                # or make them old news.
                prices: list[RoutedPrice] = []
                unsent = self._unsent.pop(partition, ())
                prices += (price for price in unsent if price is desk.book.routed[price.symbol])
                if self._has_waited(partition, desk, now):
                    prices += desk.pass_to(now, now)
                    cause = self._causes.get(desk.route.epoch)
                    with within(switch_context(cause, self.name, partition) if cause else None):
                        log.info("switched", partition=partition, **desk.route._asdict())
                passage = None
                if prices or desk.taken:
                    passage = self.passage([], _raw_place, self._switches.get(partition))
                self._note(partition, desk, passage)
                await self._write_down(partition, desk)
                await self._deliver(partition, prices, None, passage)

    async def _write_down(self, partition: int, desk: Desk) -> None:
        """Have it in the log where routes came into force, before any price goes out under them."""
        taken, desk.taken = desk.taken, []
        if taken:
            await self.surely(topics.FORWARD_SWITCHES, partition, list(map(switch_record, taken)))

    def _has_waited(self, partition: int, desk: Desk, now: int) -> bool:
        """Return whether a switch is due although no tick says so."""
        late_ns = now - desk.switch_due_at
        if late_ns < 0:
            return False
        end = self.end_of(topics.VALID, partition)
        nearly = end - desk.next_offset <= CHUNK_RECORDS
        return end <= desk.next_offset or (nearly and late_ns >= WRONG_CLOCK_NS)

    async def _forward(self, event: Any) -> None:
        partition = event.value[0].partition
        async with self._turns[partition]:
            desk = self._desks[partition]
            passage = self.passage(event.value, _raw_place, self._switches.get(partition))
            out = self._take(partition, desk, event.value)
            self._note(partition, desk, passage)
            self.count("ok", len(event.value))
            if out.quarantines:
                # in the log before any price goes out under its fence: a successor goes by it
                records = [quarantine_record(event) for event in out.quarantines]
                await self.surely(topics.QUARANTINES, partition, records)
            compared = [comparison_record(c) for c in out.comparisons]
            await self._write_down(partition, desk)
            also = [await self.send(topics.COMPARISONS, partition, compared)] if compared else []
            await self._deliver(partition, out.prices, event, passage, *also)
            await self._memory.keep(partition, {topics.VALID.name: desk.next_offset})

    def _take(
        self, partition: int, desk: Desk, records: Sequence[ConsumerRecord], *, decides: bool = True
    ) -> Forwarded:
        recalled = self._recalled.get(partition)
        ticks: list[ValidTick] = []
        for record in records:
            tick = self.decode(self._decoder, record)
            if tick is not None and not (
                recalled and recalled.includes(tick.symbol, topics.VALID.name, record.offset)
            ):
                ticks.append(tick)
        desk.next_offset = records[-1].offset + 1
        if recalled and desk.next_offset >= recalled.horizon(topics.VALID.name):
            del self._recalled[partition]
        self._memory.note(partition, {tick.symbol for tick in ticks})
        return desk.take_all(ticks, now_ns(), decides=decides)

    def _note(self, partition: int, desk: Desk, passage: Passage | None) -> None:
        """Have a passage know what was decided of it, and which switches are traced."""
        if passage:
            passage.decided()
            self._switches[partition] = passage.switched(partition, desk.taken, self._causes)

    async def _deliver(
        self,
        partition: int,
        prices: list[RoutedPrice],
        event: Any,
        passage: Passage | None,
        *also: Awaitable[Any],
    ) -> None:
        """Send prices; the event is acknowledged when they, and what is sent also, are out."""
        under_way = list(also)
        if prices:
            records = [price_record(p) for p in prices]
            if passage:
                name = self.settings.topic(topics.ROUTED.name)
                records = passage.mark(name, partition, records, prices)
            routed = await self.send(topics.ROUTED, partition, records)
            if passage:
                passage.follow(routed)
            under_way.append(self._latest(partition, prices, routed))
        elif passage:
            passage.tell()
        if under_way:
            await self.deliveries.acknowledge_after(asyncio.gather(*under_way), event)
        elif event is not None:
            event.ack()

    async def _latest(
        self, partition: int, prices: list[RoutedPrice], routed: Awaitable[Any]
    ) -> None:
        # The table never runs ahead of the log that it is a table of: a restart relies on it.
        await routed
        newest = {price.symbol: price for price in prices}
        await (
            await self.send(topics.LATEST, partition, [price_record(p) for p in newest.values()])
        )


def _raw_place(record: ConsumerRecord) -> RawPlace:
    """Return which raw tick a valid one came of; its own place for what is no tick of ours."""
    origin = origin_of(record.value)
    return (origin.raw_topic, origin.raw_offset) if origin else (record.topic, record.offset)
