"""The market's calendar as the history has it."""

import json
from pathlib import Path

from infra.market_calendar import ALWAYS_OPEN, NS, Calendar, load
from sinks.clickhouse.market_days import rows


def hours(calendar: Calendar, *days: str) -> list[float]:
    """Return how many hours the market is open on days."""
    lines = map(json.loads, rows(calendar))
    open_for = {line["day"]: (line["closes_ns"] - line["opens_ns"]) / NS / 3600 for line in lines}
    return [open_for[day] for day in days]


def test_every_day_has_its_hours() -> None:
    """Usual ones, half days, holidays and weekends."""
    days = ("2026-11-25", "2026-11-26", "2026-11-27", "2026-11-28")
    assert hours(load(), *days) == [6.5, 0, 3.5, 0]


def test_an_operators_word_counts(tmp_path: Path) -> None:
    """A day that nobody foresaw is as short as it was."""
    overrides = tmp_path / "overrides"
    overrides.write_text("2026-11-24 closed\n2026-11-25 09:30-12:30\n")
    assert hours(load(overrides), "2026-11-24", "2026-11-25") == [0, 3]


def test_a_simulated_market_is_open_whenever_the_exchange_has_a_day() -> None:
    """Weekends and holidays as well."""
    days = [json.loads(line)["day"] for line in rows(load())]
    assert [json.loads(line)["day"] for line in rows(ALWAYS_OPEN)] == days
    assert min(hours(ALWAYS_OPEN, *days)) > 24
