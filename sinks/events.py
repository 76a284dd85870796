"""What the sinks write: who came to the hub, what reached them; and the history of alerts.

Facts in the past tense; frozen. Times are integers, nanoseconds since the epoch, UTC.
"""

from typing import Literal

import msgspec

from infra.naming import snake

HubName = Literal["market-data", "dashboard"]
Left = Literal["left", "silent", "too_slow", "unfit", "expired", "restart"]


class _Session(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """Something that happened to one connection (`hub.sessions`).

    Attributes:
        at_ns: when.
        connection_id: the connection; never used twice.
        hub: the address that it came in at.
        user: by the token; empty for somebody without.

    """

    at_ns: int
    connection_id: str
    hub: HubName
    user: str


class ClientConnected(_Session, frozen=True, kw_only=True):
    """A client's handshake was accepted."""

    encoding: Literal["json", "messagepack"]


class ClientSubscribed(_Session, frozen=True, kw_only=True):
    """A client asked for prices.

    Attributes:
        symbols: those that it named, and that we know; empty where it asked for all.

    """

    symbols: list[str]


class ClientUnsubscribed(_Session, frozen=True, kw_only=True):
    """A client no longer wants prices.

    Attributes:
        symbols: those that it named; empty for the asset class as a whole.

    """

    symbols: list[str]


class ClientLeft(_Session, frozen=True, kw_only=True):
    """A connection ended.

    Attributes:
        reason: `left`: by the client, or its network; `silent`: nothing was heard of it;
            `too_slow`: it did not read; `unfit`: it spoke no SignalR, or too much;
            `expired`: its token was over; `restart`: the hub ended.
        detail: what it was told.
        connected_at_ns: when it came.
        updates: how many prices it was sent.

    """

    reason: Left
    detail: str
    connected_at_ns: int
    updates: int


SessionEvent = ClientConnected | ClientSubscribed | ClientUnsubscribed | ClientLeft


class _Delivery(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """What reached the clients of one hub (`hub.deliveries`).

    Attributes:
        at_ns: when it was found.
        hub_id: the process; another one after a restart.

    """

    at_ns: int
    hub_id: str


class Delivered(_Delivery, frozen=True, kw_only=True):
    """A minute of one hub, up to `at_ns`. What has no figure is null.

    Latencies are of prices that were news, from the market's time to the end of the send, by the
    hub's clock and the vendor's. A round trip is by the hub's clock alone; half of it is an
    estimate of the way there, right only where both ways are alike; the whole of it is an upper
    bound.

    Attributes:
        since_ns: when it began.
        clients: how many are connected at its end.
        updates: how many prices were sent, each counted once a client.
        bytes: how much was written for them.
        alpaca_p50_s: the median latency of Alpaca's prices, in seconds.
        alpaca_p95_s: its 95th percentile.
        alpaca_p99_s: its 99th percentile.
        alpaca_count: of how many.
        yahoo_p50_s: the same of Yahoo's, which are as old as Yahoo gives them.
        yahoo_p95_s: its 95th percentile.
        yahoo_p99_s: its 99th percentile.
        yahoo_count: of how many.
        round_trip_p50_s: the median round trip of the probes that were answered, in seconds.
        round_trip_p95_s: its 95th percentile.
        round_trip_count: of how many.

    """

    since_ns: int
    clients: int
    updates: int
    bytes: int
    alpaca_p50_s: float | None
    alpaca_p95_s: float | None
    alpaca_p99_s: float | None
    alpaca_count: int
    yahoo_p50_s: float | None
    yahoo_p95_s: float | None
    yahoo_p99_s: float | None
    yahoo_count: int
    round_trip_p50_s: float | None
    round_trip_p95_s: float | None
    round_trip_count: int


class ProbeAnswered(_Delivery, frozen=True, kw_only=True):
    """A client acknowledged: what the hub had sent before the probe, it has.

    Attributes:
        connection_id: whose.
        round_trip_s: from the probe's send to the answer, in seconds.
        age_s: how old Alpaca's last price was when the hub had sent it; null where there was none.
            With the whole round trip added it is an upper bound of the age on arrival.

    """

    connection_id: str
    round_trip_s: float
    age_s: float | None


DeliveryEvent = Delivered | ProbeAnswered


class _Alert(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """Something that happened to an alert (`ops.alerts`).

    Its identity is the fingerprint, when it began, what happened, and the incident: it may be told
    any number of times.

    Attributes:
        fingerprint: of its labels, as Prometheus and Alertmanager make it.
        name: the alert's name.
        severity: how loudly it was told.
        started_at_ns: since when its condition had held.
        told_at_ns: when we were told.

    """

    fingerprint: str
    name: str
    severity: str
    started_at_ns: int
    told_at_ns: int


class AlertFired(_Alert, frozen=True, kw_only=True):
    """An alert began to fire.

    Attributes:
        alert_id: what tables call it.
        service: what the digest groups by.
        labels: all that tell it from others.
        summary: what it said.
        description: and besides.

    """

    alert_id: str
    service: str
    labels: dict[str, str]
    summary: str
    description: str


class AlertInhibited(_Alert, frozen=True, kw_only=True):
    """An alert fires and nobody is told, because a louder one does.

    Attributes:
        inhibited_by: the names of those that muted it first.
        alert_id: what tables call it.
        service: what the digest groups by.
        labels: all that tell it from others.
        summary: what it would have said.
        description: and besides.

    """

    inhibited_by: list[str]
    alert_id: str
    service: str
    labels: dict[str, str]
    summary: str
    description: str


class AlertResolved(_Alert, frozen=True, kw_only=True):
    """An alert is over.

    Attributes:
        ended_at_ns: since when.

    """

    ended_at_ns: int


class AlertPaged(_Alert, frozen=True, kw_only=True):
    """Somebody was paged for an alert.

    Attributes:
        incident_key: what the pager knows the incident by; alerts of a group share one.

    """

    incident_key: str


class AlertAcknowledged(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """Somebody took an incident on.

    Attributes:
        incident_key: what the pager knows it by, as `alert_paged` says.
        notice_id: of the pager's notice; never used twice.
        who: who did.
        at_ns: when.
        told_at_ns: when we were told.

    """

    incident_key: str
    notice_id: str
    who: str
    at_ns: int
    told_at_ns: int


class AlertJudged(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """Somebody said afterwards what an alert was worth.

    Attributes:
        fingerprint: the alert's.
        started_at_ns: which time.
        verdict: `actionable`: there was something to do; `noise`: there was not; `false`: nothing
            was wrong.
        who: who says so.
        why: in words.
        at_ns: when it was said.

    """

    fingerprint: str
    started_at_ns: int
    verdict: Literal["actionable", "noise", "false"]
    who: str
    why: str
    at_ns: int


AlertEvent = (
    AlertFired | AlertInhibited | AlertResolved | AlertPaged | AlertAcknowledged | AlertJudged
)
