"""A stage's memory of its symbols in Kafka; thin, around `processors.memory`."""

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec
from aiokafka.errors import KafkaError

from infra.kafka.batches import Record
from infra.kafka.read import read_to_end
from infra.topics import Topic
from processors.app.stage import Stage
from processors.deliver import end_process
from processors.memory import Recollection, Remembered

#: How often what has changed is written down. Bounds what a successor has to fold again.
KEEP_S = 5.0

_encode = msgspec.json.Encoder().encode


class Memory:
    """Writes down what a stage remembers of its symbols, and reads it back.

    Args:
        stage: whose.
        topic: the compacted topic, with as many partitions as the stage's inputs.
        state_of: returns a symbol's state, to be encoded as JSON; called without a pause in between
            for all that have changed, so that all are of the same moment.
        pages_of: returns a symbol's pages that are due, by their keys; called just before.
        floor_of: returns what is remembered of a partition as a whole, at the same moment.

    """

    def __init__(
        self,
        stage: Stage,
        topic: Topic,
        state_of: Callable[[int, str], object],
        *,
        pages_of: Callable[[int, str], Mapping[str, object]] = lambda *_: {},
        floor_of: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._stage = stage
        self._topic = topic
        self._state_of = state_of
        self._pages_of = pages_of
        self._floor_of = floor_of
        self._changed: defaultdict[int, set[str]] = defaultdict(set)
        self._kept_at: dict[int, float] = {}

    async def recall(self, partition: int) -> Recollection:
        """Return what is remembered of a partition. Raises KafkaError, ValueError."""
        self.forget(partition)
        settings = self._stage.settings
        name = settings.topic(self._topic.name)
        servers = settings.kafka_bootstrap_servers
        return Recollection(
            [record.value async for record in read_to_end(servers, name, partition)]
        )

    def forget(self, partition: int) -> None:
        """Write nothing more of a partition that somebody else owns now."""
        self._changed.pop(partition, None)
        self._kept_at.pop(partition, None)

    def note(self, partition: int, symbols: Iterable[str]) -> None:
        """Note which symbols have changed."""
        self._changed[partition].update(symbols)

    async def keep(self, partition: int, at: Mapping[str, int], *, now: bool = False) -> None:
        """Write down what has changed, if it is time, once all is delivered up to here.

        `now`: the floor too, where nothing has changed.

        To be called between two chunks, with what the state is of: by input topic, without prefix,
        the first offset that is not folded in. Returns before it is written.
        """
        moment = time.monotonic()
        kept_at = self._kept_at.setdefault(partition, moment)
        if not now and (not self._changed[partition] or moment - kept_at < KEEP_S):
            return
        self._kept_at[partition] = moment
        symbols, self._changed[partition] = sorted(self._changed[partition]), set()
        places = dict(at)
        remembered: list[Remembered] = []
        for symbol in symbols:
            remembered += (
                Remembered(symbol=symbol, at=places, state=_raw(page), page=key)
                for key, page in self._pages_of(partition, symbol).items()
            )
            state = _raw(self._state_of(partition, symbol))
            remembered.append(Remembered(symbol=symbol, at=places, state=state))
        floor = _raw(self._floor_of(partition))
        remembered.append(Remembered(symbol="", at=places, state=floor))
        records = [Record(its.key, _encode(its)) for its in remembered]
        before = self._stage.deliveries.settled()
        await self._stage.deliveries.acknowledge_after(self._write(partition, records, before))

    async def _write(
        self, partition: int, records: list[Record], before: Awaitable[object]
    ) -> None:
        # what is remembered is not told again: so its outputs must be in the log first
        await before
        try:
            await (await self._stage.send(self._topic, partition, records))
        except KafkaError as error:
            end_process("memory_not_written", error)


def _raw(state: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(state))
