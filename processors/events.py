"""What the processors write: verdicts on ticks, transitions of the router, routed prices.

Facts in the past tense; frozen. Times are integers, nanoseconds since the epoch, UTC. Prices are
US dollars a share, sizes and volumes shares. An event's identity is the place in the log of the raw
tick that it came from: (`raw_topic`, `raw_partition`, `raw_offset`).
"""

from typing import Literal

import msgspec

from infra.naming import snake

Source = Literal["alpaca", "yahoo"]


# gc=False on what comes by the thousand: it holds no cycles, and the collector need not walk it.
class Provenance(msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True):
    """Where a tick came from, carried through every stage."""

    symbol: str
    source: Source
    feed: str
    session_id: str
    session_seq: int
    received_at_ns: int
    raw_topic: str
    raw_partition: int
    raw_offset: int


class _Valid(Provenance, frozen=True, kw_only=True, gc=False, tag_field="kind", tag=str.lower):
    """What all valid ticks tell.

    Attributes:
        market_time_ns: when it happened on the market, by the vendor.
        gap_id: the gap that it was fetched to fill, afterwards; empty for what came live.
        late: it was received long after it happened, though its feed is in real time.
        out_of_order: one of its kind that happened later on the market came before it.

    """

    market_time_ns: int
    gap_id: str = ""
    late: bool = False
    out_of_order: bool = False


class Trade(_Valid, frozen=True, kw_only=True, gc=False):
    """A reported trade. `trade_id` is unique only within (symbol, exchange, tape, day)."""

    price: float
    size: float
    exchange: str
    tape: str
    trade_id: int
    conditions: list[str]


class Quote(_Valid, frozen=True, kw_only=True, gc=False):
    """The best bid and ask. A price of 0 means that this side has no quote."""

    bid_price: float
    bid_size: float
    bid_exchange: str
    ask_price: float
    ask_size: float
    ask_exchange: str
    tape: str
    conditions: list[str]


class Bar(_Valid, frozen=True, kw_only=True, gc=False):
    """Prices over an interval from `market_time_ns` on. `updated`: late trades changed it."""

    interval: Literal["1m", "5m", "1d"]
    updated: bool
    open: float
    high: float
    low: float
    close: float
    volume: float
    trade_count: int | None
    vwap: float | None


class Last(_Valid, frozen=True, kw_only=True, gc=False):
    """The last sale as a vendor summarised it; `market_time_ns` is when that sale happened."""

    price: float
    previous_close: float | None
    day_high: float | None
    day_low: float | None
    volume: float | None
    currency: str


class Status(_Valid, frozen=True, kw_only=True, gc=False):
    """A trading status of a symbol: a halt, a resumption."""

    status_code: str
    status_message: str
    reason_code: str
    reason_message: str
    tape: str


class Luld(_Valid, frozen=True, kw_only=True, gc=False):
    """The limit-up limit-down band of a symbol."""

    limit_up: float
    limit_down: float
    indicator: str
    tape: str


class Correction(_Valid, frozen=True, kw_only=True, gc=False):
    """A trade that was reported wrongly, and what it should have been."""

    exchange: str
    tape: str
    original_id: int
    original_price: float
    original_size: float
    original_conditions: list[str]
    corrected_id: int
    corrected_price: float
    corrected_size: float
    corrected_conditions: list[str]


class Cancel(_Valid, frozen=True, kw_only=True, gc=False):
    """A trade that was taken back. `action`: C cancelled, E entered in error."""

    exchange: str
    tape: str
    trade_id: int
    price: float
    size: float
    action: str


ValidTick = Trade | Quote | Bar | Last | Status | Luld | Correction | Cancel

RejectReason = Literal[
    "malformed",
    "unknown_type",
    "unknown_symbol",
    "invalid_price",
    "negative_volume",
    "future_timestamp",
    "circuit_breaker",
]


