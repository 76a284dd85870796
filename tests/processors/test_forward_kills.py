"""A forward worker is killed again and again: what it tells is a function of what it reads."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from infra import topics as declared
from infra.kafka.batches import Record
from infra.kafka.broker import Broker
from infra.market_calendar import ALWAYS_OPEN
from infra.topics import TICK_PARTITIONS, Topic
from processors.desk import Desk
from processors.events import RoutedPrice, ValidTick
from processors.forward import route_of
from processors.judge import Judge
from processors.records import tick_record, transition_record
from processors.validate import Position, judge_all
from tests.processors.routes import TO_ALPACA
from tests.processors.test_take_over import DEADLINE_S, NOON_S, SYMBOLS, Market, Workers

pytestmark = pytest.mark.service


class Expected:
    """What a worker that never dies makes of the market."""

    def __init__(self, seed: int, partition: Callable[[str], int]) -> None:
        self._market = Market(seed)
        self._partition = partition
        self._judges = [Judge(ALWAYS_OPEN) for _ in range(TICK_PARTITIONS)]
        self._desks = [Desk(ALWAYS_OPEN) for _ in range(TICK_PARTITIONS)]
        self._offset = 0
        #: By topic, what is to be in it.
        self.told: dict[Topic, list[Any]] = {
            declared.ROUTED: [],
            declared.COMPARISONS: [],
            declared.QUARANTINES: [],
        }
        for desk in self._desks:
            desk.learn(route_of(TO_ALPACA))

    def run(self, ticks: int) -> dict[tuple[Topic, int], list[Record]]:
        """Return the market's next valid ticks."""
        valid: defaultdict[int, list[ValidTick]] = defaultdict(list)
        for topic, symbol, value in self._market.run(ticks):
            partition = self._partition(symbol)
            self._offset += 1
            written_ms = 1_000 * NOON_S + 400 * self._offset
            place = Position(topic.name, partition, self._offset, written_ms)
            found, _ = judge_all([(value, place)], SYMBOLS)
            valid[partition] += self._judges[partition].take_all(found).believed
        for partition, found in valid.items():
            out = self._desks[partition].take_all(found, 0)
            self.told[declared.ROUTED] += out.prices
            self.told[declared.COMPARISONS] += out.comparisons
            self.told[declared.QUARANTINES] += out.quarantines
        return {(declared.VALID, p): list(map(tick_record, found)) for p, found in valid.items()}


async def told(field: Workers, topic: Topic) -> set[bytes]:
    """Return what is in a topic, each once, whenever it was routed."""
    values = {r.value for records in await field.records(topic) for r in records if r.value}
    if topic is not declared.ROUTED:
        return values
    prices = [msgspec.json.decode(value, type=RoutedPrice) for value in values]
    return {msgspec.json.encode(msgspec.structs.replace(p, routed_at_ns=0)) for p in prices}


async def until_told(field: Workers, expected: Expected) -> None:
    """Wait until as many things are told as should be."""
    async with asyncio.timeout(DEADLINE_S):
        for topic, events in expected.told.items():
            while len(await told(field, topic)) < len(events):
                await asyncio.sleep(0.2)


async def test_kills_change_no_price_comparison_or_quarantine(
    kafka: Broker, topics: str, tmp_path: Path
) -> None:
    """It goes on as if nothing had happened: no comparison lacks, and none is made up."""
    chance = random.Random(7)
    async with Workers(kafka.bootstrap_servers, topics, tmp_path) as field:
        expected = Expected(7, field.partition)
        await field.write({(declared.TRANSITIONS, 0): [transition_record(TO_ALPACA)]})
        worker = await field.start("one", "forward")
        for _ in range(3):
            for _ in range(chance.randrange(3, 9)):
                await field.write(expected.run(chance.randrange(50, 200)))
            if chance.random() < 0.5:
                await until_told(field, expected)
            worker.kill()
            await worker.wait()
            await field.write(expected.run(100))
            worker = await field.start("one", "forward")
        await until_told(field, expected)
        for topic, events in expected.told.items():
            assert await told(field, topic) == set(map(msgspec.json.encode, events)), topic.name
    assert len(expected.told[declared.COMPARISONS]) > 100
