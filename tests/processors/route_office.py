"""What the tests of the router's office are made of: its logs in memory, and processes in steps."""

import types
from collections.abc import Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from infra.commands import Answer, Command
from infra.fence import Story
from ingest.events import SourceStatus
from processors.events import RouterTransition
from processors.looks import Look, Pending, retell, that_count
from processors.route import Decision
from processors.route_reading import Router, begin

T = TypeVar("T")

_look = msgspec.json.Decoder(Look)
_transition = msgspec.json.Decoder(RouterTransition)
_answer = msgspec.json.Decoder(Answer)


@types.coroutine
def pause() -> Generator[None, None, None]:
    """Let whoever drives the process do something else, or never come back."""
    yield


def run(process: Coroutine[Any, Any, T]) -> T:
    """Run a process to its end, undisturbed."""
    while True:
        try:
            process.send(None)
        except StopIteration as done:
            found: T = done.value
            return found


@dataclass
class Cluster:
    """What is in the logs, as bytes where the router writes."""

    begins_at: int
    facts: list[SourceStatus] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    looks: list[bytes] = field(default_factory=list)
    transitions: list[bytes] = field(default_factory=list)
    answers: list[bytes] = field(default_factory=list)

    def counted(self) -> list[bytes]:
        """Return the transitions that count for a reader."""
        story, found = Story(), []
        for value in self.transitions:
            transition = _transition.decode(value)
            if story.accepts(transition):
                found.append(value)
            story = story.after(transition)
        return found

    def retold(self) -> list[Decision]:
        """Return what the facts, the commands and the looks say was decided."""
        looks = that_count(enumerate(_look.decode(value) for value in self.looks))
        pending = Pending()
        for offset, fact in enumerate(self.facts):
            pending.add_fact(offset, fact)
        for offset, command in enumerate(self.commands):
            pending.add_command(offset, command)
        return [decision for _, decision in retell((look for _, look in looks), pending)]


class MemoryLogs:
    """`office.Logs` in memory, for one process; it pauses before each call that others can notice.

    A process that is not gone on with is one that died, or is frozen: with a record on its way, or
    in the log and not known to be.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def _append(self, log: list[bytes], value: Any) -> int:
        await pause()
        log.append(msgspec.json.encode(value))
        return len(log) - 1

    async def write_look(self, look: Look) -> int:
        """Append."""
        return await self._append(self._cluster.looks, look)

    async def looks(self, *, since: int = 0, last: int | None = None) -> list[tuple[int, Look]]:
        """Return the looks of now."""
        await pause()
        begin_at = since if last is None else max(0, len(self._cluster.looks) - last)
        looks = enumerate(self._cluster.looks[begin_at:], begin_at)
        return [(offset, _look.decode(value)) for offset, value in looks]

    async def carry_out(self, decision: Decision) -> None:
        """Append."""
        if decision.transition is not None:
            await self._append(self._cluster.transitions, decision.transition)
        if decision.answer is not None:
            await self._append(self._cluster.answers, decision.answer)

    async def facts(self, after: int) -> list[tuple[int, SourceStatus]]:
        """Return the facts."""
        return [*enumerate(self._cluster.facts)][after + 1 :]

    async def commands(self, after: int) -> list[tuple[int, Command]]:
        """Return the commands."""
        return [*enumerate(self._cluster.commands)][after + 1 :]

    async def transitions(self) -> list[RouterTransition]:
        """Return the transitions that count now."""
        await pause()
        return [_transition.decode(value) for value in self._cluster.counted()]

    async def answered(self) -> int:
        """Return the last command that was answered."""
        answers = [_answer.decode(value).command_offset for value in self._cluster.answers]
        return max(answers, default=-1)

    async def first_memory(self, now: int) -> Router:
        """Return a router that begins."""
        del now
        return begin(self._cluster.begins_at)
