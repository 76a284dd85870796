"""A model check of the take-over: the router's own functions, in every interleaving of their steps.

Two routers, and one that comes after them, share logs with Kafka's semantics: what is appended is
in one order for all, and is read from then on. Between any two steps of one router the other may
take any number of its own; either may stop for good at any step, which is a crash, or be frozen
there until the other has done all that it does. Hypothesis does the same to three of them.
"""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from infra.commands import Command, Failover
from infra.fence import Story
from infra.market_calendar import ALWAYS_OPEN
from ingest.events import SourceStatus, Subscribed
from ingest.yahoo import route as yahoo
from processors.desk import Desk
from processors.events import RouterTransition
from processors.evidence import NS
from processors.forward import route_of
from processors.office import Office
from processors.route import GRID_NS, Decision, decide
from tests.processors.route_office import Cluster, MemoryLogs, run
from tests.processors.test_route import T0, disconnected, heartbeat

#: When the take-over begins, in a pipeline where Alpaca is routed, and well so far.
NOW = T0 + 20 * NS

Process = Coroutine[Any, Any, None]


def _settled(kind: type[Office]) -> tuple[Cluster, Office]:
    """Return a cluster, and the router that it has: Alpaca is routed."""
    cluster = Cluster(T0)
    cluster.facts += [heartbeat("alpaca", NOW - NS), heartbeat("yahoo", NOW - NS)]
    office = kind(MemoryLogs(cluster))
    run(office.enter(NOW - NS))
    run(office.look(NOW - NS))
    assert office.router is not None
    assert office.router.state == "PRIMARY_ACTIVE"
    return cluster, office


def _refused() -> list[SourceStatus]:
    """Alpaca refuses our keys: whoever hears of it fails over."""
    return [disconnected(NOW, "auth")]


def _back() -> list[SourceStatus]:
    """It does not any more: who hears of both at once does nothing."""
    return [Subscribed(source="alpaca", feed="", session_id="s", at_ns=NOW, symbols=[])]


def _asked() -> list[Command]:
    return [Failover(at_ns=NOW, who="ann", why="a test", target="router", to="yahoo")]


class Case:
    """What has come when the old router looks, and what more when its successors do."""

    def __init__(
        self,
        facts: Callable[[], list[SourceStatus]] = list,
        commands: Callable[[], list[Command]] = list,
        later: Callable[[], list[SourceStatus]] = list,
    ) -> None:
        self._facts, self._commands, self._later = facts, commands, later

    def begin(self, office: type[Office]) -> tuple[Cluster, Office]:
        """Return a cluster in which it has happened; its router has heard the first of it."""
        cluster, settled = _settled(office)
        for fact in self._facts():
            settled.learn_fact(len(cluster.facts), fact)
            cluster.facts.append(fact)
        for command in self._commands():
            settled.learn_command(len(cluster.commands), command)
            cluster.commands.append(command)
        cluster.facts += self._later()
        return cluster, settled


CASES = {
    "both fail over": Case(facts=_refused),
    "only the old one would": Case(facts=_refused, later=_back),
    "only the new one would": Case(later=_refused),
    "an operator asks": Case(commands=_asked),
    "an operator asks, and it fails": Case(facts=_refused, commands=_asked, later=_back),
}


async def _goes_on(office: Office) -> None:
    """Go on as the router, until one finds that one is it no longer."""
    await office.look(NOW)


async def _begins_again(office: Office) -> None:
    """Go on, and begin again where somebody else has begun: the partition is ours, still."""
    await office.look(NOW)
    if office.router is None:
        await office.enter(NOW + GRID_NS)
        await office.look(NOW + GRID_NS)


async def _new(office: Office, at: int = NOW + 2 * GRID_NS) -> None:
    """Take over, and look."""
    await office.enter(at)
    await office.look(at)


def _step(process: Process) -> bool:
    """Have a process do one step; return whether there is another."""
    try:
        process.send(None)
    except StopIteration:
        return False
    return True


def _clusters(begin: Callable[[], tuple[Cluster, list[Process]]]) -> Iterator[Cluster]:
    """Yield a cluster for every order in which processes can take steps, and stop.

    A process cannot be copied in the middle, so each order is lived from the beginning.
    """
    waiting: list[tuple[int, ...]] = [()]
    while waiting:
        order = waiting.pop()
        cluster, processes = begin()
        going = [_step(process) for process in processes]  # up to before its first step
        for which in order:
            going[which] = _step(processes[which])
        waiting += [(*order, which) for which, goes in enumerate(going) if goes]
        for process in processes:
            process.close()
        yield cluster


