"""Which ticks are traced, and how a trace is named and handed on."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased
from opentelemetry.trace import get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from infra.clock import NS
from infra.traces.span import (
    HEADER,
    MINUTE_NS,
    Allowance,
    Context,
    Session,
    parse,
    span_of,
    traceparent,
)

SOUND = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@settings(max_examples=30)
@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1))
def test_a_header_is_read_as_it_was_written(trace_id: int, span_id: int) -> None:
    """By us, and by OpenTelemetry's own propagator, which also finds that it is sampled."""
    context = Context(trace_id, span_id)
    name, value = traceparent(context)
    assert parse([("schema", b"x/1"), (name, value)]) == context
    theirs = TraceContextTextMapPropagator().extract({name: value.decode()})
    found = get_current_span(theirs).get_span_context()
    assert (found.trace_id, found.span_id, found.trace_flags.sampled) == (*context, True)


@pytest.mark.parametrize(
    ("value", "is_traced"),
    [
        (SOUND, True),
        (SOUND[:-2] + b"00", False),  # not sampled
        (SOUND[:-2] + b"03", True),  # with a flag of a later version
        (b"cc" + SOUND[2:] + b"-what-the-future-has", True),
        (SOUND + b"-more", False),
        (b"ff" + SOUND[2:], False),
        (SOUND.upper(), False),
        (SOUND.replace(b"0af7651916cd43dd8448eb211c80319c", b"0" * 32), False),
        (SOUND.replace(b"b7ad6b7169203331", b"0" * 16), False),
        (SOUND[:-1], False),
        (b"", False),
        (b"\xff\x00", False),
        (SOUND + b"\n", False),
    ],
)
def test_what_is_no_header_of_the_w3c_is_nobodys(value: bytes, *, is_traced: bool) -> None:
    """A record counts as traced by a sound header that says so, and by nothing else."""
    assert (parse([("schema", b"x/1"), (HEADER, value)]) is not None) is is_traced


@settings(max_examples=30)
@given(st.sampled_from(["", "alpaca-1/2"]), st.floats(0, 1), st.integers(1, 2**50))
def test_a_tick_is_sampled_as_opentelemetry_would(
    session_id: str, ratio: float, session_seq: int
) -> None:
    """Whoever decides again by the trace's name and the same ratio decides the same."""
    session = Session(session_id, ratio)
    theirs = TraceIdRatioBased(ratio).should_sample(None, session.trace_id(session_seq), "x")
    assert session.sampled(session_seq) is (theirs.decision is Decision.RECORD_AND_SAMPLE)


@pytest.mark.parametrize("session_id", ["alpaca-1/1", "alpaca-1/2", "yahoo-3"])
def test_one_in_a_hundred_is_one_in_a_hundred(session_id: str) -> None:
    """In every stretch of a session, and of every symbol where they take turns."""
    session = Session(session_id, 0.01)
    chosen = [seq for seq in range(1, 100_001) if session.sampled(seq)]
    assert 990 <= len(chosen) <= 1_010
    assert max(b - a for a, b in itertools.pairwise(chosen)) < 300
    for symbol in range(30):
        assert 20 <= sum(seq % 30 == symbol for seq in chosen) <= 50


def test_traces_and_spans_are_told_apart() -> None:
    """By their session, their place in it, and what they did; and are the same every time."""
    traces = [Session(s).trace_id(n) for s in ("a", "b") for n in range(1, 1_000)]
    assert len(set(traces)) == len(traces)
    spans = {span_of(trace, what).span_id for trace in traces[:10] for what in ("x", "y")}
    assert len(spans) == 20
    assert Session("a").trace_id(1) == traces[0]
    assert span_of(traces[0], "x").span_id in spans


def test_an_allowance_is_for_a_period() -> None:
    """So many at once, then one whenever its part of the period is over; none is kept for later."""
    allowance = Allowance(2, MINUTE_NS)
    half = MINUTE_NS // 2
    for start in (0, 5 * MINUTE_NS):
        at = (start, start + 1, start + 2, start + half, start + half + 1, start + MINUTE_NS)
        assert [allowance.take(now) for now in at] == [True, True, False, True, False, True]


@given(st.integers(1, 50), st.lists(st.integers(0, 10**8), max_size=300))
def test_an_allowance_is_never_exceeded(most: int, steps: list[int]) -> None:
    """Beyond those that may come at once, each has waited until one more had come."""
    allowance, now, taken = Allowance(most, NS), 10**18, []
    for step in steps:
        now += step
        if allowance.take(now):
            taken.append(now)
    each = NS // most
    for index, at in enumerate(taken):
        if index >= most:
            assert at - taken[index - most] >= each
    assert len(taken) <= most + sum(steps) // each


def test_a_clock_that_was_set_back_does_not_stop_an_allowance() -> None:
    """It begins anew."""
    allowance = Allowance(1, NS)
    assert allowance.take(10**18)
    assert allowance.take(10**18 - 10 * NS)
    assert not allowance.take(10**18 - 10 * NS)
