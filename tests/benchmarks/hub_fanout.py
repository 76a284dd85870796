"""How the hub spreads prices: CPU, latency, share delivered and memory, by the number of clients.

    python -m tests.benchmarks.hub_fanout [--clients 50,500,2000] [--seconds 10]

Thirty symbols, twenty updates a second each, made in the hub's own process, so that nothing but the
hub is measured; all clients want all symbols, in JSON. The clients are another process. Both share
the machine's cores. Beside them one client never reads.

Meanwhile every GET of the API is asked, one after the other and around again, by a third process,
and the run fails where the fewest clients are served and 95 % of the answers of any of them took
50 ms or more. What the answers are made of is as much as there is in a day: heartbeats, twenty
transitions, five alerts. All of it is in the hub's memory but for `/api/slo`, which is asked of
Prometheus: a server that answers as it does stands in for it, in the process of the clients. That
answer is kept for ten seconds, so few of these answers are fresh; the longest is one of them.
"""

import argparse
import asyncio
import contextlib
import json
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
from sinks.hub.operations import OPERATIONS
from sinks.hub.promises import Promises
from sinks.hub.replies import Replies
from sinks.hub.server import Limits, Server
from tests.sinks.hub.prices import SESSION, beat, transition
from tests.sinks.hub.promised import knowing
from tests.sinks.hub.told import fired, watchdog

SYMBOLS = [f"SYM{number:02}" for number in range(30)]
A_SECOND = 20
FILES = 8192
#: One client in so many is looked at closely; of the others the messages are counted.
LOOKED_AT = 50
#: All that the API tells, each with the answer of a hub that is well.
ASKED = {each.path: each.status for each in OPERATIONS if each.method == "get"}
#: Of 95 % of the answers of each, where the fewest clients are served.
WITHIN_MS = 50
BETWEEN_S = 0.005
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


async def serve(prometheus: str) -> None:
    """Serve made-up prices on a free port, which is printed, until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    hub = Hub()
    know(hub)
    broadcast = Broadcast(hub, Meters("hub", "pipeline", stage="hub"))
    access = Access(secret=None, anonymous=True)
    server = Server(broadcast, access, Limits(clients=FILES))

    async def give(_: object) -> int:
        """Take no command."""
        return 0

    Api(broadcast, access, give, Replies(), promises=Promises(prometheus)).add_to(server.app)
    print(await server.start("127.0.0.1", 0), flush=True)  # noqa: T201
    working = [asyncio.create_task(make(broadcast)), asyncio.create_task(stay_well(hub))]
    await stop.wait()
    for each in working:
        each.cancel()
    await server.stop()


def know(hub: Hub) -> None:
    """Have a hub know what one knows after a day."""
    for epoch in range(1, 21):
        hub.switch(transition("FALLBACK_ACTIVE" if epoch % 2 else "PRIMARY_ACTIVE", epoch))
    hub.session = SESSION
    hub.followed.update(alpaca=SYMBOLS, yahoo=SYMBOLS)
    for event in (watchdog(now_ns()), *(fired(str(number)) for number in range(5))):
        hub.alarms.take(event)


async def stay_well(hub: Hub) -> None:
    """Say once a second that either source is well, as the sources do."""
    while True:
        now = now_ns()
        for source in ("alpaca", "yahoo"):
            hub.sources[source].take(beat(now, source=source))
        await asyncio.sleep(1)


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
        epoch=20,
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
async def another(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """This module again, in a process of its own, until it is left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.benchmarks.hub_fanout", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
        if process.returncode is None:
            process.terminate()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[psutil.Process, int]]:
    """A hub in a process of its own: it, and its port."""
    async with knowing([]) as prometheus, another("--serve", prometheus) as process:
        assert process.stdout
        port = int(await process.stdout.readline())
        draining = asyncio.create_task(process.stdout.read())
        try:
            yield psutil.Process(process.pid), port
        finally:
            process.terminate()
            await draining  # it tells of each client that leaves, and waits to be read


# -- who asks over HTTP


