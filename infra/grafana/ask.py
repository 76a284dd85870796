"""What a panel of the generated JSON asks, and what the answer shows, as Grafana has it. Pure.

A question is a panel's target as it stands in the file. The chosen time is cut into steps of a
round length, and begins and ends at a multiple of them, as Grafana does it: so a long time shows
nothing of the last minutes, unless a target asks for an instant.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

#: How many values a line has at most: about as many as it is wide.
POINTS = 800
#: Between two of them, in seconds; the first is the scrape's.
STEPS = (5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400)
_SECONDS = {"m": 60, "h": 3600, "d": 86400}
_SINCE = re.compile(r"now-(\d{1,4})([mhd])")
_LABEL = re.compile(r"{{\s*(\w+)\s*}}")
_MACRO = re.compile(r"\$__(?:timeFilter\(([^)]+)\)|(fromTime|toTime)\b)")


class Series(msgspec.Struct, frozen=True):
    """Values by their seconds since the epoch; None where there is none."""

    name: str
    points: list[tuple[float, float | None]]


class Table(msgspec.Struct, frozen=True):
    """Rows."""

    columns: list[str]
    rows: list[list[Any]]


Frame = Series | Table


@dataclass(frozen=True, slots=True)
class Window:
    """The chosen time, in seconds since the epoch."""

    since: int
    until: int

    @classmethod
    def of(cls, since: str, now: float) -> "Window":
        """Return what `now-1h` means. Raises ValueError where it is something else."""
        if not (found := _SINCE.fullmatch(since)) or not int(found[1]):
            message = f"unknown time {since!r}: expected now-1h, now-30d or the like"
            raise ValueError(message)
        return cls(int(now) - int(found[1]) * _SECONDS[found[2]], int(now))

    @property
    def step(self) -> int:
        """How many seconds are between two values of a line."""
        least = (self.until - self.since) / POINTS
        return next((step for step in STEPS if step >= least), STEPS[-1])


def prometheus(target: Mapping[str, Any], window: Window) -> tuple[str, dict[str, str]]:
    """Return the path and the parameters that Prometheus is asked with."""
    if target.get("instant"):
        return "/api/v1/query", {"query": target["expr"], "time": str(window.until)}
    step = window.step
    return "/api/v1/query_range", {
        "query": target["expr"],
        "start": str(window.since // step * step),
        "end": str(window.until // step * step),
        "step": str(step),
    }


def clickhouse(target: Mapping[str, Any], window: Window) -> str:
    """Return the SQL as the plugin sends it. Raises ValueError where a macro is unknown."""

    def expand(macro: re.Match[str]) -> str:
        since, until = (f"toDateTime({moment})" for moment in (window.since, window.until))
        column, end = macro.groups()
        if end:
            return since if end == "fromTime" else until
        return f"{column} >= {since} AND {column} <= {until}"

    sql = _MACRO.sub(expand, target["rawSql"])
    if "$" in sql:
        message = f"an unknown macro in {sql!r}: expected $__timeFilter, $__fromTime or $__toTime"
        raise ValueError(message)
    return sql


def of_prometheus(target: Mapping[str, Any], answer: Mapping[str, Any]) -> list[Frame]:
    """Return what an answer of Prometheus shows."""
    found = answer["data"]["result"]
    if target.get("format") == "table":
        labels = sorted({label for series in found for label in series["metric"]})
        rows = [
            [*(s["metric"].get(label, "") for label in labels), _number(s["value"][1])]
            for s in found
        ]
        return [Table([*labels, "Value"], rows)] if rows else []
    return [
        Series(
            legend(target.get("legendFormat", ""), series["metric"]),
            [(at, _number(v)) for at, v in series.get("values") or [series["value"]]],
        )
        for series in found
    ]


def of_clickhouse(answer: Mapping[str, Any]) -> Table:
    """Return what an answer of ClickHouse in the format JSONCompact says."""
    reads = [_reader(column["type"]) for column in answer["meta"]]
    return Table(
        [column["name"] for column in answer["meta"]],
        [[read(v) for read, v in zip(reads, row, strict=True)] for row in answer["data"]],
    )


def _reader(kind: str) -> Any:
    # NULL is None, and long integers may come as text
    if re.search(r"\b(U?Int\d+|Float\d+|Decimal)", kind):
        return lambda value: None if value is None else _number(value)
    if "DateTime" in kind:
        return lambda value: None if value is None else f"{value[:19].replace(' ', 'T')}Z"
    return lambda value: value


def _number(text: str | float) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def legend(template: str, labels: Mapping[str, str]) -> str:
    """Return what a series is called."""
    if template in {"", "__auto"}:
        return ", ".join(value for name, value in sorted(labels.items()) if name != "__name__")
    return _LABEL.sub(lambda found: labels.get(found[1], ""), template)


def shown(kind: str, table: Table) -> list[Frame]:
    """Return a table as a panel of this kind shows it: as rows, or each column of numbers apart."""
    if kind in {"table", "barchart"}:
        return [table] if table.rows else []
    times = [float(n) for n in range(len(table.rows))]
    if "time" in table.columns:
        column = table.columns.index("time")
        times = [datetime.fromisoformat(row[column]).timestamp() for row in table.rows]
    return [
        Series(name, [(at, row[n]) for at, row in zip(times, table.rows, strict=True)])
        for n, name in enumerate(table.columns)
        if name != "time" and all(isinstance(row[n], float | None) for row in table.rows)
    ]


def has_data(frames: Iterable[Frame]) -> bool:
    """Return whether there is anything to see."""
    return any(
        any(value is not None for _, value in frame.points)
        if isinstance(frame, Series)
        else any(cell not in {None, ""} for row in frame.rows for cell in row)
        for frame in frames
    )


def last(frames: Iterable[Frame]) -> list[float]:
    """Return the latest value of each series that has one, as a stat panel shows it."""
    values = [
        [value for _, value in frame.points if value is not None]
        for frame in frames
        if isinstance(frame, Series)
    ]
    return [each[-1] for each in values if each]


def moments(annotation: Mapping[str, Any], answer: Mapping[str, Any]) -> list[tuple[float, str]]:
    """Return what an annotation marks: the seconds since the epoch, and the words."""
    found = set()
    for series in answer["data"]["result"]:
        words = legend(annotation["titleFormat"], series["metric"])
        if annotation.get("useValueForTime"):
            found |= {(float(value) / 1000, words) for _, value in series["values"]}
        else:
            found.add((float(series["values"][0][0]), words))
    return sorted(found)
