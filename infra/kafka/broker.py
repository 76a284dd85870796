"""One Apache Kafka broker on this machine: a single KRaft node on loopback.

The pure half makes the configuration and the command line; `prepare` writes them down and formats
the storage; `Broker` runs one as a child, for whoever has no supervisor. Data survives restarts:
only an empty directory is formatted.
"""

import asyncio
import base64
import os
import signal
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

HOST = "127.0.0.1"
#: A start takes four seconds of an idle machine, and ten times that of a busy one.
START_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1
#: What a metadata request may take before the broker counts as not ready.
ANSWER_MS = 2_000


class BrokerError(Exception):
    """The broker could not be prepared or started; the message holds its last words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """One broker: where it listens and keeps its data, and what it is run with.

    Attributes:
        port: where clients connect, on loopback.
        controller_port: where its own controller listens, on loopback.
        directory: holds the configuration and the data.
        java: the Java launcher.
        jars: the directory of Kafka's jars.

    """

    port: int
    controller_port: int
    directory: Path
    java: Path
    jars: Path

    @property
    def bootstrap_servers(self) -> str:
        """What clients are told."""
        return f"{HOST}:{self.port}"

    @property
    def properties(self) -> str:
        """The broker's configuration file."""
        return "\n".join(
            f"{name}={value}"
            for name, value in {
                "process.roles": "broker,controller",
                "node.id": 1,
                "controller.quorum.voters": f"1@{HOST}:{self.controller_port}",
                "listeners": (
                    f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{self.controller_port}"
                ),
                "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
                "controller.listener.names": "CONTROLLER",
                "log.dirs": self.directory / "data",
                # a topic is made as declared in infra/topics.py, never by a typing error
                "auto.create.topics.enable": "false",
                # one node: its internal topics cannot have replicas
                "offsets.topic.replication.factor": 1,
                "offsets.topic.num.partitions": 4,
                "transaction.state.log.replication.factor": 1,
                "transaction.state.log.min.isr": 1,
                "transaction.state.log.num.partitions": 4,
                "share.coordinator.state.topic.replication.factor": 1,
                "share.coordinator.state.topic.min.isr": 1,
                # the stages start one by one; nobody waits for a group to fill up
                "group.initial.rebalance.delay.ms": 0,
                # after a kill the node waits for its own former registration to run out
                "broker.session.timeout.ms": 3000,
                "broker.heartbeat.interval.ms": 500,
            }.items()
        )

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that runs the prepared broker."""
        return (*self._java("-Xms256m", "-Xmx512m"), "kafka.Kafka", str(self._properties_file))

    @property
    def format_command(self) -> tuple[str, ...]:
        """The command line that formats the storage."""
        return (
            *self._java("-Xmx128m"),
            "kafka.tools.StorageTool",
            *("format", "--ignore-formatted", "--cluster-id", _cluster_id()),
            *("--config", str(self._properties_file)),
        )

    def _java(self, *memory: str) -> tuple[str, ...]:
        return (
            str(self.java),
            *memory,
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            # starts on half the CPU, and serves one machine's load as fast
            "-XX:TieredStopAtLevel=1",
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={self.directory / 'tmp'}",
            f"-Dlog4j2.configurationFile={self._logging_file}",
            *("-cp", f"{self.jars}/*"),
        )

    @property
    def _properties_file(self) -> Path:
        return self.directory / "server.properties"

    @property
    def _logging_file(self) -> Path:
        return self.directory / "log4j2.properties"

    @property
    def _formatted(self) -> bool:
        return (self.directory / "data" / "meta.properties").exists()


#: Warnings and worse to stdout, where the supervisor bounds them; and the line that says it is up.
#: With the zone of their times: whoever ships them puts them in order with all others.
LOGGING = """\
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d{yyyy-MM-dd'T'HH:mm:ss.SSS'Z'}{UTC} %p %c{1} %m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=INFO
"""


def _cluster_id() -> str:
    # Kafka's ids are URL-safe base64; one that begins with a dash would look like an option
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def prepare(config: BrokerConfig) -> None:
    """Write the configuration, and format the storage if there is none. Raises BrokerError."""
    (config.directory / "tmp").mkdir(parents=True, exist_ok=True)
    config._properties_file.write_text(config.properties)  # noqa: SLF001  # this module's own
    config._logging_file.write_text(LOGGING)  # noqa: SLF001
    if config._formatted:  # noqa: SLF001
        return
    done = subprocess.run(config.format_command, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"Kafka could not format {config.directory}: {_tail(done.stdout + done.stderr)}"
        raise BrokerError(message)


async def answers(bootstrap_servers: str) -> bool:
    """Whether a client's metadata request is answered now."""
    if not await _listens(bootstrap_servers):
        return False  # aiokafka would log an error for what is only not yet
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=ANSWER_MS)
    try:
        await client.start()
        await client.describe_cluster()
    except (KafkaError, TimeoutError):
        return False
    finally:
        await client.close()
    return True


async def _listens(bootstrap_servers: str) -> bool:
    for server in bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            continue
        writer.close()
        return True
    return False


class Broker:
    """A broker as a child of this process, with its output in `<directory>/server.log`."""

    def __init__(self, config: BrokerConfig) -> None:
        self.config = config
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap_servers(self) -> str:
        """What clients are told."""
        return self.config.bootstrap_servers

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    async def start(self) -> None:
        """Start, and return when clients are answered. Raises BrokerError with its last words."""
        if await _listens(self.bootstrap_servers):
            message = f"Kafka did not start: port {self.config.port} is in use"
            raise BrokerError(message)
        await asyncio.to_thread(prepare, self.config)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # forking does not wait
                self.config.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not await answers(self.bootstrap_servers):
            if self.pid is None or time.monotonic() > deadline:
                await self.kill()
                message = f"Kafka did not start: {_tail(self._log.read_text(errors='replace'))}"
                raise BrokerError(message)
            await asyncio.sleep(POLL_SECONDS)

    async def stop(self) -> None:
        """Ask it to end, and see to it that it does."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    @property
    def _log(self) -> Path:
        return self.config.directory / "server.log"


def _tail(output: str, lines: int = 3) -> str:
    last = [line.strip() for line in output.splitlines() if line.strip()][-lines:]
    return os.linesep.join(last) or "it said nothing"
