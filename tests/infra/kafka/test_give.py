"""A command that cannot be written is said not to be."""

import pytest

from infra.commands import Hold
from infra.kafka.broker import Broker
from infra.kafka.give import NotTakenError, give

pytestmark = pytest.mark.service

HOLD = Hold(at_ns=1, who="ann", why="a test", target="router")


async def test_without_the_topic(kafka: Broker) -> None:
    """It is not made by the by."""
    with pytest.raises(
        NotTakenError, match=r"topic gone\.ops\.commands is not on the Kafka cluster"
    ):
        await give(HOLD, kafka.bootstrap_servers, "gone.ops.commands")


async def test_without_a_broker() -> None:
    """It is named."""
    with pytest.raises(NotTakenError, match=r"Kafka at 127\.0\.0\.1:1 does not take the command"):
        await give(HOLD, "127.0.0.1:1", "ops.commands")
