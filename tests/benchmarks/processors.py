"""How fast do the processors go? Ratios, side by side, in one run, over the same records.

    python -m tests.benchmarks.processors [--records 200000] [--rounds 2]

Starts a Kafka broker of its own, fills `ticks.raw.alpaca`, and has each contestant read all of it
and write what came of it. Each runs in its own process, under a prefix of its own, in turn,
`--rounds` times; the clock runs from its first output to its last. Two kinds of work:

* full: the verdict of the validate stage, `processors.validate.judge`, on every tick.
* light: read the record, look at a field, pass it on; what is left is the framework's own cost.

And three ways to do it:

* twinfeed: the validate stage as it ships (full), the same chunk transport around the work (light).
* aiokafka: a plain `getmany` loop with batch sends and a commit each second.
* Faust: a plain per-event agent that sends record by record; on a tenth of the records, because on
  all of them it takes minutes.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from rich.console import Console
from rich.table import Table

from infra import topics
from infra.kafka.admin import ensure_topics
from infra.kafka.batches import BatchProducer, Record
from ingest import symbols
from ingest.events import RawTick
from tests.benchmarks.own_broker import own_broker

FAUST_SHARE = 10
CONTESTANTS = "tests.benchmarks.contestants"

#: How each way is run, given the work.
WAYS: dict[str, Callable[[str], list[str]]] = {
    "twinfeed": lambda work: (
        ["processors", "validate"] if work == "full" else [CONTESTANTS, "chunks", work]
    ),
    "plain aiokafka loop": lambda work: [CONTESTANTS, "aiokafka", work],
    "plain Faust agent": lambda work: [CONTESTANTS, "faust", work],
}
KNOWN = symbols.parse(symbols.DEFAULT_FILE.read_text(encoding="utf-8"))


def raw_ticks(amount: int) -> list[tuple[str, bytes]]:
    """Return so many raw trades and quotes of thirty symbols, as they stand in the log."""
    rng, now = random.Random(7), time.time_ns()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    ticks = []
    for n in range(amount):
        symbol = rng.choice(KNOWN)
        price = round(rng.uniform(50, 500), 2)
        if n % 2:
            vendor = (
                f'{{"T":"t","i":{n},"S":"{symbol}","x":"V","p":{price},"s":{rng.randint(1, 500)},'
                f'"t":"{stamp}.{n:09}Z","c":["@","I"],"z":"C"}}'
            )
        else:
            vendor = (
                f'{{"T":"q","S":"{symbol}","bx":"V","bp":{price},"bs":100,"ax":"V",'
                f'"ap":{price + 0.02:.2f},"as":200,"t":"{stamp}.{n:09}Z","c":["R"],"z":"C"}}'
            )
        tick = RawTick(
            source="alpaca",
            feed="iex",
            symbol=symbol,
            session_id="bench",
            session_seq=n + 1,
            received_at_ns=now,
            encoding="json",
            raw=msgspec.Raw(vendor.encode()),
        )
        ticks.append((symbol, msgspec.json.encode(tick)))
    return ticks


async def fill(servers: str, prefix: str, ticks: list[tuple[str, bytes]]) -> None:
    """Write the raw ticks under `prefix`, by symbol."""
    await ensure_topics(servers, prefix)
    producer = BatchProducer(servers, client_id="bench")
    await producer.start()
    by_partition: dict[int, list[Record]] = {}
    for symbol, value in ticks:
        partition = producer.partition(symbol.encode(), topics.TICK_PARTITIONS)
        by_partition.setdefault(partition, []).append(Record(symbol.encode(), value))
    for partition, records in by_partition.items():
        name = prefix + topics.RAW_ALPACA.name
        await (await producer.send(name, partition, records, topics.RAW_ALPACA.header))
    await producer.stop()


@contextlib.asynccontextmanager
async def verdicts(servers: str, prefix: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Yield a function that returns how many verdicts are in the log under `prefix`."""
    partitions = [
        TopicPartition(prefix + topic.name, partition)
        for topic in (topics.VALID, topics.REJECTED)
        for partition in range(topic.partitions)
    ]
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()

    async def written() -> int:
        return sum((await consumer.end_offsets(partitions)).values())

    try:
        yield written
    finally:
        await consumer.stop()


async def race(servers: str, prefix: str, command: list[str], amount: int) -> tuple[float, float]:
    """Run a contestant until it has judged all; return records/s and CPU us a record.

    The clock runs from its first verdicts to its last, so that starting up does not count.
    """
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": prefix,
        "LOG_LEVEL": "WARNING",
    }
    async with verdicts(servers, prefix) as written:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            first, first_at, first_cpu = 0, 0.0, 0.0
            while (seen := await written()) < amount:
                if process.returncode is not None:
                    message = f"{' '.join(command)} ended with {process.returncode}"
                    raise RuntimeError(message)
                if seen and not first:
                    first, first_at, first_cpu = seen, time.perf_counter(), cpu_s(process.pid)
                await asyncio.sleep(0.02)
            elapsed = time.perf_counter() - first_at
            judged = seen - first
            return judged / elapsed, 1e6 * (cpu_s(process.pid) - first_cpu) / judged
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run(records: int, rounds: int) -> None:
    """Run all contestants in turn and print the table."""
    ticks = raw_ticks(records)
    results: dict[str, dict[str, list[tuple[float, float]]]] = {"full": {}, "light": {}}
    async with own_broker() as broker:
        for turn in range(rounds):
            for work, way in itertools.product(results, WAYS):
                amount = records // FAUST_SHARE if way == "plain Faust agent" else records
                command = [sys.executable, "-m", *WAYS[way](work)]
                prefix = f"{turn}.{work}.{way.replace(' ', '-')}."
                await fill(broker.bootstrap_servers, prefix, ticks[:amount])
                outcome = await race(broker.bootstrap_servers, prefix, command, amount)
                results[work].setdefault(way, []).append(outcome)
    show(results)


def show(results: dict[str, dict[str, list[tuple[float, float]]]]) -> None:
    """Print medians and ratios."""
    table = Table(title="raw ticks that lie in Kafka")
    for column in (
        "work",
        "contestant",
        "records/s, each round",
        "median",
        "CPU us",
        "twinfeed is",
    ):
        table.add_column(column, justify="left" if column in {"work", "contestant"} else "right")
    for work, ways in results.items():
        ours = statistics.median(rate for rate, _ in ways["twinfeed"])
        for way, rounds in ways.items():
            median = statistics.median(rate for rate, _ in rounds)
            table.add_row(
                work,
                way,
                ", ".join(f"{rate:,.0f}" for rate, _ in rounds),
                f"{median:,.0f}",
                f"{statistics.median(cpu for _, cpu in rounds):.1f}",
                f"{ours / median:.2f}x",
            )
    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    asyncio.run(run(options.records, options.rounds))
