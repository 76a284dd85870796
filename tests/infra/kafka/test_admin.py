"""Topics on a real broker are as declared, or refused."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.kafka.admin import TopicMismatchError, delete_topics, ensure_topics
from infra.kafka.broker import Broker
from infra.topics import TOPICS

pytestmark = pytest.mark.service


async def partitions(kafka: Broker, prefix: str) -> dict[str, int]:
    """How many partitions each topic under the prefix has, by its declared name."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        return {
            topic["topic"].removeprefix(prefix): len(topic["partitions"])
            for topic in await admin.describe_topics()
            if topic["topic"].startswith(prefix)
        }
    finally:
        await admin.close()


async def test_every_topic_is_made_as_declared(kafka: Broker, topics: str) -> None:
    """All declared topics are there with their partitions."""
    assert await partitions(kafka, topics) == {topic.name: topic.partitions for topic in TOPICS}


async def test_making_them_again_changes_nothing(kafka: Broker, topics: str) -> None:
    """A second run makes no topic."""
    assert await ensure_topics(kafka.bootstrap_servers, topics) == []


async def test_another_partition_count_is_refused(kafka: Broker) -> None:
    """A topic with another number of partitions is named, with both numbers."""
    prefix = "mismatch."
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(prefix + TOPICS[0].name, 3, 1)])
        with pytest.raises(TopicMismatchError, match="has 3 partitions, expected 4"):
            await ensure_topics(kafka.bootstrap_servers, prefix)
    finally:
        await admin.close()
        await delete_topics(kafka.bootstrap_servers, prefix)


async def test_deleting_leaves_no_topic(kafka: Broker) -> None:
    """What was made under a prefix is gone after."""
    await ensure_topics(kafka.bootstrap_servers, "doomed.")
    await delete_topics(kafka.bootstrap_servers, "doomed.")
    assert await partitions(kafka, "doomed.") == {}
