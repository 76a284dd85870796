"""Loki's configuration, and the collector's, say what ClickHouse's schema and the shipper say."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from infra.catalogue import CATALOGUE
from infra.logs import line
from infra.settings import StageSettings
from sinks.logs.lines import LEVELS, Line
from sinks.logs.loki import Loki
from sinks.logs.settings import LogsSettings

ROOT = Path(__file__).parents[3]
DIRECTORY = ROOT / "infra" / "loki"
CONFIGURATION: dict[str, Any] = yaml.safe_load((DIRECTORY / "loki.yml").read_text())
COLLECTOR: dict[str, Any] = yaml.safe_load((DIRECTORY / "collector.yml").read_text())
LIMITS = CONFIGURATION["limits_config"]
PAGE = (ROOT / "docs" / "logs.md").read_text()


def labels() -> set[str]:
    """Return the labels that the shipper gives."""
    said = Line(text="{}", service="hub", level="info", at_ns=10**18)
    body = Loki(url="http://h", environment="e").request([said]).body
    return set(msgspec.json.decode(body)["streams"][0]["stream"])


def days_in_loki(level: str) -> int:
    """Return how long Loki keeps a level: the rule of the highest priority that selects it."""
    periods = [(0, LIMITS["retention_period"])]
    for rule in LIMITS["retention_stream"]:
        (matcher,) = re.fullmatch(r"\{level(=~?\".*\")\}", rule["selector"]).groups()  # type: ignore[union-attr]
        if re.fullmatch(matcher.lstrip("=~").strip('"'), level):
            periods.append((rule["priority"], rule["period"]))
    return int(max(periods)[1].removesuffix("h")) // 24


def days_in_clickhouse(level: str) -> int:
    """Return how long ClickHouse keeps a level, by the table's TTL."""
    (schema,) = (ROOT / "infra" / "clickhouse").glob("*_retention.sql")
    for days, condition in re.findall(
        r"toDateTime\(at\) \+ INTERVAL (\d+) DAY DELETE WHERE level ([^\n]+)", schema.read_text()
    ):
        named = f"'{level}'" in condition
        if named != condition.startswith("NOT IN"):
            return int(days)
    raise AssertionError(level)


@pytest.mark.parametrize("level", LEVELS)
def test_a_level_stays_as_long_in_both(level: str) -> None:
    """And as long as the page says."""
    rows = re.findall(r"^\| (`.*`|all else) \| (\d+) \|$", PAGE, re.MULTILINE)
    told = {word: int(days) for words, days in rows for word in re.findall(r"\w+", words)}
    expected = told.get(level, told["all"])
    assert days_in_loki(level) == days_in_clickhouse(level) == expected


def test_retention_is_on() -> None:
    """Without these Loki keeps everything, and says nothing."""
    assert CONFIGURATION["compactor"]["retention_enabled"] is True
    assert CONFIGURATION["compactor"]["delete_request_store"]
    (schema,) = CONFIGURATION["schema_config"]["configs"]
    assert (schema["store"], schema["schema"], schema["index"]["period"]) == ("tsdb", "v13", "24h")
    assert LIMITS["allow_structured_metadata"] is True


def test_labels_are_the_same_by_either_way() -> None:
    """What the collector puts on the resource is what Loki makes labels of."""
    (promoted,) = LIMITS["otlp_config"]["resource_attributes"]["attributes_config"]
    names = {name.replace(".", "_") for name in promoted["attributes"]}
    assert (promoted["action"], names) == ("index_label", labels())
    operators = COLLECTOR["receivers"]["filelog"]["operators"]
    moved = {operator["to"] for operator in operators if operator["type"] == "move"}
    added = {attribute["key"] for attribute in COLLECTOR["processors"]["resource"]["attributes"]}
    assert moved == {'resource["service.name"]', "resource.level"}
    assert added == {"environment"}


def test_the_collector_reads_our_lines_and_no_others() -> None:
    """Nobody has taken the secrets out of what others print."""
    first = COLLECTOR["receivers"]["filelog"]["operators"][0]
    (quoted,) = re.fullmatch(r'not \(body matches "(.*)"\)', first["expr"]).groups()  # type: ignore[union-attr]
    ours = re.compile(quoted.replace("\\\\", "\\").replace('\\"', '"'))
    said = {"timestamp": "2026-11-25T12:00:00.000001Z", "level": "info", "event": "e", "n": 1}
    assert ours.search(line(said, "hub"))
    assert not ours.search("2026-11-25T12:00:00.000Z WARN password=hunter22")
    assert not ours.search('{"password": "hunter22"}')


def test_everything_that_a_collector_is_wired_to_is_there() -> None:
    """A pipeline that names what is not defined does not start."""
    service = COLLECTOR["service"]
    assert set(service["extensions"]) == COLLECTOR["extensions"].keys()
    for kind in ("receivers", "processors", "exporters"):
        assert set(service["pipelines"]["logs"][kind]) == COLLECTOR[kind].keys()


def test_the_page_names_what_there_is() -> None:
    """Its variables are settings, its metrics are in the catalogue, and none is missing."""
    (table,) = re.findall(r"\| variable \|.*?\n\n", PAGE, re.DOTALL)
    own = LogsSettings.model_fields.keys() - StageSettings.model_fields.keys()
    assert set(re.findall(r"`([A-Z]+_[A-Z_]+)`", table)) == {name.upper() for name in own}
    metrics = {metric.name for metric in CATALOGUE if metric.about == "logs"}
    assert set(re.findall(r"`(log_(?:lines|shipper)_\w+(?:total|bytes))`", PAGE)) == metrics
