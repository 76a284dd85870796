"""The route stage: `sources.status` and `ops.commands` to `router.transitions`.

Whoever owns the one partition of its inputs is the router.
"""

import asyncio
import time
from dataclasses import replace
from typing import Any

import msgspec
import structlog
from aiokafka.errors import KafkaError

from infra import topics
from infra.clock import now_ns
from infra.commands import Command
from infra.fence import Story
from infra.kafka.batches import Record
from infra.kafka.read import Tail, read_to_end
from ingest.events import SourceStatus
from processors import route
from processors.app.stage import Stage
from processors.deliver import end_process
from processors.events import RouterTransition, SessionChanged
from processors.evidence import NS
from processors.sessions import session_changed
from processors.settings import ProcessorSettings

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode
_transition = msgspec.json.Decoder(RouterTransition)

#: How often the router looks at the clock where no fact comes.
TICK_S = 0.25

#: How many facts a new owner looks back at, to know how the sources stand: five minutes of them.
FACTS_BACK = 600


class Route(Stage):
    """The router. Its state is the fold of its log, its knowledge that of its inputs.

    It reads its own log back after every transition that it writes: what a former router wrote too
    late may have come before, and then that counts (see `fence`).

    Whoever is the router also writes the market's sessions, for those who know no calendar.
    """

    def __init__(self, settings: ProcessorSettings) -> None:
        super().__init__("route", settings, "router")
        self._facts = msgspec.json.Decoder(SourceStatus)
        self._commands = msgspec.json.Decoder(Command)
        self._router: route.Router | None = None
        self._log = Tail(settings.kafka_bootstrap_servers, settings.topic(topics.TRANSITIONS.name))
        #: What counts of the log, and how it stands.
        self._counted: list[RouterTransition] = []
        self._story = Story()
        self._calendar = settings.calendar
        self._session: SessionChanged | None = None
        self._stepping = asyncio.Lock()
        self._accrued_at = time.monotonic()
        self.reads(self._learn, topics.SOURCES_STATUS, topics.COMMANDS)
        self.app.task(self._tick)

    async def begin(self) -> None:
        """Open the log of transitions."""
        await self._log.start()

    async def end(self) -> None:
        """Close it."""
        await self._log.stop()

    async def recover(self) -> None:
        """Become the router where the partition is ours, and stop being it where it is not."""
        async with self._stepping:
            self._router = None
            if 0 in self.partitions_of(topics.SOURCES_STATUS):
                self._router = await self._recalled()

    async def _recalled(self) -> route.Router:
        """Return the router as the logs tell it."""
        await self._read_log()
        servers = self.settings.kafka_bootstrap_servers
        async for record in read_to_end(servers, self.settings.topic(topics.SESSIONS.name), 0):
            session = msgspec.json.decode(record.value, type=SessionChanged)
            if session.market == self._calendar.name:
                self._session = session
        status = self.settings.topic(topics.SOURCES_STATUS.name)
        facts = [
            (record.offset, fact)
            async for record in read_to_end(servers, status, 0, last=FACTS_BACK)
            if (fact := self.decode(self._facts, record))
        ]
        now = now_ns()
        router = route.begin(
            facts[0][1].at_ns if facts else now,
            generation=max(self._story.generation + 1, self.app.consumer_generation_id),
            calendar=self._calendar,
        )
        for transition in self._counted:
            router = route.after(router, transition)
        for offset, fact in facts:
            router = route.observe(router, fact, offset)
        carried_out = self._counted[-1].command_offset if self._counted else -1
        asked = self.settings.topic(topics.COMMANDS.name)
        async for record in read_to_end(servers, asked, 0):
            if command := self.decode(self._commands, record):
                router = route.obey(router, command, record.offset)
                if record.offset <= carried_out:
                    router = replace(router, asked=None)
        router = route.resume(router, now)
        if router.state != "STARTUP":
            self.meters.state("datasource_router_state", router.state)
        self.meters.set("datasource_router_held", float(router.held))
        log.info(
            "router_recovered",
            state=router.state,
            epoch=router.epoch,
            generation=router.generation,
            held=router.held,
            facts=len(facts),
        )
        return router

    async def _read_log(self) -> None:
        """Take up what has come to count of the log."""
        for record in await self._log.fresh():
            transition = _transition.decode(record.value)
            if not self._story.accepts(transition):
                log.warning("transition_too_late", **msgspec.to_builtins(transition))
                continue
            self._story = self._story.after(transition)
            self._counted.append(transition)
            if self._router is not None:
                self._router = route.after(self._router, transition)

    async def _learn(self, event: Any) -> None:
        commands = event.value[0].topic == self.settings.topic(topics.COMMANDS.name)
        for record in event.value:
            heard = self.decode(self._commands if commands else self._facts, record)
            if heard is not None and self._router is not None:
                take = route.obey if commands else route.observe
                self._router = take(self._router, heard, record.offset)
                if commands:
                    log.info("command", offset=record.offset, **msgspec.to_builtins(heard))
                    self.meters.set("datasource_router_held", float(self._router.held))
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
            before = self._router
            if before is None or self.app.rebalancing:
                return
            now = now_ns()
            router, transition = route.advance(before, now)
            if before.asked and (transition is None or transition.reason != "manual"):
                log.warning("command_refused", **msgspec.to_builtins(before.asked))
            # where it is now is for the log to say
            self._router = replace(
                router, state=before.state, epoch=before.epoch, failovers=before.failovers
            )
            if transition is not None:
                await self._write(transition)
            session = session_changed(self._calendar, self._session, now)
            if session is not None:
                await self._begin_session(session)

    async def _write(self, transition: RouterTransition) -> None:
        """Write a transition, and go where the log says."""
        try:
            await (await self.send(topics.TRANSITIONS, 0, [_transition_record(transition)]))
            await self._read_log()
        except KafkaError as error:
            end_process("transition_not_written", error)
        if self._counted and self._counted[-1] == transition:
            self._announce(transition)

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
                transition.switched_at_ns / NS,
            )
        if transition.from_state == "PRIMARY_ACTIVE" and transition.to_state == "FALLBACK_ACTIVE":
            meters.observe(
                "datasource_router_recovery_time_seconds",
                (transition.switched_at_ns - transition.detected_at_ns) / NS,
            )
        log.info("switched", **msgspec.to_builtins(transition))

    def before_scrape(self) -> None:
        """Accrue the time spent in the present state, and look whether the market is open."""
        is_open = self._calendar.state(now_ns()) == "regular"
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
