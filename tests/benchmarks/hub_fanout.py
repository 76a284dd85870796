"""How the hub spreads prices: CPU, latency, share delivered and memory, by the number of clients.

    python -m tests.benchmarks.hub_fanout [--clients 50,500,2000] [--seconds 10]

Thirty symbols, twenty updates a second each, made in the hub's own process, so that nothing but the
hub is measured; all clients want all symbols, in JSON. The clients are another process. Both share
the machine's cores. Beside them one client never reads, and `/health` is asked all the time.
"""

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import aiohttp
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from infra.clock import now_ns
from infra.telemetry import Meters
from processors.events import RoutedPrice
from sinks.hub.access import Access
from sinks.hub.api import Api
from sinks.hub.broadcast import Broadcast
from sinks.hub.methods import Hub
from sinks.hub.replies import Replies
from sinks.hub.server import Limits, Server

SYMBOLS = [f"SYM{number:02}" for number in range(30)]
A_SECOND = 20
FILES = 8192
#: One client in so many is looked at closely; of the others the messages are counted.
LOOKED_AT = 50
END = b"\x1e"
UPGRADE = (
    b"GET /hubs/market-data HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
HELLO = b'{"protocol":"json","version":1}\x1e'
ALL = b'{"type":1,"target":"SubscribeToAssetClass","arguments":["STOCK"]}\x1e'


class _Update(msgspec.Struct):
    target: str = ""
    arguments: list[dict[str, Any]] = []


_update = msgspec.json.Decoder(_Update)


def masked(payload: bytes) -> bytes:
    """Return a client's frame, masked with zeros."""
    return bytes((0x81, 0x80 | 126)) + len(payload).to_bytes(2) + bytes(4) + payload


# -- the hub


async def serve() -> None:
    """Serve made-up prices on a free port, which is printed, until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    hub = Hub()
    broadcast = Broadcast(hub, Meters("hub", "pipeline", stage="hub"))
    access = Access(secret=None, anonymous=True)
    server = Server(broadcast, access, Limits(clients=FILES))

    async def give(_: object) -> int:
        """Take no command."""
        return 0

    Api(broadcast, access, give, Replies()).add_to(server.app)
    print(await server.start("127.0.0.1", 0), flush=True)  # noqa: T201
    making = asyncio.create_task(make(broadcast))
    await stop.wait()
    making.cancel()
    await server.stop()


async def make(broadcast: Broadcast) -> None:
    """Make prices: each symbol in its turn, all of them twenty times a second."""
    number = 0
    started = time.monotonic()
    while True:
        due = int((time.monotonic() - started) * A_SECOND * len(SYMBOLS))
        broadcast.put([a_price(each) for each in range(number, due)])
        number = due
        await asyncio.sleep(0.002)


def a_price(number: int) -> RoutedPrice:
    """Return a price of now."""
    now = now_ns()
    return RoutedPrice(
        symbol=SYMBOLS[number % len(SYMBOLS)],
        source="alpaca",
        feed="iex",
        session_id="bench",
        session_seq=number,
        received_at_ns=now,
        raw_topic="ticks.raw.alpaca",
        raw_partition=0,
        raw_offset=number,
        price=100 + number % 997 / 100,
        previous_close=100.0,
        change=number % 997 / 100,
        change_percent=number % 997 / 100,
        epoch=1,
        is_real_time=True,
        market_time_ns=now,
        routed_at_ns=now,
    )


# -- the clients


class Client:
    """Reads frames, counts the messages in them, and may look at how old they are."""

    def __init__(self, port: int, *, looks: bool) -> None:
        self._port = port
        self._looks = looks
        self.messages = 0
        self.ages: list[float] = []
        self._task: asyncio.Task[None] | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        """Connect and subscribe."""
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(UPGRADE + masked(HELLO) + masked(ALL))
        await reader.readuntil(b"\r\n\r\n")
        self._task = asyncio.create_task(self._read(reader))

    async def stop(self) -> None:
        """Leave."""
        if self._task and self._writer:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                length = (await reader.readexactly(2))[1]
                if length >= 126:  # RFC 6455, 5.2
                    length = int.from_bytes(await reader.readexactly(2 if length == 126 else 8))
                payload = await reader.readexactly(length)
                self.messages += payload.count(END)
                if self._looks:
                    self._look(payload)

    def _look(self, payload: bytes) -> None:
        now = time.time()
        for part in payload[:-1].split(END):
            update = _update.decode(part)
            if update.target == "PriceUpdate":
                made = datetime.fromisoformat(update.arguments[0]["timestamp"]).timestamp()
                self.ages.append(now - made)


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[psutil.Process, int]]:
    """A hub in a process of its own: it, and its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.hub_fanout", "--serve"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout
    try:
        port = int(await process.stdout.readline())
        draining = asyncio.create_task(process.stdout.read())
        yield psutil.Process(process.pid), port
        process.terminate()
        await process.wait()
        draining.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def ask(port: int, taken: list[float]) -> None:
    """Ask for the health, again and again, and note how long each answer takes."""
    async with aiohttp.ClientSession() as http:
        while True:
            began = time.perf_counter()
            async with http.get(f"http://127.0.0.1:{port}/api/symbols/active") as response:
                await response.read()
            taken.append(time.perf_counter() - began)
            await asyncio.sleep(0.05)


def of(share: float, values: list[float]) -> float:
    """Return a quantile, in milliseconds."""
    ranked = sorted(values)
    return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


async def measure(number: int, seconds: float) -> tuple[str, ...]:
    """Return a row of the table."""
    async with serving() as (hub, port):
        empty = hub.memory_info().rss
        clients = [Client(port, looks=n % LOOKED_AT == 0) for n in range(number)]
        for start in range(0, number, 100):
            await asyncio.gather(*(client.start() for client in clients[start : start + 100]))
        _, deaf = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        deaf.write(UPGRADE + masked(HELLO) + masked(ALL))
        await asyncio.sleep(2)  # what came with the snapshots is over
        taken: list[float] = []
        asking = asyncio.create_task(ask(port, taken))
        for client in clients:
            client.messages = 0
            client.ages.clear()
        cpu, began = sum(hub.cpu_times()[:2]), time.monotonic()
        await asyncio.sleep(seconds)
        spent, passed = sum(hub.cpu_times()[:2]) - cpu, time.monotonic() - began
        memory = (hub.memory_info().rss - empty) / number / 1024
        messages = sum(client.messages for client in clients)
        ages = [age for client in clients for age in client.ages]
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await asyncio.gather(*(client.stop() for client in clients))
        deaf.close()
    share = messages / (number * len(SYMBOLS) * A_SECOND * passed)
    return (
        f"{number:,}",
        f"{spent / passed:.2f}",
        " / ".join(f"{of(q, ages):.0f}" for q in (0.5, 0.95, 0.99)),
        f"{share:.0%}",
        f"{memory:.0f}",
        f"{of(0.95, taken):.0f}",
    )


async def main(numbers: list[int], seconds: float) -> None:
    """Measure each, and print the table."""
    table = Table(title="30 symbols x 20/s, JSON")
    for name in (
        *("clients", "CPU of one core", "ms to a client: p50 / p95 / p99"),
        *("delivered", "kB a client", "HTTP p95, ms"),
    ):
        table.add_column(name, justify="right")
    for number in numbers:
        table.add_row(*await measure(number, seconds))
    Console().print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", default="50,500,2000")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if options.serve:
        asyncio.run(serve())
    else:
        wanted = [int(each) for each in options.clients.split(",")]
        asyncio.run(main(wanted, options.seconds))
