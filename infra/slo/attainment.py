"""The report of the service levels: what was attained, what is left, and what that means. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.slo.levels import BOUNDS, LEVELS, Bound, Level, TimeSli
from infra.slo.rules import seconds

#: Budget left, and what is done: the first that is reached from above.
POLICY = (
    (0.6, "normal"),
    (0.4, "watch"),
    (0.2, "reliability first"),
    (0.0, "feature freeze"),
)
SPENT = "incident and postmortem"

#: stage -> the histogram of the time that a tick spends there
SPENT_IN = {
    "ingest": "alpaca_streaming_processing_duration_seconds",
    "validate, route and forward": "datasource_router_processing_duration_seconds",
    "broadcast": "multiasset_broadcast_duration_seconds",
}
#: Seconds, by stage; `{{w}}` is the window's place.
_BY_STAGE = "topk(3, ({}) > 0)".format(
    " or ".join(
        f'label_replace(sum(increase({metric}_sum[{{w}}])), "stage", "{stage}", "", "")'
        for stage, metric in SPENT_IN.items()
    )
)

#: level -> what its errors are made of, over a window
CONTRIBUTORS: Mapping[str, str] = {
    "service-availability": (
        "topk(3, sum by (state) (increase("
        'datasource_router_state_duration_seconds_total{{state="BOTH_UNAVAILABLE"}}[{w}])) > 0)'
    ),
    "alpaca-uptime": "topk(3, sum by (reason) (increase(alpaca_reconnection_total[{w}])) > 0)",
    "end-to-end-latency": _BY_STAGE,
    "websocket-to-signalr-latency": _BY_STAGE,
    "validation-success": (
        "topk(3, sum by (reason) (increase(datasource_router_validation_failures_total[{w}])) > 0)"
    ),
    "cross-source-consistency": (
        "topk(3, max by (symbol) (datasource_router_price_delta_percent) > 5)"
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attained:
    """One level as it stands; None where nothing was measured.

    Attributes:
        level: which.
        error: the share that was bad over its period.
        left: the share of the budget that is left, now.
        before: the same, a window ago.
        contributors: what the errors were made of, the largest first: what, how much.

    """

    level: Level
    error: float | None
    left: float | None
    before: float | None
    contributors: Sequence[tuple[str, float]] = ()

    @property
    def attained(self) -> str:
        """The share that was good."""
        return "no data" if self.error is None else f"{100 * (1 - self.error):.3f} %"

    @property
    def budget(self) -> str:
        """What is left of the budget: a share, and the time that this is."""
        if self.left is None:
            return "-"
        share = f"{100 * self.left:.1f} %"
        return share if self.hours is None else f"{share} ({self.hours:.2f} h)"

    @property
    def hours(self) -> float | None:
        """What is left of a budget of time, in hours; None of one of events."""
        if self.left is None or not isinstance(self.level.sli, TimeSli):
            return None
        return self.left * self.level.budget * seconds(self.level.period) / 3600

    @property
    def trend(self) -> str:
        """How the budget has changed since the window began."""
        if self.left is None or self.before is None:
            return "-"
        return f"{100 * (self.left - self.before):+.1f} points"

    @property
    def stage(self) -> str:
        """What the budget's policy asks for."""
        if self.left is None:
            return "-"
        return next((stage for least, stage in POLICY if self.left > least), SPENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A bound and the value that was measured; None where there was nothing to measure."""

    bound: Bound
    value: float | None

    @property
    def met(self) -> bool:
        """Whether it was kept."""
        return self.value is None or self.value <= self.bound.bound


def queries(window: str) -> dict[str, str]:
    """Return what has to be asked of Prometheus: name -> expression."""
    asked = {}
    for level in LEVELS:
        of = f'{{sloth_slo="{level.name}"}}'
        left = f"slo:period_error_budget_remaining:ratio{of}"
        asked[f"error {level.name}"] = f"slo:sli_error:ratio_rate{level.period}{of}"
        asked[f"left {level.name}"] = left
        asked[f"before {level.name}"] = f"{left} offset {window}"
        if level.name in CONTRIBUTORS:
            asked[f"of {level.name}"] = CONTRIBUTORS[level.name].format(w=window)
    return asked | {f"value {bound.name}": bound.value for bound in BOUNDS}


Vector = Sequence[Mapping[str, Any]]


def _value(vector: Vector) -> float | None:
    return float(vector[0]["value"][1]) if vector else None


def attained(answers: Mapping[str, Vector]) -> tuple[list[Attained], list[Kept]]:
    """Read Prometheus's answers to `queries`."""
    levels = [
        Attained(
            level=level,
            error=_value(answers[f"error {level.name}"]),
            left=_value(answers[f"left {level.name}"]),
            before=_value(answers[f"before {level.name}"]),
            contributors=[
                (" ".join(sample["metric"].values()), float(sample["value"][1]))
                for sample in answers.get(f"of {level.name}", ())
            ],
        )
        for level in LEVELS
    ]
    bounds = [Kept(bound=bound, value=_value(answers[f"value {bound.name}"])) for bound in BOUNDS]
    return levels, bounds


def _measured(kept: Kept) -> str:
    if kept.value is None:
        return "none"
    verdict = "kept" if kept.met else "BROKEN"
    return f"{kept.value:.1f} {kept.bound.unit}, {verdict}"


def markdown(title: str, levels: Sequence[Attained], bounds: Sequence[Kept]) -> str:
    """Return the report as a page."""
    lines = [
        f"# {title}",
        "",
        "| level | promised | attained | budget left | trend | policy |",
        "|---|---|---|---|---|---|",
        *(
            f"| {a.level.id} {a.level.title} | {a.level.objective * 100:g} % over {a.level.period}"
            f" | {a.attained} | {a.budget} | {a.trend} | {a.stage} |"
            for a in levels
        ),
        "",
        "| bound | promised | measured |",
        "|---|---|---|",
        *(
            f"| {k.bound.id} {k.bound.title} | {k.bound.bound:g} {k.bound.unit} | {_measured(k)} |"
            for k in bounds
        ),
    ]
    for each in levels:
        if each.contributors:
            told = ", ".join(f"{what} {amount:,.0f}" for what, amount in each.contributors)
            lines += ["", f"What {each.level.id} lost to: {told}."]
    return "\n".join(lines) + "\n"


#: Slack takes no more of a text than this, and no more blocks.
TEXT_LENGTH, MOST_BLOCKS = 3000, 50


def slack(title: str, levels: Sequence[Attained], bounds: Sequence[Kept]) -> dict[str, Any]:
    """Return the report as a message of Slack's blocks."""
    told = [
        f"*{a.level.id}* {a.level.title}\n{a.attained} of {a.level.objective * 100:g} %,"
        f" left {a.budget} ({a.trend}): *{a.stage}*"
        for a in levels
    ]
    told += [f"*{k.bound.id}* {k.bound.title}\n{_measured(k)}" for k in bounds]
    sections = [
        {"type": "section", "text": {"type": "mrkdwn", "text": text[:TEXT_LENGTH]}} for text in told
    ]
    header = {"type": "header", "text": {"type": "plain_text", "text": title[:150]}}
    return {"text": title, "blocks": [header, *sections][:MOST_BLOCKS]}
