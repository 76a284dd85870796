"""docs/sql.md: every table and column as the database tells them, and questions with their answers.

    python -m tests.contracts.sql_page           write the page
    python -m tests.contracts.sql_page --check   fail where what is checked in differs

The answers are those of a made-up day (tests/sinks/clickhouse/history.py), from the real engine, so
a question that no longer runs or whose columns change is a difference.
"""

import argparse
import datetime as dt
import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.market_calendar import load
from infra.topics import Topic
from sinks.clickhouse import market_days, schema
from sinks.clickhouse.connect import ClickHouseStore
from sinks.clickhouse.engine import Directory
from sinks.clickhouse.store import write
from sinks.clickhouse.tables import TABLES
from tests.contracts import generate
from tests.contracts.sql_questions import QUESTIONS
from tests.sinks.clickhouse.history import FACTS, batches

PAGE = Path(__file__).parent.parent.parent / "docs" / "sql.md"
INTRODUCTION = Path(__file__).with_name("sql_introduction.md")
#: What every table has that a topic fills.
_PLACES = {
    "topic": "the row's own place in the log: the topic",
    "partition": "the partition",
    "offset": "the offset",
    "raw_topic": "the place of the raw tick behind it: the topic",
    "raw_partition": "the partition",
    "raw_offset": "the offset",
    "symbol": "the stock",
}
#: A rule of a table's TTL: after which column, how many days, of which rows.
_GOES = re.compile(
    r"toDateTime\((\w+)\) \+ toIntervalDay\((\d+)\)"
    r"(?: WHERE (.+?)(?=, toDateTime| SETTINGS|$))?"
)
#: Not for analysts.
HIDDEN = frozenset({"schema_files", "trade_amendments_filled"})


class Result(NamedTuple):
    """A query's result."""

    names: Sequence[str]
    rows: Sequence[Sequence[Any]]


Ask = Callable[[str], Result]


def page(ask: Ask) -> str:
    """Return the page, from a database that holds the made-up day."""
    return (
        "\n".join([INTRODUCTION.read_text(encoding="utf-8"), *_answers(ask), *_reference(ask)])
        + "\n"
    )


def _answers(ask: Ask) -> Iterator[str]:
    yield "## Questions and answers\n"
    for number, question in enumerate(QUESTIONS, 1):
        result = ask(question.sql)
        yield f"### {number}. {question.title}\n"
        yield f"```sql\n{question.sql}\n```\n"
        yield _grid(result.names, result.rows)
        if question.note:
            yield f"{question.note}\n"


def _grid(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [names, ["---"] * len(names), *([_cell(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _cell(cell: object) -> str:
    match cell:
        case None:
            return "NULL"
        case float():
            return f"{cell:.10g}"
        case dt.datetime():
            return cell.isoformat(sep=" ")
        case list():
            return ", ".join(map(str, cell))
        case _:
            return str(cell).replace("|", "\\|")


def _reference(ask: Ask) -> Iterator[str]:
    tables = ask(
        "SELECT name, engine = 'View' AS is_view, comment, engine_full FROM system.tables "
        "WHERE database = currentDatabase() ORDER BY is_view DESC, name"
    ).rows
    topics: dict[str, list[Topic]] = {}
    for topic, table in TABLES.items():
        topics.setdefault(table.name, []).append(topic)
    headings = {True: "## Views\n", False: "## Tables\n"}
    for name, is_view, comment, engine in tables:
        if name in HIDDEN:
            continue
        if bool(is_view) in headings:
            yield headings.pop(bool(is_view))
        yield f"### `{name}`\n"
        filled = topics.get(name, [])
        yield f"{comment or _summary(filled)}{_source(filled)}{_end(engine)}\n"
        columns = ask(
            "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase() "  # noqa: S608  # ours
            f"AND table = '{name}' AND default_kind != 'EPHEMERAL' ORDER BY position"
        ).rows
        fields = _fields(filled)
        cells = [
            [f"`{column}`", f"`{kind}`", told or fields.get(column.removesuffix("_ns"), "")]
            for column, kind, told in columns
        ]
        if silent := [column for column, _, told in cells if not told]:
            message = f"{name}: expected a COMMENT on {', '.join(silent)}"
            raise ValueError(message)
        yield _grid(["column", "type", "content"], cells)


def _fields(topics: Sequence[Topic]) -> dict[str, str]:
    """Return what the events' own docstrings say of their fields."""
    told = dict(_PLACES)
    for topic in topics:
        for struct in generate.members(generate.event_type(topic)):
            for kind in struct.__mro__:
                _, _, listed = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
                for names, sentence in generate.attributes(listed):
                    told |= {name.removesuffix("_ns"): sentence for name in names.split(", ")}
    return told


def _summary(topics: Sequence[Topic]) -> str:
    return " ".join(topic.summary for topic in topics)


def _source(topics: Sequence[Topic]) -> str:
    names = ", ".join(f"[`{topic.name}`](topics/{topic.name}.schema.json)" for topic in topics)
    return f" Filled from {names}." if names else ""


def _end(engine: str) -> str:
    """Return the sentences that say when rows go, of a table's engine as the database tells it."""
    _, _, rules = engine.partition(" TTL ")
    said = []
    for column, days, where in _GOES.findall(rules):
        which = f"Rows where `{where}`" if where else "Rows"
        said.append(f" {which} go {days} days after `{column}`.")
    if bool(rules) != bool(said):
        message = f"expected a TTL of days after a column, found {rules}"
        raise ValueError(message)
    return "".join(said)


def fill(store: ClickHouseStore) -> None:
    """Bring a store up to date, and write the made-up day into it."""
    schema.apply(store, schema.read())
    store.insert(market_days.TABLE, market_days.rows(load()))
    store.execute("SYSTEM STOP TTL MERGES")  # that day stays
    for batch in batches(FACTS, 100):
        if refused := write(store, batch):
            message = f"the made-up day does not fit its tables: {refused[0].error}"
            raise ValueError(message)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args(arguments).check
    with tempfile.TemporaryDirectory() as path:
        directory = Directory(Path(path))
        directory.enter()
        store = ClickHouseStore.on_engine(str(directory.data), "twinfeed")
        fill(store)
        text = page(lambda query: _result(store, query))
        store.close()
        directory.close()
    if not check:
        PAGE.write_text(text, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != text:
        print("docs/sql.md differs from the code: run `make generate`", file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _result(store: ClickHouseStore, query: str) -> Result:
    result = store.client.query(query)
    return Result(result.column_names, result.result_rows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
