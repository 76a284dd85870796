"""Metrics are there from birth, states are sets, and a process says whether it is ready."""

import threading
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from infra import telemetry
from infra.exposure import Exposure
from infra.telemetry import Meters, StatusServer


def _samples(meters: Meters) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(meters.exposition().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def _series(meters: Meters, name: str) -> dict[str, float]:
    """Return the series of a metric with one label, by that label's value."""
    return {labels[0][1]: v for (n, labels), v in _samples(meters).items() if n == name}


def test_a_counter_has_all_its_children_at_birth() -> None:
    """The first error would be invisible to `increase()` if its series were born with it."""
    errors = _series(Meters("alpaca"), "alpaca_errors_total")
    assert errors == dict.fromkeys(
        ("authentication", "connection", "parse", "validation", "publish"), 0.0
    )


def test_exactly_one_state_is_one() -> None:
    """Changing the state leaves no other at 1."""
    meters = Meters("router")
    for state in ("PRIMARY_ACTIVE", "FALLBACK_ACTIVE"):
        meters.state("datasource_router_state", state)
        states = _series(meters, "datasource_router_state")
        assert [name for name, value in states.items() if value] == [state]


def test_threads_are_counted_at_each_scrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that the system knows of this process; nothing is made up where it does not tell."""
    meters, name = Meters("router"), ("process_threads", ())
    assert _samples(meters)[name] >= threading.active_count()
    monkeypatch.setattr(telemetry, "TASKS", tmp_path)
    for thread in range(1, 4):
        (tmp_path / str(thread)).touch()
        assert _samples(meters)[name] == thread
    monkeypatch.setattr(telemetry, "TASKS", tmp_path / "nowhere")
    assert name not in _samples(Meters("router"))


def test_an_unknown_state_is_refused() -> None:
    """A misspelt state would make all of them 0."""
    with pytest.raises(ValueError, match=r"unknown state 'UP' .* expected one of PRIMARY_ACTIVE"):
        Meters("router").state("datasource_router_state", "UP")


def test_a_time_that_was_not_is_absent() -> None:
    """A last failover in 1970 would be a lie; it appears with the first."""
    meters, name = Meters("router"), "datasource_router_last_failover_timestamp_seconds"
    assert (name, ()) not in _samples(meters)
    meters.set(name, 5)
    assert _samples(meters)[name, ()] == 5


def test_a_process_exposes_its_own_stage_alone() -> None:
    """Each series of a stage has one process that tells it."""
    names = {
        dict(labels)["stage"]
        for (name, labels) in _samples(Meters("pipeline", stage="route"))
        if name == "pipeline_records_processed_total"
    }
    assert names == {"route"}


def test_a_child_may_go() -> None:
    """What is compared no longer has no difference; the others stay, and it may come back."""
    meters, name = Meters("prices"), "datasource_router_price_delta_percent"
    meters.set(name, 1, symbol="A")
    meters.set(name, 2, symbol="B")
    meters.remove(name, symbol="A")
    assert _series(meters, name) == {"B": 2}
    meters.set(name, 3, symbol="A")
    assert _series(meters, name) == {"A": 3, "B": 2}


async def test_readiness_is_asked_every_time() -> None:
    """`/ready` says what is waited for, and 200 when it is there; `/metrics` accrues first."""
    waiting_for: str | None = "Kafka"
    meters = Meters("router")

    def accrue() -> None:
        meters.add("datasource_router_failover_total")

    server = StatusServer(
        meters, exposure=Exposure(), ready=lambda: waiting_for, before_scrape=accrue
    )
    port = await server.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            async with http.get("/ready") as response:
                assert (response.status, await response.text()) == (503, "waiting for Kafka\n")
            waiting_for = None
            async with http.get("/ready") as response:
                assert response.status == 200
            async with http.get("/metrics") as response:
                assert "datasource_router_failover_total 1.0" in await response.text()
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("accept", "content_type", "has_examples"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "openmetrics-text", True),
        ("text/plain;version=0.0.4", "text/plain", False),
        ("*/*", "text/plain", False),
        ("", "text/plain", False),
    ],
)
async def test_whoever_reads_openmetrics_gets_examples(
    accept: str, content_type: str, *, has_examples: bool
) -> None:
    """A histogram names a trace to whoever asks for a format that has a place for it."""
    meters = Meters("hub")
    meters.observe("alpaca_message_latency_seconds", 0.2, 255, source="alpaca")
    meters.observe_all("alpaca_message_latency_seconds", [0.2, 0.3], source="alpaca")
    server = StatusServer(meters, exposure=Exposure(), ready=lambda: None)
    port = await server.start()
    try:
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept}) as answer,
        ):
            text = await answer.text()
            assert content_type in answer.headers["Content-Type"]
    finally:
        await server.stop()
    assert f'# {{trace_id="{255:032x}"}} 0.2' in text or not has_examples
    assert ("trace_id" in text) is has_examples
    assert 'alpaca_message_latency_seconds_count{source="alpaca"} 3.0' in text
