"""What to fetch for a gap, and when; and what of it the log has already."""

import itertools
import json
from base64 import b64encode
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.alpaca.history import MINUTE_NS, Past, Query, read_object
from ingest.alpaca.times import NS, rfc3339
from ingest.backfill import plan
from ingest.backfill.plan import (
    HORIZON_NS,
    MARGIN_NS,
    PART_NS,
    SETTLED_NS,
    Later,
    Present,
    Window,
)
from ingest.events import GapEnded, RawTick

#: A whole minute of some afternoon.
NOON_NS = 1_771_775_460 * NS
SYMBOLS = ("AAPL", "MSFT")


def gap(gap_id: str = "g", **changes: Any) -> GapEnded:
    """Return a gap of ten seconds."""
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "gap_id": gap_id,
        "at_ns": NOON_NS + 10 * NS,
        "cause": "disconnected",
        "symbols": list(SYMBOLS),
        "since_ns": NOON_NS,
        "until_ns": NOON_NS + 10 * NS,
        "shed": {},
    }
    return GapEnded(**{**fields, **changes})


def test_a_gap_is_due_when_its_window_is_in_the_log() -> None:
    """A margin after its end, and a little more; and that from when it was told."""
    assert SETTLED_NS > MARGIN_NS
    assert plan.due_ns(gap()) == NOON_NS + 10 * NS + SETTLED_NS
    assert plan.due_ns(gap(at_ns=NOON_NS + 60 * NS)) == NOON_NS + 60 * NS + SETTLED_NS


def test_the_first_gap_that_is_due_is_filled() -> None:
    """Oldest first, but none before its time, and none that was set aside."""
    due = plan.due_ns(gap())
    first, second = gap("a"), gap("b")
    assert plan.choose([first, second], {}, due) == first
    assert plan.choose([first, second], {}, due - 1) == Later(due)
    assert plan.choose([first, second], {"a": due + 9}, due) == second
    assert plan.choose([first], {"a": due + 9}, due) == Later(due + 9)
    assert plan.choose([], {}, due) == Later(None)


@pytest.mark.parametrize(
    ("changes", "recorded", "lost"),
    [
        ({}, True, ["quotes", "statuses", "lulds"]),
        ({"shed": {"quote": 5}}, False, ["quotes"]),
        ({"shed": {"quote": 5, "trade": 0, "bar": 0}}, False, ["quotes"]),
        ({"shed": {"quote": 5, "trade": 1}}, True, ["quotes"]),
        ({"shed": {"bar": 1}}, True, []),
        ({"shed": {"control": 2}}, False, ["statuses", "lulds"]),
        ({"feed": "test"}, False, ["quotes", "statuses", "lulds"]),
    ],
)
def test_what_can_be_had_and_what_is_lost(
    changes: dict[str, Any], lost: list[str], *, recorded: bool
) -> None:
    """Trades and bars have a history; what was shed is known by its kind."""
    assert plan.recorded(gap(**changes)) == recorded
    assert plan.lost(gap(**changes)) == lost


@pytest.mark.parametrize(
    ("now_ns", "window", "beyond"),
    [
        (NOON_NS + 60 * NS, Window(NOON_NS - MARGIN_NS, NOON_NS + 10 * NS + MARGIN_NS), ""),
        (NOON_NS + HORIZON_NS, Window(NOON_NS, NOON_NS + 10 * NS + MARGIN_NS), ""),
        (
            NOON_NS + HORIZON_NS + 4 * NS,
            Window(NOON_NS + 4 * NS, NOON_NS + 10 * NS + MARGIN_NS),
            "its first 4 s are more than 24 hours ago",
        ),
        (NOON_NS + HORIZON_NS + 10 * NS, None, "its first 10 s are more than 24 hours ago"),
        (NOON_NS + 9 * HORIZON_NS, None, "its first 10 s are more than 24 hours ago"),
    ],
)
def test_what_is_fetched_ends_at_the_horizon(
    now_ns: int, window: Window | None, beyond: str
) -> None:
    """With a margin on both sides, as far back as the log is sure to remember."""
    assert plan.window(gap(), now_ns) == window
    assert plan.beyond(gap(), now_ns) == beyond


@given(start=st.integers(0, 10**12), length=st.integers(0, 4 * PART_NS))
def test_parts_cover_a_window_once(start: int, length: int) -> None:
    """One part begins where the other ends, and none is longer than a part."""
    parts = list(plan.parts(Window(start, start + length)))
    assert (parts[0].start_ns, parts[-1].end_ns) == (start, start + length)
    for part, following in itertools.pairwise(parts):
        assert following.start_ns == part.end_ns + 1
    assert all(0 <= part.end_ns - part.start_ns < PART_NS for part in parts)


