"""`python -m sinks.prometheus`: reads the log from its end on, and exposes what it says."""

import asyncio
import sys
import time

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from infra.clock import now_ns
from infra.logs import configure_logging
from infra.process import live, no_broker
from infra.settings import StageSettings, load
from infra.telemetry import Meters
from infra.traces.current import taking
from infra.traces.kafka import process_span
from infra.traces.settings import TraceSettings
from infra.traces.span import traced
from infra.traces.tracer import open_tracer
from processors.validate import UNREADABLE
from sinks.prometheus.lag import Lags
from sinks.prometheus.measure import MEASURED, Count, Level, Levels, Observations, Sample

log = structlog.get_logger()

STAGE = "prometheus"
#: Nobody scrapes so often that half a second counts: few fetches, each of much, and not one for
#: every record that is produced, which would cost Kafka and the sink a good part of a core.
FETCH_BYTES = 1 << 20
FETCH_WAIT_MS = 500


class PrometheusSink:
    """Feeds the meters from the tail of the log. It has no group: each instance sees all of it."""

    def __init__(self, settings: StageSettings, traces: TraceSettings | None = None) -> None:
        self._settings = settings
        self._meters = Meters("prices", "lag")
        self._tracer = open_tracer(STAGE, traces, self._meters) if traces else None
        self._levels = Levels()
        self._measured = {settings.topic(topic.name): of for topic, of in MEASURED.items()}
        self._waiting_for: str | None = "Kafka"

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code."""
        return await live(
            self._read,
            settings=self._settings,
            meters=self._meters,
            waiting_for=lambda: self._waiting_for,
            before_scrape=self._forget,
            tracer=self._tracer,
        )

    async def _read(self, stop: asyncio.Event) -> int:
        servers = self._settings.kafka_bootstrap_servers
        consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            enable_auto_commit=False,
            fetch_min_bytes=FETCH_BYTES,
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
        except KafkaConnectionError as error:
            await consumer.stop()
            raise no_broker(servers) from error
        try:
            partitions = [
                TopicPartition(self._settings.topic(topic.name), partition)
                for topic in MEASURED
                for partition in range(topic.partitions)
            ]
            consumer.assign(partitions)
            await consumer.seek_to_end(*partitions)
            async with Lags(self._settings, self._meters):
                self._waiting_for = None
                while not stop.is_set():
                    fetched = await consumer.getmany(timeout_ms=250)
                    for tp, records in fetched.items():
                        self._take(tp.topic, self._traced(tp.topic, records))
        finally:
            await consumer.stop()
        return 0

    def _traced(self, topic: str, records: list[ConsumerRecord]) -> list[ConsumerRecord]:
        """Take those of records that are traced, each an example; return the others."""
        found = traced(records) if self._tracer else []
        if not self._tracer or not found:
            return records
        for record, parent in found:
            since_ns = now_ns()
            self._take(topic, [record], parent.trace_id)
            span = process_span(
                record,
                parent,
                stage=STAGE,
                start_ns=since_ns,
                end_ns=now_ns(),
                batch=len(records),
            )
            self._tracer.tell(span)
        offsets = {record.offset for record, _ in found}
        return [record for record in records if record.offset not in offsets]

    def _take(self, topic: str, records: list[ConsumerRecord], trace: int | None = None) -> None:
        measure = self._measured[topic]
        try:
            self._feed(measure(record.value for record in records), trace)
        except UNREADABLE:
            # one of them is not ours: the others still count
            for record in records:
                try:
                    self._feed(measure([record.value]))
                except UNREADABLE as error:
                    place = f"{topic}/{record.partition}/{record.offset}"
                    with taking(record, STAGE):
                        log.warning("record_unreadable", place=place, error=str(error))

    def _feed(self, samples: list[Sample], trace: int | None = None) -> None:
        for sample in samples:
            match sample:
                case Count(name, labels, amount):
                    self._meters.add(name, amount, **labels)
                case Observations(name, labels, values) if trace is None:
                    self._meters.observe_all(name, values, **labels)
                case Observations(name, labels, values):
                    for value in values:
                        self._meters.observe(name, value, trace, **labels)
                case Level(name, labels, value):
                    self._meters.set(name, value, **labels)
                    self._levels.told(sample, time.monotonic())

    def _forget(self) -> None:
        """Let go of what was told too long ago to be so now."""
        for name, labels in self._levels.expired(time.monotonic()):
            self._meters.remove(name, **labels)


def main() -> int:
    """Run the sink, and return the exit code."""
    settings, traces = load(StageSettings), load(TraceSettings)
    configure_logging("prometheus-sink", settings.log_level)

    async def run() -> int:
        return await PrometheusSink(settings, traces).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
