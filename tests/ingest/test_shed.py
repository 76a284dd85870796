"""What is shed while Kafka is away: the machine's tables, and the publisher's laws with it."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.kafka.batches import Record
from infra.topics import RAW_ALPACA, SOURCES_STATUS
from ingest import publish
from ingest.events import GapEnded, GapOpened
from ingest.publish import BufferOverflowError, Publisher
from ingest.shed import (
    EVICTED,
    FULL,
    SHED,
    SHEDDABLE,
    Kind,
    Level,
    ShedBegun,
    Shedder,
    ShedOver,
    Verdict,
    gap_event,
)
from tests.ingest.fakes import InMemoryProducer

LIMIT = 1000


def test_every_level_has_its_row() -> None:
    """Each level but the last leads to another when memory is full, which sheds one kind more."""
    assert set(SHED) == set(EVICTED) == set(Level)
    assert set(FULL) == set(Level) - {Level.TRADES}
    for level, following in FULL.items():
        assert SHED[level] < SHED[following]
        assert len(SHED[following] - SHED[level]) == 1
        assert EVICTED[following] in (SHED[following] - SHED[level]) | {None}
    assert {"trade", "quote", "bar"} == SHEDDABLE


KEEP, GONE, FULL_UP, OVER = Verdict.KEEP, Verdict.SHED, Verdict.FULL, Verdict.OVERFLOW


@pytest.mark.parametrize("kind", ["trade", "quote", "bar", "control", None])
@pytest.mark.parametrize("level", Level)
def test_verdict(level: Level, kind: Kind | None) -> None:
    """What becomes of each kind at each level: within the budget, above it, above twice that."""
    shedder = Shedder(LIMIT)
    shedder.level = level
    verdicts = [shedder.judge(kind, held) for held in (LIMIT, LIMIT + 1, 2 * LIMIT, 2 * LIMIT + 1)]
    if kind in SHED[level]:
        assert verdicts == [GONE] * 4
    elif kind in SHEDDABLE:
        assert verdicts == [KEEP, FULL_UP, FULL_UP, FULL_UP]
    else:
        assert verdicts == [KEEP, KEEP, KEEP, OVER]


def test_levels_in_their_order_with_what_they_evict() -> None:
    """Quotes that wait go first, then bars; trades that wait stay, only new ones are not taken."""
    shedder = Shedder(LIMIT)
    assert [shedder.full() for _ in FULL] == ["quote", "bar", None]
    assert shedder.level is Level.TRADES


def test_nothing_is_kept_again_before_half_of_the_budget_is_free() -> None:
    """Shedding goes on until what is held falls below half: one episode, not a stutter."""
    shedder = Shedder(LIMIT)
    shedder.full()
    assert shedder.shed("quote", ("AAPL",), (5,)) == [ShedBegun(kind="quote", since_ns=5)]
    assert shedder.drained(LIMIT // 2) == []
    assert shedder.judge("quote", 1) is Verdict.SHED
    (over,) = shedder.drained(LIMIT // 2 - 1)
    assert over == ShedOver(kind="quote", since_ns=5, until_ns=6, count=1, symbols=("AAPL",))
    assert shedder.judge("quote", 1) is Verdict.KEEP
    assert shedder.drained(0) == []


def test_an_episode_tells_bounds_count_and_symbols_of_its_kind() -> None:
    """Each kind has an episode of its own, from its first shed tick to its last."""
    shedder = Shedder(LIMIT)
    shedder.full()
    begun = shedder.shed("quote", {"MSFT", "AAPL"}, [40, 20, 30])
    assert begun == [ShedBegun(kind="quote", since_ns=20)]
    assert shedder.shed("quote", ("AAPL",), (50,)) == []
    assert shedder.shed("quote", ("AAPL",), (10,)) == []  # the clock was set back
    shedder.full()
    shedder.full()
    assert shedder.shed("trade", ("NVDA",), (60,)) == [ShedBegun(kind="trade", since_ns=60)]
    assert shedder.end() == [
        ShedOver(kind="quote", since_ns=10, until_ns=51, count=5, symbols=("AAPL", "MSFT")),
        ShedOver(kind="trade", since_ns=60, until_ns=61, count=1, symbols=("NVDA",)),
    ]
    assert shedder.end() == []


def test_gap_events_say_what_is_missing() -> None:
    """A change of the machine reads the same in the gap ledger."""
    opened = gap_event(
        ShedBegun(kind="quote", since_ns=5), source="alpaca", feed="iex", gap_id="g", at_ns=9
    )
    assert opened == GapOpened(
        source="alpaca", feed="iex", gap_id="g", at_ns=9, cause="shed", symbols=[], since_ns=5
    )
    over = ShedOver(kind="quote", since_ns=5, until_ns=8, count=3, symbols=("A", "B"))
    assert gap_event(over, source="alpaca", feed="iex", gap_id="g", at_ns=9) == GapEnded(
        source="alpaca",
        feed="iex",
        gap_id="g",
        at_ns=9,
        cause="shed",
        symbols=["A", "B"],
        since_ns=5,
        until_ns=8,
        shed={"quote": 3},
    )


@pytest.fixture(autouse=True, scope="module")
def few_are_handed_over() -> Iterator[None]:
    """Hand over a few records at a time, so that most wait where they can be shed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "HAND_OVER_BYTES", 1_500)
        yield


