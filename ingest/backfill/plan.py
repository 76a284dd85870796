"""What to fetch for a gap, when, and what of it the log has already. Pure.

The log is the truth. Which trades of a gap's window are missing is not remembered anywhere, but
read from the log before anything is published: what came live at the window's edges, and what an
earlier attempt published before it died. So an attempt may end at any moment, and be repeated.

Three times make that sound:

* `MARGIN_NS`. A gap's bounds are moments of our clock, trades have the market's, and a message may
  be late. So the window is wider than the gap on both sides; what was not missed is found in the
  log, and costs a page.
* `SETTLED_NS`. What the stream sends within the window must be in the log before the log is read,
  or the history would give it as well. The window ends a margin after the gap; a few seconds
  more, and the publisher has delivered it.
* `HORIZON_NS`. Further back nothing is fetched: the log keeps a raw tick for seven days, and a log
  that has forgotten proves nothing. A day leaves room for a worker that was away.
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from ingest.alpaca import history
from ingest.alpaca.history import MAX_SYMBOLS, MINUTE_NS, Identity, LiveMessage, Past, Query
from ingest.alpaca.times import NS
from ingest.events import GapClosed, GapEnded, RawTick

MARGIN_NS = 10 * NS
SETTLED_NS = MARGIN_NS + 5 * NS
HORIZON_NS = 24 * 60 * MINUTE_NS

#: A window is worked off in parts of this length, so that what is remembered of the log stays
#: bounded however long the gap was. Each part reads the log once.
PART_NS = 15 * MINUTE_NS

#: Feeds without a history: the canary's.
UNRECORDED_FEEDS = frozenset({"test"})

#: What only the stream tells.
LIVE_ONLY = ("quotes", "statuses", "lulds")


class Window(NamedTuple):
    """A time to fetch, in nanoseconds since the epoch; both ends are in it."""

    start_ns: int
    end_ns: int


def due_ns(gap: GapEnded) -> int:
    """Return the moment from which on all that came live in the gap's window is in the log."""
    return max(gap.at_ns, gap.until_ns) + SETTLED_NS


class Later(NamedTuple):
    """Nothing to do before this moment; None where only a new gap can bring something."""

    at_ns: int | None


def choose(gaps: Iterable[GapEnded], aside: Mapping[str, int], now_ns: int) -> GapEnded | Later:
    """Return the gap to fill now: the first that is due.

    Args:
        gaps: those that ended, oldest first.
        aside: until when a gap, by its id, is left alone.
        now_ns: the present.

    """
    later: list[int] = []
    for gap in gaps:
        at_ns = max(due_ns(gap), aside.get(gap.gap_id, 0))
        if at_ns <= now_ns:
            return gap
        later.append(at_ns)
    return Later(min(later, default=None))


def recorded(gap: GapEnded) -> bool:
    """Return whether the history can have anything of what was missed."""
    if gap.feed in UNRECORDED_FEEDS:
        return False
    return not gap.shed or any(gap.shed.get(meter) for meter in ("trade", "bar"))


def lost(gap: GapEnded) -> list[str]:
    """Return what was missed and no history gives back.

    Of what was shed we know the kinds; of what was never received, nothing.
    """
    if not gap.shed:
        return list(LIVE_ONLY)
    of_meter = {"quote": ("quotes",), "control": ("statuses", "lulds")}
    return [kind for meter, kinds in of_meter.items() if gap.shed.get(meter) for kind in kinds]


def window(gap: GapEnded, now_ns: int) -> Window | None:
    """Return what to fetch for a gap; None where all of it lies beyond the horizon."""
    horizon_ns = now_ns - HORIZON_NS
    start_ns, end_ns = gap.since_ns - MARGIN_NS, gap.until_ns + MARGIN_NS
    if gap.until_ns <= horizon_ns:
        return None
    return Window(max(start_ns, horizon_ns), end_ns)


def beyond(gap: GapEnded, now_ns: int) -> str:
    """Say what of a gap lies beyond the horizon; nothing where none of it does."""
    seconds = (min(now_ns - HORIZON_NS, gap.until_ns) - gap.since_ns) / NS
    if seconds <= 0:
        return ""
    return f"its first {seconds:.0f} s are more than {HORIZON_NS // (60 * MINUTE_NS)} hours ago"


def parts(of: Window) -> Iterator[Window]:
    """Cut a window into parts of at most `PART_NS`, without overlaps."""
    for start_ns in range(of.start_ns, of.end_ns + 1, PART_NS):
        yield Window(start_ns, min(start_ns + PART_NS - 1, of.end_ns))


