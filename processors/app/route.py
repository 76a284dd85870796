"""The route stage: `sources.status` and `ops.commands` to `router.transitions`.

Whoever owns the one partition of its inputs is the router. This drives `processors.office` with
Kafka's records and the clock, and tells the metrics what came of it.
"""

import asyncio
import time
from typing import Any

import msgspec
import structlog
from aiokafka.errors import KafkaError

from infra import topics
from infra.catalogue import ROUTER_STATES
from infra.clock import now_ns
from infra.kafka.batches import Record
from infra.kafka.read import read_to_end
from infra.traces.current import within
from infra.traces.settings import TraceSettings
from processors.app.route_logs import KafkaLogs
from processors.app.stage import Stage
from processors.app.traces import transition_context
from processors.deliver import end_process
from processors.events import SessionChanged
from processors.evidence import NS
from processors.office import Office
from processors.route import AWAY_NS, GRID_NS, Decision
from processors.sessions import session_changed
from processors.settings import ProcessorSettings

log = structlog.get_logger()

_encode = msgspec.json.Encoder().encode


class Route(Stage):
    """The router, while it owns the partition of its inputs.

    Whoever is the router also writes the market's sessions, for those who know no calendar.
    """

    def __init__(self, settings: ProcessorSettings, traces: TraceSettings | None = None) -> None:
        super().__init__("route", settings, "router", traces=traces)
        self._logs = KafkaLogs(self)
        self._calendar = settings.calendar
        self._office = Office(self._logs, self._calendar)
        self._looked_at = 0
        self._session: SessionChanged | None = None
        self._stepping = asyncio.Lock()
        self._accrued_at = time.monotonic()
        self.reads(self._learn, topics.SOURCES_STATUS, topics.COMMANDS)
        self.app.task(self._look_on_the_grid)

    async def begin(self) -> None:
        """Open the log of looks."""
        await self._logs.start()

    async def end(self) -> None:
        """Close it."""
        await self._logs.stop()

    def _is_ours(self) -> bool:
        return 0 in self.partitions_of(topics.SOURCES_STATUS)

    async def recover(self) -> None:
        """Become the router where the partition is ours, and stop being it where it is not."""
        async with self._stepping:
            self._office.leave()
            if self._is_ours():
                await self._enter()
            self._show()

    def _show(self) -> None:
        """Expose the router's state; where we are not the router, it is not ours to tell."""
        router = self._office.router
        if router is not None and router.state != "STARTUP":
            self.meters.state("datasource_router_state", router.state)
        else:
            for state in ROUTER_STATES:
                self.meters.remove("datasource_router_state", state=state)
        self.meters.set("datasource_router_held", float(router is not None and router.held))

    async def _enter(self) -> None:
        servers = self.settings.kafka_bootstrap_servers
        async for record in read_to_end(servers, self.settings.topic(topics.SESSIONS.name), 0):
            session = msgspec.json.decode(record.value, type=SessionChanged)
            if session.market == self._calendar.name:
                self._session = session
        left = await self._office.enter(now_ns())
        self._looked_at = now_ns()
        self._accrued_at = time.monotonic()
        for decision in left:
            self._announce(decision)
        router = self._office.router
        if router is None:
            log.warning("office_lost", generation=self._office.generation)
            return
        log.info(
            "router_recovered",
            state=router.state,
            epoch=router.epoch,
            generation=self._office.generation,
            held=router.held,
            left=len(left),
        )

    async def _learn(self, event: Any) -> None:
        commands = event.value[0].topic == self.settings.topic(topics.COMMANDS.name)
        for record in event.value:
            if commands:
                command = self._logs.command(record)
                self._office.learn_command(record.offset, command)
                if command is not None:
                    log.info("command", offset=record.offset, **msgspec.to_builtins(command))
            else:
                self._office.learn_fact(record.offset, self._logs.fact(record))
        self.count("ok", len(event.value))
        # how far it was read is in the log of looks
        event.ack()

    async def _look_on_the_grid(self) -> None:
        while not self.app.should_stop:
            await asyncio.sleep((GRID_NS - now_ns() % GRID_NS) / NS)
            async with self._stepping:
                if self._is_ours() and not self.app.rebalancing:
                    try:
                        await self._look(now_ns() // GRID_NS * GRID_NS)
                    except KafkaError as error:
                        end_process("look_not_written", error)

    async def _look(self, now: int) -> None:
        """Let what has come decide, at a point of the grid; what comes of it is in the log then."""
        if self._office.router is None:
            # somebody else began after us, and the partition is still ours
            await self._enter()
            self._show()
        late_ns, self._looked_at = now - self._looked_at, now
        if late_ns == 0:
            return
        if late_ns > AWAY_NS:
            # we were kept from looking: what came meanwhile may not have been handed to us yet
            await self._office.catch_up()
        decision = await self._office.look(now)
        if decision is not None:
            self._announce(decision)
        if self._office.router is None:
            log.warning("office_lost", generation=self._office.generation)
        if decision is not None or self._office.router is None:
            self._show()
        session = session_changed(self._calendar, self._session, now)
        if session is not None and self._office.router is not None:
            await self._begin_session(session)

    async def _begin_session(self, session: SessionChanged) -> None:
        record = Record(session.market.encode(), _encode(session), session.at_ns // 1_000_000)
        await (await self.send(topics.SESSIONS, 0, [record]))
        self._session = session
        log.info("session_began", **msgspec.to_builtins(session))

    def _announce(self, decision: Decision) -> None:
        meters = self.meters
        if decision.answer is not None:
            log.info("answered", **msgspec.to_builtins(decision.answer))
        transition = decision.transition
        if transition is None:
            return
        self.before_scrape()
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
        for name, duration_ns in (
            ("datasource_router_recovery_time_seconds", decision.recovery_ns),
            ("datasource_router_restoration_time_seconds", decision.restoration_ns),
        ):
            if duration_ns is not None:
                meters.observe(name, duration_ns / NS)
        with within(transition_context(transition) if self.tracer else None):
            log.info("switched", **msgspec.to_builtins(transition))

    def before_scrape(self) -> None:
        """Accrue the time spent in the present state, and look whether the market is open."""
        is_open = self._calendar.state(now_ns()) == "regular"
        self.meters.set("market_session_open", float(is_open), market="XNYS")
        now = time.monotonic()
        elapsed, self._accrued_at = now - self._accrued_at, now
        router = self._office.router
        if router is not None and router.state != "STARTUP":
            self.meters.add(
                "datasource_router_state_duration_seconds_total", elapsed, state=router.state
            )
