"""Reading a log back, from a real broker."""

import asyncio
from contextlib import aclosing

import pytest

from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import Tail, follow, read_to_end
from infra.topics import LATEST, TRANSITIONS

pytestmark = pytest.mark.service


async def _write(servers: str, topic: str, values: list[bytes]) -> None:
    producer = BatchProducer(servers, client_id="test")
    await producer.start()
    try:
        await (await producer.send(topic, 0, [Record(b"k", v) for v in values], ("schema", b"x/1")))
    finally:
        await producer.stop()


async def test_a_partition_is_read_to_its_end(kafka: Broker, topics: str) -> None:
    """All of it, the end of it, or up to an offset; and nothing of an empty one."""
    servers, topic = kafka.bootstrap_servers, topics + LATEST.name
    assert [r async for r in read_to_end(servers, topic, 0)] == []
    await _write(servers, topic, [b"%d" % n for n in range(10)])
    assert [r.offset async for r in read_to_end(servers, topic, 0)] == list(range(10))
    assert [r.offset async for r in read_to_end(servers, topic, 0, last=3)] == [7, 8, 9]
    assert [r.offset async for r in read_to_end(servers, topic, 0, before=2)] == [0, 1]


async def test_following_begins_at_the_beginning(kafka: Broker, topics: str) -> None:
    """What was there comes first, every time, and then what comes."""
    servers, topic = kafka.bootstrap_servers, topics + TRANSITIONS.name
    await _write(servers, topic, [b"0", b"1"])
    for _ in range(5):
        async with asyncio.timeout(20), aclosing(follow(servers, topic)) as records:
            assert [(await anext(records)).value, (await anext(records)).value] == [b"0", b"1"]
    async with asyncio.timeout(20), aclosing(follow(servers, topic)) as records:
        seen = [(await anext(records)).value for _ in range(2)]
        await _write(servers, topic, [b"2"])
        seen.append((await anext(records)).value)
    assert seen == [b"0", b"1", b"2"]


async def test_a_tail_has_whatever_was_acknowledged_before_it_was_asked(
    kafka: Broker, topics: str
) -> None:
    """All of it at first, then what came since, and nothing where nothing came."""
    servers, topic = kafka.bootstrap_servers, topics + TRANSITIONS.name
    tail = Tail(servers, topic)
    await tail.stop()  # of what was never started
    with pytest.raises(RuntimeError, match="was not started"):
        await tail.fresh()
    with pytest.raises(RuntimeError, match="was not started"):
        await tail.since(0)
    await tail.start()
    try:
        async with asyncio.timeout(60):
            assert await tail.fresh() == []
            for number in range(20):
                await _write(servers, topic, [b"%d" % number, b"and"])
                assert [r.value for r in await tail.fresh()] == [b"%d" % number, b"and"]
            assert await tail.fresh() == []
            # and, as often as somebody wants, what came before
            assert [r.offset for r in await tail.since(38)] == [38, 39]
            assert [r.offset for r in await tail.since(-3)] == [37, 38, 39]
            assert len(await tail.since(-100)) == 40
            assert await tail.since(40) == []
            await _write(servers, topic, [b"last"])
            assert [r.value for r in await tail.since(40)] == [b"last"]
    finally:
        await tail.stop()