def batches(symbols: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Cut a list of symbols into as many as one request takes; each symbol once."""
    unique = tuple(dict.fromkeys(symbols))
    for start in range(0, len(unique), MAX_SYMBOLS):
        yield unique[start : start + MAX_SYMBOLS]


def queries(part: Window, feed: str, symbols: tuple[str, ...]) -> Iterator[Query]:
    """Yield what to ask for a part of a window: trades, and the bars that were sent in it.

    The stream sends a bar when its minute is over. So the bars of a part are those of the minutes
    that ended in it, whole ones only: one that is still going on comes live.
    """
    start_ns, end_ns = part
    yield Query(resource="trades", feed=feed, symbols=symbols, start_ns=start_ns, end_ns=end_ns)
    first_end_ns = -(-start_ns // MINUTE_NS) * MINUTE_NS
    last_end_ns = end_ns // MINUTE_NS * MINUTE_NS
    if first_end_ns <= last_end_ns:
        yield Query(
            resource="bars",
            feed=feed,
            symbols=symbols,
            start_ns=first_end_ns - MINUTE_NS,
            end_ns=last_end_ns - MINUTE_NS,
        )


def log_since_ns(part: Window) -> int:
    """Return the moment from which on records of the log may be about a part of a window.

    A tick is received after it happened, but for clocks that disagree, and a bar when its minute
    is over.
    """
    return part.start_ns - MINUTE_NS


class _LiveTick(msgspec.Struct, frozen=True, gc=False):
    """The raw tick that comes by the thousand, with the vendor's message read in the same pass."""

    encoding: Literal["json"]
    raw: LiveMessage
    backfill: Literal[""] = ""


_live_tick = msgspec.json.Decoder(_LiveTick)
_raw_tick = msgspec.json.Decoder(RawTick)
_packed = msgspec.msgpack.Decoder(LiveMessage)

#: What decoding a record of any content can raise.
_UNREADABLE = (ValueError, RecursionError)


@dataclass(slots=True)
class Present:
    """What the log has of a part of a gap's window. Bounded by what happened in it.

    Attributes:
        gap_id: the gap.
        part: of its window.
        known: the identities of what is there.
        filled: how many objects of each resource earlier attempts at this gap published, wherever
            in its window.

    """

    gap_id: str
    part: Window
    known: set[Identity] = field(default_factory=set)
    filled: "Counter[history.Resource]" = field(default_factory=Counter)

    def take(self, value: bytes) -> None:
        """Take note of a record of the raw log. One that cannot be read is none of ours."""
        try:
            tick = _live_tick.decode(value)
        except _UNREADABLE:
            self._look_closely(value)
            return
        self._live(tick.raw)

    def _look_closely(self, value: bytes) -> None:
        """Take note of what an earlier attempt published, or what came in MessagePack."""
        try:
            tick = _raw_tick.decode(value)
            if tick.backfill:
                self._past(tick, history.read_object(tick.backfill, tick.symbol, tick.raw))
            elif tick.encoding == "msgpack":
                self._live(_packed.decode(b64decode(msgspec.json.decode(tick.raw, type=str))))
        except _UNREADABLE:
            return

    def _past(self, tick: RawTick, past: Past) -> None:
        if tick.gap_id == self.gap_id and tick.backfill:
            self.filled[tick.backfill] += 1
            if past.at_ns is None:
                self.known.add(past.identity)
        if past.at_ns is not None and self._near(past.at_ns):
            self.known.add(past.identity)

    def _live(self, message: LiveMessage) -> None:
        try:
            at_ns, found = history.identities(message)
        except ValueError:
            return
        if found and (at_ns is None or self._near(at_ns)):
            self.known.update(found)

    def _near(self, at_ns: int) -> bool:
        # bars bear the beginning of their minute
        return self.part.start_ns - MINUTE_NS <= at_ns <= self.part.end_ns + NS

    def missing(self, query: Query, objects: Iterable[Past]) -> list[Past]:
        """Return the objects that the log does not have, each once; they count as known from now.

        What the vendor gives of another time than it was asked for is left out.
        """
        found = []
        for past in objects:
            asked_for = past.at_ns is None or query.start_ns <= past.at_ns <= query.end_ns
            if asked_for and past.identity not in self.known:
                self.known.add(past.identity)
                found.append(past)
        return found


def closed(
    gap: GapEnded,
    *,
    at_ns: int,
    outcome: Literal["filled", "partial", "unfillable"],
    published: Mapping[history.Resource, int],
    detail: str,
) -> GapClosed:
    """Return a gap's last event.

    Args:
        gap: the gap.
        at_ns: now.
        outcome: as in the event.
        published: how many objects of each resource the log has got for it.
        detail: in words.

    """
    return GapClosed(
        source=gap.source,
        feed=gap.feed,
        gap_id=gap.gap_id,
        at_ns=at_ns,
        cause=gap.cause,
        symbols=gap.symbols,
        since_ns=gap.since_ns,
        until_ns=gap.until_ns,
        outcome=outcome,
        trades=published.get("trades", 0),
        bars=published.get("bars", 0),
        lost=lost(gap),
        detail=detail,
    )
