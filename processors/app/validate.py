"""The validate stage: `ticks.raw.*` to `ticks.valid`, `ticks.rejected` and `symbols.breakers`."""

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog
from aiokafka import ConsumerRecord

from infra import topics
from infra.clock import now_ns
from infra.kafka.batches import Record
from infra.kafka.read import Tail, read_to_end
from infra.traces.settings import TraceSettings
from ingest.events import SymbolsFollowed
from processors.app.memory import Memory
from processors.app.stage import Stage
from processors.app.traces import Passage, RawPlace
from processors.chunks import CHUNK_RECORDS
from processors.deliver import CHUNKS_UNDER_WAY
from processors.events import BreakerEvent, Merged, RejectedTick, ValidTick
from processors.judge import Judge, Judged, SymbolState, rejections
from processors.memory import Recollection
from processors.merge import Places, in_order, needed
from processors.records import breaker_record, origin_of, tick_record
from processors.settings import ProcessorSettings
from processors.validate import Placed, Position, judge_all

log = structlog.get_logger()

#: How much of the journal is read at first; more, if the state is older.
MERGES_READ = 5_000

#: So many of a topic's last records may be of ticks that are not committed.
UNDER_WAY = CHUNKS_UNDER_WAY * CHUNK_RECORDS

_encode = msgspec.json.Encoder().encode

_followed = msgspec.json.Decoder(SymbolsFollowed)
_merged = msgspec.json.Decoder(Merged)
_state = msgspec.json.Decoder(SymbolState)


class Verdicts(NamedTuple):
    """What came of a run of raw ticks."""

    valid: Sequence[ValidTick]
    rejected: Sequence[RejectedTick]
    changes: Sequence[BreakerEvent]


class Lane:
    """One partition: both sources' raw ticks, in one order.

    Args:
        judge: who remembers what was told before.
        recalled: what was remembered when the partition was taken over.
        places: by raw topic, the first offset that was not taken.

    """

    def __init__(self, judge: Judge, recalled: Recollection, places: dict[str, int]) -> None:
        self.judge = judge
        self.recalled = recalled
        self.places = places

    def take(self, topic: str, records: Sequence[ConsumerRecord], valid: list[ValidTick]) -> Judged:
        """Judge what is well formed among records of one raw topic; note that all were taken."""
        self.places[topic] = records[-1].offset + 1
        if records[0].offset < self.recalled.horizon(topic):
            valid = [t for t in valid if not self.recalled.includes(t.symbol, topic, t.raw_offset)]
        return self.judge.take_all(valid)


