"""The plan of the local stack, for every place where a part may run."""

from dataclasses import replace
from pathlib import Path

import pytest

from infra.exposure import Exposure, exposure
from infra.settings import StageSettings
from infra.stack.plan import (
    ENGINE_SECRETS,
    PORTS,
    SECRETS,
    SIMULATED_KEYS_FILE,
    Finished,
    HttpReady,
    KafkaReady,
    Plan,
    Process,
    StackSettings,
    plan,
)
from infra.stack.supervisor import STOP_SECONDS, visible
from infra.stack.toolchain import Monitoring, Toolchain
from ingest.keys import parse_keys

MONITORING = Monitoring(
    prometheus=Path("/bin/prometheus"),
    promtool=Path("/bin/promtool"),
    alertmanager=Path("/bin/alertmanager"),
    amtool=Path("/bin/amtool"),
)
HERE = StackSettings(
    data=Path("/data"),
    python="/bin/python",
    toolchain=Toolchain(java=Path("/bin/java"), kafka=Path("/jars"), monitoring=MONITORING),
)
STAGES = {
    *("validate", "route", "forward", "alpaca", "yahoo"),
    *("clickhouse", "prometheus-sink", "hub", "alerts", "logs"),
}
SIMULATORS = {"alpaca-simulator", "yahoo-simulator"}

CASES = {
    "all here": (HERE, set(PORTS) | {"topics"}),
    "live": (replace(HERE, live=True), (set(PORTS) | {"topics"}) - SIMULATORS),
    "Kafka elsewhere": (
        replace(HERE, kafka_bootstrap_servers="kafka.example:9092"),
        (set(PORTS) | {"topics"}) - {"kafka"},
    ),
    "ClickHouse elsewhere": (
        replace(HERE, clickhouse_url="http://user:hidden@ch.example:8123"),
        set(PORTS) | {"topics"},
    ),
    "Prometheus elsewhere": (
        replace(HERE, prometheus_url="http://prom.example:9090"),
        (set(PORTS) | {"topics"}) - {"prometheus"},
    ),
    "Alertmanager elsewhere": (
        replace(HERE, alertmanager_url="http://alerts.example:9093"),
        (set(PORTS) | {"topics"}) - {"alertmanager"},
    ),
    "no monitoring": (
        replace(HERE, toolchain=replace(HERE.toolchain, monitoring=None)),
        (set(PORTS) | {"topics"}) - {"prometheus", "alertmanager"},
    ),
}


def named(layout: Plan, name: str) -> Process:
    """The process of that name."""
    (found,) = (process for process in layout.processes if process.name == name)
    return found


@pytest.mark.parametrize(("settings", "names"), CASES.values(), ids=CASES)
class TestEveryPlan:
    """Laws that hold wherever a part runs."""

    def test_it_has_these_processes(self, settings: StackSettings, names: set[str]) -> None:
        """What runs elsewhere is not started here."""
        assert {process.name for process in plan(settings).processes} == names

    def test_each_comes_after_what_it_waits_for(
        self, settings: StackSettings, names: set[str]
    ) -> None:
        """The order of the plan is an order of starting, and nothing waits for the absent."""
        before: set[str] = set()
        for process in plan(settings).processes:
            assert set(process.after) <= before
            before.add(process.name)
        assert before == names

    def test_the_whole_ends_in_time(self, settings: StackSettings, names: set[str]) -> None:
        """Along every chain of dependencies the times to end add up to less than there is."""
        until: dict[str, float] = {}
        processes = plan(settings).processes
        for process in reversed(processes):
            followers = [p.name for p in processes if process.name in p.after]
            # a step has ended long before
            own = 0.0 if isinstance(process.ready, Finished) else process.stop_seconds
            until[process.name] = own + max((until[name] for name in followers), default=0.0)
        assert until.keys() == names
        assert max(until.values()) <= STOP_SECONDS

    def test_no_secret_is_on_a_command_line(self, settings: StackSettings, names: set[str]) -> None:
        """A command line is there for every user of the machine to read."""
        layout = plan(settings)
        assert {process.name for process in layout.processes} == names
        assert "hidden" not in repr([process.command for process in layout.processes])
        assert "hidden" not in repr((layout.files, layout.addresses))

    def test_each_has_a_place_of_its_own_for_what_is_temporary(
        self, settings: StackSettings, names: set[str]
    ) -> None:
        """In the data directory, whatever is inherited: what a killed process leaves is there."""
        processes = plan(settings).processes
        places = {visible({"TMPDIR": "/tmp"}, process)["TMPDIR"] for process in processes}  # noqa: S108
        assert places == {f"/data/tmp/{name}" for name in names}

    def test_ports_differ(self, settings: StackSettings, names: set[str]) -> None:
        """No port is asked for twice, and all move together."""
        here, moved = plan(settings), plan(replace(settings, port_offset=1000))
        assert {port + 1000 for port in here.ports} == set(moved.ports)
        expected = sum(len(PORTS[name]) for name in names if name in PORTS)
        assert len(here.ports) == expected - (1 if settings.clickhouse_url else 0)


