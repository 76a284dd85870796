"""Prometheus and Alertmanager accept what they are given, and scrape what there is."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from infra.alertmanager.config import PRODUCTION, TEMPLATES, Channels
from infra.alertmanager.config import render as alertmanager
from infra.prometheus.config import JOBS, NOT_OURS, Access, render
from infra.prometheus.config import PRODUCTION as DEPLOYED
from infra.stack.plan import StackSettings, plan
from infra.stack.toolchain import Monitoring, Toolchain


def test_every_stage_is_scraped_under_its_job(tmp_path: Path) -> None:
    """The configuration of the whole stack has each process that has metrics, once."""
    anywhere = Monitoring(
        prometheus=tmp_path, promtool=tmp_path, alertmanager=tmp_path, amtool=tmp_path
    )
    settings = StackSettings(
        data=tmp_path, python="python", toolchain=Toolchain(monitoring=anywhere)
    )
    layout = plan(settings)
    text = layout.files[tmp_path / "prometheus.yml"]
    scraped = re.findall(r"targets: \['([^']+)'\]\n +labels: \{instance: (.+)\}", text)
    with_metrics = {
        process.name: process.metrics for process in layout.processes if process.metrics
    }
    assert {name: f"http://{address}/metrics" for address, name in scraped} == {
        **with_metrics,
        "prometheus": "http://127.0.0.1:19090/metrics",
        "alertmanager": "http://127.0.0.1:19095/metrics",
    }


def test_what_does_not_run_here_is_not_scraped() -> None:
    """A job without addresses is left out, and nothing is sent to an Alertmanager that is not."""
    text = render({"validate": "127.0.0.1:1"})
    assert re.findall(r"job_name: (\S+)", text) == ["alpaca-router"]
    assert "alerting" not in text


@pytest.mark.service
@pytest.mark.parametrize(
    "names", [set(), {"alpaca"}, {name for job in JOBS.values() for name in job}]
)
def test_promtool_accepts_it(monitoring: Monitoring, tmp_path: Path, names: set[str]) -> None:
    """Whatever runs, the configuration is valid."""
    path = tmp_path / "prometheus.yml"
    path.write_text(render({name: f"127.0.0.1:{9000 + n}" for n, name in enumerate(sorted(names))}))
    checked = subprocess.run(
        [monitoring.promtool, "check", "config", path], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.service
@pytest.mark.parametrize("shown", ["token", "password"])
def test_promtool_accepts_a_deployments(monitoring: Monitoring, tmp_path: Path, shown: str) -> None:
    """Every stage by HTTPS with what it asks for; a file that is not there is named."""
    secret, root = tmp_path / "secret", tmp_path / "root"
    secret.write_text("s")
    root.write_text("")
    access = {
        "token": Access(authority=root, token=secret),
        "password": Access(authority=root, user="prometheus", password=secret),
    }[shown]
    path = tmp_path / "prometheus.yml"
    text = render(DEPLOYED, access=access)
    path.write_text(text)
    ours = [job for job in JOBS if job not in NOT_OURS]
    assert text.count("scheme: https") == text.count(f"_file: '{secret}'") == len(ours)
    command: list[str | Path] = [monitoring.promtool, "check", "config", path]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    secret.unlink()
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode != 0) == (shown == "token")  # of passwords promtool looks up none


@pytest.mark.service
@pytest.mark.parametrize("channels", [PRODUCTION, Channels(secrets=Path("/nowhere"))])
def test_amtool_accepts_alertmanagers(
    monitoring: Monitoring, tmp_path: Path, channels: Channels
) -> None:
    """The routing of alerts is valid, with every channel and with none."""
    path = tmp_path / "alertmanager.yml"
    path.write_text(json.dumps(alertmanager(replace(channels, templates=TEMPLATES))))
    checked = subprocess.run(
        [monitoring.amtool, "check-config", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