class Away(InMemoryProducer):
    """A log that takes no batch while it does not answer, as one whose queue is full."""

    async def send(
        self, topic: str, partition: int, records: Iterable[Record], header: tuple[str, bytes]
    ) -> "asyncio.Future[list[object]]":
        """Take records once it answers."""
        assert records
        await self.answering.wait()
        return await super().send(topic, partition, records, header)


class Tick(NamedTuple):
    """One record of a story; its number is its value's beginning, and its receive time."""

    number: int
    symbol: str
    kind: Kind | None


SYMBOLS = ("AAPL", "MSFT", "NVDA", "BRK.B")

put = st.tuples(
    st.sampled_from(SYMBOLS),
    st.sampled_from(["trade", "trade", "quote", "quote", "quote", "bar", "control", None]),
    st.integers(0, 200),
)
Chapter = str | list[tuple[str, Kind | None, int]]
stories = st.lists(
    st.one_of(st.lists(put, min_size=1, max_size=40), st.sampled_from(["away", "back", "turn"])),
    max_size=40,
)


class Witness:
    """A publisher over a log in memory, and everything that can be seen of it."""

    def __init__(self, limit_bytes: int) -> None:
        self.producer = Away()
        self.changes: list[ShedBegun | ShedOver] = []
        self.publisher = Publisher(
            self.producer, linger_s=0, limit_bytes=limit_bytes, shed=self.changes.append
        )
        self.limit_bytes = limit_bytes
        self.ticks: list[Tick] = []

    def put(self, symbol: str, kind: Kind | None, size: int) -> None:
        """File one record, and check what must hold after each."""
        number = len(self.ticks) + 1
        self.ticks.append(Tick(number, symbol, kind))
        before = self.publisher.shed.copy()
        value = f"{number}:".encode() + b"x" * size
        topic = RAW_ALPACA if kind else SOURCES_STATUS
        self.publisher.put(topic, symbol, value, number * 1_000_000, kind)
        gone = self.publisher.shed - before
        waiting = {its for lane in self.publisher._lanes.values() for its in lane.kinds}
        assert not (gone["trade"] and waiting & {"quote", "bar"}), "a trade before a quote or a bar"
        assert not (gone["bar"] and "quote" in waiting), "a bar before a quote"
        assert gone["control"] == 0
        if kind in SHEDDABLE and not gone:
            assert self.publisher.held_bytes <= self.limit_bytes
        assert self.publisher.held_bytes <= 2 * self.limit_bytes

    def reconcile(self) -> None:
        """Check the account after the end: kept and shed are all that was put, each once."""
        assert self.publisher.held_bytes == self.publisher.held_records == 0
        # a lane that is empty waits; one that does not know that it is would spin
        assert not any(lane.filled.is_set() for lane in self.publisher._lanes.values())
        kept = Counter[int]()
        for records in self.producer.log.values():
            numbers = [int(record.value.partition(b":")[0]) for record in records]
            assert numbers == sorted(numbers), "out of order within a partition"
            kept.update(numbers)
        assert set(kept.values()) <= {1}, "a record twice"
        missing = [tick for tick in self.ticks if tick.number not in kept]
        assert Counter(tick.kind for tick in missing) == self.publisher.shed
        open_episodes: dict[Kind, int] = {}
        told = Counter[Kind]()
        for change in self.changes:
            if isinstance(change, ShedBegun):
                assert change.kind not in open_episodes, "begun twice"
                open_episodes[change.kind] = change.since_ns
                continue
            assert open_episodes.pop(change.kind) == change.since_ns
            mine = [
                tick
                for tick in missing
                if tick.kind == change.kind
                and change.since_ns <= tick.number * 1_000_000 < change.until_ns
            ]
            assert len(mine) == change.count
            assert {tick.symbol for tick in mine} == set(change.symbols)
            told[change.kind] += change.count
        assert not open_episodes, "an episode that never ended"
        assert told == self.publisher.shed


