"""What a drill says: a line as it goes, a table at the end, a list of what is drilled. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from infra.drills import ALL, DRILLS, TO_A_PERSON_S, WITHOUT, Drill
from infra.prometheus.compressed import scrape_seconds


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a drill.

    Attributes:
        drill: which.
        fired_s: after how long it was in the history; since the fault's end where that makes it.
        over_s: after how long its end was, since the fault's.
        muted_by: the alerts that muted it; empty where somebody was told.
        missed: what did not happen; empty where all did.

    """

    drill: Drill
    fired_s: float | None = None
    over_s: float | None = None
    muted_by: tuple[str, ...] = ()
    missed: str = ""


def fired(of: Played, factor: float) -> str:
    """Return the line for an alert that fired."""
    alert = of.drill.alert
    muted = f", muted by {' and '.join(of.muted_by)}" if of.muted_by else ""
    return (
        f"{alert.id} {alert.name}: fired after {of.fired_s or 0:.0f} s"
        f" (expected {of.drill.expected_s(factor):.0f}){muted}"
    )


def over(of: Played, factor: float) -> str:
    """Return the line for an alert that is over."""
    alert = of.drill.alert
    return (
        f"{alert.id} {alert.name}: over after {of.over_s or 0:.0f} s"
        f" (expected {of.drill.over_s(factor):.0f})"
    )


def markdown(played: Sequence[Played], factor: float) -> str:
    """Return the table of the times."""
    times = "divided by nothing" if factor == 1 else f"divided by {factor:g}"
    lines = [
        f"The rules' times were {times}; scraped and evaluated every {scrape_seconds(factor):g} s.",
        "Times in seconds, to the history and at most expected; to a person at most, undivided.",
        "",
        "| id | alert | fault | fired | expected | to a person | over | expected | |",
        "|---|---|---|---|---|---|---|---|---|",
        *(_row(each, factor) for each in played),
    ]
    return "\n".join(lines) + "\n"


def _row(of: Played, factor: float) -> str:
    alert, drill = of.drill.alert, of.drill
    wait = TO_A_PERSON_S.get(alert.severity)
    whole = "-" if wait is None else f"{drill.expected_s() + wait:.0f}"
    ends = bool(drill.faults) and not drill.stays
    said = of.missed or (f"muted by {', '.join(of.muted_by)}" if of.muted_by else "")
    cells = (
        alert.id,
        alert.name,
        drill.what,
        _seconds(of.fired_s),
        f"{drill.expected_s(factor):.0f}",
        whole,
        _seconds(of.over_s) if ends else "-",
        f"{drill.over_s(factor):.0f}" if ends else "-",
        said or (f"stays {drill.stays}" if drill.stays else ""),
    )
    return f"| {' | '.join(cells)} |"


def _seconds(taken: float | None) -> str:
    return "-" if taken is None else f"{taken:.0f}"


def listed() -> str:
    """Return every alert of the rule files: its drill, or why it has none."""
    by_id = {drill.alert.id: drill for drill in DRILLS}
    lines = []
    for name, alert in ALL.items():
        drill = by_id.get(name)
        if drill:
            lines.append(f"{name:10} {alert.name}: {drill.what}")
        else:
            lines.append(f"{name:10} {alert.name}: not drilled: {WITHOUT[name]}")
    return "\n".join(lines) + "\n"