@given(start=st.integers(10**12, 10**14), length=st.integers(0, 3 * PART_NS))
def test_each_bar_sent_in_a_window_is_asked_for_once(start: int, length: int) -> None:
    """Those whose minutes ended in it: whole minutes, in one part each."""
    minutes = [
        minute
        for part in plan.parts(Window(start, start + length))
        for query in plan.queries(part, "iex", SYMBOLS)
        if query.resource == "bars"
        for minute in range(query.start_ns, query.end_ns + 1, MINUTE_NS)
    ]
    first = (start + MINUTE_NS - 1) // MINUTE_NS
    last = (start + length) // MINUTE_NS
    assert minutes == [MINUTE_NS * (end - 1) for end in range(first, last + 1)]


def test_trades_are_asked_for_to_the_nanosecond() -> None:
    """A part is asked for as it is; without the end of a minute in it, there are no bars."""
    part = Window(NOON_NS + 1, NOON_NS + 7)
    (query,) = plan.queries(part, "sip", SYMBOLS)
    assert (query.resource, query.feed, query.symbols) == ("trades", "sip", SYMBOLS)
    assert (query.start_ns, query.end_ns) == part


def test_symbols_go_together() -> None:
    """As many as one request takes; each once, in their order."""
    symbols = [f"S{number}" for number in range(250)]
    batches = list(plan.batches([*symbols, "S0"]))
    assert [len(batch) for batch in batches] == [100, 100, 50]
    assert [symbol for batch in batches for symbol in batch] == symbols
    assert list(plan.batches([])) == []


def _value(raw: bytes, **changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "source": "alpaca",
        "feed": "iex",
        "symbol": "AAPL",
        "session_id": "s",
        "session_seq": 1,
        "received_at_ns": NOON_NS,
        "encoding": "json",
        "raw": msgspec.Raw(raw),
    }
    return msgspec.json.encode(RawTick(**{**fields, **changes}))


def _trade(number: int, at_ns: int = NOON_NS, **changes: Any) -> dict[str, Any]:
    return {"t": rfc3339(at_ns), "i": number, "x": "V", "z": "C", "p": 1, "s": 1, **changes}


def _live(number: int, at_ns: int = NOON_NS) -> bytes:
    return _value(json.dumps({"T": "t", "S": "AAPL", **_trade(number, at_ns)}).encode())


def _packed(number: int) -> bytes:
    moment = msgpack.Timestamp(*divmod(NOON_NS, NS))
    packed = msgpack.packb({"T": "t", "S": "AAPL", **_trade(number), "t": moment})
    return _value(msgspec.json.encode(b64encode(packed).decode()), encoding="msgpack")


def _filled(message: dict[str, Any], gap_id: str = "g", resource: str = "trades") -> bytes:
    return _value(json.dumps(message).encode(), backfill=resource, gap_id=gap_id)


def _fetched(*messages: dict[str, Any]) -> list[Past]:
    raws = [msgspec.Raw(json.dumps(message).encode()) for message in messages]
    return [read_object("trades", "AAPL", raw) for raw in raws]


PART = Window(NOON_NS - 10 * NS, NOON_NS + 10 * NS)
QUERY = Query(resource="trades", feed="iex", symbols=SYMBOLS, start_ns=PART[0], end_ns=PART[1])


def _missing(values: list[bytes], *messages: dict[str, Any]) -> list[Any]:
    present = Present("g", PART)
    for value in values:
        present.take(value)
    return [json.loads(bytes(past.raw)) for past in present.missing(QUERY, _fetched(*messages))]


@pytest.mark.parametrize(
    "value",
    [_live(1), _packed(1), _filled(_trade(1)), _filled(_trade(1), "another gap")],
)
def test_what_the_log_has_is_not_missing(value: bytes) -> None:
    """Live in either encoding, or fetched before, for this gap or another."""
    assert _missing([value], _trade(1), _trade(2)) == [_trade(2)]


GARBAGE = [
    b"",
    b"{}",
    b"\xff",
    b"null",
    b"[" * 50_000,
    _value(b'"AAAA"', encoding="bytes"),
    _value(b'"!"', encoding="msgpack"),
    _value(b"7"),
    _value(b'{"T":"t","S":"AAPL","t":"soon","i":1,"x":"V"}'),
    _value(b'{"T":"t","S":"AAPL","i":1}'),
    _value(b'{"T":"zz"}'),
    _filled({"t": "soon"}, "another gap"),
]


