"""The worker against the simulated Alpaca, fault by fault; each time the books are balanced."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.simulators.alpaca.server import AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.ledger import Ledger
from infra.simulators.ledger import read as read_ledger
from infra.simulators.market import Market
from infra.topics import RAW_ALPACA
from ingest.alpaca.outputs import Patience
from ingest.alpaca.worker import Timings
from ingest.events import (
    Disconnected,
    GapEnded,
    GapOpened,
    Stalled,
    Subscribed,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.keys import Keys
from tests.ingest.alpaca.working import CALM, Run, at_work
from tests.ingest.fakes import eventually, publishing
from tests.journeys import reconcile

pytestmark = pytest.mark.service

SYMBOLS = ("AAPL", "MSFT", "NVDA", "BRK.B")
#: No slowness of this machine passes for the vendor's, but where a test is about silence.
CALMLY = Patience(answer_s=20.0, first_retry_s=0.01, retry_cap_s=0.05)


class Simulated:
    """A worker that streams from a simulated Alpaca."""

    def __init__(self, run: Run, http: aiohttp.ClientSession, ledger: Path) -> None:
        self.run = run
        self._http = http
        self._ledger = ledger

    async def fault(self, name: str, **parameters: Any) -> None:
        """Switch a fault on."""
        async with self._http.put(f"/faults/{name}", json=parameters) as answer:
            assert answer.status == 200, await answer.text()

    async def clear(self) -> None:
        """Switch all faults off."""
        async with self._http.delete("/faults") as answer:
            assert answer.status == 200, await answer.text()

    async def streams(self, connections: int = 1) -> None:
        """Return once so many connections have streamed, and the last of them does."""
        await eventually(lambda: len(self.run.told(Subscribed)) >= connections)
        session_id = self.run.told(Subscribed)[-1].session_id
        await eventually(
            lambda: session_id in {tick.session_id for tick in self.run.log.ticks(RAW_ALPACA)}
        )

    async def lost(self, number: int | None) -> Disconnected:
        """Return the first disconnection with a code."""
        found = await eventually(
            lambda: [lost for lost in self.run.told(Disconnected) if lost.code == number]
        )
        first: Disconnected = found[0]
        return first

    def faulty(self, name: str) -> int:
        """Return how many messages that a fault made or changed were sent, and are in the log."""
        published = self._published()
        return sum(name in e.fault and e.wire in published for e in read_ledger(self._ledger))

    async def reconciles(self) -> None:
        """All that was sent by now is published, or lies in a gap; and nothing else is there."""
        cut_ns = time.time_ns()

        def balanced() -> bool:
            entries = [e for e in read_ledger(self._ledger) if e.sent_at_ns <= cut_ns]
            return not reconcile.unaccounted(entries, self._published(), self.run.gaps())

        await eventually(balanced)
        sent = Counter(entry.wire for entry in read_ledger(self._ledger))
        assert not self._published() - sent, "more than was sent"

    def causes(self, kind: type[GapOpened | GapEnded]) -> list[str]:
        """Return why gaps were opened, or which ended, in order."""
        return [gap.cause for gap in self.run.gaps() if isinstance(gap, kind)]

    def _published(self) -> Counter[bytes]:
        return Counter(reconcile.wire(tick) for tick in self.run.log.ticks(RAW_ALPACA))


@asynccontextmanager
async def simulated(
    tmp_path: Path, patience: Patience = CALMLY, timings: Timings = CALM
) -> AsyncIterator[Simulated]:
    """A worker and a simulator, at work until the context is left."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        rules = Rules(keys={"key": "secret"}, symbol_limit=30)
        simulator = AlpacaSimulator(Market(7), ledger, rules=rules, rate=300)
        url = f"ws://127.0.0.1:{await simulator.start('127.0.0.1', 0)}/v2/iex"
        control = f"http://127.0.0.1:{await simulator.start_http('127.0.0.1', 0)}"
        try:
            async with (
                publishing() as (publisher, log),
                aiohttp.ClientSession(control) as http,
                at_work(
                    url,
                    publisher,
                    log,
                    encoding="json",
                    symbols=SYMBOLS,
                    patience=patience,
                    timings=timings,
                    keys=Keys(key_id="key", secret="secret"),
                ) as run,
            ):
                its = Simulated(run, http, path)
                await its.streams()
                yield its
        finally:
            await simulator.stop()


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("auth-failed", 402, "auth"),
        ("auth-timeout", 404, "auth"),
        ("connection-limit", 406, "error"),
        ("insufficient-subscription", 409, "auth"),
        ("insufficient-scope", 411, "auth"),
        ("too-many-requests", 429, "error"),
    ],
)
async def test_a_refused_connection_is_a_gap_until_the_next(
    tmp_path: Path, name: str, code: int, reason: str
) -> None:
    """Whatever refuses it is told with its code; once that is over and we are told, all is had."""
    async with simulated(tmp_path) as its:
        await its.fault(name)
        its.run.worker.reconnect("ann: to see")
        assert (await its.lost(code)).reason == reason
        assert its.causes(GapOpened) == ["asked"]
        await its.clear()
        its.run.worker.reconnect("ann: it is over")
        await its.streams(2)
        assert its.causes(GapEnded) == ["asked"]
        await its.reconciles()


