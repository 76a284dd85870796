"""The daily digest of what may wait: every low alert of the day, by service. Pure.

It is made of the history, not of what fires when it is written: what came and went in the night is
in it.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime

from infra.slo.quality import NS, Firing

SEVERITY = "low"


def of_day(firings: Sequence[Firing], since_ns: int, until_ns: int) -> list[Firing]:
    """Return the low alerts that fired at any moment of a span."""
    return [
        firing
        for firing in firings
        if firing.severity == SEVERITY
        and firing.started_at_ns < until_ns
        and (firing.ended_at_ns is None or firing.ended_at_ns >= since_ns)
    ]


def text(firings: Sequence[Firing]) -> str:
    """Return the digest's words."""
    by_service: dict[str, list[Firing]] = defaultdict(list)
    for firing in firings:
        by_service[firing.service or "other"].append(firing)
    if not by_service:
        return "Nothing that could wait has fired.\n"
    lines: list[str] = []
    for service, found in sorted(by_service.items()):
        lines += [service, "-" * len(service)]
        lines += [
            f"* {_moment(f.started_at_ns)} {f.name}: {f.summary} ({_state(f)})" for f in found
        ]
        lines.append("")
    return "\n".join(lines)


def _moment(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NS, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _state(firing: Firing) -> str:
    muted = f", muted by {' and '.join(firing.muted_by)}" if firing.muted else ""
    if firing.ended_at_ns is None:
        return f"still on{muted}"
    minutes = (firing.ended_at_ns - firing.started_at_ns) / NS / 60
    return f"over after {minutes:.0f} min{muted}"
