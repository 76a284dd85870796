"""What a dashboard is, as data: panels, what they ask, and when a figure is bad. Pure.

A threshold stands with its alert or its service level and is read from there: a panel turns red at
the figure that pages.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from infra.prometheus.alerts import ALERTS
from infra.slo.levels import LEVELS

Kind = Literal["stat", "timeseries", "table", "heatmap", "barchart"]
Step = tuple[float | None, str]
#: The services that a tick goes through, from the socket to the client.
WAY = ("alpaca", "validate", "forward", "hub")
#: No figure is bad.
NEUTRAL: tuple[Step, ...] = ((None, "blue"),)
_COMPARISON = re.compile(r"[<>]=? ([\d.]+)")


@dataclass(frozen=True, slots=True)
class Prom:
    """A question to Prometheus.

    Attributes:
        expr: PromQL, with no variable of Grafana's in it.
        legend: what its series are called.
        instant: whether only the latest value counts.
        heatmap: whether it yields a histogram's buckets.

    """

    expr: str
    legend: str = ""
    instant: bool = False
    heatmap: bool = False


#: Brings in the days of the chosen time. The plugin's own `$__dateFilter` means days in UTC: in the
#: evening of New York, when those are a day ahead, it finds nothing.
DAYS = (
    "day BETWEEN toDate($__fromTime, 'America/New_York') AND toDate($__toTime, 'America/New_York')"
)


@dataclass(frozen=True, slots=True)
class Sql:
    """A question to ClickHouse; `$__timeFilter` and `{days}`, which is DAYS, bring in the time."""

    asked: str

    @property
    def sql(self) -> str:
        """The question as it stands in the file."""
        return self.asked.replace("{days}", DAYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        description: what that means, and when to worry.
        kind: how it is drawn.
        unit: as Grafana calls it; of a table, of the columns that `units` does not name.
        asks: the questions behind it.
        width: of 24.
        height: in lines of the grid.
        steps: from which value on it has which colour.
        words: value -> the word for it, and the word's colour.
        units: column -> unit, of a table.
        alerts: whom it explains.
        services: whose logs and traces explain it, first whose traces begin there.
        x: the column on the x axis of a bar chart.
        stacked: whether the areas lie on one another.

    """

    title: str
    description: str
    kind: Kind
    unit: str
    asks: tuple[Prom | Sql, ...]
    width: int = 6
    height: int = 4
    steps: tuple[Step, ...] = NEUTRAL
    words: dict[int, tuple[str, str]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    alerts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    x: str = ""
    stacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard.

    Attributes:
        name: `twinfeed-<name>` is its uid, which alerts link to.
        title: what it is called.
        description: whom it is for.
        refresh: how often it asks again.
        since: the beginning of the time that it shows at first.
        panels: from left to right, and down.

    """

    name: str
    title: str
    description: str
    refresh: str
    since: str
    panels: tuple[Panel, ...]

    @property
    def uid(self) -> str:
        """What Grafana and the alerts call it."""
        return f"twinfeed-{self.name}"


def bound(alert: str) -> float:
    """Return what an alert compares with first. Raises ValueError where it is no number."""
    for declared in ALERTS:
        if declared.name == alert and (found := _COMPARISON.search(declared.expr)):
            return float(found[1])
    message = f"unknown bound of {alert!r}: expected an alert that compares with a number"
    raise ValueError(message)


def objective(level: str) -> float:
    """Return a service level's objective in percent. Raises ValueError where there is no such."""
    for declared in LEVELS:
        if declared.name == level:
            return round(100 * declared.objective, 6)
    message = f"unknown service level {level!r}: expected one of {[each.name for each in LEVELS]}"
    raise ValueError(message)


def rising(bad: float, worse: float | None = None) -> tuple[Step, ...]:
    """Return the colours of a figure that should be low."""
    steps: tuple[Step, ...] = ((None, "green"), (bad, "orange" if worse is not None else "red"))
    return steps if worse is None else (*steps, (worse, "red"))


def falling(good: float, fair: float | None = None) -> tuple[Step, ...]:
    """Return the colours of a figure that should be high: `good` and above, `fair` and above."""
    if fair is None:
        return ((None, "red"), (good, "green"))
    return ((None, "red"), (fair, "orange"), (good, "green"))