def holds(cluster: Cluster) -> None:
    """Hold a cluster to the laws, once somebody has taken over who is not disturbed."""
    office = Office(MemoryLogs(cluster))
    run(_new(office, NOW + 3 * GRID_NS))
    counted = [msgspec.json.decode(value, type=RouterTransition) for value in cluster.counted()]
    assert [t.epoch for t in counted] == list(range(1, len(counted) + 1))
    assert [t.from_state for t in counted] == ["STARTUP", *(t.to_state for t in counted[:-1])]
    # whoever wrote it, and how often: an epoch has one transition
    assert set(cluster.transitions) == set(cluster.counted())
    # the log says again what was decided, and the router stands where its readers do
    retold = cluster.retold()
    assert [d.transition for d in retold if d.transition] == counted
    assert [msgspec.json.encode(d.answer) for d in retold if d.answer] == list(
        dict.fromkeys(cluster.answers)
    )
    assert office.router is not None
    assert retold[-1].router == office.router
    seen, desk, story = yahoo.Seen(), Desk(ALWAYS_OPEN), Story()
    for offset, value in enumerate(cluster.transitions):
        seen = yahoo.after(seen, value, offset)
        transition = msgspec.json.decode(value, type=RouterTransition)
        if story.accepts(transition):
            desk.learn(route_of(transition))
        story = story.after(transition)
    desk.pass_to(NOW + NS, NOW + NS)
    assert seen.active is (office.router.state == "FALLBACK_ACTIVE")
    assert seen.story.epoch == desk.route.epoch == story.epoch == office.router.epoch
    assert desk.route == route_of(counted[-1])


def _every_order(case: Case, old: Callable[[Office], Process], office: type[Office]) -> set[int]:
    """Hold every order to the laws; return how many transitions may be in the log."""

    def begin() -> tuple[Cluster, list[Process]]:
        cluster, settled = case.begin(office)
        return cluster, [old(settled), _new(Office(MemoryLogs(cluster)))]

    written = set()
    with capture_logs():  # the poller tells of every transition that it drops
        for cluster in _clusters(begin):
            holds(cluster)
            written.add(len(cluster.transitions))
    return written


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_order_of_a_take_over_tells_one_story(case: Case) -> None:
    """All of them, with either router stopped at every step."""
    _every_order(case, _goes_on, Office)


def test_every_order_of_a_fight_for_the_office_tells_one_story() -> None:
    """The old router begins again, because the partition is its own, and the new one goes on."""
    assert _every_order(CASES["both fail over"], _begins_again, Office) == {2, 3}


class Blind(Office):
    """A router that does not read back whether its look counts."""

    async def _counts(self, own: int) -> bool:
        del own
        return True


class Hasty(Office):
    """A router that carries out before it has written what it looked at."""

    async def look(self, now: int) -> Decision | None:
        """Decide, carry out, and then do as the others do."""
        if self.router is not None:
            decision = decide(self.router, self._pending.next(), now, generation=self.generation)
            await self._logs.carry_out(decision)
        return await super().look(now)


@pytest.mark.parametrize("office", [Blind, Hasty])
def test_the_model_finds_who_does_not_keep_to_it(office: type[Office]) -> None:
    """A check that cannot fail would check nothing."""
    with pytest.raises(AssertionError):
        _every_order(CASES["only the old one would"], _goes_on, office)


@given(
    st.sampled_from(list(CASES.values())),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 6)), max_size=20),
)
@settings(max_examples=100)
def test_three_routers_tell_one_story(case: Case, turns: list[tuple[int, int]]) -> None:
    """Whoever takes so many steps while the others are frozen."""
    cluster, office = case.begin(Office)
    processes = [
        _begins_again(office),
        _new(Office(MemoryLogs(cluster)), NOW + 2 * GRID_NS),
        # its clock is an hour behind
        _new(Office(MemoryLogs(cluster)), NOW - 3600 * NS),
    ]
    going = [_step(process) for process in processes]
    with capture_logs():
        for which, steps in turns:
            for _ in range(steps):
                going[which] = going[which] and _step(processes[which])
        for process in processes:
            process.close()
        holds(cluster)
