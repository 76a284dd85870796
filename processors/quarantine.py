"""Which symbols are not to be taken from Alpaca, whatever the route is? Pure; one partition.

A source can be well and wrong about one symbol. Three things speak against Alpaca's price of it:

    disagrees   three comparisons in a row, over twenty seconds or more, are inconsistent
    silent      Alpaca has told no trade of it for two minutes, while it has of others; Yahoo has
                told two sales since, and its price is more than 1 % away
    unheard     Alpaca has told no trade of it at all, although for two minutes it was the routed
                source; Yahoo has told two sales in that time. It is beyond what the plan has room
                for, or is not traded at that exchange

and it is taken from there again when comparisons in a row are consistent: three over twenty seconds
where it disagreed, else one, because a comparison takes a fresh trade. Nothing is
looked at while the symbol is halted or its market closed: then nobody is expected to say anything.

A symbol that trades seldom at Alpaca's exchange is silent by nature. That harms nobody until the
price moves, which is why both are asked for.
"""

import msgspec

from processors.events import (
    Comparison,
    Last,
    QuarantineBegan,
    QuarantineEnded,
    QuarantineEvent,
    QuarantineReason,
    Trade,
)

NS = 1_000_000_000

#: So many comparisons in a row, over so long, decide about a symbol that disagrees.
COMPARISONS = 3
SPAN_NS = 20 * NS
#: So long without a trade is silence, if Yahoo has told so many sales since,
SILENT_NS = 120 * NS
SALES = 2
#: and its price is farther away than this.
MOVED_PERCENT = 1.0


class Suspicion(msgspec.Struct, omit_defaults=True):
    """What was heard of one symbol since the last decision about it.

    Attributes:
        verdict: of the last comparison.
        count, since_ns: how many in a row said so, and when the first did.
        sales: how many sales Yahoo has told in Alpaca's present silence.
        sale_ns: the market time of the last of them.
        unheard_ns: when the first of them was told, where Alpaca never told a trade.

    """

    verdict: str = ""
    count: int = 0
    since_ns: int = 0
    sales: int = 0
    sale_ns: int = 0
    unheard_ns: int = 0


