"""A real Prometheus reads a process's metrics over HTTPS, if it has what is asked for."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
import yaml

from infra.exposure import exposure
from infra.prometheus.config import Access, render
from infra.settings import StageSettings
from infra.stack.toolchain import Monitoring
from infra.telemetry import Meters, StatusServer
from tests.infra.prometheus.running import prometheus


async def _scraped(url: str, targets: int) -> dict[str, tuple[str, str]]:
    """Return each job's health and last error, once all of them have been tried."""
    async with asyncio.timeout(60), aiohttp.ClientSession(trust_env=False) as http:
        while True:
            async with http.get(url) as answer:
                found = (await answer.json())["data"]["activeTargets"]
            told = {
                target["labels"]["job"]: (target["health"], target["lastError"])
                for target in found
                if target["health"] != "unknown"
            }
            if len(told) == targets:
                return told
            await asyncio.sleep(0.05)


@pytest.mark.service
async def test_prometheus_reads_with_the_right_credentials(
    monitoring: Monitoring, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    """By token or password it is up; without, with a wrong one, or trusting nobody it is not."""
    authority = trustme.CA()
    ours = authority.issue_cert("127.0.0.1")
    root, certificate, key = (tmp_path / name for name in ("root", "certificate", "key"))
    authority.cert_pem.write_to_path(root)
    ours.cert_chain_pems[0].write_to_path(certificate)
    ours.private_key_pem.write_to_path(key)
    settings = {
        "metrics_token": "t",
        "metrics_user": "u",
        "metrics_password": "p",
        "metrics_tls_certificate_file": certificate,
        "metrics_tls_key_file": key,
    }
    where = exposure(StageSettings.model_validate(settings))
    server = StatusServer(Meters("router"), exposure=where, ready=lambda: None)
    trust: dict[str, Any] = {"scheme": "https", "tls_config": {"ca_file": str(root)}}
    jobs: dict[str, dict[str, Any]] = {
        "token": {**trust, "authorization": {"credentials": "t"}},
        "password": {**trust, "basic_auth": {"username": "u", "password": "p"}},
        "nothing": trust,
        "wrong token": {**trust, "authorization": {"credentials": "p"}},
        "wrong password": {**trust, "basic_auth": {"username": "u", "password": "t"}},
        "no trust": {"scheme": "https", "authorization": {"credentials": "t"}},
    }
    secrets = {name: tmp_path / f"secret-{name}" for name in "tp"}
    for name, path in secrets.items():
        path.write_text(name + "\n")  # as editors end a line
    by_files = {
        "a deployment's token": Access(authority=root, token=secrets["t"]),
        "a deployment's password": Access(authority=root, user="u", password=secrets["p"]),
        "a deployment's wrong token": Access(authority=root, token=secrets["p"]),
    }
    for name, access in by_files.items():
        (job,) = yaml.safe_load(render({"route": "there"}, access=access))["scrape_configs"]
        jobs[name] = {key: job[key] for key in job.keys() - {"job_name", "static_configs"}}
    targets = [{"targets": [f"127.0.0.1:{await server.start()}"]}]
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {"job_name": name, "static_configs": targets, **how} for name, how in jobs.items()
        ],
    }
    try:
        async with prometheus(monitoring, tmp_path, free_port(), config) as url:
            told = await _scraped(f"{url}/api/v1/targets", len(jobs))
    finally:
        await server.stop()
    assert told["token"] == told["password"] == ("up", "")
    assert told["a deployment's token"] == told["a deployment's password"] == ("up", "")
    refused = ("down", "server returned HTTP status 401 Unauthorized")
    assert told["nothing"] == told["wrong token"] == told["wrong password"] == refused
    assert told["a deployment's wrong token"] == refused
    health, error = told["no trust"]
    assert health == "down"
    assert "certificate" in error