async def test_a_ghost_is_waited_for(tmp_path: Path) -> None:
    """A connection that was cut is counted for a while; until then whoever follows is refused."""
    async with simulated(tmp_path) as its:
        await its.fault("ghost", cut=True)
        assert "90 s" in (await its.lost(406)).detail
        await its.clear()
        its.run.worker.reconnect("ann: it is over")
        await its.streams(2)
        assert its.causes(GapEnded) == ["disconnected"]
        await its.reconciles()


@pytest.mark.parametrize(
    ("name", "parameters", "code"),
    [
        ("close", {}, 1001),
        ("close", {"code": 1011}, 1011),
        ("cut", {}, None),
        ("slow-client", {}, 407),
        ("slow-client", {"said": False}, 1008),
        ("internal-error", {}, 500),
        ("torn-frame", {"how": "half"}, 1001),
        ("torn-frame", {"how": "wire"}, None),
    ],
)
async def test_a_lost_connection_is_a_gap_until_the_next(
    tmp_path: Path, name: str, parameters: dict[str, Any], code: int | None
) -> None:
    """However it is lost, another follows, and what was sent is in the log or in a gap."""
    async with simulated(tmp_path) as its:
        await its.fault(name, **parameters)
        await its.lost(code)
        await its.streams(2)
        assert "disconnected" in its.causes(GapEnded)
        assert ("torn" in its.causes(GapEnded)) == (parameters.get("how") == "half")
        await its.reconciles()


@pytest.mark.parametrize(
    ("name", "parameters"), [("torn-frame", {"how": "array"}), ("unreadable", {})]
)
async def test_a_frame_that_cannot_be_read_is_a_gap_on_the_same_connection(
    tmp_path: Path, name: str, parameters: dict[str, Any]
) -> None:
    """The connection goes on, and the history can be asked for what the frame may have held."""
    async with simulated(tmp_path) as its:
        await its.fault(name, **parameters)
        await eventually(lambda: its.causes(GapEnded))
        assert its.causes(GapOpened) == its.causes(GapEnded) == ["torn"]
        assert its.run.told(Disconnected) == []
        assert its.faulty(name) == 1
        await its.reconciles()


@pytest.mark.parametrize(("name", "reason"), [("mute-socket", "stalled"), ("no-pong", "timeout")])
async def test_a_silent_connection_is_given_up(tmp_path: Path, name: str, reason: str) -> None:
    """Whether it answers our pings or not tells mute from dead."""
    patience = Patience(
        answer_s=20.0, first_retry_s=0.01, mute_s=2.0 if reason == "stalled" else 60
    )
    timings = CALM if reason == "stalled" else Timings(ping_s=1.0, pong_s=1.0, heartbeat_s=0.01)
    async with simulated(tmp_path, patience, timings) as its:
        await its.fault(name)
        lost = (await eventually(lambda: its.run.told(Disconnected)))[0]
        assert lost.reason == reason
        assert bool(its.run.told(Stalled)) == (reason == "stalled")
        await its.clear()
        await its.streams(2)
        await its.reconciles()


async def test_the_plans_limit_and_a_malformed_symbol_are_told(tmp_path: Path) -> None:
    """The most important symbols are streamed but for the culprit, and all once it is over."""
    async with simulated(tmp_path) as its:
        await its.fault("symbol-limit", limit=2)
        await its.fault("malformed-symbol", symbols=["AAPL"])
        its.run.worker.reconnect("ann: to see")
        impaired = await eventually(lambda: (told := its.run.told(SymbolsImpaired))[1:] and told)
        assert {event.reason: event.symbols for event in impaired} == {
            "malformed": ["AAPL"],
            "limit": ["BRK.B"],
        }
        assert set(its.run.session.subscribed) == {"MSFT", "NVDA"}
        await its.clear()
        its.run.worker.reconnect("ann: it is over")
        await eventually(lambda: set(its.run.session.subscribed) == set(SYMBOLS))
        assert {event.reason for event in its.run.told(SymbolsRestored)} == {"malformed", "limit"}
        await its.reconciles()


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("price-zero", {}),
        ("negative-size", {}),
        ("future-time", {}),
        ("jump", {}),
        ("duplicate", {}),
        ("out-of-order", {}),
        ("late", {"seconds": 2}),
        ("unknown-type", {}),
        ("correction", {}),
        ("cancel", {}),
        ("luld", {"symbols": ["AAPL"]}),
        ("halt", {"symbols": ["AAPL"]}),
    ],
)
async def test_odd_ticks_are_published_as_they_are(
    tmp_path: Path, name: str, parameters: dict[str, Any]
) -> None:
    """It is not for ingest to judge them: they are in the log, and cost neither tick nor socket."""
    async with simulated(tmp_path) as its:
        await its.fault(name, **parameters)
        found = await eventually(lambda: its.faulty(name))
        if name == "halt":
            await its.clear()
            await eventually(lambda: its.faulty(name) > found)
        await its.reconciles()
        assert its.run.told(Disconnected) == []
        assert its.run.gaps() == []
