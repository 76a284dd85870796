"""The validate stage: `ticks.raw.*` to `ticks.valid` and `ticks.rejected`."""

import asyncio
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from infra import topics
from infra.kafka.batches import Record
from infra.kafka.read import Tail
from ingest.events import SymbolsFollowed
from processors.app.stage import Stage
from processors.events import RejectedTick, ValidTick
from processors.settings import ProcessorSettings
from processors.validate import Position, judge_all

_encode = msgspec.json.Encoder().encode

_followed = msgspec.json.Decoder(SymbolsFollowed)


class Validate(Stage):
    """`ticks.raw.*` to `ticks.valid` and `ticks.rejected`.

    A list of symbols is in `sources.symbols` before anyone is asked for their ticks. So whoever
    finds a symbol that it does not know reads that log to its end before it calls it unknown. That
    costs a question to the broker for each chunk with such a symbol in it, and nothing for others.
    """

    def __init__(self, settings: ProcessorSettings) -> None:
        super().__init__("validate", settings)
        #: Grows only: ticks of a symbol may come shortly after it was given back, or from the past.
        self._known = set(settings.symbols)
        self._followed = Tail(
            settings.kafka_bootstrap_servers, settings.topic(topics.SOURCES_SYMBOLS.name)
        )
        self.reads(self._judge, topics.RAW_ALPACA, topics.RAW_YAHOO)

    async def begin(self) -> None:
        """Learn which symbols the sources follow."""
        await self._followed.start()
        await self._learn()

    async def end(self) -> None:
        """Follow them no more."""
        await self._followed.stop()

    async def _learn(self) -> bool:
        """Read what the sources follow now; say whether any of it is new."""
        before = len(self._known)
        for record in await self._followed.fresh():
            # a record without a value deletes a source's row, not what was known of it
            followed = self.decode(_followed, record) if record.value else None
            if followed is not None:
                self._known.update(followed.symbols)
        return len(self._known) > before

    async def _judge(self, event: Any) -> None:
        chunk: list[ConsumerRecord] = event.value
        valid, rejected = self._verdicts(chunk)
        if any(tick.reason == "unknown_symbol" for tick in rejected) and await self._learn():
            valid, rejected = self._verdicts(chunk)
        partition = chunk[0].partition
        sends = [
            await self.send(topic, partition, [_tick_record(tick) for tick in verdicts])
            for topic, verdicts in ((topics.VALID, valid), (topics.REJECTED, rejected))
            if verdicts
        ]
        self.count("ok", len(chunk))
        await self.deliveries.acknowledge_after(asyncio.gather(*sends), event)

    def _verdicts(self, chunk: list[ConsumerRecord]) -> tuple[list[ValidTick], list[RejectedTick]]:
        return judge_all(
            (
                (r.value or b"", Position(r.topic, r.partition, r.offset, r.timestamp))
                for r in chunk
            ),
            self._known,
        )


def _tick_record(tick: Any) -> Record:
    return Record(tick.symbol.encode(), _encode(tick), tick.received_at_ns // 1_000_000)
