"""The dashboards show what they must, ask what exists, and say what it means."""

import json
import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from infra.grafana import render
from infra.grafana.board import Board, Panel, Prom, Sql, bound, falling, objective, rising
from infra.grafana.render import BOARDS
from infra.grafana.roles import FOLDERS
from infra.prometheus import rules
from infra.prometheus.alerts import ALERTS
from infra.prometheus.config import JOBS
from infra.slo.levels import LEVELS
from tests.contracts.monitoring import DASHBOARDS, ROOT
from tests.contracts.promql import lint_rules

PANELS = [
    pytest.param(board, p, id=f"{board.name}: {p.title}") for board in BOARDS for p in board.panels
]
PROVISIONING = ROOT / "infra" / "grafana" / "provisioning"
#: What each dashboard is for, and by what it is seen.
WANTED = {
    "operations": {
        "Alpaca connection",
        "Alpaca authentication",
        "Alpaca uptime, 7 days",
        "Router state",
        "Router state since",
        "Active symbols",
        "Message rate",
        "Message rate, trend",
        "Connected clients",
        "Time since last failover",
        "Failovers, 24 hours",
        "Message rate by type",
        "Active symbols, latest",
        "Alerts that fire",
    },
    "performance": {
        "P50 end to end",
        "P95 end to end",
        "P99 end to end",
        "Error rate",
        "Latency distribution",
        "Breakdown by stage, P95",
        "Throughput by stage",
        "CPU",
        "Memory",
        "Threads",
        "Consumer lag",
    },
    "reliability": {
        "Availability, 30 days",
        "Error budget left",
        "Failovers, 24 hours",
        "Mean time to recovery",
        "Service levels met",
        "Availability trend",
        "Failover timeline",
        "Errors by type",
        "Circuit breaker by symbol",
    },
    "business": {
        "Alpaca and Yahoo, share of prices",
        "Real-time and delayed users",
        "Symbols used, of the plan",
        "Peak hour",
        "Most active symbols",
        "Usage by hour",
        "Plan and cost",
    },
}
#: Units that Grafana knows, of those that are in use.
UNITS = {
    "none",
    "short",
    "s",
    "m",
    "bytes",
    "cores",
    "cps",
    "percent",
    "percentunit",
    "currencyUSD",
    "dateTimeAsIso",
}


def findings(asked: dict[str, str]) -> list[str]:
    """Return what the linter has to say of expressions, by where they stand."""
    asking = [{"alert": where, "expr": expr} for where, expr in asked.items()]
    group = {"groups": [{"name": "dashboards", "rules": asking}]}
    return lint_rules({**rules.files(), "dashboards": group})


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_panel_that_is_wanted_is_there(board: Board) -> None:
    """None is lost, and no title is given twice."""
    titles = Counter(panel.title for panel in board.panels)
    assert WANTED[board.name] <= titles.keys()
    assert set(titles.values()) == {1}


def test_the_refreshes() -> None:
    """Who watches closely sees what is new at once; who looks at weeks does not ask each second."""
    assert {board.name: board.refresh for board in BOARDS} == {
        "operations": "5s",
        "performance": "30s",
        "reliability": "1m",
        "business": "5m",
    }


def test_every_promql_speaks_of_what_exists() -> None:
    """Each metric, label and label's value, in panels and annotations, is in the catalogue."""
    asked = {
        f"{board.name}, {panel.title}, {n}": ask.expr
        for board in BOARDS
        for panel in board.panels
        for n, ask in enumerate(panel.asks)
        if isinstance(ask, Prom)
    }
    asked |= {
        f"{board.name}, {each['name']}": each["expr"]
        for board in BOARDS
        for each in render.model(board)["annotations"]["list"]
    }
    assert findings(asked) == []


