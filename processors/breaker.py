"""Is a price that moved too far to be believed? A circuit breaker for each symbol and source; pure.

A move is measured from a *reference*: the close of the day before, and, once a move was accepted,
the price that was (the *level*) for the rest of the trading day. Where no reference is known,
nothing is judged. A price within 20 % of the reference is always good. One beyond opens the breaker
and is rejected, as are all that follow it out there, until there is evidence:

    reopened    trading went on after a halt: the first price after it sets the level
    in_band     it lies within a limit-up limit-down band of the last five minutes
    confirmed   the other source tells the same within 5 %, and it is not the same print
    persisted   three moments, at least five seconds apart and spanning twenty, each with a price
                that agrees with the one before within 5 %, and few that say otherwise; or it is
                what stands a quarter of an hour after the session, which is the official close
    reverted    prices are back: three in a row, or one when the last stray is five seconds old
    new_day     another trading day, another close

So a single bad print never gets through, nor does a burst of them, which is one moment; a real
move gets through within a minute even where a symbol trades three times in it, or where Yahoo alone
tells of it, every fifteen seconds. Time is taken from both clocks, ours and the market's: a stalled
connection that lets go of a burst in two parts has not persisted.

A vendor that says the same print again (an equal time) has said nothing new. Bars are made of
trades that were judged already: a bar's close can open the breaker, and show that prices are back,
but counts as nothing else. What happened before a move that was accepted may still come late: it is
measured from the levels of before, too.
"""

from typing import NamedTuple

import msgspec

from processors.events import BreakerEvidence

NS = 1_000_000_000

#: How far a price may be from the reference.
MOVE = 0.20
#: How far two prices may be from each other that are said to agree.
AGREEMENT = 0.05

MOMENTS = 3
MOMENT_NS = 5 * NS
PERSISTENCE_NS = 20 * NS
#: So many prices have to agree for each that does not.
MAJORITY = 3
#: So many good prices in a row, and the stray ones are forgotten.
RETURNS = 3

#: How old, in market time, the other source's price may be.
RECENT_NS = 120 * NS
#: How old a limit-up limit-down band may be. They are told when they change.
BAND_FRESH_NS = 300 * NS

#: How many of a day's former levels are remembered.
LEVELS = 8

#: Prices are figures of a few digits: a move of 20 % exactly is none of 20.0000000001 %.
_ROUNDING = 1e-9

#: What no price is below, and what none is above. Not infinite: JSON has no word for that.
BOTTOM, TOP = -1.0, 1e308


class Doubt(msgspec.Struct, omit_defaults=True):
    """What speaks for and against the prices out there, while the breaker is open.

    Attributes:
        since_ns: the market time of the price that opened it.
        anchor: the newest price that agrees with the one before it.
        heard_ns: when that was received.
        moments: how many moments have spoken for it.
        begun_ns, begun_market_ns: when the first of them was received, and happened.
        moment_ns, moment_market_ns: the same of the last.
        agreeing: how many prices spoke for it.
        against: how many did not.
        returns: how many of them since the last that did.
        rejected: how many ticks were rejected.

    """

    since_ns: int
    anchor: float
    heard_ns: int
    moments: int = 0
    begun_ns: int = 0
    begun_market_ns: int = 0
    moment_ns: int = 0
    moment_market_ns: int = 0
    agreeing: int = 0
    against: int = 0
    returns: int = 0
    rejected: int = 0


class Side(msgspec.Struct, omit_defaults=True):
    """What one source told of one symbol.

    Attributes:
        since_ns, until_ns: the trading day that the rest is of; both 0 before the first.
        low, high: a price from here to there needs no second look.
        reference: what moves are measured from; None where it is not known.
        accepted: whether that is a level that was accepted rather than the close of the day before.
        level_since_ns: when on the market the accepted move began.
        earlier: the references of the same day before it.
        doubt: what is known of the prices out there; None while the breaker is closed.
        reopened_ns: when a halt ended after which nothing was heard yet.
        price: the newest price, believed or not; 0 before the first.
        price_ns: its market time.
        quote_ns: the market time of the newest quote.
        newest: that of the newest of any other kind.

    """

    since_ns: int = 0
    until_ns: int = 0
    low: float = BOTTOM
    high: float = TOP
    reference: float | None = None
    accepted: bool = False
    level_since_ns: int = 0
    earlier: list[float] = []
    doubt: Doubt | None = None
    reopened_ns: int | None = None
    price: float = 0.0
    price_ns: int = 0
    quote_ns: int = 0
    newest: dict[str, int] = {}


