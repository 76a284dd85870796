"""A running stack, as a test holds it: its processes, its log, its history and its metrics."""

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from infra.stack import board as boards
from infra.stack.plan import HOST, PORTS
from infra.stack.supervisor import State, Status

#: Bound, with an offset, for as long as the offset is somebody's: no port of a stack itself.
OFFSETS_PORT = 19_000
READY_SECONDS = 120.0
#: What the stack promises, and what the interpreter takes on top.
END_SECONDS = 10.0 + 3.0


@contextlib.contextmanager
def ports_of_its_own() -> Iterator[int]:
    """Hold a port offset at which all ports of a stack are free; no other test gets it."""
    numbers = [number for ports in PORTS.values() for number, _ in ports]
    for offset in itertools.count(2_000, 100):
        with contextlib.ExitStack() as held, contextlib.suppress(OSError):
            held.enter_context(socket.socket()).bind((HOST, OFFSETS_PORT + offset))
            with contextlib.ExitStack() as probes:
                for number in numbers:
                    probes.enter_context(socket.socket()).bind((HOST, number + offset))
            held_on = held.pop_all()
            break
    with held_on:
        yield offset


class Stack:
    """One stack, started by the command line as a user would.

    Args:
        data: its data directory.
        offset: its port offset.
        env: on top of the environment.

    """

    def __init__(self, data: Path, offset: int, env: Mapping[str, str], *options: str) -> None:
        self.data = data
        self.offset = offset
        self.env = {**os.environ, **env}
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._http: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        """Start it, and wait until all of it is ready."""
        self.data.parent.mkdir(parents=True, exist_ok=True)
        self._http = aiohttp.ClientSession()
        with (self.data.parent / "output").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "infra.cli", "up", "--plain"),
                *("--data", str(self.data), "--port-offset", str(self.offset)),
                *self._options,
                env=self.env,
                stdout=output,
                stderr=output,
            )
        await self.until(self.all_ready, READY_SECONDS)

    async def stop(self, within: float = END_SECONDS) -> float:
        """End it as Ctrl-C does; return the seconds that it took. It must end in order."""
        assert self._process
        started = time.monotonic()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        try:
            code = await asyncio.wait_for(self._process.wait(), within)
        except TimeoutError:
            self._process.kill()
            raise
        finally:
            if self._http:
                await self._http.close()
        assert code == 0, self.output()
        return time.monotonic() - started

    def output(self) -> str:
        """Return what it printed."""
        return (self.data.parent / "output").read_text(encoding="utf-8")

    def port(self, process: str, which: int = 0) -> int:
        """Return a port of a process."""
        return PORTS[process][which][0] + self.offset

    @property
    def kafka(self) -> str:
        """Where Kafka is."""
        return f"127.0.0.1:{self.port('kafka')}"

    def statuses(self) -> dict[str, Status]:
        """Return what the supervisor says of every process."""
        board = boards.read(self.data)
        return {status.name: status for status in board.statuses} if board else {}

    async def all_ready(self) -> bool:
        """Return whether every process is ready."""
        assert self._process
        assert self._process.returncode is None, self.output()
        statuses = self.statuses()
        done = {State.READY, State.DONE}
        return bool(statuses) and all(status.state in done for status in statuses.values())

    async def end(self, name: str, how: signal.Signals = signal.SIGKILL) -> None:
        """End one process, and wait until its successor is ready."""
        before = self.statuses()[name].pid
        assert before
        os.kill(before, how)

        async def succeeded() -> bool:
            status = self.statuses()[name]
            return status.state is State.READY and status.pid not in {None, before}

        await self.until(succeeded, 60)

    async def until(self, condition: Callable[[], Awaitable[Any]], seconds: float) -> float:
        """Wait for a condition; return the seconds that it took."""
        started = time.monotonic()
        while not await condition():
            if time.monotonic() - started > seconds:
                name = getattr(condition, "__name__", repr(condition))
                message = f"{name}: not within {seconds} s\n{self.output()[-3000:]}"
                raise AssertionError(message)
            await asyncio.sleep(0.2)
        return time.monotonic() - started

    async def rows(self, sql: str) -> list[dict[str, Any]]:
        """Ask ClickHouse over HTTP."""
        assert self._http
        url = f"http://127.0.0.1:{self.port('clickhouse')}/"
        parameters = {"database": "twinfeed", "default_format": "JSONEachRow"}
        async with self._http.post(url, params=parameters, data=sql.encode()) as response:
            body = await response.read()
            assert response.status == 200, body.decode()
            return [orjson.loads(line) for line in body.splitlines()]

    async def value(self, sql: str) -> Any:
        """Ask ClickHouse for one value."""
        (row,) = await self.rows(sql)
        (value,) = row.values()
        return value

    async def prometheus(self, expression: str) -> list[dict[str, Any]]:
        """Ask Prometheus for an instant vector."""
        assert self._http
        url = f"http://127.0.0.1:{self.port('prometheus')}/api/v1/query"
        async with self._http.get(url, params={"query": expression}) as response:
            answer = orjson.loads(await response.read())
        assert answer["status"] == "success", answer
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    @contextlib.asynccontextmanager
    async def _consumer(self) -> AsyncIterator[AIOKafkaConsumer]:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.kafka, enable_auto_commit=False, auto_offset_reset="earliest"
        )
        await consumer.start()
        try:
            yield consumer
        finally:
            await consumer.stop()

    async def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """Return how many records each partition of a topic has had."""
        async with self._consumer() as consumer:
            ends = await consumer.end_offsets([TopicPartition(topic, p) for p in range(partitions)])
        return {tp.partition: offset for tp, offset in ends.items()}

    async def committed(self, group: str, topic: str) -> dict[int, int]:
        """Return up to where a consumer group has done each partition of a topic."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.kafka)
        await admin.start()
        try:
            kept = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
        return {tp.partition: place.offset for tp, place in kept.items() if tp.topic == topic}

    async def records(self, topic: str, partitions: int) -> list[ConsumerRecord]:
        """Return all records that a topic has now, in order by partition."""
        tps = [TopicPartition(topic, partition) for partition in range(partitions)]
        found: list[ConsumerRecord] = []
        async with self._consumer() as consumer:
            consumer.assign(tps)
            ends = await consumer.end_offsets(tps)
            for tp in tps:
                while await consumer.position(tp) < ends[tp]:
                    for records in (await consumer.getmany(tp, timeout_ms=500)).values():
                        found += records
        return found


@contextlib.asynccontextmanager
async def a_stack(
    folder: Path,
    *options: str,
    env: Mapping[str, str] | None = None,
    end_within: float = END_SECONDS,
) -> AsyncIterator[Stack]:
    """Run a stack on ports of its own for the length of the block, and see it end in order."""
    with ports_of_its_own() as offset:
        stack = Stack(folder / "stack" / "data", offset, env or {}, *options)
        try:
            await stack.start()
            yield stack
        finally:
            await stack.stop(end_within)
