"""A stage of ingest as a process: wired once, run until told to end, and ended in order."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, Protocol, TypeVar

import structlog
from aiokafka.errors import KafkaConnectionError

from infra.kafka.batches import BatchProducer
from infra.process import CannotStartError, live, no_broker
from infra.settings import EX_SOFTWARE, EX_UNAVAILABLE, StageSettings
from infra.telemetry import Meters
from infra.topics import Topic
from infra.traces.tracer import Tracer
from ingest.losses import Losses
from ingest.publish import DeliveryFailedError, Producer, Publisher
from ingest.receipts import Receipts
from ingest.shed import LIMIT_BYTES

#: How long a worker may take to leave its vendor once we were told to end, then the records in hand
#: to be delivered, and then Kafka to say goodbye: a supervisor that says SIGTERM kills after ten.
LEAVE_S = 3.0
DRAIN_S = 5.0
GOODBYE_S = 1.0

_log = structlog.get_logger()


class Worker(Protocol):
    """What runs in a stage."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        ...

    def refresh(self) -> None:
        """Bring the gauges up to date."""
        ...


T = TypeVar("T")
W = TypeVar("W", bound=Worker)

Beside = Iterable[Coroutine[Any, Any, None]]


def _nothing_beside(_worker: Worker, _publisher: Publisher) -> Beside:
    return ()


