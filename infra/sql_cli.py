"""`twinfeed sql`: questions to the history, once or at a prompt; it reads and changes nothing."""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import Field, SecretStr, field_validator
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_UNAVAILABLE, StageSettings, http_url, load
from infra.sql_http import Address, AskError, RefusedError, UnreachableError, asked
from infra.stack import board as boards
from infra.stack import preflight
from infra.stack.refusal import Refusal

#: What the board says before the address of the stack's ClickHouse.
HISTORY_ADDRESS, HISTORY_AT = "history", "ClickHouse at "
#: The user of the engine in the sink who may only read.
ANALYST = "analyst"
#: More rows are no table for the eye.
TABLE_ROWS = 1000

#: What can be asked for by name, and ClickHouse's name of it.
FORMATS = {
    "table": "JSONCompact",
    "csv": "CSVWithNames",
    "tsv": "TabSeparatedWithNames",
    "json": "JSONEachRow",
    "parquet": "Parquet",
}
_BINARY = frozenset({"Parquet", "Native", "RowBinary", "Arrow", "ArrowStream", "ORC", "Avro"})
EX_DATAERR = os.EX_DATAERR  # 65: the question was wrong

DEFAULT_DATA = Path(".twinfeed")

HELP = """\
A statement ends with a semicolon. \\d lists tables and views, \\d NAME the columns of one; \\q or
Ctrl-D leaves, Ctrl-C drops the line."""


