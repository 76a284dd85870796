"""The router's office: who enters it decides, look by look, and leaves when somebody else has.

No client in here: the logs are handed in, so that tests can put any failure between any two steps.

To enter is to write into the log of looks that one begins, and to read what counts before that.
What was decided then and may have been cut off is carried out. From then on, at each point of the
grid: decide; if anything changed, write the look, read back whether it counts, and only then carry
out what came of it. So all routers, frozen or alive, carry out the same; see `looks`.
"""

from collections.abc import Sequence
from typing import Protocol

from infra.commands import Command
from infra.market_calendar import ALWAYS_OPEN, Calendar
from ingest.events import SourceStatus
from processors import route
from processors.events import RouterTransition
from processors.evidence import NS
from processors.looks import Fence, Look, Pending, RouterBegan, RouterLooked, retell, that_count
from processors.route import Decision
from processors.route_reading import Router

#: How often a look carries what the router remembers: who takes over reads no further back.
MEMORY_NS = 60 * NS
#: How many of the last looks are searched for the newest that counts; others hold late ones.
LAST_LOOKS = 200


class Logs(Protocol):
    """The logs that a router reads and writes. Whatever was acknowledged is read from then on."""

    async def write_look(self, look: Look) -> int:
        """Append to `router.looks`; return the offset once it is there for good."""

    async def looks(self, *, since: int = 0, last: int | None = None) -> list[tuple[int, Look]]:
        """Return looks by offset up to the present end: from an offset on, or the last ones."""

    async def carry_out(self, decision: Decision) -> None:
        """Append the transition and the answer, where there are; return once they are there."""

    async def facts(self, after: int) -> Sequence[tuple[int, SourceStatus | None]]:
        """Return `sources.status` behind an offset, up to the present end."""

    async def commands(self, after: int) -> Sequence[tuple[int, Command | None]]:
        """Return `ops.commands` behind an offset, up to the present end."""

    async def transitions(self) -> list[RouterTransition]:
        """Return what counts of `router.transitions`."""

    async def answered(self) -> int:
        """Return the offset of the last command that was answered; -1 for none."""

    async def first_memory(self, now: int) -> Router:
        """Return what a router begins with that finds no look: a new log, or an older release's.

        Where it is among the transitions, the office sees to.
        """


