"""The router's logs on Kafka."""

from collections.abc import Iterable

import msgspec
from aiokafka import ConsumerRecord

from infra import topics
from infra.clock import now_ns
from infra.commands import Answer, Command, Failover, Hold, Release
from infra.fence import Story
from infra.kafka.batches import Record
from infra.kafka.read import Tail, read_to_end
from infra.traces.kafka import sending
from ingest.events import SourceStatus
from processors.app.stage import Stage
from processors.app.traces import transition_context, transition_span
from processors.events import RouterTransition
from processors.looks import Look
from processors.records import answer_record, transition_record
from processors.route import Decision
from processors.route_orders import STALE_COMMAND_NS
from processors.route_reading import Router, begin

_encode = msgspec.json.Encoder().encode
_fact = msgspec.json.Decoder(SourceStatus)
_command = msgspec.json.Decoder(Command)
_look = msgspec.json.Decoder(Look)
_answer = msgspec.json.Decoder(Answer)
_transition = msgspec.json.Decoder(RouterTransition)

#: How many facts a router without a memory looks back at: five minutes of them.
FACTS_BACK = 600
#: How many answers are looked at for the last one.
ANSWERS_BACK = 20


class KafkaLogs:
    """`office.Logs` on Kafka, by way of the stage's producer.

    Args:
        stage: the stage.

    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._servers = stage.settings.kafka_bootstrap_servers
        self._looks = Tail(self._servers, stage.settings.topic(topics.ROUTER_LOOKS.name))

    async def start(self) -> None:
        """Connect."""
        await self._looks.start()

    async def stop(self) -> None:
        """Disconnect."""
        await self._looks.stop()

    def fact(self, record: ConsumerRecord) -> SourceStatus | None:
        """Return the fact in a record of `sources.status`."""
        fact: SourceStatus | None = self._stage.decode(_fact, record)
        return fact

    def command(self, record: ConsumerRecord) -> Command | None:
        """Return the command in a record of `ops.commands`."""
        command: Command | None = self._stage.decode(_command, record)
        return command

    async def write_look(self, look: Look) -> int:
        """Append to `router.looks`; return the offset."""
        record = Record(b"router", _encode(look), look.at_ns // 1_000_000)
        (written,) = await (await self._stage.send(topics.ROUTER_LOOKS, 0, [record]))
        offset: int = written.offset
        return offset

    async def looks(self, *, since: int = 0, last: int | None = None) -> list[tuple[int, Look]]:
        """Return looks by offset up to the present end: from an offset on, or the last ones."""
        records = await self._looks.since(since if last is None else -last)
        return [
            (record.offset, look)
            for record in records
            if (look := self._stage.decode(_look, record)) is not None
        ]

    async def carry_out(self, decision: Decision) -> None:
        """Append the transition and the answer, where there are; return once they are there."""
        transition, answer = decision.transition, decision.answer
        if transition is not None:
            await self._write_transition(transition)
        if answer is not None:
            await (await self._stage.send(topics.ANSWERS, 0, [answer_record(answer)]))

    async def _write_transition(self, transition: RouterTransition) -> None:
        record, out = transition_record(transition), None
        tracer, began_ns = self._stage.tracer, now_ns()
        if tracer and tracer.always(began_ns):
            name = self._stage.settings.topic(topics.TRANSITIONS.name)
            out = sending(transition_context(transition), name, 0, record.key, began_ns)
            record = record._replace(headers=out.headers)
        await (await self._stage.send(topics.TRANSITIONS, 0, [record]))
        if tracer and out:
            tracer.tell(transition_span(transition, began_ns), out.span(now_ns()))

    async def facts(self, after: int) -> list[tuple[int, SourceStatus | None]]:
        """Return `sources.status` behind an offset, up to the present end."""
        name = self._stage.settings.topic(topics.SOURCES_STATUS.name)
        records = read_to_end(self._servers, name, 0, since=after + 1)
        return [(record.offset, self.fact(record)) async for record in records]

    async def commands(self, after: int) -> list[tuple[int, Command | None]]:
        """Return `ops.commands` behind an offset, up to the present end."""
        name = self._stage.settings.topic(topics.COMMANDS.name)
        records = read_to_end(self._servers, name, 0, since=after + 1)
        return [(record.offset, self.command(record)) async for record in records]

    async def transitions(self) -> list[RouterTransition]:
        """Return what counts of `router.transitions`."""
        name = self._stage.settings.topic(topics.TRANSITIONS.name)
        story, counts = Story(), []
        async for record in read_to_end(self._servers, name, 0):
            transition = self._stage.decode(_transition, record)
            if transition is not None and story.accepts(transition):
                story = story.after(transition)
                counts.append(transition)
        return counts

    async def answered(self) -> int:
        """Return the offset of the last command that was answered; -1 for none."""
        name = self._stage.settings.topic(topics.ANSWERS.name)
        records = read_to_end(self._servers, name, 0, last=ANSWERS_BACK)
        answers = [self._stage.decode(_answer, record) async for record in records]
        return max((answer.command_offset for answer in answers if answer is not None), default=-1)

    async def first_memory(self, now: int) -> Router:
        """Return what a router begins with that finds no look."""
        name = self._stage.settings.topic(topics.SOURCES_STATUS.name)
        records = read_to_end(self._servers, name, 0, last=FACTS_BACK)
        facts = [(record.offset, self.fact(record)) async for record in records]
        # those of the last minute are still to be answered
        old = [
            (offset, command)
            for offset, command in await self.commands(-1)
            if command is None or command.at_ns < now - STALE_COMMAND_NS
        ]
        first = next(((offset, fact) for offset, fact in facts if fact is not None), None)
        return msgspec.structs.replace(
            begin(now if first is None else first[1].at_ns),
            offset=-1 if first is None else first[0] - 1,
            command_offset=old[-1][0] if old else -1,
            held=_held(command for _, command in old),
        )


def _held(commands: Iterable[Command | None]) -> bool:
    """Return whether the commands of an older release, which answered none, leave a hold."""
    held = False
    for command in commands:
        match command:
            case Failover(to=to):
                held = to == "yahoo"
            case Hold():
                held = True
            case Release():
                held = False
            case _:
                pass
    return held
