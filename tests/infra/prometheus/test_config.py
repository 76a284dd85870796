"""Prometheus and Alertmanager accept what they are given, and scrape what there is."""

import re
import subprocess
from pathlib import Path

import pytest

from infra.prometheus.config import JOBS, render
from infra.stack.plan import ALERTMANAGER_CONFIG, StackSettings, plan
from infra.stack.refusal import Refusal
from infra.stack.toolchain import Monitoring, Toolchain, find_monitoring, tools_directory


@pytest.fixture(scope="module")
def monitoring() -> Monitoring:
    """The monitoring programs; skips where they cannot be had."""
    try:
        return find_monitoring(tools_directory(), lambda _: None)
    except Refusal as refusal:
        pytest.skip(str(refusal))


def test_every_stage_is_scraped_under_its_job(tmp_path: Path) -> None:
    """The configuration of the whole stack has each process that has metrics, once."""
    anywhere = Monitoring(
        prometheus=tmp_path, promtool=tmp_path, alertmanager=tmp_path, amtool=tmp_path
    )
    settings = StackSettings(
        data=tmp_path, python="python", toolchain=Toolchain(monitoring=anywhere)
    )
    layout = plan(settings)
    (text,) = layout.files.values()
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
def test_amtool_accepts_alertmanagers(monitoring: Monitoring) -> None:
    """The routing of alerts is valid."""
    checked = subprocess.run(
        [monitoring.amtool, "check-config", ALERTMANAGER_CONFIG],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
