"""What an operator asks of the running pipeline: `twinfeed reconnect`, `twinfeed failover`, ...

Each writes one command into `ops.commands`; whoever it is meant for carries it out, and says so in
its own events. The router answers: done, or refused, and why (`ops.answers`).
"""

import asyncio
import getpass
import logging
import os
from collections.abc import Coroutine
from contextlib import aclosing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import typer
from aiokafka.errors import KafkaError

from infra.clock import now_ns
from infra.commands import (
    Answer,
    Command,
    Failover,
    Hold,
    Reconnect,
    Release,
    ReloadSymbols,
    name_of,
)
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.read import follow
from infra.settings import EX_UNAVAILABLE, StageSettings, load
from infra.stack import board as boards
from infra.stack import preflight
from infra.stack.refusal import Refusal
from infra.topics import ANSWERS, COMMANDS

#: The exit code of a command that was refused: it may be asked again when things stand otherwise.
EX_REFUSED = os.EX_TEMPFAIL
#: How long the broker may take to answer.
BROKER_S = 10.0
#: How long the router may take: as long as a successor takes that has to begin first.
ROUTER_S = 20.0
#: How many answers are looked through for ours, besides those that come.
ANSWERS_BACK = 100
#: As much as is kept of a name, and of a reason.
WHO_LENGTH, WHY_LENGTH = 100, 1000
#: What the board calls the address of the stack's Kafka, and says before it.
KAFKA_ADDRESS, KAFKA_AT = "topics", "Kafka at "

Why = Annotated[str, typer.Option("--why", help="Why; it is kept with the command.")]
Who = Annotated[str, typer.Option("--who", help="Who asks; by default the login name.")]
Data = Annotated[Path, typer.Option("--data", help="The running stack's directory.")]

T = TypeVar("T")

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
    _ask(command, f"fail over to {to}", data)


def hold(*, why: Why, who: Who = "", data: Data = DEFAULT_DATA) -> None:
    """Have the router stay on Yahoo, once it is there, until `release`."""
    command = Hold(at_ns=now_ns(), who=_name(who), why=_reason(why), target="router")
    _ask(command, "hold Yahoo", data)


def release(*, why: Why, who: Who = "", data: Data = DEFAULT_DATA) -> None:
    """Have the router go back to Alpaca by the usual rules; refused where Yahoo is not held."""
    command = Release(at_ns=now_ns(), who=_name(who), why=_reason(why), target="router")
    _ask(command, "release Yahoo", data)


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
    """Write a command, and say so."""
    settings, servers = _settings(data)
    _speaking(servers, write(command, servers, settings.topic(COMMANDS.name)))
    typer.echo(f"twinfeed: asked {command.target} to {name_of(command).replace('_', ' ')}")


def _ask(command: Command, what: str, data: Path) -> None:
    """Write a command to the router, and say what came of it."""
    settings, servers = _settings(data)
    commands, answers = settings.topic(COMMANDS.name), settings.topic(ANSWERS.name)
    answer = _speaking(servers, answered(command, servers, commands, answers))
    if answer is None:
        message = (
            f"the router has not answered within {ROUTER_S:g} s whether it does {what}: is it "
            f"running? What is not carried out within a minute is refused, but for hold and release"
        )
        raise Refusal(message, EX_UNAVAILABLE)
    if answer.outcome == "refused":
        message = f"the router refuses to {what}: {answer.detail} ({answer.reason}, {answer.state})"
        raise Refusal(message, EX_REFUSED)
    typer.echo(f"twinfeed: asked the router to {what}: {answer.detail} (epoch {answer.epoch})")


def _settings(data: Path) -> tuple[StageSettings, str]:
    settings = load(StageSettings)
    named = "kafka_bootstrap_servers" in settings.model_fields_set
    return settings, settings.kafka_bootstrap_servers if named else kafka_of(data.absolute())


def _speaking(servers: str, talk: Coroutine[Any, Any, T]) -> T:
    """Have a talk with Kafka; say so where that fails."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # the exception says it, once
    try:
        return asyncio.run(talk)
    except (KafkaError, TimeoutError) as error:
        message = f"Kafka at {servers} does not take the command: {error or type(error).__name__}"
        raise Refusal(message, EX_UNAVAILABLE) from error


def kafka_of(data: Path) -> str:
    """Return where the running stack's Kafka is."""
    board = boards.read(data) if preflight.is_running(data) else None
    addresses = {address.name: address.where for address in board.addresses} if board else {}
    if KAFKA_ADDRESS not in addresses:
        message = f"no stack is running on {data}, and KAFKA_BOOTSTRAP_SERVERS names no Kafka"
        raise Refusal(message, EX_UNAVAILABLE)
    return addresses[KAFKA_ADDRESS].removeprefix(KAFKA_AT)


async def answered(command: Command, servers: str, commands: str, answers: str) -> Answer | None:
    """Write a command, and return its answer; None where none came."""
    offset = await write(command, servers, commands, answers)
    try:
        async with (
            asyncio.timeout(ROUTER_S),
            aclosing(follow(servers, answers, last=ANSWERS_BACK)) as records,
        ):
            async for record in records:
                answer = msgspec.json.decode(record.value, type=Answer)
                if answer.command_offset == offset:
                    return answer
    except TimeoutError:
        pass
    return None


async def write(command: Command, servers: str, topic: str, *also: str) -> int:
    """Write a command; return its offset. It, and other topics, must be there."""
    producer = BatchProducer(servers, client_id="twinfeed-operator")
    async with asyncio.timeout(BROKER_S):
        await producer.start()
        try:
            for name in (topic, *also):
                if not await producer.partitions_of(name):
                    message = f"topic {name} is not on the Kafka cluster: create the topics first"
                    raise Refusal(message, EX_UNAVAILABLE)
            record = Record(
                command.target.encode(),
                msgspec.json.encode(command),
                command.at_ns // 1_000_000,
            )
            written: list[Any] = await (await producer.send(topic, 0, [record], COMMANDS.header))
        finally:
            await producer.stop()
    offset: int = written[0].offset
    return offset
