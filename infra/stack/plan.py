"""What the local stack consists of, as data: every process, its command, and what it waits for.

Pure: `plan(settings)` starts nothing and reads nothing. A part that runs elsewhere (a Kafka, a
ClickHouse, the real vendors) is simply not in the plan, and whoever needs it is told its address.

Secrets travel by environment only; `Process.secrets` names those that a process may see, and the
supervisor withholds them from all others.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra.alertmanager import config as alertmanager_config
from infra.kafka.broker import BrokerConfig
from infra.prometheus import config as prometheus_config
from infra.stack.toolchain import Toolchain

HOST: Final = "127.0.0.1"

#: process -> its ports at offset 0: (number, what it is for)
PORTS: Final[Mapping[str, tuple[tuple[int, str], ...]]] = {
    "kafka": ((19092, "Kafka"), (19093, "Kafka's controller")),
    "clickhouse": (
        (18123, "ClickHouse's HTTP interface"),
        (19206, "the ClickHouse sink's metrics"),
    ),
    "prometheus": ((19090, "Prometheus"),),
    "alertmanager": ((19095, "Alertmanager"),),
    "alpaca-simulator": (
        (19100, "the Alpaca simulator's stream"),
        (19102, "the Alpaca simulator's history"),
    ),
    "yahoo-simulator": ((19101, "the Yahoo simulator"),),
    "alpaca": ((19201, "the Alpaca worker's metrics"),),
    "yahoo": ((19202, "the Yahoo worker's metrics"),),
    "validate": ((19203, "the validator's metrics"),),
    "route": ((19204, "the router's metrics"),),
    "forward": ((19205, "the forwarder's metrics"),),
    "prometheus-sink": ((19207, "the Prometheus sink's metrics"),),
    "backfill": ((19208, "the backfill's metrics"),),
    "hub": ((18080, "the hub"), (19209, "the hub's metrics")),
    "alerts": ((19210, "the alerts' history"), (19211, "its metrics")),
    "logs": ((19212, "the log shipper's metrics"),),
}

#: Which of its ports has a process's metrics, where it is not the first.
METRICS_PORT: Final = {"clickhouse": 1, "hub": 1, "alerts": 1}

#: How long each may take to end by itself. Along any chain of dependencies the sum stays under the
#: ten seconds that the whole stack has.
STAGE_STOP_SECONDS: Final = 5.0
SERVER_STOP_SECONDS: Final = 3.0
#: It has nothing to finish: what is not shipped is in its file.
LOGS_STOP_SECONDS: Final = 1.0

ALPACA_SECRETS: Final = ("ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY")
CLICKHOUSE_SECRETS: Final = ("CLICKHOUSE_URL",)
#: Of the users of the engine in the sink.
ENGINE_SECRETS: Final = ("CLICKHOUSE_HTTP_PASSWORD", "CLICKHOUSE_ANALYST_PASSWORD")
#: Of who writes on it.
ENGINE_WRITER_SECRETS: Final = ("CLICKHOUSE_HTTP_PASSWORD",)
#: The address of a Loki, which may hold a password.
LOKI_SECRETS: Final = ("LOKI_URL",)
#: The address of the operator's list, which may hold a password.
SYMBOLS_SECRETS: Final = ("SYMBOLS_SOURCE",)
#: What tokens of the hub's users are signed with.
HUB_SECRETS: Final = ("HUB_JWT_SECRET",)
#: What PagerDuty signs with. Tokens for Alertmanager and Prometheus are not asked for on loopback.
PAGERDUTY_SECRETS: Final = ("ALERTS_PAGERDUTY_SECRETS",)
SECRETS: Final = (
    *ALPACA_SECRETS,
    *CLICKHOUSE_SECRETS,
    *ENGINE_SECRETS,
    *LOKI_SECRETS,
    *SYMBOLS_SECRETS,
    *HUB_SECRETS,
    *PAGERDUTY_SECRETS,
    "ALERTS_TOKEN",
    "METRICS_TOKEN",
    "METRICS_PASSWORD",
)
#: What Prometheus here would have to show, or to trust, where nobody but this machine can ask.
NOT_ON_LOOPBACK: Final = (
    "METRICS_TOKEN_FILE",
    "METRICS_USER",
    "METRICS_PASSWORD_FILE",
    "METRICS_TLS_CERTIFICATE_FILE",
    "METRICS_TLS_KEY_FILE",
)

#: The keys that the simulator takes; known to all and good for nothing else.
SIMULATED_KEYS: Final = {
    "ALPACA_API_KEY_ID": "simulated-key",
    "ALPACA_API_SECRET_KEY": "simulated-secret",
}
#: Where they are, under the data directory: a file, so that they can be rotated while all runs.
SIMULATED_KEYS_FILE: Final = "keys.env"
#: Where, under the data directory, what tokens are signed with is kept; made at the first start.
HUB_SECRET_FILE: Final = "hub-secret"  # noqa: S105  # a name
#: Where, under the data directory, each process has a place for temporary files.
SCRATCH: Final = "tmp"
#: The simulated market never closes.
SIMULATED_MARKET: Final = {"MARKET_HOURS": "always"}
#: There is one worker a stage here: after a crash it goes on at once, under the same name.
ONLY_WORKER: Final = {"MEMBER_NAME": "local"}
#: Where a simulator's faults are switched: (the address's name, the process, which of its ports)
CONTROL: Final = (("alpaca faults", "alpaca-simulator", 1), ("yahoo faults", "yahoo-simulator", 0))
#: Real polls are a minute apart; a demonstration should not wait that long for its fallback.
SIMULATED_POLL_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class HttpReady:
    """Ready when a GET is answered with 200."""

    url: str


@dataclass(frozen=True, slots=True)
class KafkaReady:
    """Ready when a client's metadata request is answered."""

    bootstrap_servers: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Ready when it has ended with exit code 0: a step, not a server."""


Probe = HttpReady | KafkaReady | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One process of the stack.

    Attributes:
        name: what it is called in the view, in the logs and in `after`.
        command: its command line; holds no secret.
        env: what it gets on top of the inherited environment.
        secrets: which of the inherited `SECRETS` it may see.
        ready: how to tell that it does its work.
        after: the processes that must have been ready before it is started.
        stop_seconds: how long it may take to end by itself.
        metrics: where its metrics are, if it has any.
        directory: where it is started; None for where the stack was.
        scratch: where its temporary files go, its own alone; emptied whenever it is started.
        essential: whether the stack is of no use without it.

    """

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    ready: Probe
    after: tuple[str, ...] = ()
    stop_seconds: float = STAGE_STOP_SECONDS
    metrics: str | None = None
    directory: Path | None = None
    scratch: Path | None = None
    essential: bool = True