@pytest.mark.parametrize(
    ("expr", "finding"),
    [
        ("alpaca_latency_ms", "unknown metric alpaca_latency_ms"),
        ('max(alpaca_connection_status{state="Up"})', "state is never 'Up'"),
        ("sum by (symbol) (alpaca_subscribed_symbols)", "there is no such label"),
    ],
)
def test_a_wrong_expression_is_found(expr: str, finding: str) -> None:
    """The linter is asked, and can say no."""
    (found,) = findings({"wrong": expr})
    assert finding in found


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_legend_names_labels_that_are_there(board: Board, panel: Panel) -> None:
    """What stands in a legend's braces is what the expression groups by."""
    for ask in panel.asks:
        for label in re.findall(r"{{(\w+)}}", ask.legend if isinstance(ask, Prom) else ""):
            assert isinstance(ask, Prom)
            assert ask.expr.startswith("signalr_total_connections") or re.search(
                rf"by \([^)]*\b{label}\b", ask.expr
            ), (board.name, ask.expr)


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_every_panel_says_what_it_means(board: Board, panel: Panel) -> None:
    """A sentence, a unit that Grafana knows, a question, and colours that rise from anything."""
    assert panel.description.endswith("."), board.name
    assert {panel.unit, *panel.units.values()} <= UNITS
    assert panel.asks
    values = [value for value, _ in panel.steps]
    assert values[0] is None
    bounds = [value for value in values if value is not None]
    assert bounds == sorted(set(bounds))
    assert 0 < panel.width <= 24
    assert bool(panel.x) == (panel.kind == "barchart")


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_alert_that_a_panel_explains_leads_to_its_runbook(board: Board) -> None:
    """To the heading that says what to do."""
    for panel, shown in zip(board.panels, render.model(board)["panels"], strict=True):
        links = shown.get("links", [])
        assert [link["title"].partition(":")[0] for link in links] == list(panel.alerts)
        for link, alert in zip(links, panel.alerts, strict=True):
            page, _, heading = link["url"].removeprefix("${docs:raw}").partition("#")
            assert heading == alert.lower()
            assert f"\n## {alert}\n" in (ROOT / "docs" / page).read_text("utf-8")


def explored(url: str) -> dict[str, Any]:
    """Return what is asked at the end of a link, of which time."""
    (panes,) = parse_qs(urlsplit(url).query)["panes"]
    (pane,) = json.loads(panes).values()
    assert pane["range"] == {"from": "${__from}", "to": "${__to}"}
    assert "${__from}" in url
    (query,) = pane["queries"]
    assert pane["datasource"] == query["datasource"]["uid"]
    return dict(query)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_data_lead_to_their_logs_and_traces(board: Board) -> None:
    """Of the services behind them, and of the same time; so does the dashboard as a whole."""
    known = {(each["type"], each["uid"]) for each in datasources()}
    stages = {name for names in JOBS.values() for name in names}
    model = render.model(board)
    ways = [link for link in model["links"] if link["title"] in {"Logs", "Traces"}]
    assert len(ways) == 2
    for panel, shown in zip(board.panels, model["panels"], strict=True):
        links = shown["fieldConfig"]["defaults"].get("links", [])
        assert [link["title"] for link in links] == (["Logs", "Traces"] if panel.services else [])
        assert set(panel.services) <= stages
        if links:
            logs, traces = (explored(link["url"]) for link in links)
            assert logs["expr"] == f'{{service_name=~"{"|".join(panel.services)}"}} | json'
            assert traces["service"] == panel.services[0]
        ways += links
    for way in ways:
        asked = explored(way["url"])["datasource"]
        assert (asked["type"], asked["uid"]) in known


