"""What does it cost to be watched? The whole stack, with everything on and with all of it off.

    python -m tests.benchmarks.overhead [--rate 300] [--flood 20000] [--rounds 3] [--seconds 30]

On: every meter counts, the Prometheus sink reads the log, a real Prometheus scrapes and evaluates
the rules, one tick in a hundred is traced to a collector that decodes what it is sent, and stages
log at INFO. Off: meters do nothing, the Prometheus sink stands still, nothing is scraped, traced or
logged but errors. The two take turns, which goes first too, `--rounds` times, each twice with a
stack of its own: at `--rate` ticks a second for latency, CPU and memory, and at `--flood`, which is
to be more than can be done, for throughput. Medians are printed side by side, with the budget.

CPU and memory are those of the stages, the Prometheus sink among them; Kafka, the simulators,
Prometheus and the collector are not counted, though they share the machine. Let nothing else run.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from rich.console import Console
from rich.table import Table

from infra.topics import VALID
from tests.benchmarks.end_to_end import WARM_UP_SECONDS, read_tail
from tests.collector import Collector, collecting
from tests.journeys.running import Stack, a_stack

SINK = "prometheus-sink"
#: A flooded stack has much to finish, and that is not what is measured.
END_SECONDS = 90.0
STAGES = ("alpaca", "yahoo", "validate", "route", "forward", "clickhouse", "hub", SINK)

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
    "PYTHONPATH": str(Path(__file__).parent / "shims"),
}

#: By how much each may be worse, of what it is without; more is better for throughput alone.
BUDGET: Mapping[str, float] = {
    "latency P95, ms": 0.10,
    "CPU, % of a core": 0.50,
    "memory, MB": 0.25,
    "valid ticks/s": 0.10,
}


class Used(NamedTuple):
    """What processes have used: seconds of CPU, and bytes of memory now."""

    cpu_s: float
    memory: int


def used(stack: Stack) -> Used:
    """Return what the stages have used."""
    statuses = stack.statuses()
    found = [psutil.Process(statuses[name].pid) for name in STAGES]
    times = [process.cpu_times() for process in found]
    return Used(
        sum(each.user + each.system for each in times),
        sum(process.memory_info().rss for process in found),
    )


@contextlib.asynccontextmanager
async def running(rate: int, collector: Collector | None) -> AsyncIterator[Stack]:
    """A stack that has warmed up; watched where there is a collector."""
    env = {**ON, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} if collector else {**OFF}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with a_stack(
            Path(folder), "--rate", str(rate), env=env, end_within=END_SECONDS
        ) as stack:
            still: int | None = None
            try:
                if not collector:
                    still = stack.statuses()[SINK].pid
                    assert still
                    os.kill(still, signal.SIGSTOP)
                await asyncio.sleep(WARM_UP_SECONDS)
                yield stack
            finally:
                if still:
                    os.kill(still, signal.SIGCONT)


async def judged(stack: Stack) -> int:
    """Return how many ticks were found valid."""
    return sum((await stack.ends(VALID.name, VALID.partitions)).values())


async def measure(
    rate: int, flood: int, seconds: float, collector: Collector | None
) -> dict[str, float]:
    """Return what is measured, by its name."""
    async with running(rate, collector) as stack:
        before, began = used(stack), time.monotonic()
        legs, _ = await read_tail(stack, seconds)
        after, took = used(stack), time.monotonic() - began
    async with running(flood, collector) as stack:
        count, flooded = await judged(stack), time.monotonic()
        await asyncio.sleep(seconds)  # the length of the experiment
        throughput = (await judged(stack) - count) / (time.monotonic() - flooded)
    latencies = sorted(legs["to the consumer"])
    return {
        "latency P95, ms": latencies[int(len(latencies) * 0.95)],
        "CPU, % of a core": 100 * (after.cpu_s - before.cpu_s) / took,
        "memory, MB": after.memory / 1e6,
        "valid ticks/s": throughput,
    }


def row(name: str, on: Sequence[float], off: Sequence[float]) -> tuple[str, ...]:
    """Return a line: what it is on and off, the change, the budget, and whether that is kept."""
    with_it, without = statistics.median(on), statistics.median(off)
    change = with_it / without - 1
    worse = -change if name.endswith("/s") else change
    sign = "> -" if name.endswith("/s") else "< +"
    return (
        name,
        f"{with_it:,.1f}",
        f"{without:,.1f}",
        f"{change:+.0%}",
        f"{sign}{BUDGET[name]:.0%}",
        "yes" if worse < BUDGET[name] else "NO",
    )


async def main(rate: int, flood: int, rounds: int, seconds: float) -> None:
    """Measure both in turn, and print the table."""
    found: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    async with collecting() as collector:
        for number in range(rounds):
            for on in (True, False) if number % 2 == 0 else (False, True):
                measured = await measure(rate, flood, seconds, collector if on else None)
                print("on " if on else "off", measured, flush=True)  # noqa: T201
                found[on].append(measured)
        spans = len(collector.spans)
    table = Table(title=f"watched or not, {rate:,} ticks/s, median of {rounds}")
    for column in ("", "on", "off", "change", "budget", "kept"):
        table.add_column(column, justify="right" if column else "left")
    for name in BUDGET:
        table.add_row(
            *row(name, [each[name] for each in found[True]], [each[name] for each in found[False]])
        )
    Console(width=100).print(table)
    print(f"{spans:,} spans were collected")  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rate", type=int, default=300)
    parser.add_argument("--flood", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    asyncio.run(main(options.rate, options.flood, options.rounds, options.seconds))
