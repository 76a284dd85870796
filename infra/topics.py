"""Every topic, declared once.

Creation, the AsyncAPI document, the JSON Schemas, the docs and the tests are generated from this
table or checked against it. A topic's values are JSON, one event a record, with a `schema` header
that reads `<schema>/<version>`. The event types live in the `events.py` of the stage that writes
them; this module only names them, because `infra` imports no stage.
"""

from dataclasses import dataclass
from typing import Literal

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS

#: Topics that carry one record a tick share a partition count, so that a symbol sits in the same
#: partition number all the way from socket to screen, and a stage can copy its input's partition.
TICK_PARTITIONS = 4

Writer = Literal["ingest", "validate", "route", "forward", "hub", "alerts", "operator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic: its name, key, shape and keeping.

    Attributes:
        name: the name on the broker, before any prefix.
        key: what the record's key holds, in words.
        partitions: how many partitions it is created with.
        retention_ms: how long records are kept; -1 for ever.
        compacted: whether only the latest record a key is kept.
        schema: the name of the event type, `module:Type`, in the stage that writes it.
        version: the version of that schema.
        writer: the stage that writes it.
        summary: one sentence for the documents.

    """

    name: str
    key: str
    partitions: int
    retention_ms: int
    compacted: bool = False
    schema: str
    version: int = 1
    writer: Writer
    summary: str

    @property
    def header(self) -> tuple[str, bytes]:
        """The record header that names the value's schema and its version."""
        return ("schema", f"{self.schema.partition(':')[2]}/{self.version}".encode())

    @property
    def config(self) -> dict[str, str]:
        """The broker's settings for this topic, as it wants them: text."""
        config = {"retention.ms": str(self.retention_ms)}
        if not self.compacted:
            return {**config, "cleanup.policy": "delete"}
        # only closed segments are compacted: by default they close after a week, or at 1 GB
        return {
            **config,
            "cleanup.policy": "compact",
            "segment.ms": str(HOUR_MS),
            "segment.bytes": str(64 * 2**20),
        }


RAW_ALPACA = Topic(
    name="ticks.raw.alpaca",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=7 * DAY_MS,
    schema="ingest.events:RawTick",
    writer="ingest",
    summary="What Alpaca's stream sent, message by message, with the vendor's bytes kept.",
)
RAW_YAHOO = Topic(
    name="ticks.raw.yahoo",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=7 * DAY_MS,
    schema="ingest.events:RawTick",
    writer="ingest",
    summary="What Yahoo's polls answered, symbol by symbol, with the vendor's bytes kept.",
)
SOURCES_STATUS = Topic(
    name="sources.status",
    key="source",
    partitions=1,
    retention_ms=30 * DAY_MS,
    schema="ingest.events:SourceStatus",
    writer="ingest",
    summary="The life of each source: connections, stalls, and a heartbeat a second.",
)
SOURCES_GAPS = Topic(
    name="sources.gaps",
    key="source",
    partitions=1,
    retention_ms=-1,
    schema="ingest.events:GapEvent",
    writer="ingest",
    summary="The gap ledger: when ticks were missed, of which symbols, and what was filled.",
)
SOURCES_SYMBOLS = Topic(
    name="sources.symbols",
    key="source",
    partitions=1,
    retention_ms=-1,
    compacted=True,
    schema="ingest.events:SymbolsFollowed",
    writer="ingest",
    summary="What each source follows now: a table of one row a source.",
)
VALID = Topic(
    name="ticks.valid",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=7 * DAY_MS,
    schema="processors.events:ValidTick",
    writer="validate",
    summary="Ticks that passed every rule, in one canonical form for both sources.",
)
REJECTED = Topic(
    name="ticks.rejected",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=30 * DAY_MS,
    schema="processors.events:RejectedTick",
    writer="validate",
    summary="Ticks that broke a rule: which one, why, and the original bytes.",
)
BREAKERS = Topic(
    name="symbols.breakers",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=30 * DAY_MS,
    schema="processors.events:BreakerEvent",
    writer="validate",
    summary="The circuit breakers: when a symbol's price was not believed, and what ended it.",
)
VALIDATE_MERGES = Topic(
    name="validate.merges",
    key="none",
    partitions=TICK_PARTITIONS,
    retention_ms=7 * DAY_MS,
    schema="processors.events:Merged",
    writer="validate",
    summary="In which order both sources' raw ticks of a partition were taken.",
)
VALIDATE_SYMBOLS = Topic(
    name="validate.symbols",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=-1,
    compacted=True,
    schema="processors.memory:Remembered",
    writer="validate",
    summary="What validate remembers of every symbol, for its successor.",
)
FORWARD_SYMBOLS = Topic(
    name="forward.symbols",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=-1,
    compacted=True,
    schema="processors.memory:Remembered",
    writer="forward",
    summary="What forward remembers of every symbol, for its successor.",
)
COMPARISONS = Topic(
    name="prices.discrepancies",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=30 * DAY_MS,
    schema="processors.events:Comparison",
    writer="forward",
    summary="Both sources' prices at the same moment of the market, and whether they agree.",
)
QUARANTINES = Topic(
    name="symbols.quarantines",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=30 * DAY_MS,
    schema="processors.events:QuarantineEvent",
    writer="forward",
    summary="Symbols that are routed from Yahoo alone, whatever the route is, and why.",
)
FORWARD_SWITCHES = Topic(
    name="forward.switches",
    key="none",
    partitions=TICK_PARTITIONS,
    retention_ms=30 * DAY_MS,
    schema="processors.events:RouteTaken",
    writer="forward",
    summary="Behind which tick each partition's prices began to go out under another epoch.",
)
TRANSITIONS = Topic(
    name="router.transitions",
    key="router",
    partitions=1,
    retention_ms=-1,
    schema="processors.events:RouterTransition",
    writer="route",
    summary="Every change of the trusted source: when, why, by whom, and its epoch.",
)
ROUTER_LOOKS = Topic(
    name="router.looks",
    key="router",
    partitions=1,
    retention_ms=7 * DAY_MS,
    schema="processors.looks:Look",
    writer="route",
    summary="What the router had read when it decided: with it, its decisions can be made again.",
)
SESSIONS = Topic(
    name="market.sessions",
    key="market",
    partitions=1,
    retention_ms=-1,
    schema="processors.events:SessionChanged",
    writer="route",
    summary="The market's day: pre, regular, post and closed, each as it begins.",
)
ROUTED = Topic(
    name="prices.routed",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=7 * DAY_MS,
    schema="processors.events:RoutedPrice",
    writer="forward",
    summary="The price to trust, with its source, epoch, age and provenance.",
)
LATEST = Topic(
    name="prices.latest",
    key="symbol",
    partitions=TICK_PARTITIONS,
    retention_ms=-1,
    compacted=True,
    schema="processors.events:RoutedPrice",
    writer="forward",
    summary="The last routed price of every symbol: a table that anyone can load.",
)

HUB_SESSIONS = Topic(
    name="hub.sessions",
    key="connection",
    partitions=1,
    retention_ms=30 * DAY_MS,
    schema="sinks.events:SessionEvent",
    writer="hub",
    summary="The hub's clients: when they came, what they asked for, and how they left.",
)
HUB_DELIVERIES = Topic(
    name="hub.deliveries",
    key="connection, or hub",
    partitions=1,
    retention_ms=30 * DAY_MS,
    schema="sinks.events:DeliveryEvent",
    writer="hub",
    summary="What reached the clients: a summary a minute and hub, and sampled acknowledgements.",
)

COMMANDS = Topic(
    name="ops.commands",
    key="target",
    partitions=1,
    retention_ms=30 * DAY_MS,
    schema="infra.commands:Command",
    writer="operator",
    summary="What operators asked for: who, and why. The one thing that runs from right to left.",
)
ANSWERS = Topic(
    name="ops.answers",
    key="target",
    partitions=1,
    retention_ms=30 * DAY_MS,
    schema="infra.commands:Answer",
    writer="route",
    summary="What came of the operators' commands to the router: done, or refused, and why.",
)

ALERTS = Topic(
    name="ops.alerts",
    key="fingerprint, or incident",
    partitions=1,
    retention_ms=-1,
    schema="sinks.events:AlertEvent",
    writer="alerts",
    summary="What fired, what resolved, who was paged and who acknowledged.",
)

TOPICS: tuple[Topic, ...] = (
    RAW_ALPACA,
    RAW_YAHOO,
    SOURCES_STATUS,
    SOURCES_GAPS,
    SOURCES_SYMBOLS,
    VALID,
    REJECTED,
    BREAKERS,
    VALIDATE_MERGES,
    VALIDATE_SYMBOLS,
    COMPARISONS,
    QUARANTINES,
    FORWARD_SYMBOLS,
    FORWARD_SWITCHES,
    TRANSITIONS,
    ROUTER_LOOKS,
    SESSIONS,
    ROUTED,
    LATEST,
    HUB_SESSIONS,
    HUB_DELIVERIES,
    COMMANDS,
    ANSWERS,
    ALERTS,
)

#: Whose records have a `traceparent` header where they are traced.
TRACED = (RAW_ALPACA, RAW_YAHOO, VALID, REJECTED, ROUTED, TRANSITIONS)

RAW_BY_SOURCE = {"alpaca": RAW_ALPACA, "yahoo": RAW_YAHOO}
