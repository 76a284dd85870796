"""`python -m ingest alpaca` as a process: keys, symbols and commands change while it runs."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.topics import SOURCES_GAPS, SOURCES_SYMBOLS, TOPICS
from ingest.events import GapEnded, GapEvent, GapOpened, SymbolsFollowed

pytestmark = pytest.mark.service

DEADLINE_S = 60.0
OLD = ("PKOLD8F1A2B", "old-secret-5d41402abc4b")
NEW = ("PKNEW7C3D4E", "new-secret-9d4568c009d2")


class Vendor:
    """Alpaca, as far as one process asks: keys that may change, trades without end."""

    def __init__(self) -> None:
        self.keys = OLD
        self.used: list[str] = []
        self.held: list[str] = []
        self.open = self.most_at_once = 0

    async def serve(self, socket: ServerConnection) -> None:
        """Speak with one connection until it is gone."""
        self.open += 1
        self.most_at_once = max(self.most_at_once, self.open)
        try:
            await self._speak(socket)
        except ConnectionClosed:
            pass
        finally:
            self.open -= 1

    async def _speak(self, socket: ServerConnection) -> None:
        await socket.send('[{"T":"success","msg":"connected"}]')
        auth = json.loads(await socket.recv())
        self.used.append(auth["key"])
        if (auth["key"], auth["secret"]) != self.keys:
            await socket.send('[{"T":"error","code":402,"msg":"auth failed"}]')
            await socket.wait_closed()
            return
        await socket.send('[{"T":"success","msg":"authenticated"}]')
        self.held = []
        trading = asyncio.create_task(self._trade(socket))
        try:
            async for message in socket:
                request = json.loads(message)
                symbols = request["trades"]
                if request["action"] == "subscribe":
                    self.held += [symbol for symbol in symbols if symbol not in self.held]
                else:
                    self.held = [symbol for symbol in self.held if symbol not in symbols]
                await socket.send(json.dumps([{"T": "subscription", "trades": self.held}]))
        finally:
            trading.cancel()
            await asyncio.gather(trading, return_exceptions=True)

    async def _trade(self, socket: ServerConnection) -> None:
        number = 0
        while True:
            await asyncio.sleep(0.02)  # the rate of this market
            for symbol in self.held:
                number += 1
                await socket.send(json.dumps([{"T": "t", "S": symbol, "i": number, "p": 1.5}]))


class Run:
    """One run of the process, and where to look at it."""

    def __init__(self, process: asyncio.subprocess.Process, output: Path, metrics: str) -> None:
        self.process = process
        self.output = output
        self.metrics = metrics

    async def exposition(self) -> bytes:
        """Return what Prometheus would scrape."""
        async with aiohttp.ClientSession() as http, http.get(self.metrics) as answer:
            return await answer.read()

    def traces(self) -> bytes:
        """Return what the operating system shows of the process."""
        proc = Path("/proc") / str(self.process.pid)
        return (proc / "cmdline").read_bytes() + (proc / "environ").read_bytes()


class Ledger:
    """The gaps in the log, as they are told."""

    def __init__(self, servers: str, topic: str) -> None:
        self._servers, self._topic = servers, topic

    async def causes(self, kind: type[GapOpened | GapEnded]) -> list[str]:
        """Return why each gap was opened, or which were ended."""
        found = await _events(self._servers, self._topic, GapEvent)
        return [gap.cause for gap in found if isinstance(gap, kind)]

    async def tells(self, *causes: str) -> None:
        """Wait until exactly these gaps were opened, and all are ended."""

        async def told() -> bool:
            opened, ended = await self.causes(GapOpened), await self.causes(GapEnded)
            return opened == ended == list(causes)

        await _until(told)


def _keys_file(path: Path, keys: tuple[str, str]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(f"ALPACA_API_KEY_ID={keys[0]}\nALPACA_API_SECRET_KEY={keys[1]}\n")
    fresh.replace(path)


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.05)


async def _events(servers: str, topic: str, kind: Any) -> list[Any]:
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(r.value) async for r in read_to_end(servers, topic, 0)]


@asynccontextmanager
async def _ingest(env: dict[str, str], directory: Path, port: int) -> AsyncIterator[Run]:
    output = directory / f"output-{port}"
    with output.open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ingest", "alpaca"),
            env={**os.environ, **env, "METRICS_PORT": str(port)},
            stdout=stream,
            stderr=stream,
        )
    try:
        yield Run(process, output, f"http://127.0.0.1:{port}/metrics")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), DEADLINE_S)


async def _ask(servers: str, prefix: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", *arguments),
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": servers, "TOPIC_PREFIX": prefix},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == 0, said.decode()
    return said.decode()


@pytest.mark.timeout(300)
async def test_a_process_lives_through_its_keys_symbols_commands_and_death(
    kafka: Broker, topics: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Nothing needs a restart, each gap is in the ledger, and no key is anywhere."""
    servers = kafka.bootstrap_servers
    keys, symbols = tmp_path / "keys", tmp_path / "symbols"
    _keys_file(keys, OLD)
    symbols.write_text("AAPL\nMSFT\n")
    vendor, ledger = Vendor(), Ledger(servers, topics + SOURCES_GAPS.name)
    shown: list[bytes] = []

    async def streaming(*wanted: str) -> bool:
        return vendor.held == list(wanted) and vendor.open == 1

    async with serve(vendor.serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        env = {
            "KAFKA_BOOTSTRAP_SERVERS": servers,
            "TOPIC_PREFIX": topics,
            "ALPACA_STREAM_URL": f"ws://127.0.0.1:{port}/v2/iex",
            "ALPACA_KEYS_FILE": str(keys),
            "SYMBOLS_FILE": str(symbols),
            "MARKET_HOURS": "always",
            "LOG_LEVEL": "DEBUG",
        }
        async with _ingest(env, tmp_path, free_port()) as run:
            await _until(lambda: streaming("AAPL", "MSFT"))
            # other symbols, on the same connection, by command
            symbols.write_text("MSFT\nTSLA\n")
            why = ("--why", "TSLA is in the news")
            said = await _ask(servers, topics, "reload-symbols", "alpaca", *why)
            assert "asked alpaca to reload symbols" in said
            await _until(lambda: streaming("MSFT", "TSLA"))
            assert vendor.used == [OLD[0]]
            followed = await _events(servers, topics + SOURCES_SYMBOLS.name, SymbolsFollowed)
            assert followed[-1].symbols == ["MSFT", "TSLA"]
            # a reconnection, by command
            await _ask(servers, topics, "reconnect", "alpaca", "--why", "to see", "--who", "ann")
            await ledger.tells("asked")
            # other keys, by a file that is replaced
            vendor.keys = NEW
            _keys_file(keys, NEW)
            run.process.send_signal(signal.SIGHUP)
            await ledger.tells("asked", "asked")
            assert vendor.used == [OLD[0], OLD[0], NEW[0]]
            shown += [run.traces(), await run.exposition()]
            # death
            run.process.kill()
            await run.process.wait()
            shown.append(run.output.read_bytes())
        assert await ledger.causes(GapOpened) == ["asked", "asked"]
        async with _ingest(env, tmp_path, free_port()) as run:
            await ledger.tells("asked", "asked", "restarted")
            # keys that are refused: five times, then a stop; then keys that are not
            vendor.keys = OLD
            why = ("--why", "the vendor changed the keys")
            await _ask(servers, topics, "reconnect", "alpaca", *why)

            async def stopped() -> bool:
                return b"source_stopped" in run.output.read_bytes()

            await _until(stopped)
            assert vendor.used.count(NEW[0]) == 1 + 1 + 5
            shown += [run.traces(), await run.exposition()]
            assert b"alpaca_consecutive_auth_failures 5.0" in shown[-1]
            _keys_file(keys, OLD)
            await ledger.tells("asked", "asked", "restarted", "asked")
        shown.append(run.output.read_bytes())
    assert vendor.most_at_once == 1, "two connections at once"
    for topic in TOPICS:
        for partition in range(topic.partitions):
            shown += [
                (record.key or b"") + record.value
                async for record in read_to_end(servers, topics + topic.name, partition)
            ]
    for secret in (*OLD, *NEW):
        encoded = base64.b64encode(secret.encode())
        assert not any(secret.encode() in place or encoded in place for place in shown)
