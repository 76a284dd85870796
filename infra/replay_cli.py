"""What happened, again: `twinfeed capture` keeps a stretch of the log in a file, `replay` runs it.

The replay itself is the processors' own, in a process of its own: `python -m processors.replay`.
"""

import asyncio
import contextlib
import logging
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from aiokafka.errors import KafkaError

from infra.capture import Header, Writer
from infra.clock import now_ns
from infra.kafka.span import Capturing, MissingTopicError
from infra.ops_cli import kafka_of
from infra.settings import EX_CANTCREAT, EX_UNAVAILABLE, StageSettings, load
from infra.stack.refusal import Refusal
from infra.topics import RAW_BY_SOURCE

NS = 1_000_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: How long the broker may take to answer at first.
ANSWER_S = 10.0
#: So much before the span is taken too: the router looks back five minutes.
LEAD_S = 600
PREFIX = re.compile(r"[A-Za-z0-9._-]{1,100}")
DEFAULT_DATA = Path(".twinfeed")

Since = Annotated[
    str, typer.Option("--from", help="When it begins, as 2026-11-25T14:30:00Z; UTC by default.")
]
Until = Annotated[str, typer.Option("--to", help="When it ends; by default now.")]
Lead = Annotated[
    int,
    typer.Option(min=0, help="Seconds before it that are taken too, to know how things stood."),
]
Data = Annotated[Path, typer.Option("--data", help="The running stack's directory.")]


def capture(
    file: Annotated[Path, typer.Argument(help="Where to; it must not be there yet.")],
    *,
    since: Since,
    until: Until = "",
    lead: Lead = LEAD_S,
    data: Data = DEFAULT_DATA,
) -> None:
    """Keep a span of the log in a file: raw ticks, facts, commands, and in which order they came.

    From it everything else follows: `twinfeed replay FILE` says what.
    """
    between = _between(since, until)
    if file.exists():
        message = f"{file} is there already"
        raise Refusal(message, EX_CANTCREAT)
    settings, servers = _settings(data)
    records = _capture(file, settings, servers, between, lead)
    size = file.stat().st_size
    typer.echo(f"twinfeed: {records} records in {file}, {size / 2**20:.1f} MiB")


def replay(
    file: Annotated[Path | None, typer.Argument(help="A capture; without one, the log.")] = None,
    *,
    since: Since = "",
    until: Until = "",
    into: Annotated[
        str, typer.Option("--into", help="Write the events to topics with this prefix.")
    ] = "",
    events: Annotated[
        Path | None, typer.Option("--events", help="Write the events to this file, one a line.")
    ] = None,
    lead: Lead = LEAD_S,
    data: Data = DEFAULT_DATA,
) -> None:
    """Run the processors over a capture, or a span of the log, and say what comes of it.

    The same input gives the same events, byte for byte; nothing of it reaches the live topics.
    """
    if (file is None) == (not since):
        message = "expected either a FILE or --from"
        raise typer.BadParameter(message)
    if file is not None and until:
        message = "--to: a FILE has its own span"
        raise typer.BadParameter(message)
    between = _between(since, until) if since else None
    if into and not PREFIX.fullmatch(into):
        message = f"--into: expected letters, digits, '.', '_' and '-', at most 100, not {into!r}"
        raise typer.BadParameter(message)
    environment = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        if into or between:
            settings, servers = _settings(data)
            environment["KAFKA_BOOTSTRAP_SERVERS"] = servers
            if into == settings.topic_prefix:
                message = f"--into: {into!r} is the prefix of the live topics (TOPIC_PREFIX)"
                raise typer.BadParameter(message)
        if between:
            file = Path(folder) / "span"
            _capture(file, settings, servers, between, lead)
        arguments = [str(file)]
        arguments += ["--into", into] if into else []
        arguments += ["--events", str(events)] if events else []
        done = subprocess.run(
            [sys.executable, "-m", "processors.replay", *arguments], env=environment, check=False
        )
    raise typer.Exit(done.returncode)


def _settings(data: Path) -> tuple[StageSettings, str]:
    settings = load(StageSettings)
    named = "kafka_bootstrap_servers" in settings.model_fields_set
    return settings, settings.kafka_bootstrap_servers if named else kafka_of(data.absolute())


def _between(since: str, until: str) -> tuple[int, int]:
    """Return the span's ends in ns."""
    now = now_ns()
    since_ns, until_ns = _moment("--from", since), _moment("--to", until) if until else now
    if until_ns > now:
        message = f"--to: {until} is yet to come"
        raise typer.BadParameter(message)
    if since_ns >= until_ns:
        message = f"--from: {since} is not before {until or 'now'}"
        raise typer.BadParameter(message)
    return since_ns, until_ns


def _moment(option: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{option}: expected a time such as 2026-11-25T14:30:00Z, not {text!r}"
        raise typer.BadParameter(message) from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    elapsed = moment - EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * NS + elapsed.microseconds * 1_000


def _capture(
    file: Path, settings: StageSettings, servers: str, between: tuple[int, int], lead_s: int
) -> int:
    """Write a capture, whole or not at all; return how many records it has."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the exception says it, once
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as out:
            records = asyncio.run(_write(out, servers, settings.topic_prefix, between, lead_s * NS))
        part.rename(file)
    except (KafkaError, TimeoutError, MissingTopicError) as error:
        message = f"Kafka at {servers} does not give the records: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    except OSError as error:
        message = f"{file} cannot be written: {error.strerror}"
        raise Refusal(message, EX_CANTCREAT) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return records


async def _write(
    out: BinaryIO, servers: str, prefix: str, between: tuple[int, int], lead_ns: int
) -> int:
    since_ns, until_ns = between
    capturing = Capturing(servers, prefix)
    async with contextlib.AsyncExitStack() as up:
        async with asyncio.timeout(ANSWER_S):
            await up.enter_async_context(capturing)
            spans = await capturing.spans(since_ns, until_ns, lead_ns=lead_ns)
        raw = {topic.name for topic in RAW_BY_SOURCE.values()}
        if not any(span.until > span.since for span in spans if span.topic in raw):
            message = "no raw tick stands in the log between --from and --to"
            raise Refusal(message, EX_UNAVAILABLE)
        writer = Writer(
            out,
            Header(
                prefix=prefix,
                since_ns=since_ns,
                until_ns=until_ns,
                captured_at_ns=now_ns(),
                spans=spans,
            ),
        )
        for span in spans:
            async for records in capturing.records(span):
                writer.add(records)
        writer.finish()
    return writer.records
