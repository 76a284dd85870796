"""The router as real processes on a real Kafka."""

import asyncio
import contextlib
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path

import aiohttp
import msgspec
import pytest

from infra import topics as declared
from infra.commands import Answer, Command, Failover, Release
from infra.fence import Story
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.topics import Topic
from ingest.events import SourceStatus
from processors.events import RouterTransition
from processors.looks import Look, Pending, retell, that_count
from tests.processors.test_route import disconnected, heartbeat

pytestmark = pytest.mark.service

#: On a machine that is busy with everything else.
DEADLINE_S = 120

#: What only the router that is in office exposes.
_IN_A_STATE = re.compile(r"^datasource_router_state\{.*\} 1\.0$", re.MULTILINE)


class World:
    """What the sources say and operators ask, and what the routers wrote."""

    def __init__(self, servers: str, prefix: str, producer: BatchProducer) -> None:
        self.servers, self.prefix = servers, prefix
        self._producer = producer
        #: Whether a source is up, down and says so, or dead (None: says nothing).
        self.up: dict[str, bool | None] = {"alpaca": True, "yahoo": True}

    async def beat(self) -> None:
        """Have the sources say every second how they are; for ever."""
        while True:
            for source, up in self.up.items():
                if up is not None:
                    await self.say(heartbeat(source, time.time_ns(), up=up))
            await asyncio.sleep(1)

    async def say(self, fact: SourceStatus) -> None:
        """Write a fact."""
        await self._write(declared.SOURCES_STATUS, fact)

    async def ask(self, command: Command) -> None:
        """Write a command."""
        await self._write(declared.COMMANDS, command)

    async def _write(self, topic: Topic, event: SourceStatus | Command) -> None:
        record = Record(b"key", msgspec.json.encode(event), event.at_ns // 1_000_000)
        await (await self._producer.send(self.prefix + topic.name, 0, [record], topic.header))

    async def values(self, topic: Topic) -> list[bytes]:
        """Return what a topic holds."""
        name = self.prefix + topic.name
        return [record.value async for record in read_to_end(self.servers, name, 0)]

    async def transitions(self) -> list[RouterTransition]:
        """Return the transitions that count for a reader."""
        story, found = Story(), []
        for value in await self.values(declared.TRANSITIONS):
            transition = msgspec.json.decode(value, type=RouterTransition)
            if story.accepts(transition):
                found.append(transition)
            story = story.after(transition)
        return found

    async def answers(self) -> list[Answer]:
        """Return the answers."""
        values = await self.values(declared.ANSWERS)
        return [msgspec.json.decode(value, type=Answer) for value in values]

    async def comes_to(self, *states: str) -> list[RouterTransition]:
        """Wait until the transitions end with these; return all."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                found = await self.transitions()
                if [t.to_state for t in found][-len(states) :] == list(states):
                    return found
                await asyncio.sleep(0.1)

    async def lose_alpaca(self) -> None:
        """Have Alpaca refuse our keys: whoever is the router fails over at once."""
        self.up["alpaca"] = False
        await self.say(disconnected(time.time_ns(), "auth"))

    async def generation(self) -> int:
        """Return the generation of the last router that has begun."""
        values = await self.values(declared.ROUTER_LOOKS)
        looks: list[Look] = [msgspec.json.decode(value, type=Look) for value in values]
        return max(look.generation for look in looks)

    async def begun_after(self, generation: int) -> int:
        """Wait until a router of a higher generation has begun, and return that."""
        async with asyncio.timeout(DEADLINE_S):
            while await self.generation() <= generation:
                await asyncio.sleep(0.1)
        return await self.generation()

    async def is_one_story(self) -> None:
        """Hold the log to its laws: one story, and the facts tell it again, byte for byte."""
        values = await self.values(declared.TRANSITIONS)
        found = await self.transitions()
        assert [t.epoch for t in found] == list(range(1, len(found) + 1))
        states = ["STARTUP", *(t.to_state for t in found)]
        assert [t.from_state for t in found] == states[:-1]
        by_epoch = {msgspec.json.decode(value)["epoch"]: value for value in values}
        assert set(values) == set(by_epoch.values()), "two transitions for one epoch"
        looks = await self.values(declared.ROUTER_LOOKS)
        counts = that_count(enumerate(msgspec.json.decode(v, type=Look) for v in looks))
        pending = Pending()
        for offset, value in enumerate(await self.values(declared.SOURCES_STATUS)):
            pending.add_fact(offset, msgspec.json.decode(value, type=SourceStatus))
        for offset, value in enumerate(await self.values(declared.COMMANDS)):
            pending.add_command(offset, msgspec.json.decode(value, type=Command))
        decisions = [decision for _, decision in retell((look for _, look in counts), pending)]
        assert [d.transition for d in decisions if d.transition] == found
        assert [msgspec.json.encode(t) for t in found] == [by_epoch[t.epoch] for t in found], (
            "not what the log says again"
        )
        answers = [d.answer for d in decisions if d.answer]
        assert list({a.command_offset: a for a in await self.answers()}.values()) == answers


@contextlib.asynccontextmanager
async def _world(kafka: Broker, topics: str) -> AsyncIterator[World]:
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    world = World(kafka.bootstrap_servers, topics, producer)
    beating = asyncio.create_task(world.beat())
    try:
        yield world
        assert not beating.done()
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await producer.stop()


@contextlib.asynccontextmanager
async def _router(world: World, port: int, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a router; it is ready, which is not to say that it is the one."""
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "processors", "route"),
            env={
                **{k: v for k, v in os.environ.items() if k != "MEMBER_NAME"},
                "KAFKA_BOOTSTRAP_SERVERS": world.servers,
                "TOPIC_PREFIX": world.prefix,
                "METRICS_PORT": str(port),
                "MARKET_HOURS": "always",
            },
            stdout=output,
            stderr=output,
        )
    try:
        async with asyncio.timeout(DEADLINE_S), aiohttp.ClientSession() as http:
            while True:
                assert process.returncode is None, f"a router ended: see {log}"
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"http://127.0.0.1:{port}/ready") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.1)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _the_one(ports: Collection[int]) -> int:
    """Wait until just one of the routers says in which state it is; return its port."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            told = [port for port in ports if _IN_A_STATE.search(await _metrics(port))]
            if len(told) == 1:
                return told[0]
            await asyncio.sleep(0.1)


async def _metrics(port: int) -> str:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"http://127.0.0.1:{port}/metrics") as answer,
    ):
        return await answer.text()


def _failover(to: str) -> Failover:
    return Failover(at_ns=time.time_ns(), who="ann", why="a test", target="router", to=to)  # type: ignore[arg-type]


@pytest.mark.timeout(600)
async def test_a_router_answers_and_measures(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Refused, done, done; and how long Yahoo and Alpaca took to take over."""
    port = free_port()
    async with _world(kafka, topics) as world, _router(world, port, tmp_path / "log") as router:
        await world.comes_to("PRIMARY_ACTIVE")
        await world.ask(Release(at_ns=time.time_ns(), who="ann", why="a test", target="router"))
        await world.lose_alpaca()
        await world.comes_to("FALLBACK_ACTIVE")
        await world.ask(_failover("alpaca"))
        async with asyncio.timeout(DEADLINE_S):
            while len(await world.answers()) < 2:
                await asyncio.sleep(0.1)
        world.up["alpaca"] = True
        await world.comes_to("PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "PRIMARY_ACTIVE")
        await world.ask(_failover("yahoo"))
        await world.comes_to("PRIMARY_ACTIVE", "FALLBACK_ACTIVE")
        async with asyncio.timeout(DEADLINE_S):
            while len(await world.answers()) < 3:
                await asyncio.sleep(0.1)
        assert [(a.outcome, a.reason) for a in await world.answers()] == [
            ("refused", "not_held"),
            ("refused", "source_down"),
            ("done", ""),
        ]
        metrics = await _metrics(port)
        assert "datasource_router_recovery_time_seconds_count 2.0" in metrics
        assert "datasource_router_restoration_time_seconds_count 1.0" in metrics
        assert "datasource_router_held 1.0" in metrics
        router.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(router.wait(), DEADLINE_S) == 0
        await world.is_one_story()


@pytest.mark.timeout(600)
async def test_a_frozen_router_and_a_killed_one_tell_one_story_with_their_successors(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Each in the middle of a failover; whoever is left succeeds the one that was killed."""
    one, other = free_port(), free_port()
    async with _world(kafka, topics) as world, contextlib.AsyncExitStack() as running:
        first, second = await asyncio.gather(
            running.enter_async_context(_router(world, one, tmp_path / "one")),
            running.enter_async_context(_router(world, other, tmp_path / "other")),
        )
        await world.comes_to("PRIMARY_ACTIVE")
        routers = {one: first, other: second}
        frozen = routers[await _the_one(routers)]
        await world.lose_alpaca()
        frozen.send_signal(signal.SIGSTOP)
        generation = await world.begun_after(await world.generation())
        await world.comes_to("PRIMARY_ACTIVE", "FALLBACK_ACTIVE")
        frozen.send_signal(signal.SIGCONT)
        world.up["alpaca"] = True
        await world.say(heartbeat("alpaca", time.time_ns()))
        # at once, or by itself where the command is heard before the heartbeat
        await world.ask(_failover("alpaca"))
        back = (await world.comes_to("FALLBACK_ACTIVE", "PRIMARY_ACTIVE"))[-1]
        assert back.generation >= generation
        # Kafka may give the office to either; who does not hold it does not tell a state
        in_office = await _the_one(routers)
        await world.lose_alpaca()
        routers.pop(in_office).kill()
        await world.comes_to("PRIMARY_ACTIVE", "FALLBACK_ACTIVE")
        successor = routers[await _the_one(routers)]
        successor.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(successor.wait(), DEADLINE_S) == 0
        await world.is_one_story()
