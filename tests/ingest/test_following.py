"""Which symbols a source follows: who is asked, what counts, and what is in the log before."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from infra.topics import SOURCES_SYMBOLS
from ingest.events import SymbolsFollowed, SymbolsImpaired, SymbolsRestored
from ingest.following import Following
from ingest.lists import Listing, Question, question
from ingest.publish import Publisher
from tests.ingest.fakes import InMemoryProducer, eventually

SOURCE = question("http://ann:hush@lists.example/us.txt")


class Lists:
    """An operator's system: answers what it is told to, or a sentence of why it cannot."""

    def __init__(self, *symbols: str) -> None:
        self.symbols = symbols
        self.refusal: str | None = None
        self.asked = 0

    async def ask(self, asked: Question) -> Listing:
        """Answer one question."""
        self.asked += 1
        if self.refusal is not None:
            message = f"{asked.origin}: {self.refusal}"
            raise ValueError(message)
        return Listing(symbols=self.symbols, origin=asked.origin)


class Run:
    """One source that follows, and what came of it."""

    def __init__(self, following: Following, producer: InMemoryProducer) -> None:
        self.following = following
        self.producer = producer
        self.reload = asyncio.Event()
        #: What the worker was told to follow, and what was in the log by then.
        self.told: list[tuple[str, ...]] = []
        self.logged: list[tuple[str, ...]] = []

    def follow(self, symbols: tuple[str, ...]) -> None:
        """Take note, as a worker would obey."""
        self.told.append(symbols)
        self.logged.append(tuple(self.followed[-1].symbols))

    @property
    def followed(self) -> list[SymbolsFollowed]:
        """What the log says is followed."""
        records = self.producer.records(SOURCES_SYMBOLS)
        return [msgspec.json.decode(record.value, type=SymbolsFollowed) for record in records]

    async def reloaded(self) -> None:
        """Have the lists read again, and wait until they were."""
        self.reload.set()
        await eventually(lambda: not self.reload.is_set())
        # the event is cleared before the reading, so a second one follows a whole first one
        self.reload.set()
        await eventually(lambda: not self.reload.is_set())


