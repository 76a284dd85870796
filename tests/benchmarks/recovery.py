"""How long are prices away when validate and forward are killed together, with 500 symbols?

    python -m tests.benchmarks.recovery [--symbols 500] [--rate 2000] [--rounds 3]

Starts a Kafka broker of its own and writes raw ticks of both sources at a steady rate, all the
time. Each round kills both stages with signal 9 in mid-flow, starts them again under their names,
and takes the time from there to the first price whose tick was written after that: interpreter,
Kafka's group, the tables of what was remembered, and the fold of what came since. Most of it is the
start of two Python processes; `empty` is the same with one symbol and hardly a tick.
"""

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import string
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from infra import topics
from infra.kafka.admin import ensure_topics
from infra.kafka.batches import BatchProducer, Record
from ingest.events import RawTick
from processors.events import RoutedPrice
from tests.benchmarks.own_broker import own_broker
from tests.processors.routes import TO_ALPACA

STAGES = ("validate", "forward")
NS = 1_000_000_000
#: What lies in the log before the first kill.
WARM_S = 20.0
PACE_S = 0.05
WAIT_S = 120.0


class Flow:
    """Both sources' raw ticks, steadily: of Yahoo's one for twenty of Alpaca's."""

    def __init__(self, producer: BatchProducer, prefix: str, symbols: list[str], rate: int) -> None:
        self._producer, self._prefix = producer, prefix
        self._symbols, self._rate = symbols, rate
        self._number = 0

    async def run(self) -> None:
        """Write until cancelled."""
        began = time.monotonic()
        while True:
            due = int((time.monotonic() - began) * self._rate) + 1
            runs: defaultdict[tuple[topics.Topic, int], list[Record]] = defaultdict(list)
            while self._number < due:
                topic, symbol, value = self._tick()
                partition = self._producer.partition(symbol.encode(), topics.TICK_PARTITIONS)
                runs[topic, partition].append(Record(symbol.encode(), value))
            for (topic, partition), records in runs.items():
                name = self._prefix + topic.name
                await self._producer.send(name, partition, records, topic.header)
            await asyncio.sleep(PACE_S)  # the pace of the flow

    def _tick(self) -> tuple[topics.Topic, str, bytes]:
        self._number += 1
        number, now = self._number, time.time_ns()
        symbol = self._symbols[number % len(self._symbols)]
        price = 100 + number % 7 / 10
        if number % 21 == 0:
            told = {"regularMarketPrice": price, "regularMarketTime": now // NS - 1}
            meta = {"symbol": symbol, "previousClose": 100.0, **told}
            message: dict[str, object] = {"symbol": symbol, "response": [{"meta": meta}]}
            raw = self._raw("yahoo", "spark", symbol, message, now)
            return topics.RAW_YAHOO, symbol, raw
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // NS))
        message = {"T": "t", "i": number, "S": symbol, "x": "V", "z": "C", "p": price, "s": 1}
        message["t"] = f"{stamp}.{now % NS:09}Z"
        return topics.RAW_ALPACA, symbol, self._raw("alpaca", "iex", symbol, message, now)

    def _raw(self, source: str, feed: str, symbol: str, message: object, now: int) -> bytes:
        tick = RawTick(
            source=source,  # type: ignore[arg-type]  # one of the two
            feed=feed,
            symbol=symbol,
            session_id="benchmark",
            session_seq=self._number,
            received_at_ns=now,
            encoding="json",
            raw=msgspec.Raw(msgspec.json.encode(message)),
        )
        return msgspec.json.encode(tick)


async def start(servers: str, prefix: str, symbols: Path) -> list[asyncio.subprocess.Process]:
    """Start both stages."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": servers, "TOPIC_PREFIX": prefix, "MARKET_HOURS": "always"}
    return [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "processors", stage),
            env={**os.environ, **env, "SYMBOLS_FILE": str(symbols), "MEMBER_NAME": stage},
            stdout=asyncio.subprocess.DEVNULL,
        )
        for stage in STAGES
    ]


async def kill(processes: list[asyncio.subprocess.Process]) -> None:
    """Kill them, as a power cut would."""
    for process in processes:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def first_price(consumer: AIOKafkaConsumer, since_ns: int) -> None:
    """Return when a price is there whose tick was written from a moment on."""
    async with asyncio.timeout(WAIT_S):
        while True:
            for records in (await consumer.getmany(timeout_ms=50)).values():
                for record in records:
                    price = msgspec.json.decode(record.value, type=RoutedPrice)
                    if price.received_at_ns >= since_ns:
                        return


async def measure(servers: str, prefix: str, names: list[str], rate: int, rounds: int) -> float:
    """Return the median of the seconds that prices were away."""
    await ensure_topics(servers, prefix)
    producer = BatchProducer(servers, client_id="benchmark")
    await producer.start()
    told = Record(b"router", msgspec.json.encode(TO_ALPACA))
    name, header = prefix + topics.TRANSITIONS.name, topics.TRANSITIONS.header
    await (await producer.send(name, 0, [told], header))
    consumer = AIOKafkaConsumer(bootstrap_servers=servers)
    await consumer.start()
    consumer.assign(
        [TopicPartition(prefix + topics.ROUTED.name, p) for p in range(topics.TICK_PARTITIONS)]
    )
    flow = asyncio.ensure_future(Flow(producer, prefix, names, rate).run())
    processes: list[asyncio.subprocess.Process] = []
    seconds = []
    try:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as symbols:
            symbols.write("\n".join(names))
            symbols.flush()
            processes = await start(servers, prefix, Path(symbols.name))
            await first_price(consumer, time.time_ns() + int(WARM_S * NS))
            for _ in range(rounds):
                await kill(processes)
                began, since = time.monotonic(), time.time_ns()
                processes = await start(servers, prefix, Path(symbols.name))
                await first_price(consumer, since)
                seconds.append(time.monotonic() - began)
                await first_price(consumer, time.time_ns() + int(WARM_S / 2 * NS))
    finally:
        flow.cancel()
        await asyncio.wait([flow])
        await kill(processes)
        await consumer.stop()
        await producer.stop()
    return statistics.median(seconds)


def named(amount: int) -> list[str]:
    """Return so many symbols."""
    letters = itertools.product(string.ascii_uppercase, repeat=3)
    return ["".join(name) for name in itertools.islice(letters, amount)]


async def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    async with own_broker() as broker:
        servers = broker.bootstrap_servers
        empty = await measure(servers, "empty.", named(1), 20, options.rounds)
        full = await measure(servers, "full.", named(options.symbols), options.rate, options.rounds)
    print(f"empty: {empty:.1f} s without a price")  # noqa: T201
    print(  # noqa: T201
        f"{options.symbols} symbols at {options.rate} ticks/s: {full:.1f} s without a price, "
        f"{full / empty:.2f}x"
    )


if __name__ == "__main__":
    asyncio.run(main())
