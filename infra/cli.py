"""The command `twinfeed`: starts the local stack, looks at it, ends it, and makes topics.

Exit codes are those of sysexits.h: 65 a file cannot be read, 69 something needed is not there, 70
our own fault, 73 a port, file or directory cannot be had, 78 a setting is wrong; and 2 for a wrong
command line.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from aiokafka.errors import KafkaError
from rich.console import Console

from infra import (
    drill_cli,
    logs_cli,
    ops_cli,
    replay_cli,
    report_cli,
    report_send,
    sim_cli,
    sql_cli,
)
from infra.kafka.admin import TopicMismatchError, ensure_topics
from infra.logs import configure_logging
from infra.settings import EX_CONFIG, EX_UNAVAILABLE, StageSettings, load
from infra.stack import board as boards
from infra.stack import hub_tokens, preflight
from infra.stack import up as stack
from infra.stack.environment import StackEnvironment
from infra.stack.plan import PORTS, StackSettings
from infra.stack.refusal import Refusal
from infra.stack.toolchain import resolve, tools_directory
from infra.stack.view import LiveView, PlainView, View, picture

DEFAULT_DATA = Path(".twinfeed")
#: The stack ends within ten; what is left is the interpreter's.
DOWN_SECONDS = 15.0
HIGHEST_PORT = max(number for ports in PORTS.values() for number, _ in ports)

#: What the supervisor itself is called in the log.
SUPERVISOR = "supervisor"

app = typer.Typer(
    name="twinfeed",
    help="A market-data pipeline that stays up and can prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
topics = typer.Typer(help="The topics on Kafka.", no_args_is_help=True)
app.add_typer(topics, name="topics")
app.command()(ops_cli.reconnect)
app.command()(ops_cli.reload_symbols)
app.command()(ops_cli.failover)
app.command()(ops_cli.hold)
app.command()(ops_cli.release)
app.command()(replay_cli.capture)
app.command()(replay_cli.replay)
app.command()(hub_tokens.token)
app.command()(sql_cli.sql)
app.command()(logs_cli.logs)
app.command()(drill_cli.drill)
app.add_typer(sim_cli.app, name="sim")
report_cli.app.command("send")(report_send.send)
app.add_typer(report_cli.app, name="report")

Data = Annotated[Path, typer.Option("--data", help="The directory that everything is kept under.")]


@app.command()
def up(
    *,
    rate: Annotated[
        float, typer.Option(min=1, max=100_000, help="Messages a second of the simulated Alpaca.")
    ] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated market.")] = 7,
    port_offset: Annotated[
        int, typer.Option(min=0, max=65535 - HIGHEST_PORT, help="Added to every port.")
    ] = 0,
    data: Data = DEFAULT_DATA,
    plain: Annotated[
        bool, typer.Option("--plain", help="Print lines instead of a picture.")
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--for", min=0, help="End by itself, so long after all is ready."),
    ] = None,
) -> None:
    """Run the whole pipeline on this machine, until Ctrl-C or `twinfeed down`.

    With ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY in the environment it reads the real markets,
    otherwise simulated ones. KAFKA_BOOTSTRAP_SERVERS, CLICKHOUSE_URL, PROMETHEUS_URL and
    ALERTMANAGER_URL name servers to use instead of starting them here.
    """
    environment = load(StackEnvironment)
    data = data.absolute()
    with stack.hold(data):
        settings = _settings(environment, data, rate=rate, seed=seed, port_offset=port_offset)
        console = Console()
        view: View = PlainView(console) if plain or not console.is_terminal else LiveView(console)
        try:
            with _logged(data / "logs", environment.log_level):
                code = asyncio.run(
                    stack.up(settings, view=view, environment=os.environ, seconds=seconds)
                )
        finally:
            view.close()
    raise typer.Exit(code)


def _settings(
    environment: StackEnvironment, data: Path, *, rate: float, seed: int, port_offset: int
) -> StackSettings:
    toolchain = resolve(
        tools_directory(),
        kafka=environment.kafka_elsewhere is None,
        monitoring=not (environment.prometheus_url and environment.alertmanager_url),
        say=_say,
    )
    for note in toolchain.notes:
        _say(note)
    clickhouse_url = environment.clickhouse_url
    return StackSettings(
        data=data,
        python=sys.executable,
        toolchain=toolchain,
        port_offset=port_offset,
        rate=rate,
        seed=seed,
        live=environment.live,
        topic_prefix=environment.topic_prefix,
        kafka_bootstrap_servers=environment.kafka_elsewhere,
        clickhouse_url=clickhouse_url.get_secret_value() if clickhouse_url else None,
        clickhouse_database=environment.clickhouse_database,
        prometheus_url=environment.prometheus_url,
        alertmanager_url=environment.alertmanager_url,
    )


@app.command()
def down(
    *,
    data: Data = DEFAULT_DATA,
    wipe: Annotated[bool, typer.Option("--wipe", help="Remove the data as well.")] = False,
) -> None:
    """End the stack that runs on this machine."""
    data = data.absolute()
    ended = stack.down(data, wait_seconds=DOWN_SECONDS)
    _say("ended" if ended else f"no stack is running on {data}")
    if wipe:
        removed = stack.wipe(data)
        _say(f"removed {data}" if removed else f"there is no {data}")


@app.command()
def status(
    *,
    data: Data = DEFAULT_DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print the facts as JSON.")] = False,
) -> None:
    """Show how the running stack is. Exits with 69 where none runs."""
    data = data.absolute()
    board = boards.read(data) if preflight.is_running(data) else None
    if board is None:
        message = f"no stack is running on {data}"
        raise Refusal(message, EX_UNAVAILABLE)
    if as_json:
        typer.echo((data / boards.FILE).read_text(), nl=False)
    else:
        console = Console()
        console.print(picture(board, console.width))


@app.command()
def setup() -> None:
    """Find or fetch the programs that are not Python: Kafka, Prometheus, Alertmanager."""
    toolchain = resolve(tools_directory(), say=_say)
    for note in toolchain.notes:
        _say(note)


@topics.command("create")
def create_topics(
    *,
    replication_factor: Annotated[
        int | None,
        typer.Option(min=1, help="Copies of each partition; by default 3, or a copy a broker."),
    ] = None,
) -> None:
    """Make every topic that is not there yet, on KAFKA_BOOTSTRAP_SERVERS, under TOPIC_PREFIX."""
    settings = load(StageSettings)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the exception says it, once
    try:
        made = asyncio.run(
            ensure_topics(
                settings.kafka_bootstrap_servers, settings.topic_prefix, replication_factor
            )
        )
    except TopicMismatchError as error:
        raise Refusal(str(error), EX_CONFIG) from error
    except (KafkaError, TimeoutError) as error:
        message = (
            f"Kafka at {settings.kafka_bootstrap_servers} (KAFKA_BOOTSTRAP_SERVERS) does not make "
            f"the topics: {error or type(error).__name__}"
        )
        raise Refusal(message, EX_UNAVAILABLE) from error
    _say(f"made {len(made)} topics" if made else "all topics are there")


def _say(sentence: str) -> None:
    typer.echo(f"twinfeed: {sentence}")


@contextlib.contextmanager
def _logged(directory: Path, level: str) -> Iterator[None]:
    """Log into a file beside those of the processes: the terminal is the view's."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{SUPERVISOR}.log"
    if path.exists():
        path.replace(path.with_name(f"{path.name}.1"))
    with path.open("a", encoding="ascii") as file:
        configure_logging(SUPERVISOR, level, file)
        try:
            yield
        finally:
            configure_logging("cli", "WARNING", sys.stderr)


def main() -> None:
    """Run the command, and leave with its exit code."""
    configure_logging("cli", "WARNING", sys.stderr)
    try:
        app()
    except Refusal as refusal:
        typer.echo(f"twinfeed: {refusal}", err=True)
        sys.exit(refusal.exit_code)


if __name__ == "__main__":
    main()
