"""What frontends are told of the hub is so."""

import re
from pathlib import Path

from sinks.hub import methods, words
from sinks.hub.freshness import DELAYED_S, LIVE_S
from sinks.hub.methods import Hub
from sinks.hub.server import Limits
from tests.sinks.hub.prices import SESSION, price, transition

TEXT = (Path(__file__).parents[3] / "docs" / "hub.md").read_text(encoding="utf-8")


def rows(first: str) -> dict[str, str]:
    """Return a table by its first column's heading: what is named, and the rest of its row."""
    (table,) = re.findall(rf"\| {first} \|.*?\n\|[-|]+\n(.*?)\n\n", TEXT, re.DOTALL)
    found = {}
    for line in table.splitlines():
        names, _, rest = line.strip("| ").partition(" | ")
        found.update(dict.fromkeys(re.findall(r"`(\w+)`", names), rest))
    return found


def test_every_method_is_told() -> None:
    """Those that there are, and no others."""
    assert {name.lower() for name in rows("method")} == Hub()._methods.keys()


def test_every_field_is_told() -> None:
    """Of prices, switches and the market."""
    events = rows("event")
    for event, said in (
        ("PriceUpdate", words.price_update(price())),
        ("DataSourceChanged", words.data_source(transition())),
        ("CurrentMarketStatus", {**words.market_status(SESSION), "timestamp": ""}),
    ):
        fields = set(re.findall(r"`(\w+)`", re.sub(r"\(`.*?\)", "", events[event])))
        assert fields == said.keys(), event


def test_every_error_is_told() -> None:
    """By its code."""
    codes = {
        methods.INVALID_ASSET_CLASS,
        methods.NO_SYMBOLS,
        methods.UNKNOWN_SYMBOL,
        methods.RATE_LIMITED,
        methods.INTERNAL_ERROR,
    }
    assert rows("`error`").keys() == codes


def test_every_limit_is_told() -> None:
    """In its figure."""
    limits = Limits()
    for said in (
        f"{methods.SUBSCRIPTIONS} subscriptions in a minute",
        f"{methods.SYMBOLS_A_CALL} symbols in a call",
        f"{LIVE_S} s (LIVE) or {DELAYED_S} s (DELAYED)",
        f"{limits.message_bytes // 1024} KiB",
        f"{limits.messages} in ten seconds",
        f"for {limits.silence_s:.0f} s",
    ):
        assert said in TEXT, said
