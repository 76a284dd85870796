"""Ingest's processes as a test holds them, and a vendor for them to listen to."""

import asyncio
import json
import os
import sys
import time
import urllib.error
import urllib.request
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.topics import Topic

#: For an answer of a process that is starting on a busy machine.
ANSWER_S = 60.0


class Running:
    """One process of ingest; what it says goes to files, so that no pipe can hold it up."""

    def __init__(self, process: Process, out: Path, err: Path, port: int) -> None:
        self.process = process
        self.port = port
        self._out = out
        self._err = err

    @property
    def pid(self) -> int:
        """The process's number."""
        return self.process.pid

    @property
    def out(self) -> str:
        """What it logged."""
        return self._out.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What it logged, line by line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def err(self) -> str:
        """What it said to the terminal."""
        return self._err.read_text()

    async def ended(self, seconds: float) -> int | None:
        """Wait for its end; return its exit code."""
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def get(self, path: str) -> str:
        """Return what `path` answers; nothing where nobody answers yet."""

        def get() -> str:
            url = f"http://127.0.0.1:{self.port}{path}"
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    text: str = answer.read().decode()
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return ""
            return text

        return await asyncio.to_thread(get)

    async def answer(self, path: str, text: str) -> str:
        """Return what `path` answers once that contains `text`."""
        async with asyncio.timeout(ANSWER_S):
            while text not in (body := await self.get(path)):
                assert self.process.returncode is None, self.err + self.out
                await asyncio.sleep(0.05)
        return body

    async def metric(self, series: str) -> float:
        """Return the value of one series; 0 where it is not there."""
        for line in (await self.get("/metrics")).splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return 0.0


@asynccontextmanager
async def process_of(
    name: str, variables: Mapping[str, str], directory: Path
) -> AsyncIterator[Running]:
    """A stage's process, killed if it outlives the context."""
    out, err = directory / f"{name}.out", directory / f"{name}.err"
    with out.open("wb") as to_out, err.open("wb") as to_err:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", name),
            env={"PATH": os.environ["PATH"], **variables},
            stdout=to_out,
            stderr=to_err,
        )
    try:
        yield Running(process, out, err, int(variables.get("METRICS_PORT", "0")))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Vendor:
    """A stream that tells each client numbered ticks, so many a second, or one alone.

    Args:
        rate: ticks a second, half of them trades; 0 for one trade and then silence.

    """

    FRAME = 20

    def __init__(self, rate: int = 0) -> None:
        self.left = asyncio.Event()
        #: How many ticks were handed to a socket that was open.
        self.sent = 0
        self._rate = rate

    async def serve(self, connection: ServerConnection) -> None:
        """Take one client through the handshake to its ticks."""
        try:
            await connection.send('[{"T":"success","msg":"connected"}]')
            await connection.recv()
            await connection.send('[{"T":"success","msg":"authenticated"}]')
            symbols = json.loads(await connection.recv())["trades"]
            await connection.send(json.dumps([{"T": "subscription", "trades": symbols}]))
            if self._rate:
                await self._flow(connection, symbols)
            await connection.send(f"[{tick(1, symbols[:1])}]")
            self.sent = 1
            await connection.wait_closed()
        except ConnectionClosed:
            pass
        self.left.set()

    async def _flow(self, connection: ServerConnection, symbols: list[str]) -> None:
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * self._rate)
            while self.sent + self.FRAME <= due:
                numbers = range(self.sent + 1, self.sent + self.FRAME + 1)
                await connection.send(f"[{','.join(tick(n, symbols) for n in numbers)}]")
                self.sent += self.FRAME
            await asyncio.sleep(0.005)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Serve on a free port; the stream's address."""
        server: Server
        async with serve(self.serve, "127.0.0.1", 0) as server:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v2/iex"


def tick(number: int, symbols: list[str]) -> str:
    """Return a trade or a quote that carries its number."""
    kind = "t" if number % 2 else "q"
    return json.dumps({"T": kind, "S": symbols[number % len(symbols)], "i": number, "p": 1.1})


def settings(broker: Broker, stream: str, port: int, prefix: str = "") -> dict[str, str]:
    """Return the Alpaca worker's environment."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "TOPIC_PREFIX": prefix,
        "METRICS_PORT": str(port),
        "ALPACA_STREAM_URL": stream,
        "ALPACA_API_KEY_ID": "PKEY",
        "ALPACA_API_SECRET_KEY": "hush-hush",
    }


async def values(broker: Broker, topic: Topic, prefix: str = "") -> list[bytes]:
    """Return all that is in a topic, partition by partition."""
    return [
        record.value
        for partition in range(topic.partitions)
        async for record in read_to_end(broker.bootstrap_servers, prefix + topic.name, partition)
    ]
