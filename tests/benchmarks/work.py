"""The work that all contestants do, the records that they do it on, and what must come of it. Pure.

`full` is the validate stage's own verdict; `light` reads the record, looks at one field and passes
it on, so that what is left is the framework's own cost.
"""

import random
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from hashlib import blake2b
from typing import NamedTuple

import msgspec
import orjson

from infra import topics
from infra.market_calendar import ALWAYS_OPEN
from ingest import symbols
from ingest.events import RawTick
from processors.events import RejectedTick
from processors.judge import Judge
from processors.validate import Broken, Position, judge, reject

KNOWN = symbols.parse(symbols.DEFAULT_FILE.read_text(encoding="utf-8"))
OUTPUTS = (topics.VALID, topics.REJECTED)
#: Every so many ticks one costs nothing, and is rejected.
BAD = 500


class Outcome(NamedTuple):
    """Where a record goes, and what goes there."""

    topic: topics.Topic
    key: bytes
    value: bytes


Work = Callable[[bytes, Position], Outcome]


def full(known: Collection[str]) -> Work:
    """Return the verdict as work: by itself, and given what was told of the symbol before."""
    encode = msgspec.json.Encoder().encode
    remembered: defaultdict[int, Judge] = defaultdict(lambda: Judge(ALWAYS_OPEN))

    def work(value: bytes, position: Position) -> Outcome:
        verdict = judge(value, position, known)
        if not isinstance(verdict, RejectedTick):
            believed = remembered[position.partition].take(verdict)
            if isinstance(believed, Broken):
                verdict = reject(value, position, believed)
            else:
                verdict = believed
        topic = topics.REJECTED if isinstance(verdict, RejectedTick) else topics.VALID
        return Outcome(topic, verdict.symbol.encode(), encode(verdict))

    return work


def light(_known: Collection[str]) -> Work:
    """Return reading, looking and passing on as work."""

    def work(value: bytes, _position: Position) -> Outcome:
        tick = orjson.loads(value)
        topic = topics.VALID if tick["received_at_ns"] > 0 else topics.REJECTED
        return Outcome(topic, tick["symbol"].encode(), value)

    return work


WORKS: dict[str, Callable[[Collection[str]], Work]] = {"full": full, "light": light}


def raw_ticks(amount: int) -> list[tuple[str, bytes]]:
    """Return so many raw trades and quotes of thirty symbols, as they stand in the log."""
    rng, now = random.Random(7), time.time_ns()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    usual = {symbol: rng.uniform(50, 500) for symbol in KNOWN}
    ticks = []
    for n in range(amount):
        symbol = rng.choice(KNOWN)
        price = round(usual[symbol] * rng.uniform(0.995, 1.005), 2) if (n + 1) % BAD else 0.0
        if n % 2:
            vendor = (
                f'{{"T":"t","i":{n},"S":"{symbol}","x":"V","p":{price},"s":{rng.randint(1, 500)},'
                f'"t":"{stamp}.{n:09}Z","c":["@","I"],"z":"C"}}'
            )
        else:
            vendor = (
                f'{{"T":"q","S":"{symbol}","bx":"V","bp":{price},"bs":100,"ax":"V",'
                f'"ap":{price + 0.02:.2f},"as":200,"t":"{stamp}.{n:09}Z","c":["R"],"z":"C"}}'
            )
        tick = RawTick(
            source="alpaca",
            feed="iex",
            symbol=symbol,
            session_id="bench",
            session_seq=n + 1,
            received_at_ns=now,
            encoding="json",
            raw=msgspec.Raw(vendor.encode()),
        )
        ticks.append((symbol, msgspec.json.encode(tick)))
    return ticks


class Sum(NamedTuple):
    """What stands in topics, whatever the order: how many records, and a sum of their digests."""

    records: int
    digest: int

    def plus(self, topic: str, key: bytes, value: bytes) -> "Sum":
        """Return it with one more record, which stands in `topic` (its name without a prefix)."""
        digest = blake2b(b"\0".join((topic.encode(), key, value)), digest_size=8).digest()
        return Sum(self.records + 1, (self.digest + int.from_bytes(digest)) & (2**64 - 1))


NOTHING = Sum(0, 0)


def expected(partitions: dict[int, list[bytes]], work: Work) -> Sum:
    """Return what must come of the values that stand in the raw topic, by partition."""
    total = NOTHING
    for partition, values in partitions.items():
        for offset, value in enumerate(values):
            outcome = work(value, Position(topics.RAW_ALPACA.name, partition, offset, 0))
            total = total.plus(outcome.topic.name, outcome.key, outcome.value)
    return total


def found(prefix: str, records: Iterable[tuple[str, bytes, bytes]]) -> Sum:
    """Return what came of it under a prefix, which every verdict repeats in its identity."""
    total = NOTHING
    for topic, key, value in records:
        name, raw = prefix + topics.RAW_ALPACA.name, topics.RAW_ALPACA.name
        plain = value.replace(f'"{name}"'.encode(), f'"{raw}"'.encode())
        total = total.plus(topic.removeprefix(prefix), key, plain)
    return total
