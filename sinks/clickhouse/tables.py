"""Which topic fills which table."""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.topics import (
    ALERTS,
    ANSWERS,
    BREAKERS,
    COMMANDS,
    COMPARISONS,
    HUB_DELIVERIES,
    HUB_SESSIONS,
    QUARANTINES,
    RAW_ALPACA,
    RAW_YAHOO,
    REJECTED,
    ROUTED,
    SESSIONS,
    SOURCES_GAPS,
    SOURCES_STATUS,
    TRANSITIONS,
    VALID,
    Topic,
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table that a topic fills.

    Attributes:
        name: its name in the database.
        keeps_raw: whether its events carry a vendor's bytes in `raw`.

    """

    name: str
    keeps_raw: bool = False


RAW_TICKS = Table("raw_ticks", keeps_raw=True)
REJECTED_TICKS = Table("rejected_ticks", keeps_raw=True)
DEAD_LETTERS = Table("dead_letters")

#: `prices.latest` is not here: it is the last rows of `prices.routed` again. Nor is
#: `sources.symbols`: what was in fact subscribed is in `source_status`. Nor is what a
#: stage writes for its successors (`forward.symbols`, `router.looks`).
TABLES: Mapping[Topic, Table] = {
    RAW_ALPACA: RAW_TICKS,
    RAW_YAHOO: RAW_TICKS,
    VALID: Table("valid_ticks"),
    REJECTED: REJECTED_TICKS,
    ROUTED: Table("routed_prices"),
    TRANSITIONS: Table("router_transitions"),
    SOURCES_STATUS: Table("source_status"),
    SOURCES_GAPS: Table("source_gaps"),
    SESSIONS: Table("market_sessions"),
    COMPARISONS: Table("price_comparisons"),
    BREAKERS: Table("symbol_breakers"),
    QUARANTINES: Table("symbol_quarantines"),
    COMMANDS: Table("commands"),
    ANSWERS: Table("command_answers"),
    HUB_SESSIONS: Table("hub_sessions"),
    HUB_DELIVERIES: Table("hub_deliveries"),
    ALERTS: Table("alerts"),
}
