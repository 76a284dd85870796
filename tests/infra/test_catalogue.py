"""The catalogue keeps its own rules, and what it declares is what is exposed."""

import ast
import itertools
from pathlib import Path

import pytest

from infra.catalogue import BY_SYMBOL, CATALOGUE, GROUPS, Metric
from infra.telemetry import Meters
from sinks.prometheus.lag import READ

ROOT = Path(__file__).parent.parent.parent


def test_names_follow_one_rule() -> None:
    """Used once, in base units; counters end in _total, histograms have buckets."""
    names = [metric.name for metric in CATALOGUE]
    assert len(names) == len(set(names))
    for metric in CATALOGUE:
        assert not metric.name.endswith(("_ms", "_milliseconds")), metric.name
        assert metric.name.endswith("_total") == (metric.kind == "counter"), metric.name
        assert bool(metric.buckets) == (metric.kind == "histogram"), metric.name
        assert list(metric.buckets) == sorted(set(metric.buckets)), metric.name
        assert (metric.kind == "stateset") <= (len(metric.labels) == 1), metric.name


def test_one_metric_alone_has_a_series_a_symbol() -> None:
    """Every other label has a few values that are known beforehand."""
    unbounded = {metric.name for metric in CATALOGUE if not all(metric.labels.values())}
    assert unbounded == {BY_SYMBOL}
    assert {m.name for m in CATALOGUE if "symbol" in m.labels} == {BY_SYMBOL}


@pytest.mark.parametrize(
    "metric", [m for m in CATALOGUE if m.kind in {"counter", "stateset"}], ids=lambda m: m.name
)
def test_every_bounded_child_is_there_at_birth(metric: Metric) -> None:
    """The first error would be invisible to `increase()` if its series were born with it."""
    text = Meters(metric.about).exposition().decode()
    for values in itertools.product(*metric.labels.values()):
        pairs = zip(
            sorted(metric.labels),
            [v for _, v in sorted(zip(metric.labels, values, strict=True))],
            strict=True,
        )
        labels = ",".join(f'{name}="{value}"' for name, value in pairs)
        series = metric.name + (f"{{{labels}}}" if labels else "")
        assert f"\n{series} 0.0\n" in text, series


def _words(package: str) -> set[str]:
    """Return every string that stands in the code of a package."""
    return {
        node.value
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_what_is_declared_is_fed() -> None:
    """A metric that no code feeds is a promise that nobody keeps."""
    by_telemetry = {metric.name for metric in CATALOGUE if metric.about == "process"}
    fed = _words("ingest") | _words("processors") | _words("sinks") | by_telemetry
    assert {metric.name for metric in CATALOGUE} <= fed


def test_every_group_has_its_lag() -> None:
    """The groups that the catalogue names are those whose commits are looked at."""
    assert tuple(READ) == GROUPS
