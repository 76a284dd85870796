"""The Faust apps: one a stage, each with one thin agent around a pure function.

`python -m processors validate|route|forward` runs one. A stage is a consumer group, so that any
number of processes share its partitions; `route` reads a topic of one partition, and whoever owns
it is the router.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import faust
import msgspec
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError, KafkaError

from infra import topics
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.read import Tail, follow, read_to_end
from infra.process import live, no_broker
from infra.settings import EX_SOFTWARE
from infra.telemetry import Meters
from ingest.events import SourceStatus, SymbolsFollowed
from processors import forward, route
from processors.chunks import CHUNK_RECORDS, ChunkSchema, chunk_app
from processors.deliver import CHUNKS_UNDER_WAY, Deliveries, end_process
from processors.events import (
    RejectedTick,
    RoutedPrice,
    RouterTransition,
    SessionChanged,
    ValidTick,
)
from processors.settings import ProcessorSettings
from processors.validate import UNREADABLE, Position, judge_all

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode


class Stage:
    """What the three stages share: an app, a producer, meters, and the way up and down."""

    def __init__(self, name: str, settings: ProcessorSettings, *about: Any) -> None:
        self.name = name
        self.settings = settings
        self.meters = Meters("pipeline", *about, stage=name)
        self.producer = BatchProducer(settings.kafka_bootstrap_servers, client_id=name)
        self.deliveries = Deliveries()
        self._datadir = tempfile.TemporaryDirectory(prefix="twinfeed-")
        self.app = chunk_app(
            settings.topic(name),
            bootstrap_servers=settings.kafka_bootstrap_servers,
            datadir=self._datadir.name,
            member=settings.member_name,
        )
        self.waiting_for: str | None = "its partitions"
        self.app.on_rebalance_complete.connect(self._assigned)  # type: ignore[arg-type]

    def reads(
        self, process: Callable[[Any], Coroutine[Any, Any, None]], *inputs: topics.Topic
    ) -> None:
        """Have `process` take the chunks of `inputs`, one event each; it acknowledges them."""

        async def agent(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    await process(event)
                except Exception as error:  # noqa: BLE001  # a bug of ours: Faust would go on past it
                    end_process("chunk_failed", error)

        names = (self.settings.topic(topic.name) for topic in inputs)
        self.app.agent(self.app.topic(*names, schema=ChunkSchema()), name=self.name)(agent)

    def send(
        self, topic: topics.Topic, partition: int, records: list[Record]
    ) -> Awaitable[Awaitable[Any]]:
        """Hand records over for one partition of a declared topic."""
        return self.producer.send(self.settings.topic(topic.name), partition, records, topic.header)

    def count(self, result: str, amount: int = 1) -> None:
        """Count records that left this stage."""
        self.meters.add("pipeline_records_processed_total", amount, stage=self.name, result=result)

    def decode(self, decoder: msgspec.json.Decoder[Any], record: ConsumerRecord) -> Any:
        """Return the event in a record; None, counted and logged with its place, if it is none."""
        try:
            return decoder.decode(record.value)
        except UNREADABLE as error:
            place = f"{record.topic}/{record.partition}/{record.offset}"
            log.warning("record_unreadable", place=place, error=str(error))
            self.count("dead_letter")
            return None

    def partitions_of(self, topic: topics.Topic) -> set[int]:
        """Return which partitions of a topic this process owns."""
        name = self.settings.topic(topic.name)
        return {tp.partition for tp in self.app.consumer.assignment() if tp.topic == name}

    async def recover(self) -> None:
        """Take up the state of the partitions that were assigned, before any tick flows."""

    async def begin(self) -> None:
        """Do what must be done before the app starts."""

    async def end(self) -> None:
        """Undo what `begin` did."""

    async def _assigned(self, _app: faust.App, **_: Any) -> None:
        try:
            await self.recover()
        except (KafkaError, *UNREADABLE) as error:
            end_process("recovery_failed", error)
        self.waiting_for = None
        owned = sorted(f"{tp.topic}/{tp.partition}" for tp in self.app.consumer.assignment())
        log.info("assigned", partitions=owned)

    def before_scrape(self) -> None:
        """Bring metrics up to date that accrue with time."""

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code."""
        return await live(
            self._live,
            settings=self.settings,
            meters=self.meters,
            waiting_for=lambda: self.waiting_for,
            before_scrape=self.before_scrape,
        )

    async def _live(self, stop: asyncio.Event) -> int:
        asked = asyncio.ensure_future(stop.wait())
        starting = asyncio.ensure_future(self._start())
        await asyncio.wait({starting, asked}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            # Faust cannot be stopped half started; nothing is under way that would not be replayed
            log.info("ended_while_starting")
            os._exit(0)
        try:
            starting.result()
            crashed = asyncio.ensure_future(self.app.wait_until_stopped())
            await asyncio.wait({crashed, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                log.critical("stopped_by_itself", error=repr(self.app.crash_reason))
            await self.app.stop()
        finally:
            await self.end()
            await self.producer.stop()
            self._datadir.cleanup()
        return 0 if stop.is_set() else EX_SOFTWARE

    async def _start(self) -> None:
        try:
            await self.producer.start()
        except KafkaConnectionError as error:
            raise no_broker(self.settings.kafka_bootstrap_servers) from error
        await self.begin()
        await self.app.start()


_followed = msgspec.json.Decoder(SymbolsFollowed)


class Validate(Stage):
    """`ticks.raw.*` to `ticks.valid` and `ticks.rejected`.

    A list of symbols is in `sources.symbols` before anyone is asked for their ticks. So whoever
    finds a symbol that it does not know reads that log to its end before it calls it unknown. That
    costs a question to the broker for each chunk with such a symbol in it, and nothing for others.
    """

    def __init__(self, settings: ProcessorSettings) -> None:
        super().__init__("validate", settings)
        #: Grows only: ticks of a symbol may come shortly after it was given back, or from the past.
        self._known = set(settings.symbols)
        self._followed = Tail(
            settings.kafka_bootstrap_servers, settings.topic(topics.SOURCES_SYMBOLS.name)
        )
        self.reads(self._judge, topics.RAW_ALPACA, topics.RAW_YAHOO)

    async def begin(self) -> None:
        """Learn which symbols the sources follow."""
        await self._followed.start()
        await self._learn()

    async def end(self) -> None:
        """Follow them no more."""
        await self._followed.stop()

    async def _learn(self) -> bool:
        """Read what the sources follow now; say whether any of it is new."""
        before = len(self._known)
        for record in await self._followed.fresh():
            # a record without a value deletes a source's row, not what was known of it
            followed = self.decode(_followed, record) if record.value else None
            if followed is not None:
                self._known.update(followed.symbols)
        return len(self._known) > before

    async def _judge(self, event: Any) -> None:
        chunk: list[ConsumerRecord] = event.value
        valid, rejected = self._verdicts(chunk)
        if any(tick.reason == "unknown_symbol" for tick in rejected) and await self._learn():
            valid, rejected = self._verdicts(chunk)
        partition = chunk[0].partition
        sends = [
            await self.send(topic, partition, [_tick_record(tick) for tick in verdicts])
            for topic, verdicts in ((topics.VALID, valid), (topics.REJECTED, rejected))
            if verdicts
        ]
        self.count("ok", len(chunk))
        await self.deliveries.acknowledge_after(asyncio.gather(*sends), event)

    def _verdicts(self, chunk: list[ConsumerRecord]) -> tuple[list[ValidTick], list[RejectedTick]]:
        return judge_all(
            (
                (r.value or b"", Position(r.topic, r.partition, r.offset, r.timestamp))
                for r in chunk
            ),
            self._known,
        )


def _tick_record(tick: Any) -> Record:
    return Record(tick.symbol.encode(), _encode(tick), tick.received_at_ns // 1_000_000)


#: How often the router looks at the clock where no fact comes.
TICK_S = 0.25

#: How many facts a new owner looks back at, to know how the sources stand: five minutes of them.
FACTS_BACK = 600


class Route(Stage):
    """`sources.status` to `router.transitions`. Its state is the fold of both logs.

    Whoever is the router also writes the market's sessions, for those who know no calendar.
    """

    def __init__(self, settings: ProcessorSettings) -> None:
        super().__init__("route", settings, "router")
        self._decoder = msgspec.json.Decoder(SourceStatus)
        self._router: route.Router | None = None
        self._calendar = settings.calendar
        self._session: SessionChanged | None = None
        self._stepping = asyncio.Lock()
        self._accrued_at = time.monotonic()
        self.reads(self._learn, topics.SOURCES_STATUS)
        self.app.task(self._tick)

    async def recover(self) -> None:
        """Become the router where the partition is ours, and stop being it where it is not."""
        if 0 not in self.partitions_of(topics.SOURCES_STATUS):
            self._router = None
            return
        servers = self.settings.kafka_bootstrap_servers
        last = None
        async for record in read_to_end(servers, self.settings.topic(topics.TRANSITIONS.name), 0):
            last = msgspec.json.decode(record.value, type=RouterTransition)
        async for record in read_to_end(servers, self.settings.topic(topics.SESSIONS.name), 0):
            session = msgspec.json.decode(record.value, type=SessionChanged)
            if session.market == self._calendar.name:
                self._session = session
        facts = [
            (record.offset, fact)
            async for record in read_to_end(
                servers, self.settings.topic(topics.SOURCES_STATUS.name), 0, last=FACTS_BACK
            )
            if (fact := self._fact(record))
        ]
        now = time.time_ns()
        state, epoch = (last.to_state, last.epoch) if last else ("STARTUP", 0)
        router = route.begin(facts[0][1].at_ns if facts else now, state=state, epoch=epoch)
        for offset, fact in facts:
            router = route.observe(router, fact, offset)
        self._router = route.resume(router, now)
        if state != "STARTUP":
            self.meters.state("datasource_router_state", state)
        log.info("router_recovered", state=state, epoch=epoch, facts=len(facts))

    def _fact(self, record: ConsumerRecord) -> SourceStatus | None:
        fact: SourceStatus | None = self.decode(self._decoder, record)
        return fact

    async def _learn(self, event: Any) -> None:
        for record in event.value:
            fact = self._fact(record)
            if fact is not None and self._router is not None:
                self._router = route.observe(self._router, fact, record.offset)
        await self._step()
        self.count("ok", len(event.value))
        event.ack()

    async def _tick(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep(TICK_S)
            await self._step()

    async def _step(self) -> None:
        """Let the clock and what is known decide; on return the decision is in the log."""
        async with self._stepping:
            if self._router is None or self.app.rebalancing:
                return
            now = time.time_ns()
            router, transition = route.advance(self._router, now)
            if transition is not None:
                try:
                    await (await self.send(topics.TRANSITIONS, 0, [_transition_record(transition)]))
                except KafkaError as error:
                    end_process("transition_not_written", error)
                self._router = replace(self._router, state=router.state, epoch=router.epoch)
                self._announce(transition)
            session = route.session_changed(self._calendar, self._session, now)
            if session is not None:
                await self._begin_session(session)

    async def _begin_session(self, session: SessionChanged) -> None:
        record = Record(session.market.encode(), _encode(session), session.at_ns // 1_000_000)
        try:
            await (await self.send(topics.SESSIONS, 0, [record]))
        except KafkaError as error:
            end_process("session_not_written", error)
        self._session = session
        log.info("session_began", **msgspec.to_builtins(session))

    def _announce(self, transition: RouterTransition) -> None:
        self.before_scrape()
        meters = self.meters
        meters.state("datasource_router_state", transition.to_state)
        labels: dict[str, str] = {
            "from": transition.from_state,
            "to": transition.to_state,
            "reason": transition.reason,
        }
        meters.add("datasource_router_transitions_total", 1, **labels)
        if transition.from_state == "PRIMARY_ACTIVE":
            meters.add("datasource_router_failover_total")
            meters.set(
                "datasource_router_last_failover_timestamp_seconds",
                transition.switched_at_ns / route.NS,
            )
        if transition.from_state == "PRIMARY_ACTIVE" and transition.to_state == "FALLBACK_ACTIVE":
            meters.observe(
                "datasource_router_recovery_time_seconds",
                (transition.switched_at_ns - transition.detected_at_ns) / route.NS,
            )
        log.info("switched", **msgspec.to_builtins(transition))

    def before_scrape(self) -> None:
        """Accrue the time spent in the present state, and look whether the market is open."""
        is_open = self._calendar.state(time.time_ns()) == "regular"
        self.meters.set("market_session_open", float(is_open), market="XNYS")
        now = time.monotonic()
        elapsed, self._accrued_at = now - self._accrued_at, now
        if self._router is not None and self._router.state != "STARTUP":
            self.meters.add(
                "datasource_router_state_duration_seconds_total",
                elapsed,
                state=self._router.state,
            )


def _transition_record(transition: RouterTransition) -> Record:
    return Record(b"router", _encode(transition), transition.switched_at_ns // 1_000_000)


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


STAGES: dict[str, Callable[[ProcessorSettings], Stage]] = {
    "validate": Validate,
    "route": Route,
    "forward": Forward,
}
