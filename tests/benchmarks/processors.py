"""How fast do the processors go? Ratios, side by side, in one run, over the same records.

    python -m tests.benchmarks.processors [--records 200000] [--rounds 3] [--rivals PYTHON]

Starts a Kafka broker of its own, fills `ticks.raw.alpaca`, and has each contestant read all of it
and write what came of it. Each runs in its own process, under a prefix of its own, in turn,
`--rounds` times; the clock runs from its first output to its last. Two kinds of work:

* full: the verdict of the validate stage on every tick, as `tests.benchmarks.work` puts it.
* light: read the record, look at a field, pass it on; what is left is the framework's own cost.

And these ways to do it:

* twinfeed: the validate stage as it ships (full), the same chunk transport around the work (light).
* aiokafka: a plain `getmany` loop with batch sends and a commit each second.
* Faust: a plain per-event agent that sends record by record; on a tenth of the records, because on
  all of them it takes minutes.
* confluent-kafka, Quix Streams, bytewax: where `--rivals` names a Python that has them, as
  `make bench` does.

A round counts only if the outputs are, record for record, what the work makes of the inputs, none
missing and none twice, and if the contestant then keeps offsets up to the end of its input: in its
consumer group, or, bytewax, in a store of its own.

Last, the forward stage on as many valid ticks, alone: it has no like elsewhere.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from msgspec.json import encode
from rich.console import Console
from rich.table import Table

from infra import topics
from infra.kafka.admin import delete_topics, ensure_topics
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.read import read_to_end
from processors.events import RejectedTick, Trade
from processors.validate import Position, judge
from tests.benchmarks.own_broker import own_broker
from tests.benchmarks.work import KNOWN, OUTPUTS, WORKS, Sum, expected, found, raw_ticks
from tests.processors.routes import TO_ALPACA

FAUST_SHARE = 10
HERE = "tests.benchmarks.contestants"
ELSEWHERE = "tests.benchmarks.contestants_elsewhere"
#: How long a contestant may take to keep its last offsets, and to do all of the work.
COMMIT_S, RACE_S = 30.0, 900.0
POLL_S = 0.02


class Contestant(NamedTuple):
    """One way to do the work.

    Attributes:
        name: what the table calls it.
        command: how it is run.
        group: the consumer group that it commits in; None where it keeps offsets elsewhere.
        share: it is given one of so many records.

    """

    name: str
    command: list[str]
    group: str | None
    share: int = 1


class Result(NamedTuple):
    """What a round came to."""

    per_second: float
    cpu_us: float


def contestants(work: str, rivals: str | None, only: Collection[str] = ()) -> list[Contestant]:
    """Return who takes part.

    Args:
        work: which.
        rivals: the Python that has the others' packages, if there is one.
        only: the names of those who take part; none for all.

    """

    def here(name: str) -> list[str]:
        return [sys.executable, "-m", HERE, name, work]

    stage = [sys.executable, "-m", "processors", "validate"]
    everyone = [
        Contestant("twinfeed", stage, "validate")
        if work == "full"
        else Contestant("twinfeed", here("chunks"), "chunks"),
        Contestant("plain aiokafka loop", here("aiokafka"), "loop"),
        Contestant("plain Faust agent", here("faust"), "faust", FAUST_SHARE),
    ]
    if rivals is not None:
        there = [rivals, "-W", "ignore", "-m", ELSEWHERE]
        everyone += [
            Contestant("Quix Streams", [*there, "quix", work], "quix"),
            Contestant("confluent-kafka loop", [*there, "confluent", work], "confluent"),
            Contestant("bytewax", [*there, "bytewax", work], None),
        ]
    return [each for each in everyone if not only or each.name in only]


def by_partition(ticks: list[tuple[str, bytes]]) -> dict[int, list[Record]]:
    """Return ticks as they are spread over a topic's partitions, by symbol."""
    spread: dict[int, list[Record]] = {}
    producer = BatchProducer("", client_id="")
    for symbol, value in ticks:
        partition = producer.partition(symbol.encode(), topics.TICK_PARTITIONS)
        spread.setdefault(partition, []).append(Record(symbol.encode(), value))
    return spread


@contextlib.asynccontextmanager
async def filled(
    servers: str, records: dict[topics.Topic, dict[int, list[Record]]]
) -> AsyncIterator[str]:
    """Make all topics, yield their prefix, and delete them; records stand in some already."""
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    await ensure_topics(servers, prefix)
    producer = BatchProducer(servers, client_id="bench")
    await producer.start()
    try:
        for topic, partitions in records.items():
            for partition, batch in partitions.items():
                await (await producer.send(prefix + topic.name, partition, batch, topic.header))
    finally:
        await producer.stop()
    yield prefix
    await delete_topics(servers, prefix)


