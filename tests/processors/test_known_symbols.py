"""Which symbols validate knows: those of the file, and what the sources follow, at once."""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import msgspec
import pytest

from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.topics import RAW_ALPACA, REJECTED, SOURCES_SYMBOLS, VALID, Topic
from ingest.events import RawTick, SymbolsFollowed
from processors.events import RejectedTick, ValidTick

pytestmark = pytest.mark.service

#: On a machine that is busy with everything else.
DEADLINE_S = 120


class Ingest:
    """What ingest would write, record by record, each in the log before the next."""

    def __init__(self, producer: BatchProducer, prefix: str) -> None:
        self._producer, self._prefix = producer, prefix
        self._sequence = 0

    async def follow(self, source: str, *symbols: str) -> None:
        """Tell that a source follows symbols."""
        event = SymbolsFollowed(
            source="yahoo" if source == "yahoo" else "alpaca",
            at_ns=time.time_ns(),
            symbols=list(symbols),
            origin="a test",
        )
        await self._write(SOURCES_SYMBOLS, source, msgspec.json.encode(event))

    async def garbage(self) -> None:
        """Write what is no list."""
        await self._write(SOURCES_SYMBOLS, "alpaca", b'{"symbols": "EVIL"}')

    async def tick(self, symbol: str) -> None:
        """Publish a trade."""
        self._sequence += 1
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        trade = {"T": "t", "i": 1, "S": symbol, "x": "D", "p": 10.5, "s": 3, "t": when}
        tick = RawTick(
            source="alpaca",
            feed="iex",
            symbol=symbol,
            session_id="s",
            session_seq=self._sequence,
            received_at_ns=time.time_ns(),
            encoding="json",
            raw=msgspec.Raw(json.dumps(trade).encode()),
        )
        await self._write(RAW_ALPACA, symbol, msgspec.json.encode(tick))

    async def _write(self, topic: Topic, key: str, value: bytes) -> None:
        partition = self._producer.partition(key.encode(), topic.partitions)
        record = Record(key.encode(), value, time.time_ns() // 1_000_000)
        name = self._prefix + topic.name
        await (await self._producer.send(name, partition, [record], topic.header))


class Verdicts:
    """What validate wrote."""

    def __init__(self, servers: str, prefix: str) -> None:
        self._servers, self._prefix = servers, prefix

    async def of(self, amount: int) -> tuple[list[str], list[str]]:
        """Wait for so many verdicts; return the symbols that are valid, and those rejected."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                valid = await self._symbols(VALID, ValidTick)
                rejected = await self._symbols(REJECTED, RejectedTick)
                if len(valid) + len(rejected) >= amount:
                    return sorted(valid), sorted(rejected)
                await asyncio.sleep(0.1)

    async def _symbols(self, topic: Topic, kind: object) -> list[str]:
        decoder = msgspec.json.Decoder(kind)
        return [
            decoder.decode(record.value).symbol
            for partition in range(topic.partitions)
            async for record in read_to_end(self._servers, self._prefix + topic.name, partition)
        ]


@asynccontextmanager
async def _validate(kafka: Broker, prefix: str, port: int, file: Path) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "processors", "validate"),
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TOPIC_PREFIX": prefix,
            "METRICS_PORT": str(port),
            "MEMBER_NAME": "only",
            "SYMBOLS_FILE": str(file),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await _ready(port):
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ready(port: int) -> bool:
    url = f"http://127.0.0.1:{port}/ready"
    try:
        async with aiohttp.ClientSession() as http, http.get(url) as response:
            return response.status == 200
    except aiohttp.ClientConnectorError:
        return False


@pytest.mark.timeout(400)
async def test_the_first_tick_of_a_new_symbol_is_valid(
    kafka: Broker, topics: str, free_port: Callable[[], int], tmp_path: Path
) -> None:
    """Lists grow while strangers keep coming: no race loses a tick, no stranger slips in."""
    file = tmp_path / "symbols"
    file.write_text("AAPL\n")
    verdicts = Verdicts(kafka.bootstrap_servers, topics)
    producer = BatchProducer(kafka.bootstrap_servers, client_id="test")
    await producer.start()
    try:
        ingest = Ingest(producer, topics)
        await ingest.follow("alpaca", "MSFT")  # before validate begins
        async with _validate(kafka, topics, free_port(), file):
            for symbol in ("AAPL", "MSFT", "STRANGER"):
                await ingest.tick(symbol)
            assert await verdicts.of(3) == (["AAPL", "MSFT"], ["STRANGER"])
            await ingest.garbage()
            news = [f"N{number}" for number in range(30)]
            for symbol in news:
                await ingest.tick(symbol)  # a stranger, as long as nobody follows it
                await ingest.follow("yahoo" if symbol == "N7" else "alpaca", symbol)
                await ingest.tick(symbol)
            await ingest.tick("MSFT")  # given back long ago: its ticks may come late
            await ingest.tick("EVIL")
            valid, rejected = await verdicts.of(3 + 2 * len(news) + 2)
        assert set(news) <= set(valid), "the tick behind the list"
        assert valid.count("MSFT") == 2
        assert "EVIL" in rejected
        assert set(rejected) <= {*news, "STRANGER", "EVIL"}
        # whoever comes next knows what was followed, though no list names it any more
        await ingest.tick("N0")
        async with _validate(kafka, topics, free_port(), file):
            after, _ = await verdicts.of(len(valid) + len(rejected) + 1)
        assert after.count("N0") == valid.count("N0") + 1
    finally:
        await producer.stop()
