"""What does it cost to be watched? The whole stack, with everything on and with all of it off.

    python -m tests.benchmarks.overhead [--rate 300] [--pairs 30] [--flood 20000] [--rounds 3]

On: every meter counts, the Prometheus sink reads the log, a real Prometheus scrapes and evaluates
the rules, one tick in a hundred is traced to a collector that decodes what it is sent, logs are
shipped, and stages log at INFO. Off: meters do nothing, nothing is scraped, traced or shipped, nor
logged but errors.

Latency and CPU are compared in pairs: one stack at `--rate` ticks a second is switched on and off,
`--segment` seconds each, `--pairs` times, in turn which goes first. Two stacks one after the other
differ by more than what is looked for, and so does one from minute to minute; a pair has all of
that in common. What a pair says is a ratio, and of the ratios the median is printed, with what it
lies within 19 times of 20. A process that watches stands still while it is off.

Memory and throughput are those of stacks of their own, `--rounds` times on and off: memory after
the warm-up at `--rate`, throughput at `--flood`, which is to be more than can be done.

CPU and memory are those of the stages, the Prometheus sink among them; Kafka, the simulators,
Prometheus and the collector are not counted, though they share the machine. Let nothing else run.
"""

import argparse
import asyncio
import contextlib
import math
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from infra.topics import VALID
from tests.benchmarks.end_to_end import WARM_UP_SECONDS, read_tail
from tests.benchmarks.shims.sitecustomize import HUSH, SPEAK
from tests.journeys.running import Stack, a_stack

SINK = "prometheus-sink"
#: A flooded stack has much to finish, and that is not what is measured.
END_SECONDS = 90.0
STAGES = ("alpaca", "yahoo", "validate", "route", "forward", "clickhouse", "hub", SINK)
#: Who can be told to be silent.
SPEAKERS = ("alpaca", "yahoo", "backfill", "validate", "route", "forward", "clickhouse", "hub")
#: Who only watches.
WATCHERS = ("prometheus", "alertmanager", SINK, "alerts", "logs")
#: After a switch: those that stood still have much to read.
SETTLE_SECONDS = 3.0

SHIMS: Mapping[str, str] = {"PYTHONPATH": str(Path(__file__).parent / "shims")}
#: On top of what is on anyway.
ON: Mapping[str, str] = {"LOG_LEVEL": "INFO", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
#: Nobody scrapes who is said to be elsewhere.
NOWHERE = "http://127.0.0.1:9"
OFF: Mapping[str, str] = {
    "LOG_LEVEL": "ERROR",
    "OTEL_SDK_DISABLED": "true",
    "PROMETHEUS_URL": NOWHERE,
    "ALERTMANAGER_URL": NOWHERE,
    "TWINFEED_BENCHMARK_SILENT": "1",
    **SHIMS,
}

LATENCY, CPU, MEMORY, THROUGHPUT = (
    "latency P95, ms",
    "CPU, % of a core",
    "memory, MB",
    "valid ticks/s",
)
#: By how much each may be worse, of what it is without; more is better for throughput alone.
BUDGET: Mapping[str, float] = {LATENCY: 0.10, CPU: 0.50, MEMORY: 0.25, THROUGHPUT: 0.10}
#: How often the median of what was measured lies outside of what is printed.
OUTSIDE = 0.05


class Used(NamedTuple):
    """What processes have used: seconds of CPU, and bytes of memory now."""

    cpu_s: float
    memory: int


class Pair(NamedTuple):
    """The same with and without."""

    on: float
    off: float


def pids(stack: Stack, names: Sequence[str]) -> list[int]:
    """Return the processes of these names that there are."""
    statuses = stack.statuses()
    return [pid for name in names if name in statuses and (pid := statuses[name].pid)]


def used(stack: Stack) -> Used:
    """Return what the stages have used."""
    found = [psutil.Process(pid) for pid in pids(stack, STAGES)]
    times = [process.cpu_times() for process in found]
    return Used(
        sum(each.user + each.system for each in times),
        sum(process.memory_info().rss for process in found),
    )


@contextlib.asynccontextmanager
async def collecting_apart() -> AsyncIterator[str]:
    """A collector in a process of its own, so that it takes no time from whoever measures."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.collector"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        yield (await process.stdout.readline()).decode().strip()
    finally:
        spans, _ = await process.communicate(b"")  # which ends its input
        print(f"{int(spans):,} spans were collected")  # noqa: T201


@contextlib.asynccontextmanager
async def running(
    rate: int, collector: str | None, env: Mapping[str, str] | None = None
) -> AsyncIterator[Stack]:
    """A stack that has warmed up; watched where there is a collector."""
    of_stack = {**ON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector} if collector else {**OFF}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with a_stack(
            Path(folder),
            *("--rate", str(rate)),
            env={**of_stack, **(env or {})},
            end_within=END_SECONDS,
        ) as stack:
            still = () if collector else tuple(pids(stack, WATCHERS))
            try:
                signal_all(still, signal.SIGSTOP)
                await asyncio.sleep(WARM_UP_SECONDS)
                yield stack
            finally:
                signal_all(still, signal.SIGCONT)


def signal_all(those: Sequence[int], number: int) -> None:
    """Send each process a signal."""
    for pid in those:
        os.kill(pid, number)


async def counted(stack: Stack) -> float:
    """Return how many messages Alpaca's worker says that it received."""
    url = f"http://127.0.0.1:{stack.port('alpaca')}/metrics"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        text = await response.text()
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "alpaca_messages_received_total"
    )


