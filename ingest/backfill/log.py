"""The backfill's reading of Kafka: the gap ledger as its one owner, and the raw log back to a time.

Thin, over aiokafka. `sources.gaps` has one partition, so a group on it has one owner: that is who
may publish. Two things make the ownership a lease that cannot be outlived:

* Before each page `confirmed` commits to the group. The broker takes a commit from the owner alone,
  and gives it another `SESSION_S` before it takes the partition away.
* What was not acknowledged within `DELIVERY_S` of that ends the process (ingest.backfill.worker).

What the group commits is always the beginning. The ledger is folded from there each time, because
a gap's state is all of its events; the group keeps no place.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

#: How long the group waits for its owner. Less than the time in which a person would look.
SESSION_S = 30.0
#: How long the broker may take to confirm the ownership, and then to acknowledge a page. Together
#: they stay below `SESSION_S`, also with the ten seconds that a stage takes to end
#: (ingest.stage.DRAIN_S, twice).
CONFIRM_S = 5.0
DELIVERY_S = 10.0
#: How long a new owner waits: the one before it may have left the group, and be about to end. One
#: with a name need not: who has a name does not leave, and nobody else has it.
TAKEOVER_S = 12.0

POLL_MS = 250

_log = structlog.get_logger()


class NotTheOwnerError(Exception):
    """Another worker may own the ledger now."""


class OwnedLedger(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka is untyped
    """Follows `sources.gaps` from its beginning while this process owns it.

    Args:
        bootstrap_servers: the cluster.
        topic: the ledger's name on the broker.
        group: the group that is shared with other workers.
        member: the name of a member that there is one of, as in the other groups.
        takeover_s: how long a new owner without a name waits before it begins.
        forget: called when the reading begins again, and when the ownership ends.
        record: called with each record's value and place.
        tenure: what to do as the owner, once the ledger is read; cancelled when that ends.

    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        group: str,
        member: str | None,
        takeover_s: float = TAKEOVER_S,
        forget: Callable[[], None],
        record: Callable[[bytes, str], None],
        tenure: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._tp = TopicPartition(topic, 0)
        self._takeover_s = 0.0 if member else takeover_s
        self._forget = forget
        self._record = record
        self._tenure = tenure
        self._task: asyncio.Task[None] | None = None
        #: Whether the ledger has become ours since we last looked.
        self._assigned = False
        #: Up to where it is read before the tenure begins; None while that is not known.
        self._end: int | None = None
        #: Held while a page is on its way: nobody else becomes the owner meanwhile.
        self._publishing = asyncio.Lock()
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap_servers,
            client_id="twinfeed-backfill",
            group_id=group,
            group_instance_id=member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(SESSION_S * 1000),
            heartbeat_interval_ms=3_000,
        )

    async def follow(self) -> None:
        """Follow until cancelled, or until the tenure fails."""
        await self._consumer.start()
        try:
            self._consumer.subscribe([self._tp.topic], listener=self)
            while True:
                fetched = await self._consumer.getmany(timeout_ms=POLL_MS)
                if self._assigned:
                    await self._begin()
                    continue
                for record in fetched.get(self._tp, ()):
                    self._record(record.value, f"{record.topic}/0/{record.offset}")
                await self._work()
        finally:
            await self._rest()
            await self._consumer.stop()

    async def _begin(self) -> None:
        """Read the ledger from its beginning, now that it is ours; later, if Kafka is away."""
        try:
            ends = await self._consumer.end_offsets([self._tp])
            begins = await self._consumer.beginning_offsets([self._tp])
            self._consumer.seek(self._tp, begins[self._tp])
        except (KafkaError, IllegalStateError) as error:
            _log.warning("ledger_unreadable", error=repr(error))
            await asyncio.sleep(POLL_MS / 1000)
            return
        self._assigned = False
        self._forget()
        self._end = ends[self._tp]

    async def _work(self) -> None:
        """Begin the tenure once all is read that was there; pass on its failure."""
        if self._task is not None:
            if self._task.done():
                self._task.result()
        elif self._end is not None and await self._position() >= self._end:
            self._task = asyncio.create_task(self._take_over(), name="tenure")

    async def _position(self) -> int:
        """Return how far the ledger is read; -1 where it has just ceased to be ours."""
        try:
            position: int = await self._consumer.position(self._tp)
        except IllegalStateError:
            return -1
        return position

    async def _take_over(self) -> None:
        await asyncio.sleep(self._takeover_s)
        _log.info("ledger_taken_over")
        await self._tenure()

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Take note that the ledger is ours; nothing may fail here, nobody would hear of it."""
        self._assigned = self._tp in assigned

    async def on_partitions_revoked(self, _revoked: set[TopicPartition]) -> None:
        """End the tenure, when the page that is on its way has arrived."""
        await self._rest()

    async def _rest(self) -> None:
        self._assigned, self._end = False, None
        if self._task is None:
            return
        async with self._publishing:
            self._task.cancel()
        await asyncio.wait([self._task])
        _log.info("ledger_given_up")
        if self._task.cancelled() or self._task.exception() is None:
            self._task = None
            self._forget()

    @asynccontextmanager
    async def confirmed(self) -> AsyncIterator[None]:
        """Be the owner within the context. Raises NotTheOwnerError, and nothing was published."""
        async with self._publishing:
            try:
                async with asyncio.timeout(CONFIRM_S):
                    await self._consumer.commit({self._tp: 0})
            except (KafkaError, TimeoutError) as error:
                message = f"the group did not confirm it: {error!r}"
                raise NotTheOwnerError(message) from error
            yield


class RawLog:
    """Reads a log of raw ticks, all partitions, from a time to its present end.

    Args:
        bootstrap_servers: the cluster.
        topic: the log's name on the broker.
        partitions: how many it has.

    """

    def __init__(self, bootstrap_servers: str, topic: str, *, partitions: int) -> None:
        self._servers = bootstrap_servers
        self._tps = [TopicPartition(topic, number) for number in range(partitions)]

    async def since(self, at_ns: int) -> AsyncGenerator[bytes, None]:
        """Yield the values of the records stamped `at_ns` or later, and of all that follow them.

        Raises KafkaError.
        """
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        try:
            consumer.assign(self._tps)
            ends = await consumer.end_offsets(self._tps)
            found = await consumer.offsets_for_times(dict.fromkeys(self._tps, at_ns // 1_000_000))
            behind = set()
            for tp in self._tps:
                # where nothing is as late as that, there is nothing to read
                begin = ends[tp] if found[tp] is None else found[tp].offset
                consumer.seek(tp, begin)
                if begin < ends[tp]:
                    behind.add(tp)
            while behind:
                for tp, records in (await consumer.getmany(*behind, timeout_ms=200)).items():
                    for record in records:
                        if record.offset < ends[tp]:
                            yield record.value
                # the position, not the last record's offset: a partition may end in a hole
                behind = {tp for tp in behind if await consumer.position(tp) < ends[tp]}
        finally:
            await consumer.stop()
