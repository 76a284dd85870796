"""What `twinfeed logs` asks, and that what it shows is text and nothing but text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.logs_query import Question, seconds, shown


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        *(("30s", 30), ("15m", 900), ("1h", 3600), ("7d", 604_800), ("366d", 366 * 86_400)),
        *(
            (wrong, None)
            for wrong in ("", "0s", "1", "h", "-1h", "1 h", "1w", "367d", "1h\n", "٣s")
        ),
    ],
)
def test_a_span_is_a_number_and_a_unit(span: str, expected: int | None) -> None:
    """Anything else is none."""
    assert seconds(span) == expected


def test_only_what_was_asked_for_is_in_the_question() -> None:
    """What the user wrote is a parameter, never a part of the statement."""
    everything = Question(seconds=60, limit=5)
    assert everything.statement == (
        "SELECT line FROM logs FINAL WHERE at >= now64(6) - toIntervalSecond({seconds:UInt32}) "
        "ORDER BY at DESC, service DESC, JSONExtractUInt(line, 'offset') DESC, line DESC "
        "LIMIT {limit:UInt32}"
    )
    assert everything.parameters == {"seconds": "60", "limit": "5"}
    narrow = Question(seconds=60, limit=5, level="error", service="a'b", grep='say "é"')
    assert "a'b" not in narrow.statement
    assert narrow.parameters == {
        "seconds": "60",
        "limit": "5",
        "levels": "['error', 'critical']",
        "service": "a'b",
        "grep": 'say \\"\\u00e9\\"',  # as it is written in a line
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"event": "e", "level": "error", "n": 1, "s": "x", "t": "a b", "exception": "A\nB\x1b"},
            'T error    hub              e n=1 s=x t="a b"\n    A\n    B\\u001b',
        ),
        (
            {"event": "output", "level": "info", "text": "ts=1", "file": "hub.log", "offset": 3},
            "T info     hub              ts=1",
        ),
        ({"event": "e", "level": "info", "output": "", "m": {"é": None}}, None),
    ],
)
def test_a_line_is_shown_for_a_person(said: dict[str, object], expected: str | None) -> None:
    """When, how bad, who, what, and the rest."""
    found = shown(json.dumps({"timestamp": "T", "service": "hub", **said}))
    assert found == (expected or 'T info     hub              e output="" m={"é": null}')


@settings(max_examples=50)
@given(st.one_of(st.text(), st.dictionaries(st.text(), st.text()).map(json.dumps)))
def test_no_line_speaks_to_the_terminal(line: str) -> None:
    """Whatever stands in it, no control character comes out."""
    for part in shown(line).split("\n"):
        assert part.isprintable()