def test_garbage_in_the_log_is_passed_over() -> None:
    """It can be no trade that we know, and does not stop us."""
    assert _missing(GARBAGE, _trade(1)) == [_trade(1)]
    assert _missing([*GARBAGE, _live(1), *GARBAGE], _trade(1)) == []


@given(st.binary(max_size=60))
def test_any_record_can_be_looked_at(value: bytes) -> None:
    """Whatever is in the log."""
    present = Present("g", PART)
    present.take(value)
    present.take(_value(json.dumps(value.hex()).encode(), encoding="msgpack"))
    assert not present.known


def test_what_is_far_from_the_window_is_not_remembered() -> None:
    """So that memory is bounded by the window; news of old trades are kept, which are few."""
    present = Present("g", PART)
    for at_ns in (PART.start_ns - 2 * MINUTE_NS, PART.end_ns + 2 * NS):
        present.take(_live(1, at_ns))
        present.take(_filled(_trade(2, at_ns)))
    present.take(_value(json.dumps({"T": "q", "S": "AAPL", "t": rfc3339(NOON_NS)}).encode()))
    assert not present.known
    cancel = {"T": "x", "S": "AAPL", **_trade(3, PART.end_ns + 2 * NS)}
    present.take(_value(json.dumps(cancel).encode()))
    assert len(present.known) == 1


def test_what_was_not_asked_for_is_left_out() -> None:
    """Else a repetition would not know it, and publish it again."""
    early, late = _trade(1, QUERY.start_ns - 1), _trade(2, QUERY.end_ns + 1)
    edges = [_trade(3, QUERY.start_ns), _trade(4, QUERY.end_ns)]
    assert _missing([], early, *edges, late) == edges


def test_what_cannot_be_read_is_published_once() -> None:
    """Validation says what is wrong with it; a repetition finds its bytes."""
    odd = {"i": "x"}
    assert _missing([], odd, odd) == [odd]
    assert _missing([_filled(odd)], odd) == []


def test_a_page_that_comes_twice_counts_once() -> None:
    """As after a request that was repeated."""
    present = Present("g", PART)
    assert len(present.missing(QUERY, _fetched(_trade(1), _trade(2)))) == 2
    assert present.missing(QUERY, _fetched(_trade(2), _trade(1))) == []


def test_what_earlier_attempts_published_is_counted() -> None:
    """Of this gap alone, by resource, wherever in its window."""
    present = Present("g", PART)
    bar = {"t": rfc3339(NOON_NS + PART_NS), "o": 1}
    for value in (
        _filled(_trade(1)),
        _filled(_trade(2, NOON_NS + PART_NS)),
        _filled(bar, resource="bars"),
        _filled(_trade(3), "another gap"),
        _live(4),
    ):
        present.take(value)
    assert present.filled == {"trades": 2, "bars": 1}


TRADES = st.lists(st.integers(0, 30), unique=True, max_size=30)


@given(TRADES, TRADES, st.lists(st.integers(1, 7), max_size=20), st.data())
def test_each_trade_is_in_the_log_once_whatever_ends_an_attempt(
    live: list[int], history: list[int], crashes: list[int], data: st.DataObject
) -> None:
    """However often it is cut off, after whichever trade: each once, and none missing."""
    log = [_live(number) for number in live]
    for pages in [*crashes, len(history) + 1]:
        present = Present("g", PART)
        for value in log:
            present.take(value)
        order = data.draw(st.permutations(history))
        for number in order[:pages]:
            found = present.missing(QUERY, _fetched(_trade(number)))
            log += [_filled(json.loads(bytes(past.raw))) for past in found]
    seen = [json.loads(value)["raw"]["i"] for value in log]
    assert sorted(seen) == sorted(set(live) | set(history))


@pytest.mark.parametrize("shed", [{}, {"quote": 1}])
def test_the_last_word_tells_all(shed: dict[str, int]) -> None:
    """What was ended is closed: the same gap, with what came of it."""
    ended = gap(shed=shed)
    closed = plan.closed(
        ended, at_ns=7, outcome="partial", published={"trades": 3}, detail="in words"
    )
    assert (closed.trades, closed.bars, closed.outcome, closed.detail, closed.at_ns) == (
        3,
        0,
        "partial",
        "in words",
        7,
    )
    assert closed.lost == plan.lost(ended)
    for field in ("source", "feed", "gap_id", "cause", "symbols", "since_ns", "until_ns"):
        assert getattr(closed, field) == getattr(ended, field)