class SqlSettings(StageSettings):
    """Where the history is, if not in the stack on this machine.

    Attributes:
        clickhouse_url: a ClickHouse server, `http[s]://[user[:password]@]host[:port]`.
        clickhouse_database: the database that holds the tables.
        clickhouse_analyst_password: of the user `analyst` of the engine in the sink.

    """

    clickhouse_url: SecretStr | None = None
    clickhouse_database: str = Field(default="twinfeed", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    clickhouse_analyst_password: SecretStr = SecretStr("")

    @field_validator("clickhouse_url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value:
            http_url(value.get_secret_value(), "http[s]://[user[:password]@]host[:port]")
        return value


def sql(
    query: Annotated[
        str, typer.Argument(help="One statement; without it, a prompt, or standard input.")
    ] = "",
    *,
    file: Annotated[Path | None, typer.Option("--file", help="Read the statement from it.")] = None,
    as_format: Annotated[
        str, typer.Option("--format", help=f"{', '.join(FORMATS)}; by default by --out's name.")
    ] = "",
    out: Annotated[Path | None, typer.Option("--out", help="Write the result into it.")] = None,
    param: Annotated[
        list[str] | None, typer.Option("--param", help="NAME=VALUE, for {NAME:Type} in it.")
    ] = None,
    data: Annotated[
        Path, typer.Option("--data", help="The running stack's directory.")
    ] = DEFAULT_DATA,
) -> None:
    """Ask the history in ClickHouse: the running stack's, or CLICKHOUSE_URL's. Reads only."""
    parameters = dict(_pairs(param or []))
    output = _format(as_format, out)
    statement = _statement(query, file)
    address = history_at(load(SqlSettings), data.absolute())
    asker = Asker(address, parameters, output)
    if statement is None:
        asker.prompt()
    else:
        asker.once(statement, out)


def _pairs(texts: Iterable[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            message = f"--param: {text!r} is not NAME=VALUE"
            raise typer.BadParameter(message)
        yield name, value


def _format(name: str, out: Path | None) -> str:
    suffix = out.suffix.removeprefix(".") if out else ""
    name = name or (suffix if suffix in FORMATS else "csv" if out else "table")
    if name not in FORMATS:
        message = f"--format: {name!r} is unknown: expected {', '.join(FORMATS)}"
        raise typer.BadParameter(message)
    if name == "parquet" and out is None and sys.stdout.isatty():
        message = "--format: parquet is no text: name a file with --out"
        raise typer.BadParameter(message)
    return name


def _statement(query: str, file: Path | None) -> str | None:
    """Return the statement, or None where it is to be asked for."""
    if query and file:
        message = "--file: expected either a file or a statement"
        raise typer.BadParameter(message)
    if not query and not file and sys.stdin.isatty():
        return None
    try:
        statement = query or (file.read_text() if file else sys.stdin.read())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        message = f"--file: cannot read {file}: {reason}"
        raise typer.BadParameter(message) from error
    if not statement.strip().strip(";"):
        message = "expected a statement, for example 'SELECT * FROM peak_hours'"
        raise typer.BadParameter(message)
    return statement


def history_at(settings: SqlSettings, data: Path) -> Address:
    """Return where the history is: as named, or in the stack that runs on `data`."""
    if settings.clickhouse_url:
        url = settings.clickhouse_url.get_secret_value()
        return Address.of(url, settings.clickhouse_database)
    board = boards.read(data) if preflight.is_running(data) else None
    addresses = {address.name: address.where for address in board.addresses} if board else {}
    if HISTORY_ADDRESS not in addresses:
        message = f"no stack is running on {data}, and CLICKHOUSE_URL names no ClickHouse"
        raise Refusal(message, EX_UNAVAILABLE)
    url = addresses[HISTORY_ADDRESS].removeprefix(HISTORY_AT)
    password = settings.clickhouse_analyst_password.get_secret_value()
    return Address(url, settings.clickhouse_database, ANALYST, password)


class Asker:
    """Asks at one address, and shows what comes.

    Args:
        address: where.
        parameters: values for `{name:Type}`.
        output: one of `FORMATS`.

    """

    def __init__(self, address: Address, parameters: Mapping[str, str], output: str) -> None:
        self._address = address
        self._parameters = parameters
        self._output = output

    def once(self, statement: str, out: Path | None) -> None:
        """Ask, and show the result or write it into `out`."""
        try:
            asyncio.run(self._write(statement, out) if out else self._show(statement))
        except RefusedError as error:
            raise Refusal(str(error), EX_CONFIG) from error
        except AskError as error:
            raise Refusal(str(error), EX_DATAERR) from error
        except UnreachableError as error:
            raise Refusal(str(error), EX_UNAVAILABLE) from error
        except BrokenPipeError:  # whoever read has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def prompt(self) -> None:
        """Ask whatever is typed, until the end."""
        typer.echo(f"{self._address.database} at {self._address.url}, to be read only. {HELP}")
        for statement in _typed():
            try:
                asyncio.run(self._show(statement))
            except (AskError, UnreachableError) as error:
                typer.echo(f"twinfeed: {error}", err=True)
            except KeyboardInterrupt:
                typer.echo("dropped", err=True)

    async def _show(self, statement: str) -> None:
        wanted = FORMATS[self._output]
        async with asked(self._address, statement, wanted, self._parameters) as answer:
            if self._output == "table" and answer.format in {wanted, ""}:
                body = await answer.whole()
                if body:
                    _print_table(json.loads(body))
                return
            if answer.format in _BINARY and sys.stdout.isatty():
                message = f"{answer.format} is no text: name a file with --out"
                raise AskError(message)
            async for chunk in answer.chunks:
                sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()

    async def _write(self, statement: str, out: Path) -> None:
        fresh = out.with_name(f".{out.name}.part")
        wanted = FORMATS["csv" if self._output == "table" else self._output]
        try:
            async with asked(self._address, statement, wanted, self._parameters) as answer:
                with fresh.open("wb") as file:
                    async for chunk in answer.chunks:
                        file.write(chunk)
                    size = file.tell()
            fresh.replace(out)
        except OSError as error:
            message = f"--out: cannot write {out}: {error.strerror}"
            raise Refusal(message, EX_CANTCREAT) from error
        finally:
            fresh.unlink(missing_ok=True)
        typer.echo(f"twinfeed: wrote {size:,} bytes of {answer.format} to {out}", err=True)


def _typed() -> Iterator[str]:
    lines: list[str] = []
    while True:
        try:
            line = input("   ...> " if lines else "sql> ")
        except EOFError:
            typer.echo()
            return
        except KeyboardInterrupt:
            typer.echo()
            lines.clear()
            continue
        if not lines and line.strip() in {"\\q", "exit", "quit"}:
            return
        if not lines and line.strip() in {"\\?", "help"}:
            typer.echo(HELP)
        elif not lines and line.strip().startswith("\\d"):
            yield described(line)
        elif line.strip() or lines:
            lines.append(line)
            if line.rstrip().endswith(";"):
                yield "\n".join(lines)
                lines.clear()


def described(line: str) -> str:
    r"""Return the statement that `\d` or `\d NAME` stands for."""
    name = line.strip().removeprefix("\\d").strip().rstrip(";")
    if name:
        quoted = name.replace("\\", "\\\\").replace("'", "\\'")
        return (
            "SELECT name, type, comment FROM system.columns WHERE database = currentDatabase() "  # noqa: S608  # quoted
            f"AND table = '{quoted}' ORDER BY position"
        )
    return (
        "SELECT name, engine, comment FROM system.tables WHERE database = currentDatabase() "
        "ORDER BY engine = 'View', name"
    )


def _print_table(result: Mapping[str, Any]) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=1_000_000, no_color=True)  # a pipe has no edge
    console.print(table(result["meta"], result["data"][:TABLE_ROWS]))
    rows = len(result["data"])
    if rows > TABLE_ROWS:
        note = f"{TABLE_ROWS:,} of {rows:,} rows; for all of them, --format csv, or --out"
    else:
        note = f"{rows:,} {'row' if rows == 1 else 'rows'}"
    typer.echo(note)


def table(columns: Sequence[Mapping[str, str]], rows: Iterable[Sequence[Any]]) -> Table:
    """Return rows as a table: numbers to the right, and nothing told apart from empty."""
    grid = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        is_number = column["type"].removeprefix("Nullable(").startswith(("Int", "UInt", "Float"))
        grid.add_column(Text(column["name"]), justify="right" if is_number else "left")
    for row in rows:
        grid.add_row(*(Text("NULL", "dim") if cell is None else Text(_cell(cell)) for cell in row))
    return grid


def _cell(cell: object) -> str:
    return cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False)
