"""What is missing, from the ledger; and what a process that died leaves to the one after it."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import (
    Authenticated,
    Connected,
    Disconnected,
    GapClosed,
    GapEnded,
    GapEvent,
    GapOpened,
    Heartbeat,
    SourceStatus,
    Subscribed,
)
from ingest.gaps import VOUCHED_NS, Ledger, inherited, interrupted

S = 1_000_000_000


def _common(gap_id: str, since_s: float, **changes: Any) -> dict[str, Any]:
    return {
        "source": "alpaca",
        "feed": "iex",
        "gap_id": gap_id,
        "at_ns": int(since_s * S),
        "cause": "disconnected",
        "symbols": ["AAPL"],
        "since_ns": int(since_s * S),
        **changes,
    }


def opened(gap_id: str = "g", since_s: float = 10, **changes: Any) -> GapOpened:
    """Return a gap's first event."""
    return GapOpened(**_common(gap_id, since_s, **changes))


def ended(gap_id: str = "g", since_s: float = 10, until_s: float = 20, **changes: Any) -> GapEnded:
    """Return a gap's second event."""
    fields = {"until_ns": int(until_s * S), "shed": {}, **changes}
    return GapEnded(**_common(gap_id, since_s, **fields))


def closed(gap_id: str = "g", since_s: float = 10) -> GapClosed:
    """Return a gap's last event."""
    return GapClosed(
        **_common(gap_id, since_s), until_ns=20 * S, outcome="filled", trades=1, bars=0, lost=[]
    )


def _ids(gaps: Sequence[GapOpened | GapEnded]) -> list[str]:
    return [gap.gap_id for gap in gaps]


@pytest.mark.parametrize(
    ("events", "open_", "ended_"),
    [
        ([], [], []),
        ([opened()], ["g"], []),
        ([opened(), ended()], [], ["g"]),
        ([opened(), ended(), closed()], [], []),
        ([ended()], [], ["g"]),
        ([closed()], [], []),
        ([ended(), opened()], [], ["g"]),
        ([closed(), ended(), opened()], [], []),
        ([opened("b", 30), opened("a", 10), ended("c", 5)], ["a", "b"], ["c"]),
        ([opened("y", source="yahoo")], [], []),
    ],
)
def test_a_gaps_life(events: list[GapEvent], open_: list[str], ended_: list[str]) -> None:
    """Opened, ended, closed: the furthest that was told counts; the oldest gap comes first."""
    ledger = Ledger(events)
    assert (_ids(ledger.open("alpaca")), _ids(ledger.ended("alpaca"))) == (open_, ended_)
    assert all(ledger.knows(event.gap_id) for event in events)
    assert not ledger.knows("another")


EVENTS = [make(gap_id) for gap_id in ("a", "b", "c") for make in (opened, ended, closed)]


@given(st.lists(st.sampled_from(EVENTS)), st.randoms(use_true_random=False))
def test_order_and_number_do_not_matter(events: list[GapEvent], random: Any) -> None:
    """A ledger told in another order, and twice, is the same ledger."""
    shuffled = [*events, *events]
    random.shuffle(shuffled)
    assert Ledger(shuffled).unclosed("alpaca") == Ledger(events).unclosed("alpaca")


def test_the_later_of_two_ends_counts() -> None:
    """Two processes that both end a gap lose nothing of it."""
    for order in ([ended(until_s=20), ended(until_s=30)], [ended(until_s=30), ended(until_s=20)]):
        assert Ledger(order).ended("alpaca") == [ended(until_s=30)]


def _status(at_s: float, session_id: str, source: str = "alpaca") -> dict[str, Any]:
    return {"source": source, "feed": "iex", "session_id": session_id, "at_ns": int(at_s * S)}


def connected(at_s: float, session_id: str = "run-1") -> Connected:
    """Return that a socket is open."""
    return Connected(**_status(at_s, session_id))


def subscribed(at_s: float, session_id: str = "run-1", *symbols: str) -> Subscribed:
    """Return that the vendor confirmed what it will send."""
    return Subscribed(**_status(at_s, session_id), symbols=list(symbols or ("AAPL", "MSFT")))


def beat(
    at_s: float, session_id: str = "run-1", *, heard_s: float | None = None, **changes: Any
) -> Heartbeat:
    """Return a heartbeat of a session that streams."""
    fields = {
        "state": "connected",
        "authenticated": True,
        "symbols": 2,
        "messages": 1,
        "last_message_at_ns": None if heard_s is None else int(heard_s * S),
        **changes,
    }
    return Heartbeat(**_status(at_s, session_id), **fields)


def away(at_s: float, session_id: str = "run-2") -> Heartbeat:
    """Return a heartbeat of a session that did not come to stream."""
    return beat(at_s, session_id, state="connecting", authenticated=False, symbols=0)


