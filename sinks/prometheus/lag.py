"""How far the stages are behind, as the log itself tells.

A stage that is dead or stuck cannot say how far behind it is; its group's commits, beside the end
of what it reads, can. In seconds: the age of the oldest record that it has still to read.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from infra import topics
from infra.settings import StageSettings
from infra.telemetry import Meters
from sinks.clickhouse.tables import TABLES

EVERY_S = 5.0
#: How long Kafka may take to hand out the records that are waited for.
FETCH_S = 2.0
FETCH_BYTES = 64 * 1024
RECORDS, SECONDS = "pipeline_consumer_lag_records", "pipeline_consumer_lag_seconds"

#: group -> what it reads
READ: Mapping[str, tuple[topics.Topic, ...]] = {
    "validate": (topics.RAW_ALPACA, topics.RAW_YAHOO),
    "route": (topics.SOURCES_STATUS, topics.COMMANDS),
    "forward": (topics.VALID,),
    "clickhouse": tuple(TABLES),
}

log = structlog.get_logger()


def behind(
    read: Iterable[TopicPartition],
    committed: Mapping[TopicPartition, int],
    begins: Mapping[TopicPartition, int],
    ends: Mapping[TopicPartition, int],
) -> dict[TopicPartition, tuple[int, int]]:
    """Return, for each partition with records still to be read, the first of them and how many.

    A group that has committed nothing has all of it still to read; what is not kept any more, it
    will not read.
    """
    found = {}
    for tp in read:
        first = max(committed.get(tp, 0), begins[tp])
        if ends[tp] > first:
            found[tp] = (first, ends[tp] - first)
    return found


class Lags:
    """Keeps the lag's meters up to date while it is open."""

    def __init__(self, settings: StageSettings, meters: Meters) -> None:
        servers = settings.kafka_bootstrap_servers
        self._settings = settings
        self._meters = meters
        self._admin = AIOKafkaAdminClient(bootstrap_servers=servers, client_id="prometheus-sink")
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=FETCH_BYTES,  # one record of each is all that is looked at
        )
        self._read = {
            settings.topic(group): [
                TopicPartition(settings.topic(topic.name), partition)
                for topic in read
                for partition in range(topic.partitions)
            ]
            for group, read in READ.items()
        }
        self._names = {settings.topic(group): group for group in READ}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        for group, read in READ.items():
            for topic in set(topics.TOPICS) - set(read):
                for name in (RECORDS, SECONDS):
                    self._meters.remove(name, group=group, topic=topic.name)
        await self._admin.start()
        await self._consumer.start()
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._consumer.stop()
        await self._admin.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except (KafkaError, TimeoutError) as error:
                log.warning("lag_unknown", error=str(error) or type(error).__name__)
            await asyncio.sleep(EVERY_S)

    async def _look(self) -> None:
        tps = sorted({tp for read in self._read.values() for tp in read})
        begins = await self._consumer.beginning_offsets(tps)
        for group, read in self._read.items():
            # first what it has read, then where it ends: the other way round lag might be negative
            offsets = await self._admin.list_consumer_group_offsets(group)
            committed = {tp: meta.offset for tp, meta in offsets.items()}
            lag = behind(read, committed, begins, await self._consumer.end_offsets(read))
            ages = await self._ages({tp: first for tp, (first, _) in lag.items()})
            name = self._names[group]
            for topic in READ[name]:
                of = [tp for tp in lag if tp.topic == self._settings.topic(topic.name)]
                labels = {"group": name, "topic": topic.name}
                self._meters.set(RECORDS, sum(lag[tp][1] for tp in of), **labels)
                self._meters.set(SECONDS, max((ages[tp] for tp in of), default=0.0), **labels)

    async def _ages(self, firsts: Mapping[TopicPartition, int]) -> dict[TopicPartition, float]:
        """Return how old the record at each of these places is, in seconds."""
        ages = dict.fromkeys(firsts, 0.0)
        if not firsts:
            return ages
        self._consumer.assign(list(firsts))
        for tp, first in firsts.items():
            self._consumer.seek(tp, first)
        waiting = set(firsts)
        try:
            async with asyncio.timeout(FETCH_S):
                while waiting:
                    fetched = await self._consumer.getmany(*waiting, timeout_ms=500)
                    for tp, records in fetched.items():
                        waiting.discard(tp)
                        ages[tp] = max(0.0, time.time() - records[0].timestamp / 1000)
        finally:
            self._consumer.unsubscribe()
        return ages