class RejectedTick(Provenance, frozen=True, kw_only=True, gc=False):
    """A tick that broke a rule (`ticks.rejected`), with what it takes to look at it again.

    Attributes:
        reason: the rule that it broke.
        detail: the value found and what was expected.
        encoding: as in the raw tick.
        raw: the vendor's bytes, as in the raw tick.
        gap_id: the gap that it was fetched to fill, afterwards; empty for what came live.

    """

    reason: RejectReason
    detail: str
    encoding: Literal["json", "msgpack", "bytes"]
    raw: msgspec.Raw
    gap_id: str = ""


class Merged(msgspec.Struct, frozen=True, kw_only=True):
    """A run of Yahoo's raw ticks was taken (`validate.merges`), between two of Alpaca's.

    What is decided of a tick may depend on the other source's, so the order in which both are taken
    is written down before anything that came of it. Partition for partition.

    Attributes:
        yahoo_since: the first offset of the run in `ticks.raw.yahoo`.
        yahoo_until: the first offset after it.
        alpaca_until: the first offset in `ticks.raw.alpaca` that was not taken before.
        at_ns: when this was written.

    """

    yahoo_since: int
    yahoo_until: int
    alpaca_until: int
    at_ns: int


BreakerEvidence = Literal["confirmed", "persisted", "reopened", "in_band", "reverted", "new_day"]


