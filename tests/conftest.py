"""What all tests share: the default marker, free ports, and a real broker of their own."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import settings

from infra.kafka.admin import delete_topics, ensure_topics
from infra.kafka.broker import Broker
from infra.stack.refusal import Refusal
from infra.stack.toolchain import (
    Monitoring,
    Toolchain,
    find_monitoring,
    resolve,
    tools_directory,
)
from tests import browser, own_broker

#: A machine that is busy with something else makes no law untrue.
settings.register_profile("busy", deadline=None)
settings.load_profile("busy")

RUNGS = ("unit", "service", "journey", "soak")


@pytest.hookimpl(tryfirst=True)  # before `-m` deselects
def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    """Count a test without a rung as a unit test."""
    for item in items:
        if not any(item.get_closest_marker(rung) for rung in RUNGS):
            item.add_marker(pytest.mark.unit)


@pytest.fixture(scope="session", autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where processes keep their temporary files: those that are killed put nothing away."""
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("scratch")
        patch.setenv("TMPDIR", str(directory))
        yield directory


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A function that returns a loopback port that nobody listens on."""
    return own_broker.free_port


@pytest.fixture(scope="session")
def java_and_kafka() -> Toolchain:
    """Java and Kafka's jars; skips where they cannot be had."""
    try:
        return resolve(tools_directory(), monitoring=False)
    except Refusal as refusal:
        pytest.skip(str(refusal))


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser; where there is none, Debian's is installed."""
    return browser.find()


@pytest.fixture(scope="session")
def monitoring() -> Monitoring:
    """Prometheus, Alertmanager and their checkers; skips where they cannot be had."""
    try:
        return find_monitoring(tools_directory(), lambda _: None)
    except Refusal as refusal:
        pytest.skip(str(refusal))


@pytest.fixture(scope="session")
def make_broker(java_and_kafka: Toolchain) -> Callable[[Path], Broker]:
    """A function that makes a broker, not started, on free ports with its data in a directory."""

    def make(directory: Path) -> Broker:
        return own_broker.broker_in(directory, java_and_kafka)

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


@pytest_asyncio.fixture
async def broker(make_broker: Callable[[Path], Broker], tmp_path: Path) -> AsyncIterator[Broker]:
    """A real broker of a test's own, with all declared topics: it may be taken away."""
    broker = make_broker(tmp_path / "broker")
    await broker.start()
    await ensure_topics(broker.bootstrap_servers)
    yield broker
    await broker.stop()
