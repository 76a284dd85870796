"""What operators ask of ingest, on a real broker: carried out once, by whom it is meant for."""

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import msgspec
import pytest
from structlog.testing import capture_logs

from infra.commands import Command, Reconnect, ReloadSymbols
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.topics import COMMANDS
from ingest.commands import obey
from ingest.events import Source

pytestmark = pytest.mark.service

#: On a machine that is busy with everything else.
DEADLINE_S = 120

Logs = Sequence[MutableMapping[str, Any]]


def _reload(why: str, target: Literal["alpaca", "yahoo", "all"]) -> ReloadSymbols:
    return ReloadSymbols(at_ns=1, who="ann", why=why, target=target)


def _reconnect(why: str) -> Reconnect:
    return Reconnect(at_ns=1, who="ann", why=why, target="alpaca")


class Operator:
    """Writes commands, and whatever else."""

    def __init__(self, producer: BatchProducer, topic: str) -> None:
        self._producer, self._topic = producer, topic

    async def give(self, command: Command) -> None:
        """Write one command; on return Kafka has it."""
        await self.write(msgspec.json.encode(command))

    async def write(self, value: bytes) -> None:
        """Write a record; on return Kafka has it."""
        delivery = await self._producer.send(
            self._topic, 0, [Record(b"alpaca", value)], COMMANDS.header
        )
        await delivery


@asynccontextmanager
async def _operator(broker: Broker, topic: str) -> AsyncIterator[Operator]:
    producer = BatchProducer(broker.bootstrap_servers, client_id="test", patient=True)
    await producer.start()
    try:
        yield Operator(producer, topic)
    finally:
        await producer.stop()


class Obeying:
    """One source's worker that obeys, and what it was told."""

    def __init__(self, broker: Broker, topic: str, source: Source, logs: Logs) -> None:
        self.reloads = 0
        self.reconnections: list[str] = []
        self._source: Source = source
        self.logs = logs
        self.task = asyncio.create_task(
            obey(
                broker.bootstrap_servers,
                topic,
                source=source,
                reload=self._reload,
                reconnect=self.reconnections.append if source == "alpaca" else None,
            )
        )

    def _reload(self) -> None:
        self.reloads += 1

    @property
    def reasons(self) -> list[str]:
        """Why it was asked, command by command."""
        return [log["why"] for log in self.logs if log["event"] == "command"]

    async def has(self, why: str) -> None:
        """Wait until it was asked for this reason."""
        async with asyncio.timeout(DEADLINE_S):
            while why not in self.reasons:
                assert not self.task.done()
                await asyncio.sleep(0.05)

    async def listens(self, operator: Operator) -> None:
        """Ask until one gets through: it follows the log now, and has carried out all before."""
        async with asyncio.timeout(DEADLINE_S):
            number = 0
            while not self.reasons:
                assert not self.task.done()
                await operator.give(_reload(f"{number}", self._source))
                number += 1
                await asyncio.sleep(0.2)
        await operator.give(_reload("listening", self._source))
        await self.has("listening")


@asynccontextmanager
async def _obeying(broker: Broker, topic: str, source: Source) -> AsyncIterator[Obeying]:
    with capture_logs() as logs:
        obeying = Obeying(broker, topic, source, logs)
        try:
            yield obeying
        finally:
            obeying.task.cancel()
            await asyncio.gather(obeying.task, return_exceptions=True)


async def test_commands_are_carried_out_once_and_in_order(kafka: Broker, topics: str) -> None:
    """Those given before are not, because nobody means them any more."""
    topic = topics + COMMANDS.name
    async with _operator(kafka, topic) as operator:
        await operator.give(_reconnect("long ago"))
        async with _obeying(kafka, topic, "alpaca") as obeying:
            await obeying.listens(operator)
            told = len(obeying.reasons)
            assert "long ago" not in obeying.reasons
            for command in (
                _reconnect("one"),
                _reload("two", "alpaca"),
                _reload("three", "yahoo"),
                _reload("four", "all"),
                _reconnect("five"),
            ):
                await operator.give(command)
            await obeying.has("five")
            assert obeying.reasons[told:] == ["one", "two", "four", "five"]
            assert obeying.reconnections == ["ann: one", "ann: five"]
            assert obeying.reloads == told + 2


async def test_yahoo_has_no_connection_to_leave(kafka: Broker, topics: str) -> None:
    """Its poller reloads its list, and is not meant by anything else."""
    topic = topics + COMMANDS.name
    async with _operator(kafka, topic) as operator, _obeying(kafka, topic, "yahoo") as obeying:
        await obeying.listens(operator)
        told = len(obeying.reasons)
        for command in (_reconnect("one"), _reload("two", "alpaca"), _reload("three", "all")):
            await operator.give(command)
        await obeying.has("three")
        assert obeying.reasons[told:] == ["three"]
        assert not obeying.reconnections


async def test_what_is_no_command_is_told_and_passed(kafka: Broker, topics: str) -> None:
    """Somebody else's record in the topic ends nothing."""
    topic = topics + COMMANDS.name
    garbage = (
        b"",
        b"\xff",
        b"[" * 10_000,
        b'{"command": "shut_down", "target": "alpaca", "at_ns": 1, "who": "a", "why": "b"}',
        b'{"command": "reconnect", "target": "nasdaq", "at_ns": 1, "who": "a", "why": "b"}',
        b'{"command": "reconnect", "target": "alpaca"}',
    )
    async with _operator(kafka, topic) as operator, _obeying(kafka, topic, "alpaca") as obeying:
        await obeying.listens(operator)
        for value in garbage:
            await operator.write(value)
        await operator.give(_reconnect("after all"))
        await obeying.has("after all")
        assert obeying.reconnections == ["ann: after all"]
        told = [log for log in obeying.logs if log["event"] == "command_unreadable"]
        assert len(told) == len(garbage)


async def test_a_broker_that_was_away_is_waited_for(broker: Broker) -> None:
    """When the following begins, and in the middle of it: none of ingest's work ends for that."""
    async with _operator(broker, COMMANDS.name) as operator:
        await broker.kill()
        async with _obeying(broker, COMMANDS.name, "alpaca") as obeying:
            await asyncio.sleep(3)  # the outage: several attempts that fail
            assert not obeying.task.done()
            await broker.start()
            await obeying.listens(operator)
            await broker.kill()
            await broker.start()
            await operator.give(_reconnect("after the outage"))
            await obeying.has("after the outage")
            assert obeying.reconnections == ["ann: after the outage"]
