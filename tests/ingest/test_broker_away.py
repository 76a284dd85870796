"""The publisher while a real broker is away: what is kept, what is shed, and that both are told."""

import asyncio
import itertools
import time
from collections import Counter

import msgspec
import pytest

from infra.kafka import batches
from infra.kafka.batches import BatchProducer
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA, SOURCES_GAPS, SOURCES_STATUS, Topic
from ingest.events import GapEnded, GapEvent, GapOpened, RawTick
from ingest.losses import Losses
from ingest.publish import Publisher
from ingest.shed import Kind
from tests.own_broker import OUTAGES, Outage

pytestmark = pytest.mark.service

#: Room for a second of the flow below, so that a short outage goes through all levels.
LIMIT_BYTES = 500_000
SYMBOLS = ("AAPL", "MSFT", "NVDA", "BRK.B", "TSLA")
KINDS: tuple[Kind, ...] = ("quote", "trade", "quote", "quote", "bar")
PAUSE_S = 0.01
FRAME = 20


class Flow:
    """A session's ticks, 2,000 a second, as the worker files them."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._encode = msgspec.json.Encoder().encode
        self.kinds: list[Kind] = []
        self.most_bytes = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Flow until `stop` is set, however Kafka does."""
        while not stop.is_set():
            self._frame(time.time_ns())
            self.most_bytes = max(self.most_bytes, self._publisher.held_bytes)
            await asyncio.sleep(PAUSE_S)

    def _frame(self, now_ns: int) -> None:
        for kind in itertools.islice(itertools.cycle(KINDS), FRAME):
            self.kinds.append(kind)
            number = len(self.kinds)
            symbol = SYMBOLS[number * 7 % len(SYMBOLS)]
            tick = RawTick(
                source="alpaca",
                feed="iex",
                symbol=symbol,
                session_id="run-1",
                session_seq=number,
                received_at_ns=now_ns,
                encoding="json",
                raw=msgspec.Raw(f'{{"T":"{kind}","S":"{symbol}"}}'.encode()),
            )
            self._publisher.put(RAW_ALPACA, symbol, self._encode(tick), now_ns, kind)
        self._publisher.put(SOURCES_STATUS, "alpaca", b'{"beat":%d}' % len(self.kinds), now_ns)


async def _read(broker: Broker, topic: Topic) -> list[list[bytes]]:
    return [
        [r.value async for r in read_to_end(broker.bootstrap_servers, topic.name, partition)]
        for partition in range(topic.partitions)
    ]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_published_and_shed_are_all_that_was_put(
    broker: Broker, outage: Outage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two outages each tick is in the log once and in order, or in one gap's account.

    The holes in the session's numbers are exactly what was shed; statuses are all there; memory
    stayed within its bounds; and it goes on by itself, in the same process.
    """
    monkeypatch.setattr(batches, "REQUEST_TIMEOUT_MS", 1_000)
    producer = BatchProducer(broker.bootstrap_servers, client_id="test", patient=True)
    await producer.start()
    losses = Losses(source="alpaca", feed="iex", run_id="run", meters=Meters("alpaca"))
    publisher = Publisher(
        producer,
        limit_bytes=LIMIT_BYTES,
        shed=lambda change: losses.tell(change, publisher),
    )
    flow, stop = Flow(publisher), asyncio.Event()
    try:
        async with publisher.running():
            flowing = asyncio.create_task(flow.run(stop))
            for _ in range(2):
                before = publisher.shed.copy()
                await outage(broker, 6.0)
                async with asyncio.timeout(60):
                    while not (publisher.shed - before)["trade"] or publisher._unasked_bytes < 0:
                        await asyncio.sleep(0.05)
            stop.set()
            await flowing
            async with asyncio.timeout(60):
                await publisher.drain()
    finally:
        await producer.stop()
    statuses = [value for values in await _read(broker, SOURCES_STATUS) for value in values]
    assert statuses == [b'{"beat":%d}' % n for n in range(FRAME, len(flow.kinds) + 1, FRAME)]
    assert flow.most_bytes <= LIMIT_BYTES + len(statuses) * 300
    held: set[int] = set()
    for values in await _read(broker, RAW_ALPACA):
        ticks = [msgspec.json.decode(value, type=RawTick).session_seq for value in values]
        assert all(one < other for one, other in itertools.pairwise(ticks))
        held.update(ticks)
    holes = Counter(kind for number, kind in enumerate(flow.kinds, start=1) if number not in held)
    assert holes == publisher.shed
    (gaps,) = await _read(broker, SOURCES_GAPS)
    events = [msgspec.json.decode(value, type=GapEvent) for value in gaps]
    opened = [event for event in events if isinstance(event, GapOpened)]
    ended = [event for event in events if isinstance(event, GapEnded)]
    assert len({event.gap_id for event in opened}) == len(opened)
    assert {event.gap_id for event in opened} == {event.gap_id for event in ended}
    assert all(len(event.shed) == 1 for event in ended)
    told = Counter[str]()
    for event in ended:
        told.update(event.shed)
    assert told == holes
