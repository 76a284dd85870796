"""The linter finds what does not exist, and passes what does; and the rules pass it."""

import re
from pathlib import Path
from typing import Any

import pytest

from infra.prometheus.alerts import ALERTS, LADDER
from infra.prometheus.config import JOBS
from infra.prometheus.rules import files
from infra.slo.levels import LEVELS
from tests.contracts.promql import Linter, lint_rules

ALERT_LABELS = {"severity", "component", "family", "service", "alert_id"}
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url"}


def _alerts() -> list[dict[str, Any]]:
    return [
        rule
        for content in files().values()
        for group in content["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]


@pytest.mark.parametrize(
    ("expr", "finding"),
    [
        ("nothing", "unknown metric nothing"),
        (
            'alpaca_connection_status{state="Conected"}',
            "alpaca_connection_status: state is never 'Conected'",
        ),
        ('alpaca_errors_total{type!="pars"}', "alpaca_errors_total: type is never 'pars'"),
        ('alpaca_errors_total{type=~"parse|pars"}', "alpaca_errors_total: type is never 'pars'"),
        ('alpaca_errors_total{kind="parse"}', "alpaca_errors_total has no label kind"),
        ("sum by (kind) (alpaca_errors_total)", "by (kind): there is no such label"),
        ("sum(sum by (type) (alpaca_errors_total)) by (job)", "by (job): there is no such label"),
        ("alpaca_errors_total / on (kind) up", "on (kind): there is no such label"),
        (
            "alpaca_errors_total and up",
            "and: one side has ['instance', 'job', 'type'], the other ['instance', 'job']",
        ),
        ('up{job="alpaca-gate"}', "up: job is never 'alpaca-gate'"),
        # what was wrong in rules that promtool passed: a histogram is no series
        (
            "avg(datasource_router_recovery_time_seconds)",
            "unknown metric datasource_router_recovery_time_seconds",
        ),
        (
            'alpaca_message_latency_seconds_bucket{le="4"}',
            "alpaca_message_latency_seconds_bucket: le is never '4'",
        ),
        (
            "histogram_quantile(0.9, sum(rate(alpaca_message_latency_seconds_bucket[5m])))",
            "histogram_quantile (le): there is no such label",
        ),
        (
            'label_replace(up, "to", "$1", "from", "(.+)")',
            "label_replace: there is no label from",
        ),
    ],
)
def test_what_does_not_exist_is_found(expr: str, finding: str) -> None:
    """Metrics, labels and their values, wherever they stand."""
    linter = Linter()
    linter.lint(expr)
    assert linter.findings == [finding]


@pytest.mark.parametrize(
    ("expr", "labels"),
    [
        ("time() - max by (sink) (pipeline_sink_last_success_timestamp_seconds)", {"sink"}),
        ("sum without (job) (alpaca_errors_total)", {"instance", "type"}),
        ('label_replace(sum by (stage) (up) or vector(1), "a", "b", "", "")', {"a"}),
        ('absent(up{job="alpaca-gateway"})', {"job"}),
        ("quantile_over_time(0.9, alpaca_tier_info[1h:5m])", {"job", "instance", "tier"}),
        (
            'histogram_quantile(0.9, alpaca_message_latency_seconds_bucket{le=~"2(\\\\.0)?"})',
            {"job", "instance", "source"},
        ),
    ],
)
def test_labels_are_followed_through(expr: str, labels: set[str]) -> None:
    """What an expression's series are told apart by, whatever was done to them."""
    linter = Linter()
    found = linter.lint(expr)
    assert set(found) == labels


def test_every_rule_speaks_of_what_exists() -> None:
    """Each metric, label and value in a rule or an annotation is declared, or recorded."""
    assert lint_rules(files()) == []


def test_an_annotation_names_what_its_alert_has() -> None:
    """A label that is not there would be an empty word at three in the morning."""
    rule = {"alert": "A", "expr": "max(up)", "annotations": {"summary": "{{ $labels.job }}"}}
    content = {"groups": [{"name": "g", "rules": [rule]}]}
    assert lint_rules({"f": content}) == ["f: A: an annotation names job, which it has not"]


def test_a_recorded_series_has_the_labels_of_its_rule() -> None:
    """In whichever order the rules stand."""
    reads = {"record": "b", "expr": 'max by (own, type) (a{own="1"})'}
    makes = {
        "record": "a",
        "expr": "sum by (type) (alpaca_errors_total)",
        "labels": {"own": "1"},
    }
    content = {"groups": [{"name": "g", "rules": [reads, makes]}]}
    assert lint_rules({"f": content}) == []


@pytest.mark.parametrize("rule", _alerts(), ids=lambda rule: rule["labels"]["alert_id"])
def test_every_alert_says_what_it_must(rule: dict[str, Any]) -> None:
    """By these labels it is routed and muted, and these words are sent."""
    wanted = ALERT_LABELS | ({"slo"} if rule["labels"]["service"] == "slo" else set())
    assert set(rule["labels"]) | {"slo"} == wanted | {"slo"}
    assert set(rule["annotations"]) == ANNOTATIONS
    assert all(rule["annotations"].values())


def test_every_alert_has_its_heading() -> None:
    """Its link leads to words about it."""
    root = Path(__file__).parent.parent.parent
    for rule in _alerts():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        headings = re.findall(r"^#+ (\w+)$", (root / page).read_text("utf-8"), re.MULTILINE)
        assert anchor in {heading.lower() for heading in headings}, rule["alert"]


def test_ids_are_used_once() -> None:
    """An alert is spoken of by its id."""
    ids = [rule["labels"]["alert_id"] for rule in _alerts()]
    assert len(ids) == len(set(ids))
    assert {alert.severity for alert in ALERTS} == {*LADDER, "info", "none"}


def test_the_absence_of_every_job_is_noticed() -> None:
    """A job that is scraped and not looked for could vanish unseen."""
    (absent,) = (alert for alert in ALERTS if alert.name == "AlpacaTargetAbsent")
    for job in JOBS:
        assert (f'"{job}"' in absent.expr) == job.startswith("alpaca-")


def test_the_hub_has_its_levels() -> None:
    """That every metric which a rule may name is fed as well, the catalogue's test sees to."""
    levels = {level.name for level in LEVELS if level.component == "hub"}
    assert levels == {"end-to-end-latency", "websocket-to-signalr-latency"}
