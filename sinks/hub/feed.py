"""What the hub shows, out of the log: without a group, so that any number of hubs see all of it.

Before the first client comes in, the table of latest prices is loaded, and after it the end of the
log that it is made of: the table is written after the log, so it may lack what came last.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from infra import topics
from infra.clock import now_ns
from infra.commands import Answer
from infra.fence import Story
from infra.kafka.read import read_to_end
from infra.settings import StageSettings
from infra.telemetry import Meters
from infra.traces.current import taking
from infra.traces.kafka import process_span
from infra.traces.span import Attributes, Context, traced
from infra.traces.tracer import Tracer
from ingest.events import SourceStatus, SymbolsFollowed
from processors.events import RoutedPrice, RouterTransition, SessionChanged
from processors.validate import UNREADABLE
from sinks.events import AlertEvent
from sinks.hub import words
from sinks.hub.broadcast import Broadcast
from sinks.hub.day import day_of
from sinks.hub.protocol.messages import Invocation
from sinks.hub.replies import Replies
from sinks.hub.traces import CLIENTS, STAGE, send_span

_log = structlog.get_logger()

#: How much of the routed log may not be in the table yet: seconds of it, many times over.
TAIL: Final = 2000
#: How many transitions are read again at the start: those that do not count are among them.
HISTORY: Final = 200
#: Yahoo's last polls, of all symbols of a partition.
POLLS: Final = 1000
#: Heartbeats of a few minutes.
STATUS: Final = 1000
POLL_MS: Final = 250

_price = msgspec.json.Decoder(RoutedPrice)
_transition = msgspec.json.Decoder(RouterTransition)
_session = msgspec.json.Decoder(SessionChanged)
_status: msgspec.json.Decoder[SourceStatus] = msgspec.json.Decoder(SourceStatus)
_answer = msgspec.json.Decoder(Answer)
_followed = msgspec.json.Decoder(SymbolsFollowed)
_alert: msgspec.json.Decoder[AlertEvent] = msgspec.json.Decoder(AlertEvent)


class Feed:
    """Reads the log, and has the clients told.

    Args:
        settings: where the log is.
        broadcast: who is told.
        meters: where records are counted.
        replies: who is told what the router says to operators.
        tracer: what spans are told to; None where nothing is traced.

    """

    def __init__(
        self,
        settings: StageSettings,
        broadcast: Broadcast,
        meters: Meters,
        replies: Replies,
        *,
        tracer: Tracer | None = None,
    ) -> None:
        self._tracer = tracer
        self._replies = replies
        self._settings = settings
        self._broadcast = broadcast
        self._meters = meters
        self._story = Story()
        self._takes: dict[str, Callable[[list[bytes]], None]] = {
            settings.topic(topic.name): take
            for topic, take in {
                topics.ROUTED: self._prices,
                topics.TRANSITIONS: self._transitions,
                topics.SESSIONS: self._sessions,
                topics.SOURCES_SYMBOLS: self._symbols,
                topics.SOURCES_STATUS: self._statuses,
                topics.ANSWERS: self._answers,
                topics.RAW_YAHOO: self._days,
                topics.ALERTS: self._alerts,
            }.items()
        }
        self._consumer: AIOKafkaConsumer | None = None
        #: Whether what is read is news; what was there before we came is not measured.
        self._live = False

    async def start(self) -> None:
        """Read what was. Raises aiokafka.errors.KafkaConnectionError where no broker answers."""
        self._consumer = consumer = AIOKafkaConsumer(
            bootstrap_servers=self._settings.kafka_bootstrap_servers,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await consumer.start()
        ends = await self._assign(consumer)
        await asyncio.gather(*(self._load(p) for p in range(topics.LATEST.partitions)))
        while any([await consumer.position(tp) < end for tp, end in ends.items()]):
            await self._read(consumer)
        self._live = True

    async def stop(self) -> None:
        """Disconnect."""
        if self._consumer:
            await self._consumer.stop()

    async def run(self, stop: asyncio.Event) -> None:
        """Read on until told to end."""
        if self._consumer is None:
            message = "the feed was not started"
            raise RuntimeError(message)
        while not stop.is_set():
            await self._read(self._consumer)

    async def _assign(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, int]:
        """Read each topic from as far back as is needed; return where each ends now."""
        tails = {
            topics.ROUTED: TAIL,
            topics.TRANSITIONS: HISTORY,
            topics.SESSIONS: 1,
            topics.SOURCES_STATUS: STATUS,
            topics.ANSWERS: 0,
            topics.RAW_YAHOO: POLLS,
        }
        back = {
            TopicPartition(self._settings.topic(topic.name), partition): tails.get(topic)
            for topic in (*tails, topics.SOURCES_SYMBOLS, topics.ALERTS)
            for partition in range(topic.partitions)
        }
        consumer.assign([*back])
        begins = await consumer.beginning_offsets([*back])
        ends: dict[TopicPartition, int] = await consumer.end_offsets([*back])
        for tp, tail in back.items():
            begin = begins[tp] if tail is None else max(begins[tp], ends[tp] - tail)
            consumer.seek(tp, begin)
        return ends

    async def _load(self, partition: int) -> None:
        topic = self._settings.topic(topics.LATEST.name)
        servers = self._settings.kafka_bootstrap_servers
        records = [record async for record in read_to_end(servers, topic, partition)]
        self._take(self._prices, topic, records)

    async def _read(self, consumer: AIOKafkaConsumer) -> None:
        for tp, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
            since_ns = now_ns()
            self._take(self._takes[tp.topic], tp.topic, records)
            if self._tracer and self._live:
                self._trace(self._tracer, tp.topic, records, since_ns)

    def _trace(
        self, tracer: Tracer, topic: str, records: list[ConsumerRecord], since_ns: int
    ) -> None:
        """Tell of what is traced among records that were taken, and have the rest of it told."""
        for record, parent in traced(records):
            process = process_span(
                record,
                parent,
                stage=STAGE,
                start_ns=since_ns,
                end_ns=now_ns(),
                batch=len(records),
            )
            if topic == self._settings.topic(topics.ROUTED.name):
                tracer.tell(process)
                self._follow(record, process.context)
            elif topic == self._settings.topic(topics.TRANSITIONS.name):
                clients: Attributes = {CLIENTS: len(self._broadcast.connections)}
                sent = send_span(process.context, "DataSourceChanged", "all", since_ns, clients)
                tracer.tell(process, sent)

    def _follow(self, record: ConsumerRecord, taken: Context) -> None:
        with contextlib.suppress(*UNREADABLE):  # then nothing of it is sent
            price = _price.decode(record.value)
            latest = self._broadcast.hub.fanout.latest.get(price.symbol)
            # what the hub holds is the same price, or what has taken its place already
            self._broadcast.follow(latest if latest == price and latest else price, taken)

    def _take(
        self, take: Callable[[list[bytes]], None], topic: str, records: list[ConsumerRecord]
    ) -> None:
        try:
            take(_values(records))
        except UNREADABLE:
            for record in records:  # one of them is not ours: the others still count
                try:
                    take(_values([record]))
                except UNREADABLE as error:
                    self._count("dead_letter", 1)
                    with taking(record, STAGE):
                        _log.warning("record_unreadable", topic=topic, error=str(error))

    def _count(self, result: str, amount: int) -> None:
        if self._live:
            self._meters.add("pipeline_records_processed_total", amount, stage="hub", result=result)

    def _prices(self, values: list[bytes]) -> None:
        prices = [_price.decode(value) for value in values]
        self._broadcast.put(prices)
        self._count("ok", len(prices))

    def _transitions(self, values: list[bytes]) -> None:
        for transition in [_transition.decode(value) for value in values]:
            if not self._story.accepts(transition):
                continue
            self._story = self._story.after(transition)
            self._broadcast.hub.switch(transition)
            notice = Invocation("DataSourceChanged", [words.data_source(transition)])
            self._broadcast.tell(notice)

    def _sessions(self, values: list[bytes]) -> None:
        for session in [_session.decode(value) for value in values]:
            self._broadcast.hub.session = session
            status = {**words.market_status(session), "timestamp": words.iso(session.at_ns)}
            self._broadcast.tell(Invocation("CurrentMarketStatus", [status]), market=True)

    def _symbols(self, values: list[bytes]) -> None:
        for followed in [_followed.decode(value) for value in values]:
            self._broadcast.hub.followed[followed.source] = followed.symbols

    def _statuses(self, values: list[bytes]) -> None:
        for status in [_status.decode(value) for value in values]:
            self._broadcast.hub.sources[status.source].take(status)

    def _answers(self, values: list[bytes]) -> None:
        for answer in [_answer.decode(value) for value in values]:
            self._replies.take(answer)

    def _alerts(self, values: list[bytes]) -> None:
        for event in [_alert.decode(value) for value in values]:
            self._broadcast.hub.alarms.take(event)

    def _days(self, values: list[bytes]) -> None:
        for day in map(day_of, values):
            if day is not None:
                self._broadcast.hub.days[day.symbol] = day


def _values(records: Iterable[ConsumerRecord]) -> list[Any]:
    return [record.value for record in records if record.value]