@contextlib.asynccontextmanager
async def counter(
    servers: str, prefix: str, written_to: Collection[topics.Topic]
) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Yield a function that returns how many records are in topics under `prefix`."""
    partitions = [
        TopicPartition(prefix + topic.name, partition)
        for topic in written_to
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


async def race(
    servers: str,
    prefix: str,
    contestant: Contestant,
    written_to: Collection[topics.Topic],
    *,
    outputs: int,
    inputs: int,
) -> Result:
    """Run a contestant until all outputs are there, and its offsets are kept.

    The clock runs from its first outputs to its last, so that starting up does not count, unless
    they are there all at once.

    Args:
        servers: the broker.
        prefix: of its topics.
        contestant: who.
        written_to: the topics that it writes to.
        outputs: how many records it writes.
        inputs: how many records it reads.

    Raises:
        RuntimeError: it ended.
        TimeoutError: it does not come to an end.

    """
    environment = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": prefix,
        "LOG_LEVEL": "WARNING",
    }
    async with counter(servers, prefix, written_to) as written:
        process = await asyncio.create_subprocess_exec(
            *contestant.command, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            first, first_at, first_cpu = 0, time.perf_counter(), 0.0
            async with asyncio.timeout(RACE_S):
                while (seen := await written()) < outputs:
                    if process.returncode is not None:
                        message = f"{contestant.name} ended with {process.returncode}"
                        raise RuntimeError(message)
                    if seen and not first:
                        first, first_at, first_cpu = seen, time.perf_counter(), cpu_s(process.pid)
                    await asyncio.sleep(POLL_S)
            elapsed = time.perf_counter() - first_at
            cpu = cpu_s(process.pid) - first_cpu
            if contestant.group is not None:
                await committed(servers, prefix + contestant.group, inputs)
            done = inputs * (seen - first) / outputs
            return Result(done / elapsed, 1e6 * cpu / done)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def committed(servers: str, group: str, amount: int) -> None:
    """Wait until a group has committed so many records. Raises TimeoutError."""
    admin = AIOKafkaAdminClient(bootstrap_servers=servers)
    await admin.start()
    try:
        async with asyncio.timeout(COMMIT_S):
            while True:
                kept = await admin.list_consumer_group_offsets(group)
                if sum(max(offset.offset, 0) for offset in kept.values()) >= amount:
                    return
                await asyncio.sleep(POLL_S)
    finally:
        await admin.close()


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def outputs_of(servers: str, prefix: str) -> Sum:
    """Return what stands in the outputs."""
    records = [
        (prefix + topic.name, record.key or b"", record.value or b"")
        for topic in OUTPUTS
        for partition in range(topic.partitions)
        async for record in read_to_end(servers, prefix + topic.name, partition)
    ]
    return found(prefix, records)


async def verdicts(servers: str, contestant: Contestant, work: str, records: int) -> Result:
    """Run one round of judging, and check what came of it."""
    raw = by_partition(raw_ticks(records // contestant.share))
    amount = sum(map(len, raw.values()))
    async with filled(servers, {topics.RAW_ALPACA: raw}) as prefix:
        result = await race(servers, prefix, contestant, OUTPUTS, outputs=amount, inputs=amount)
        done = await outputs_of(servers, prefix)
    values = {partition: [record.value for record in batch] for partition, batch in raw.items()}
    due = expected(values, WORKS[work](frozenset(KNOWN)))
    if done != due:
        message = f"{contestant.name}, {work}: {done} is in the log, expected {due}"
        raise RuntimeError(message)
    return result


async def forwarding(servers: str, records: int) -> Result:
    """Run one round of the forward stage on so many ticks, with Alpaca routed."""
    valid: dict[int, list[Record]] = {}
    ticks = prices = 0
    for partition, batch in by_partition(raw_ticks(records)).items():
        for offset, record in enumerate(batch):
            at = Position(topics.RAW_ALPACA.name, partition, offset, 0)
            tick = judge(record.value, at, frozenset(KNOWN))
            if not isinstance(tick, RejectedTick):
                valid.setdefault(partition, []).append(Record(record.key, encode(tick)))
                ticks += 1
                prices += isinstance(tick, Trade)
    routes = {0: [Record(b"router", encode(TO_ALPACA))]}
    async with filled(servers, {topics.TRANSITIONS: routes, topics.VALID: valid}) as prefix:
        return await race(servers, prefix, FORWARD, [topics.ROUTED], outputs=prices, inputs=ticks)


FORWARD = Contestant("twinfeed", [sys.executable, "-m", "processors", "forward"], "forward")


Results = dict[tuple[str, str], list[Result]]


async def run(records: int, rounds: int, only: Collection[str], rivals: str | None) -> None:
    """Run the contestants in turn and print the table."""
    results: Results = {}
    async with own_broker() as broker:
        for turn in range(rounds):
            for work in WORKS:
                for each in contestants(work, rivals, only):
                    result = await verdicts(broker.bootstrap_servers, each, work, records)
                    results.setdefault((work, each.name), []).append(result)
            if not only:
                result = await forwarding(broker.bootstrap_servers, records)
                results.setdefault(("forward", FORWARD.name), []).append(result)
            print(f"round {turn + 1} of {rounds} is done", flush=True)  # noqa: T201
    Console(width=130).print(table(results))


def ratios(ours: list[Result], theirs: list[Result]) -> tuple[float, float]:
    """Return how many times as fast ours is, by the clock and by CPU: medians over the rounds."""
    rounds = list(zip(ours, theirs, strict=True))
    return (
        statistics.median(our.per_second / their.per_second for our, their in rounds),
        statistics.median(their.cpu_us / our.cpu_us for our, their in rounds),
    )


def table(results: Results) -> Table:
    """Return medians and ratios."""
    shown = Table(title="records that lie in Kafka, each contestant in a process of its own")
    for column in (
        "work",
        "contestant",
        "records/s, each round",
        "median",
        "CPU us",
        "twinfeed is",
        "for a CPU",
    ):
        shown.add_column(column, justify="left" if column in {"work", "contestant"} else "right")
    for (work, name), rounds in results.items():
        ours = results.get((work, "twinfeed"), [])
        shown.add_row(
            work,
            name,
            ", ".join(f"{result.per_second:,.0f}" for result in rounds),
            f"{statistics.median(result.per_second for result in rounds):,.0f}",
            f"{statistics.median(result.cpu_us for result in rounds):.1f}",
            *(("", "") if ours in ([], rounds) else map("{:.2f}x".format, ratios(ours, rounds))),
        )
    return shown


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", default=[], help="a contestant; may be repeated")
    parser.add_argument("--rivals", help="the Python that has the others' packages")
    options = parser.parse_args()
    asyncio.run(run(options.records, options.rounds, options.only, options.rivals))
