"""docs/router.md, from the router's table and the constants that it is read by."""

from collections import defaultdict
from pathlib import Path

from processors.events import State
from processors.evidence import HEARTBEAT_NS, NS, SILENT_NS
from processors.route import AHEAD_NS, GRID_NS
from processors.route_orders import STALE_COMMAND_NS
from processors.route_reading import (
    CHECK_NS,
    CHECKS,
    DISCONNECTED_NS,
    FLAPPING_NS,
    GRACE_NS,
    LONGEST_GRACE_NS,
    STARTUP_NS,
)
from processors.route_table import STATES, TABLE, Fallback, Primary, Signal, reasons

PAGE = Path(__file__).parent.parent.parent / "docs" / "router.md"

_ROUTED: dict[State, str] = {
    "STARTUP": "nobody's, yet",
    "PRIMARY_ACTIVE": "Alpaca's",
    "FALLBACK_ACTIVE": "Yahoo's",
    "BOTH_UNAVAILABLE": "nobody's",
}

_TIMES = (
    (GRID_NS, "between two looks at what has come"),
    (HEARTBEAT_NS, "without a word, and a source counts as away since its last"),
    (DISCONNECTED_NS, "Alpaca may be away before it is left"),
    (SILENT_NS, "of open time it may be mute before it is left"),
    (CHECK_NS, f"between two checks of its health; {CHECKS} that fail in a row are too many"),
    (STARTUP_NS, "it is waited for at the start"),
    (GRACE_NS, "it has to be up, by its heartbeats, before it is taken back"),
    (FLAPPING_NS, "in which every further failover doubles that"),
    (LONGEST_GRACE_NS, "at most"),
    (AHEAD_NS, "from the decision to the switch, so that who forwards ticks knows in time"),
    (STALE_COMMAND_NS, "after which a failover that was asked for is refused"),
)

_COMMANDS = (
    ("`failover yahoo`", "Yahoo is routed, and held", "Yahoo is stale (`source_down`); `too_old`"),
    (
        "`failover alpaca`",
        "Alpaca is routed, without the grace period, and nothing is held",
        "Alpaca is failing or down (`source_down`); `too_old`",
    ),
    ("`hold`", "Yahoo, once routed, is not left for Alpaca while it is fresh", "never"),
    ("`release`", "the table decides again", "nothing is held (`not_held`)"),
)


def document() -> str:
    """Return the page."""
    return "\n".join(
        [
            "# The router",
            "",
            "Generated from `processors/route_table.py` by `make generate`.",
            "",
            "The router is in one of four states. Every change is an event in",
            "[`router.transitions`](topics/router.transitions.schema.json).",
            "",
            "```mermaid",
            "stateDiagram-v2",
            "    [*] --> STARTUP",
            *_edges(),
            "```",
            "",
            "| state | whose prices go out |",
            "|---|---|",
            *(f"| `{state}` | {_ROUTED[state]} |" for state in STATES),
            "",
            "## Signals",
            "",
            "What is known of the sources is boiled down to a pair.",
            "",
            "| Alpaca is | when it is |",
            "|---|---|",
            *(f"| `{member.name}` | {member.value} |" for member in Primary),
            "",
            "| Yahoo is | when |",
            "|---|---|",
            *(f"| `{member.name}` | {member.value} |" for member in Fallback),
            "",
            "While Yahoo is held and fresh, Alpaca is never more than `RECOVERING`.",
            "",
            "## The table",
            "",
            "| state | Alpaca | Yahoo | next | reason |",
            "|---|---|---|---|---|",
            *(_row(state, signal) for state in STATES for signal in TABLE[state]),
            "",
            "## Times",
            "",
            "| for | what |",
            "|---|---|",
            *(f"| {_in_words(duration)} | {what} |" for duration, what in _TIMES),
            "",
            "## Commands",
            "",
            "A transition that somebody asked for has the reason `manual`, and the name.",
            "What came of a command is in [`ops.answers`](topics/ops.answers.schema.json),",
            "and is said at the command line.",
            "",
            "| command | what it does | when it is refused |",
            "|---|---|---|",
            *(f"| {command} | {does} | {refused} |" for command, does, refused in _COMMANDS),
            "",
        ]
    )


def _row(state: State, signal: Signal) -> str:
    target, why = TABLE[state][signal], ", ".join(reasons(state, signal))
    to = "stays" if target == state else f"`{target}`"
    return f"| `{state}` | `{signal[0].name}` | `{signal[1].name}` | {to} | {why} |"


def _edges() -> list[str]:
    edges: defaultdict[tuple[State, State], list[str]] = defaultdict(list)
    for state, row in TABLE.items():
        for signal, target in row.items():
            if target != state:
                edges[state, target] += reasons(state, signal)
    return [
        f"    {state} --> {target}: {', '.join(dict.fromkeys(why))}"
        for (state, target), why in edges.items()
    ]


def _in_words(duration_ns: int) -> str:
    if duration_ns < NS:
        return f"{duration_ns // 1_000_000} ms"
    seconds = duration_ns // NS
    return f"{seconds // 60} min" if seconds > 60 and seconds % 60 == 0 else f"{seconds} s"
