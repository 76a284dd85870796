"""What the stages share: a Faust app, a producer, meters, and the way up and down.

A stage is a consumer group, so that any number of processes share its partitions.
"""

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import faust
import msgspec
import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.types import TP

from infra import topics
from infra.kafka.batches import BatchProducer, Record
from infra.process import live, no_broker
from infra.settings import EX_SOFTWARE
from infra.telemetry import Meters
from infra.traces.current import taking
from infra.traces.settings import TraceSettings
from infra.traces.tracer import open_tracer
from processors.app.traces import Passage, RawPlace, Switch
from processors.chunks import ChunkSchema, chunk_app
from processors.deliver import Deliveries, end_process
from processors.settings import ProcessorSettings
from processors.validate import UNREADABLE

log = structlog.get_logger()


class Stage:
    """What the three stages share: an app, a producer, meters, and the way up and down."""

    def __init__(
        self,
        name: str,
        settings: ProcessorSettings,
        *about: Any,
        traces: TraceSettings | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.meters = Meters("pipeline", *about, stage=name)
        self.tracer = open_tracer(name, traces, self.meters) if traces else None
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
    ) -> Awaitable["asyncio.Future[Any]"]:
        """Hand records over for one partition of a declared topic."""
        return self.producer.send(self.settings.topic(topic.name), partition, records, topic.header)

    async def surely(self, topic: topics.Topic, partition: int, records: list[Record]) -> None:
        """Have records in the log before anything else; end the process where that fails."""
        try:
            await (await self.send(topic, partition, records))
        except KafkaError as error:
            end_process("not_written", error)

    def passage(
        self,
        records: Sequence[ConsumerRecord],
        place: Callable[[ConsumerRecord], RawPlace],
        switch: Switch | None = None,
    ) -> Passage | None:
        """Return the way of records' traces through this stage; None where nothing is traced."""
        if self.tracer is None:
            return None
        group = self.settings.topic(self.name)
        return Passage(
            self.tracer,
            stage=self.name,
            group=group,
            records=records,
            place=place,
            switch=switch,
        )

    def count(self, result: str, amount: int = 1) -> None:
        """Count records that left this stage."""
        self.meters.add("pipeline_records_processed_total", amount, stage=self.name, result=result)

    def decode(self, decoder: msgspec.json.Decoder[Any], record: ConsumerRecord) -> Any:
        """Return the event in a record; None, counted and logged with its place, if it is none."""
        try:
            return decoder.decode(record.value)
        except UNREADABLE as error:
            place = f"{record.topic}/{record.partition}/{record.offset}"
            with taking(record, self.name):
                log.warning("record_unreadable", place=place, error=str(error))
            self.count("dead_letter")
            return None

    def partitions_of(self, topic: topics.Topic) -> set[int]:
        """Return which partitions of a topic this process owns."""
        name = self.settings.topic(topic.name)
        return {tp.partition for tp in self.app.consumer.assignment() if tp.topic == name}

    async def committed(self, *of: topics.Topic) -> list[dict[int, int]]:
        """Return, by partition of ours, the offset from which each topic's records will come now.

        To be asked while the state is recovered. 0 where the group has committed nothing.
        """
        offsets = await self.app.consumer.seek_to_committed()  # type: ignore[attr-defined]
        names = [self.settings.topic(topic.name) for topic in of]
        return [
            {
                tp.partition: max(offset or 0, 0)
                for tp, offset in offsets.items()
                if tp.topic == name
            }
            for name in names
        ]

    def end_of(self, topic: topics.Topic, partition: int) -> int:
        """Return the offset at which a partition of ours ended when it was last looked at."""
        return self.app.consumer.highwater(TP(self.settings.topic(topic.name), partition)) or 0

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
            tracer=self.tracer,
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
