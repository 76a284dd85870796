"""`python -m processors.replay FILE [--into PREFIX] [--events FILE]`: a capture, run again.

What came of it is on standard output, as JSON, the same for the same capture; how fast it went is
on standard error. Started by `twinfeed replay`. Emits no metrics.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import BinaryIO

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from infra import topics
from infra.capture import Captured, Reader
from infra.kafka.admin import TopicMismatchError, ensure_topics
from infra.kafka.batches import BatchProducer
from infra.kafka.read import reader
from infra.market_calendar import ALWAYS_OPEN, Calendar
from infra.market_calendar import load as load_calendar
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE, load
from processors.__main__ import COLLECT_AFTER
from processors.replay.run import Event, replay
from processors.replay.summary import Counting, Summary
from processors.settings import ProcessorSettings

Write = Callable[[list[Event]], Awaitable[None]]

OUTPUTS = (
    topics.TRANSITIONS,
    topics.ANSWERS,
    topics.VALID,
    topics.REJECTED,
    topics.BREAKERS,
    topics.COMPARISONS,
    topics.QUARANTINES,
    topics.ROUTED,
)
#: So many events are handed over at a time.
BATCH = 1_000
#: How long the broker may take to answer at first.
ANSWER_S = 30.0


class CannotReplayError(Exception):
    """Why it cannot be done, and the exit code."""

    def __init__(self, sentence: str, exit_code: int) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Source:
    """A capture that is being replayed.

    Args:
        file: the capture.
        settings: the symbols and the market's hours, where the capture does not tell them.

    """

    def __init__(self, file: BinaryIO, settings: ProcessorSettings) -> None:
        self._reader = Reader(file)
        self._settings = settings
        self.records = 0

    def events(self) -> Iterator[Event]:
        """Yield what comes of it."""
        return replay(
            self._reader.header,
            self._records(),
            symbols=self._settings.symbols,
            calendar=self._calendar,
        )

    def _records(self) -> Iterator[Captured]:
        for records in self._reader.records():
            self.records += len(records)
            yield from records

    def _calendar(self, market: str) -> Calendar:
        if market == ALWAYS_OPEN.name:
            return ALWAYS_OPEN
        if market:
            return load_calendar(self._settings.market_overrides_file)
        return self._settings.calendar


def _line(event: Event) -> bytes:
    """Return an event as a line of JSON."""
    where = {
        "topic": event.topic.name,
        "partition": event.partition,
        "key": (event.record.key or b"").decode(),
        "value": msgspec.Raw(event.record.value),
    }
    return msgspec.json.encode(where) + b"\n"


async def _run(events: Iterator[Event], servers: str, into: str, lines: BinaryIO | None) -> Summary:
    """Take all events, and return what they were."""
    counting = Counting()
    async with _topics(servers, into) as write:
        while batch := list(islice(events, BATCH)):
            for event in batch:
                counting.add(event)
            if lines:
                lines.writelines(map(_line, batch))
            if write:
                await write(batch)
    return counting.summary()


@contextlib.asynccontextmanager
async def _topics(servers: str, into: str) -> AsyncIterator[Write | None]:
    """Yield a function that writes events to topics with a prefix; None where there is none."""
    if not into:
        yield None
        return
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the exception says it, once
    producer = BatchProducer(servers, client_id="replay")
    try:
        async with asyncio.timeout(ANSWER_S):
            await ensure_topics(servers, into)
            await _must_be_empty(servers, into)
            await producer.start()

        async def write(events: list[Event]) -> None:
            sends = [
                await producer.send(
                    into + topic.name, partition, [event.record for event in some], topic.header
                )
                for (topic, partition), some in groupby(
                    sorted(events, key=lambda e: (e.topic.name, e.partition)),
                    key=lambda event: (event.topic, event.partition),
                )
            ]
            await asyncio.gather(*sends)

        yield write
    except (KafkaError, TimeoutError) as error:
        message = f"Kafka at {servers} does not take the events: {error or type(error).__name__}"
        raise CannotReplayError(message, EX_UNAVAILABLE) from error
    except TopicMismatchError as error:
        raise CannotReplayError(str(error), EX_CONFIG) from error
    finally:
        await producer.stop()


async def _must_be_empty(servers: str, into: str) -> None:
    tps = [
        TopicPartition(into + topic.name, partition)
        for topic in OUTPUTS
        for partition in range(topic.partitions)
    ]
    consumer = reader(servers)
    await consumer.start()
    try:
        ends = await consumer.end_offsets(tps)
    finally:
        await consumer.stop()
    for tp, end in ends.items():
        if end:
            message = f"topic {tp.topic} holds records already: choose another prefix"
            raise CannotReplayError(message, EX_CANTCREAT)


def main(arguments: list[str]) -> int:
    """Replay the capture that is named, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m processors.replay")
    parser.add_argument("file", type=Path)
    parser.add_argument("--into", default="")
    parser.add_argument("--events", type=Path)
    options = parser.parse_args(arguments)
    settings = load(ProcessorSettings)
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 100)
    started = time.monotonic()
    try:
        with contextlib.ExitStack() as files:
            source = Source(_open(files, options.file, "rb"), settings)
            lines = _open(files, options.events, "xb") if options.events else None
            summary = asyncio.run(
                _run(source.events(), settings.kafka_bootstrap_servers, options.into, lines)
            )
    except CannotReplayError as error:
        print(f"twinfeed: {error}", file=sys.stderr)  # noqa: T201
        return error.exit_code
    except ValueError as error:  # a CaptureError, or a record in it that is none of ours
        print(f"twinfeed: {options.file}: {error}", file=sys.stderr)  # noqa: T201
        return EX_DATAERR
    elapsed = time.monotonic() - started
    print(msgspec.json.format(msgspec.json.encode(summary)).decode())  # noqa: T201
    rate = f"{source.records} records in {elapsed:.1f} s, {source.records / elapsed:,.0f}/s"
    print(f"twinfeed: {rate}", file=sys.stderr)  # noqa: T201
    return 0


def _open(files: contextlib.ExitStack, path: Path, mode: str) -> BinaryIO:
    try:
        file: BinaryIO = files.enter_context(path.open(mode))  # type: ignore[assignment]
    except OSError as error:
        message = f"{path} cannot be opened: {error.strerror}"
        raise CannotReplayError(message, EX_CANTCREAT) from error
    return file


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
