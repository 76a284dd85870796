"""What an operator asks from the command line: what is written, and what is said of mistakes."""

import asyncio
import contextlib
import functools
import getpass
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest
import typer

from infra import ops_cli
from infra.commands import (
    Answer,
    Command,
    Failover,
    Hold,
    Reconnect,
    Refused,
    Release,
    ReloadSymbols,
    name_of,
)
from infra.kafka.batches import BatchProducer, Record
from infra.kafka.broker import Broker
from infra.kafka.read import follow, read_to_end
from infra.ops_cli import EX_REFUSED
from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.stack import board as boards
from infra.stack import up as stack
from infra.stack.plan import plan
from infra.stack.refusal import Refusal
from infra.topics import ANSWERS, COMMANDS
from tests.infra.stack.test_plan import HERE
from tests.infra.test_cli import EX_WRONG_COMMAND, sentence, twinfeed

pytestmark = pytest.mark.service


async def _given(broker: Broker, prefix: str) -> list[tuple[bytes, Command]]:
    decoder = msgspec.json.Decoder(Command)
    topic = prefix + COMMANDS.name
    return [
        (record.key, decoder.decode(record.value))
        async for record in read_to_end(broker.bootstrap_servers, topic, 0)
    ]


async def test_a_command_is_in_the_log_with_who_and_why(kafka: Broker, topics: str) -> None:
    """By default the login's name, and for all sources; the answer says what was asked."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}
    asked = twinfeed("reconnect", "alpaca", "--why", " it is mute ", "--who", "ann", env=env)
    assert (asked.returncode, asked.stdout) == (0, "twinfeed: asked alpaca to reconnect\n")
    asked = twinfeed("reload-symbols", "--why", "TSLA is new", env=env)
    assert (asked.returncode, asked.stdout) == (0, "twinfeed: asked all to reload symbols\n")
    asked = twinfeed("reload-symbols", "yahoo", "--why", "and there", env=env)
    assert asked.returncode == 0, asked.stderr
    given = await _given(kafka, topics)
    assert [key for key, _ in given] == [b"alpaca", b"all", b"yahoo"]
    first, second, third = (command for _, command in given)
    assert isinstance(first, Reconnect)
    assert (first.who, first.why, first.target) == ("ann", "it is mute", "alpaca")
    assert isinstance(second, ReloadSymbols)
    assert (second.who, second.why, second.target) == (getpass.getuser(), "TSLA is new", "all")
    assert isinstance(third, ReloadSymbols)
    assert third.target == "yahoo"
    assert first.at_ns < second.at_ns < third.at_ns


@contextlib.asynccontextmanager
async def _router(kafka: Broker, topics: str, reason: Refused = "") -> AsyncIterator[None]:
    """Answer every command in the way that the router does, and one that nobody waits for."""
    servers, name = kafka.bootstrap_servers, topics + COMMANDS.name
    producer = BatchProducer(servers, client_id="router")
    decoder = msgspec.json.Decoder(Command)

    async def answer() -> None:
        async with contextlib.aclosing(follow(servers, name)) as records:
            async for record in records:
                command = decoder.decode(record.value)
                for offset in (record.offset + 7, record.offset):
                    event = Answer(
                        command_offset=offset,
                        command=name_of(command),
                        who=command.who,
                        why=command.why,
                        at_ns=command.at_ns,
                        outcome="refused" if reason else "done",
                        reason=reason,
                        detail=f"for {command.why}",
                        state="PRIMARY_ACTIVE",
                        epoch=3,
                    )
                    written = Record(b"router", msgspec.json.encode(event), None)
                    await producer.send(topics + ANSWERS.name, 0, [written], ANSWERS.header)

    await producer.start()
    answering = asyncio.create_task(answer())
    try:
        yield
        assert not answering.done()
    finally:
        answering.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await answering
        await producer.stop()


@pytest.mark.parametrize(
    ("arguments", "kind", "what"),
    [
        (("failover", "yahoo"), Failover, "fail over to yahoo"),
        (("failover", "alpaca"), Failover, "fail over to alpaca"),
        (("hold",), Hold, "hold Yahoo"),
        (("release",), Release, "release Yahoo"),
    ],
)
async def test_the_router_is_asked_and_answers(
    kafka: Broker, topics: str, arguments: tuple[str, ...], kind: type, what: str
) -> None:
    """With who and why, in the topic that it reads; what came of it is said."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}
    asking = functools.partial(twinfeed, *arguments, "--why", "a test", "--who", "ann", env=env)
    async with _router(kafka, topics):
        asked = await asyncio.to_thread(asking)
    said = f"twinfeed: asked the router to {what}: for a test (epoch 3)\n"
    assert (asked.returncode, asked.stdout) == (0, said), asked.stderr
    ((key, command),) = await _given(kafka, topics)
    assert key == b"router"
    assert isinstance(command, kind)
    assert (command.who, command.why) == ("ann", "a test")
    if isinstance(command, Failover):
        assert command.to == arguments[1]