class _Breaker(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """A symbol's circuit breaker (`symbols.breakers`), one for each source.

    The place is that of the raw tick that decided it.

    Attributes:
        reference: the price that moves are measured from, in US dollars.
        price: the price that decided it.
        at_ns: when that tick was received.

    """

    symbol: str
    source: Source
    reference: float
    price: float
    at_ns: int
    raw_topic: str
    raw_partition: int
    raw_offset: int


class BreakerOpened(_Breaker, frozen=True, kw_only=True):
    """A price moved too far from the previous close: such prices are rejected until it closes."""


class BreakerClosed(_Breaker, frozen=True, kw_only=True):
    """Prices of the symbol are believed again.

    Attributes:
        evidence: `confirmed`: the other source tells the same; `persisted`: the move lasted;
            `reopened`: trading went on after a halt; `in_band`: it lies within the limit-up
            limit-down band; `reverted`: prices came back; `new_day`: there is another close.
        rejected: how many ticks were rejected while it was open.

    """

    evidence: BreakerEvidence
    rejected: int


BreakerEvent = BreakerOpened | BreakerClosed


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of both sources at the same moment of the market (`prices.discrepancies`).

    Its identity is the place of Yahoo's raw tick.

    Attributes:
        verdict: `inconsistent`: they differ by more than is tolerated.
        alpaca_price: of Alpaca's newest trade at or before Yahoo's moment, in US dollars.
        alpaca_time_ns: when that was.
        alpaca_offset: that trade's offset in `ticks.raw.alpaca`, in the same partition.
        yahoo_price: Yahoo's, in US dollars.
        yahoo_time_ns: the moment that both prices are of.
        delta_percent: `100 * abs(alpaca - yahoo) / yahoo`.
        compared_at_ns: when Yahoo's tick was received.

    """

    symbol: str
    verdict: Literal["consistent", "inconsistent"]
    alpaca_price: float
    alpaca_time_ns: int
    alpaca_offset: int
    yahoo_price: float
    yahoo_time_ns: int
    delta_percent: float
    compared_at_ns: int
    raw_topic: str
    raw_partition: int
    raw_offset: int


QuarantineReason = Literal["disagrees", "silent", "unheard"]


class _Quarantine(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """A symbol is not routed from Alpaca (`symbols.quarantines`), whatever the route is.

    The place is that of the raw tick that decided it.

    Attributes:
        reason: `disagrees`: Alpaca's price disagrees with Yahoo's persistently; `silent`: Alpaca
            tells nothing of it while it tells of others, and Yahoo's price moves; `unheard`: Alpaca
            has never told anything of it.
        detail: the same in words, with the figures that decided.
        at_ns: when that tick was received.
        fence: how often the symbol's own source has changed, this change included.

    """

    symbol: str
    reason: QuarantineReason
    detail: str
    at_ns: int
    fence: int
    raw_topic: str
    raw_partition: int
    raw_offset: int


class QuarantineBegan(_Quarantine, frozen=True, kw_only=True):
    """From now on the symbol is routed from Yahoo alone."""


class QuarantineEnded(_Quarantine, frozen=True, kw_only=True):
    """By evidence: from now on the symbol goes where the router says."""


QuarantineEvent = QuarantineBegan | QuarantineEnded


State = Literal["STARTUP", "PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "BOTH_UNAVAILABLE"]
TransitionReason = Literal[
    "startup", "timeout", "disconnected", "health", "auth", "manual", "recovered"
]


class RouterTransition(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the trusted source (`router.transitions`).

    Attributes:
        epoch: one more than that of the transition before; fences off the old source.
        from_state: the state left.
        to_state: the state entered.
        reason: what caused it; `recovered` for every way back up.
        detail: the same in words, with the figures that decided.
        detected_at_ns: when the cause began to hold for long enough to act on.
        switched_at_ns: from when on it is in force: a tick that is received then or later goes out
            under this epoch. It is a moment after the decision, so that whoever forwards ticks
            learns of it in time.
        by: `router`, or the operator whose command it was.
        cause_offset: the offset in `sources.status` of the last fact taken into account.
        command_offset: the offset in `ops.commands` of the last command taken into account; -1 for
            none.
        generation: of the router that decided, higher than that of any before it. A reader who has
            seen a higher one drops what a former router wrote too late.

    """

    epoch: int
    from_state: State
    to_state: State
    reason: TransitionReason
    detail: str
    detected_at_ns: int
    switched_at_ns: int
    by: str
    cause_offset: int
    command_offset: int = -1
    generation: int = 0


class RouteTaken(msgspec.Struct, frozen=True, kw_only=True):
    """From here on a partition's prices go out under another epoch (`forward.switches`).

    That is where the first tick comes that was received then, unless it was heard of too late, or
    no tick came. Whoever replays goes by what was.

    Attributes:
        epoch: the transition's.
        after_topic: the raw topic of the last tick that was taken before; empty for none.
        after_offset: its offset there, in the same partition; -1 for none.
        at_ns: when.

    """

    epoch: int
    after_topic: str
    after_offset: int
    at_ns: int


class RoutedPrice(Provenance, frozen=True, kw_only=True, gc=False):
    """The price to trust (`prices.routed`, `prices.latest`).

    Its identity is the raw tick's place, the epoch and the fence: when the router comes back from a
    delayed source, the last price from before may be the newest again, and goes out again.

    Attributes:
        price: the last price, in US dollars a share.
        previous_close: the close of the session before, where a source has told it.
        change: `price - previous_close`.
        change_percent: the same, in percent of the previous close.
        epoch: the router's epoch under which it was routed.
        is_real_time: false when it came from the fallback.
        market_time_ns: when it was traded.
        routed_at_ns: when it was routed.
        fence: how often the symbol's own source has changed, because it went into quarantine or
            came back: no price of a lower (`epoch`, `fence`) follows one of a higher.
        amends: the offset of the raw tick of a price that was cancelled or corrected, and that this
            one takes the place of; it may be older on the market. Its own place is that of the
            cancel or correction.

    """

    price: float
    previous_close: float | None
    change: float | None
    change_percent: float | None
    epoch: int
    is_real_time: bool
    market_time_ns: int
    routed_at_ns: int
    fence: int = 0
    amends: int | None = None


class SessionChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A session of the market began (`market.sessions`).

    Attributes:
        market: `XNYS`; `always` for a simulated market that never closes.
        state: the session that began: `pre`, `regular`, `post` or `closed`.
        since_ns: when it began, by the calendar.
        until_ns: when it ends, by the calendar; None where the calendar does not reach so far.
        at_ns: when this was written.

    """

    market: str
    state: Literal["pre", "regular", "post", "closed"]
    since_ns: int
    until_ns: int | None
    at_ns: int