async def ask(port: int, seconds: float) -> None:
    """Ask for everything, again and again, and print how long each answer takes."""
    taken: dict[str, list[float]] = {path: [] for path in ASKED}
    ends = time.monotonic() + seconds
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        while time.monotonic() < ends:
            for path, status in ASKED.items():
                began = time.perf_counter()
                async with http.get(path) as response:
                    body = await response.read()
                taken[path].append(time.perf_counter() - began)
                assert response.status == status, body
                await asyncio.sleep(BETWEEN_S)
    print(json.dumps(taken), flush=True)  # noqa: T201


async def told(port: int, seconds: float) -> dict[str, list[float]]:
    """Return how long the answers took that came in so many seconds."""
    async with another("--ask", str(port), "--seconds", str(seconds)) as process:
        assert process.stdout
        taken: dict[str, list[float]] = json.loads(await process.stdout.read())
        await process.wait()
    return taken


def of(share: float, values: list[float]) -> float:
    """Return a quantile, in milliseconds."""
    ranked = sorted(values)
    return 1000 * ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else float("nan")


# -- the figures


async def measure(number: int, seconds: float) -> tuple[tuple[str, ...], dict[str, list[float]]]:
    """Return a row of the table, and how long the answers over HTTP took."""
    async with serving() as (hub, port):
        empty = hub.memory_info().rss
        clients = [Client(port, looks=n % LOOKED_AT == 0) for n in range(number)]
        for start in range(0, number, 100):
            await asyncio.gather(*(client.start() for client in clients[start : start + 100]))
        _, deaf = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        deaf.write(UPGRADE + masked(HELLO) + masked(ALL))
        await asyncio.sleep(2)  # what came with the snapshots is over
        for client in clients:
            client.messages = 0
            client.ages.clear()
        cpu, began = sum(hub.cpu_times()[:2]), time.monotonic()
        taken = await told(port, seconds)
        spent, passed = sum(hub.cpu_times()[:2]) - cpu, time.monotonic() - began
        memory = (hub.memory_info().rss - empty) / number / 1024
        messages = sum(client.messages for client in clients)
        ages = [age for client in clients for age in client.ages]
        await asyncio.gather(*(client.stop() for client in clients))
        deaf.close()
    share = messages / (number * len(SYMBOLS) * A_SECOND * passed)
    row = (
        f"{number:,}",
        f"{spent / passed:.2f}",
        " / ".join(f"{of(q, ages):.0f}" for q in (0.5, 0.95, 0.99)),
        f"{share:.0%}",
        f"{memory:.0f}",
        f"{max(of(0.95, each) for each in taken.values()):.0f}",
    )
    return row, taken


def a_table(title: str, *columns: str) -> Table:
    """Return an empty table."""
    table = Table(title=title)
    for name in columns:
        table.add_column(name, justify="right")
    return table


async def main(numbers: list[int], seconds: float) -> int:
    """Measure each, print the tables, and return how many answers are too slow at the fewest."""
    told = a_table(
        "30 symbols x 20/s, JSON",
        *("clients", "CPU of one core", "ms to a client: p50 / p95 / p99"),
        *("delivered", "kB a client", "HTTP p95 of the slowest, ms"),
    )
    asked = a_table("HTTP, ms", "clients", "GET", "asked", "p50", "p95", "longest")
    slow = []
    for number in sorted(numbers):
        row, taken = await measure(number, seconds)
        told.add_row(*row)
        for path, each in taken.items():
            p50, p95, longest = (f"{of(q, each):.1f}" for q in (0.5, 0.95, 1))
            asked.add_row(f"{number:,}", path, f"{len(each):,}", p50, p95, longest)
            if number == min(numbers) and not of(0.95, each) < WITHIN_MS:
                slow.append(f"{path}: p95 is {p95} ms with {number} clients")
    console = Console()
    console.print(told, asked)
    for sentence in slow:
        console.print(f"too slow: {sentence}, and has to be below {WITHIN_MS} ms", style="bold red")
    return len(slow)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", default="50,500,2000")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--ask", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.ask:
        asyncio.run(ask(options.ask, options.seconds))
    else:
        wanted = [int(each) for each in options.clients.split(",")]
        sys.exit(min(1, asyncio.run(main(wanted, options.seconds))))