class Band(msgspec.Struct, frozen=True):
    """A limit-up limit-down band, and when it was told."""

    low: float
    high: float
    at_ns: int


class Seen(NamedTuple):
    """A price that is to be judged.

    Attributes:
        price: in US dollars.
        at_ns: when it was on the market.
        received_ns: when it was received.
        is_bar: whether it is the close of a bar.
        is_final: whether it stands long after the session, as the official close.

    """

    price: float
    at_ns: int
    received_ns: int
    is_bar: bool = False
    is_final: bool = False


class Opened(NamedTuple):
    """The breaker opened."""

    reference: float
    price: float


class Closed(NamedTuple):
    """The breaker closed."""

    reference: float
    price: float
    evidence: BreakerEvidence
    rejected: int


Change = Opened | Closed


def agree(one: float, other: float) -> bool:
    """Return whether two prices are within 5 % of each other."""
    return abs(one - other) <= AGREEMENT * min(one, other)


def within(price: float, reference: float) -> bool:
    """Return whether a price is within 20 % of a reference."""
    return abs(price - reference) <= reference * (MOVE + _ROUNDING)


def fit(side: Side) -> None:
    """Set which prices need no second look: none while there is something to find out."""
    if side.doubt is not None or side.reopened_ns is not None:
        side.low, side.high = TOP, BOTTOM
    elif side.reference is None:
        side.low, side.high = BOTTOM, TOP
    else:
        side.low = side.reference * (1 - MOVE - _ROUNDING)
        side.high = side.reference * (1 + MOVE + _ROUNDING)


def begin_day(
    side: Side, since_ns: int, until_ns: int, reference: float | None, price: float
) -> Closed | None:
    """Begin another trading day, with a reference if it is known; `price` is the first of it."""
    closed = None
    if side.doubt is not None:
        measured = reference if reference is not None else side.reference
        closed = Closed(measured or price, price, "new_day", side.doubt.rejected)
    side.since_ns, side.until_ns = since_ns, until_ns
    side.reference, side.accepted = reference, False
    side.level_since_ns, side.earlier, side.doubt = 0, [], None
    fit(side)
    return closed


def refer(side: Side, reference: float) -> None:
    """Measure from another close of the day before, unless a move was accepted since."""
    if not side.accepted and side.reference != reference:
        side.reference = reference
        fit(side)


def reopen(side: Side, at_ns: int) -> None:
    """Let the first price after a halt that ended set the level."""
    side.reopened_ns = at_ns
    fit(side)


def judge(side: Side, seen: Seen, other: Side, band: Band | None) -> tuple[bool, list[Change]]:
    """Return whether a price of the side's trading day is to be believed, and what that changed."""
    reference, doubt = side.reference, side.doubt
    inside = reference is None or within(seen.price, reference)
    if side.reopened_ns is not None and not seen.is_bar and seen.at_ns >= side.reopened_ns:
        return True, _reopened(side, seen, inside=inside)
    if reference is None:
        return True, []
    if inside:
        return True, _inside(side, doubt, seen) if doubt is not None else []
    if seen.at_ns < side.level_since_ns and any(within(seen.price, at) for at in side.earlier):
        return True, []
    changes: list[Change] = []
    if doubt is None:
        changes.append(Opened(reference, seen.price))
        doubt = side.doubt = Doubt(
            since_ns=seen.at_ns, anchor=seen.price, heard_ns=seen.received_ns
        )
        fit(side)
    if not seen.is_bar and seen.at_ns >= doubt.since_ns:
        _hear(doubt, seen)
    evidence = _evidence(side, doubt, seen, other, band)
    if evidence is None:
        doubt.rejected += 1
        return False, changes
    changes.append(_close(side, seen, evidence))
    return True, changes


def _reopened(side: Side, seen: Seen, *, inside: bool) -> list[Change]:
    changes: list[Change] = []
    side.reopened_ns = None
    if side.reference is not None and side.doubt is None and not inside:
        changes.append(Opened(side.reference, seen.price))
    if side.doubt is not None or changes:
        changes.append(_close(side, seen, "reopened"))
    else:
        _accept(side, seen.price, seen.at_ns)
    return changes


