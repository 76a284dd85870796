"""The command line as a user meets it: sentences, exit codes, a stack seen and ended."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from infra.kafka.admin import delete_topics, ensure_topics
from infra.kafka.broker import Broker
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_UNAVAILABLE
from infra.stack import preflight
from infra.stack.plan import HOST, PORTS
from tests.journeys.running import ports_of_its_own

pytestmark = pytest.mark.service

EX_WRONG_COMMAND = 2
WAIT_SECONDS = 60.0

#: A stack of one process that never gets ready, on the data directory that is its argument.
SMALL_STACK = """
import asyncio, os, sys
from pathlib import Path
from rich.console import Console
from infra.stack import up
from infra.stack.plan import Finished, Plan, Process
from infra.stack.view import PlainView
data = Path(sys.argv[1])
sleeper = Process(name="sleeper", command=(sys.executable, "-c", "import time; time.sleep(600)"),
                  ready=Finished())
plan = Plan(processes=(sleeper,), ports={}, files={}, directories=(), addresses=())
with up.hold(data):
    (data / "logs").mkdir(exist_ok=True)
    sys.exit(asyncio.run(up.run(plan, data=data, title="small", rows_url=None,
                                view=PlainView(Console()), environment=os.environ)))
"""


def twinfeed(
    *arguments: str, env: Mapping[str, str] | None = None, unset: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run the command, and return what it said and its exit code."""
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    return subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        env={**clean, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_SECONDS,
    )


