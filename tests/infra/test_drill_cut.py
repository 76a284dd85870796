"""A drill that is cut off leaves nothing behind: no rules of its own, no routes, no fault."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import psutil
import pytest
import pytest_asyncio

from infra import drill_journal
from infra.kafka.broker import Broker
from infra.settings import EX_UNAVAILABLE
from infra.stack import board as boards
from infra.stack import preflight
from infra.stack.plan import Plan, StackSettings, plan
from infra.stack.probes import Asker
from infra.stack.supervisor import Supervisor
from infra.stack.toolchain import Monitoring, Toolchain
from tests.journeys.running import ports_of_its_own

pytestmark = pytest.mark.service

#: What a drill of a disconnected Alpaca needs of a stack; nobody writes a history.
WANTED = ("alpaca-simulator", "alertmanager", "prometheus")
DRILL = "H1"
FAULT = "too-many-requests"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bare:
    """As much of a stack as a drill changes."""

    layout: Plan
    data: Path
    env: dict[str, str]
    http: aiohttp.ClientSession

    async def drill(self) -> asyncio.subprocess.Process:
        """Start a drill, of rules thirty times as fast, of which nothing will come."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.cli", "drill", DRILL, "--compress", "30"),
            *("--patience", "60", "--data", str(self.data)),
            env={**os.environ, **self.env},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def _told(self, address: str, path: str) -> str:
        (where,) = (each.where for each in self.layout.addresses if each.name == address)
        async with self.http.get("/".join(where.split("/")[:3]) + path) as answer:
            return await answer.text()

    async def drilled(self) -> set[str]:
        """Return what is as a drill wants it."""
        metrics = await self._told("metrics", "/api/v1/status/config")
        routes = await self._told("alerts", "/api/v2/status")
        faults = await self._told("alpaca faults", "/faults")
        on = {each["name"] for each in json.loads(faults)["faults"] if each["on"]}
        found = {
            "rules": "drill-rules" in metrics,
            "routes": "group_wait: 5s" not in routes,
            "fault": FAULT in on,
            "files": any(
                path.read_text() != text
                for path, text in self.layout.files.items()
                if path.name in {"prometheus.yml", "alertmanager.yml"}
            ),
        }
        return {name for name, there in found.items() if there}

    async def until_drilled(self) -> None:
        """Wait until all is as a drill wants it."""
        async with asyncio.timeout(60):
            while await self.drilled() != {"rules", "routes", "fault", "files"}:
                await asyncio.sleep(0.05)


@pytest_asyncio.fixture
async def bare(
    kafka: Broker, topics: str, monitoring: Monitoring, tmp_path: Path
) -> AsyncIterator[Bare]:
    """Prometheus, Alertmanager and a simulated Alpaca on a directory of their own."""
    with ports_of_its_own() as offset, preflight.alone(tmp_path):
        settings = StackSettings(
            data=tmp_path,
            python=sys.executable,
            toolchain=Toolchain(monitoring=monitoring),
            port_offset=offset,
            rate=1,
            kafka_bootstrap_servers=kafka.bootstrap_servers,
        )
        layout = plan(settings)
        for directory in layout.directories:
            directory.mkdir(exist_ok=True)
        for path, content in layout.files.items():
            path.write_text(content)
        wanted = [
            replace(process, after=tuple(name for name in process.after if name in WANTED))
            for process in layout.processes
            if process.name in WANTED
        ]
        asker, stop = Asker(), asyncio.Event()
        supervisor = Supervisor(
            wanted,
            ask=asker.ready,
            logs=tmp_path / "logs",
            environment=os.environ,
            say=lambda _: None,
        )
        running = asyncio.create_task(supervisor.run(stop))
        try:
            await asyncio.wait_for(supervisor.all_ready(), 60)
            boards.write(
                tmp_path,
                boards.Board(
                    pid=os.getpid(),
                    created=psutil.Process().create_time(),
                    started_at=time.time(),
                    at=time.time(),
                    title="bare",
                    statuses=tuple(supervisor.statuses),
                    addresses=layout.addresses,
                ),
            )
            async with aiohttp.ClientSession(trust_env=False) as http:
                yield Bare(layout=layout, data=tmp_path, env={"TOPIC_PREFIX": topics}, http=http)
        finally:
            stop.set()
            await running
            await asker.close()


async def _ended(process: asyncio.subprocess.Process) -> str:
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return said.decode()


async def test_a_drill_that_is_cut_off_leaves_nothing_behind(bare: Bare) -> None:
    """Asked to end, it takes all back; killed, the next one does; there are never two at once."""
    assert await bare.drilled() == set()
    for how in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        drill = await bare.drill()
        await bare.until_drilled()
        if how is signal.SIGTERM:
            second = await bare.drill()
            said = await _ended(second)
            assert "another drill is under way" in said
            assert second.returncode == EX_UNAVAILABLE, said
        drill.send_signal(how)
        said = await _ended(drill)
        assert drill.returncode == 128 + how, said
        assert await bare.drilled() == set()

    drill = await bare.drill()
    await bare.until_drilled()
    drill.kill()
    await _ended(drill)
    assert await bare.drilled() == {"rules", "routes", "fault", "files"}
    after = await bare.drill()
    assert after.stdout
    said = (await asyncio.wait_for(after.stdout.readline(), 60)).decode()
    assert said == f"a drill of {DRILL} was cut off: all of it is taken back\n"
    after.terminate()
    await _ended(after)
    assert await bare.drilled() == set()
    assert not (bare.data / drill_journal.FILE).exists()
