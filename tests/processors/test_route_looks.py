"""The router's decisions can be made again: in one go, in pieces, and by whoever takes over."""

from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.commands import Command, Failover, Hold, Release
from ingest.events import SourceStatus, Stopped
from processors.events import RouterTransition
from processors.evidence import NS
from processors.looks import Fence, Look, Pending, RouterBegan, RouterLooked, that_count
from processors.office import Office
from processors.route import GRID_NS
from processors.route_reading import begin
from tests.processors.route_office import Cluster, MemoryLogs, run
from tests.processors.test_route import T0, disconnected, heartbeat


class Life(NamedTuple):
    """A time in which the world stays as it is, in cells of the grid.

    Attributes:
        cells: how long it is.
        alpaca, yahoo: whether a source is up, down and says so, or dead (None: says nothing).
        late: by how many cells a fact comes later than it was written.
        asked: what an operator asks for at its beginning.
        word: what Alpaca says at its beginning.

    """

    cells: int
    alpaca: bool | None
    yahoo: bool | None
    late: int
    asked: str
    word: str


LIVES = st.lists(
    st.builds(
        Life,
        cells=st.integers(1, 70),
        alpaca=st.sampled_from([True, True, False, None]),
        yahoo=st.sampled_from([True, True, False, None]),
        late=st.sampled_from([0, 0, 1, 3]),
        asked=st.sampled_from(["", "", "yahoo", "alpaca", "hold", "release"]),
        word=st.sampled_from(["", "", "closed", "auth", "stop"]),
    ),
    min_size=1,
    max_size=8,
)


def command(asked: str, at: int) -> Command:
    """Return what an operator asks for."""
    given = {"at_ns": at, "who": "ann", "why": "a test", "target": "router"}
    kinds: dict[str, Any] = {"hold": Hold, "release": Release}
    if asked in kinds:
        wanted: Command = kinds[asked](**given)
        return wanted
    return Failover(to="yahoo" if asked == "yahoo" else "alpaca", **given)  # type: ignore[arg-type]


def word(said: str, at: int) -> SourceStatus:
    """Return what Alpaca says at the end of its connection."""
    if said == "stop":
        return Stopped(source="alpaca", feed="", session_id="s", at_ns=at, code=402)
    return disconnected(at, said)