@dataclass(frozen=True, slots=True)
class Address:
    """Somewhere for the user to look."""

    name: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StackSettings:
    """What differs between two local stacks.

    Attributes:
        data: the one directory that everything is kept under.
        python: the interpreter for the stages.
        toolchain: the programs that are not Python.
        port_offset: added to every port of `PORTS`.
        rate: messages a second of the simulated Alpaca.
        seed: of the simulated market.
        live: whether to talk to the real vendors, with the keys in the environment.
        topic_prefix: put before every topic's name.
        kafka_bootstrap_servers: a Kafka elsewhere, instead of one here; and so on.
        clickhouse_url: may hold a password.
        clickhouse_database: where the sink writes.
        prometheus_url: a Prometheus elsewhere.
        alertmanager_url: an Alertmanager elsewhere.

    """

    data: Path
    python: str
    toolchain: Toolchain
    port_offset: int = 0
    rate: float = 500
    seed: int = 7
    live: bool = False
    topic_prefix: str = ""
    kafka_bootstrap_servers: str | None = None
    clickhouse_url: str | None = field(default=None, repr=False)
    clickhouse_database: str = "twinfeed"
    prometheus_url: str | None = None
    alertmanager_url: str | None = None

    def port(self, process: str, which: int = 0) -> int:
        """Return a port of a process."""
        return PORTS[process][which][0] + self.port_offset

    @property
    def kafka(self) -> str:
        """Where Kafka is."""
        return self.kafka_bootstrap_servers or f"{HOST}:{self.port('kafka')}"

    @property
    def broker(self) -> BrokerConfig | None:
        """The broker to run here, or None where Kafka is elsewhere."""
        if self.kafka_bootstrap_servers or not (self.toolchain.java and self.toolchain.kafka):
            return None
        return BrokerConfig(
            port=self.port("kafka"),
            controller_port=self.port("kafka", 1),
            directory=self.data / "kafka",
            java=self.toolchain.java,
            jars=self.toolchain.kafka,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The whole stack.

    Attributes:
        processes: in an order in which each comes after what it waits for.
        ports: what has to be free here: number -> what it is for.
        files: what has to be written first: path -> content.
        directories: what has to exist first.
        addresses: where the user may look.

    """

    processes: tuple[Process, ...]
    ports: Mapping[int, str]
    files: Mapping[Path, str]
    directories: tuple[Path, ...]
    addresses: tuple[Address, ...]


def plan(settings: StackSettings) -> Plan:
    """Lay out the stack that these settings ask for."""
    processes = (
        *_kafka(settings),
        *_simulators(settings),
        *_stages(settings),
        _logs(settings),
        *_monitoring(settings),
    )
    running = {process.name for process in processes}
    return Plan(
        processes=tuple(
            replace(process, scratch=settings.data / SCRATCH / process.name)
            for process in processes
        ),
        ports={
            number + settings.port_offset: purpose
            for name, ports in PORTS.items()
            if name in running
            for number, purpose in ports
            if not (purpose == "ClickHouse's HTTP interface" and settings.clickhouse_url)
        },
        files=_files(settings, running),
        directories=tuple(
            settings.data / name
            for name in ("kafka", "clickhouse", "prometheus", "alertmanager", "ledgers", "logs")
        ),
        addresses=_addresses(settings, running),
    )


def _kafka(settings: StackSettings) -> tuple[Process, ...]:
    broker = settings.broker
    topics = Process(
        name="topics",
        command=(settings.python, "-m", "infra.cli", "topics", "create"),
        env=_pipeline(settings),
        ready=Finished(),
        after=("kafka",) if broker else (),
        stop_seconds=SERVER_STOP_SECONDS,
    )
    if not broker:
        return (topics,)
    node = Process(
        name="kafka",
        command=broker.command,
        ready=KafkaReady(broker.bootstrap_servers),
        stop_seconds=SERVER_STOP_SECONDS,
    )
    return (node, topics)


def _simulators(settings: StackSettings) -> tuple[Process, ...]:
    if settings.live:
        return ()
    history = str(settings.port("alpaca-simulator", 1))
    options = {"alpaca": ("--http-port", history, "--rate", f"{settings.rate:g}"), "yahoo": ()}
    return tuple(
        Process(
            name=f"{vendor}-simulator",
            command=(
                *(settings.python, "-m", "infra.simulators", vendor),
                *("--port", str(settings.port(f"{vendor}-simulator"))),
                *("--seed", str(settings.seed)),
                *("--ledger", str(settings.data / "ledgers" / f"{vendor}.jsonl")),
                *options[vendor],
            ),
            ready=HttpReady(f"http://{HOST}:{settings.port(f'{vendor}-simulator')}/ready"),
            stop_seconds=SERVER_STOP_SECONDS,
        )
        for vendor in ("alpaca", "yahoo")
    )


def _stages(settings: StackSettings) -> tuple[Process, ...]:
    alpaca, history, yahoo = _vendors(settings)
    after_topics = ("topics",)
    return (
        *(
            _stage(settings, name, "processors", name, env=ONLY_WORKER, after=after_topics)
            for name in ("validate", "route", "forward")
        ),
        _stage(
            settings,
            "clickhouse",
            "sinks.clickhouse",
            env=_clickhouse(settings),
            secrets=CLICKHOUSE_SECRETS if settings.clickhouse_url else ENGINE_SECRETS,
            after=after_topics,
        ),
        _stage(settings, "prometheus-sink", "sinks.prometheus", after=after_topics),
        _stage(
            settings,
            *("alerts", "sinks.alerts"),
            env={
                "ALERTS_HOST": HOST,
                "ALERTS_PORT": str(settings.port("alerts")),
                "ALERTS_ALERTMANAGER_URL": _alertmanager_url(settings),
            },
            secrets=PAGERDUTY_SECRETS,
            after=after_topics,
        ),
        _stage(
            settings,
            *("hub", "sinks.hub"),
            env={
                "HUB_HOST": HOST,
                "HUB_PORT": str(settings.port("hub")),
                "HUB_ANONYMOUS": "true",  # on loopback, for whoever started it
                "HUB_JWT_SECRET_FILE": str(settings.data / HUB_SECRET_FILE),
                **_prometheus_here(settings),
            },
            secrets=HUB_SECRETS,
            after=after_topics,
        ),
        _stage(
            settings,
            *("alpaca", "ingest", "alpaca"),
            env=alpaca,
            secrets=(*SYMBOLS_SECRETS, *(ALPACA_SECRETS if settings.live else ())),
            after=(*after_topics, *(() if settings.live else ("alpaca-simulator",))),
        ),
        _stage(
            settings,
            *("backfill", "ingest", "backfill"),
            env={**history, **ONLY_WORKER},
            secrets=ALPACA_SECRETS if settings.live else (),
            after=(*after_topics, *(() if settings.live else ("alpaca-simulator",))),
        ),
        _stage(
            settings,
            *("yahoo", "ingest", "yahoo"),
            env=yahoo,
            secrets=SYMBOLS_SECRETS,
            after=(*after_topics, *(() if settings.live else ("yahoo-simulator",))),
        ),
    )


def _logs(settings: StackSettings) -> Process:
    """Return the log shipper; where Loki is, if anywhere, it reads itself."""
    elsewhere = settings.clickhouse_url is not None
    here = {} if elsewhere else {"CLICKHOUSE_URL": f"http://{HOST}:{settings.port('clickhouse')}"}
    stage = _stage(
        settings,
        *("logs", "sinks.logs"),
        env={
            "LOGS_DIRECTORY": str(settings.data / "logs"),
            "LOGS_POSITIONS": str(settings.data / "log-positions"),
            "CLICKHOUSE_DATABASE": settings.clickhouse_database,
            **here,
        },
        secrets=(*LOKI_SECRETS, *(CLICKHOUSE_SECRETS if elsewhere else ENGINE_WRITER_SECRETS)),
        after=("clickhouse",),
    )
    return replace(stage, essential=False, stop_seconds=LOGS_STOP_SECONDS)


def _stage(
    settings: StackSettings,
    name: str,
    module: str,
    *arguments: str,
    after: tuple[str, ...],
    env: Mapping[str, str] | None = None,
    secrets: tuple[str, ...] = (),
) -> Process:
    port = settings.port(name, METRICS_PORT.get(name, 0))
    where = f"http://{HOST}:{port}"
    return Process(
        name=name,
        command=(settings.python, "-m", module, *arguments),
        env={
            **_pipeline(settings),
            **dict.fromkeys(NOT_ON_LOOPBACK, ""),
            "METRICS_HOST": HOST,
            "METRICS_PORT": str(port),
            **(env or {}),
        },
        secrets=secrets,
        ready=HttpReady(f"{where}/ready"),
        after=after,
        metrics=f"{where}/metrics",
    )


def _pipeline(settings: StackSettings) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka,
        "TOPIC_PREFIX": settings.topic_prefix,
        **({} if settings.live else SIMULATED_MARKET),
    }


def _vendors(settings: StackSettings) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Return where the stream, its history and Yahoo are: what is empty is the real one."""
    if settings.live:
        return {}, {}, {}
    alpaca = f"ws://{HOST}:{settings.port('alpaca-simulator')}/v2/iex"
    history = f"http://{HOST}:{settings.port('alpaca-simulator', 1)}"
    yahoo = f"http://{HOST}:{settings.port('yahoo-simulator')}"
    keys = {"ALPACA_KEYS_FILE": str(settings.data / SIMULATED_KEYS_FILE)}
    return (
        {"ALPACA_STREAM_URL": alpaca, **keys},
        {"ALPACA_DATA_URL": history, **keys},
        {"YAHOO_BASE_URL": yahoo, "YAHOO_POLL_SECONDS": str(SIMULATED_POLL_SECONDS)},
    )


def _clickhouse(settings: StackSettings) -> dict[str, str]:
    if settings.clickhouse_url:
        return {"CLICKHOUSE_DATABASE": settings.clickhouse_database}
    return {
        "CLICKHOUSE_DATABASE": settings.clickhouse_database,
        "CLICKHOUSE_DIRECTORY": str(settings.data / "clickhouse"),
        "CLICKHOUSE_HTTP_PORT": str(settings.port("clickhouse")),
    }


def _monitoring(settings: StackSettings) -> tuple[Process, ...]:
    programs = settings.toolchain.monitoring
    if programs is None:
        return ()
    wanted = []
    if not settings.alertmanager_url:
        address = f"{HOST}:{settings.port('alertmanager')}"
        wanted.append(
            Process(
                name="alertmanager",
                command=(
                    str(programs.alertmanager),
                    f"--config.file={_alertmanager_file(settings)}",
                    f"--storage.path={settings.data / 'alertmanager'}",
                    f"--web.listen-address={address}",
                    "--cluster.listen-address=",  # one of them has no peers to gossip with
                ),
                ready=HttpReady(f"http://{address}/-/ready"),
                stop_seconds=SERVER_STOP_SECONDS,
                directory=programs.alertmanager_home,
                essential=False,
            )
        )
    if not settings.prometheus_url:
        address = f"{HOST}:{settings.port('prometheus')}"
        assets = programs.page_assets
        wanted.append(
            Process(
                name="prometheus",
                command=(
                    str(programs.prometheus),
                    f"--config.file={_prometheus_file(settings)}",
                    f"--storage.tsdb.path={settings.data / 'prometheus'}",
                    "--storage.tsdb.retention.time=35d",  # service levels look back a month
                    "--enable-feature=exemplar-storage",  # from a histogram to a trace
                    f"--web.listen-address={address}",
                    *((f"--web.local-assets={assets}/",) if assets else ()),
                ),
                ready=HttpReady(f"http://{address}/-/ready"),
                # what fires at once would be dropped, and that would be an alert
                after=tuple(process.name for process in wanted),
                stop_seconds=SERVER_STOP_SECONDS,
                essential=False,
            )
        )
    return tuple(wanted)


def _alertmanager_url(settings: StackSettings) -> str:
    """Return where Alertmanager is; empty where there is none."""
    if settings.alertmanager_url:
        return settings.alertmanager_url
    here = f"http://{HOST}:{settings.port('alertmanager')}"
    return here if settings.toolchain.monitoring else ""


def _alertmanager_file(settings: StackSettings) -> Path:
    return settings.data / "alertmanager.yml"


def _alertmanager(settings: StackSettings) -> str:
    """Return the local Alertmanager's configuration: nobody is woken by a stack on a laptop."""
    channels = alertmanager_config.Channels(
        secrets=settings.data / "secrets",
        history_url=f"http://{HOST}:{settings.port('alerts')}",
    )
    return json.dumps(alertmanager_config.render(channels), indent=2) + "\n"  # JSON is YAML


def _prometheus_here(settings: StackSettings) -> dict[str, str]:
    """Return where Prometheus is, if it is ours: of another the environment tells."""
    if settings.prometheus_url or not settings.toolchain.monitoring:
        return {}
    return {"PROMETHEUS_URL": f"http://{HOST}:{settings.port('prometheus')}"}


def _prometheus_file(settings: StackSettings) -> Path:
    return settings.data / "prometheus.yml"


def _files(settings: StackSettings, running: set[str]) -> dict[Path, str]:
    scraped = {
        name: f"{HOST}:{settings.port(name, METRICS_PORT.get(name, 0))}"
        for names in prometheus_config.JOBS.values()
        for name in names
        if name in running
    }
    if settings.alertmanager_url:
        scraped["alertmanager"] = urlsplit(settings.alertmanager_url).netloc.rpartition("@")[2]
    files = {
        "prometheus": (_prometheus_file(settings), prometheus_config.render(scraped)),
        "alertmanager": (_alertmanager_file(settings), _alertmanager(settings)),
        "alpaca-simulator": (
            settings.data / SIMULATED_KEYS_FILE,
            "".join(f"{name}={value}\n" for name, value in SIMULATED_KEYS.items()),
        ),
    }
    return {path: text for name, (path, text) in files.items() if name in running}


def _addresses(settings: StackSettings, running: set[str]) -> tuple[Address, ...]:
    def here(process: str) -> str | None:
        return f"http://{HOST}:{settings.port(process)}" if process in running else None

    clickhouse = _without_password(settings.clickhouse_url) or here("clickhouse")
    query = (
        f"SELECT symbol, price FROM {settings.clickhouse_database}.routed_prices "  # noqa: S608  # shown
        "FINAL ORDER BY routed_at DESC LIMIT 5"
    )
    prometheus = _without_password(settings.prometheus_url) or here("prometheus")
    alertmanager = _without_password(settings.alertmanager_url) or here("alertmanager")
    control = {
        address: f"http://{HOST}:{settings.port(name, which)}/faults"
        for address, name, which in CONTROL
        if name in running
    }
    hub = here("hub")
    found = {
        "console": hub and f"{hub}/",
        "hub": hub and f"{hub}/hubs/market-data",
        "prices": f"curl '{clickhouse}/' --data-binary \"{query}\"",
        "history": f"ClickHouse at {clickhouse}",
        "metrics": prometheus and f"{prometheus}/graph?g0.expr=datasource_router_state&g0.tab=1",
        "alerts": alertmanager and f"{alertmanager}/api/v2/alerts",
        "topics": f"Kafka at {settings.kafka}",
        "logs": str(settings.data / "logs"),
        **control,
    }
    return tuple(Address(name, where) for name, where in found.items() if where)


def _without_password(url: str | None) -> str | None:
    """Return a URL as it may be shown: without user and password."""
    if not url:
        return None
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")
