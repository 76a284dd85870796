"""The running stack, as a drill changes it: faults, processes, commands, and what is watched.

While drills are played somebody looks on: the time to a client is taken where there is one.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final, NamedTuple, assert_never

import aiohttp
import structlog

from infra import drill_journal, ops_cli, sim_cli
from infra.clock import now_ns
from infra.commands import Answer, Command, Failover, Reconnect, Release
from infra.drills import (
    DISCOVERY_S,
    Act,
    Asked,
    Drill,
    Faltering,
    Fault,
    Garbled,
    Misruled,
    Stopped,
    Unwatched,
    named,
)
from infra.kafka.batches import BatchProducer, Record
from infra.prometheus import compressed
from infra.prometheus.rules import files
from infra.settings import EX_UNAVAILABLE, StageSettings, load
from infra.stack import board as boards
from infra.stack.refusal import Refusal
from infra.topics import ANSWERS, COMMANDS

WHY, WHO = "a drill", "twinfeed drill"
#: How long Prometheus and Alertmanager may take to read what they are given.
RELOAD_S = 30.0
#: How long a router may refuse what is asked of it.
FIT_S = 60.0
LOOK_S = 0.2
PING_S = 10.0
KINDS: Final[dict[str, type[Any]]] = {
    "failover": Failover,
    "release": Release,
    "reconnect": Reconnect,
}
#: Of what is no event.
SCHEMA = ("schema", b"drill 1")
_END = "\x1e"
_HELLO = json.dumps({"protocol": "json", "version": 1}) + _END
_PING = json.dumps({"type": 6}) + _END
_ALL = json.dumps({"type": 1, "target": "SubscribeToAssetClass", "arguments": ["STOCK"]}) + _END
#: Two of the left side for one of the right.

log = structlog.get_logger()


class _Server(NamedTuple):
    """A server that reads its files again on SIGHUP.

    Attributes:
        process: its name on the stack, and before its metrics.
        address: what of it the stack's board shows.
        page: which page of it that is.

    """

    process: str
    address: str
    page: str


_PROMETHEUS = _Server("prometheus", "metrics", "/graph")
_ALERTMANAGER = _Server("alertmanager", "alerts", "/api/v2/alerts")


class Scene:
    """One running stack; its configuration is as it was once this is over.

    Args:
        data: its directory.
        factor: how many times faster its rules are.

    """

    def __init__(self, data: Path, factor: float) -> None:
        self._data = data
        self._factor = factor
        self._config = data / "prometheus.yml"
        self._routes = data / "alertmanager.yml"
        self._rules = data / "drill-rules"
        self._apart: compressed.Apart | None = None
        self._journal = drill_journal.Journal(data)
        self._before: dict[Path, str] = {}
        self._faltering: dict[str, asyncio.Task[None]] = {}

    @contextlib.asynccontextmanager
    async def ready(self) -> AsyncIterator[tuple[str, ...]]:
        """Have the rules run so fast, and somebody look on, while this is open.

        Yields the alerts whose drills were cut off before, and have been taken back now.
        """
        with drill_journal.alone(self._data):
            left = self._journal.left()
            if left:
                await self._take_back(left)
            self._before = {path: _read(path) for path in (self._config, self._routes)}
            if self._factor != 1 and not all(self._before.values()):
                message = "--compress needs Prometheus and Alertmanager of the stack's own"
                raise Refusal(message, EX_UNAVAILABLE)
            self._journal.begin({path.name: text for path, text in self._before.items()})
            watching = asyncio.create_task(self._watch())
            try:
                if self._factor != 1:
                    text = compressed.alertmanager(self._before[self._routes], self._factor)
                    self._routes.write_text(text, encoding="utf-8")
                    await self._reload(_ALERTMANAGER)
                    await self._configure()
                yield left.playing if left else ()
            finally:
                watching.cancel()
                await asyncio.wait({watching})
                await self._restore()
                self._journal.end()

    async def _take_back(self, left: drill_journal.Changed) -> None:
        """Do what a drill that was cut off did not come to."""
        self._before = {self._data / name: text for name, text in left.before.items()}
        for alert in left.playing:
            (of,) = named(alert)
            await self._heal(of)
        await self._restore()

    async def _restore(self) -> None:
        """Have the files, and whoever reads them, as they were."""
        servers = (_PROMETHEUS, _ALERTMANAGER)
        for (path, text), server in zip(self._before.items(), servers, strict=True):
            if _read(path) != text:
                path.write_text(text, encoding="utf-8")
                await self._reload(server)

    @contextlib.asynccontextmanager
    async def struck(self, of: Drill) -> AsyncIterator[None]:
        """Have a drill's faults on while this is open; what is asked after them is asked."""
        self._journal.strike(of.alert.id)
        try:
            for act in of.faults:
                await self.do(act)
            yield
        finally:
            await self._heal(of)
            self._journal.heal(of.alert.id)

    async def _heal(self, of: Drill) -> None:
        """Take a drill's faults away, all that can be; then say of the first that cannot."""
        failed: list[Refusal] = []
        for how, acts in ((self.undo, of.faults), (self.do, of.after)):
            for act in acts:
                try:
                    await how(act)
                except Refusal as refusal:
                    failed.append(refusal)
        if failed:
            raise failed[0]

    async def do(self, act: Act) -> None:
        """Do what makes an alert fire."""
        match act:
            case Fault(vendor, name, parameters):
                await self._vendor(vendor, "PUT", name, dict(parameters))
            case Stopped(process):
                self._signal(process, signal.SIGSTOP)
            case Faltering(process):
                pid = self._pid(process)
                self._faltering[process] = asyncio.create_task(_falter(pid, act))
            case Asked(command, options):
                await self._command(command, options)
            case Unwatched(job):
                await self._unwatch(job)
            case Misruled():
                await self._configure(_misruled(time.time() + DISCOVERY_S))
            case Garbled(topic):
                await self._garble(topic)
            case _:
                assert_never(act)

    async def undo(self, act: Act) -> None:
        """Take it away again."""
        match act:
            case Fault(vendor, name, _):
                await self._vendor(vendor, "DELETE", name)
            case Stopped(process) | Faltering(process):
                # a drill that was cut off left no task, and perhaps a process that stands still
                if task := self._faltering.pop(process, None):
                    task.cancel()
                    await asyncio.wait({task})
                self._signal(process, signal.SIGCONT)
            case Unwatched() | Misruled():
                self._apart = None
                await self._configure()
            case Asked() | Garbled():
                pass  # what ends it is asked afterwards; what is written stays
            case _:
                assert_never(act)

    async def _vendor(self, vendor: str, method: str, name: str, body: object = None) -> None:
        base = sim_cli.base(sim_cli.Vendor(vendor), self._data, None)
        asked = asyncio.ensure_future(
            asyncio.to_thread(sim_cli.ask, base, method, f"/faults/{name}", body)
        )
        try:
            await asyncio.shield(asked)
        except asyncio.CancelledError:
            await asyncio.wait({asked})  # what takes it away must not come before it
            raise

    def _signal(self, process: str, how: signal.Signals) -> None:
        os.kill(self._pid(process), how)

    def _pid(self, process: str) -> int:
        board = boards.read(self._data)
        pids = [s.pid for s in board.statuses if s.name == process and s.pid] if board else []
        if not pids:
            message = f"{process} does not run on {self._data}"
            raise Refusal(message, EX_UNAVAILABLE)
        return pids[0]

    async def _command(self, command: str, options: Any) -> None:
        asked: Command = KINDS[command](at_ns=now_ns(), who=WHO, why=WHY, **options)
        servers, settings = ops_cli.kafka_of(self._data), load(StageSettings)
        topic, answers = settings.topic(COMMANDS.name), settings.topic(ANSWERS.name)
        if options.get("target") != "router":
            await ops_cli.write(asked, servers, topic)
            return
        # a source that was away a moment ago is not fit for it yet
        deadline = asyncio.get_running_loop().time() + FIT_S
        while True:
            answer: Answer | None = await ops_cli.answered(asked, servers, topic, answers)
            late = asyncio.get_running_loop().time() > deadline
            if late or answer is None or answer.outcome != "refused":
                break
            await asyncio.sleep(LOOK_S)
            asked = KINDS[command](at_ns=now_ns(), who=WHO, why=WHY, **options)
        if answer is None or answer.outcome == "refused":
            why = answer.detail if answer else "it does not answer"
            message = f"the router does not do {command}: {why}"
            raise Refusal(message, EX_UNAVAILABLE)

    async def _garble(self, topic: str) -> None:
        producer = BatchProducer(ops_cli.kafka_of(self._data), client_id="twinfeed-drill")
        await producer.start()
        try:
            record = Record(b"drill", b"no event", now_ns() // 1_000_000)
            await (await producer.send(load(StageSettings).topic(topic), 0, [record], SCHEMA))
        finally:
            await producer.stop()

    async def _unwatch(self, job: str) -> None:
        """Take a job's targets away, while Prometheus asks them."""
        apart = self._apart = compressed.Apart(job, self._data / "drill-targets.yml")
        apart.file.write_text(compressed.targets(self._before[self._config], job), encoding="utf-8")
        await self._configure()
        url = self._base(_PROMETHEUS) + "/api/v1/targets"
        first: dict[str, str] = {}
        last: dict[str, str] = {}
        try:
            async with asyncio.timeout(RELOAD_S), aiohttp.ClientSession(trust_env=False) as http:
                while not last or first.items() & last.items():
                    await asyncio.sleep(LOOK_S)
                    last = await _asked(http, url, job)
                    first = first or last
        except TimeoutError as error:
            message = f"prometheus has not asked {job} again in {RELOAD_S:.0f} s"
            raise Refusal(message, EX_UNAVAILABLE) from error
        apart.file.write_text(compressed.NO_TARGETS, encoding="utf-8")

    async def _configure(self, *more: dict[str, Any]) -> None:
        """Give Prometheus its rules, divided by the factor, and others besides."""
        self._rules.mkdir(exist_ok=True)
        content = compressed.rules(files(), self._factor)
        content |= {f"drill-{number}.yml": each for number, each in enumerate(more)}
        for path in self._rules.glob("*.yml"):
            path.unlink()
        for name, rules in content.items():
            (self._rules / name).write_text(json.dumps(rules), encoding="utf-8")  # JSON is YAML
        text = compressed.prometheus(
            self._before[self._config],
            factor=self._factor,
            rules_in=str(self._rules),
            apart=self._apart,
        )
        self._config.write_text(text, encoding="utf-8")
        await self._reload(_PROMETHEUS)

    async def _reload(self, server: _Server) -> None:
        """Have a server read its files again, and wait until it has."""
        process, url = server.process, self._base(server) + "/metrics"
        pattern = rf"^{process}_config_last_reload_success_timestamp_seconds (\S+)$"
        async with aiohttp.ClientSession(trust_env=False) as http:
            before = await _told(http, url, pattern)
            self._signal(process, signal.SIGHUP)
            try:
                async with asyncio.timeout(RELOAD_S):
                    while await _told(http, url, pattern) == before:
                        await asyncio.sleep(LOOK_S)
            except TimeoutError as error:
                message = f"{process} has not taken its new configuration in {RELOAD_S:.0f} s"
                raise Refusal(message, EX_UNAVAILABLE) from error

    def _base(self, server: _Server) -> str:
        return self._address(server.address).partition(server.page)[0]

    def _address(self, name: str) -> str:
        board = boards.read(self._data)
        found = [a.where for a in board.addresses if a.name == name] if board else []
        if not found:
            message = f"the stack on {self._data} has no {name}"
            raise Refusal(message, EX_UNAVAILABLE)
        return found[0]

    async def _watch(self) -> None:
        """Follow all prices, as a browser does, and come back when the hub is away."""
        url = self._address("hub")
        async with aiohttp.ClientSession(trust_env=False) as http:
            while True:
                try:
                    async with http.ws_connect(url) as socket, asyncio.TaskGroup() as group:
                        await socket.send_str(_HELLO)
                        await socket.send_str(_ALL)
                        pings = group.create_task(_ping(socket))
                        async for _ in socket:
                            pass
                        pings.cancel()
                except (aiohttp.ClientError, ExceptionGroup, OSError) as error:
                    log.debug("hub_away", error=str(error))
                await asyncio.sleep(1)


async def _falter(pid: int, how: Faltering) -> None:
    """Have a process stand still and go on in turn, until this is cancelled or it has ended."""
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(how.still_s)
            os.kill(pid, signal.SIGCONT)
            await asyncio.sleep(how.goes_s)


def _misruled(since_s: float) -> dict[str, Any]:
    """Return rules that fail from a time on, in Unix seconds: many to many cannot be added."""
    expr = f"up + on() (up and on() (vector(time()) > {since_s:.0f}))"
    return {"groups": [{"name": "drill", "rules": [{"record": "drill", "expr": expr}]}]}


async def _ping(socket: aiohttp.ClientWebSocketResponse) -> None:
    while True:
        await asyncio.sleep(PING_S)
        await socket.send_str(_PING)


async def _asked(http: aiohttp.ClientSession, url: str, job: str) -> dict[str, str]:
    """Return when Prometheus last asked each target of a job that it has from a file."""
    async with http.get(url, params={"state": "active"}) as answer:
        active = (await answer.json())["data"]["activeTargets"]
    return {
        each["scrapeUrl"]: each["lastScrape"]
        for each in active
        if each["scrapePool"] == job and "__meta_filepath" in each["discoveredLabels"]
    }


async def _told(http: aiohttp.ClientSession, url: str, pattern: str) -> str:
    async with http.get(url) as answer:
        found = re.search(pattern, await answer.text(), re.MULTILINE)
    return found[1] if found else ""


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
