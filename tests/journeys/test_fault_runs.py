"""One stack, and run after run of faults by seed; after each one the books are balanced.

`FAULT_RUNS` says how many (by default as many as CI has time for), `FAULT_FIRST` which comes first,
`FAULT_SEED` what chance makes of them. `make faults` runs sixty.
"""

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from infra import topics
from infra.stack.plan import HOST
from tests.journeys import reconcile
from tests.journeys.books import Books
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack

RUNS = int(os.environ.get("FAULT_RUNS", "4"))
SEED = int(os.environ.get("FAULT_SEED", "20261125"))
FIRST = int(os.environ.get("FAULT_FIRST", "0"))
RATE = 300
SHIMS = Path(__file__).with_name("shims")

#: How long a clock is wrong.
WRONG_S = 4.0
#: Longer than the router has patience.
OUTAGE_S = 13.0

#: What the vendors do wrong, in ticks.
TICKS = {
    "duplicate": {"count": 20},
    "out-of-order": {"count": 20},
    "late": {"count": 20},
    "jump": {"count": 3},
    "price-zero": {"count": 3},
    "correction": {},
    "cancel": {},
}


class Trouble:
    """What can be done to a running stack.

    Args:
        stack: the stack.
        http: a client.
        clocks: where the processes look how wrong their clocks are.
        free_port: returns a port.

    """

    def __init__(
        self,
        stack: Stack,
        http: aiohttp.ClientSession,
        clocks: Path,
        free_port: Callable[[], int],
    ) -> None:
        self._stack = stack
        self._http = http
        self._clocks = clocks
        self._free_port = free_port
        self.deeds: dict[str, Callable[[], Awaitable[None]]] = {
            **{f"kill {name}": self._kill(name) for name in ("validate", "route", "forward")},
            "kill clickhouse": self._kill("clickhouse"),
            "kill alpaca": self._kill("alpaca"),
            "kill yahoo": self._kill("yahoo"),
            **{f"join {name}": self._join(name) for name in ("validate", "route", "forward")},
            "broker ends": lambda: stack.end("kafka", signal.SIGTERM),
            "broker dies": lambda: stack.end("kafka", signal.SIGKILL),
            **{
                f"clock {name} {hours:+d} h": self._clock(name, hours)
                for name in ("processors.route", "processors.forward", "processors.validate")
                for hours in (1, -1)
            },
            "clock ingest.alpaca -1 h": self._clock("ingest.alpaca", -1),
            "clock ingest.yahoo +1 h": self._clock("ingest.yahoo", 1),
            "alpaca away": self._outage,
            **{f"ticks {name}": self._ticks(name) for name in TICKS},
        }

    def _kill(self, name: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._stack.end(name)

    def _join(self, name: str) -> Callable[[], Awaitable[None]]:
        """Add a worker, and take it away again, in order or not."""

        async def join() -> None:
            for how in (signal.SIGTERM, signal.SIGKILL):
                async with self._worker(name) as worker:
                    worker.send_signal(how)
                    await worker.wait()

        return join

    @contextlib.asynccontextmanager
    async def _worker(self, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
        port = self._free_port()
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "processors", name),
            env={
                **{k: v for k, v in os.environ.items() if k != "MEMBER_NAME"},
                "KAFKA_BOOTSTRAP_SERVERS": self._stack.kafka,
                "METRICS_PORT": str(port),
                "MARKET_HOURS": "always",
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def ready() -> bool:
            assert worker.returncode is None, f"another {name} ended: {worker.returncode}"
            with contextlib.suppress(aiohttp.ClientError):
                async with self._http.get(f"http://{HOST}:{port}/ready") as answer:
                    return answer.status == 200
            return False

        try:
            await self._stack.until(ready, 60)
            yield worker
        finally:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    def _clock(self, process: str, hours: int) -> Callable[[], Awaitable[None]]:
        async def step() -> None:
            file = self._clocks / process
            file.write_text(str(hours * 3600))
            await asyncio.sleep(WRONG_S)  # the fault itself
            file.unlink()

        return step

    async def _outage(self) -> None:
        await self._fault("too-many-requests", {"seconds": OUTAGE_S})
        await self._fault("cut", {})

    def _ticks(self, name: str) -> Callable[[], Awaitable[None]]:
        return lambda: self._fault(name, TICKS[name])

    async def _fault(self, name: str, parameters: object) -> None:
        port = self._stack.port("alpaca-simulator", 1)
        url = f"http://{HOST}:{port}/faults/{name}"
        async with self._http.put(url, json=parameters) as answer:
            # 409: there is no connection that it could befall
            assert answer.status < 400 or answer.status == 409, await answer.text()


async def _well(stack: Stack) -> None:
    """Wait until all is ready, Alpaca is routed, and prices flow."""
    await stack.until(stack.all_ready, 60)

    async def primary() -> bool:
        states = await stack.prometheus('datasource_router_state{state="PRIMARY_ACTIVE"} == 1')
        return bool(states)

    await stack.until(primary, 90)
    before = sum((await stack.ends(topics.ROUTED.name, topics.ROUTED.partitions)).values())

    async def flowing() -> bool:
        ends = await stack.ends(topics.ROUTED.name, topics.ROUTED.partitions)
        return sum(ends.values()) > before + RATE // 4

    await stack.until(flowing, 60)


async def _no_gap_is_open(stack: Stack) -> None:
    async def closed() -> bool:
        open_gaps = await stack.value(
            "SELECT uniqExactIf(gap_id, event = 'gap_opened') "
            "- uniqExactIf(gap_id, event = 'gap_ended') FROM source_gaps"
        )
        return int(open_gaps) <= 0

    await stack.until(closed, 60)


@pytest.mark.journey
@pytest.mark.timeout(300 + RUNS * 120)
async def test_after_every_fault_the_books_balance(
    new_stack: NewStack, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Run by run: lost 0, doubled 0, wrong route 0; and at the end ClickHouse says the same."""
    clocks = tmp_path / "clocks"
    clocks.mkdir()
    shims = {"PYTHONPATH": str(SHIMS), "TWINFEED_TEST_CLOCKS": str(clocks)}
    began = time.monotonic()
    async with (
        new_stack("--rate", str(RATE), env=shims) as stack,
        aiohttp.ClientSession() as http,
        Books(stack) as books,
    ):
        trouble = Trouble(stack, http, clocks, free_port)
        await _well(stack)
        for run in range(FIRST, FIRST + RUNS):
            chance = random.Random(SEED + run)
            # each deed has its turn, whatever chance says
            names = list(trouble.deeds)
            deeds = [names[run % len(names)], *chance.sample(names, chance.randint(0, 2))]
            print(f"{time.monotonic() - began:.0f} s, run {SEED + run}: {', '.join(deeds)}")  # noqa: T201  # shown where it fails
            for deed in dict.fromkeys(deeds):
                await trouble.deeds[deed]()
                await asyncio.sleep(chance.uniform(0, 2))  # the rhythm of the faults
            await _well(stack)
            await _no_gap_is_open(stack)
            cut_ns = time.time_ns()
            await asyncio.sleep(2)  # what was sent by the cut is on its way no longer
            await books.read()
            await books.settle(60)
            await _well(stack)
            await books.read_routed(60)
            books.every_tick_has_one_verdict()
            books.every_price_is_of_the_routed_source()
            books.every_newer_trade_was_routed_once()
            books.every_tick_sent_is_accounted_for(reconcile.sent(stack, "alpaca"), cut_ns)
        await reconcile.catch_up(stack, 60)
        await reconcile.no_tick_is_lost_or_doubled_behind_kafka(stack)
        await reconcile.routed_in_order(stack)
