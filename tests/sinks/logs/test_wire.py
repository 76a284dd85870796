"""When a batch goes out, how long a backend is left alone, and what it may ask for."""

from datetime import UTC, datetime

import msgspec
import pytest

from sinks.logs import wire
from sinks.logs.clickhouse import ClickHouse
from sinks.logs.lines import Line
from sinks.logs.loki import Loki
from sinks.logs.wire import Later, Refused, Taken, Verdict

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
LOKI = Loki(url="http://loki:3100", environment="test")
IGNORED = "total ignored: 9 out of 9"
CLICKHOUSE = ClickHouse(url="http://clickhouse:8123", database="d")


def test_a_batch_goes_out_when_it_is_large_or_old() -> None:
    """And never where there is nothing to send."""
    assert not wire.due(0, None, 100)
    assert not wire.due(0, 0, 100)
    assert not wire.due(1, 100, 100 + wire.BATCH_SECONDS / 2)
    assert wire.due(1, 100, 100 + wire.BATCH_SECONDS)
    assert wire.due(wire.BATCH_BYTES, 100, 100)


def test_pauses_double_up_to_a_bound_unless_one_is_asked_for() -> None:
    """What is asked for is bounded as well."""
    assert [wire.pause(failures, None) for failures in (1, 2, 3, 7, 10_000)] == [0.5, 1, 2, 30, 30]
    assert [wire.pause(9, asked) for asked in (0.0, 7.0, 1e9)] == [0, 7, 300]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        ("Wed, 25 Nov 2026 12:00:30 GMT", 30.0),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 0.0),
        ("Wed, 25 Nov 2026 12:00:30", None),
        ("soon", None),
        ("-1", None),
        ("\u0663", None),
        ("", None),
    ],
)
def test_a_pause_is_asked_for_by_number_or_by_date(value: str, seconds: float | None) -> None:
    """Anything else asks for none."""
    assert wire.retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("backend", "status", "headers", "body", "verdict"),
    [
        (LOKI, 204, {}, b"", Taken()),
        (LOKI, 200, {}, b"", Taken()),
        (LOKI, 400, {}, b"no\nJSON", Refused("HTTP 400: no JSON", 5)),
        (LOKI, 413, {}, b"", Refused("HTTP 413: ", 5)),
        (
            LOKI,
            400,
            {},
            b"entry too far behind, total ignored: 2 out of 5",
            Refused("HTTP 400: entry too far behind, total ignored: 2 out of 5", 2),
        ),
        (
            LOKI,
            400,
            {},
            b"total ignored: 9 out of 9",
            Refused("HTTP 400: total ignored: 9 out of 9", 5),
        ),
        (LOKI, 429, {"Retry-After": "3"}, b"slow", Later("HTTP 429: slow", 3.0)),
        (LOKI, 401, {}, b"who?", Later("HTTP 401: who?")),
        (LOKI, 503, {}, b"", Later("HTTP 503: ")),
        (LOKI, 302, {}, b"", Later("HTTP 302: ")),
        (CLICKHOUSE, 200, {}, b"", Taken()),
        (
            CLICKHOUSE,
            200,
            {"X-ClickHouse-Exception-Code": "241"},
            b"memory",
            Later("HTTP 200: memory"),
        ),
        (CLICKHOUSE, 404, {}, b"no table", Later("HTTP 404: no table")),
        (CLICKHOUSE, 400, {}, b"", Later("HTTP 400: ")),
        (CLICKHOUSE, 503, {"Retry-After": "1"}, b"", Later("HTTP 503: ", 1.0)),
    ],
)
def test_an_answer_means_taken_later_or_never(
    backend: Loki | ClickHouse, status: int, headers: dict[str, str], body: bytes, verdict: Verdict
) -> None:
    """Only Loki refuses for good, and says of how many lines."""
    assert backend.verdict(status, headers, body, 5, NOW) == verdict


def test_a_stream_is_in_the_order_of_time() -> None:
    """As Loki likes it; who and how bad make the stream."""
    lines = [
        Line(text=text, service="a", level=level, at_ns=at_ns)
        for text, level, at_ns in (("late", "info", 2), ("bad", "error", 3), ("early", "info", 1))
    ]
    streams = msgspec.json.decode(LOKI.request(lines).body)["streams"]
    assert [(stream["stream"]["level"], stream["values"]) for stream in streams] == [
        ("info", [["1", "early"], ["2", "late"]]),
        ("error", [["3", "bad"]]),
    ]
