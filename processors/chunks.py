"""Faust by the chunk: one event is all that one fetch brought for one partition.

Faust's cost is per *event*, a fraction of a millisecond, whatever the event holds. So the transport
below hands a stream not records but chunks of up to `CHUNK_RECORDS` records of one partition, and
the agent's body loops over them. Assignment, rebalancing and supervision stay Faust's.

Acknowledgement is by chunk as well: a chunk's message carries its first and last offset, and a
partition may be committed up to the end of the oldest run of chunks that are all acknowledged. A
chunk that is never acknowledged therefore holds the commit back, and a restart replays from there.
Stock Faust would have committed past it.

This overrides methods of faust-streaming 0.15.3 (pinned), private ones too: `getmany`, `ack`,
`_new_offset`, `_filter_tps_with_pending_acks`, `_add_gap`, `on_buffer_full`, `seek_to_committed`.
tests/processors/test_chunks.py holds them to their contract.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, ClassVar

import faust
from aiokafka import ConsumerRecord
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage, ack_lock
from mode.utils.futures import notify

CHUNK_RECORDS = 2_000

#: Faust drops a worker that has no partition after this many seconds without a poll, and it never
#: takes over. A year is as good as never.
NEVER_S = 365 * 24 * 3600.0


class ChunkMessage(ConsumerMessage):
    """A message whose value is the list of records from `offset` to `last_offset`."""

    __slots__ = ("last_offset",)

    last_offset: int


class NoReadOffsets(dict[TP, int | None]):
    """Where Faust notes up to where it has read: it finds nothing here.

    Stock Faust drops, without a word, what begins before the last message that it delivered. That
    may be one of before a rebalance, whose delivery was under way while the position was set back:
    then the chunk that comes again is the one that is dropped, and nobody ever takes it.
    """

    def __getitem__(self, _: TP) -> int | None:
        """Return that nothing was read."""
        return None


class ChunkConsumer(driver.Consumer):
    """Faust's consumer, yielding one message a partition and fetch."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._read_offset = NoReadOffsets()
        #: Whether something was fetched that was not handed out.
        self._dropped = False
        #: By partition, the chunks handed out and not yet committed past, oldest first.
        self._handed_out: defaultdict[TP, deque[ChunkMessage]] = defaultdict(deque)

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109  # the signature is Faust's
    ) -> AsyncIterator[tuple[TP, ChunkMessage]]:
        """Fetch, and yield a chunk for each partition that something came for.

        What a fetch brought across a rebalance may be of before or behind the position that Faust
        went back to, so it is dropped. Then the position is behind what was dropped, and has to be
        set back once more; otherwise nobody ever takes it.
        """
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]
        if self._dropped and self.flow_active and not await self._go_back():
            return
        generation = self.app.consumer_generation_id
        records, active = await self._wait_next_records(timeout)
        if records is None or self.should_stop:
            return
        self._dropped = self._dropped or bool(records)
        for tp, chunk in records.items():
            if not self.flow_active or self.app.consumer_generation_id != generation:
                return
            if chunk and (active is None or tp in active):
                message = self._chunk_message(TP(*tp), chunk)
                self._hand_out(message)
                yield message.tp, message
        self._dropped = False

    async def _go_back(self) -> bool:
        """Set the position back to what is committed; say whether that could be done."""
        self._dropped = False
        try:
            await self.perform_seek()
        except IllegalStateError:  # a rebalance took a partition away: it goes back itself
            self._dropped = True
        return not self._dropped

    def _hand_out(self, message: ChunkMessage) -> None:
        chunks = self._handed_out[message.tp]
        if chunks and message.offset <= chunks[-1].last_offset:
            # The position was set back: what was handed out before comes again, and counts then.
            chunks.clear()
        chunks.append(message)

    def _chunk_message(self, tp: TP, chunk: list[ConsumerRecord]) -> ChunkMessage:
        first, last = chunk[0], chunk[-1]
        message = ChunkMessage(
            tp.topic,
            tp.partition,
            first.offset,
            first.timestamp / 1000,
            first.timestamp_type,
            None,
            None,
            chunk,  # type: ignore[arg-type]  # to Faust a value is bytes; ours passes through
            None,
            0,
            0,
            tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.last_offset = last.offset
        return message

    def ack(self, message: ChunkMessage) -> bool:  # type: ignore[override]  # all ours are chunks
        """Note that a chunk's effects are in the log; a chunk of a lost assignment is ignored."""
        with ack_lock:
            if message.acked:
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            self._n_acked += 1
        notify(self._waiting_for_ack)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (
            tp
            for tp, chunks in self._handed_out.items()
            if chunks and (topics is None or tp in topics or tp.topic in topics)
        )

    def _new_offset(self, tp: TP) -> int | None:
        chunks, offset = self._handed_out[tp], None
        while chunks and chunks[0].acked:
            offset = chunks.popleft().last_offset + 1
        return offset

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: a chunk speaks for all offsets up to its last, missing ones included."""

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: the conductor waits for room in the agent's buffer, and fetches no more.

        Stock Faust takes the partition out of the fetch instead, and, with none left, sleeps for a
        second, however soon there is room again.
        """

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what is done, and forget the rest: its next owner reads it again."""
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._handed_out.pop(tp, None)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go back, and say where to; with nothing assigned, as of a worker too many, nowhere.

        aiokafka takes that for a bug of its caller.
        """
        if not self.assignment():
            return {}
        try:
            return await super().seek_to_committed()
        except AssertionError:  # the consumer's thread may have lost them all meanwhile
            if self.assignment():
                raise
            return {}

    async def perform_seek(self) -> None:
        """Go back to what is committed; what was handed out after that comes again."""
        await super().perform_seek()
        self._handed_out.clear()


class ChunkTransport(driver.Transport):
    """Faust's aiokafka transport with the chunk consumer."""

    Consumer: ClassVar[type[ChunkConsumer]] = ChunkConsumer


class ChunkSchema(faust.Schema[Any, Any]):
    """Passes a chunk through as it is: the agent decodes, once, what it needs."""

    def compile(  # type: ignore[override]  # the error callbacks: nothing here can fail
        self, app: faust.App, **_: Any
    ) -> Callable[..., Awaitable[faust.types.EventT[list[ConsumerRecord]]]]:
        """Return the decoder that Faust's conductor calls for every message."""
        create_event = app.create_event

        async def decode(message: ChunkMessage, *, propagate: bool = False) -> Any:
            del propagate
            return create_event(None, message.value, None, message)

        return decode


def chunk_app(
    name: str, *, bootstrap_servers: str, datadir: str, member: str | None = None
) -> faust.App:
    """Return a Faust app whose streams carry chunks; one app is one consumer group, `name`.

    Args:
        name: the consumer group.
        bootstrap_servers: `host:port[,host:port...]`.
        datadir: where Faust may keep its (few) files.
        member: this worker's name in the group, if it has one that it keeps over a restart.

    """
    app = faust.App(
        name,
        broker=[f"kafka://{server}" for server in bootstrap_servers.split(",")],
        datadir=datadir,
        autodiscover=False,
        broker_commit_interval=1.0,
        broker_heartbeat_interval=3.0,
        broker_max_poll_interval=NEVER_S,
        broker_max_poll_records=CHUNK_RECORDS,
        broker_session_timeout=10.0,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=member,
        key_serializer="raw",
        # a buffer holds chunks, not records
        stream_buffer_maxsize=16,
        # a rebalance waits until what was taken up is delivered, so that it doubles nothing
        stream_wait_empty=True,
        # 0 without tables would lose the co-partitioning of the two sources
        table_standby_replicas=1,
        topic_allow_declare=False,
        topic_disable_leader=True,
        value_serializer="raw",
        web_enabled=False,
    )
    app.transport = ChunkTransport([*app.conf.broker], app)
    return app