async def test_a_refusal_is_told_with_its_reason(kafka: Broker, topics: str) -> None:
    """And with an exit code that a script can see."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": topics}
    asking = functools.partial(twinfeed, "failover", "yahoo", "--why", "a test", env=env)
    async with _router(kafka, topics, "source_down"):
        asked = await asyncio.to_thread(asking)
    said = sentence(asked, EX_REFUSED)
    assert "the router refuses to fail over to yahoo: for a test (source_down, PRIMARY_" in said
    assert asked.stdout == ""


async def test_a_router_that_does_not_answer_is_told(
    kafka: Broker, topics: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is in the log all the same."""
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka.bootstrap_servers)
    monkeypatch.setenv("TOPIC_PREFIX", topics)
    monkeypatch.setattr(ops_cli, "ROUTER_S", 0.2)
    with pytest.raises(Refusal, match=r"has not answered within 0\.2 s") as refusal:
        await asyncio.to_thread(ops_cli.hold, why="a test", who="ann")
    assert refusal.value.exit_code == EX_UNAVAILABLE
    assert len(await _given(kafka, topics)) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("reconnect",),
        ("reconnect", "alpaca"),
        ("reconnect", "yahoo", "--why", "it polls"),
        ("reconnect", "alpaca", "--why", " "),
        ("reconnect", "alpaca", "--why", "two\nlines"),
        ("reconnect", "alpaca", "--why", "x" * 1001),
        ("reconnect", "alpaca", "--why", "why", "--who", "x" * 101),
        ("reload-symbols",),
        ("reload-symbols", "nasdaq", "--why", "why"),
        ("reload-symbols", "alpaca", "yahoo", "--why", "why"),
        ("failover", "--why", "why"),
        ("failover", "yahoo"),
        ("failover", "nasdaq", "--why", "why"),
        ("hold",),
        ("hold", "--why", ""),
        ("hold", "yahoo", "--why", "why"),
        ("release",),
        ("release", "--why", "\t"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments: tuple[str, ...]) -> None:
    """Nothing is asked of anyone, and Typer shows what was expected."""
    done = twinfeed(*arguments)
    assert done.returncode == EX_WRONG_COMMAND
    assert "Usage: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_login_without_a_name_has_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container a number may be all there is."""

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(getpass, "getuser", nobody)
    with pytest.raises(typer.BadParameter, match="expected a name"):
        ops_cli.reconnect("alpaca", why="why")


def test_a_kafka_that_is_not_there_is_told(free_port: Callable[[], int]) -> None:
    """With its address."""
    server = f"127.0.0.1:{free_port()}"
    done = twinfeed("reconnect", "alpaca", "--why", "x", env={"KAFKA_BOOTSTRAP_SERVERS": server})
    assert f"Kafka at {server} does not take the command" in sentence(done, EX_UNAVAILABLE)


def test_a_bad_setting_is_named() -> None:
    """As every command does."""
    done = twinfeed("reconnect", "alpaca", "--why", "x", env={"KAFKA_BOOTSTRAP_SERVERS": "kafka"})
    assert "KAFKA_BOOTSTRAP_SERVERS: 'kafka' is not host:port" in sentence(done, EX_CONFIG)


def test_a_topic_that_is_not_there_is_told(kafka: Broker) -> None:
    """Nothing is made by the way."""
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": "nowhere."}
    done = twinfeed("reconnect", "alpaca", "--why", "x", env=env)
    said = sentence(done, EX_UNAVAILABLE)
    assert "topic nowhere.ops.commands is not on the Kafka cluster: create the topics first" in said


def test_no_stack_and_no_kafka_is_told(tmp_path: Path) -> None:
    """Both ways to name one are in the sentence."""
    done = twinfeed(
        *("reconnect", "alpaca", "--why", "x", "--data", str(tmp_path)),
        unset=("KAFKA_BOOTSTRAP_SERVERS",),
    )
    said = sentence(done, EX_UNAVAILABLE)
    assert f"no stack is running on {tmp_path}" in said
    assert "KAFKA_BOOTSTRAP_SERVERS" in said


async def test_the_running_stack_is_found(kafka: Broker, topics: str, tmp_path: Path) -> None:
    """Its Kafka is on its board, where `twinfeed status` reads it as well."""
    data = tmp_path / "data"
    with stack.hold(data):
        at = psutil.Process().create_time()
        board = boards.Board(pid=os.getpid(), created=at, started_at=at, at=at, title="a test")
        layout = plan(replace(HERE, kafka_bootstrap_servers=kafka.bootstrap_servers))
        boards.write(data, replace(board, addresses=layout.addresses))
        done = twinfeed(
            *("reload-symbols", "--why", "x", "--data", str(data)),
            env={"TOPIC_PREFIX": topics},
            unset=("KAFKA_BOOTSTRAP_SERVERS",),
        )
        assert done.returncode == 0, done.stderr
    assert len(await _given(kafka, topics)) == 1