def test_every_alert_has_a_dashboard_that_shows_it() -> None:
    """Where an alert sends people is a dashboard that is there."""
    assert {f"d/{board.uid}" for board in BOARDS} == {
        f"d/twinfeed-{name}" for name in ("operations", "performance", "reliability", "business")
    }
    for file in rules.files().values():
        for group in file["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    link = rule["annotations"]["dashboard_url"]
                    assert link in {f"d/{board.uid}" for board in BOARDS}, rule["alert"]


def test_a_figure_of_now_is_asked_for_now() -> None:
    """A line of a month has a value every few hours: its last is none of now.

    Those are lines that are worth their picture, and their last is seconds old.
    """
    lines = {
        (board.name, panel.title)
        for board in BOARDS
        for panel in board.panels
        for ask in panel.asks
        if panel.kind == "stat" and isinstance(ask, Prom) and not ask.instant
    }
    assert lines == {
        ("operations", "Message rate"),
        *(("performance", f"P{q} end to end") for q in (50, 95, 99)),
        ("performance", "Error rate"),
        ("performance", "Validation failures"),
    }


def test_thresholds_are_those_of_the_alerts() -> None:
    """A panel is red from where the alert fires."""
    assert bound("AlpacaExtremeLatency") == 10
    assert bound("AlpacaMemoryCritical") == 0.9
    assert bound("AlpacaFailoverDailyCritical") == 10.5
    assert objective("service-availability") == 99.5
    assert rising(5, 10) == ((None, "green"), (5, "orange"), (10, "red"))
    assert falling(5, 2) == ((None, "red"), (2, "orange"), (5, "green"))


@pytest.mark.parametrize("name", ["Nothing", "Watchdog"])
def test_a_bound_that_is_not_there_is_refused(name: str) -> None:
    """Of an unknown alert, and of one that compares with nothing."""
    with pytest.raises(ValueError, match=f"unknown bound of '{name}'"):
        bound(name)


def test_an_unknown_service_level_is_refused() -> None:
    """By its name, with those that there are."""
    with pytest.raises(ValueError, match="unknown service level 'speed': expected one of"):
        objective("speed")
    assert all(objective(level.name) == 100 * level.objective for level in LEVELS)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_what_grafana_reads(board: Board) -> None:
    """Ids and places are each panel's own; targets name data sources that are provisioned."""
    model = render.model(board)
    (file,) = (name for name in render.files() if name.endswith(f"/{board.name}.json"))
    assert (DASHBOARDS / file).read_text() == render.files()[file]
    panels = model["panels"]
    assert [panel["id"] for panel in panels] == list(range(1, len(board.panels) + 1))
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (place.get("x", 0) + dx, place.get("y", 0) + dy)
            for dx in range(place["w"])
            for dy in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
        assert panel["fieldConfig"]["defaults"]["unit"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
    asked = [*panels, *model["annotations"]["list"], *(t for p in panels for t in p["targets"])]
    known = {(each["type"], each["uid"]) for each in datasources()}
    assert {(one["datasource"]["type"], one["datasource"]["uid"]) for one in asked} <= known
    assert [v["name"] for v in model["templating"]["list"]] == ["docs"]
    assert {"Dashboards", "Alerts and what they mean", "Logs", "Traces"} == {
        link["title"] for link in model["links"]
    }


def test_a_query_of_clickhouse_is_in_the_plugins_words() -> None:
    """Which the SDK does not know: SQL as it is typed, answered as a table."""
    targets = [
        target
        for board in BOARDS
        for panel in render.model(board)["panels"]
        for target in panel["targets"]
        if "rawSql" in target
    ]
    sqls = [a.sql for b in BOARDS for p in b.panels for a in p.asks if isinstance(a, Sql)]
    assert [target["rawSql"] for target in targets] == sqls
    for target in targets:
        assert (target["editorType"], target["queryType"], target["format"]) == ("sql", "table", 1)


def provisioned(kind: str) -> dict[str, Any]:
    """Return a file that Grafana is provisioned with."""
    read: dict[str, Any] = yaml.safe_load((PROVISIONING / kind / "twinfeed.yml").read_text())
    return read


def datasources() -> list[dict[str, Any]]:
    """Return the data sources."""
    found: list[dict[str, Any]] = provisioned("datasources")["datasources"]
    return found


def test_the_provisioning_files() -> None:
    """Four data sources, no secret in their file; two folders, whose dashboards nobody edits."""
    assert provisioned("datasources")["apiVersion"] == 1
    assert [each["type"] for each in datasources()] == [
        "prometheus",
        "grafana-clickhouse-datasource",
        "loki",
        "jaeger",
    ]
    assert [each["type"] for each in datasources() if each.get("isDefault")] == ["prometheus"]
    for each in datasources():
        for secret in each.get("secureJsonData", {}).values():
            assert re.fullmatch(r"\$\{\w+\}", secret)
    providers = provisioned("dashboards")["providers"]
    assert [provider["folderUid"] for provider in providers] == [each.uid for each in FOLDERS]
    for provider, folder in zip(providers, FOLDERS, strict=True):
        assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)
        assert provider["options"]["path"] == f"${{TWINFEED_DASHBOARDS}}/{folder.uid}"
        files = {path.stem for path in (DASHBOARDS / folder.uid).glob("*.json")}
        assert files == set(folder.boards)
    assert {path.parent.name for path in DASHBOARDS.rglob("*.json")} == {f.uid for f in FOLDERS}


def test_what_the_provisioning_needs_is_written_down() -> None:
    """Every variable in the files is in the document that says how to start a Grafana."""
    page = (ROOT / "docs" / "dashboards.md").read_text()
    texts = [path.read_text() for path in PROVISIONING.glob("*/*.yml")]
    names = {name for text in texts for name in re.findall(r"(?<!\$)\$\{?([A-Z_]+)\}?", text)}
    assert names
    assert {name for name in names if f"`{name}`" not in page} == set()
    assert {alert.dashboard for alert in ALERTS} <= {board.name for board in BOARDS}
