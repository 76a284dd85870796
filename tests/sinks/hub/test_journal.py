"""What the hub writes down, on real Kafka, and what of it is lost where Kafka takes nothing."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from infra import topics as declared
from infra.kafka.broker import Broker
from infra.settings import StageSettings
from sinks.events import (
    ClientConnected,
    ClientLeft,
    DeliveryEvent,
    ProbeAnswered,
    SessionEvent,
)
from sinks.hub import journal
from sinks.hub.journal import WAITING, KafkaJournal
from sinks.hub.sessions import Session
from tests.sinks.hub.running import said

pytestmark = pytest.mark.service

SESSION_OF_ANN = Session(connection_id="c", hub="dashboard", user="ann", since_ns=7)
#: Topics that there are none of.
NOWHERE = "nowhere."


def answer(at_ns: int = 1) -> ProbeAnswered:
    """A client's answer to a probe."""
    return ProbeAnswered(at_ns=at_ns, hub_id="h", connection_id="c", round_trip_s=0.01, age_s=0.2)


def keeping(kafka: Broker, prefix: str) -> KafkaJournal:
    """A journal that is not open yet."""
    settings = {"kafka_bootstrap_servers": kafka.bootstrap_servers, "topic_prefix": prefix}
    return KafkaJournal(StageSettings.model_validate(settings))


async def until(condition: Callable[[], object]) -> None:
    """Wait for it."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the end of it take its time: the machine may be busy."""
    monkeypatch.setattr(journal, "FAREWELL_S", 60.0)


@pytest.mark.usefixtures("_patient")
async def test_what_clients_acknowledged_is_in_the_log(kafka: Broker, topics: str) -> None:
    """Deliveries and sessions each in their own topic, the last of them at the end."""
    kept = keeping(kafka, topics)
    await kept.start()
    kept.note(answer())
    kept.note(SESSION_OF_ANN.came("json"))
    kept.note(SESSION_OF_ANN.left(9))
    await kept.stop()
    assert await said(kafka, topics, declared.HUB_DELIVERIES, DeliveryEvent) == [answer()]
    came, left = await said(kafka, topics, declared.HUB_SESSIONS, SessionEvent)
    assert isinstance(came, ClientConnected)
    assert isinstance(left, ClientLeft)
    assert (came.user, left.user, left.connected_at_ns) == ("ann", "ann", 7)


@pytest.mark.usefixtures("_patient")
async def test_of_too_much_the_oldest_is_lost(kafka: Broker, topics: str) -> None:
    """It is counted; as much as may wait is in the log, in order, once Kafka takes it."""
    kept = keeping(kafka, topics)
    for number in range(WAITING + 3):
        kept.note(answer(number))
    with capture_logs() as logs:
        await kept.start()
        await kept.stop()
    (told,) = [each for each in logs if each["event"].startswith("journal_")]
    assert (told["event"], told["lost"]) == ("journal_overflowed", 3)
    found = await said(kafka, topics, declared.HUB_DELIVERIES, DeliveryEvent)
    assert [each.at_ns for each in found] == [*range(3, WAITING + 3)]


@pytest.mark.usefixtures("_patient")
async def test_what_kafka_refuses_is_counted(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By topic: it waits no more, and is tried no more."""
    monkeypatch.setattr("infra.kafka.batches.GONE_S", 0.2)
    monkeypatch.setattr("infra.kafka.batches.REQUEST_TIMEOUT_MS", 500)
    kept = keeping(kafka, NOWHERE)
    await kept.start()
    with capture_logs() as logs:
        kept.note(answer())
        kept.note(answer())
        kept.note(SESSION_OF_ANN.left(9))
        await until(lambda: len(_told(logs, "journal_refused")) == 2)
        await kept.stop()
    lost = {each["topic"]: each["lost"] for each in _told(logs, "journal_refused")}
    deliveries, sessions = declared.HUB_DELIVERIES, declared.HUB_SESSIONS
    assert lost == {NOWHERE + deliveries.name: 2, NOWHERE + sessions.name: 1}
    assert not _told(logs, "journal_cut_off")


async def test_what_was_under_way_at_the_end_is_counted(
    kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what had to wait for it."""
    monkeypatch.setattr(journal, "FAREWELL_S", 0.3)
    kept = keeping(kafka, NOWHERE)
    await kept.start()
    with capture_logs() as logs:
        kept.note(answer())
        kept.note(SESSION_OF_ANN.left(9))
        await until(lambda: not kept._waiting)
        kept.note(answer())
        await kept.stop()
    (told,) = _told(logs, "journal_cut_off")
    assert told["lost"] == 3
    monkeypatch.setattr("infra.kafka.batches.GONE_S", 0.0)
    await kept._producer.stop()  # which a process that ends does not wait for


def _told(logs: list[Any], event: str) -> list[Any]:
    return [each for each in logs if each["event"] == event]
