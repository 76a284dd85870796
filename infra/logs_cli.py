"""`twinfeed logs`: what the processes said, from ClickHouse, where the log shipper puts it."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from infra.logs_query import LEVELS, SERVICES, Question, seconds, shown
from infra.settings import EX_CONFIG, EX_DATAERR, EX_UNAVAILABLE, load
from infra.sql_cli import DEFAULT_DATA, SqlSettings, history_at
from infra.sql_http import Address, AskError, RefusedError, UnreachableError, asked
from infra.stack.refusal import Refusal

POLL_S = 1.0
#: A line that comes later than this after it was said is not followed.
LATE_S = 120
#: The most that is shown of one look while following.
FOLLOWED = 10_000


class _Row(msgspec.Struct):
    line: str = ""
    service: str = ""


def logs(
    *,
    level: Annotated[
        str, typer.Option("--level", help=f"At least so bad: {', '.join(LEVELS)}.")
    ] = "",
    since: Annotated[
        str, typer.Option("--since", help="Said within this: 30s, 15m, 1h, 7d.")
    ] = "1h",
    service: Annotated[
        str, typer.Option("--service", help="By this one: alpaca, hub, kafka.")
    ] = "",
    grep: Annotated[str, typer.Option("--grep", help="With this text, in whatever case.")] = "",
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="The last so many.")
    ] = 1000,
    follow: Annotated[bool, typer.Option("--follow", help="Go on as lines come in.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The lines as they are, JSON.")] = False,
    data: Annotated[
        Path, typer.Option("--data", help="The running stack's directory.")
    ] = DEFAULT_DATA,
) -> None:
    """Show what the processes said: the running stack's, or those that CLICKHOUSE_URL has."""
    if level and level not in LEVELS:
        message = f"--level: {level!r} is unknown: expected {', '.join(LEVELS)}"
        raise typer.BadParameter(message)
    span = seconds(since)
    if span is None:
        message = f"--since: {since!r} is no span: expected 30s, 15m, 1h or 7d, at most 366d"
        raise typer.BadParameter(message)
    question = Question(seconds=span, limit=limit, level=level, service=service, grep=grep)
    reader = Reader(history_at(load(SqlSettings), data.absolute()), as_json=as_json)
    try:
        asyncio.run(reader.show(question, follow=follow))
    except RefusedError as error:
        raise Refusal(str(error), EX_CONFIG) from error
    except AskError as error:
        raise Refusal(str(error), EX_DATAERR) from error
    except UnreachableError as error:
        raise Refusal(str(error), EX_UNAVAILABLE) from error
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:  # so has who followed
        pass


class Reader:
    """Shows lines, each once.

    Args:
        address: where they are.
        as_json: whether they are shown as they are.

    """

    def __init__(self, address: Address, *, as_json: bool) -> None:
        self._address = address
        self._as_json = as_json

    async def show(self, question: Question, *, follow: bool) -> None:
        """Show the lines that are wanted, and with `follow` those that come."""
        look = replace(question, seconds=LATE_S, limit=FOLLOWED)
        # asked first: what comes between the two questions is in the second one's answer
        seen = set(await self._ask(look)) if follow else set()
        lines = await self._ask(question)
        for line in lines:
            self._print(line)
        if len(lines) == question.limit:
            typer.echo(f"twinfeed: the last {len(lines):,} lines; for more, --limit", err=True)
        if not lines:
            await self._tell_why(question, follow=follow)
        seen |= set(lines)
        while follow:
            await asyncio.sleep(POLL_S)
            found = await self._ask(look)
            for line in found:
                if line not in seen:
                    self._print(line)
            seen = set(found)  # what is not in this look is in no later one

    async def _ask(self, question: Question) -> list[str]:
        rows = await self._rows(question.statement, question.parameters)
        return [row.line for row in reversed(rows)]

    async def _rows(self, statement: str, parameters: Mapping[str, str]) -> list[_Row]:
        async with asked(self._address, statement, "JSONEachRow", parameters) as answer:
            return msgspec.json.Decoder(_Row).decode_lines(await answer.whole())

    def _print(self, line: str) -> None:
        sys.stdout.write(f"{line if self._as_json else shown(line)}\n")
        sys.stdout.flush()

    async def _tell_why(self, question: Question, *, follow: bool) -> None:
        if question.service and not follow:  # else it may begin to
            services = [row.service for row in await self._rows(SERVICES, {})]
            if question.service not in services:
                known = ", ".join(services) or "nobody"
                message = f"--service: {question.service!r} has said nothing: {known} did"
                raise Refusal(message, EX_DATAERR)
        typer.echo("twinfeed: no such line", err=True)
