"""The README's words are checked: what it tells to type or to set is there."""

import re
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from infra.stack.environment import StackEnvironment
from ingest.settings import AlpacaSettings, BackfillSettings, YahooSettings
from processors.settings import ProcessorSettings
from sinks.alerts.settings import AlertsSettings
from sinks.clickhouse.settings import ClickHouseSettings
from sinks.hub.settings import HubSettings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS: tuple[type[BaseSettings], ...] = (
    StackEnvironment,
    AlpacaSettings,
    BackfillSettings,
    YahooSettings,
    ProcessorSettings,
    AlertsSettings,
    ClickHouseSettings,
    HubSettings,
)


def commands() -> list[str]:
    """Return the commands of the README's shell blocks, continued lines joined."""
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def test_every_make_target_exists() -> None:
    """`make` knows what the README tells to make."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z]+)", README)) <= targets


def test_every_variable_is_a_setting() -> None:
    """A variable that nothing reads would be a promise that nobody keeps."""
    known = {
        str(field.validation_alias or name).upper()
        for settings in SETTINGS
        for name, field in settings.model_fields.items()
    }
    (table,) = re.findall(r"\| variable \|.*?\n\n", README, re.DOTALL)
    told = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    assert told
    assert told <= known


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)]+)\)", README))))
def test_every_link_leads_somewhere(target: str) -> None:
    """Links point at files that are there."""
    assert (ROOT / target).exists()