class Validate(Stage):
    """`ticks.raw.*` to `ticks.valid`, `ticks.rejected` and `symbols.breakers`.

    A list of symbols is in `sources.symbols` before anyone is asked for their ticks. So whoever
    finds a symbol that it does not know reads that log to its end before it calls it unknown. That
    costs a question to the broker for each chunk with such a symbol in it, and nothing for others.

    Both raw topics of a partition are taken in an order that is written down (`processors.merge`).
    Who takes a partition over folds from the logs themselves, silently up to what was committed and
    with output up to where the journal goes, or anything that came of a tick; what Faust hands out
    of that again is passed over.
    """

    def __init__(self, settings: ProcessorSettings, traces: TraceSettings | None = None) -> None:
        super().__init__("validate", settings, traces=traces)
        #: Grows only: ticks of a symbol may come shortly after it was given back, or from the past.
        self._known = set(settings.symbols)
        self._followed = Tail(
            settings.kafka_bootstrap_servers, settings.topic(topics.SOURCES_SYMBOLS.name)
        )
        self._lanes: dict[int, Lane] = {}
        #: A partition is not taken over while a chunk of before is being judged.
        self._one_at_a_time = asyncio.Lock()
        self._memory = Memory(
            self, topics.VALIDATE_SYMBOLS, lambda p, symbol: self._lanes[p].judge.state(symbol)
        )
        self._sources = {
            settings.topic(topic.name): topic for topic in (topics.RAW_ALPACA, topics.RAW_YAHOO)
        }
        self.reads(self._judge, topics.RAW_ALPACA, topics.RAW_YAHOO)

    async def begin(self) -> None:
        """Learn which symbols the sources follow."""
        await self._followed.start()
        await self._learn()

    async def end(self) -> None:
        """Follow them no more."""
        await self._followed.stop()

    async def _learn(self) -> bool:
        """Read what the sources follow now; say whether any of it is new."""
        before = len(self._known)
        for record in await self._followed.fresh():
            # a record without a value deletes a source's row, not what was known of it
            followed = self.decode(_followed, record) if record.value else None
            if followed is not None:
                self._known.update(followed.symbols)
        return len(self._known) > before

    # -- taking a partition over

    async def recover(self) -> None:
        """Take up the partitions that are ours now, as the logs tell them.

        Those too that were ours before: nobody can say who else had them meanwhile.
        """
        async with self._one_at_a_time:
            await self.deliveries.settled()
            self._lanes.clear()
            alpaca, yahoo = await self.committed(topics.RAW_ALPACA, topics.RAW_YAHOO)
            for partition in self.partitions_of(topics.RAW_ALPACA):
                committed = Places(alpaca.get(partition, 0), yahoo.get(partition, 0))
                await self._take_over(partition, committed)

    async def _take_over(self, partition: int, committed: Places) -> None:
        recalled = await self._memory.recall(partition)
        floor = Places(*committed)
        if recalled.floor:
            floor = Places(*(recalled.begin(t.name) for t in (topics.RAW_ALPACA, topics.RAW_YAHOO)))
        judge = Judge(self.settings.calendar)
        judge.restore({symbol: _state.decode(raw) for symbol, raw in recalled.states.items()})
        lane = self._lanes[partition] = Lane(judge, recalled, _by_topic(floor))
        merges = await self._merges(partition, floor)
        told = needed(merges, floor)
        until = Places(
            max(told.alpaca, committed.alpaca, await self._taken_of_alpaca(partition)),
            max(told.yahoo, committed.yahoo),
        )
        alpaca = await self._read(topics.RAW_ALPACA, partition, floor.alpaca, until.alpaca)
        yahoo = await self._read(topics.RAW_YAHOO, partition, floor.yahoo, until.yahoo)
        for run in in_order(alpaca, yahoo, merges, floor, written_at=lambda r: r.timestamp):
            topic = self._sources[run[0].topic].name
            done = _by_topic(committed)[topic]
            for records in _cut(run, done):
                verdicts = await self._verdicts(partition, lane, records)
                if records[0].offset >= done:
                    await self.deliveries.acknowledge_after(await self._send(partition, verdicts))
        # what was committed was taken, even where nothing of it is kept any more
        lane.places = _by_topic(until)
        await self._memory.keep(partition, lane.places, now=True)
        log.info("took_over", partition=partition, floor=floor, committed=committed, told=told)

    async def _taken_of_alpaca(self, partition: int) -> int:
        """Return the first offset of Alpaca's of which nothing is in the log that came of it.

        A predecessor may have taken some behind its last entry in the journal, and died before they
        were committed. What it said of them stands: they come before any more of Yahoo's.
        """
        servers = self.settings.kafka_bootstrap_servers
        raw = self.settings.topic(topics.RAW_ALPACA.name)
        taken = 0
        for topic in (topics.VALID, topics.REJECTED, topics.BREAKERS):
            name = self.settings.topic(topic.name)
            reading = read_to_end(servers, name, partition, last=UNDER_WAY)
            async for record in reading:
                origin = origin_of(record.value)
                if origin and origin.raw_topic == raw:
                    taken = max(taken, origin.raw_offset + 1)
        return taken

    async def _merges(self, partition: int, floor: Places) -> list[Merged]:
        """Return what the journal tells of what comes after the floor."""
        servers = self.settings.kafka_bootstrap_servers
        name = self.settings.topic(topics.VALIDATE_MERGES.name)
        last = MERGES_READ
        while True:
            merges = [
                _merged.decode(record.value)
                async for record in read_to_end(servers, name, partition, last=last)
            ]
            if len(merges) < last or merges[0].yahoo_until <= floor.yahoo:
                return merges
            last *= 10

    async def _read(
        self, topic: topics.Topic, partition: int, since: int, before: int
    ) -> list[ConsumerRecord]:
        if since >= before:
            return []
        servers, name = self.settings.kafka_bootstrap_servers, self.settings.topic(topic.name)
        reading = read_to_end(servers, name, partition, since=since, before=before)
        return [record async for record in reading]

    # -- taking ticks

    async def _judge(self, event: Any) -> None:
        chunk: list[ConsumerRecord] = event.value
        partition, topic = chunk[0].partition, self._sources[chunk[0].topic]
        async with self._one_at_a_time:
            lane = self._lanes.get(partition)
            if lane is None:
                event.ack()  # of a former assignment, which commits nothing: its owner takes it
                return
            records = await self._what_comes_next(lane, topic, chunk)
            if not records:
                # taken when the partition was taken over; what came of it may be under way
                await self.deliveries.acknowledge_after(self.deliveries.settled(), event)
                return
            if topic is topics.RAW_YAHOO:
                await self._write_down(partition, lane, records)
            passage = self.passage(records, _own_place)
            verdicts = await self._verdicts(partition, lane, records)
            self.count("ok", len(records))
            delivery = await self._send(partition, verdicts, passage)
            await self.deliveries.acknowledge_after(delivery, event)
            await self._memory.keep(partition, lane.places)

    async def _what_comes_next(
        self, lane: Lane, topic: topics.Topic, chunk: list[ConsumerRecord]
    ) -> list[ConsumerRecord]:
        """Return the records of a chunk that were not taken, and any that are missing before it."""
        place = lane.places[topic.name]
        if chunk[0].offset == place:
            return chunk
        if chunk[0].offset > place:
            missing = await self._read(topic, chunk[0].partition, place, chunk[0].offset)
            if missing:
                log.warning("hole_filled", topic=topic.name, since=place, before=chunk[0].offset)
            return [*missing, *chunk]
        return [record for record in chunk if record.offset >= place]

    async def _write_down(
        self, partition: int, lane: Lane, records: Sequence[ConsumerRecord]
    ) -> None:
        """Have it in the log how far Alpaca's were taken, before these of Yahoo's are."""
        merged = Merged(
            yahoo_since=records[0].offset,
            yahoo_until=records[-1].offset + 1,
            alpaca_until=lane.places[topics.RAW_ALPACA.name],
            at_ns=now_ns(),
        )
        record = Record(b"", _encode(merged), merged.at_ns // 1_000_000)
        await self.surely(topics.VALIDATE_MERGES, partition, [record])

    async def _verdicts(
        self, partition: int, lane: Lane, records: Sequence[ConsumerRecord]
    ) -> Verdicts:
        placed = _placed(records)
        valid, rejected = judge_all(placed, self._known)
        if any(tick.reason == "unknown_symbol" for tick in rejected) and await self._learn():
            valid, rejected = judge_all(placed, self._known)
        judged = lane.take(self._sources[records[0].topic].name, records, valid)
        self._memory.note(partition, {tick.symbol for tick in valid})
        return Verdicts(judged.believed, rejections(placed, rejected, judged), judged.changes)

    async def _send(
        self, partition: int, verdicts: Verdicts, passage: Passage | None = None
    ) -> Awaitable[Any]:
        """Hand verdicts over, and return what is done when they are in the log."""
        valid = [tick_record(tick) for tick in verdicts.valid]
        rejected = [tick_record(tick) for tick in verdicts.rejected]
        if passage:
            passage.decided()
            passage.rejected(verdicts.rejected)
            name = self.settings.topic
            valid = passage.mark(name(topics.VALID.name), partition, valid, verdicts.valid)
            rejected = passage.mark(
                name(topics.REJECTED.name), partition, rejected, verdicts.rejected
            )
        outputs: list[tuple[topics.Topic, list[Record]]] = [
            (topics.VALID, valid),
            (topics.REJECTED, rejected),
            (topics.BREAKERS, [breaker_record(change) for change in verdicts.changes]),
        ]
        delivery = asyncio.gather(
            *[await self.send(topic, partition, rows) for topic, rows in outputs if rows]
        )
        if passage:
            passage.follow(delivery)
        return delivery


def _own_place(record: ConsumerRecord) -> RawPlace:
    return record.topic, record.offset


def _by_topic(places: Places) -> dict[str, int]:
    return {topics.RAW_ALPACA.name: places.alpaca, topics.RAW_YAHOO.name: places.yahoo}


def _placed(records: Iterable[ConsumerRecord]) -> list[Placed]:
    return [
        (r.value or b"", Position(r.topic, r.partition, r.offset, r.timestamp)) for r in records
    ]


def _cut(run: Sequence[ConsumerRecord], at: int) -> Iterable[Sequence[ConsumerRecord]]:
    """Cut a run into chunks, none of which lies on both sides of an offset."""
    before = [record for record in run if record.offset < at]
    for part in (before, run[len(before) :]):
        for begin in range(0, len(part), CHUNK_RECORDS):
            yield part[begin : begin + CHUNK_RECORDS]