def _inside(side: Side, doubt: Doubt, seen: Seen) -> list[Change]:
    """Return what a price within the band changes while the breaker is open."""
    if seen.at_ns < doubt.since_ns:
        return []
    if not seen.is_bar and doubt.agreeing and agree(seen.price, doubt.anchor):
        # the edge of the band lies within what is going on: it speaks for those beyond
        _support(doubt, seen)
        return [_close(side, seen, "persisted")] if _persisted(doubt) else []
    doubt.against += 1
    doubt.returns += 1
    if doubt.returns < RETURNS and seen.received_ns - doubt.heard_ns < MOMENT_NS:
        return []
    return [_close(side, seen, "reverted")]


def _hear(doubt: Doubt, seen: Seen) -> None:
    """Take a price beyond the band into account."""
    if agree(seen.price, doubt.anchor):
        _support(doubt, seen)
        return
    doubt.against += 1
    doubt.returns += 1
    if doubt.agreeing <= 1 or doubt.returns >= RETURNS:
        # nobody else had said so, or nobody does any more: this is what is to be found out now
        doubt.moments = doubt.agreeing = doubt.against = 0
        _support(doubt, seen)


def _support(doubt: Doubt, seen: Seen) -> None:
    doubt.heard_ns = seen.received_ns
    doubt.returns = 0
    if doubt.moments and seen.at_ns <= doubt.moment_market_ns:
        return  # the same print again, or one of before
    doubt.anchor = seen.price
    doubt.agreeing += 1
    if not doubt.moments:
        doubt.begun_ns, doubt.begun_market_ns = seen.received_ns, seen.at_ns
    elif (
        seen.received_ns - doubt.moment_ns < MOMENT_NS
        or seen.at_ns - doubt.moment_market_ns < MOMENT_NS
    ):
        return
    doubt.moments += 1
    doubt.moment_ns, doubt.moment_market_ns = seen.received_ns, seen.at_ns


def _persisted(doubt: Doubt) -> bool:
    return (
        doubt.moments >= MOMENTS
        and doubt.moment_ns - doubt.begun_ns >= PERSISTENCE_NS
        and doubt.moment_market_ns - doubt.begun_market_ns >= PERSISTENCE_NS
        and doubt.agreeing >= MAJORITY * doubt.against
    )


def _evidence(
    side: Side, doubt: Doubt, seen: Seen, other: Side, band: Band | None
) -> BreakerEvidence | None:
    """Return what speaks for a price beyond the band."""
    if band is not None and _in_band(band, seen):
        return "in_band"
    if _confirmed(side, seen, other):
        return "confirmed"
    if not seen.is_bar and (seen.is_final or _persisted(doubt)):
        return "persisted"
    return None


def _in_band(band: Band, seen: Seen) -> bool:
    return 0 <= seen.at_ns - band.at_ns <= BAND_FRESH_NS and band.low <= seen.price <= band.high


def _confirmed(side: Side, seen: Seen, other: Side) -> bool:
    if not (other.price and agree(seen.price, other.price)):
        return False
    if abs(seen.at_ns - other.price_ns) > RECENT_NS or other.price_ns < side.level_since_ns:
        return False
    # Yahoo counts in seconds: an equal price of the same second may be the same bad print
    return seen.price != other.price or seen.at_ns // NS != other.price_ns // NS


def _close(side: Side, seen: Seen, evidence: BreakerEvidence) -> Closed:
    doubt = side.doubt
    closed = Closed(
        side.reference or seen.price, seen.price, evidence, doubt.rejected if doubt else 0
    )
    side.doubt = None
    if evidence == "reverted":
        fit(side)
    else:
        _accept(side, seen.price, min(doubt.since_ns, seen.at_ns) if doubt else seen.at_ns)
    return closed


def _accept(side: Side, price: float, since_ns: int) -> None:
    """Measure from a price that was accepted, for the rest of the day."""
    if side.reference is not None:
        side.earlier = [*side.earlier, side.reference][-LEVELS:]
    side.reference, side.accepted, side.level_since_ns = price, True, since_ns
    fit(side)