def history(lives: list[Life]) -> list[tuple[list[SourceStatus], list[Command]]]:
    """Return what comes in each cell of the grid, whenever it was written."""
    cells: list[tuple[list[SourceStatus], list[Command]]] = []
    due: list[tuple[int, SourceStatus]] = []
    for life in lives:
        for nth in range(life.cells):
            cell = len(cells)
            now = T0 + (cell + 1) * GRID_NS
            if nth == 0 and life.word:
                due.append((cell + life.late, word(life.word, now - GRID_NS // 2)))
            for source, up in (("alpaca", life.alpaca), ("yahoo", life.yahoo)):
                if up is not None and cell % 4 == 0:
                    due.append((cell + life.late, heartbeat(source, now - GRID_NS // 3, up=up)))
            come = [fact for at, fact in due if at <= cell]
            due = [(at, fact) for at, fact in due if at > cell]
            given = [command(life.asked, now)] if nth == 0 and life.asked else []
            cells.append((come, given))
    return cells


class Operation:
    """Live operation: cell by cell what comes is in the logs, is handed over, and is looked at."""

    def __init__(self) -> None:
        self.cluster = Cluster(T0)
        self.now = T0
        self.office = self.hire()

    def hire(self) -> Office:
        """Have somebody take over."""
        office = Office(MemoryLogs(self.cluster))
        run(office.enter(self.now))
        assert office.router is not None
        return office

    def live(self, facts: list[SourceStatus], commands: list[Command]) -> None:
        """Live one cell."""
        self.now += GRID_NS
        for fact in facts:
            self.office.learn_fact(len(self.cluster.facts), fact)
            self.cluster.facts.append(fact)
        for command in commands:
            self.office.learn_command(len(self.cluster.commands), command)
            self.cluster.commands.append(command)
        run(self.office.look(self.now))

    def transitions(self) -> list[RouterTransition]:
        """Return all transitions, whatever router decided."""
        found = (msgspec.json.decode(v, type=RouterTransition) for v in self.cluster.transitions)
        return [msgspec.structs.replace(t, generation=0) for t in found]


@given(LIVES, st.data())
@settings(max_examples=60)
def test_in_one_go_in_pieces_and_over_restarts(lives: list[Life], data: st.DataObject) -> None:
    """The log says again what was decided, byte for byte; and no restart changes a decision."""
    cells = history(lives)
    cuts = data.draw(st.sets(st.integers(0, len(cells)), max_size=4))
    undisturbed, restarted = Operation(), Operation()
    for cell, (facts, commands) in enumerate(cells):
        undisturbed.live(facts, commands)
        if cell in cuts:
            before = restarted.office.router
            restarted.office = restarted.hire()
            assert restarted.office.router == before
        restarted.live(facts, commands)
    one, other = undisturbed.cluster, restarted.cluster
    assert restarted.transitions() == undisturbed.transitions()
    assert other.answers == one.answers
    for cluster, office in ((one, undisturbed.office), (other, restarted.office)):
        decisions = cluster.retold()
        assert cluster.transitions == [
            msgspec.json.encode(d.transition) for d in decisions if d.transition
        ]
        assert cluster.answers == [msgspec.json.encode(d.answer) for d in decisions if d.answer]
        # where nobody said anything yet, nobody has looked
        assert [d.router for d in decisions[-1:]] in ([], [office.router])


@given(LIVES, st.data())
@settings(max_examples=40)
def test_whoever_was_away_is_told_again_as_well(lives: list[Life], data: st.DataObject) -> None:
    """Points of the grid that nobody looked at are in no log: what was decided is."""
    cells = history(lives)
    operation = Operation()
    cell = 0
    while cell < len(cells):
        operation.live(*cells[cell])
        cell += 1
        away = data.draw(st.sampled_from([0] * 20 + [1, 7, 60]))
        if away:
            for facts, commands in cells[cell : cell + away]:
                operation.cluster.facts += facts
                operation.cluster.commands += commands
            cell += away
            operation.now += away * GRID_NS
            operation.office = operation.hire()
    assert operation.cluster.transitions == [
        msgspec.json.encode(d.transition) for d in operation.cluster.retold() if d.transition
    ]
    assert operation.cluster.counted() == operation.cluster.transitions


def test_failed_checks_outlive_the_router() -> None:
    """Two that failed before a restart, and one after it, are three in a row."""
    operation = Operation()
    while operation.now < T0 + 60 * NS and len(operation.cluster.transitions) < 2:
        seconds, part = divmod(operation.now + GRID_NS - T0, NS)
        facts: list[SourceStatus] = []
        if part == 0:
            # away for four seconds of five: in time for every check, and never for ten
            now = operation.now + GRID_NS
            facts = [heartbeat("yahoo", now), heartbeat("alpaca", now, up=seconds % 5 == 1)]
        operation.live(facts, [])
        operation.office = operation.hire()
    last = msgspec.json.decode(operation.cluster.transitions[-1])
    assert (last["to_state"], last["reason"]) == ("FALLBACK_ACTIVE", "health")


def test_of_two_that_begin_with_one_generation_the_first_counts() -> None:
    """The other sees that, and begins once more."""
    began = [RouterBegan(generation=g, at_ns=T0, since=-1) for g in (1, 1, 2)]
    late = RouterLooked(generation=1, at_ns=T0, since=-1, facts=-1, commands=-1)
    looks: list[Look] = [*began, late]
    assert [offset for offset, _ in that_count(enumerate(looks))] == [0, 2]
    assert not Fence(2).accepts(late)
    assert not Fence(0).accepts(late)


def test_what_was_read_back_and_what_streamed_in_is_one() -> None:
    """Each once, in the order of the log, whichever came first."""
    pending = Pending()
    for offset in (5, 6, 3, 4, 5, 3):
        pending.add_fact(offset, None)
    assert [offset for offset, _ in pending.next().facts] == [3, 4, 5, 6]
    assert [offset for offset, _ in pending.take(4, -1).facts] == [3, 4]
    assert [offset for offset, _ in pending.next().facts] == [5, 6]


def test_one_command_at_a_time_is_looked_at() -> None:
    """So each gets its answer, and no two transitions come of one look."""
    pending = Pending()
    for offset in range(3):
        pending.add_command(offset, command("hold", T0))
    pending.add_command(3, None)
    assert [offset for offset, _ in pending.next().commands] == [0]
    pending.take(-1, 2)
    assert [offset for offset, _ in pending.next().commands] == [3]


def test_the_memory_is_the_same_out_of_the_log() -> None:
    """What is not worth writing down is a default."""
    router = begin(T0)
    assert msgspec.json.decode(msgspec.json.encode(router), type=type(router)) == router
