"""What is drilled: for each alert the fault that makes it fire, and the time that it may take.

Pure. A drill is played on a running stack, by `infra/drill_cli.py`: the fault is switched on in the
simulators (or a process is stopped, an operator's command is given, what Prometheus watches is
changed), the alert is waited for where alerts end up, the fault is taken away, and its end is
waited for. Each alert of the rule files has a drill, or a reason why it has none.

Where the rules' times are divided by a factor (`infra/prometheus/compressed.py`), so are those here
that are theirs; how long the stages themselves take is not.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.prometheus.alerts import ALERTS
from infra.prometheus.compressed import scrape_seconds
from infra.slo.levels import LEVELS
from infra.slo.rules import LASTING, seconds

#: What Alertmanager, its webhook and Kafka may take, and the looks of whoever waits.
DELIVERY_S = 5.0
#: Alertmanager tells what changed in a group of the history so often.
CHANGED_S = 10.0
#: Prometheus that read its files again knows no Alertmanager for so long, and drops what it has to
#: say; it says that again after a minute.
DISCOVERY_S = 5.0
#: severity -> how long Alertmanager waits on top before a person is told.
TO_A_PERSON_S: Mapping[str, float] = {"critical": 5, "high": 30, "medium": 120}


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a simulated vendor."""

    vendor: str
    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stopped:
    """A process that is stopped, and goes on later."""

    process: str


@dataclass(frozen=True, slots=True)
class Faltering:
    """A process that stands still for most of every second or so, and then goes on for a while."""

    process: str
    still_s: float = 1.0
    goes_s: float = 0.25


@dataclass(frozen=True, slots=True)
class Asked:
    """What an operator asks, and what ends it: names of commands, with their options."""

    command: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unwatched:
    """A job that Prometheus is not told of any more."""

    job: str


@dataclass(frozen=True, slots=True)
class Misruled:
    """A rule more, that cannot be evaluated once Prometheus knows its Alertmanager again."""


@dataclass(frozen=True, slots=True)
class Garbled:
    """A record that nobody can read, in a topic."""

    topic: str


Act = Fault | Stopped | Faltering | Asked | Unwatched | Misruled | Garbled


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An alert as a drill waits for it."""

    id: str
    name: str
    severity: str
    wait_s: float = 0.0
    keep_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill.

    Attributes:
        alert: which alert it is for.
        what: what is done, in words.
        faults: what is done, in order; it is undone in the same order.
        after: what is asked once that is undone.
        about: labels that it has to have, where it may fire for several things.
        begins_s: how long the stages take from the fault until it can be measured.
        fills_s: how much of the rule's window has to fill until its condition holds.
        ends_s: how long the stages take from the fault's end.
        drains_s: how much of the rule's window has to go by until the condition holds no more.
        away_s: where it is the fault's end that makes the alert fire: how long it lasts.
        stays: why its end is not waited for.
        alone: whether no other alert's end could be told meanwhile.

    """

    alert: Told
    what: str
    faults: tuple[Act, ...] = ()
    after: tuple[Asked, ...] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    begins_s: float = 0.0
    fills_s: float = 0.0
    ends_s: float = 0.0
    drains_s: float = 0.0
    away_s: float = 0.0
    stays: str = ""
    alone: bool = False

    def expected_s(self, factor: float = 1) -> float:
        """Return how long it may take from the fault to the alert in the history."""
        return self.begins_s + (self.fills_s + self.alert.wait_s) / factor + chain_s(factor)

    def over_s(self, factor: float = 1) -> float:
        """Return how long it may take from the fault's end to the alert's."""
        rules = (self.drains_s + self.alert.keep_s + CHANGED_S) / factor
        return self.ends_s + rules + chain_s(factor)


def chain_s(factor: float = 1) -> float:
    """Return how long it is from a state to the history: a scrape, two evaluations, delivery."""
    return 3 * scrape_seconds(factor) + DELIVERY_S


def _told() -> dict[str, Told]:
    alerts = {
        alert.id: Told(
            id=alert.id,
            name=alert.name,
            severity=alert.severity,
            wait_s=seconds(alert.wait),
            keep_s=seconds(alert.keep),
        )
        for alert in ALERTS
    }
    burns = {
        f"{level.id}-burn{number}": Told(
            id=f"{level.id}-burn{number}",
            name=level.alert,
            severity=burn.severity,
            wait_s=seconds(LASTING) if burn.severity == "low" else 0,
        )
        for level in LEVELS
        for number, burn in enumerate(level.burns, 1)
    }
    return alerts | burns


#: Every alert of the rule files.
ALL: Mapping[str, Told] = _told()

#: Whoever is cut off may not come back.
_CUT = (Fault("alpaca", "too-many-requests"), Fault("alpaca", "cut"))
_BOTH = (*_CUT, Fault("yahoo", "server-error"))
_YAHOO_BACK = (*_CUT, Fault("yahoo", "server-error", {"seconds": 40}))
_RECONNECT = (Asked("reconnect", {"target": "alpaca"}),)
_RELEASE = (Asked("release", {"target": "router"}),)
_TO_YAHOO = Asked("failover", {"target": "router", "to": "yahoo"})
_TO_ALPACA = Asked("failover", {"target": "router", "to": "alpaca"})
_ZERO = (Fault("alpaca", "price-zero"),)
_OFF = (Fault("alpaca", "jump", {"by": 0.1}),)
_AWAY, _BOTH_AWAY = "Alpaca cut, 429 at the door", "Alpaca cut, and Yahoo answers 502"
_LONG = "for as long as its window, which is a day or more"


