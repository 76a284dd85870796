"""What a stage remembers: written in Kafka, and read back so that nothing is folded twice."""

import asyncio
from typing import Any

import msgspec
import pytest

from infra.kafka.batches import BatchProducer
from infra.kafka.broker import Broker
from infra.topics import FORWARD_SYMBOLS
from processors.app.memory import Memory
from processors.deliver import Deliveries
from processors.memory import NO_STATE, Recollection, Remembered
from processors.settings import ProcessorSettings

TICKS = "ticks.valid"


def _record(symbol: str, at: int, state: object = None) -> bytes:
    raw = NO_STATE if state is None else msgspec.Raw(msgspec.json.encode(state))
    return msgspec.json.encode(Remembered(symbol=symbol, at={TICKS: at}, state=raw))


def test_an_empty_table_begins_at_the_beginning() -> None:
    """The first worker ever folds all that there is."""
    nothing = Recollection([])
    assert nothing.begin(TICKS) == 0
    assert not nothing.includes("AAPL", TICKS, 0)
    assert nothing.states == {}


def test_the_last_record_of_a_symbol_counts() -> None:
    """A table that is not compacted yet tells the same as one that is."""
    records = [_record("AAPL", 5, 1), _record("MSFT", 5, 2), _record("", 5), _record("AAPL", 9, 3)]
    table = Recollection([*records, None])
    assert table.begin(TICKS) == 5
    assert {s: bytes(raw) for s, raw in table.states.items()} == {"AAPL": b"3", "MSFT": b"2"}
    assert [table.includes("AAPL", TICKS, offset) for offset in (8, 9)] == [True, False]
    assert [table.includes("MSFT", TICKS, offset) for offset in (4, 5)] == [True, False]
    assert not table.includes("AAPL", "another", 0)


def test_somebody_elses_record_is_refused() -> None:
    """A wrong memory is worse than none."""
    with pytest.raises(ValueError, match="symbol"):
        Recollection([b"{}"])


class FakeStage:
    """As much of a stage as a memory needs."""

    def __init__(self, servers: str, prefix: str) -> None:
        self.settings = ProcessorSettings(kafka_bootstrap_servers=servers, topic_prefix=prefix)
        self.producer = BatchProducer(servers, client_id="test")
        self.deliveries = Deliveries()

    async def send(self, topic: Any, partition: int, records: Any) -> Any:
        """Send for real."""
        name = self.settings.topic(topic.name)
        return await self.producer.send(name, partition, records, topic.header)


@pytest.mark.service
async def test_what_has_changed_is_kept_behind_what_came_of_it(kafka: Broker, topics: str) -> None:
    """Nothing is remembered before its outputs are delivered; then all of it, with its place."""
    stage = FakeStage(kafka.bootstrap_servers, topics)
    await stage.producer.start()
    states = {"AAPL": 1, "MSFT": 2}
    memory = Memory(stage, FORWARD_SYMBOLS, lambda _, symbol: states[symbol])  # type: ignore[arg-type]
    output: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    await stage.deliveries.acknowledge_after(output)
    memory.note(1, ["AAPL"])
    await memory.keep(1, {TICKS: 7}, now=True)
    states["AAPL"] = 99  # of a later moment: not what was to be kept
    assert (await memory.recall(1)).states == {}
    output.set_result(None)
    await stage.deliveries.settled()
    table = await memory.recall(1)
    assert {s: bytes(raw) for s, raw in table.states.items()} == {"AAPL": b"1"}
    assert table.begin(TICKS) == 7
    # nothing has changed since: only the floor goes on; nothing forgotten or not due is written
    await memory.keep(1, {TICKS: 9}, now=True)
    memory.note(1, ["MSFT"])
    memory.forget(1)
    await memory.keep(1, {TICKS: 10})
    memory.note(1, ["MSFT"])
    await memory.keep(1, {TICKS: 11})
    await stage.deliveries.settled()
    table = await memory.recall(1)
    assert {s: bytes(raw) for s, raw in table.states.items()} == {"AAPL": b"1"}
    assert table.begin(TICKS) == 9
    assert (await memory.recall(0)).states == {}
    await stage.producer.stop()
