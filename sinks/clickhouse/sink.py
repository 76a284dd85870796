"""Records from the log into the store, and their offsets after them.

At least once in: an offset is committed when all before it is written. Exactly once in effect: a
row's identity is its key in the store, so writing it again changes nothing. So every doubt is
resolved by writing again: a write that may or may not have happened, a commit that was refused, a
partition that went away in between.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from infra.clock import now_ns
from infra.telemetry import Meters
from infra.traces.current import taking
from sinks.clickhouse.batch import Batch, Refused
from sinks.clickhouse.store import StoreUnavailableError
from sinks.clickhouse.tables import Table
from sinks.clickhouse.traces import STAGE, Traces

#: A batch is written when it is this full or this old: the engine wants few large parts, and a
#: process wants a bound on its memory.
BATCH_RECORDS = 20_000
BATCH_BYTES = 16 * 1024**2
LINGER_S = 1.0
#: What waits for a second in a batch may wait for a quarter of one in Kafka: few fetches, and not
#: one for every record that is produced.
FETCH_BYTES = 256 * 1024
FETCH_WAIT_MS = 250

#: How long `getmany` may keep us from noticing that we are to end.
NOTICE_S = 0.25

RETRY_FIRST_S = 0.2
RETRY_LAST_S = 5.0

#: A store that is away for hours must not cost the membership in the group: we are waiting, not
#: stuck, and whoever took over would wait for the same store.
MAX_POLL_INTERVAL_MS = 24 * 60 * 60 * 1000

_log = structlog.get_logger()


def consumer(bootstrap_servers: str, group: str, member: str | None = None) -> AIOKafkaConsumer:
    """Make the consumer that a `Sink` reads with, not started.

    Args:
        bootstrap_servers: the cluster.
        group: the group that the partitions are shared in.
        member: the name of a member that there is one of. It comes back after a crash at once,
            where a nameless one waits until the group has given up its former self.

    """
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        client_id="twinfeed-clickhouse",
        group_id=group,
        group_instance_id=member,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
        session_timeout_ms=10_000,
        heartbeat_interval_ms=3_000,
        metadata_max_age_ms=30_000,
        fetch_min_bytes=FETCH_BYTES,
        fetch_max_wait_ms=FETCH_WAIT_MS,
    )


class Sink(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Moves records until told to stop.

    Args:
        reader: a started consumer without a subscription.
        tables: the table of each topic, by its name on the broker.
        write: writes a batch and returns what it set aside; raises StoreUnavailableError.
        meters: what is counted.
        retry_s: the first and the longest pause between attempts to write.
        traces: what is traced of it; None where nothing is.

    """

    def __init__(
        self,
        reader: AIOKafkaConsumer,
        tables: Mapping[str, Table],
        write: Callable[[Batch], Awaitable[list[Refused]]],
        meters: Meters,
        *,
        retry_s: tuple[float, float] = (RETRY_FIRST_S, RETRY_LAST_S),
        traces: Traces | None = None,
    ) -> None:
        self._traces = traces
        #: When the last attempt to write began, and when it had succeeded.
        self._wrote_ns = (0, 0)
        self._reader = reader
        self._tables = tables
        self._write = write
        self._meters = meters
        self._retry_s = retry_s
        self._batch = Batch(tables)
        self._since = 0.0
        self._writing = asyncio.Lock()
        self._stop = asyncio.Event()
        self._give_up = asyncio.Event()  # on a write that does not succeed
        self._assigned = False
        self._store_away = False

    def waiting_for(self) -> str | None:
        """Say what keeps it from its work, if anything does."""
        if self._store_away:
            return "ClickHouse"
        return None if self._assigned else "Kafka"

    async def run(self, stop: asyncio.Event) -> None:
        """Move records until `stop` is set, and then what is in hand."""
        self._stop = stop
        self._reader.subscribe(list(self._tables), listener=self)
        stopping = asyncio.create_task(self._stopped())
        try:
            while not stop.is_set():
                await self._read()
                if self._due():
                    await self._flush()
            await self._flush()
        finally:
            stopping.cancel()

    async def _stopped(self) -> None:
        await self._stop.wait()
        self._give_up.set()

    async def _read(self) -> None:
        fetched = await self._reader.getmany(
            timeout_ms=int(NOTICE_S * 1000), max_records=BATCH_RECORDS
        )
        if fetched and not self._batch.records:
            self._since = time.monotonic()
        for place, records in fetched.items():
            self._batch.add(place.topic, place.partition, records)
            if self._traces:
                self._traces.take(records)
        self._meters.set("pipeline_sink_pending_records", self._batch.records, sink="clickhouse")

    def _due(self) -> bool:
        batch = self._batch
        return bool(batch.records) and (
            batch.records >= BATCH_RECORDS
            or batch.size >= BATCH_BYTES
            or time.monotonic() - self._since >= LINGER_S
        )

    async def _flush(self) -> None:
        """Write what is in hand and commit it; return without, when told to give up."""
        async with self._writing:
            batch = self._batch
            if not batch.records:
                return
            refused = await self._insist(batch)
            if refused is None:
                return
            await self._commit(batch)
            self._count(batch, refused)
            if self._traces:
                self._traces.written(batch.records, *self._wrote_ns)
            self._batch = Batch(self._tables)
            self._meters.set("pipeline_sink_pending_records", 0, sink="clickhouse")

    async def _insist(self, batch: Batch) -> list[Refused] | None:
        """Write `batch`, however long it takes; None when told to give up before it is written.

        Meanwhile nothing is fetched, so that what waits is bounded by one batch and what the client
        had fetched already; the partitions stay ours, by heartbeats.
        """
        paused: set[TopicPartition] = set()
        try:
            return await self._try(batch, paused)
        finally:
            self._reader.resume(*(paused & self._reader.assignment()))

    async def _try(self, batch: Batch, paused: set[TopicPartition]) -> list[Refused] | None:
        pause, longest = self._retry_s
        failures = 0
        while True:
            began_ns = now_ns()
            try:
                refused = await self._write(batch)
            except StoreUnavailableError as error:
                self._meters.add("pipeline_sink_write_failures_total", sink="clickhouse")
                failures += 1
                if _worth_a_line(failures):
                    _log.warning(
                        "write_failed",
                        error=str(error),
                        records=batch.records,
                        failures=failures,
                        again_in_s=pause,
                    )
                self._store_away = True
                if not paused:
                    paused |= self._reader.assignment()
                    self._reader.pause(*paused)
            else:
                if self._store_away:
                    _log.info("write_recovered", records=batch.records, failures=failures)
                self._store_away = False
                self._wrote_ns = (began_ns, now_ns())
                return refused
            if await happens(self._give_up, within=pause):
                _log.info("write_given_up", records=batch.records)
                return None
            pause = min(2 * pause, longest)

    async def _commit(self, batch: Batch) -> None:
        owned = self._reader.assignment()
        offsets = {TopicPartition(*place): offset for place, offset in batch.offsets.items()}
        ours = {place: offset for place, offset in offsets.items() if place in owned}
        if not ours:
            return
        try:
            await self._reader.commit(ours)
        except (CommitFailedError, IllegalStateError) as error:
            # another member has the partitions now; it will write these rows once more
            _log.info("commit_refused", error=str(error))

    def _count(self, batch: Batch, refused: list[Refused]) -> None:
        meters, stage = self._meters, {"stage": "clickhouse"}
        meters.set("pipeline_sink_last_success_timestamp_seconds", time.time(), sink="clickhouse")
        meters.add(
            "pipeline_records_processed_total", batch.records - len(refused), result="ok", **stage
        )
        meters.add("pipeline_records_processed_total", len(refused), result="dead_letter", **stage)
        for record, error in refused:
            with taking(record, STAGE):
                _log.error(
                    "record_set_aside",
                    topic=record.topic,
                    partition=record.partition,
                    offset=record.offset,
                    error=error,
                )

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """Finish the write that is under way, or stop insisting on it, and forget the rest."""
        if not revoked:
            return
        self._give_up.set()
        async with self._writing:
            # whoever gets the partitions, we too, reads on from what was committed
            self._batch = Batch(self._tables)
            if self._traces:
                self._traces.forget()
            if not self._stop.is_set():
                self._give_up.clear()
        self._assigned = False

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """Be ready, with whatever was assigned: none is fine where there are many members."""
        _log.info("partitions_assigned", partitions=len(assigned))
        self._assigned = True


def _worth_a_line(failures: int) -> bool:
    """Tell whether to say so: at the first, second, fourth, eighth ... failure in a row."""
    return failures & (failures - 1) == 0


async def happens(event: asyncio.Event, *, within: float) -> bool:
    """Wait for an event, but no longer than `within` seconds; return whether it happened."""
    try:
        async with asyncio.timeout(within):
            return await event.wait()
    except TimeoutError:
        return False
