"""How long from the socket to a consumer's hands? The whole stack, at a given rate.

    python -m tests.benchmarks.end_to_end [--rates 1000 5000] [--seconds 30]

Starts the local stack once a rate, reads the tail of `prices.routed` as any consumer would, and
prints how long each price took: from the last byte on Alpaca's socket to the router's decision, and
from there into the consumer's hands. The first ten seconds after all is ready do not count.
"""

import argparse
import asyncio
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from infra.topics import RAW_ALPACA, ROUTED
from tests.journeys.running import Stack, a_stack

WARM_UP_SECONDS = 10


class Price(msgspec.Struct):
    """What is timed of a routed price."""

    source: str
    received_at_ns: int
    routed_at_ns: int


async def measure(rate: int, seconds: float) -> tuple[dict[str, list[float]], float]:
    """Return milliseconds by leg, and the raw ticks a second that really came."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with a_stack(Path(folder), "--rate", str(rate)) as stack:
            await asyncio.sleep(WARM_UP_SECONDS)
            return await read_tail(stack, seconds)


async def read_tail(stack: Stack, seconds: float) -> tuple[dict[str, list[float]], float]:
    """Time every price that comes within so many seconds."""
    legs: defaultdict[str, list[float]] = defaultdict(list)
    decode = msgspec.json.Decoder(Price).decode
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka, enable_auto_commit=False)
    await consumer.start()
    try:
        tps = [TopicPartition(ROUTED.name, partition) for partition in range(ROUTED.partitions)]
        consumer.assign(tps)
        await consumer.seek_to_end(*tps)
        before = sum((await stack.ends(RAW_ALPACA.name, RAW_ALPACA.partitions)).values())
        started = time.monotonic()
        while (elapsed := time.monotonic() - started) < seconds:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                now = time.time_ns()
                for price in (decode(record.value) for record in records):
                    if price.source == "alpaca":
                        legs["to the decision"].append(
                            (price.routed_at_ns - price.received_at_ns) / 1e6
                        )
                        legs["to the consumer"].append((now - price.received_at_ns) / 1e6)
        after = sum((await stack.ends(RAW_ALPACA.name, RAW_ALPACA.partitions)).values())
    finally:
        await consumer.stop()
    return legs, (after - before) / elapsed


async def main(rates: list[int], seconds: float) -> None:
    """Measure each rate, and print the table."""
    table = Table(title="from the socket, ms")
    for column in ("ticks/s asked", "came", "leg", "p50", "p95", "p99", "prices"):
        table.add_column(column, justify="left" if column == "leg" else "right")
    for rate in rates:
        legs, came = await measure(rate, seconds)
        for leg, values in legs.items():
            values.sort()
            points = (f"{values[int(len(values) * q)]:.0f}" for q in (0.5, 0.95, 0.99))
            table.add_row(f"{rate:,}", f"{came:,.0f}", leg, *points, f"{len(values):,}")
    Console(width=100).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rates", type=int, nargs="+", default=[1_000, 5_000])
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    asyncio.run(main(options.rates, options.seconds))
