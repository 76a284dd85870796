"""A stage of ingest as a process: wired once, run until told to end, and ended in order."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import structlog
from aiokafka.errors import KafkaConnectionError

from infra.kafka.batches import BatchProducer
from infra.process import CannotStartError, live, no_broker
from infra.settings import EX_SOFTWARE, EX_UNAVAILABLE, StageSettings
from infra.telemetry import Meters
from infra.topics import Topic
from ingest.publish import DeliveryFailedError, Producer, Publisher

#: How long the records in hand may take to be delivered once we were told to end; a supervisor that
#: says SIGTERM kills after ten.
DRAIN_S = 5.0

_log = structlog.get_logger()


class Worker(Protocol):
    """What runs in a stage."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        ...

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        ...


class Stage:
    """One worker's process.

    Args:
        name: `alpaca` or `yahoo`.
        settings: what every stage needs to know.
        meters: what it exposes.
        topics: what it writes; they must be there.
        build: makes the worker, once Kafka is reached.
        delivered: as in `Publisher`.
        undelivered: told when a delivery failed for good, before the process ends.

    """

    def __init__(
        self,
        name: str,
        *,
        settings: StageSettings,
        meters: Meters,
        topics: Iterable[Topic],
        build: Callable[[Publisher], Worker],
        delivered: Callable[[Topic, Iterable[int]], None] = lambda _topic, _received: None,
        undelivered: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._meters = meters
        self._topics = tuple(topics)
        self._build = build
        self._delivered = delivered
        self._undelivered = undelivered
        self._worker: Worker | None = None

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a fault; return the exit code."""
        return await live(
            self._produce,
            settings=self._settings,
            meters=self._meters,
            waiting_for=lambda: None if self._worker else "Kafka",
            before_scrape=self._refresh,
        )

    def _refresh(self) -> None:
        if self._worker:
            self._worker.refresh()

    async def _produce(self, stop: asyncio.Event) -> int:
        servers = self._settings.kafka_bootstrap_servers
        producer = BatchProducer(servers, client_id=f"twinfeed-{self._name}")
        try:
            await producer.start()
        except KafkaConnectionError as error:
            raise no_broker(servers) from error
        try:
            for topic in self._topics:
                await self._find(topic, producer)
            return await self._work(producer, stop)
        finally:
            await _stop_producer(producer)

    async def _find(self, topic: Topic, producer: BatchProducer) -> None:
        """Make sure that `topic` is on the broker as declared. Raises CannotStartError."""
        name = self._settings.topic(topic.name)
        partitions = await producer.partitions_of(name)
        if not partitions:
            message = f"topic {name} is not on the Kafka cluster: create the topics first"
            raise CannotStartError(EX_UNAVAILABLE, message)
        if partitions != topic.partitions:
            message = f"topic {name} has {partitions} partitions: expected {topic.partitions}"
            raise CannotStartError(EX_UNAVAILABLE, message)

    async def _work(
        self, producer: Producer, stop: asyncio.Event, *, drain_s: float = DRAIN_S
    ) -> int:
        """Run the worker until told to end or until a delivery fails; return the exit code."""
        publisher = Publisher(producer, topic_name=self._settings.topic, delivered=self._delivered)
        async with publisher.running():
            self._worker = self._build(publisher)
            working = asyncio.create_task(self._worker.run(stop))
            failing = asyncio.create_task(publisher.failed())
            try:
                await asyncio.wait({working, failing}, return_when=asyncio.FIRST_COMPLETED)
                if working.done():
                    working.result()
                    async with asyncio.timeout(drain_s):
                        await publisher.drain()
                    return 0
                await failing
            except DeliveryFailedError as failure:
                self._undelivered()
                _log.error("delivery_failed", detail=str(failure))
            except TimeoutError:
                _log.error("undelivered", bytes=publisher.held_bytes, after_s=drain_s)
            finally:
                working.cancel()
                failing.cancel()
                await asyncio.gather(working, failing, return_exceptions=True)
        return EX_SOFTWARE


async def _stop_producer(producer: BatchProducer) -> None:
    """Disconnect. What was not delivered by now has been reported, so a broker may not hold us."""
    try:
        async with asyncio.timeout(DRAIN_S):
            await producer.stop()
    except TimeoutError:
        _log.warning("kafka_did_not_say_goodbye", after_s=DRAIN_S)
