"""What the hub has to tell, into the log; thin, over the producer.

Telling must never hold up a price. What waits for a broker that is away is bounded: as much as is
under way, and once more as much behind it, of which the oldest goes first. Whatever is lost, also
where a topic is refused or the hub ends before the broker is back, is counted in a log line.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

import msgspec
import structlog
from aiokafka.errors import KafkaError

from infra.kafka.batches import BatchProducer, Record
from infra.settings import StageSettings
from infra.topics import HUB_DELIVERIES, HUB_SESSIONS, Topic
from sinks.events import Delivered, DeliveryEvent, ProbeAnswered, SessionEvent

_log = structlog.get_logger()

#: How many events may wait for the broker.
WAITING: Final = 20_000
#: How long is waited for more, so that many go together.
TOGETHER_S: Final = 0.25
#: How long the last ones may take, at the end.
FAREWELL_S: Final = 2.0
#: How long after a failure it is tried again.
AGAIN_S: Final = 1.0


class Journal(Protocol):
    """Where events go."""

    def note(self, event: SessionEvent | DeliveryEvent) -> None:
        """Take an event, at once."""


class Nowhere:
    """A journal that nobody keeps."""

    def note(self, event: SessionEvent | DeliveryEvent) -> None:
        """Forget it."""


class KafkaJournal:
    """A journal in the log.

    Args:
        settings: where the log is.

    """

    def __init__(self, settings: StageSettings) -> None:
        self._settings = settings
        # the broker may be away for as long as it likes: this is no reason to end
        self._producer = BatchProducer(
            settings.kafka_bootstrap_servers, client_id="hub", patient=True
        )
        self._waiting: deque[SessionEvent | DeliveryEvent] = deque(maxlen=WAITING)
        self._lost = 0
        #: How many events the broker has been handed, and has not acknowledged.
        self._under_way = 0
        self._writing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect. Raises aiokafka.errors.KafkaConnectionError where no broker answers."""
        await self._producer.start()
        self._task = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """Write what waits, if that can be done soon, and disconnect."""
        if self._task is None:
            return
        try:
            async with asyncio.timeout(FAREWELL_S):
                async with self._writing:
                    self._task.cancel()  # between two writings
                    await self._write_what_waits()
                await self._producer.stop()
        except (TimeoutError, KafkaError) as error:
            lost = self._lost + self._under_way + len(self._waiting)
            _log.warning("journal_cut_off", lost=lost, error=str(error) or type(error).__name__)
        finally:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def note(self, event: SessionEvent | DeliveryEvent) -> None:
        """Take an event, at once; the oldest of too many is lost."""
        self._lost += len(self._waiting) == WAITING
        self._waiting.append(event)
        self._wake.set()

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(TOGETHER_S)
            self._wake.clear()
            async with self._writing:
                taken = await self._write_what_waits()
            if not taken:
                await asyncio.sleep(AGAIN_S)

    async def _write_what_waits(self) -> bool:
        """Write what waits, and return whether all of it was taken."""
        if self._lost:
            _log.warning("journal_overflowed", lost=self._lost)
            self._lost = 0
        records: dict[Topic, list[Record]] = {HUB_SESSIONS: [], HUB_DELIVERIES: []}
        self._under_way = len(self._waiting)
        while self._waiting:
            event = self._waiting.popleft()
            delivery = isinstance(event, Delivered | ProbeAnswered)
            records[HUB_DELIVERIES if delivery else HUB_SESSIONS].append(_record(event))
        taken = [await self._write_to(topic, batch) for topic, batch in records.items() if batch]
        return all(taken)

    async def _write_to(self, topic: Topic, batch: list[Record]) -> bool:
        name = self._settings.topic(topic.name)
        try:
            await (await self._producer.send(name, 0, batch, topic.header))
        except KafkaError as error:
            why = str(error) or type(error).__name__
            _log.warning("journal_refused", topic=name, lost=len(batch), error=why)
            taken = False
        else:
            taken = True
        self._under_way -= len(batch)
        return taken


def _record(event: SessionEvent | DeliveryEvent) -> Record:
    key = event.hub_id if isinstance(event, Delivered) else event.connection_id
    return Record(key.encode(), msgspec.json.encode(event), event.at_ns // 1_000_000)
