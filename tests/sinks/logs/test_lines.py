"""Lines of output: ours go on as they are, others' are wrapped, and nothing makes two of one."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.redaction import Secrets
from sinks.logs.lines import LEVELS, LINE_BYTES, TEXT, Before, Line, split, understand

BEFORE = Before(at_ns=1_000_000_000)
NOON_NS = 1_795_608_000_000_000_000
NOON = "2026-11-25T12:00:00"


def read(raw: bytes, before: Before = BEFORE) -> tuple[Line | None, Before]:
    """A line, as the shipper reads it out of kafka.log."""
    return understand(raw, before, service="kafka", offset=7, redact=Secrets().redact)


def test_a_line_of_ours_goes_on_unchanged() -> None:
    """To the byte; its service, level, time, trace and symbol are read from it."""
    said = {
        "timestamp": f"{NOON}.000001Z",
        "level": "warning",
        "service": "hub",
        "event": "e",
        "trace_id": "ab" * 16,
        "symbol": "AAPL",
        "other": [1],
    }
    text = json.dumps(said)
    line, before = read(f"{text}\n".encode())
    assert line == Line(
        text=text,
        service="hub",
        level="warning",
        at_ns=NOON_NS + 1000,
        trace_id="ab" * 16,
        symbol="AAPL",
    )
    assert before == Before(at_ns=NOON_NS + 1000, level="info")


@pytest.mark.parametrize(
    ("raw", "level", "at_ns"),
    [
        (f"{NOON}.001Z WARN Controller [id=1] ERROR", "warning", NOON_NS + 1_000_000),
        (f"{NOON},5Z FATAL x", "critical", NOON_NS + 500_000_000),
        (f'ts={NOON}.000Z caller=main.go:1 level=error msg="x"', "error", NOON_NS),
        ("2026-11-25T14:00:00+02:00 no level", "info", NOON_NS),
        (f"{NOON}.001 WARN of no zone, so of no time", "warning", BEFORE.at_ns),
        ("2026-13-45T99:00:00Z no time", "info", BEFORE.at_ns),
        ("9999-01-01T00:00:00Z no time of ours", "info", BEFORE.at_ns),
        ("Traceback (most recent call last):", "error", BEFORE.at_ns),
        ('{"timestamp": "now", "level": "info", "service": "s", "event": "e"}', "info", 1e9),
        ('{"timestamp": "2026-11-25T12:00:00Z", "level": "loud", "service": "s"}', "info", NOON_NS),
        ('{"a": 1}', "info", BEFORE.at_ns),
        ("[1]", "info", BEFORE.at_ns),
        ('{"cut', "info", BEFORE.at_ns),
    ],
)
def test_any_other_line_is_wrapped(raw: str, level: str, at_ns: int) -> None:
    """With the time and the level that stand at its beginning, if any do."""
    line, _ = read(raw.encode())
    assert line is not None
    assert (line.level, line.at_ns, line.service) == (level, at_ns, "kafka")
    said = json.loads(line.text)
    assert said["text"] == raw
    assert {name: said[name] for name in ("event", "level", "service", "file", "offset")} == {
        "event": "output",
        "level": level,
        "service": "kafka",
        "file": "kafka.log",
        "offset": 7,
    }
    again, _ = read(line.text.encode())
    assert again == line  # a wrapped line is one of ours


def test_a_line_that_says_nothing_goes_on_with_the_one_before() -> None:
    """As a stack trace does with its error."""
    _, before = read(f"{NOON}Z ERROR Broker failed".encode())
    line, before = read(b"\tat kafka.Broker.main(Broker.java:1)", before)
    assert line is not None
    assert (line.level, line.at_ns) == ("error", NOON_NS)
    _, before = read(f"{NOON}Z up again".encode(), before)
    assert before.level == "info"


def test_what_others_print_has_no_secret() -> None:
    """Though they know nothing of redaction; also where the line is cut."""
    for raw in (
        "url=https://me:hunter22@host/",
        "x" * (TEXT // 2 - 20) + " password=hunter22" * 999,
    ):
        line, _ = read(raw.encode())
        assert line is not None
        assert "hunter22" not in line.text
        assert len(line.text) < 2 * TEXT


def test_blank_lines_are_none() -> None:
    """They are read, and not shipped."""
    assert read(b" \r\n") == (None, BEFORE)


@settings(max_examples=50)
@given(st.binary(max_size=200), st.integers(0, 2**62))
def test_no_output_can_make_two_lines_or_none_of_one(raw: bytes, at_ns: int) -> None:
    """Whatever is printed comes to one line of JSON with a known level."""
    line, _ = read(raw.replace(b"\n", b""), Before(at_ns=at_ns // 1000 * 1000))
    if line is None:
        assert not raw.strip()
    else:
        assert "\n" not in line.text
        assert line.level in LEVELS
        json.loads(line.text)


def test_a_chunk_is_split_at_the_ends_of_lines_alone() -> None:
    """What has no end waits for it, unless none will come, or it is too long to be waited for."""
    assert split(b"a\r\rb\n\nc", ended=False) == [b"a\r\rb\n", b"\n"]
    assert split(b"a\nc", ended=True) == [b"a\n", b"c"]
    assert split(b"", ended=True) == []
    assert split(b"x" * LINE_BYTES, ended=False) == [b"x" * LINE_BYTES]
