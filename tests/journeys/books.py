"""The books of a running stack, kept up to date from its log, and held to what may never be untrue.

Unlike `reconcile`, which looks at ClickHouse, this reads the topics themselves, on from where it
was: so that a stack can be looked at after each of many faults.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from infra import topics
from infra.simulators import ledger
from infra.topics import Topic
from ingest.events import GapEvent, RawTick
from processors.events import (
    QuarantineEvent,
    RejectedTick,
    RoutedPrice,
    RouterTransition,
    Trade,
    ValidTick,
)
from tests.journeys import reconcile
from tests.journeys.running import Stack

NS = 1_000_000_000

Place = tuple[str, int, int]
_SOURCE = {"PRIMARY_ACTIVE": "alpaca", "FALLBACK_ACTIVE": "yahoo"}

#: A forwarder may learn of a switch this much after it came into force.
SWITCH_SLACK_NS = NS


class Reader:
    """Reads a topic on, up to its end, whenever it is asked to."""

    def __init__(self, topic: Topic, consumer: AIOKafkaConsumer) -> None:
        self._tps = [TopicPartition(topic.name, number) for number in range(topic.partitions)]
        self._next = dict.fromkeys(self._tps, 0)
        self._consumer = consumer

    async def fresh(self) -> list[ConsumerRecord]:
        """Return what came since the last call, by partition in order."""
        found: list[ConsumerRecord] = []
        self._consumer.assign(self._tps)
        ends = await self._consumer.end_offsets(self._tps)
        for tp in self._tps:
            self._consumer.seek(tp, self._next[tp])
            while await self._consumer.position(tp) < ends[tp]:
                for records in (await self._consumer.getmany(tp, timeout_ms=500)).values():
                    found += records
            self._next[tp] = await self._consumer.position(tp)
        return found


class Books:
    """What a stack's log holds.

    Args:
        stack: whose.

    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        #: By place, the raw ticks.
        self.raw: dict[Place, RawTick] = {}
        #: By place of the raw tick and what tells several of one apart, the distinct verdicts.
        self.verdicts: defaultdict[Place, dict[object, set[bytes]]] = defaultdict(dict)
        self.trades: dict[Place, tuple[Trade, int]] = {}
        self.transitions: list[RouterTransition] = []
        self.routed: list[RoutedPrice] = []
        self.gaps: list[GapEvent] = []
        #: The symbols that had a source of their own at some time.
        self.quarantined: set[str] = set()
        self._consumer: AIOKafkaConsumer | None = None
        self._readers: dict[str, Reader] = {}

    async def __aenter__(self) -> Self:
        """Connect."""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self._stack.kafka,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
        )
        await self._consumer.start()
        self._readers = {
            topic.name: Reader(topic, self._consumer)
            for topic in (
                topics.RAW_ALPACA,
                topics.RAW_YAHOO,
                topics.VALID,
                topics.REJECTED,
                topics.TRANSITIONS,
                topics.QUARANTINES,
                topics.ROUTED,
                topics.SOURCES_GAPS,
            )
        }
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._consumer:
            await self._consumer.stop()

    async def read(self) -> None:
        """Read on: the causes before what came of them."""
        for topic in (topics.RAW_ALPACA, topics.RAW_YAHOO):
            for record in await self._fresh(topic):
                place = (topic.name, record.partition, record.offset)
                self.raw[place] = msgspec.json.decode(record.value, type=RawTick)

    async def settle(self, seconds: float) -> None:
        """Wait until every raw tick that was read has its verdict."""

        async def judged() -> bool:
            await self._read_verdicts()
            return not self.raw.keys() - self.verdicts.keys()

        try:
            await self._stack.until(judged, seconds)
        except AssertionError:
            self.every_tick_has_one_verdict()  # says which has none
            raise
        for record in await self._fresh(topics.SOURCES_GAPS):
            self.gaps.append(msgspec.json.decode(record.value, type=GapEvent))

    async def read_routed(self, seconds: float) -> None:
        """Read what was routed, until it is all that it should be."""

        async def routed() -> bool:
            for record in await self._fresh(topics.ROUTED):
                self.routed.append(msgspec.json.decode(record.value, type=RoutedPrice))
            # read behind the prices, so that there is no price of an epoch that is not known
            for record in await self._fresh(topics.TRANSITIONS):
                self.transitions.append(msgspec.json.decode(record.value, type=RouterTransition))
            for record in await self._fresh(topics.QUARANTINES):
                event = msgspec.json.decode(record.value, type=QuarantineEvent)
                self.quarantined.add(event.symbol)
            return not self._not_routed()

        try:
            await self._stack.until(routed, seconds)
        except AssertionError:
            self.every_newer_trade_was_routed_once()  # says which was not
            raise

    async def _fresh(self, topic: Topic) -> list[ConsumerRecord]:
        return await self._readers[topic.name].fresh()

    async def _read_verdicts(self) -> None:
        for record in await self._fresh(topics.VALID):
            tick = msgspec.json.decode(record.value, type=ValidTick)
            place = _place(tick)
            several: object = tick.market_time_ns if tick.feed == "chart-5m" else None
            self.verdicts[place].setdefault(several, set()).add(record.value)
            if isinstance(tick, Trade):
                # where it came first in the log is where it was taken
                self.trades.setdefault(place, (tick, record.offset))
        for record in await self._fresh(topics.REJECTED):
            rejected = msgspec.json.decode(record.value, type=RejectedTick)
            several = "rejected" if rejected.feed == "chart-5m" else None
            self.verdicts[_place(rejected)].setdefault(several, set()).add(record.value)

    # what may never be untrue

    def every_tick_has_one_verdict(self) -> None:
        """Lost 0, doubled 0: what is written twice, by a successor, says the same."""
        missing = [place for place in self.raw if place not in self.verdicts]
        assert not missing, f"{len(missing)} raw ticks without a verdict: {missing[:3]}"
        contradictory = [
            (place, sorted(values))
            for place, verdicts in self.verdicts.items()
            for values in verdicts.values()
            if len(values) > 1
        ]
        assert not contradictory, f"{len(contradictory)} contradictory: {contradictory[:2]}"

    def history(self) -> dict[int, RouterTransition]:
        """Return the router's transitions by epoch; they are one story."""
        story: dict[int, RouterTransition] = {}
        generation, state = 0, "STARTUP"
        for transition in self.transitions:
            if transition.generation < generation or transition.epoch <= max(story, default=0):
                continue  # a former router's, written too late
            generation = transition.generation
            assert transition.epoch == max(story, default=0) + 1, f"a hole before {transition}"
            assert transition.from_state == state, f"not from {state}: {transition}"
            story[transition.epoch] = transition
            state = transition.to_state
        return story

    def every_price_is_of_the_routed_source(self) -> None:
        """Wrong route 0: each price's source is its epoch's, and it was received by then.

        An odd fence is that of a quarantine: then it is Yahoo's in an epoch of Alpaca's.
        """
        story = self.history()
        for price in self.routed:
            transition = story[price.epoch]
            source = _SOURCE.get(transition.to_state)
            if source == "alpaca" and price.fence % 2:
                source = "yahoo"
            assert price.source == source, f"{transition.to_state}: {price}"
            after = story.get(price.epoch + 1)
            late = after and price.received_at_ns >= after.switched_at_ns + SWITCH_SLACK_NS
            assert not late, (
                f"of an epoch that was over at {after and after.switched_at_ns}: {price}"
            )

    def every_newer_trade_was_routed_once(self) -> None:
        """Lost 0 behind the verdict: what was received well within an epoch of Alpaca's is out."""
        routed: defaultdict[tuple[Place, int, int], set[bytes]] = defaultdict(set)
        for price in self.routed:
            same = msgspec.structs.replace(price, routed_at_ns=0)
            routed[_place(price), price.epoch, price.fence].add(msgspec.json.encode(same))
        twice = [key for key, values in routed.items() if len(values) > 1]
        assert not twice, f"{len(twice)} prices told in two ways: {twice[:2]}"
        lost = self._not_routed()
        assert not lost, f"{len(lost)} trades were not routed: {lost[:2]}"

    def _not_routed(self) -> list[Trade]:
        """Return the trades that were news in an epoch of Alpaca's, and are not out."""
        story = self.history()
        out = {_place(price) for price in self.routed}
        newest: dict[str, int] = {}
        lost = []
        for place, (trade, _) in sorted(self.trades.items(), key=lambda item: item[1][1]):
            if trade.gap_id or trade.symbol in self.quarantined:
                continue
            news = trade.market_time_ns >= newest.get(trade.symbol, 0)
            newest[trade.symbol] = max(newest.get(trade.symbol, 0), trade.market_time_ns)
            if news and place not in out and _within_primary(story, trade.received_at_ns):
                lost.append(trade)
        return lost

    def every_tick_sent_is_accounted_for(
        self, entries: Iterable[ledger.Entry], cut_ns: int
    ) -> None:
        """What the simulator's ledger has is in the log, or lies in a gap of its symbol."""
        live = (t for t in self.raw.values() if t.source == "alpaca" and not t.backfill)
        published = Counter(reconcile.wire(tick) for tick in live)
        by_then = (entry for entry in entries if entry.sent_at_ns <= cut_ns)
        lost = reconcile.unaccounted(by_then, published, self.gaps)
        assert not lost, f"{len(lost)} ticks sent, not in the log nor in a gap: {lost[:2]}"


def _place(tick: Any) -> Place:
    return (tick.raw_topic, tick.raw_partition, tick.raw_offset)


def _within_primary(story: dict[int, RouterTransition], at_ns: int) -> bool:
    """Return whether a moment lies well within an epoch in which Alpaca was routed."""
    for epoch, transition in story.items():
        after = story.get(epoch + 1)
        if (
            transition.to_state == "PRIMARY_ACTIVE"
            and transition.switched_at_ns + SWITCH_SLACK_NS <= at_ns
            and (after is None or at_ns < after.switched_at_ns - SWITCH_SLACK_NS)
        ):
            return True
    return False
