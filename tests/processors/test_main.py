"""The processors as processes: every mistake gets its sentence and its exit code."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

from infra.kafka.broker import Broker

pytestmark = pytest.mark.service


async def _run(*arguments: str, env: Mapping[str, str]) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "processors", *arguments),
        env={**os.environ, **env},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=PIPE,
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("arguments", "env", "code", "sentence"),
    [
        ((), {}, 64, "which stage? expected one of validate, route, forward: none"),
        (("judge",), {}, 64, "which stage? expected one of validate, route, forward: judge"),
        (
            ("validate",),
            {"KAFKA_BOOTSTRAP_SERVERS": "localhost"},
            78,
            "KAFKA_BOOTSTRAP_SERVERS: 'localhost' is not host:port",
        ),
        (
            ("validate",),
            {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            69,
            "KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at 127.0.0.1:1",
        ),
        (("route",), {"METRICS_PORT": "http"}, 78, "METRICS_PORT: input should be a valid integer"),
        (
            ("forward",),
            {"SYMBOLS_FILE": "nowhere.txt"},
            78,
            "SYMBOLS_FILE: nowhere.txt: No such file or directory",
        ),
        (("route",), {"TOPIC_PREFIX": "a b"}, 78, "TOPIC_PREFIX: string should match pattern"),
        (("route",), {"MEMBER_NAME": "a b"}, 78, "MEMBER_NAME: string should match pattern"),
        (("route",), {"LOG_LEVEL": "LOUD"}, 78, "LOG_LEVEL: string should match pattern"),
        (
            ("forward",),
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            78,
            "OTEL_EXPORTER_OTLP_ENDPOINT: expected http://host:port or https://host:port",
        ),
    ],
)
async def test_every_mistake_is_named(
    arguments: tuple[str, ...], env: Mapping[str, str], code: int, sentence: str
) -> None:
    """One sentence that begins with what to mend, and the exit code of its kind."""
    left, said = await _run(*arguments, env=env)
    assert said.splitlines()[-1].startswith(sentence)
    assert left == code


async def test_a_symbols_file_with_a_mistake_is_named(tmp_path: Path) -> None:
    """With the line that is wrong."""
    path = tmp_path / "symbols"
    path.write_text("AAPL\nmicrosoft\n")
    code, said = await _run("validate", env={"SYMBOLS_FILE": str(path)})
    assert code == 78
    assert "SYMBOLS_FILE" in said
    assert "line 2: 'microsoft' is not a symbol" in said


@pytest.mark.parametrize("stage", ["validate", "route", "forward"])
async def test_a_stage_ends_when_told_even_while_it_starts(
    kafka: Broker, topics: str, free_port: Callable[[], int], stage: str
) -> None:
    """SIGTERM is heeded within seconds, whatever the stage is just doing."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "processors", stage),
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "TOPIC_PREFIX": topics,
            "METRICS_PORT": str(port),
        },
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(30), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"http://127.0.0.1:{port}/ready") as response:
                        assert response.status == 503
                        break
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 20) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
