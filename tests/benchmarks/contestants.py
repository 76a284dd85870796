"""What the processors are measured against: the same work, done the plain way.

python -m tests.benchmarks.contestants chunks|aiokafka|faust full|light

What others have built to do it is in `contestants_elsewhere`, which runs where they are installed.
"""

import asyncio
import gc
import sys
import tempfile
import time
from typing import Any

import faust
from aiokafka import AIOKafkaConsumer

from infra import topics
from infra.kafka.batches import BatchProducer, Record
from infra.settings import load
from processors.__main__ import COLLECT_AFTER
from processors.chunks import ChunkSchema, chunk_app
from processors.deliver import Deliveries
from processors.settings import ProcessorSettings
from processors.validate import Position
from tests.benchmarks.work import WORKS, Work


def outcomes(records: list[Any], work: Work) -> dict[topics.Topic, list[Record]]:
    """Do the work on many records; return what goes where."""
    by_topic: dict[topics.Topic, list[Record]] = {}
    for r in records:
        topic, key, value = work(r.value, Position(r.topic, r.partition, r.offset, r.timestamp))
        by_topic.setdefault(topic, []).append(Record(key, value))
    return by_topic


async def chunks(settings: ProcessorSettings, work: Work) -> None:
    """Run the chunk transport, with the work in its agent."""
    servers = settings.kafka_bootstrap_servers
    producer, deliveries = BatchProducer(servers, client_id="chunks"), Deliveries()
    await producer.start()
    with tempfile.TemporaryDirectory() as folder:
        app = chunk_app(settings.topic("chunks"), bootstrap_servers=servers, datadir=folder)

        @app.agent(app.topic(settings.topic(topics.RAW_ALPACA.name), schema=ChunkSchema()))
        async def process(stream: Any) -> None:
            async for event in stream.noack().events():
                partition = event.value[0].partition
                sends = [
                    await producer.send(settings.topic(t.name), partition, records, t.header)
                    for t, records in outcomes(event.value, work).items()
                ]
                await deliveries.acknowledge_after(asyncio.gather(*sends), event)

        await app.start()
        await app.wait_until_stopped()


async def plain_loop(settings: ProcessorSettings, work: Work) -> None:
    """Run `getmany`, the work, batch sends, and a commit each second, with nothing around it."""
    producer = BatchProducer(settings.kafka_bootstrap_servers, client_id="loop")
    consumer = AIOKafkaConsumer(
        settings.topic(topics.RAW_ALPACA.name),
        bootstrap_servers=settings.kafka_bootstrap_servers,
        group_id=settings.topic("loop"),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=2_000,
    )
    await producer.start()
    await consumer.start()
    committed_at, under_way = time.monotonic(), []
    while True:
        for tp, fetched in (await consumer.getmany(timeout_ms=200)).items():
            for topic, records in outcomes(fetched, work).items():
                name = settings.topic(topic.name)
                under_way.append(await producer.send(name, tp.partition, records, topic.header))
        if time.monotonic() - committed_at > 1:
            await asyncio.gather(*under_way)
            under_way.clear()
            await consumer.commit()
            committed_at = time.monotonic()


async def plain_faust(settings: ProcessorSettings, work: Work) -> None:
    """Run an agent as Faust's tutorial writes it: `async for event`, `await topic.send`."""
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            settings.topic("faust"),
            broker=f"kafka://{settings.kafka_bootstrap_servers}",
            datadir=folder,
            value_serializer="raw",
            key_serializer="raw",
            consumer_auto_offset_reset="earliest",
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
        )
        outputs = {t: app.topic(settings.topic(t.name)) for t in (topics.VALID, topics.REJECTED)}

        @app.agent(app.topic(settings.topic(topics.RAW_ALPACA.name)))
        async def plain(stream: faust.StreamT[bytes]) -> None:
            async for event in stream.events():
                m = event.message
                at = Position(m.topic, m.partition, m.offset, int(1000 * m.timestamp))
                topic, key, value = work(event.value, at)
                await outputs[topic].send(key=key, value=value)

        await app.start()
        await app.wait_until_stopped()


CONTESTANTS = {"chunks": chunks, "aiokafka": plain_loop, "faust": plain_faust}


def main(name: str, work: str) -> None:
    """Run the contestant that is named."""
    settings = load(ProcessorSettings)
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)

    async def run() -> None:
        await CONTESTANTS[name](settings, WORKS[work](frozenset(settings.symbols)))

    asyncio.run(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