def sentence(done: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """The one line that a failing command said."""
    assert done.returncode == exit_code, done.stdout + done.stderr
    (said,) = done.stderr.splitlines()
    assert "Traceback" not in said
    return said


@pytest.mark.parametrize(
    ("env", "said"),
    [
        (
            {"KAFKA_BOOTSTRAP_SERVERS": "kafka"},
            r"KAFKA_BOOTSTRAP_SERVERS: 'kafka' is not host:port",
        ),
        ({"KAFKA_BOOTSTRAP_SERVERS": "kafka:99999"}, "KAFKA_BOOTSTRAP_SERVERS: 'kafka:99999' is"),
        ({"TOPIC_PREFIX": "a b"}, "TOPIC_PREFIX: string should match pattern"),
        ({"CLICKHOUSE_URL": "ch:8123"}, "CLICKHOUSE_URL: expected http://host:port"),
        ({"CLICKHOUSE_DATABASE": "a; DROP"}, "CLICKHOUSE_DATABASE: string should match pattern"),
        ({"PROMETHEUS_URL": "prometheus"}, "PROMETHEUS_URL: expected http://host:port"),
        ({"ALERTMANAGER_URL": "http://"}, "ALERTMANAGER_URL: expected http://host:port"),
        (
            {"ALPACA_API_KEY_ID": "hidden"},
            "one of ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY is",
        ),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL: string should match pattern"),
    ],
)
def test_a_bad_setting_is_named(tmp_path: Path, env: dict[str, str], said: str) -> None:
    """Each leaves with 78, before anything was made."""
    done = twinfeed("up", "--data", str(tmp_path / "data"), env=env)
    assert re.search(said, sentence(done, EX_CONFIG))
    assert not (tmp_path / "data").exists()


def test_a_bad_address_with_a_password_is_not_repeated(tmp_path: Path) -> None:
    """A mistake in a URL does not put its password on the screen."""
    env = {"CLICKHOUSE_URL": "htp://user:hidden@ch:8123"}
    done = twinfeed("up", "--data", str(tmp_path / "data"), env=env)
    assert "hidden" not in sentence(done, EX_CONFIG)


@pytest.mark.parametrize(
    "arguments",
    [
        ("sideways",),
        ("up", "--rate", "0"),
        ("up", "--rate", "fast"),
        ("up", "--seed", "-1"),
        ("up", "--port-offset", "60000"),
        ("topics", "create", "--replication-factor", "0"),
    ],
)
def test_a_wrong_command_line_leaves_with_2(arguments: tuple[str, ...]) -> None:
    """Usage is Typer's to explain."""
    done = twinfeed(*arguments)
    assert done.returncode == EX_WRONG_COMMAND
    assert "Usage: " in done.stderr


def test_a_missing_java_is_told(tmp_path: Path) -> None:
    """Without Java the stack does not start, and says what to do."""
    done = twinfeed(
        *("up", "--data", str(tmp_path / "data")),
        env={"JAVA_HOME": "/nowhere"},
        unset=("KAFKA_BOOTSTRAP_SERVERS",),
    )
    assert "Kafka needs Java 17 or newer" in sentence(done, EX_UNAVAILABLE)


def test_a_data_directory_in_the_way_is_told(tmp_path: Path) -> None:
    """A file where the directory should be is named."""
    (tmp_path / "data").touch()
    done = twinfeed("up", "--data", str(tmp_path / "data"))
    assert f"{tmp_path / 'data'} cannot be written" in sentence(done, EX_CANTCREAT)


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    """Some port that the stack needs is held: it is named, and nothing was started."""
    with ports_of_its_own() as offset, socket.socket() as taken:
        port = PORTS["forward"][0][0] + offset
        taken.bind((HOST, port))
        taken.listen()
        done = twinfeed(
            *("up", "--data", str(tmp_path / "data"), "--port-offset", str(offset)),
            env={"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "PROMETHEUS_URL": "http://p:1"}
            | {"ALERTMANAGER_URL": "http://a:1"},
        )
    said = sentence(done, EX_CANTCREAT)
    assert f"port {port}, for the forwarder's metrics, is taken" in said
    assert "--port-offset" in said
    logs = (tmp_path / "data" / "logs").iterdir()
    assert [path.name for path in logs] == ["supervisor.log"]  # which is what refused


@contextmanager
def small_stack(data: Path) -> Iterator[psutil.Process]:
    """Run a small stack on a data directory, from when its process runs."""
    with subprocess.Popen(
        [sys.executable, "-c", SMALL_STACK, str(data)], stdout=subprocess.DEVNULL
    ) as running:
        try:
            process = psutil.Process(running.pid)
            deadline = time.monotonic() + WAIT_SECONDS
            while not (preflight.is_running(data) and process.children()):
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield process
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGTERM)


def test_a_running_stack_is_seen_and_ended(tmp_path: Path) -> None:
    """`status` shows it, a second one is refused, `down` ends it with its children, data stay."""
    data = tmp_path / "data"
    with small_stack(data) as supervisor:
        children = supervisor.children()
        shown = twinfeed("status", "--data", str(data))
        assert shown.returncode == 0
        assert "sleeper" in shown.stdout
        second = twinfeed("up", "--data", str(data))
        assert f"another stack is running on {data}" in sentence(second, EX_UNAVAILABLE)
        done = twinfeed("down", "--data", str(data))
        assert (done.returncode, done.stdout) == (0, "twinfeed: ended\n")
        assert not any(child.is_running() for child in children)
    assert (data / "logs" / "sleeper.log").exists()
    none = twinfeed("status", "--data", str(data))
    assert f"no stack is running on {data}" in sentence(none, EX_UNAVAILABLE)


def test_wipe_ends_the_stack_and_removes_its_data(tmp_path: Path) -> None:
    """After `down --wipe` nothing is left, and another one finds nothing to do."""
    data = tmp_path / "data"
    with small_stack(data):
        done = twinfeed("down", "--wipe", "--data", str(data))
        assert (done.returncode, done.stdout) == (0, f"twinfeed: ended\ntwinfeed: removed {data}\n")
    assert not data.exists()
    again = twinfeed("down", "--wipe", "--data", str(data))
    assert again.returncode == 0
    assert f"no stack is running on {data}" in again.stdout


def test_wipe_removes_nothing_of_others(tmp_path: Path) -> None:
    """A directory that twinfeed did not make is left as it is."""
    (tmp_path / "thesis.txt").touch()
    done = twinfeed("down", "--wipe", "--data", str(tmp_path))
    assert f"{tmp_path} was not made by twinfeed" in sentence(done, EX_CANTCREAT)
    assert (tmp_path / "thesis.txt").exists()


def test_ctrl_c_ends_the_stack_well(tmp_path: Path) -> None:
    """SIGINT is an end like any other: exit code 0, no child left."""
    with subprocess.Popen(
        [sys.executable, "-c", SMALL_STACK, str(tmp_path / "data")], stdout=subprocess.PIPE
    ) as running:
        deadline = time.monotonic() + WAIT_SECONDS
        while not (children := psutil.Process(running.pid).children()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        running.send_signal(signal.SIGINT)
        assert running.wait(WAIT_SECONDS) == 0
        assert not any(child.is_running() for child in children)


def test_topics_are_made_on_any_cluster(kafka: Broker) -> None:
    """The command makes them once, and then finds them."""
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    env = {"KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers, "TOPIC_PREFIX": prefix}
    assert re.fullmatch(
        r"twinfeed: made \d+ topics\n", twinfeed("topics", "create", env=env).stdout
    )
    assert twinfeed("topics", "create", env=env).stdout == "twinfeed: all topics are there\n"


def test_a_kafka_that_is_not_there_is_told(free_port: Callable[[], int]) -> None:
    """The address and its variable are in the sentence."""
    server = f"127.0.0.1:{free_port()}"
    done = twinfeed("topics", "create", env={"KAFKA_BOOTSTRAP_SERVERS": server})
    assert f"Kafka at {server} (KAFKA_BOOTSTRAP_SERVERS)" in sentence(done, EX_UNAVAILABLE)


async def test_a_bad_setting_of_a_stage_ends_the_whole(kafka: Broker, tmp_path: Path) -> None:
    """What only a stage can know to be wrong is said in its words, and the stack leaves with 78."""
    prefix = f"test-{uuid.uuid4().hex[:12]}."
    await ensure_topics(kafka.bootstrap_servers, prefix)
    try:
        with ports_of_its_own() as offset:
            done = twinfeed(
                *("up", "--data", str(tmp_path / "data"), "--port-offset", str(offset)),
                env={
                    "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
                    "TOPIC_PREFIX": prefix,
                    "PROMETHEUS_URL": "http://127.0.0.1:1",
                    "ALERTMANAGER_URL": "http://127.0.0.1:1",
                    "SYMBOLS_FILE": "/nowhere/symbols.txt",
                },
            )
    finally:
        await delete_topics(kafka.bootstrap_servers, prefix)
    assert done.returncode == EX_CONFIG, done.stdout
    assert "SYMBOLS_FILE" in done.stdout