class Stage(Generic[W]):
    """One worker's process.

    Args:
        name: `alpaca` or `yahoo`.
        settings: what every stage needs to know.
        meters: what it exposes.
        topics: what it writes; they must be there.
        build: makes the worker, once Kafka is reached.
        beside: makes what runs beside the worker, for as long: who watches for new keys, symbols
            or commands. One may end by itself; one that fails ends the stage.
        delivered: as in `Publisher`.
        undelivered: told when a delivery failed for good, before the process ends.
        limit_bytes: how much may be on its way to Kafka.
        losses: told of what is shed; without it nothing is shed.
        tracer: what spans are told to; None where nothing is traced.
        receipts: where traces of ticks begin.

    """

    def __init__(
        self,
        name: str,
        *,
        settings: StageSettings,
        meters: Meters,
        topics: Iterable[Topic],
        build: Callable[[Publisher], Awaitable[W]],
        beside: Callable[[W, Publisher], Beside] = _nothing_beside,
        delivered: Callable[[Topic, Iterable[int]], None] = lambda _topic, _received: None,
        undelivered: Callable[[], None] = lambda: None,
        limit_bytes: int = LIMIT_BYTES,
        losses: Losses | None = None,
        tracer: Tracer | None = None,
        receipts: Receipts | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._meters = meters
        self._topics = tuple(topics)
        self._build = build
        self._beside = beside
        self._delivered = delivered
        self._undelivered = undelivered
        self._limit_bytes = limit_bytes
        self._losses = losses
        self._tracer = tracer
        self._receipts = receipts
        self._worker: W | None = None
        self._publisher: Publisher | None = None

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, or until a fault; return the exit code."""
        return await live(
            self._produce,
            settings=self._settings,
            meters=self._meters,
            waiting_for=lambda: None if self._worker else "Kafka",
            before_scrape=self._refresh,
            tracer=self._tracer,
        )

    def _refresh(self) -> None:
        if self._worker:
            self._worker.refresh()
        if self._publisher and self._losses:
            self._losses.refresh(self._publisher)

    async def _produce(self, stop: asyncio.Event) -> int:
        servers = self._settings.kafka_bootstrap_servers
        producer = BatchProducer(servers, client_id=f"twinfeed-{self._name}", patient=True)
        try:
            if not await _before(stop, self._reach(producer)):
                return 0
            return await self._work(producer, stop)
        except KafkaConnectionError as error:
            raise no_broker(servers) from error
        finally:
            await _stop_producer(producer)

    async def _reach(self, producer: BatchProducer) -> bool:
        """Connect to Kafka, and find what we write to. Raises CannotStartError."""
        await producer.start()
        for topic in self._topics:
            await self._find(topic, producer)
        return True

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
        self,
        producer: Producer,
        stop: asyncio.Event,
        *,
        leave_s: float = LEAVE_S,
        drain_s: float = DRAIN_S,
    ) -> int:
        """Run the worker until told to end, or until something fails; return the exit code."""
        losses = self._losses
        publisher = Publisher(
            producer,
            topic_name=self._settings.topic,
            delivered=self._delivered,
            limit_bytes=self._limit_bytes,
            shed=(lambda change: losses.tell(change, publisher)) if losses else None,
            traced=self._receipts.delivered if self._receipts else None,
        )
        self._publisher = publisher
        async with publisher.running():
            worker = self._worker = await _before(stop, self._build(publisher))
            if worker is None:
                return 0 if await self._drain(publisher, drain_s) else EX_SOFTWARE
            working = asyncio.create_task(worker.run(stop), name=self._name)
            failing = asyncio.create_task(publisher.failed(), name="publisher")
            told = asyncio.create_task(_until(stop), name="signal")
            beside = [asyncio.create_task(c) for c in self._beside(worker, publisher)]
            try:
                await _first_to_end({working, failing, told}, beside)
                stop.set()
                for task in beside:
                    task.cancel()
                await asyncio.wait({working, *beside}, timeout=0 if failing.done() else leave_s)
            finally:
                for task in (working, failing, told, *beside):
                    task.cancel()
                await asyncio.gather(working, failing, told, *beside, return_exceptions=True)
            sound = _sound((working, *beside))
            publisher.end_shedding()
            delivered = await self._drain(publisher, drain_s)
        return 0 if sound and delivered else EX_SOFTWARE

    async def _drain(self, publisher: Publisher, drain_s: float) -> bool:
        """Have what is held delivered; say whether it was."""
        try:
            async with asyncio.timeout(drain_s):
                await publisher.drain()
        except DeliveryFailedError as failure:
            self._undelivered()
            _log.error("delivery_failed", detail=str(failure))
        except TimeoutError:
            self._undelivered()
        else:
            return True
        # some of it may be in Kafka after all: what we miss is its answer
        _log.error(
            "undelivered",
            bytes=publisher.held_bytes,
            records=publisher.held_records,
            after_s=drain_s,
        )
        return False


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()


async def _before(stop: asyncio.Event, work: Awaitable[T]) -> T | None:
    """Return what `work` returns; None if `stop` is set before that."""
    working, told = asyncio.ensure_future(work), asyncio.create_task(_until(stop))
    try:
        await asyncio.wait({working, told}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        for task in (working, told):
            task.cancel()
        await asyncio.gather(working, told, return_exceptions=True)


async def _first_to_end(
    ends: "set[asyncio.Task[None]]", beside: "Iterable[asyncio.Task[None]]"
) -> None:
    """Return when one of `ends` is done, or one of `beside` has failed."""
    waiting = {*ends, *beside}
    while True:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if done & ends or not _sound(done, tell=False):
            return


def _sound(tasks: "Iterable[asyncio.Task[None]]", *, tell: bool = True) -> bool:
    """Say whether none of the tasks that are done has failed; log each that has."""
    errors = [
        (task.get_name(), error)
        for task in tasks
        if not task.cancelled() and (error := task.exception())
    ]
    for name, error in errors if tell else ():
        _log.error("stage_failed", part=name, exc_info=error)
    return not errors


async def _stop_producer(producer: BatchProducer) -> None:
    """Disconnect. What was not delivered by now has been reported, so a broker may not hold us."""
    try:
        async with asyncio.timeout(GOODBYE_S):
            await producer.stop()
    except TimeoutError:
        _log.warning("kafka_did_not_say_goodbye", after_s=GOODBYE_S)