def test_stages_wait_for_the_topics_and_those_for_kafka() -> None:
    """Kafka, then its topics, then the stages; workers also wait for their vendor."""
    layout = plan(HERE)
    assert named(layout, "topics").after == ("kafka",)
    assert all("topics" in named(layout, stage).after for stage in STAGES - {"logs"})
    assert named(layout, "logs").after == ("clickhouse",)
    assert "alpaca-simulator" in named(layout, "alpaca").after
    assert "yahoo-simulator" in named(layout, "yahoo").after


def test_readiness_is_asked_at_the_port_that_the_process_was_given() -> None:
    """A stage is asked where its METRICS_PORT is; Kafka by its protocol; a step by its end."""
    layout = plan(replace(HERE, port_offset=5))
    for name in STAGES:
        stage = named(layout, name)
        assert stage.ready == HttpReady(f"http://127.0.0.1:{stage.env['METRICS_PORT']}/ready")
        assert stage.metrics == f"http://127.0.0.1:{stage.env['METRICS_PORT']}/metrics"
    assert named(layout, "kafka").ready == KafkaReady("127.0.0.1:19097")
    assert named(layout, "topics").ready == Finished()


def test_stages_can_read_what_they_are_given() -> None:
    """The environment of every stage is valid by the settings that all stages share."""
    for name in STAGES:
        env = named(plan(HERE), name).env
        settings = StageSettings.model_validate({key.lower(): value for key, value in env.items()})
        assert settings.kafka_bootstrap_servers == "127.0.0.1:19092"
        assert str(settings.metrics_port) == env["METRICS_PORT"]


def test_the_simulated_market_is_used_without_keys() -> None:
    """The workers are pointed at the simulators, with the keys that those take."""
    layout = plan(HERE)
    assert named(layout, "alpaca").env["ALPACA_STREAM_URL"] == "ws://127.0.0.1:19100/v2/iex"
    file = Path(named(layout, "alpaca").env["ALPACA_KEYS_FILE"])
    assert named(layout, "backfill").env["ALPACA_KEYS_FILE"] == str(file)
    assert parse_keys(layout.files[file]).key_id == "simulated-key"
    assert named(layout, "yahoo").env["YAHOO_BASE_URL"] == "http://127.0.0.1:19101"
    assert named(layout, "yahoo").env["YAHOO_POLL_SECONDS"] == "5"


def test_the_simulators_listen_where_the_plan_says() -> None:
    """Each port that is reserved for them is one that they are told to take."""
    layout = plan(replace(HERE, port_offset=1))
    alpaca = named(layout, "alpaca-simulator").command
    assert alpaca[alpaca.index("--port") + 1] == "19101"
    assert alpaca[alpaca.index("--http-port") + 1] == "19103"
    yahoo = named(layout, "yahoo-simulator").command
    assert yahoo[yahoo.index("--port") + 1] == "19102"
    assert {19101, 19102, 19103} <= layout.ports.keys()


def test_the_real_market_is_left_to_the_workers() -> None:
    """Live, the vendors' addresses are the workers' own defaults."""
    layout = plan(replace(HERE, live=True))
    assert not {"ALPACA_STREAM_URL", "ALPACA_KEYS_FILE"} & set(named(layout, "alpaca").env)
    assert not [path for path in layout.files if path.name == SIMULATED_KEYS_FILE]
    assert not {"YAHOO_BASE_URL", "YAHOO_POLL_SECONDS"} & set(named(layout, "yahoo").env)


