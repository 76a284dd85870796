"""No key is anywhere but where it was put: not in logs, metrics, events, traces, nor in /proc.

Real processes, with keys that nothing else could spell, are led through all that may happen to
keys; then whatever they wrote and showed is searched, for the keys as they are and in base64.
"""

import asyncio
import os
import secrets
import signal
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from infra.kafka.broker import Broker
from infra.settings import EX_SOFTWARE
from infra.topics import RAW_ALPACA, SOURCES_GAPS, TOPICS, Topic
from ingest.events import GapClosed, GapEvent
from tests.collector import Collector, collecting
from tests.ingest.processes import Running, process_of, values

pytestmark = pytest.mark.service

#: On a machine that is busy with everything else.
DEADLINE_S = 120


@dataclass(frozen=True)
class Pair:
    """A pair of keys, of a shape like Alpaca's."""

    key_id: str
    secret: str

    @classmethod
    def fresh(cls) -> "Pair":
        """Return one that nobody has seen."""
        return cls(f"PK{secrets.token_hex(9).upper()}", secrets.token_hex(20))


def spellings(secret: str) -> set[bytes]:
    """Return how a secret looks where it stands, and within a longer text in base64.

    There a text of three characters is one of four, so that it depends on the place modulo three;
    the characters at both ends are shared with the neighbours.
    """
    found = {secret.encode(), secret.encode().hex().encode()}
    for before in range(3):
        encoded = b64encode(bytes(before) + secret.encode()).rstrip(b"=")
        found.add(encoded[2 + before : -2])
    return found


def test_a_secret_is_found_however_it_is_spelt() -> None:
    """The search itself: a secret in the middle of what is encoded is seen at any place."""
    pair = Pair.fresh()
    for before in range(6):
        for text in (pair.secret, f"{'x' * before}{pair.secret}{'y' * before}"):
            for shown in (text.encode(), b64encode(text.encode())):
                assert any(spelling in shown for spelling in spellings(pair.secret))
    assert not any(spelling in b64encode(b"something else") for spelling in spellings("PKOTHER1"))


@dataclass(frozen=True)
class Simulator:
    """A simulated Alpaca that runs."""

    stream: str
    history: str


@asynccontextmanager
async def _simulator(
    directory: Path, free_port: Callable[[], int], *accepted: Pair
) -> AsyncIterator[Simulator]:
    """Run the simulator; its keys come by file, so that its command line shows none either."""
    keys = directory / "accepted"
    keys.write_text("".join(f"{pair.key_id} {pair.secret}\n" for pair in accepted))
    port, http = free_port(), free_port()
    with (directory / "simulator.out").open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.simulators", "alpaca", "--port", str(port)),
            *("--http-port", str(http), "--rate", "100", "--keys-file", str(keys)),
            *("--ledger", str(directory / "ledger.jsonl")),
            stdout=out,
            stderr=out,
        )
    try:
        await _until(lambda: _answers(f"http://127.0.0.1:{port}/ready"))
        yield Simulator(f"ws://127.0.0.1:{port}/v2/iex", f"http://127.0.0.1:{http}")
    finally:
        process.terminate()
        await process.wait()


async def _answers(url: str) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await condition():
            await asyncio.sleep(0.1)


def _write(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


def _rotate(file: Path, pair: Pair, *running: Running) -> None:
    """Replace the keys, and have them looked at."""
    _write(file, f"ALPACA_API_KEY_ID={pair.key_id}\nALPACA_API_SECRET_KEY={pair.secret}\n")
    for process in running:
        os.kill(process.pid, signal.SIGHUP)


async def _says(running: Running, event: str, times: int = 1) -> None:
    async def said() -> bool:
        assert running.process.returncode is None, running.err + running.out
        return running.out.count(f'"{event}"') >= times

    await _until(said)


class Shown:
    """All that was shown, place by place."""

    def __init__(self) -> None:
        self._places: list[tuple[str, bytes]] = []

    async def look_at(self, running: Running, *, environ: bool) -> None:
        """Take down what a process shows while it runs."""
        proc = Path("/proc") / str(running.pid)
        self._places.append((f"{running.pid}'s metrics", (await running.get("/metrics")).encode()))
        self._places.append((f"{running.pid}'s command line", (proc / "cmdline").read_bytes()))
        if environ:
            self._places.append((f"{running.pid}'s environment", (proc / "environ").read_bytes()))

    async def read(self, broker: Broker, prefix: str, topics: Iterable[Topic] = TOPICS) -> None:
        """Take down every record of every topic."""
        for topic in topics:
            self._places += [(topic.name, value) for value in await values(broker, topic, prefix)]

    async def look_into(self, collector: Collector) -> None:
        """Take down every span, and the headers that it came with."""
        spans = await collector.until(lambda: collector.spans)
        self._places += [("traces", repr(said).encode()) for said in (*spans, *collector.headers)]

    def take(self, running: Running) -> None:
        """Take down what a process said."""
        self._places.append((f"{running.pid}'s output", (running.out + running.err).encode()))

    def has_none_of(self, *pairs: Pair) -> None:
        """Hold that no key is anywhere; and that there was something to look at."""
        found = b"".join(value for _, value in self._places)
        assert b'"level":"debug"' in found.replace(b" ", b""), "DEBUG was not on"
        for secret in {secret for pair in pairs for secret in (pair.key_id, pair.secret)}:
            for place, value in self._places:
                assert not any(spelling in value for spelling in spellings(secret)), place


def _env(
    broker: Broker, prefix: str, simulator: Simulator, collector: Collector, port: int
) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "TOPIC_PREFIX": prefix,
        "METRICS_PORT": str(port),
        "ALPACA_STREAM_URL": simulator.stream,
        "ALPACA_DATA_URL": simulator.history,
        "MARKET_HOURS": "always",
        "LOG_LEVEL": "DEBUG",
    }


