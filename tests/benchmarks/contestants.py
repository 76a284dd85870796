"""What the processors are measured against: the same work, done the plain way.

python -m tests.benchmarks.contestants aiokafka|faust
"""

import asyncio
import gc
import sys
import tempfile
import time

import faust
import msgspec
from aiokafka import AIOKafkaConsumer

from infra import topics
from infra.kafka.batches import BatchProducer, Record
from infra.settings import load
from processors.__main__ import COLLECT_AFTER
from processors.events import RejectedTick
from processors.settings import ProcessorSettings
from processors.validate import Position, judge, judge_all

encode = msgspec.json.Encoder().encode


async def plain_loop(settings: ProcessorSettings) -> None:
    """Run `getmany`, judge, batch send, and commit each second, with nothing around it."""
    known = settings.symbols
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
        for tp, records in (await consumer.getmany(timeout_ms=200)).items():
            valid, rejected = judge_all(
                ((r.value, Position(r.topic, r.partition, r.offset, r.timestamp)) for r in records),
                known,
            )
            for topic, verdicts in ((topics.VALID, valid), (topics.REJECTED, rejected)):
                if verdicts:
                    out = [Record(v.symbol.encode(), encode(v)) for v in verdicts]
                    name = settings.topic(topic.name)
                    under_way.append(await producer.send(name, tp.partition, out, topic.header))
        if time.monotonic() - committed_at > 1:
            await asyncio.gather(*under_way)
            under_way.clear()
            await consumer.commit()
            committed_at = time.monotonic()


def plain_faust(settings: ProcessorSettings) -> None:
    """Run an agent as Faust's tutorial writes it: `async for event`, `await topic.send`."""
    known = settings.symbols
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
        valid = app.topic(settings.topic(topics.VALID.name))
        rejected = app.topic(settings.topic(topics.REJECTED.name))

        @app.agent(app.topic(settings.topic(topics.RAW_ALPACA.name)))
        async def plain(stream: faust.StreamT[bytes]) -> None:
            async for event in stream.events():
                message = event.message
                position = Position(
                    message.topic, message.partition, message.offset, int(1000 * message.timestamp)
                )
                verdict = judge(event.value, position, known)
                out = rejected if isinstance(verdict, RejectedTick) else valid
                await out.send(key=verdict.symbol.encode(), value=encode(verdict))

        async def run() -> None:
            await app.start()
            await app.wait_until_stopped()

        asyncio.get_event_loop().run_until_complete(run())


def main(name: str) -> None:
    """Run the contestant that is named."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)
    settings = load(ProcessorSettings)
    if name == "aiokafka":
        asyncio.run(plain_loop(settings))
    else:
        plain_faust(settings)


if __name__ == "__main__":
    main(sys.argv[1])
