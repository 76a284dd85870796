"""The same work on what others have built: Quix Streams, bytewax, and a loop on confluent-kafka.

    python -m tests.benchmarks.contestants_elsewhere confluent|quix|bytewax full|light

It runs where `make bench` installs them, and imports nothing of ours but pure modules. Each is
given what it is good at: whole batches where it has them, and as few steps as the work allows. Each
has an idempotent producer that waits for all replicas, and keeps offsets once a second behind what
was delivered, as the stage itself does; a delivery that fails ends it.
"""

import gc
import os
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import confluent_kafka
from bytewax.connectors.kafka import KafkaSinkMessage, KafkaSourceMessage
from bytewax.connectors.kafka import operators as kafka_op
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from quixstreams import Application, message_context
from quixstreams.models import Topic as QuixTopic

from infra import topics
from processors.validate import Position
from tests.benchmarks.work import KNOWN, OUTPUTS, WORKS, Work

BATCH = 2_000
COMMIT_S = 1.0
PRODUCER = {
    "acks": "all",
    "enable.idempotence": True,
    "linger.ms": 5,
    "partitioner": "murmur2_random",
}


def _undelivered(error: confluent_kafka.KafkaError, _: confluent_kafka.Message) -> None:
    raise confluent_kafka.KafkaException(error)


def confluent_loop(servers: str, prefix: str, work: Work) -> None:
    """Run `consume`, the work, `produce`, and a commit each second behind a flush."""
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": servers,
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
            "on_delivery": _undelivered,
            **PRODUCER,
        }
    )
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": prefix + "confluent",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    consumer.subscribe([prefix + topics.RAW_ALPACA.name])
    names = {topic: prefix + topic.name for topic in OUTPUTS}
    headers = {topic: [topic.header] for topic in OUTPUTS}
    committed_at, news = time.monotonic(), False
    while True:
        for m in consumer.consume(BATCH, timeout=0.2):
            if (error := m.error()) is not None:
                raise confluent_kafka.KafkaException(error)
            at = Position(m.topic(), m.partition(), m.offset(), m.timestamp()[1])
            topic, key, value = work(m.value(), at)
            producer.produce(
                names[topic], value, key, partition=at.partition, headers=headers[topic]
            )
            news = True
        producer.poll(0)
        if news and time.monotonic() - committed_at > COMMIT_S:
            producer.flush()
            consumer.commit(asynchronous=False)
            committed_at, news = time.monotonic(), False


def quix(servers: str, prefix: str, work: Work) -> None:
    """Run a streaming dataframe: apply the work, and send each to the topic that it chose."""
    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            servers,
            consumer_group=prefix + "quix",
            auto_offset_reset="earliest",
            commit_interval=COMMIT_S,
            auto_create_topics=False,
            state_dir=Path(folder),
            producer_extra_config=PRODUCER,
            loglevel="WARNING",
        )

        def topic_of(topic: topics.Topic) -> QuixTopic:
            return app.topic(
                prefix + topic.name,
                value_deserializer="bytes",
                key_deserializer="bytes",
                value_serializer="bytes",
                key_serializer="bytes",
            )

        outputs = {topic: topic_of(topic) for topic in OUTPUTS}
        # the key stays the same, and the value becomes the verdict; where to, depends on it
        chosen = outputs[topics.VALID]

        def outcome(value: bytes, _key: Any, timestamp: int, _headers: Any) -> bytes:
            nonlocal chosen
            at = message_context()
            topic, _, verdict = work(
                value, Position(at.topic, at.partition, at.offset or 0, timestamp)
            )
            chosen = outputs[topic]
            return verdict

        frame = app.dataframe(topic_of(topics.RAW_ALPACA)).apply(outcome, metadata=True)
        frame.to_topic(lambda *_: chosen)
        app.run()


def bytewax_flow(servers: str, prefix: str, work: Work) -> None:
    """Run a dataflow from Kafka to Kafka, a batch at a time, with a snapshot each second."""

    def outcomes(batch: list[KafkaSourceMessage[Any, Any]]) -> list[KafkaSinkMessage[Any, Any]]:
        done = []
        for m in batch:
            _kind, written_at_ms = m.timestamp or (0, 0)
            at = Position(m.topic or "", m.partition or 0, m.offset or 0, written_at_ms)
            topic, key, value = work(m.value, at)
            done.append(KafkaSinkMessage(key, value, names[topic], headers[topic], timestamp=0))
        return done

    names = {topic: prefix + topic.name for topic in OUTPUTS}
    headers = {topic: [topic.header] for topic in OUTPUTS}
    flow = Dataflow("bench")
    source = kafka_op.input(
        "in", flow, brokers=[servers], topics=[prefix + topics.RAW_ALPACA.name], batch_size=BATCH
    )
    verdicts = op.flat_map_batch("work", source.oks, outcomes)
    kafka_op.output(
        "out", verdicts, brokers=[servers], topic=names[topics.VALID], add_config=PRODUCER
    )
    with tempfile.TemporaryDirectory() as folder:
        init_db_dir(Path(folder), 1)
        cli_main(
            flow,
            recovery_config=RecoveryConfig(folder),
            epoch_interval=timedelta(seconds=COMMIT_S),
        )


CONTESTANTS = {"confluent": confluent_loop, "quix": quix, "bytewax": bytewax_flow}


def main(name: str, work: str) -> None:
    """Run the contestant that is named, by the same two variables as the stage itself."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    servers, prefix = os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["TOPIC_PREFIX"]
    CONTESTANTS[name](servers, prefix, WORKS[work](frozenset(KNOWN)))


if __name__ == "__main__":
    main(*sys.argv[1:])
