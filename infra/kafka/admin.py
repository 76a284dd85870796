"""Topics made on a cluster as `infra/topics.py` declares them."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from infra.topics import TOPICS, Topic

#: How long a cluster may take to make the topics and to tell every client of them.
VISIBLE_SECONDS = 30.0
POLL_SECONDS = 0.02
#: With three copies a broker may fail while another is being replaced.
REPLICAS = 3


class TopicMismatchError(Exception):
    """A topic is there, but not as declared; records of a key would not stay together."""


async def ensure_topics(
    bootstrap_servers: str, prefix: str = "", replication_factor: int | None = None
) -> list[str]:
    """Make every declared topic that is not there yet, and return the names of those made.

    Args:
        bootstrap_servers: `host:port[,host:port...]`.
        prefix: put before every name.
        replication_factor: None for `REPLICAS`, or as many as there are brokers.

    Raises:
        TopicMismatchError: a topic exists with another number of partitions.
        aiokafka.errors.KafkaError: no broker answers, or it refuses.
        TimeoutError: the topics were made and cannot be seen.

    """
    async with _admin(bootstrap_servers) as admin, asyncio.timeout(VISIBLE_SECONDS):
        missing = _missing(await _partitions(admin), prefix)
        replicas = replication_factor or min(REPLICAS, await _brokers(admin))
        made = await _create(admin, missing, prefix, replicas)
        # a broker answers before it knows what the controller has made; and whoever was faster
        # than we may have made it otherwise
        while _missing(await _partitions(admin), prefix):
            await asyncio.sleep(POLL_SECONDS)
    return made


async def delete_topics(bootstrap_servers: str, prefix: str) -> None:
    """Delete every declared topic under `prefix` that is there, and what it holds."""
    async with _admin(bootstrap_servers) as admin:
        there = await _partitions(admin)
        doomed = [prefix + topic.name for topic in TOPICS if prefix + topic.name in there]
        if doomed:
            response = await admin.delete_topics(doomed)
            _raise_first(response.topic_error_codes)
        async with asyncio.timeout(VISIBLE_SECONDS):
            while not await _gone(admin, doomed):
                await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, client_id="twinfeed-admin")
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


async def _brokers(admin: AIOKafkaAdminClient) -> int:
    return len((await admin.describe_cluster())["brokers"])


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, int]:
    return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}


async def _gone(admin: AIOKafkaAdminClient, names: list[str]) -> bool:
    return not (await _partitions(admin)).keys() & set(names)


def _missing(there: dict[str, int], prefix: str) -> list[Topic]:
    """Return the declared topics that are not there. Raises TopicMismatchError."""
    for topic in TOPICS:
        partitions = there.get(prefix + topic.name, topic.partitions)
        if partitions != topic.partitions:
            message = (
                f"topic {prefix + topic.name} has {partitions} partitions, expected "
                f"{topic.partitions}: delete it, or choose another TOPIC_PREFIX"
            )
            raise TopicMismatchError(message)
    return [topic for topic in TOPICS if prefix + topic.name not in there]


async def _create(
    admin: AIOKafkaAdminClient, topics: list[Topic], prefix: str, replication_factor: int
) -> list[str]:
    if not topics:
        return []
    response = await admin.create_topics(
        [
            NewTopic(
                name=prefix + topic.name,
                num_partitions=topic.partitions,
                replication_factor=replication_factor,
                topic_configs=topic.config,
            )
            for topic in topics
        ]
    )
    _raise_first(response.topic_errors)
    return [name for name, code, *_ in response.topic_errors if not code]


def _raise_first(errors: Iterable[tuple[str, int, *tuple[object, ...]]]) -> None:
    for name, code, *detail in errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            message = f"topic {name}: {detail[0] if detail and detail[0] else error.description}"
            raise error(message)
