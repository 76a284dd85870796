"""The gap ledger (`sources.gaps`), read: what is missing, and what a former process left behind.

Pure. A gap's life is opened, ended, closed; each of its events tells all that the ones before it
told, so that any of them is enough, and their order and number do not matter. A `Ledger` is the
fold of them. Of a gap that is closed it keeps the name.

A process may end at any moment, and tells nobody. What it can no longer say, its successor does
(`inherited`): the gaps that it had opened and not ended, and the one that its own end opened. That
one's name comes from the connection that ended, so that several successors that never came to
stream speak of one gap. They all end when the source is subscribed again.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ingest.events import (
    Disconnected,
    GapClosed,
    GapEnded,
    GapEvent,
    GapOpened,
    Heartbeat,
    Source,
    SourceStatus,
    Subscribed,
)


class Ledger:
    """What is known of the gaps: a fold of their events, in whatever order and number they come."""

    def __init__(self, events: Iterable[GapEvent] = ()) -> None:
        self._unclosed: dict[str, GapOpened | GapEnded] = {}
        self._closed: set[str] = set()
        for event in events:
            self.take(event)

    def take(self, event: GapEvent) -> None:
        """Fold one event in."""
        gap_id = event.gap_id
        if gap_id in self._closed:
            return
        before = self._unclosed.get(gap_id)
        match event:
            case GapClosed():
                self._closed.add(gap_id)
                self._unclosed.pop(gap_id, None)
            case GapEnded():
                # said twice, by two processes: the later end misses nothing
                if not isinstance(before, GapEnded) or event.until_ns > before.until_ns:
                    self._unclosed[gap_id] = event
            case GapOpened() if before is None:
                self._unclosed[gap_id] = event

    def knows(self, gap_id: str) -> bool:
        """Return whether there is such a gap, whatever became of it."""
        return gap_id in self._closed or gap_id in self._unclosed

    def unclosed(self, source: Source) -> list[GapOpened | GapEnded]:
        """Return a source's gaps that are not closed, oldest first."""
        gaps = (gap for gap in self._unclosed.values() if gap.source == source)
        return sorted(gaps, key=lambda gap: (gap.since_ns, gap.gap_id))

    def open(self, source: Source) -> list[GapOpened]:
        """Return a source's gaps that have not ended, oldest first."""
        return [gap for gap in self.unclosed(source) if isinstance(gap, GapOpened)]

    def ended(self, source: Source) -> list[GapEnded]:
        """Return a source's gaps that have ended and are not closed, oldest first."""
        return [gap for gap in self.unclosed(source) if isinstance(gap, GapEnded)]


#: A connected session vouches for its stream up to this long ago: our pings find a dead socket
#: within 15 s, and a mute one is given up after 30 s of open market. A last tick that is older than
#: this only says that the market is closed.
VOUCHED_NS = 60_000_000_000


@dataclass(slots=True)
class _Stream:
    """The last stream of a source, as its status tells it.

    Attributes:
        feed: as in its status.
        session_id: of its connection.
        symbols: what it was subscribed to; empty where that is not known.
        begun_ns: when it was subscribed.
        heard_ns: when the last tick that we know of was received.
        alive_ns: when it was last known to be connected.
        ended: whether it said that it ended.
        lost: whether it ended otherwise than with its process.

    """

    feed: str
    session_id: str
    symbols: list[str]
    begun_ns: int
    heard_ns: int
    alive_ns: int
    ended: bool = False
    lost: bool = False

    def since_ns(self) -> int:
        """Return the last moment before which nothing is missing."""
        return max(self.begun_ns, self.alive_ns - VOUCHED_NS, min(self.heard_ns, self.alive_ns))


def inherited(
    status_tail: Iterable[SourceStatus], ledger: Ledger, *, source: Source, now_ns: int
) -> list[GapOpened]:
    """Return the gaps that a source's former processes left open, oldest first.

    The last may be one that the ledger does not know yet, because the process died of what opened
    it: whoever calls has to write it there.

    Args:
        status_tail: the last records of `sources.status`, in order; with the last `Subscribed`
            among them, the symbols of a stream that was cut are known.
        ledger: all that is in `sources.gaps`.
        source: whose gaps.
        now_ns: the present.

    """
    cut = interrupted(status_tail, source=source, now_ns=now_ns)
    if cut is None or ledger.knows(cut.gap_id):
        return ledger.open(source)
    return sorted([*ledger.open(source), cut], key=lambda gap: (gap.since_ns, gap.gap_id))


def interrupted(
    status_tail: Iterable[SourceStatus], *, source: Source, now_ns: int
) -> GapOpened | None:
    """Return the gap that the end of a source's last stream opened; None if there was no stream.

    It is the process's own end in most cases: `restarted`. A stream that was lost before that is
    in the ledger, under the name of its session, unless the process died between the two records.

    Args:
        status_tail: as in `inherited`.
        source: whose stream.
        now_ns: when the gap's event is written.

    """
    stream: _Stream | None = None
    for status in status_tail:
        if status.source == source:
            stream = _next(stream, status)
    if stream is None:
        return None
    return GapOpened(
        source=source,
        feed=stream.feed,
        gap_id=stream.session_id if stream.lost else f"{stream.session_id}/restarted",
        at_ns=now_ns,
        cause="disconnected" if stream.lost else "restarted",
        symbols=stream.symbols,
        since_ns=stream.since_ns(),
    )


def _next(stream: _Stream | None, status: SourceStatus) -> _Stream | None:
    """Return the last stream, as it is known after `status`.

    Only what is said in its own session's name concerns it: a successor that never came to stream
    says nothing about what was missed before.
    """
    at_ns, session_id = status.at_ns, status.session_id
    its = stream if stream and stream.session_id == session_id else None
    match status:
        case Subscribed(symbols=[_, *_] as symbols):
            if its is None:
                return _Stream(status.feed, session_id, list(symbols), at_ns, at_ns, at_ns)
            its.symbols = list(symbols)
        case Heartbeat(state="connected", last_message_at_ns=heard_ns) if status.symbols:
            if its is None:
                its = stream = _Stream(status.feed, session_id, [], 0, heard_ns or at_ns, at_ns)
            if not its.ended:
                its.alive_ns = at_ns
                its.heard_ns = heard_ns or its.heard_ns
        case Disconnected(reason=reason) if its and not its.ended:
            its.ended = True
            its.lost = reason != "shutdown"
    return stream
