"""What an operator asks of the running pipeline: `twinfeed reconnect`, `twinfeed failover`, ...

Each writes one command into `ops.commands`; whoever it is meant for carries it out, and says so in
its own events.
"""

import asyncio
import getpass
import logging
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from aiokafka.errors import KafkaError

from infra.clock import now_ns
from infra.commands import Command, Failover, Hold, Reconnect, Release, ReloadSymbols
from infra.kafka.batches import BatchProducer, Record
from infra.settings import EX_UNAVAILABLE, StageSettings, load
from infra.stack import board as boards
from infra.stack import preflight
from infra.stack.refusal import Refusal
from infra.topics import COMMANDS

#: How long the broker may take to answer.
ANSWER_S = 10.0
#: As much as is kept of a name, and of a reason.
WHO_LENGTH, WHY_LENGTH = 100, 1000
#: What the board calls the address of the stack's Kafka, and says before it.
KAFKA_ADDRESS, KAFKA_AT = "topics", "Kafka at "

Why = Annotated[str, typer.Option("--why", help="Why; it is kept with the command.")]
Who = Annotated[str, typer.Option("--who", help="Who asks; by default the login name.")]
Data = Annotated[Path, typer.Option("--data", help="The running stack's directory.")]

DEFAULT_DATA = Path(".twinfeed")


def reconnect(
    source: Annotated[Literal["alpaca"], typer.Argument(help="Whose connection.")],
    *,
    why: Why,
    who: Who = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Have a source leave its connection in good order and open another; also ends a stop."""
    _give(Reconnect(at_ns=now_ns(), who=_name(who), why=_reason(why), target=source), data)


def reload_symbols(
    source: Annotated[
        Literal["alpaca", "yahoo", "all"], typer.Argument(help="Whose list.")
    ] = "all",
    *,
    why: Why,
    who: Who = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Have the list of symbols read again, now."""
    command = ReloadSymbols(at_ns=now_ns(), who=_name(who), why=_reason(why), target=source)
    _give(command, data)


def failover(
    to: Annotated[Literal["alpaca", "yahoo"], typer.Argument(help="The source to route from.")],
    *,
    why: Why,
    who: Who = "",
    data: Data = DEFAULT_DATA,
) -> None:
    """Route from a source, now. Yahoo is then held until `release`; one that is down is refused."""
    command = Failover(at_ns=now_ns(), who=_name(who), why=_reason(why), target="router", to=to)
    _give(command, data)


def hold(*, why: Why, who: Who = "", data: Data = DEFAULT_DATA) -> None:
    """Have the router stay on Yahoo, once it is there, until `release`."""
    _give(Hold(at_ns=now_ns(), who=_name(who), why=_reason(why), target="router"), data)


def release(*, why: Why, who: Who = "", data: Data = DEFAULT_DATA) -> None:
    """Have the router go back to Alpaca by the usual rules."""
    _give(Release(at_ns=now_ns(), who=_name(who), why=_reason(why), target="router"), data)


def _name(who: str) -> str:
    try:
        name = who.strip() or getpass.getuser()
    except (KeyError, OSError) as error:
        message = "--who: expected a name, because this login has none"
        raise typer.BadParameter(message) from error
    return _line("--who", name, WHO_LENGTH)


def _reason(why: str) -> str:
    if not why.strip():
        message = "--why: expected a reason, for whoever reads the log later"
        raise typer.BadParameter(message)
    return _line("--why", why.strip(), WHY_LENGTH)


def _line(option: str, text: str, length: int) -> str:
    if not text.isprintable() or len(text) > length:
        message = f"{option}: expected one line of at most {length} characters"
        raise typer.BadParameter(message)
    return text


def _give(command: Command, data: Path) -> None:
    settings = load(StageSettings)
    named = "kafka_bootstrap_servers" in settings.model_fields_set
    servers = settings.kafka_bootstrap_servers if named else kafka_of(data.absolute())
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the exception says it, once
    try:
        asyncio.run(_write(command, servers, settings.topic(COMMANDS.name)))
    except (KafkaError, TimeoutError) as error:
        message = f"Kafka at {servers} does not take the command: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error
    tag = command.__struct_config__.tag
    typer.echo(f"twinfeed: asked {command.target} to {str(tag).replace('_', ' ')}")


def kafka_of(data: Path) -> str:
    """Return where the running stack's Kafka is."""
    board = boards.read(data) if preflight.is_running(data) else None
    addresses = {address.name: address.where for address in board.addresses} if board else {}
    if KAFKA_ADDRESS not in addresses:
        message = f"no stack is running on {data}, and KAFKA_BOOTSTRAP_SERVERS names no Kafka"
        raise Refusal(message, EX_UNAVAILABLE)
    return addresses[KAFKA_ADDRESS].removeprefix(KAFKA_AT)


async def _write(command: Command, servers: str, topic: str) -> None:
    producer = BatchProducer(servers, client_id="twinfeed-operator")
    async with asyncio.timeout(ANSWER_S):
        await producer.start()
        try:
            if not await producer.partitions_of(topic):
                message = f"topic {topic} is not on the Kafka cluster: create the topics first"
                raise Refusal(message, EX_UNAVAILABLE)
            record = Record(
                command.target.encode(),
                msgspec.json.encode(command),
                command.at_ns // 1_000_000,
            )
            await (await producer.send(topic, 0, [record], COMMANDS.header))
        finally:
            await producer.stop()
