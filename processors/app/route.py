"""The route stage: `sources.status` to `router.transitions`; whoever owns the partition is it."""

import asyncio
import time
from dataclasses import replace
from typing import Any

import msgspec
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError

from infra import topics
from infra.kafka.batches import Record
from infra.kafka.read import read_to_end
from ingest.events import SourceStatus
from processors import route
from processors.app.stage import Stage
from processors.deliver import end_process
from processors.events import RouterTransition, SessionChanged
from processors.settings import ProcessorSettings

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode

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
