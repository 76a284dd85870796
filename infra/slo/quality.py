"""How good the alerts are, from their own history. Pure: rows in, figures out.

A firing is one alert and the moment that it began. It was *acted on* when somebody judged it
actionable, or acknowledged it and nobody judged it otherwise; it was *not* when it was judged noise
or false. What nobody acknowledged or judged is not known, and counts for neither side: the shares
are of what is known, and say of how much that is. A firing that a louder alert muted was told to
nobody: it is counted as muted, and for nothing else.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NS = 1_000_000_000
#: Whom nobody is told of.
UNTOLD = {"info", "none", ""}
#: What is promised: shares, and seconds.
ACTIONABLE, FALSE, ACKNOWLEDGED_S, RESOLVED_S = 0.8, 0.1, 300.0, 1800.0
#: An alert is spoken of once it fired so often.
ENOUGH = 3
#: What is over before anybody could look, again and again, is to be made to wait.
SHORT_S = 300.0


@dataclass(slots=True, kw_only=True)
class Firing:
    """One time that an alert fired; times in ns, None for not yet."""

    name: str
    severity: str
    started_at_ns: int
    service: str = ""
    summary: str = ""
    ended_at_ns: int | None = None
    acknowledged_at_ns: int | None = None
    verdict: str = ""
    told: bool = False
    muted_by: tuple[str, ...] = ()

    @property
    def muted(self) -> bool:
        """Whether nobody was ever told of it."""
        return bool(self.muted_by) and not self.told

    @property
    def acted_on(self) -> bool | None:
        """Whether there was something to do; None for not known."""
        if self.verdict:
            return self.verdict == "actionable"
        return True if self.acknowledged_at_ns is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """The figures of some firings; None where there is nothing to say.

    Attributes:
        fired: of how many somebody was told.
        muted: how many there were besides, of which nobody was told, because a louder one fired.
        known: of how many it is known whether there was something to do.
        actionable: the share of these that were acted on.
        false: the share of these with which nothing was wrong.
        acknowledged_s: the mean time until somebody took it on.
        resolved_s: the mean time until it was over.

    """

    fired: int
    known: int
    actionable: float | None
    false: float | None
    acknowledged_s: float | None
    resolved_s: float | None
    muted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of it, by alert, and what is to be tuned: alert -> why."""

    all: Quality
    by_alert: Mapping[str, Quality] = field(default_factory=dict)
    tune: Mapping[str, str] = field(default_factory=dict)


def firings(rows: Iterable[Mapping[str, Any]]) -> list[Firing]:
    """Fold the rows of the table `alerts` into firings, by their beginning."""
    found: dict[tuple[str, int], Firing] = {}
    incidents: dict[str, list[tuple[str, int]]] = defaultdict(list)
    later: list[Mapping[str, Any]] = []
    for row in rows:
        key = (str(row["fingerprint"]), int(row["started_at_ns"]))
        match row["event"]:
            case "alert_fired" | "alert_inhibited" | "alert_resolved" | "alert_paged":
                firing = found.setdefault(
                    key, Firing(name=row["name"], severity=row["severity"], started_at_ns=key[1])
                )
                _take(firing, row)
                if row["event"] == "alert_paged":
                    incidents[row["incident_key"]].append(key)
            case _:
                later.append(row)
    for row in sorted(later, key=lambda row: int(row["at_ns"])):
        at = int(row["at_ns"])
        if row["event"] == "alert_judged":
            judged = found.get((row["fingerprint"], int(row["started_at_ns"])))
            if judged:
                judged.verdict = row["verdict"]
            continue
        for key in incidents[row["incident_key"]]:
            firing = found[key]
            # an incident of the same group, another day, has the same key
            running = firing.ended_at_ns is None or at <= firing.ended_at_ns
            if firing.acknowledged_at_ns is None and firing.started_at_ns <= at and running:
                firing.acknowledged_at_ns = at
    return sorted(found.values(), key=lambda firing: firing.started_at_ns)


