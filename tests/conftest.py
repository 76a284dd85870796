"""What all tests share: the default marker, free ports, and a real broker of their own."""

import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import pytest
import pytest_asyncio

from infra.kafka.admin import delete_topics, ensure_topics
from infra.kafka.broker import Broker, BrokerConfig
from infra.stack.refusal import Refusal
from infra.stack.toolchain import Toolchain, resolve, tools_directory

RUNGS = ("unit", "service", "journey")


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Count a test without a rung as a unit test."""
    for item in items:
        if not any(item.get_closest_marker(rung) for rung in RUNGS):
            item.add_marker(pytest.mark.unit)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that returns a loopback port that nobody listens on."""
    return _free_port


@pytest.fixture(scope="session")
def java_and_kafka() -> Toolchain:
    """Java and Kafka's jars; skips where they cannot be had."""
    try:
        return resolve(tools_directory(), monitoring=False)
    except Refusal as refusal:
        pytest.skip(str(refusal))


@pytest.fixture(scope="session")
def make_broker(java_and_kafka: Toolchain) -> Callable[[Path], Broker]:
    """A function that makes a broker, not started, on free ports with its data in a directory."""
    java, jars = java_and_kafka.java, java_and_kafka.kafka
    assert java
    assert jars

    def make(directory: Path) -> Broker:
        return Broker(
            BrokerConfig(
                port=_free_port(),
                controller_port=_free_port(),
                directory=directory,
                java=java,
                jars=jars,
            )
        )

    return make


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kafka(
    make_broker: Callable[[Path], Broker], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Broker]:
    """A real broker for the whole run: `kafka.bootstrap_servers`."""
    broker = make_broker(tmp_path_factory.mktemp("kafka"))
    await broker.start()
    yield broker
    await broker.stop()


@pytest_asyncio.fixture
async def topics(kafka: Broker) -> AsyncIterator[str]:
    """The prefix of a fresh set of all declared topics on that broker."""
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    await ensure_topics(kafka.bootstrap_servers, prefix)
    yield prefix
    await delete_topics(kafka.bootstrap_servers, prefix)