def test_a_secret_is_seen_by_whom_it_is_for_alone() -> None:
    """The keys reach who speaks to Alpaca, addresses with passwords who asks there, nobody else."""
    inherited = dict.fromkeys(SECRETS, "hidden") | {"PATH": "/bin"}
    layout = plan(replace(HERE, live=True, clickhouse_url="http://user:hidden@ch:8123"))
    seen = {
        process.name: {key for key in SECRETS if key in visible(inherited, process)}
        for process in layout.processes
    }
    keys = {"ALPACA_API_KEY_ID", "ALPACA_API_SECRET_KEY"}
    assert seen.pop("alpaca") == {*keys, "SYMBOLS_SOURCE"}
    assert seen.pop("backfill") == keys
    assert seen.pop("yahoo") == {"SYMBOLS_SOURCE"}
    assert seen.pop("clickhouse") == {"CLICKHOUSE_URL"}
    assert seen.pop("hub") == {"HUB_JWT_SECRET"}
    assert seen.pop("alerts") == {"ALERTS_PAGERDUTY_SECRETS"}
    assert seen.pop("logs") == {"CLICKHOUSE_URL", "LOKI_URL"}
    assert not any(seen.values())
    assert visible(inherited, layout.processes[0])["PATH"] == "/bin"
    engine = visible(inherited, named(plan(HERE), "clickhouse"))
    assert {key for key in SECRETS if key in engine} == set(ENGINE_SECRETS)
    shipper = visible(inherited, named(plan(HERE), "logs"))
    assert shipper["CLICKHOUSE_URL"] == "http://127.0.0.1:18123"
    assert {key for key in SECRETS if shipper.get(key) == "hidden"} == {
        *("CLICKHOUSE_HTTP_PASSWORD", "LOKI_URL")
    }


def test_prometheus_can_scrape_whatever_is_inherited() -> None:
    """What opens metrics elsewhere does not close them to the Prometheus of this machine."""
    inherited = {
        name.upper(): "0.0.0.0" if name == "metrics_host" else "/absent"  # noqa: S104
        for name in StageSettings.model_fields
        if name.startswith("metrics_") and name != "metrics_port"
    }
    for name in STAGES:
        stage = named(plan(HERE), name)
        env = {key: value for key, value in visible(inherited, stage).items() if value}
        settings = StageSettings.model_validate({key.lower(): value for key, value in env.items()})
        assert exposure(settings) == Exposure(port=int(env["METRICS_PORT"]))


def test_only_what_watches_may_be_missing() -> None:
    """Whatever carries ticks is essential; what tells of them is not."""
    optional = {process.name for process in plan(HERE).processes if not process.essential}
    assert optional == {"prometheus", "alertmanager", "logs"}


def test_addresses_are_where_things_are() -> None:
    """The user is sent to the servers in use, without their passwords."""
    here = {address.name: address.where for address in plan(HERE).addresses}
    assert "127.0.0.1:18123" in here["prices"]
    assert here["metrics"].startswith("http://127.0.0.1:19090/")
    assert here["alpaca faults"] == "http://127.0.0.1:19102/faults"
    assert here["yahoo faults"] == "http://127.0.0.1:19101/faults"
    assert not [a for a in plan(replace(HERE, live=True)).addresses if "faults" in a.name]
    elsewhere = {
        address.name: address.where
        for address in plan(
            replace(HERE, clickhouse_url="https://user:hidden@ch:8443", prometheus_url="http://p:1")
        ).addresses
    }
    assert "'https://ch:8443/'" in elsewhere["prices"]
    assert elsewhere["metrics"].startswith("http://p:1/")


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        (HERE, f"http://127.0.0.1:{HERE.port('prometheus')}"),
        (replace(HERE, prometheus_url="http://prom.example:9090"), None),
        (replace(HERE, toolchain=replace(HERE.toolchain, monitoring=None)), None),
    ],
)
def test_the_hub_asks_the_prometheus_that_is_here(settings: StackSettings, url: str | None) -> None:
    """Of one elsewhere the environment tells it, as it tells us."""
    assert named(plan(settings), "hub").env.get("PROMETHEUS_URL") == url
