"""The whole stack for hours, with what happens in hours: what it takes must not grow.

`SOAK_SECONDS` says how long; `make soak` runs two hours, and `make test` ten minutes beside
journeys. The first fifth is the warm-up.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable

import psutil
import pytest

from infra.stack import board as boards
from infra.stack.plan import SCRATCH
from infra.topics import ROUTED
from tests.journeys import story
from tests.journeys.conftest import NewStack
from tests.journeys.growth import FILES, MEMORY, SERIES, TEMPORARY, THREADS, Sample, judge
from tests.journeys.running import Stack
from tests.journeys.watching import watching

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
WARM_UP = 0.2
#: Beside journeys, on one machine.
RATE = 100
SAMPLE_S = 3.0
#: Between one incident that is over and the next, and between two clients.
PAUSE_S = 10.0
QUERY_S = 5.0

#: What an analyst, a dashboard and a watcher ask.
ASKED = (
    "SELECT symbol, count(), max(price) FROM routed_prices FINAL GROUP BY symbol",
    "SELECT service, level, count() FROM logs FINAL GROUP BY service, level",
    "SELECT * FROM router_transitions FINAL ORDER BY epoch DESC LIMIT 5",
)
WATCHED = (
    "sum by (job) (rate(pipeline_records_processed_total[1m]))",
    "histogram_quantile(0.95, sum by (le) (rate(pipeline_price_age_seconds_bucket[5m])))",
)


class Soak:
    """What goes on, and what was counted meanwhile."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.samples: list[Sample] = []
        self.rounds = 0
        self.clients = 0
        self.queries = 0
        self.ended = False

    async def incidents(self) -> None:
        """Have the connection cut, and closed, and an operator fail over and back."""
        while not self.ended:
            for fault in ("cut", "close"):
                await self._reconnects(fault)
                await asyncio.sleep(PAUSE_S)
            for command in (("failover", "yahoo"), ("release",)):
                await self._operator(*command)
                away = command[0] == "failover"
                await story.routed(self.stack, "FALLBACK_ACTIVE" if away else "PRIMARY_ACTIVE")
                await asyncio.sleep(PAUSE_S)
            self.rounds += 1

    async def visitors(self) -> None:
        """Have clients come to the hub, see prices, and go."""
        while not self.ended:
            async with watching(self.stack) as seen:
                await self.stack.until(_told(lambda: bool(seen.real_time)), 60)
                await asyncio.sleep(PAUSE_S)
            self.clients += 1
            await asyncio.sleep(PAUSE_S)

    async def questions(self) -> None:
        """Have the history and Prometheus asked."""
        while not self.ended:
            for sql in ASKED:
                await self.stack.rows(sql)
            for expression in WATCHED:
                await self.stack.prometheus(expression)
            self.queries += 1
            await asyncio.sleep(QUERY_S)

    async def counts(self) -> None:
        """Count what everybody has."""
        while not self.ended:
            self.samples += await asyncio.to_thread(taken, self.stack, time.monotonic())
            self.samples += await self._series(time.monotonic())
            await asyncio.sleep(SAMPLE_S)

    async def _series(self, at_s: float) -> list[Sample]:
        jobs = await self.stack.prometheus("sum by (job) (scrape_samples_scraped)")
        (head,) = await self.stack.prometheus("prometheus_tsdb_head_series")
        told = {series["metric"]["job"]: series["value"][1] for series in jobs}
        told["all of Prometheus"] = head["value"][1]
        return [Sample(at_s, who, SERIES, float(value)) for who, value in told.items()]

    async def _reconnects(self, fault: str) -> None:
        counted = "sum(alpaca_reconnection_total)"
        before = await self._value(counted)
        await story.fault(self.stack, "alpaca", fault, {})

        async def reconnected() -> bool:
            connected = 'alpaca_connection_status{state="Connected"} == 1'
            again = await self._value(counted) > before
            return again and bool(await self.stack.prometheus(connected))

        await self.stack.until(reconnected, 120)

    async def _value(self, expression: str) -> float:
        (series,) = await self.stack.prometheus(expression)
        return float(series["value"][1])

    async def _operator(self, *command: str) -> None:
        await story.twinfeed(
            *command, "--why", "soak", "--who", "ann", "--data", str(self.stack.data)
        )


def _told(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def told() -> bool:
        return condition()

    return told


def pids(stack: Stack) -> dict[str, int]:
    """Return every process that runs, the supervisor among them."""
    board = boards.read(stack.data)
    assert board
    running = {status.name: status.pid for status in board.statuses if status.pid}
    return {**running, "supervisor": board.pid}


def taken(stack: Stack, at_s: float) -> list[Sample]:
    """Return what every process has taken."""
    samples = []
    for name, pid in pids(stack).items():
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)] if name != "supervisor" else [process]
        scratch = stack.data / SCRATCH / name
        samples += [
            Sample(at_s, name, MEMORY, sum(each.memory_info().rss for each in family) / 1e6),
            Sample(at_s, name, THREADS, sum(each.num_threads() for each in family)),
            Sample(at_s, name, FILES, sum(each.num_fds() for each in family)),
            Sample(at_s, name, TEMPORARY, sum(1 for _ in scratch.rglob("*"))),
        ]
    return samples


async def _routed(stack: Stack) -> int:
    return sum((await stack.ends(ROUTED.name, ROUTED.partitions)).values())


@pytest.mark.soak
@pytest.mark.timeout(SECONDS + 900)
async def test_what_is_taken_does_not_grow(new_stack: NewStack) -> None:
    """Memory, threads, descriptors, series, temporary files: as they were after the warm-up."""
    async with new_stack("--rate", str(RATE)) as stack:
        await story.routed(stack, "PRIMARY_ACTIVE")
        soak, before, began = Soak(stack), pids(stack), time.monotonic()
        async with asyncio.TaskGroup() as going_on:
            for work in (soak.incidents, soak.visitors, soak.questions, soak.counts):
                going_on.create_task(work())
            # whatever is met for the first time is met in the warm-up
            await stack.until(_told(lambda: soak.rounds > 0), 600)
            await asyncio.sleep(max(0, WARM_UP * SECONDS - (time.monotonic() - began)))
            warm, routed, rounds = time.monotonic(), await _routed(stack), soak.rounds
            await asyncio.sleep(max(SECONDS - (warm - began), SECONDS / 2))
            until, ticked = time.monotonic(), await _routed(stack) - routed
            soak.ended = True
        assert pids(stack) == before, "a process has ended"
        verdicts = judge(soak.samples, from_s=warm, until_s=until)
        said = "\n".join(str(verdict) for verdict in verdicts)
        print(  # noqa: T201
            f"{until - warm:.0f} s after {warm - began:.0f} s of warm-up: {ticked:,} prices,"
            f" {soak.rounds} rounds of incidents, {soak.clients} clients, {soak.queries} rounds"
            f" of queries\n{said}"
        )
        assert not [str(verdict) for verdict in verdicts if verdict.grows], said
        assert ticked > (until - warm) * RATE / 10, "prices hardly flowed"
        assert soak.rounds > rounds, "nothing happened after the warm-up"
        assert soak.clients > 1