class Warden:
    """Watches one partition's symbols, in the order of the log."""

    def __init__(self) -> None:
        #: By symbol, what was heard of it.
        self.suspicions: dict[str, Suspicion] = {}
        self._reasons: dict[str, QuarantineReason] = {}
        self._fences: dict[str, int] = {}
        #: The market time of the newest trade that Alpaca told, of any symbol.
        self._newest_ns = 0

    def recall(self, symbol: str, reason: QuarantineReason | None, fence: int) -> None:
        """Take over what was decided of a symbol; no reason: it is not in quarantine."""
        self._fences[symbol] = fence
        self.suspicions.pop(symbol, None)
        if reason is None:
            self._reasons.pop(symbol, None)
        else:
            self._reasons[symbol] = reason

    def hear(self, market_time_ns: int) -> None:
        """Take note of when something happened that Alpaca tells."""
        self._newest_ns = max(self._newest_ns, market_time_ns)

    def look(
        self,
        last: Last,
        trade: Trade | None,
        comparison: Comparison | None,
        *,
        alpaca_routed: bool,
        decides: bool = True,
    ) -> QuarantineEvent | None:
        """Look at a symbol that Yahoo told a price of, while it is traded.

        Args:
            last: what Yahoo told.
            trade: Alpaca's newest trade of the symbol, as far as is known.
            comparison: what the two came to, where they could be compared.
            alpaca_routed: whether prices go out from Alpaca.
            decides: whether anything is decided, or only taken note of.

        """
        suspicion = self.suspicions.setdefault(last.symbol, Suspicion())
        if comparison is not None:
            _count(suspicion, comparison)
        reason = self._reasons.get(last.symbol)
        if reason is None:
            found = self._doubt(suspicion, last, trade, comparison, alpaca_routed=alpaca_routed)
        else:
            found = _return(suspicion, last, reason, comparison)
        if found is None or not decides:
            return None
        fence = self._fences[last.symbol] = self._fences.get(last.symbol, 0) + 1
        new_reason, detail = found
        decided = QuarantineBegan if reason is None else QuarantineEnded
        event = decided(
            symbol=last.symbol,
            reason=new_reason,
            detail=detail,
            at_ns=last.received_at_ns,
            fence=fence,
            raw_topic=last.raw_topic,
            raw_partition=last.raw_partition,
            raw_offset=last.raw_offset,
        )
        self.recall(last.symbol, new_reason if reason is None else None, fence)
        return event

    def _doubt(
        self,
        suspicion: Suspicion,
        last: Last,
        trade: Trade | None,
        comparison: Comparison | None,
        *,
        alpaca_routed: bool,
    ) -> tuple[QuarantineReason, str] | None:
        """Return why a symbol is not to be taken from Alpaca, if so."""
        if comparison is not None and _row(suspicion, last, "inconsistent", COMPARISONS):
            return "disagrees", (
                f"{suspicion.count} comparisons in a row are inconsistent, the last by "
                f"{comparison.delta_percent:.1f} %: {comparison.alpaca_price} at Alpaca, "
                f"{comparison.yahoo_price} at Yahoo"
            )
        if trade is None:
            if alpaca_routed:
                return _unheard(suspicion, last)
            suspicion.sales = suspicion.unheard_ns = 0
            return None
        if not self._is_silent(suspicion, last, trade):
            return None
        silent = (last.market_time_ns - trade.market_time_ns) / NS
        return "silent", (
            f"Alpaca has told no trade for {silent:.0f} s, but of other symbols; it was at "
            f"{trade.price}, and Yahoo has {last.price}"
        )

    def _is_silent(self, suspicion: Suspicion, last: Last, trade: Trade) -> bool:
        moment = last.market_time_ns
        if moment - trade.market_time_ns < SILENT_NS or self._newest_ns < moment:
            suspicion.sales = 0
            return False
        _count_sale(suspicion, last)
        moved = 100 * abs(last.price - trade.price) / trade.price
        return suspicion.sales >= SALES and moved > MOVED_PERCENT


def _count(suspicion: Suspicion, comparison: Comparison) -> None:
    if suspicion.verdict != comparison.verdict:
        suspicion.verdict, suspicion.count = comparison.verdict, 0
        suspicion.since_ns = comparison.compared_at_ns
    suspicion.count += 1


def _count_sale(suspicion: Suspicion, last: Last) -> None:
    if last.market_time_ns > suspicion.sale_ns:
        suspicion.sales += 1
        suspicion.sale_ns = last.market_time_ns


def _unheard(suspicion: Suspicion, last: Last) -> tuple[QuarantineReason, str] | None:
    """Return why a symbol that Alpaca never told of is to be taken from Yahoo, if it is by now."""
    _count_sale(suspicion, last)
    if not suspicion.unheard_ns:
        suspicion.unheard_ns = last.received_at_ns
    waited_ns = last.received_at_ns - suspicion.unheard_ns
    if waited_ns < SILENT_NS or suspicion.sales < SALES:
        return None
    return "unheard", (
        f"Alpaca, which is routed, has told no trade; Yahoo has told {suspicion.sales} sales in "
        f"{waited_ns / NS:.0f} s"
    )


def _row(suspicion: Suspicion, last: Last, verdict: str, count: int) -> bool:
    return (
        suspicion.verdict == verdict
        and suspicion.count >= count
        and last.received_at_ns - suspicion.since_ns >= SPAN_NS
    )


def _return(
    suspicion: Suspicion, last: Last, reason: QuarantineReason, comparison: Comparison | None
) -> tuple[QuarantineReason, str] | None:
    """Return why a symbol is taken from Alpaca again, if so."""
    if comparison is None or comparison.verdict != "consistent":
        return None
    if reason == "disagrees" and not _row(suspicion, last, "consistent", COMPARISONS):
        return None
    return reason, (
        f"the prices agree again, within {comparison.delta_percent:.1f} %: "
        f"{comparison.alpaca_price} at Alpaca, {comparison.yahoo_price} at Yahoo"
    )