@asynccontextmanager
async def _following(
    file: Path,
    lists: Lists | None = None,
    *,
    limit: int | None = None,
    reload_s: float = 3600,
    retry_s: float = 3600,
) -> AsyncIterator[Run]:
    producer = InMemoryProducer()
    following = Following(
        "alpaca",
        feed="iex",
        run_id="alpaca-1",
        file=file,
        symbols=("FIRST",),
        asked=SOURCE if lists else None,
        limit=limit,
        ask=lists.ask if lists else _nobody,
    )
    publisher = Publisher(producer, linger_s=0, delivered=following.delivered)
    async with publisher.running():
        run = Run(following, producer)
        run.told.append(await following.begin(publisher))
        task = asyncio.create_task(
            following.watch(
                publisher, run.follow, look=run.reload, reload_s=reload_s, retry_s=retry_s
            )
        )
        try:
            yield run
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _nobody(_: Question) -> Listing:
    raise AssertionError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A list on disk."""
    file = tmp_path / "symbols.txt"
    _write(file, "AAPL\nMSFT\n")
    return file


def _write(file: Path, content: str | None) -> None:
    if content is None:
        file.unlink()
    else:
        file.write_text(content)


async def test_the_file_is_followed_as_it_changes(file: Path) -> None:
    """What was read at the start is read again; each list is told once."""
    async with _following(file) as run:
        assert run.told == [("AAPL", "MSFT")]
        await run.reloaded()
        _write(file, "MSFT\nTSLA\n")
        await run.reloaded()
        await run.reloaded()
        assert run.told == [("AAPL", "MSFT"), ("MSFT", "TSLA")]
        assert [(event.symbols, event.origin) for event in run.followed] == [
            (["AAPL", "MSFT"], str(file)),
            (["MSFT", "TSLA"], str(file)),
        ]


async def test_another_order_is_another_list(file: Path) -> None:
    """The order is the priority, which decides what a limit cuts off."""
    async with _following(file) as run:
        _write(file, "MSFT\nAAPL\n")
        await run.reloaded()
        assert run.told[-1] == ("MSFT", "AAPL")


async def test_lists_are_read_again_after_a_while(file: Path) -> None:
    """Nobody has to ask."""
    async with _following(file, reload_s=0.01) as run:
        _write(file, "TSLA\n")
        await eventually(lambda: run.told[-1] == ("TSLA",))


async def test_a_new_list_is_in_the_log_before_it_is_followed(file: Path) -> None:
    """While Kafka has not said so, the worker is told nothing: then no tick can come first."""
    async with _following(file) as run:
        run.producer.answering.clear()
        _write(file, "TSLA\n")
        run.reload.set()
        await eventually(lambda: not run.reload.is_set())
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(run.told) == 1
        run.producer.answering.set()
        await eventually(lambda: run.told[-1] == ("TSLA",))
        assert run.logged == [("TSLA",)]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("AAPL\naapl\n", "line 2: 'aapl' is not a symbol such as AAPL or BRK.B"),
        ("", "no symbol in it"),
        (None, "No such file or directory"),
    ],
)
async def test_a_file_that_went_wrong_changes_nothing(
    file: Path, content: str | None, sentence: str
) -> None:
    """It is told once a reason, and when the file is right again, that is followed."""
    with capture_logs() as logs:
        async with _following(file) as run:
            _write(file, content)
            await run.reloaded()
            await run.reloaded()
            assert run.told == [("AAPL", "MSFT")]
            (warning,) = [log for log in logs if log["log_level"] == "warning"]
            assert warning["event"] == "symbols_unreadable"
            assert warning["detail"] == f"{file}: {sentence}"
            _write(file, "TSLA\n")
            await run.reloaded()
            assert run.told[-1] == ("TSLA",)


async def test_the_source_counts_for_more_than_the_file(file: Path) -> None:
    """Its list is followed from the start, and its origin told without its password."""
    lists = Lists("NVDA", "AAPL")
    async with _following(file, lists) as run:
        assert run.told == [("NVDA", "AAPL")]
        _write(file, "TSLA\n")
        lists.symbols = ("NVDA",)
        await run.reloaded()
        assert run.told[-1] == ("NVDA",)
        assert {event.origin for event in run.followed} == {"http://lists.example/us.txt"}


async def test_until_the_source_answers_the_file_is_followed(file: Path) -> None:
    """It is asked again and again, sooner than otherwise, and warned of once a reason."""
    lists = Lists("NVDA")
    lists.refusal = "Connection refused"
    with capture_logs() as logs:
        async with _following(file, lists, retry_s=0.01) as run:
            assert run.told == [("AAPL", "MSFT")]
            await eventually(lambda: lists.asked > 5)
            _write(file, "TSLA\n")
            await eventually(lambda: run.told[-1] == ("TSLA",))
            warnings = [log["detail"] for log in logs if log["log_level"] == "warning"]
            assert warnings == ["http://lists.example/us.txt: Connection refused"]
            lists.refusal = None
            await eventually(lambda: run.told[-1] == ("NVDA",))


async def test_a_source_that_fails_keeps_its_last_list(file: Path) -> None:
    """The file, which may be old, does not come back into force; other reasons are told as well."""
    lists = Lists("NVDA", "TSLA")
    with capture_logs() as logs:
        async with _following(file, lists) as run:
            for refusal in ("answered with status 500", "line 1: '<html>' is not a symbol"):
                lists.refusal = refusal
                await run.reloaded()
            assert run.told == [("NVDA", "TSLA")]
            lists.refusal = None
            await run.reloaded()
            lists.refusal = "answered with status 500"
            await run.reloaded()
    warnings = [log["detail"].partition(": ")[2] for log in logs if log["log_level"] == "warning"]
    assert warnings == [
        "answered with status 500",
        "line 1: '<html>' is not a symbol",
        "answered with status 500",
    ]


async def test_what_the_plan_does_not_allow_is_dropped_by_priority_and_told(file: Path) -> None:
    """Beyond the limit a change is told, but nothing new is followed."""
    _write(file, "A\nB\nC\nD\n")
    async with _following(file, limit=2) as run:
        assert run.told == [("A", "B")]
        statuses = run.producer.statuses
        await eventually(statuses)
        (impaired,) = statuses()
        assert isinstance(impaired, SymbolsImpaired)
        assert (impaired.reason, impaired.symbols) == ("limit", ["C", "D"])
        assert impaired.detail == "ALPACA_SYMBOL_LIMIT is 2"
        await run.reloaded()
        _write(file, "A\nB\nD\n")
        await run.reloaded()
        await eventually(lambda: len(statuses()) > 1)
        assert run.told == [("A", "B")]
        _, restored, still = statuses()
        assert isinstance(restored, SymbolsRestored)
        assert restored.symbols == ["C"]
        assert isinstance(still, SymbolsImpaired)
        assert still.symbols == ["D"]
        _write(file, "D\n")
        await run.reloaded()
        await eventually(lambda: len(statuses()) > 3)
        assert run.told[-1] == ("D",)
        last = statuses()[-1]
        assert isinstance(last, SymbolsRestored)
        assert last.symbols == ["D"]
        assert run.followed[-1].symbols == ["D"]