def _forth_and_back(times: int) -> tuple[Asked, ...]:
    return (_TO_YAHOO, _TO_ALPACA) * times


DRILLS: tuple[Drill, ...] = (
    # what Prometheus has no Alertmanager for, it says again within the minute
    Drill(alert=ALL["X1"], what="none", begins_s=60),
    # before the quick failovers, which would make the mean of all a small one
    Drill(
        alert=ALL["R1"],
        what="both away, and Yahoo comes back after 40 s",
        faults=_YAHOO_BACK,
        after=_RECONNECT,
        begins_s=100,
        drains_s=3600,
    ),
    Drill(
        alert=ALL["R1b"],
        what="both away, and Yahoo comes back after 40 s",
        faults=_YAHOO_BACK,
        after=_RECONNECT,
        begins_s=100,
        stays=_LONG,
    ),
    # the fewer failovers before the more
    Drill(
        alert=ALL["M1"],
        what="4 times `failover yahoo`, `failover alpaca`",
        faults=_forth_and_back(4),
        begins_s=20,
        drains_s=3600,
    ),
    Drill(
        alert=ALL["R2"],
        what="6 times the same",
        faults=_forth_and_back(6),
        begins_s=30,
        stays=_LONG,
    ),
    Drill(
        alert=ALL["R2b"],
        what="11 times the same",
        faults=_forth_and_back(11),
        begins_s=50,
        stays=_LONG,
    ),
    Drill(
        alert=ALL["I2"],
        what="`failover yahoo`",
        faults=(_TO_YAHOO,),
        after=_RELEASE,
        # the transition back counts as well
        ends_s=30,
        drains_s=120,
    ),
    Drill(
        alert=ALL["C4"],
        what="keys refused",
        faults=(Fault("alpaca", "auth-failed"), Fault("alpaca", "cut")),
        after=_RECONNECT,
        # five refusals, the pauses between them doubled
        begins_s=25,
        ends_s=5,
    ),
    Drill(
        alert=ALL["I1"],
        what="Alpaca away for 15 s, and back",
        # for a quarter of a minute: a longer one would make others fire as well
        faults=(Fault("alpaca", "auth-timeout"), Fault("alpaca", "cut")),
        after=_RECONNECT,
        away_s=15,
        begins_s=20,
        ends_s=5,
        drains_s=300,
    ),
    Drill(
        alert=ALL["I3"],
        what="the plan's limit is 10 symbols, and Alpaca cut",
        faults=(Fault("alpaca", "symbol-limit", {"limit": 10}), Fault("alpaca", "cut")),
        after=_RECONNECT,
        begins_s=10,
        ends_s=5,
        drains_s=300,
    ),
    Drill(alert=ALL["H1"], what=_AWAY, faults=_CUT, after=_RECONNECT, ends_s=65),
    Drill(alert=ALL["H1x"], what=_AWAY, faults=_CUT, after=_RECONNECT, ends_s=65),
    Drill(
        alert=ALL["A2-burn1"],
        what=_AWAY,
        faults=_CUT,
        after=_RECONNECT,
        # 27 % of an hour
        fills_s=0.27 * 3600 + 15,
        ends_s=65,
        drains_s=300,
    ),
    Drill(
        alert=ALL["L2"],
        what="Alpaca closes 7 times",
        faults=(Fault("alpaca", "close", {"count": 7}),),
        begins_s=130,
        drains_s=3600,
    ),
    Drill(
        alert=ALL["C1"],
        what=_BOTH_AWAY,
        faults=_BOTH,
        after=_RECONNECT,
        # both are down once their checks have failed, and one comes back after its pause
        begins_s=30,
        ends_s=60,
    ),
    Drill(
        alert=ALL["A1-burn1"],
        what=_BOTH_AWAY,
        faults=_BOTH,
        after=_RECONNECT,
        begins_s=30,
        # 7.2 % of an hour
        fills_s=0.072 * 3600 + 15,
        ends_s=60,
        drains_s=300,
    ),
    Drill(
        alert=ALL["X6"],
        what="a mute socket",
        faults=(Fault("alpaca", "mute-socket"),),
        after=_RECONNECT,
        begins_s=60,
        ends_s=10,
    ),
    Drill(
        alert=ALL["L1"],
        what="trades with the price 0",
        faults=_ZERO,
        about={"sloth_slo": "validation-success"},
        begins_s=30,
        stays=_LONG,
    ),
    Drill(
        alert=ALL["Q1-burn1"],
        what="trades with the price 0",
        faults=_ZERO,
        begins_s=5,
        fills_s=720,
        drains_s=300,
    ),
    Drill(
        alert=ALL["H3"],
        what="trades with the price 0",
        faults=_ZERO,
        begins_s=5,
        fills_s=60,
        drains_s=120,
    ),
    Drill(
        alert=ALL["M2"],
        what="frames that are no messages",
        faults=(Fault("alpaca", "unreadable", {"count": 1_000_000}),),
        begins_s=5,
        fills_s=30,
        drains_s=300,
    ),
    Drill(
        alert=ALL["M3"],
        what="Alpaca's prices 10 % off",
        faults=_OFF,
        # Yahoo is 15 s behind the market, and polled every 5
        begins_s=25,
        ends_s=25,
    ),
    Drill(
        alert=ALL["Q2-burn1"],
        what="Alpaca's prices 10 % off",
        faults=_OFF,
        begins_s=25,
        fills_s=180,
        ends_s=25,
        drains_s=300,
    ),
    # the louder after the quieter, which it would mute
    Drill(
        alert=ALL["H2"],
        what="ticks held back for 7 s",
        faults=(Fault("alpaca", "late", {"by": 7}),),
        begins_s=10,
        fills_s=30,
        drains_s=300,
    ),
    Drill(
        alert=ALL["C2"],
        what="ticks held back for 15 s",
        faults=(Fault("alpaca", "late", {"by": 15}),),
        begins_s=20,
        fills_s=30,
        drains_s=300,
    ),
    Drill(
        alert=ALL["L1-burn1"],
        what="ticks held back for 4 s",
        faults=(Fault("alpaca", "late", {"by": 4}),),
        begins_s=5,
        fills_s=0.24 * 3600 + 15,
        drains_s=300,
    ),
    Drill(
        alert=ALL["L2-burn1"],
        what="the forwarder stands still for four fifths of the time",
        faults=(Faltering("forward"),),
        begins_s=10,
        # of what goes out, half to two thirds was under way for more than 0.1 s
        fills_s=0.24 / 0.5 * 3600,
        ends_s=10,
        drains_s=300,
    ),
    Drill(
        alert=ALL["P1"],
        what="the ClickHouse sink is stopped",
        faults=(Stopped("clickhouse"),),
        begins_s=10,
        ends_s=60,
    ),
    Drill(
        alert=ALL["P4"],
        what="a record that nobody can read",
        faults=(Garbled("hub.deliveries"),),
        begins_s=5,
        drains_s=600,
    ),
    Drill(
        alert=ALL["X3"],
        what="Prometheus is not told of the hub",
        faults=(Unwatched("alpaca-hub"),),
        begins_s=10,
        ends_s=5,
        alone=True,
    ),
    Drill(
        alert=ALL["X4"],
        what="Prometheus is not told of Alpaca's worker",
        faults=(Unwatched("alpaca-gateway"),),
        about={"metric": "alpaca_connection_status"},
        begins_s=10,
        ends_s=5,
        alone=True,
    ),
    # after the hub was not watched: what is stopped and then not watched is not over
    Drill(alert=ALL["X2"], what="the hub is stopped", faults=(Stopped("hub"),), ends_s=5),
    Drill(
        alert=ALL["X7"],
        what="a rule that cannot be evaluated",
        faults=(Misruled(),),
        begins_s=DISCOVERY_S,
        drains_s=300,
        alone=True,
    ),
    Drill(
        alert=ALL["X8"],
        what="Alertmanager is stopped for 25 s",
        faults=(Stopped("alertmanager"), _TO_YAHOO),
        after=_RELEASE,
        away_s=25,
        begins_s=10,
        drains_s=300,
        alone=True,
    ),
    Drill(
        alert=ALL["X9"],
        what="the history is stopped for 35 s",
        faults=(Stopped("alerts"), _TO_YAHOO),
        after=_RELEASE,
        away_s=35,
        begins_s=15,
        ends_s=10,
        drains_s=300,
        alone=True,
    ),
)

