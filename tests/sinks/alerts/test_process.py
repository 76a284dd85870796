"""The history of alerts as a process, on real Kafka, told by a real Alertmanager."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import msgspec
import pytest

from infra import topics as declared
from infra.alertmanager.config import Channels, render
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from infra.stack.toolchain import Monitoring
from sinks.alerts.notices import nanoseconds
from sinks.events import AlertEvent, AlertFired, AlertInhibited, AlertResolved
from tests.infra.alertmanager.running import alertmanager
from tests.sinks.alerts.payloads import INCIDENT, SECRET, notice, notification, signature
from tests.sinks.processes import process_of, until_ready

pytestmark = pytest.mark.service

TOKEN = "a token"
MODULE = "sinks.alerts"


@contextlib.asynccontextmanager
async def _history(
    servers: str, prefix: str, free_port: Callable[[], int], **env: str
) -> AsyncIterator[str]:
    """Run the process until it is ready; yield its address."""
    port, metrics = free_port(), free_port()
    settings = {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "TOPIC_PREFIX": prefix,
        "ALERTS_PORT": str(port),
        "METRICS_PORT": str(metrics),
    }
    async with process_of(MODULE, {**settings, **env}):
        await until_ready(metrics)
        yield f"http://127.0.0.1:{port}"


async def _written(servers: str, prefix: str) -> list[AlertEvent]:
    name = prefix + declared.ALERTS.name
    decode = msgspec.json.Decoder(AlertEvent).decode
    return [decode(record.value) async for record in read_to_end(servers, name, 0)]


async def _ended(servers: str, prefix: str) -> set[str]:
    return {e.name for e in await _written(servers, prefix) if isinstance(e, AlertResolved)}


async def test_it_writes_down_what_it_is_told(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """Fired, paged, acknowledged, resolved; no token, no signature or no sense is refused."""
    servers = kafka.bootstrap_servers
    env = {"ALERTS_TOKEN": TOKEN, "ALERTS_PAGERDUTY_SECRETS": f"old, {SECRET}"}
    known = {"Authorization": f"Bearer {TOKEN}"}
    taken, body = notification(), notice()
    async with (
        _history(servers, topics, free_port, **env) as url,
        aiohttp.ClientSession(url) as http,
    ):
        told = [
            ("/alerts", taken, known, 200),
            ("/pages", taken, known, 200),
            ("/pagerduty", body, {"X-PagerDuty-Signature": signature(body, SECRET)}, 200),
            ("/alerts", notification(over=True), known, 200),
            ("/alerts", taken, {}, 401),
            ("/alerts", taken, {"Authorization": "Bearer b"}, 401),
            ("/alerts", b"nonsense", known, 400),
            ("/pagerduty", body, known, 401),
            ("/pagerduty", body, {"X-PagerDuty-Signature": signature(body, "c")}, 401),
        ]
        for path, data, headers, status in told:
            async with http.post(path, data=data, headers=headers) as answer:
                assert answer.status == status, (path, await answer.text())
    kinds = [event.__struct_config__.tag for event in await _written(servers, topics)]
    assert kinds == ["alert_fired", "alert_paged", "alert_acknowledged", "alert_resolved"]


async def test_alertmanager_tells_it_every_firing_and_resolution(
    kafka: Broker,
    topics: str,
    free_port: Callable[[], int],
    monitoring: Monitoring,
    tmp_path: Path,
) -> None:
    """Even of what is over before anybody would have been told."""
    servers, port = kafka.bootstrap_servers, free_port()
    env = {"ALERTS_ALERTMANAGER_URL": f"http://127.0.0.1:{port}/"}
    async with _history(servers, topics, free_port, **env) as url:
        channels = Channels(secrets=tmp_path, history_url=url)
        async with alertmanager(monitoring, tmp_path, port, render(channels)) as told:
            await told.tell("AlpacaErrorRateElevated")

            async def written(kind: type[AlertEvent]) -> None:
                async with asyncio.timeout(60):
                    while not any(isinstance(e, kind) for e in await _written(servers, topics)):
                        await asyncio.sleep(0.2)

            await written(AlertFired)
            await told.tell("AlpacaErrorRateElevated", over=True)
            await written(AlertResolved)
            # one that nobody is told of, because a louder one fires
            await told.tell("AlpacaAuthFailure")
            await told.tell("AlpacaDisconnected")
            await written(AlertInhibited)
            await told.tell("AlpacaDisconnected", over=True)
            async with asyncio.timeout(60):
                while "AlpacaDisconnected" not in await _ended(servers, topics):
                    await asyncio.sleep(0.2)
    fired, resolved, *louder, muted, over = await _written(servers, topics)
    assert isinstance(muted, AlertInhibited)
    assert isinstance(over, AlertResolved)
    assert (muted.name, muted.inhibited_by) == ("AlpacaDisconnected", ["AlpacaAuthFailure"])
    assert (over.fingerprint, over.started_at_ns) == (muted.fingerprint, muted.started_at_ns)
    assert [type(each) for each in louder] == [AlertFired]
    assert isinstance(fired, AlertFired)
    assert isinstance(resolved, AlertResolved)
    assert (fired.fingerprint, fired.started_at_ns) == (
        resolved.fingerprint,
        resolved.started_at_ns,
    )
    assert fired.labels["family"] == "errors"


async def test_what_fires_anew_before_its_end_was_told_was_over(
    kafka: Broker,
    topics: str,
    free_port: Callable[[], int],
    monitoring: Monitoring,
    tmp_path: Path,
) -> None:
    """Alertmanager tells of a group every ten seconds, and nothing where as much fires as before.

    The end of the second firing is all that it tells of both.
    """
    servers = kafka.bootstrap_servers
    alert = "AlpacaErrorRateElevated"
    async with _history(servers, topics, free_port) as url:
        channels = Channels(secrets=tmp_path, history_url=url)
        async with alertmanager(monitoring, tmp_path, free_port(), render(channels)) as told:
            await told.tell(alert)
            await _so_many(servers, topics, 1)
            await told.tell(alert, over=True)
            await told.tell(alert, began_s=0)
            await asyncio.sleep(0.1)  # the least that it fires
            await told.tell(alert, over=True, began_s=0.05)
            await _so_many(servers, topics, 4)
    first, over, second, ended = await _written(servers, topics)
    assert isinstance(first, AlertFired)
    assert isinstance(over, AlertResolved)
    assert isinstance(second, AlertFired)
    assert over.started_at_ns == first.started_at_ns < second.started_at_ns
    assert over.ended_at_ns == second.started_at_ns
    assert over.fingerprint == first.fingerprint == second.fingerprint
    assert second.labels == first.labels
    assert isinstance(ended, AlertResolved)
    assert (ended.fingerprint, ended.started_at_ns) == (second.fingerprint, second.started_at_ns)
    assert ended.ended_at_ns > over.ended_at_ns


async def test_who_was_started_again_knows_what_fired(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """It reads what was told before; what is told twice is no new firing."""
    servers = kafka.bootstrap_servers
    times = [f"2026-11-24T15:0{minute}:00Z" for minute in range(3)]
    for began in (times[0], times[0], times[1], times[2]):
        async with _history(servers, topics, free_port) as url, aiohttp.ClientSession() as http:
            body = notification(began=began)
            async with http.post(f"{url}/alerts", data=body) as answer:
                assert answer.status == 200, await answer.text()
    kinds = [
        (type(event), event.started_at_ns)
        for event in await _written(servers, topics)
        if isinstance(event, AlertFired | AlertResolved)
    ]
    first, second, third = (nanoseconds(each) for each in times)
    assert kinds == [
        (AlertFired, first),
        (AlertFired, first),
        (AlertResolved, first),
        (AlertFired, second),
        (AlertResolved, second),
        (AlertFired, third),
    ]


async def _so_many(servers: str, prefix: str, many: int) -> None:
    async with asyncio.timeout(60):
        while len(await _written(servers, prefix)) < many:
            await asyncio.sleep(0.2)


async def test_without_kafka_the_teller_is_asked_to_come_again(
    broker: Broker, free_port: Callable[[], int]
) -> None:
    """What was not written down was not answered with yes; and then it is."""
    async with (
        _history(broker.bootstrap_servers, "", free_port) as url,
        aiohttp.ClientSession(url) as http,
    ):
        await broker.stop()
        async with http.post("/alerts", data=notification()) as answer:
            assert answer.status == 503
        await broker.start()
        async with asyncio.timeout(60):
            while True:
                async with http.post("/alerts", data=notification()) as answer:
                    if answer.status == 200:
                        break
                await asyncio.sleep(0.2)
    assert {type(event) for event in await _written(broker.bootstrap_servers, "")} == {AlertFired}


@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({"ALERTS_HOST": "10.0.0.1"}, 78, "ALERTS_HOST: 10.0.0.1 is not loopback: set"),
        ({"ALERTS_HOST": "here"}, 78, "ALERTS_HOST: 'here' is not an IP address"),
        ({"ALERTS_PORT": "70000"}, 78, "ALERTS_PORT: "),
        ({"ALERTS_ALERTMANAGER_URL": "there"}, 78, "ALERTS_ALERTMANAGER_URL: 'there' is not a URL"),
        ({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 69, "KAFKA_BOOTSTRAP_SERVERS: no Kafka"),
    ],
)
async def test_every_mistake_is_named(env: Mapping[str, str], code: int, sentence: str) -> None:
    """One sentence, and the exit code of its kind."""
    async with process_of(MODULE, env) as process:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == code
    assert said.decode().splitlines()[-1].startswith(sentence)


def test_the_incident_is_the_digest_of_the_group() -> None:
    """As Alertmanager makes PagerDuty's key."""
    assert len(INCIDENT) == 64
