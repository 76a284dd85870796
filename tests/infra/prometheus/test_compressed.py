"""Times divided by one factor, and by nothing else, are still what Prometheus reads."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from infra.alertmanager.config import Channels
from infra.alertmanager.config import render as alertmanager
from infra.prometheus import compressed
from infra.prometheus.config import JOBS, render
from infra.prometheus.rules import files
from infra.stack.toolchain import Monitoring

NAMES = [name for stages in JOBS.values() for name in stages]
CONFIG = render({name: f"127.0.0.1:{9000 + n}" for n, name in enumerate(NAMES)})


@pytest.mark.parametrize(
    ("expr", "divided"),
    [
        ("rate(a[2m])", "rate(a[4000ms])"),
        ("count_over_time(a[1h:15s])", "count_over_time(a[120000ms:500ms])"),
        ("last_over_time(up[30d]) > 300", "last_over_time(up[86400000ms]) > 300"),
        ('a{le=~"2(\\\\.0)?"} == 1', 'a{le=~"2(\\\\.0)?"} == 1'),
    ],
)
def test_windows_are_divided_and_thresholds_are_not(expr: str, divided: str) -> None:
    """With the steps in them."""
    assert compressed.expression(expr, 30) == divided


def test_every_time_of_the_rules_is_divided() -> None:
    """All `for`, all that is kept up, all windows; names and labels stay."""
    before = [r for c in files().values() for g in c["groups"] for r in g["rules"]]
    done = compressed.rules(files(), 30)
    after = [r for c in done.values() for g in c["groups"] for r in g["rules"]]
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert {**old, "expr": 0, "for": 0, "keep_firing_for": 0} == {
            **new,
            "expr": 0,
            "for": 0,
            "keep_firing_for": 0,
        }
        assert not re.search(r"\[\d+[smhd][\]:]", new["expr"])
        assert ("for" in old) == ("for" in new)
    (both,) = [r for r in after if r.get("alert") == "AlpacaBothSourcesUnavailable"]
    assert (both["for"], both["keep_firing_for"]) == ("2000ms", "4000ms")


def test_a_second_is_the_shortest_between_scrapes() -> None:
    """However large the factor; by one, all stays."""
    assert [compressed.scrape_seconds(f) for f in (1, 2, 30)] == [5, 2.5, 1]


def test_routes_wait_less() -> None:
    """At every depth, and a millisecond at least."""
    text = json.dumps(alertmanager(Channels(secrets=Path("/s"))))
    route = json.loads(compressed.alertmanager(text, 30))["route"]
    assert route["group_wait"] == "1000ms"
    assert route["routes"][0]["group_wait"] == "1ms"
    assert route["routes"][0]["group_interval"] == "333ms"


def test_a_jobs_targets_can_stand_in_a_file() -> None:
    """Its alone, and all of them; of a job that is not there, none."""
    apart = compressed.Apart("alpaca-router", Path("/t/targets.yml"))
    text = compressed.prometheus(CONFIG, factor=1, rules_in="/r", apart=apart)
    jobs = {job["job_name"]: job for job in yaml.safe_load(text)["scrape_configs"]}
    assert list(jobs) == list(JOBS)
    (job,) = [job for job in jobs.values() if "static_configs" not in job]
    files = [{"files": ["/t/targets.yml"]}]
    assert job == {"job_name": "alpaca-router", "file_sd_configs": files}
    before = {job["job_name"]: job for job in yaml.safe_load(CONFIG)["scrape_configs"]}
    moved = yaml.safe_load(compressed.targets(CONFIG, "alpaca-router"))
    assert moved == before["alpaca-router"]["static_configs"]
    assert yaml.safe_load(compressed.targets(CONFIG, "nobody")) == []
    assert "scrape_interval: 5000ms" in text
    assert "  - '/r/*.yml'" in text


@pytest.mark.service
@pytest.mark.parametrize("apart", [None, "alpaca-hub"])
@pytest.mark.parametrize("factor", [1, 30, 60])
def test_promtool_accepts_it(
    monitoring: Monitoring, tmp_path: Path, factor: float, apart: str | None
) -> None:
    """The rules and the configuration that names them, and a file of targets."""
    for name, content in compressed.rules(files(), factor).items():
        (tmp_path / name).write_text(json.dumps(content))
    config = tmp_path / "prometheus.yaml"
    aside = compressed.Apart(apart, tmp_path / "targets.json") if apart else None
    if aside:
        aside.file.write_text(json.dumps(yaml.safe_load(compressed.targets(CONFIG, aside.job))))
    text = compressed.prometheus(CONFIG, factor=factor, rules_in=str(tmp_path), apart=aside)
    config.write_text(text)
    checked = subprocess.run(
        [monitoring.promtool, "check", "config", config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(files())} rule files found" in checked.stdout