_SLOWER = (
    "the same rule as the level's first with longer windows: hours to days, during which the first"
    " mutes it"
)
#: Why some have none.
WITHOUT: Mapping[str, str] = {
    "C3": "a process near its cgroup's limit: the stack on one machine has no such limits",
    "P2": "a stage that lives and does nothing: one that is stopped does not answer (X2)",
    "P3": "the engine here is in the sink's own process: it does not fail without it (X2)",
    "X5": "a router in two states at once: that takes a mistake in its code",
    **{name: _SLOWER for name in ALL if "-burn" in name and not name.endswith("-burn1")},
}


def named(name: str) -> tuple[Drill, ...]:
    """Return the drills of an alert, by its name or id; all of them for `all`.

    Raises:
        LookupError: there is none; the message says why, or which there are.

    """
    found = tuple(d for d in DRILLS if name in {"all", d.alert.name, d.alert.id})
    if found:
        return found
    for other, why in WITHOUT.items():
        if name in {other, ALL[other].name}:
            message = f"{ALL[other].name} ({other}) cannot be drilled: {why}"
            raise LookupError(message)
    there = ", ".join(f"{drill.alert.name} ({drill.alert.id})" for drill in DRILLS)
    message = f"no drill for {name!r}: expected all, or one of {there}"
    raise LookupError(message)
