"""Which market's hours count, and a sentence for each mistake."""

from pathlib import Path

import pytest

from infra.market_calendar import ALWAYS_OPEN
from infra.market_calendar import load as load_calendar
from infra.market_settings import MarketSettings
from infra.settings import EX_CONFIG, load


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave nothing of the developer's own environment."""
    for name in MarketSettings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_new_york_is_the_default() -> None:
    """Without a word it is the New York Stock Exchange, as the checked-in calendar has it."""
    assert load(MarketSettings).calendar is load_calendar()


def test_a_simulated_market_never_closes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`always` is the calendar of what trades day and night."""
    monkeypatch.setenv("MARKET_HOURS", "always")
    assert load(MarketSettings).calendar is ALWAYS_OPEN


def test_overrides_come_from_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file's days stand in the calendar."""
    overrides = tmp_path / "overrides"
    overrides.write_text("2026-11-24 closed\n")
    monkeypatch.setenv("MARKET_OVERRIDES_FILE", str(overrides))
    noon_ns = 1_795_539_600_000_000_000  # 2026-11-24 12:00 in New York
    assert load_calendar().state(noon_ns) == "regular"
    assert load(MarketSettings).calendar.state(noon_ns) == "closed"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file or directory"),
        (b"2026-12-24 shut\n", "line 1: '2026-12-24 shut' is not `2026-12-24 closed` or"),
        (b"\xff\n", "not text in UTF-8"),
    ],
)
def test_wrong_overrides_are_named(
    content: bytes | None,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The variable, the file, the line and what was expected; and nothing starts."""
    overrides = tmp_path / "overrides"
    if content is not None:
        overrides.write_bytes(content)
    monkeypatch.setenv("MARKET_OVERRIDES_FILE", str(overrides))
    with pytest.raises(SystemExit) as left:
        load(MarketSettings)
    assert left.value.code == EX_CONFIG
    assert capsys.readouterr().err.startswith(f"MARKET_OVERRIDES_FILE: {overrides}: {words}")


def test_another_market_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There are two, and the sentence names them."""
    monkeypatch.setenv("MARKET_HOURS", "XLON")
    with pytest.raises(SystemExit):
        load(MarketSettings)
    assert capsys.readouterr().err == "MARKET_HOURS: input should be 'XNYS' or 'always'\n"


def test_a_calendar_that_has_ended_is_no_calendar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beyond its last day nothing is guessed; `always` goes on."""
    horizon_ns = load_calendar().horizon_ns
    assert horizon_ns is not None
    monkeypatch.setattr("infra.market_settings.time.time_ns", lambda: horizon_ns)
    with pytest.raises(SystemExit):
        load(MarketSettings)
    assert capsys.readouterr().err.startswith("MARKET_HOURS: the calendar of XNYS has ended")
    monkeypatch.setenv("MARKET_HOURS", "always")
    assert load(MarketSettings).calendar is ALWAYS_OPEN