async def segment(stack: Stack, seconds: float, *, on: bool) -> dict[str, float]:
    """Switch, and measure for so long. Raises RuntimeError where the switch did nothing."""
    speakers, watchers = pids(stack, SPEAKERS), pids(stack, WATCHERS)
    signal_all(speakers, SPEAK if on else HUSH)
    signal_all(watchers, signal.SIGCONT if on else signal.SIGSTOP)
    await asyncio.sleep(SETTLE_SECONDS)
    count, before, began = await counted(stack), used(stack), time.monotonic()
    legs, _ = await read_tail(stack, seconds)
    after, took = used(stack), time.monotonic() - began
    if (await counted(stack) > count) is not on:
        message = f"nothing was {'off' if on else 'on'}: Alpaca's worker goes on as before"
        raise RuntimeError(message)
    latencies = sorted(legs["to the consumer"])
    return {
        LATENCY: latencies[int(len(latencies) * 0.95)],
        CPU: 100 * (after.cpu_s - before.cpu_s) / took,
    }


async def in_pairs(rate: int, pairs: int, seconds: float, collector: str) -> dict[str, list[Pair]]:
    """Switch one stack on and off, and return what was measured by its name."""
    found: defaultdict[str, list[Pair]] = defaultdict(list)
    async with running(rate, collector, {**SHIMS, "TWINFEED_BENCHMARK_SWITCH": "1"}) as stack:
        try:
            for number in range(pairs):
                order = (True, False) if number % 2 == 0 else (False, True)
                measured = {on: await segment(stack, seconds, on=on) for on in order}
                for name in (LATENCY, CPU):
                    found[name].append(Pair(measured[True][name], measured[False][name]))
                print(number, {k: v[-1] for k, v in found.items()}, flush=True)  # noqa: T201
        finally:
            signal_all(pids(stack, WATCHERS), signal.SIGCONT)
    return found


async def judged(stack: Stack) -> int:
    """Return how many ticks were found valid."""
    return sum((await stack.ends(VALID.name, VALID.partitions)).values())


async def apart(rate: int, flood: int, seconds: float, collector: str | None) -> dict[str, float]:
    """Return what is measured of stacks that are on, or off, from their start."""
    async with running(rate, collector) as stack:
        memory = used(stack).memory / 1e6
    async with running(flood, collector) as stack:
        count, flooded = await judged(stack), time.monotonic()
        await asyncio.sleep(seconds)  # the length of the experiment
        throughput = (await judged(stack) - count) / (time.monotonic() - flooded)
    return {MEMORY: memory, THROUGHPUT: throughput}


def within(values: Sequence[float]) -> tuple[float, float]:
    """Return what the median lies within, but for one time in twenty, whatever the distribution.

    By the order of the values alone: as many of them are below the median as heads of a fair coin.
    Of fewer than six nothing can be said, and it is all of them and beyond.
    """
    ordered, many = sorted(values), len(values)
    tail, outer = 0.0, 0
    while (tail := tail + math.comb(many, outer) / 2**many) <= OUTSIDE / 2:
        outer += 1
    if outer == 0:
        return -math.inf, math.inf
    return ordered[outer - 1], ordered[many - outer]


def row(name: str, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Return a line: what it is on and off, the change, the budget, and whether that is kept."""
    changes = [pair.on / pair.off - 1 for pair in pairs]
    change = statistics.median(changes)
    least, most = within(changes)
    better = name == THROUGHPUT
    sign = "> -" if better else "< +"
    return (
        name,
        f"{statistics.median(pair.on for pair in pairs):,.1f}",
        f"{statistics.median(pair.off for pair in pairs):,.1f}",
        f"{change:+.0%}",
        f"{least:+.0%} to {most:+.0%}" if math.isfinite(least) else "",
        f"{sign}{BUDGET[name]:.0%}",
        "yes" if (-change if better else change) < BUDGET[name] else "NO",
    )


async def main(options: argparse.Namespace) -> None:
    """Measure, and print the table."""
    found: dict[str, list[Pair]] = {}
    async with collecting_apart() as collector:
        if options.pairs:
            found |= await in_pairs(options.rate, options.pairs, options.segment, collector)
        for number in range(options.rounds):
            measured = {}
            for on in (True, False) if number % 2 == 0 else (False, True):
                measured[on] = await apart(
                    options.rate, options.flood, options.seconds, collector if on else None
                )
                print("on " if on else "off", measured[on], flush=True)  # noqa: T201
            for name in (MEMORY, THROUGHPUT):
                pair = Pair(measured[True][name], measured[False][name])
                found.setdefault(name, []).append(pair)
    table = Table(title=f"watched or not, {options.rate:,} ticks/s")
    for column in ("", "on", "off", "change", "19 of 20 times", "budget", "kept"):
        table.add_column(column, justify="right" if column else "left")
    for name, pairs in found.items():
        table.add_row(*row(name, pairs))
    Console(width=100).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--segment", type=float, default=10)
    parser.add_argument("--flood", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    asyncio.run(main(parser.parse_args()))