@given(stories)
@settings(max_examples=150, deadline=None)
def test_kept_and_shed_are_all_that_was_put(story: list[Chapter]) -> None:
    """Whatever comes while Kafka goes and comes back: delivered once and in order, or accounted.

    Quotes go before bars before trades, and memory stays within its bounds.
    """

    async def tell() -> Witness:
        witness = Witness(limit_bytes=8_000)
        async with witness.publisher.running():
            for chapter in story:
                match chapter:
                    case "away":
                        witness.producer.answering.clear()
                    case "back":
                        witness.producer.answering.set()
                    case "turn":
                        for _ in range(5):
                            await asyncio.sleep(0)
                    case list():
                        for symbol, kind, size in chapter:
                            # what is never shed is few: here, what leaves room for it
                            if kind in SHEDDABLE or witness.publisher.held_bytes < 12_000:
                                witness.put(symbol, kind, size)
            witness.producer.answering.set()
            async with asyncio.timeout(10):
                await witness.publisher.drain()
        return witness

    asyncio.run(tell()).reconcile()


async def _away(limit_bytes: int) -> Witness:
    witness = Witness(limit_bytes)
    witness.producer.answering.clear()
    return witness


async def test_quotes_go_first_then_bars_then_trades() -> None:
    """In a long outage each kind is shed only once the one before is gone, and all is told."""
    witness = await _away(50_000)
    async with witness.publisher.running():
        kinds: Iterable[Kind] = itertools.cycle(("quote", "trade", "quote", "bar"))
        for number, kind in zip(range(2_000), kinds, strict=False):
            witness.put(SYMBOLS[number % 3], kind, 20)
            if number % 50 == 0:
                await asyncio.sleep(0)
        begun = [change.kind for change in witness.changes if isinstance(change, ShedBegun)]
        assert begun == ["quote", "bar", "trade"]
        assert not any(isinstance(change, ShedOver) for change in witness.changes)
        witness.producer.answering.set()
        await witness.publisher.drain()
    assert all(witness.publisher.shed[kind] > 0 for kind in SHEDDABLE)
    # what waited of the quotes went for the trades: of these the first ones are all there
    kept = [record for log in witness.producer.log.values() for record in log]
    numbers = {int(record.value.partition(b":")[0]) for record in kept}
    trades = [tick.number for tick in witness.ticks if tick.kind == "trade"]
    there = [number in numbers for number in trades]
    assert there == sorted(there, reverse=True)
    witness.reconcile()


async def test_shedding_ends_by_itself_where_nothing_is_on_its_way() -> None:
    """Where all that was held is shed no delivery will tell that there is room again."""
    witness = await _away(5_000)
    async with witness.publisher.running():
        for _ in range(100):
            witness.put("AAPL", "quote", 50)
        witness.producer.answering.set()
        async with asyncio.timeout(10):
            await witness.publisher.drain()
        assert {type(change) for change in witness.changes} == {ShedBegun, ShedOver}
        witness.put("AAPL", "quote", 50)
        await witness.publisher.drain()
    witness.reconcile()
    assert len(witness.producer.records(RAW_ALPACA)) >= 1


async def test_lane_whose_records_are_shed_while_it_lingers_hands_nothing_over() -> None:
    """A batch that vanishes before it is handed over is no batch, and the lane waits again."""
    witness = await _away(5_000)
    async with witness.publisher.running():
        witness.put("AAPL", "quote", 50)
        await asyncio.sleep(0)  # the lane has seen it, and lingers
        while not witness.publisher.shed:
            witness.put("AAPL", "quote", 50)
        for _ in range(3):
            await asyncio.sleep(0)
        witness.producer.answering.set()
        await witness.publisher.drain()
    witness.reconcile()


async def test_what_is_never_shed_is_bounded_too() -> None:
    """When even statuses fill twice the budget the publisher gives up, and says why."""
    witness = await _away(5_000)
    async with witness.publisher.running():
        while witness.publisher.held_bytes + 300 <= 10_000:
            witness.put("alpaca", None, 50)
        witness.publisher.put(RAW_ALPACA, "AAPL", b"x" * 500, 1, "control")
        with pytest.raises(BufferOverflowError, match="twice the budget"):
            await witness.publisher.failed()


async def test_reader_of_a_stream_never_waits() -> None:
    """Where ticks are shed there is always room: the vendor's socket is read on."""
    witness = await _away(5_000)
    async with witness.publisher.running():
        for _ in range(100):
            witness.put("AAPL", "trade", 50)
        async with asyncio.timeout(1):
            await witness.publisher.room()
        witness.producer.answering.set()
        await witness.publisher.drain()


async def test_end_of_the_process_ends_the_account() -> None:
    """What was shed until then is told when the process ends in the middle of an episode."""
    witness = await _away(5_000)
    async with witness.publisher.running():
        for _ in range(100):
            witness.put("AAPL", "trade", 50)
        witness.publisher.end_shedding()
        assert isinstance(witness.changes[-1], ShedOver)
        witness.producer.answering.set()
        await witness.publisher.drain()
    witness.reconcile()
