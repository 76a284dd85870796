"""How much of each service level's error budget is left, as Prometheus has it; pure."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from infra.slo import attainment
from infra.slo.attainment import Attained, Kept
from sinks.hub import words

#: Trends are for reports: here a day's are asked for, and not told.
QUERIES: Final = attainment.queries("1d")


class Budget(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A service level with an error budget; null where nothing was measured.

    Attributes:
        target: the share that has to be good over the period, in percent.
        attained: the share that was, in percent.
        left_percent: what is left of the budget; below zero where it is overspent.
        left_hours: the same in hours, of a budget of time.
        stage: what the budget's policy asks for.

    """

    id: str
    title: str
    period: str
    target: float
    attained: float | None
    left_percent: float | None
    left_hours: float | None
    stage: str | None


class Measure(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A service level that is a bound on a measured value; null where nothing was measured."""

    id: str
    title: str
    bound: float
    unit: str
    value: float | None
    met: bool | None


class Levels(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All service levels."""

    timestamp: str
    budgets: list[Budget]
    bounds: list[Measure]


def told(answers: Mapping[str, Sequence[Mapping[str, Any]]], now_ns: int) -> Levels:
    """Return what Prometheus's answers to QUERIES say."""
    budgets, bounds = attainment.attained(answers)
    return Levels(
        timestamp=words.iso(now_ns),
        budgets=[_budget(each) for each in budgets],
        bounds=[_bound(each) for each in bounds],
    )


def _budget(each: Attained) -> Budget:
    return Budget(
        id=each.level.id,
        title=each.level.title,
        period=each.level.period,
        target=_percent(each.level.objective),
        attained=None if each.error is None else _percent(1 - each.error),
        left_percent=None if each.left is None else _percent(each.left),
        left_hours=None if each.hours is None else round(each.hours, 2),
        stage=None if each.left is None else each.stage,
    )


def _bound(each: Kept) -> Measure:
    return Measure(
        id=each.bound.id,
        title=each.bound.title,
        bound=each.bound.bound,
        unit=each.bound.unit,
        value=each.value,
        met=None if each.value is None else each.met,
    )


def _percent(share: float) -> float:
    return round(100 * share, 3)