class Office:
    """The office, as one process may hold it.

    Args:
        logs: the logs.
        calendar: the market's hours.

    """

    def __init__(self, logs: Logs, calendar: Calendar = ALWAYS_OPEN) -> None:
        self._logs = logs
        self._calendar = calendar
        #: What the router remembers; None while we are not the router.
        self.router: Router | None = None
        self.generation = 0
        self._pending = Pending()
        #: The next look to read back.
        self._next = 0
        self._since = -1
        #: When a look last carried the memory; None where none of ours has.
        self._remembered_at: int | None = None

    def leave(self) -> None:
        """Be the router no longer."""
        self.router = None

    async def enter(self, now: int) -> list[Decision]:
        """Become the router; return what was left to carry out, and now is.

        On return somebody else may have entered already: then `router` is None.
        """
        self.leave()
        self._pending, self._remembered_at = Pending(), None
        done = await self._logs.transitions()
        answered = await self._logs.answered()
        looks = await self._take_over(now, done[-1].generation if done else 0)
        router = await self._read_inputs(looks, now)
        left: list[Decision] = []
        for _, decision in retell(
            (look for _, look in looks), self._pending, calendar=self._calendar
        ):
            router = decision.router
            missing = _missing(decision, done[-1].epoch if done else 0, answered)
            if missing is not None:
                await self._logs.carry_out(missing)
                left.append(missing)
        for transition in done:
            if transition.epoch > router.epoch:  # an older release's, which wrote no looks
                router = route.after(router, transition, transition.switched_at_ns)
        if looks[-1][1].generation == self.generation:
            self.router = router
        return left

    async def _take_over(self, now: int, generation: int) -> list[tuple[int, Look]]:
        """Write that we begin; return what counts, from the last memory on."""
        while True:
            newest = _newest(await self._logs.looks(last=LAST_LOOKS))
            self._since = -1 if newest is None else _memory_at(*newest)
            generation = max(generation, 0 if newest is None else newest[1].generation)
            self.generation = generation + 1
            began = RouterBegan(generation=self.generation, at_ns=now, since=self._since)
            own = await self._logs.write_look(began)
            looks = await self._logs.looks(since=max(0, self._since))
            self._next = looks[-1][0] + 1
            counts = list(that_count(looks))
            if any(offset == own for offset, _ in counts):
                return counts

    async def _read_inputs(self, looks: Sequence[tuple[int, Look]], now: int) -> Router:
        """Take up the inputs since the first look's memory; return the memory."""
        memories = [look.memory for _, look in looks if isinstance(look, RouterLooked)]
        router = next((memory for memory in memories if memory), None)
        if router is None:
            router = await self._logs.first_memory(now)
        await self._catch_up_from(router.offset, router.command_offset)
        return router

    async def _catch_up_from(self, facts: int, commands: int) -> None:
        for offset, fact in await self._logs.facts(facts):
            self._pending.add_fact(offset, fact)
        for offset, command in await self._logs.commands(commands):
            self._pending.add_command(offset, command)

    async def catch_up(self) -> None:
        """Read what came while we did not look."""
        if self.router is not None:
            await self._catch_up_from(self.router.offset, self.router.command_offset)

    def learn_fact(self, offset: int, fact: SourceStatus | None) -> None:
        """Take up a fact; None where nobody can read it."""
        if self.router is not None and offset > self.router.offset:
            self._pending.add_fact(offset, fact)

    def learn_command(self, offset: int, command: Command | None) -> None:
        """Take up a command; None where nobody can read it."""
        if self.router is not None and offset > self.router.command_offset:
            self._pending.add_command(offset, command)

    async def look(self, now: int) -> Decision | None:
        """Decide at a point of the grid; return what was carried out, if anything changed.

        Where somebody else is the router by now, nothing is, and `router` is None.
        """
        before = self.router
        if before is None:
            return None
        inputs = self._pending.next()
        decision = route.decide(
            before, inputs, now, generation=self.generation, calendar=self._calendar
        )
        if decision.router == before:
            return None
        due = self._remembered_at is None or not 0 <= now - self._remembered_at < MEMORY_NS
        look = RouterLooked(
            generation=self.generation,
            at_ns=now,
            since=self._since,
            facts=decision.router.offset,
            commands=decision.router.command_offset,
            memory=before if due else None,
        )
        own = await self._logs.write_look(look)
        counts = await self._counts(own)
        if not counts:
            self.leave()
            return None
        if due:
            self._since, self._remembered_at = own, now
        await self._logs.carry_out(decision)
        self._pending.take(look.facts, look.commands)
        if self.router is not None:
            self.router = decision.router
        return decision

    async def _counts(self, own: int) -> bool:
        """Read the looks back; return whether ours counts. Leave, if another router has begun."""
        fence, counts = Fence(self.generation), False
        for offset, look in await self._logs.looks(since=self._next):
            self._next = offset + 1
            fence = fence.after(look)
            if offset == own:
                counts = fence.generation == self.generation
        if fence.generation != self.generation:
            self.leave()
        return counts


def _newest(looks: Sequence[tuple[int, Look]]) -> tuple[int, Look] | None:
    """Return the last look of the last router; what lies behind it was written too late."""
    return max(looks, key=lambda pair: (pair[1].generation, pair[0]), default=None)


def _memory_at(offset: int, look: Look) -> int:
    remembers = isinstance(look, RouterLooked) and look.memory is not None
    return offset if remembers else look.since


def _missing(decision: Decision, epoch: int, answered: int) -> Decision | None:
    """Return what of a decision is not in the logs; None where all is."""
    transition, answer = decision.transition, decision.answer
    if transition is not None and transition.epoch <= epoch:
        transition = None
    if answer is not None and answer.command_offset <= answered:
        answer = None
    if transition is None and answer is None:
        return None
    return decision._replace(transition=transition, answer=answer)