def gone(at_s: float, reason: Any = "shutdown", session_id: str = "run-1") -> Disconnected:
    """Return that the connection went."""
    return Disconnected(**_status(at_s, session_id), reason=reason)


STREAMED: list[SourceStatus] = [
    connected(9),
    subscribed(10),
    beat(11, heard_s=10.9),
    beat(12, heard_s=11.5),
]


@pytest.mark.parametrize(
    ("tail", "since_s", "symbols"),
    [
        # killed while it streamed
        (STREAMED, 11.5, ["AAPL", "MSFT"]),
        # ended in order
        ([*STREAMED, gone(12.5)], 11.5, ["AAPL", "MSFT"]),
        # killed before the first tick, or the first heartbeat
        ([subscribed(10), beat(11)], 10, ["AAPL", "MSFT"]),
        ([subscribed(10)], 10, ["AAPL", "MSFT"]),
        # its last tick was of a session before
        ([subscribed(10), beat(11, heard_s=3)], 10, ["AAPL", "MSFT"]),
        # the market is closed: the session vouches for its stream
        ([subscribed(10), beat(40_000, heard_s=20)], 40_000 - VOUCHED_NS / S, ["AAPL", "MSFT"]),
        # it was subscribed before the tail begins
        ([beat(11, heard_s=10.5)], 10.5, []),
        # other symbols since
        ([*STREAMED, subscribed(13, "run-1", "NVDA")], 11.5, ["NVDA"]),
        # its successors never came to stream, and one ended in order
        ([*STREAMED, connected(20, "run-2"), away(21), away(22)], 11.5, ["AAPL", "MSFT"]),
        ([*STREAMED, away(21), gone(22, session_id="run-2")], 11.5, ["AAPL", "MSFT"]),
        # what another source says does not matter
        ([*STREAMED, Disconnected(**_status(13, "y", "yahoo"), reason="error")], 11.5, None),
        # the last stream counts
        ([*STREAMED, gone(12, "error"), subscribed(30, "run-2")], 30, ["AAPL", "MSFT"]),
    ],
)
def test_a_stream_that_was_interrupted(
    tail: list[SourceStatus], since_s: float, symbols: list[str] | None
) -> None:
    """The end of a process opens a gap: since its last tick, of what it was subscribed to."""
    gap = interrupted(tail, source="alpaca", now_ns=99 * S)
    assert gap is not None
    assert (gap.cause, gap.since_ns, gap.at_ns) == ("restarted", int(since_s * S), 99 * S)
    if symbols is not None:
        assert gap.symbols == symbols
    assert inherited(tail, Ledger(), source="alpaca", now_ns=99 * S) == [gap]


@pytest.mark.parametrize(
    "tail",
    [
        [],
        [connected(9), Authenticated(**_status(9.5, "run-1")), away(10, "run-1")],
        [connected(9), gone(9.5)],
        [subscribed(10, "run-1"), gone(12, "error", "run-0")][1:],
        [beat(11, state="connected", symbols=0)],
    ],
)
def test_a_process_that_did_not_stream_leaves_no_gap(tail: list[SourceStatus]) -> None:
    """Nothing is missed by the end of a process that had nothing to miss."""
    assert interrupted(tail, source="alpaca", now_ns=99 * S) is None
    assert inherited(tail, Ledger(), source="alpaca", now_ns=99 * S) == []


def test_gaps_left_open_are_inherited() -> None:
    """What a dead process opened and did not end comes to its successor, the oldest first."""
    ledger = Ledger([opened("b", 30), opened("a", 10), opened("c", 5), ended("c", 5)])
    heirs = inherited([], ledger, source="alpaca", now_ns=99 * S)
    assert heirs == [opened("a", 10), opened("b", 30)]


def test_one_end_opens_one_gap() -> None:
    """However many successors die before they stream, they speak of the same gap."""
    first = inherited(STREAMED, Ledger(), source="alpaca", now_ns=50 * S)
    tail: list[SourceStatus] = [*STREAMED, connected(51, "run-2"), away(52)]
    assert inherited(tail, Ledger(first), source="alpaca", now_ns=60 * S) == first
    (gap,) = first
    over = Ledger([gap, ended(gap.gap_id), closed(gap.gap_id)])
    assert inherited(tail, over, source="alpaca", now_ns=60 * S) == []


def test_a_lost_stream_is_the_gap_of_its_session() -> None:
    """A process that told of the loss and died before the ledger had it leaves it to the next."""
    tail: list[SourceStatus] = [*STREAMED, gone(13, "error")]
    (gap,) = inherited(tail, Ledger(), source="alpaca", now_ns=99 * S)
    assert (gap.gap_id, gap.cause, gap.since_ns) == ("run-1", "disconnected", int(11.5 * S))
    known = Ledger([opened("run-1", 12)])
    assert inherited(tail, known, source="alpaca", now_ns=99 * S) == [opened("run-1", 12)]