def _take(firing: Firing, row: Mapping[str, Any]) -> None:
    firing.service = row["service"] or firing.service
    firing.summary = row["summary"] or firing.summary
    match row["event"]:
        case "alert_resolved":
            firing.ended_at_ns = int(row["ended_at_ns"])
        case "alert_inhibited":
            firing.muted_by = tuple(row["inhibited_by"])
        case _:
            firing.told = True


def quality(of: Sequence[Firing]) -> Quality:
    """Return the figures of firings."""
    muted = [firing for firing in of if firing.muted]
    of = [firing for firing in of if not firing.muted]
    known = [firing for firing in of if firing.acted_on is not None]
    acted = [firing for firing in known if firing.acted_on]
    false = [firing for firing in known if firing.verdict == "false"]
    taken = [f.acknowledged_at_ns - f.started_at_ns for f in of if f.acknowledged_at_ns is not None]
    over = [f.ended_at_ns - f.started_at_ns for f in of if f.ended_at_ns is not None]
    return Quality(
        fired=len(of),
        muted=len(muted),
        known=len(known),
        actionable=len(acted) / len(known) if known else None,
        false=len(false) / len(known) if known else None,
        acknowledged_s=sum(taken) / len(taken) / NS if taken else None,
        resolved_s=sum(over) / len(over) / NS if over else None,
    )


def report(of: Sequence[Firing]) -> Report:
    """Return the figures of all that somebody was told of, and what to tune."""
    told = [firing for firing in of if firing.severity not in UNTOLD]
    by_alert: dict[str, list[Firing]] = defaultdict(list)
    for firing in told:
        by_alert[firing.name].append(firing)
    figures = {name: quality(found) for name, found in sorted(by_alert.items())}
    reasons = {name: _why_tune(each) for name, each in figures.items()}
    return Report(
        all=quality(told),
        by_alert=figures,
        tune={name: why for name, why in reasons.items() if why},
    )


def _why_tune(of: Quality) -> str:
    if of.fired < ENOUGH:
        return ""
    if of.known >= ENOUGH and of.false is not None and of.false > FALSE:
        return f"false {of.false:.0%} of the times: raise its threshold, or gate it"
    if of.known >= ENOUGH and of.actionable is not None and of.actionable < ACTIONABLE:
        return f"something to do {of.actionable:.0%} of the times: lower its severity"
    if of.known == 0 and of.resolved_s is not None and of.resolved_s < SHORT_S:
        return f"over by itself after {_time(of.resolved_s)}: let it wait longer"
    return ""


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"


def markdown(of: Report, days: int) -> str:
    """Return the report as a page."""
    promised = (
        ("actionable", _share(of.all.actionable), "> 80 %"),
        ("false", _share(of.all.false), "< 10 %"),
        ("until acknowledged (MTTA)", _time(of.all.acknowledged_s), "< 5 min"),
        ("until over (MTTR)", _time(of.all.resolved_s), "< 30 min"),
    )
    lines = [
        f"# Alerts of the last {days} days",
        "",
        (
            f"Somebody was told {of.all.fired} times; what that was worth is known of"
            f" {of.all.known}. {of.all.muted} more fired while a louder alert muted them."
        ),
        "",
        "| | measured | promised |",
        "|---|---|---|",
        *(f"| {what} | {measured} | {promise} |" for what, measured, promise in promised),
        "",
        "| alert | fired | muted | known | actionable | false | MTTA | MTTR |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {q.fired} | {q.muted} | {q.known} | {_share(q.actionable)}"
            f" | {_share(q.false)} | {_time(q.acknowledged_s)} | {_time(q.resolved_s)} |"
            for name, q in of.by_alert.items()
        ),
        "",
        "To tune:" if of.tune else "Nothing to tune.",
        *(f"* {name}: {why}" for name, why in of.tune.items()),
    ]
    return "\n".join(lines) + "\n"
