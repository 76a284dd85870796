"""What a panel asks, and what it makes of the answer: by tables."""

from typing import Any

import pytest

from infra.grafana import ask
from infra.grafana.ask import Series, Table, Window

#: 12:34:56 UTC.
NOON = 1_764_074_096


@pytest.mark.parametrize(
    ("since", "seconds", "step"),
    [
        ("now-15m", 900, 5),
        ("now-3h", 10800, 15),
        ("now-24h", 86400, 120),
        ("now-30d", 2592000, 3600),
    ],
)
def test_a_time_is_cut_into_round_steps(since: str, seconds: int, step: int) -> None:
    """At most eight hundred of them."""
    window = Window.of(since, NOON + 0.7)
    assert (window.since, window.until, window.step) == (NOON - seconds, NOON, step)


@pytest.mark.parametrize("since", ["", "1h", "now", "now-0h", "now-1w", "now-1h ", "now-12345d"])
def test_another_time_is_refused(since: str) -> None:
    """With what is expected."""
    with pytest.raises(ValueError, match="expected now-1h, now-30d or the like"):
        Window.of(since, NOON)


def test_prometheus_is_asked_at_multiples_of_the_step() -> None:
    """Or for now, where a target wants an instant."""
    window = Window.of("now-1h", NOON)
    path, asked = ask.prometheus({"expr": "up"}, window)
    assert path == "/api/v1/query_range"
    ends = int(asked["start"]), int(asked["end"])
    assert all(end % 5 == 0 for end in ends)
    assert 0 <= NOON - ends[1] < 5
    assert ask.prometheus({"expr": "up", "instant": True}, window) == (
        "/api/v1/query",
        {"query": "up", "time": str(NOON)},
    )


def test_the_macros_bring_in_the_time() -> None:
    """As the plugin has them; another is refused."""
    window = Window.of("now-1h", NOON)
    sql = "$__timeFilter(at) AND day BETWEEN toDate($__fromTime) AND toDate($__toTime)"
    asked = ask.clickhouse({"rawSql": sql}, window)
    assert asked == (
        f"at >= toDateTime({NOON - 3600}) AND at <= toDateTime({NOON})"
        f" AND day BETWEEN toDate(toDateTime({NOON - 3600})) AND toDate(toDateTime({NOON}))"
    )
    with pytest.raises(ValueError, match="unknown macro"):
        ask.clickhouse({"rawSql": "SELECT $__interval"}, window)


def prometheus(*series: tuple[dict[str, str], Any]) -> dict[str, Any]:
    """Return an answer of Prometheus; a list is a line, anything else an instant."""
    return {
        "data": {
            "result": [
                {"metric": labels, "values" if isinstance(found, list) else "value": found}
                for labels, found in series
            ]
        }
    }


def test_series_are_named_by_their_legend() -> None:
    """Or by their labels' values; what is no number is none."""
    one = ({"__name__": "up", "job": "a", "instance": "b"}, [[1, "2"], [2, "NaN"], [3, "+Inf"]])
    points: list[tuple[float, float | None]] = [(1, 2), (2, None), (3, None)]
    for legend, name in (("{{job}} of {{nobody}}", "a of "), ("P95", "P95"), ("__auto", "b, a")):
        found = ask.of_prometheus({"legendFormat": legend}, prometheus(one))
        assert found == [Series(name, points)]
    assert ask.of_prometheus({}, prometheus(({}, (5, "1")))) == [Series("", [(5, 1.0)])]


def test_instants_make_a_table() -> None:
    """A column a label; one that a series lacks is empty."""
    answer = prometheus(({"a": "x"}, (5, "1")), ({"b": "y"}, (5, "2")))
    table = Table(["a", "b", "Value"], [["x", "", 1.0], ["", "y", 2.0]])
    assert ask.of_prometheus({"format": "table"}, answer) == [table]
    assert ask.of_prometheus({"format": "table"}, prometheus()) == []


ANSWER = {
    "meta": [
        {"name": "time", "type": "DateTime('UTC')"},
        {"name": "n", "type": "Nullable(UInt64)"},
        {"name": "source", "type": "LowCardinality(String)"},
        {"name": "share", "type": "Float64"},
    ],
    "data": [["2026-01-05 00:00:00", "7", "yahoo", 0.5], ["2026-01-06 00:00:00", None, "", 1]],
}
DAY = 1_767_571_200


def test_clickhouse_answers_a_table_or_lines() -> None:
    """Numbers are numbers, however they are written; a column of numbers is a line, or figures."""
    table = ask.of_clickhouse(ANSWER)
    assert table.rows == [
        ["2026-01-05T00:00:00Z", 7, "yahoo", 0.5],
        ["2026-01-06T00:00:00Z", None, "", 1],
    ]
    assert ask.shown("table", table) == [table]
    assert ask.shown("timeseries", table) == [
        Series("n", [(DAY, 7), (DAY + 86400, None)]),
        Series("share", [(DAY, 0.5), (DAY + 86400, 1)]),
    ]
    assert ask.last(ask.shown("stat", table)) == [7, 1]
    assert ask.shown("barchart", Table(["a"], [])) == []


@pytest.mark.parametrize(
    ("frames", "has"),
    [
        ([], False),
        ([Series("a", [])], False),
        ([Series("a", [(1, None)]), Series("b", [(1, 0.0)])], True),
        ([Table(["a", "b"], [[None, ""]])], False),
        ([Table(["a", "b"], [[None, 0.0]])], True),
    ],
)
def test_nothing_is_no_data(frames: list[ask.Frame], *, has: bool) -> None:
    """Neither are nulls and empty cells; 0 is."""
    assert ask.has_data(frames) is has


def test_annotations_mark_moments() -> None:
    """By their value, each once, or by when a series begins."""
    by_value = {"titleFormat": "failover", "useValueForTime": True}
    answer = prometheus(({}, [[1, "5000"], [2, "5000"], [3, "9000"]]))
    assert ask.moments(by_value, answer) == [(5, "failover"), (9, "failover")]
    alert = {"titleFormat": "{{alertname}}"}
    assert ask.moments(alert, prometheus(({"alertname": "A"}, [[3, "1"], [4, "1"]]))) == [(3, "A")]
