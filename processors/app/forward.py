"""The forward stage: `ticks.valid` to `prices.routed` and `prices.latest`."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Awaitable
from typing import Any

import msgspec
import structlog
from aiokafka import ConsumerRecord

from infra import topics
from infra.kafka.batches import Record
from infra.kafka.read import follow, read_to_end
from processors import forward
from processors.app.stage import Stage
from processors.chunks import CHUNK_RECORDS
from processors.deliver import CHUNKS_UNDER_WAY
from processors.events import RoutedPrice, RouterTransition, ValidTick
from processors.settings import ProcessorSettings

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode


class Forward(Stage):
    """`ticks.valid` to `prices.routed` and `prices.latest`, along the route in force."""

    def __init__(self, settings: ProcessorSettings) -> None:
        super().__init__("forward", settings)
        self._decoder = msgspec.json.Decoder(ValidTick)
        self._route = forward.NO_ROUTE
        self._books: defaultdict[int, forward.Book] = defaultdict(forward.Book)
        self.reads(self._forward, topics.VALID)

    async def begin(self) -> None:
        """Learn the route in force, and follow it from here on."""
        name = self.settings.topic(topics.TRANSITIONS.name)
        async for record in read_to_end(self.settings.kafka_bootstrap_servers, name, 0):
            self._route = forward.route_of(_transition(record))
        log.info("route", epoch=self._route.epoch, source=self._route.source)
        self.app.task(self._follow)

    async def recover(self) -> None:
        """Recall what was routed for the partitions that are ours now."""
        servers, owned = self.settings.kafka_bootstrap_servers, self.partitions_of(topics.VALID)
        for partition in set(self._books) - owned:
            del self._books[partition]
        for partition in owned - set(self._books):
            book = self._books[partition]
            # the table of all symbols, and then what may have been routed after its last update
            for topic, last in (
                (topics.LATEST, None),
                (topics.ROUTED, CHUNKS_UNDER_WAY * CHUNK_RECORDS),
            ):
                name = self.settings.topic(topic.name)
                async for record in read_to_end(servers, name, partition, last=last):
                    book.recall(msgspec.json.decode(record.value, type=RoutedPrice))

    async def _follow(self) -> None:
        name = self.settings.topic(topics.TRANSITIONS.name)
        async with contextlib.aclosing(
            follow(self.settings.kafka_bootstrap_servers, name)
        ) as records:
            async for record in records:
                following = forward.route_of(_transition(record))
                if following.epoch > self._route.epoch:
                    self._route = following
                    await self._switch()

    async def _switch(self) -> None:
        log.info("switched", epoch=self._route.epoch, source=self._route.source)
        for partition, book in list(self._books.items()):
            # Decided and handed over without a pause in between: ticks that come meanwhile go out
            # after these, or make them old news.
            await self._deliver(partition, book.switch(self._route, time.time_ns()), None)

    async def _forward(self, event: Any) -> None:
        partition = event.value[0].partition
        book, now = self._books[partition], time.time_ns()
        prices = [
            price
            for record in event.value
            if (tick := self.decode(self._decoder, record)) is not None
            and (price := book.take(tick, self._route, now)) is not None
        ]
        self.count("ok", len(event.value))
        await self._deliver(partition, prices, event)

    async def _deliver(self, partition: int, prices: list[RoutedPrice], event: Any) -> None:
        if not prices:
            if event is not None:
                event.ack()
            return
        routed = await self.send(topics.ROUTED, partition, [_price_record(p) for p in prices])
        await self.deliveries.acknowledge_after(self._latest(partition, prices, routed), event)

    async def _latest(
        self, partition: int, prices: list[RoutedPrice], routed: Awaitable[Any]
    ) -> None:
        # The table never runs ahead of the log that it is a table of: a restart relies on it.
        await routed
        newest = {price.symbol: price for price in prices}
        await (
            await self.send(topics.LATEST, partition, [_price_record(p) for p in newest.values()])
        )


def _transition(record: ConsumerRecord) -> RouterTransition:
    return msgspec.json.decode(record.value, type=RouterTransition)


def _price_record(price: RoutedPrice) -> Record:
    return Record(price.symbol.encode(), _encode(price), price.routed_at_ns // 1_000_000)
