"""What does a tick of the stream cost? Ratios, side by side, in one run, from one simulator.

    python -m tests.benchmarks.ingest_stream [--rate 5000] [--seconds 10] [--rounds 3]

Starts a Kafka broker and a simulated Alpaca of its own. Each contestant is a process that streams
all of it for a while, in turn, `--rounds` times; what counts is how many ticks it got for a second
of its CPU time.

* twinfeed: `python -m ingest alpaca` as it ships, in JSON and in MessagePack. A tick counts when
  Kafka has acknowledged it.
* alpaca-py: the vendor's own `StockDataStream`, which speaks MessagePack, with handlers that do
  nothing but count; into its models, and with `raw_data=True` into dictionaries. Nothing is kept.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from infra.kafka.admin import ensure_topics
from infra.simulators.__main__ import KEY, SECRET
from infra.topics import RAW_ALPACA
from ingest.symbols import DEFAULT_FILE, parse
from tests.benchmarks.own_broker import own_broker
from tests.own_broker import free_port

MODULE = "tests.benchmarks.ingest_stream"
WARM_UP_S = 3.0
PATIENCE_S = 60.0
SYMBOLS = parse(DEFAULT_FILE.read_text(encoding="utf-8"))
TWINFEED = ("twinfeed, JSON", "twinfeed, MessagePack")
OFFICIAL = ("alpaca-py, models", "alpaca-py, raw_data")

#: Returns how many ticks a contestant has by now.
Count = Callable[[], Awaitable[int]]


@contextlib.asynccontextmanager
async def process(
    *arguments: str, env: dict[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a Python module until the context is left."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env={**os.environ, **(env or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE if arguments[0] == MODULE else asyncio.subprocess.DEVNULL,
    )
    try:
        yield running
    finally:
        if running.returncode is None:
            running.terminate()
        await running.wait()


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def ticks_a_cpu_second(pid: int, count: Count, seconds: float) -> tuple[float, float]:
    """Return how many ticks came for a second of CPU, and how many a second by the clock."""
    async with asyncio.timeout(PATIENCE_S):
        while not await count():
            await asyncio.sleep(0.1)
    await asyncio.sleep(WARM_UP_S)
    ticks, cpu, began = await count(), cpu_s(pid), time.monotonic()
    await asyncio.sleep(seconds)  # the length of the experiment
    ticks, cpu = await count() - ticks, cpu_s(pid) - cpu
    return ticks / cpu, ticks / (time.monotonic() - began)


async def twinfeed(url: str, servers: str, encoding: str, seconds: float) -> tuple[float, float]:
    """Measure our own worker."""
    prefix = f"benchmark-{uuid.uuid4().hex[:8]}."
    await ensure_topics(servers, prefix)
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    partitions = [TopicPartition(prefix + RAW_ALPACA.name, p) for p in range(RAW_ALPACA.partitions)]

    async def acknowledged() -> int:
        return sum((await consumer.end_offsets(partitions)).values())

    env = {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": prefix,
        "METRICS_PORT": str(free_port()),
        "ALPACA_STREAM_URL": url,
        "ALPACA_ENCODING": encoding,
        "ALPACA_API_KEY_ID": KEY,
        "ALPACA_API_SECRET_KEY": SECRET,
        "MARKET_HOURS": "always",
    }
    try:
        async with process("ingest", "alpaca", env=env) as running:
            return await ticks_a_cpu_second(running.pid, acknowledged, seconds)
    finally:
        await consumer.stop()


async def official(url: str, raw: str, seconds: float) -> tuple[float, float]:
    """Measure the vendor's own client."""
    async with process(MODULE, "--receive", url, raw) as running:
        assert running.stdin
        assert running.stdout
        asking, answering = running.stdin, running.stdout

        async def received() -> int:
            asking.write(b"\n")
            return int(await answering.readline())

        return await ticks_a_cpu_second(running.pid, received, seconds)


def receive(url: str, *, raw: bool) -> None:
    """Do nothing but receive with the vendor's own client; say how many ticks at each line read."""
    with warnings.catch_warnings():
        # alpaca-py is built on a part of websockets that is to go
        warnings.simplefilter("ignore", DeprecationWarning)
        from alpaca.data.live import StockDataStream  # noqa: PLC0415  # slow, for this alone

    count = 0

    async def keep(_message: Any) -> None:
        nonlocal count
        count += 1

    stream = StockDataStream(KEY, SECRET, raw_data=raw, url_override=url)
    stream.subscribe_trades(keep, *SYMBOLS)
    stream.subscribe_quotes(keep, *SYMBOLS)
    stream.subscribe_bars(keep, *SYMBOLS)
    threading.Thread(target=stream.run, daemon=True).start()
    for _ in sys.stdin:
        print(count, flush=True)  # noqa: T201  # the answer to the line


async def compare(rate: int, seconds: float, rounds: int) -> None:
    """Measure all contestants in turn, and print a table."""
    port, found = free_port(), dict[str, list[tuple[float, float]]]()
    url = f"ws://127.0.0.1:{port}/v2/iex"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        options = ("--port", str(port), "--rate", str(rate), "--ledger", f"{folder}/ledger")
        async with own_broker() as broker, process("infra.simulators", "alpaca", *options):
            servers = broker.bootstrap_servers
            for _ in range(rounds):
                for name, encoding in zip(TWINFEED, ("json", "msgpack"), strict=True):
                    one = await twinfeed(url, servers, encoding, seconds)
                    found.setdefault(name, []).append(one)
                for name, raw in zip(OFFICIAL, ("", "raw"), strict=True):
                    found.setdefault(name, []).append(await official(url, raw, seconds))
    table = Table("contestant", "ticks a CPU second, median", "came a second", "twinfeed JSON is")
    medians = {name: statistics.median(cpu for cpu, _ in all_) for name, all_ in found.items()}
    for name, measured in found.items():
        came = statistics.median(wall for _, wall in measured)
        ratio = f"{medians[TWINFEED[0]] / medians[name]:.2f}x"
        table.add_row(name, f"{medians[name]:,.0f}", f"{came:,.0f}", ratio)
    Console(width=100).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--receive", nargs=2, metavar=("URL", "RAW"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.receive:
        receive(chosen.receive[0], raw=bool(chosen.receive[1]))
    else:
        asyncio.run(compare(chosen.rate, chosen.seconds, chosen.rounds))
