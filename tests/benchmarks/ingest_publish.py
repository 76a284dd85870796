"""How many ticks a second one core of ingest takes from frames to Kafka, by encoding.

    python -m tests.benchmarks.ingest_publish [--ticks 200000] [--bootstrap-servers HOST:PORT]

Starts a Kafka broker of its own, unless it is given one; its topics are its own in any case.

Frames like the vendor's (twenty trades and quotes, thirty symbols) go through the session and the
publisher as fast as they are taken, until the broker has acknowledged the last one.
"""

import argparse
import asyncio
import random
import time
import uuid
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from infra.kafka.admin import delete_topics, ensure_topics
from infra.kafka.batches import BatchProducer
from infra.market_calendar import ALWAYS_OPEN
from infra.topics import RAW_ALPACA
from ingest.alpaca.outputs import Plan, Received
from ingest.alpaca.session import Session
from ingest.alpaca.wire import Encoding
from ingest.clock import read_clock
from ingest.keys import Keys
from ingest.publish import LINGER_S, Publisher
from ingest.symbols import DEFAULT_FILE, parse
from tests.benchmarks.own_broker import own_broker

FRAME_MESSAGES = 20
DISTINCT_FRAMES = 500


def message(kind: str, symbol: str, number: int, encoding: Encoding) -> dict[str, Any]:
    """Return one of the vendor's messages."""
    second, nanosecond = 1_790_000_000 + number // 1000, number % 1000 * 1_000_000 + 123_457
    at: object = f"2026-09-21T14:13:{number // 1000 % 60:02d}.{nanosecond:09d}Z"
    if encoding == "msgpack":
        stamp = ((nanosecond << 34) | second).to_bytes(8, "big")
        at = msgspec.msgpack.Ext(-1, stamp)
    price = 100 + number % 997 / 100
    if kind == "t":
        trade = {"i": number, "x": "V", "p": price, "s": 100, "c": ["@", "I"], "z": "C"}
        return {"T": "t", "S": symbol, **trade, "t": at}
    quote = {"bx": "V", "bp": price, "bs": 100, "ax": "V", "ap": price + 0.02, "as": 200}
    return {"T": "q", "S": symbol, **quote, "c": ["R"], "z": "C", "t": at}


def frames(symbols: Sequence[str], encoding: Encoding) -> list[bytes]:
    """Return frames as the vendor sends them."""
    chance = random.Random(7)
    encode = msgspec.json.encode if encoding == "json" else msgspec.msgpack.encode
    made = []
    for frame in range(DISTINCT_FRAMES):
        numbers = range(frame * FRAME_MESSAGES, (frame + 1) * FRAME_MESSAGES)
        made.append(
            encode(
                [message(chance.choice("tq"), chance.choice(symbols), n, encoding) for n in numbers]
            )
        )
    return made


async def measure(
    servers: str, prefix: str, encoding: Encoding, ticks: int, linger_s: float
) -> tuple[float, float, float]:
    """Return ticks a second, microseconds of CPU a tick, and MB a second of vendor bytes."""
    symbols = parse(DEFAULT_FILE.read_text())
    material = frames(symbols, encoding)
    session = Session(
        Plan(feed="iex", encoding=encoding),
        symbols=symbols,
        keys=Keys(key_id="", secret=""),
        run_id="benchmark",
        now=read_clock(),
        jitter=random.random,
        market=ALWAYS_OPEN,
    )
    session.timer(read_clock())
    session.connected(read_clock())
    producer = BatchProducer(servers, client_id="twinfeed-benchmark")
    await producer.start()
    encode = msgspec.json.Encoder().encode
    sent = size = 0
    try:
        publisher = Publisher(producer, topic_name=prefix.__add__, linger_s=linger_s)
        async with publisher.running():
            began, cpu = time.perf_counter(), time.process_time()
            while sent < ticks:
                frame = material[sent // FRAME_MESSAGES % DISTINCT_FRAMES]
                for output in session.frame(frame, read_clock()):
                    if isinstance(output, Received):
                        for tick in output.ticks:
                            publisher.put(
                                RAW_ALPACA, tick.symbol, encode(tick), tick.received_at_ns
                            )
                sent += FRAME_MESSAGES
                size += len(frame)
                if sent % 1000 == 0:
                    # a socket would let the loop turn at least this often
                    await asyncio.sleep(0)
                await publisher.room()
            await publisher.drain()
            took, used = time.perf_counter() - began, time.process_time() - cpu
    finally:
        await producer.stop()
    return sent / took, used / sent * 1e6, size / took / 1e6


async def main(servers: str | None, ticks: int) -> None:
    """Measure on the broker that is given, or on one of our own."""
    if servers:
        await compare(servers, ticks)
        return
    async with own_broker() as broker:
        await compare(broker.bootstrap_servers, ticks)


async def compare(servers: str, ticks: int) -> None:
    """Measure each encoding, with several lingers, and print a table."""
    prefix = f"benchmark-{uuid.uuid4().hex[:8]}."
    table = Table("encoding", "linger ms", "ticks/s", "CPU us/tick", "vendor MB/s")
    await ensure_topics(servers, prefix)
    try:
        for encoding in ("json", "msgpack"):
            for linger_s in (0.0, LINGER_S, 0.02):
                rate, cpu, megabytes = await measure(servers, prefix, encoding, ticks, linger_s)
                row = f"{linger_s * 1000:g}", f"{rate:,.0f}", f"{cpu:.1f}", f"{megabytes:.1f}"
                table.add_row(encoding, *row)
    finally:
        await delete_topics(servers, prefix)
    Console().print(table)


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--bootstrap-servers")
    options.add_argument("--ticks", type=int, default=200_000)
    chosen = options.parse_args()
    asyncio.run(main(chosen.bootstrap_servers, chosen.ticks))