async def _gaps_closed(broker: Broker, prefix: str) -> int:
    decoder = msgspec.json.Decoder(GapEvent)
    events = [decoder.decode(value) for value in await values(broker, SOURCES_GAPS, prefix)]
    return len([event for event in events if isinstance(event, GapClosed)])


async def _remove(broker: Broker, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    await admin.start()
    try:
        await admin.delete_topics([topic])
    finally:
        await admin.close()


@pytest.mark.timeout(600)
async def test_keys_from_a_file_are_nowhere_else(
    kafka: Broker, topics: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Through success, rotation, a torn file, refusal of both processes, and an end by a fault."""
    old, new, wrong = Pair.fresh(), Pair.fresh(), Pair.fresh()
    keys, history_keys = tmp_path / "keys", tmp_path / "history-keys"
    _rotate(keys, old)
    _rotate(history_keys, wrong)
    shown = Shown()
    async with collecting() as told, _simulator(tmp_path, free_port, old, new) as simulator:
        env, past = (
            _env(kafka, topics, simulator, told, free_port()) | {"ALPACA_KEYS_FILE": str(file)}
            for file in (keys, history_keys)
        )
        async with (
            process_of("alpaca", env, tmp_path) as alpaca,
            process_of("backfill", past, tmp_path) as backfill,
        ):
            await alpaca.answer("/ready", "")
            await _says(alpaca, "source_subscribed")
            # other keys, which are accepted; the gap that this makes is asked for with wrong ones
            _rotate(keys, new, alpaca)
            await _says(alpaca, "source_subscribed", 2)
            await _says(backfill, "history_refused")
            await shown.look_at(backfill, environ=True)
            # half a file, and then the gap can be filled
            _write(history_keys, f"ALPACA_API_KEY_ID={new.key_id}\n{new.secret}\n")
            await _says(backfill, "keys_unreadable")
            _rotate(history_keys, new, backfill)
            await _until(lambda: _some(_gaps_closed(kafka, topics)))
            # keys that are refused until there is nothing more to try
            _rotate(keys, wrong, alpaca)
            await _says(alpaca, "source_stopped")
            await shown.look_at(alpaca, environ=True)
            _rotate(keys, old, alpaca)
            await _says(alpaca, "source_subscribed", 3)
            await shown.read(kafka, topics)
            # a fault: nobody takes what was read any more
            await _remove(kafka, topics + RAW_ALPACA.name)
            for running in (alpaca, backfill):
                await shown.look_at(running, environ=True)
            assert await alpaca.ended(DEADLINE_S) == EX_SOFTWARE
            backfill.process.terminate()
            await backfill.ended(DEADLINE_S)
            shown.take(alpaca)
            shown.take(backfill)
            await shown.look_into(told)
        await shown.read(kafka, topics, [topic for topic in TOPICS if topic is not RAW_ALPACA])
    shown.has_none_of(old, new, wrong)


async def _some(amount: Awaitable[int]) -> bool:
    return await amount > 0


@pytest.mark.timeout(300)
async def test_keys_from_the_environment_are_nowhere_else(
    kafka: Broker, topics: str, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """Refused to the end; a signal to look at them is answered with why there is nothing to see."""
    right, wrong = Pair.fresh(), Pair.fresh()
    shown = Shown()
    async with collecting() as told, _simulator(tmp_path, free_port, right) as simulator:
        env = _env(kafka, topics, simulator, told, free_port()) | {
            "ALPACA_API_KEY_ID": right.key_id,
            "ALPACA_API_SECRET_KEY": wrong.secret,
        }
        async with process_of("alpaca", env, tmp_path) as alpaca:
            await _says(alpaca, "source_stopped")
            os.kill(alpaca.pid, signal.SIGHUP)
            await _says(alpaca, "keys_kept")
            await shown.look_at(alpaca, environ=False)
            alpaca.process.terminate()
            assert await alpaca.ended(DEADLINE_S) == 0
            shown.take(alpaca)
    await shown.read(kafka, topics)
    shown.has_none_of(right, wrong)
