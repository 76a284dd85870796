"""Giving a command (`ops.commands`), from a process that goes on living."""

import asyncio
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from infra.commands import Command
from infra.kafka.batches import BatchProducer, Record
from infra.topics import COMMANDS

#: How long the broker may take to answer.
ANSWER_S = 10.0


class NotTakenError(Exception):
    """Kafka does not take the command; the message says why."""


async def give(command: Command, servers: str, topic: str) -> int:
    """Write a command; return its offset once the broker has it. Raises NotTakenError.

    It is tried for a while and no longer: a command asks for something now.
    """
    producer = BatchProducer(servers, client_id="twinfeed-operator")
    try:
        async with asyncio.timeout(ANSWER_S):
            await producer.start()
            try:
                if not await producer.partitions_of(topic):
                    message = f"topic {topic} is not on the Kafka cluster: create the topics first"
                    raise NotTakenError(message)
                record = Record(
                    command.target.encode(),
                    msgspec.json.encode(command),
                    command.at_ns // 1_000_000,
                )
                written: list[Any] = await (
                    await producer.send(topic, 0, [record], COMMANDS.header)
                )
            finally:
                await producer.stop()
    except (KafkaError, TimeoutError) as error:
        cause = str(error) or type(error).__name__
        message = f"Kafka at {servers} does not take the command: {cause}"
        raise NotTakenError(message) from error
    offset: int = written[0].offset
    return offset
