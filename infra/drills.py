"""What is drilled: for each alert the fault that makes it fire, and the time that it may take.

Pure. A drill is played on a running stack, by `infra/drill_cli.py`: the fault is switched on in the
simulators (or a process is stopped, or an operator's command is given), the alert is waited for
where alerts end up, the fault is taken away, and its end is waited for. Nothing is compressed: the
rules are those of production.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.prometheus.alerts import ALERTS, Alert
from infra.prometheus.config import SCRAPE_SECONDS
from infra.slo.rules import seconds

#: From a rule that holds to the alert in the history: a scrape, two evaluations (a recording's and
#: the alert's), Alertmanager and Kafka.
CHAIN_S = 3 * SCRAPE_SECONDS + 5.0
#: And to its end: Alertmanager tells what changed in a group every ten seconds.
END_S = CHAIN_S + 10.0


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
class Asked:
    """What an operator asks, and what ends it: names of commands, with their options."""

    command: str
    options: Mapping[str, str] = field(default_factory=dict)


Act = Fault | Stopped | Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """One drill.

    Attributes:
        alert: which alert it is for.
        faults: what is done, in order; it is undone in the same order.
        after: what is asked once that is undone.
        begins_s: how long it takes from the fault until the alert's condition holds.
        ends_s: how long from its end until the condition holds no more.
        away_s: where it is the fault's end that makes the alert fire: how long it lasts.

    """

    alert: Alert
    faults: tuple[Act, ...] = ()
    after: tuple[Asked, ...] = ()
    begins_s: float = 0.0
    ends_s: float = 0.0
    away_s: float = 0.0

    @property
    def expected_s(self) -> float:
        """How long it may take from the fault to the alert in the history."""
        return self.begins_s + seconds(self.alert.wait) + CHAIN_S

    @property
    def over_s(self) -> float:
        """How long it may take from the fault's end to the alert's."""
        return self.ends_s + seconds(self.alert.keep) + END_S


_BY_ID = {alert.id: alert for alert in ALERTS}
#: Whoever is cut off may not come back.
_CUT = (Fault("alpaca", "too-many-requests"), Fault("alpaca", "cut"))
_RECONNECT = Asked("reconnect", {"target": "alpaca"})

DRILLS: tuple[Drill, ...] = (
    Drill(alert=_BY_ID["X1"]),
    Drill(
        alert=_BY_ID["I2"],
        faults=(Asked("failover", {"target": "router", "to": "yahoo"}),),
        after=(Asked("release", {"target": "router"}),),
        # two minutes of `increase()`, for the transition back as well
        ends_s=150,
    ),
    Drill(
        alert=_BY_ID["C4"],
        faults=(Fault("alpaca", "auth-failed"), Fault("alpaca", "cut")),
        after=(_RECONNECT,),
        # five refusals, the pauses between them doubled
        begins_s=25,
        ends_s=5,
    ),
    Drill(
        alert=_BY_ID["I1"],
        # for a quarter of a minute: a longer one would make others fire as well
        faults=(Fault("alpaca", "auth-timeout"), Fault("alpaca", "cut")),
        away_s=15,
        begins_s=20,
        ends_s=305,
    ),
    Drill(alert=_BY_ID["H1"], faults=_CUT, ends_s=65),
    Drill(alert=_BY_ID["H3"], faults=(Fault("alpaca", "price-zero"),), begins_s=60, ends_s=120),
    Drill(
        alert=_BY_ID["C1"],
        faults=(*_CUT, Fault("yahoo", "server-error")),
        # both are down once their checks have failed
        begins_s=30,
        ends_s=30,
    ),
    Drill(alert=_BY_ID["X2"], faults=(Stopped("hub"),), begins_s=5, ends_s=5),
    Drill(alert=_BY_ID["P1"], faults=(Stopped("clickhouse"),), begins_s=10, ends_s=60),
)


def named(name: str) -> tuple[Drill, ...]:
    """Return the drills of an alert, by its name or id; all of them for `all`.

    Raises:
        LookupError: there is none; the message says which there are.

    """
    found = tuple(d for d in DRILLS if name in {"all", d.alert.name, d.alert.id})
    if not found:
        there = ", ".join(f"{drill.alert.name} ({drill.alert.id})" for drill in DRILLS)
        message = f"no drill for {name!r}: expected all, or one of {there}"
        raise LookupError(message)
    return found
