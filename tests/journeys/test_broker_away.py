"""Kafka is away for two minutes, and ingest goes on: what it cannot keep it accounts for."""

import asyncio
import itertools
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from infra.kafka.broker import Broker
from infra.simulators import ledger
from infra.topics import RAW_ALPACA, SOURCES_GAPS, SOURCES_STATUS
from ingest.events import Connected, GapEnded, GapEvent, GapOpened, RawTick, SourceStatus
from tests.ingest.processes import Running, process_of, settings, values
from tests.own_broker import restarted

RATE = 2_000
AWAY_S = 120.0
BUFFER_MB = 8
#: What the process may grow by, above what it had when Kafka went: the buffer, as much again in
#: the interpreter's free lists, and what is being encoded for the producer.
GROWTH_MB = 4 * BUFFER_MB

METERS = {"t": "trade", "c": "trade", "x": "trade", "q": "quote", "b": "bar", "u": "bar"}


@asynccontextmanager
async def simulator(path: Path) -> AsyncIterator[str]:
    """The simulated stream as a process, with its ledger at `path`; its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.simulators", "alpaca", "--port", "0"),
        *("--rate", str(RATE), "--ledger", str(path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        yield json.loads(await process.stdout.readline())["address"]
    finally:
        process.terminate()
        await process.communicate()


def _megabytes(pid: int, of: str) -> float:
    """Return what the kernel says of a process's memory: VmRSS now, VmHWM at most so far."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{of}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(of)


async def _flow_of(running: Running, seconds: float) -> None:
    """Wait until so many seconds' ticks more have been received."""
    series = [f'alpaca_messages_received_total{{type="{kind}"}}' for kind in ("trade", "quote")]

    async def received() -> float:
        return sum([await running.metric(one) for one in series])

    target = await received() + seconds * RATE
    async with asyncio.timeout(60 + 4 * seconds):
        while await received() < target:
            assert running.process.returncode is None, running.err + running.out
            await asyncio.sleep(0.2)


def _kept_up(running: Running) -> bool:
    """Say whether all shedding is over."""
    events = Counter(line["event"] for line in running.lines)
    return events["shedding"] == events["shedding_over"] > 0


@pytest.mark.journey
@pytest.mark.timeout(900)
async def test_two_minutes_without_kafka(
    broker: Broker, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """It reads on, sheds quotes before trades, resumes alone, and the books balance.

    Sent is published plus shed; the gaps tell each kind's count exactly; the stream was never
    left; and memory stayed near its buffer.
    """
    path = tmp_path / "alpaca.jsonl"
    async with simulator(path) as stream:
        variables = {
            **settings(broker, stream, free_port()),
            "ALPACA_API_KEY_ID": "simulated-key",
            "ALPACA_API_SECRET_KEY": "simulated-secret",
            "PUBLISH_BUFFER_MB": str(BUFFER_MB),
            "MARKET_HOURS": "always",
        }
        async with process_of("alpaca", variables, tmp_path) as running:
            await running.answer("/ready", "ready")
            await _flow_of(running, 5)
            before = _megabytes(running.pid, "VmRSS")
            await restarted(broker, AWAY_S)
            async with asyncio.timeout(120):
                while not _kept_up(running):
                    await asyncio.sleep(0.2)
            await _flow_of(running, 5)
            grown = _megabytes(running.pid, "VmHWM") - before
            exposed = Counter(
                {
                    kind: int(await running.metric(f'alpaca_shed_total{{type="{kind}"}}'))
                    for kind in ("trade", "quote", "bar")
                }
            )
            running.process.send_signal(signal.SIGTERM)
            assert await running.ended(10) == 0, running.out
    assert grown < GROWTH_MB
    published = [
        msgspec.json.decode(value, type=RawTick) for value in await values(broker, RAW_ALPACA)
    ]
    gaps = [
        msgspec.json.decode(value, type=GapEvent) for value in await values(broker, SOURCES_GAPS)
    ]
    shed = _balanced(list(ledger.read(path)), published, gaps)
    assert shed == +exposed
    assert shed["quote"] > 0
    assert shed["trade"] > 0
    statuses = [
        msgspec.json.decode(value, type=SourceStatus)
        for value in await values(broker, SOURCES_STATUS)
    ]
    assert sum(isinstance(status, Connected) for status in statuses) == 1


def _balanced(
    entries: list[ledger.Entry], published: list[RawTick], gaps: list[GapEvent]
) -> Counter[str]:
    """Check that what was sent is published or in one gap's account; return what was shed."""
    by_symbol: dict[str, list[int]] = {}
    for tick in published:
        by_symbol.setdefault(tick.symbol, []).append(tick.session_seq)
    for sequence in by_symbol.values():
        assert all(one < other for one, other in itertools.pairwise(sequence)), "out of order"
    held = Counter(bytes(tick.raw).decode() for tick in published)
    assert set(held.values()) == {1}, "a tick twice"
    assert len({entry.connection for entry in entries}) == 1
    # the ledger is written before the socket: behind the last one received nothing was sent
    last = max(place for place, entry in enumerate(entries) if entry.raw in held)
    sent = entries[: last + 1]
    assert held.keys() <= {entry.raw for entry in sent}
    missing = [entry for entry in sent if entry.raw not in held]
    opened = {gap.gap_id: gap for gap in gaps if isinstance(gap, GapOpened) and gap.cause == "shed"}
    ended = {gap.gap_id: gap for gap in gaps if isinstance(gap, GapEnded) and gap.cause == "shed"}
    assert opened.keys() == ended.keys()
    shed = Counter[str]()
    for gap_id, gap in ended.items():
        ((kind, count),) = gap.shed.items()
        shed[kind] += count
        # what is written down just before it is sent is received just after
        mine = [
            entry
            for entry in missing
            if _kind(entry) == kind and gap.since_ns - 5 * 10**9 <= entry.sent_at_ns < gap.until_ns
        ]
        assert len(mine) == count
        assert {entry.symbol for entry in mine} == set(gap.symbols)
        assert opened[gap_id].since_ns == gap.since_ns
    assert shed == Counter(map(_kind, missing))
    # while quotes alone were shed no trade was
    first = {next(iter(ended[i].shed)): gap for i, gap in reversed(opened.items())}
    assert first["quote"].at_ns < first["trade"].at_ns
    assert first["quote"].since_ns < first["trade"].since_ns
    return shed


def _kind(entry: ledger.Entry) -> str:
    return METERS[json.loads(entry.raw)["T"]]
