"""What every panel shows of the story: something, and where the story fixes it, just that."""

import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from infra.cgroup import memory_limit
from infra.grafana import render
from infra.grafana.ask import Frame, Series, Table, Window, has_data, last
from infra.grafana.sources import Sources
from infra.prometheus.alerts import ALERTS
from infra.slo.levels import LEVELS
from tests.journeys import story
from tests.journeys.running import Stack

Shown = Mapping[str, list[Frame]]
#: What is chosen to look at: the hour.
SINCE = "now-1h"
LIMIT = "Memory, share of its limit"


def of(stack: Stack, http: aiohttp.ClientSession) -> Sources:
    """Return what answers the panels of a stack."""
    return Sources(
        http=http,
        prometheus=f"http://127.0.0.1:{stack.port('prometheus')}",
        clickhouse=f"http://127.0.0.1:{stack.port('clickhouse')}",
    )


async def shown(stack: Stack) -> dict[str, Shown]:
    """Return what each panel shows now, by its board and title."""
    async with aiohttp.ClientSession() as http:
        sources = of(stack, http)
        window = Window.of(SINCE, time.time())
        return {
            board.name: {
                panel["title"]: await sources.frames(panel, window)
                for panel in render.model(board)["panels"]
            }
            for board in render.BOARDS
        }


def empty(boards: Mapping[str, Shown]) -> list[str]:
    """Return the panels that show nothing; one may, where this machine limits no memory."""
    unlimited = memory_limit() is None
    return [
        f"{board}: {title}"
        for board, panels in boards.items()
        for title, frames in panels.items()
        if not has_data(frames) and not (unlimited and title == LIMIT)
    ]


def named(frames: list[Frame]) -> dict[str, float]:
    """Return the latest value of each series."""
    return {f.name: last([f])[0] for f in frames if isinstance(f, Series) and last([f])}


def rows(frames: list[Frame]) -> list[dict[str, Any]]:
    """Return the rows of a table."""
    (table,) = frames
    assert isinstance(table, Table)
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def told_right(boards: Mapping[str, Shown]) -> None:
    """Compare what is shown with what was done; every figure is the story's."""
    _operations(boards["operations"])
    _performance(boards["performance"])
    _reliability(boards["reliability"])
    _business(boards["business"])


def _operations(panels: Shown) -> None:
    assert last(panels["Alpaca connection"]) == [3]
    assert last(panels["Alpaca authentication"]) == [1]
    assert last(panels["Router state"]) == [0]
    assert last(panels["Failovers, 24 hours"]) == [len(story.REASONS)]
    by_hub = {hub: sum(there == hub for there, _ in story.CLIENTS) for hub, _ in story.CLIENTS}
    assert named(panels["Connected clients"]) == by_hub
    assert named(panels["Active symbols"]) == {"subscribed": 30, "limit": 30}
    assert last(panels["Message rate"])[0] > 2 * story.BEFORE_RATE
    assert last(panels["Message rate, trend"])[0] > 1
    # the last failover began after the first, and within the test's time
    (since,) = last(panels["Time since last failover"])
    (in_state,) = last(panels["Router state since"])
    assert 0 < in_state < since < 600
    firing = {row["alertname"] for row in rows(panels["Alerts that fire"])}
    assert firing <= {alert.name for alert in ALERTS} | {level.alert for level in LEVELS}
    assert "Watchdog" not in firing
    active = {row["symbol"]: row for row in rows(panels["Active symbols, latest"])}
    assert len(active) == 30
    assert {row["source"] for row in active.values()} <= {"alpaca", "yahoo"}
    assert named(panels["Message rate by type"])["trade"] > 0


def _performance(panels: Shown) -> None:
    p50, p95, p99 = (last(panels[f"P{q} end to end"])[0] for q in (50, 95, 99))
    assert 0 < p50 <= p95 <= p99
    failed = [
        value
        for frame in panels["Validation failures"]
        if isinstance(frame, Series)
        for _, value in frame.points
    ]
    assert max(value for value in failed if value is not None) > 0
    stages = named(panels["Breakdown by stage, P95"])
    assert len(stages) == 5
    assert any(value > 0 for value in named(panels["Latency distribution"]).values())
    assert set(named(panels["Spans"]).values()) == {0}, "there is no collector"
    processes = named(panels["Threads"])
    assert {"alpaca", "route", "hub", "clickhouse"} <= processes.keys()
    assert all(value >= 1 for value in processes.values())
    assert named(panels["Memory"]).keys() == processes.keys()
    assert {"validate", "forward", "clickhouse"} <= named(panels["Throughput by stage"]).keys()


def _reliability(panels: Shown) -> None:
    assert last(panels["Failovers, 24 hours"]) == [len(story.REASONS)]
    (available,) = last(panels["Availability, 30 days"])
    (budget,) = last(panels["Error budget left"])
    # of a month, of which seconds were lost
    assert 99 < available <= 100
    assert 0.5 < budget <= 1
    (recovery,) = last(panels["Mean time to recovery"])
    assert 0 <= recovery < 10
    failovers = rows(panels["Failover timeline"])
    assert [row["trigger"] for row in reversed(failovers)] == story.REASONS
    latest, first = failovers
    assert first["without_prices"] == 0 < latest["without_prices"] <= latest["duration"]
    assert (first["decided_by"], latest["decided_by"]) == ("twinfeed drill", "router")
    assert latest["delayed_prices"] > 0
    opened = {row["symbol"]: row["opened"] for row in rows(panels["Circuit breaker by symbol"])}
    assert opened.keys() == {story.BROKEN}
    assert named(panels["Errors by type"])["authentication"] > 0
    assert named(panels["Reconnections by reason"])["auth"] > 0
    assert last(panels["Sources agree"])[0] < 1
    assert named(panels["Error budgets"])["service-availability"] == budget


def _business(panels: Shown) -> None:
    (share,) = last(panels["Alpaca's share"])
    assert 0 < share < 100
    assert last(panels["Symbols used, of the plan"]) == [100]
    assert last(panels["Cost of the plan"]) == [0]
    users = {user or "" for _, user in story.CLIENTS}
    today = named(panels["Users, latest day"])
    assert today == {"users": len(users), "connections": story.CONNECTIONS}
    minutes = named(panels["Real-time and delayed users"])
    assert minutes["real_time"] > 0
    assert minutes["delayed"] > 0
    by_hour = rows(panels["Usage by hour"])
    assert sum(row["connections"] for row in by_hour) == story.CONNECTIONS
    messages = rows(panels["Messages by hour"])
    assert all(0 <= int(row["hour"]) < 24 for row in messages)
    busiest = {row["symbol"]: row for row in rows(panels["Most active symbols"])}
    assert busiest
    subscribed = [row["subscribers"] for row in busiest.values()]
    assert max(subscribed) in (len(story.CLIENTS), story.CONNECTIONS)
    plans = {row["source"]: row for row in rows(panels["Plan and cost"])}
    assert (plans["alpaca"]["symbols"], plans["alpaca"]["plan_symbols"]) == (30, 30)
