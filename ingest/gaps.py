"""What a process must know of the gaps before it: pure folds of two logs."""

from collections.abc import Iterable

from ingest.events import (
    Disconnected,
    GapEnded,
    GapEvent,
    GapOpened,
    Heartbeat,
    Source,
    SourceStatus,
    Subscribed,
)


def left_open(ledger: Iterable[GapEvent], source: Source) -> list[GapOpened]:
    """Return the gaps of a source that nobody has ended, oldest first.

    Args:
        ledger: the events of `sources.gaps`, in order; one that comes twice changes nothing.
        source: whose gaps.

    """
    gaps: dict[str, GapOpened] = {}
    ended: set[str] = set()
    for event in ledger:
        if event.source != source:
            continue
        if isinstance(event, GapOpened):
            gaps.setdefault(event.gap_id, event)
        elif isinstance(event, GapEnded):
            ended.add(event.gap_id)
    return [gap for gap_id, gap in gaps.items() if gap_id not in ended]


def interrupted(facts: Iterable[SourceStatus], source: Source, now_ns: int) -> GapOpened | None:
    """Return the gap that began when a former process ended while it streamed; None if it did not.

    A process that is killed says nothing, and one that ends in order only that it ends. Either way
    its last heartbeat tells when the last data came.

    Args:
        facts: the end of `sources.status`, in order.
        source: whose process.
        now_ns: when the gap's event is written.

    """
    beat: Heartbeat | None = None
    symbols: list[str] = []
    for fact in facts:
        match fact:
            case Heartbeat(source=whose) if whose == source:
                beat = fact if fact.state == "connected" else None
            case Subscribed(source=whose) if whose == source:
                symbols = fact.symbols
            case Disconnected(source=whose, reason=reason) if (
                whose == source and reason != "shutdown"
            ):
                beat = None  # that gap was opened by the process itself
    if beat is None or beat.last_message_at_ns is None:
        return None
    return GapOpened(
        source=source,
        feed=beat.feed,
        gap_id=f"{beat.session_id}/restarted",
        at_ns=now_ns,
        cause="restarted",
        symbols=symbols,
        since_ns=beat.last_message_at_ns,
    )
