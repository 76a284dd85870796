"""The service levels, specified once.

The rules, the burn-rate alerts, the reports and the budget policy are made of this table. Two kinds
have an error budget that burns. The share of *time* that something is not so counts bad seconds
against the whole period's seconds, however short the time is that was observed: an hour after the
first start, a minute's outage is a minute of the month. The share of bad *events* weighs events: an
average of ratios would let a quiet night outvote a busy noon. The third kind has too few events to
burn: a bound on a measured value.
"""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["critical", "high", "medium", "low"]


@dataclass(frozen=True, slots=True)
class Burn:
    """An alert on the budget's burning `factor` times too fast, over both of two windows."""

    factor: float
    long: str
    short: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class TimeSli:
    """The share of time that `metric`, a recorded 0 or 1, was not 1."""

    metric: str


@dataclass(frozen=True, slots=True)
class EventSli:
    """The share of events that were bad.

    Attributes:
        bad: a PromQL expression of how many were, with `{w}` for the window.
        total: of how many there were.
        least: with fewer there is nothing to say.
        while_: nothing is said but while this holds; empty for always.

    """

    bad: str
    total: str
    least: int
    while_: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One service level with an error budget.

    Attributes:
        name: as `sloth_slo` names it.
        id: as the tables of service levels name it.
        title: what it promises.
        objective: the share that has to be good.
        period: the time that the budget is for.
        sli: what is bad.
        burns: when somebody is told, and how loudly.
        alert: what those alerts are called.
        component: where to look.

    """

    name: str
    id: str
    title: str
    objective: float
    period: str
    sli: TimeSli | EventSli
    burns: tuple[Burn, ...]
    alert: str
    component: str

    @property
    def budget(self) -> float:
        """The share that may be bad."""
        return 1 - self.objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A service level that is a bound on a measured value.

    Attributes:
        name: as reports name it.
        id: as the tables of service levels name it.
        title: what it promises.
        value: the PromQL expression of the value.
        bound: what it may reach.
        stretch: what it should stay under.
        unit: of the value.

    """

    name: str
    id: str
    title: str
    value: str
    bound: float
    stretch: float
    unit: str


_MONTH = (("1h", "5m"), ("6h", "30m"), ("1d", "2h"), ("3d", "6h"))


def _burns(*told: tuple[float, Severity]) -> tuple[Burn, ...]:
    return tuple(
        Burn(factor, *windows, severity)
        for (factor, severity), windows in zip(told, _MONTH, strict=False)
    )


#: Upper bounds are written as the client writes them ("2.0") or as others do ("2").
_LATENCY = "alpaca_message_latency_seconds"
_ALPACA = '{{source="alpaca"}}'
_WITHIN_2_S = '{{source="alpaca", le=~"2(\\\\.0)?"}}'
_HOP = "alpaca_websocket_to_signalr_seconds"

LEVELS: tuple[Level, ...] = (
    Level(
        name="service-availability",
        id="A1",
        title="Prices are routed, from whichever source",
        objective=0.995,
        period="30d",
        sli=TimeSli("alpaca:service_available:bool"),
        burns=_burns((14.4, "critical"), (6, "high"), (3, "medium"), (1, "low")),
        alert="AlpacaServiceAvailabilityBurn",
        component="router",
    ),
    Level(
        name="alpaca-uptime",
        id="A2",
        title="Alpaca is connected and authenticated",
        objective=0.98,
        period="7d",
        sli=TimeSli("alpaca:connected:bool"),
        burns=_burns((13.44, "high"), (3.5, "medium"), (1.4, "low"), (0.98, "low")),
        alert="AlpacaUptimeBurn",
        component="alpaca",
    ),
    Level(
        name="end-to-end-latency",
        id="L1",
        title="From the market's event to the SignalR send within 2 s",
        objective=0.95,
        period="1d",
        sli=EventSli(
            bad=(
                f"sum(increase({_LATENCY}_count{_ALPACA}[{{w}}]))"
                f" - sum(increase({_LATENCY}_bucket{_WITHIN_2_S}[{{w}}]))"
            ),
            total=f"sum(increase({_LATENCY}_count{_ALPACA}[{{w}}]))",
            least=100,
        ),
        burns=_burns((4.8, "high"), (2, "medium"), (1, "low")),
        alert="AlpacaEndToEndLatencyBurn",
        component="hub",
    ),
    Level(
        name="websocket-to-signalr-latency",
        id="L2",
        title="From Alpaca's socket to the SignalR send within 100 ms",
        objective=0.95,
        period="1d",
        sli=EventSli(
            bad=(
                f"sum(increase({_HOP}_count[{{w}}]))"
                f' - sum(increase({_HOP}_bucket{{{{le="0.1"}}}}[{{w}}]))'
            ),
            total=f"sum(increase({_HOP}_count[{{w}}]))",
            least=100,
        ),
        burns=_burns((4.8, "medium"), (2, "medium"), (1, "low")),
        alert="AlpacaPipelineLatencyBurn",
        component="hub",
    ),
    Level(
        name="validation-success",
        id="Q1",
        title="Ticks pass validation",
        objective=0.99,
        period="1d",
        sli=EventSli(
            bad="sum(increase(datasource_router_validation_failures_total[{w}]))",
            total="sum(increase(datasource_router_messages_processed_total[{w}]))",
            least=100,
        ),
        burns=_burns((4.8, "high"), (2, "medium"), (1, "low")),
        alert="AlpacaValidationBurn",
        component="validate",
    ),
    Level(
        name="cross-source-consistency",
        id="Q2",
        title="Alpaca's and Yahoo's prices of the same moment agree within 5 %",
        objective=0.95,
        period="1h",
        sli=EventSli(
            bad=(
                'sum(increase(datasource_router_price_comparisons_total{{result="inconsistent"}}'
                "[{w}]))"
            ),
            total="sum(increase(datasource_router_price_comparisons_total[{w}]))",
            least=30,
            while_="max(market_session_open) == 1",
        ),
        burns=(Burn(2, "15m", "5m", "medium"), Burn(1, "1h", "15m", "low")),
        alert="AlpacaConsistencyBurn",
        component="validate",
    ),
)

BOUNDS: tuple[Bound, ...] = (
    Bound(
        name="failover-recovery",
        id="R1",
        title="Yahoo takes over within 10 s of the failure's detection, on average",
        value="datasource_router:recovery_time_seconds:mean30d",
        bound=10,
        stretch=5,
        unit="s",
    ),
    Bound(
        name="failover-frequency",
        id="R2",
        title="At most 5 failovers a day",
        value="datasource_router:failovers:increase1d",
        bound=5,
        stretch=2,
        unit="failovers",
    ),
)
