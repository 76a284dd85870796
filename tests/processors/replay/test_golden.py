"""A faulty minute that was captured once, and what the processors make of it, pinned.

    python -m tests.processors.replay.test_golden

writes down what they make of it now: for a change that is meant. The minute itself is made again by
`python -m tests.journeys.faulty`; then this has to follow.
"""

from pathlib import Path

import msgspec

from infra.capture import Captured, Header, Reader
from infra.market_calendar import ALWAYS_OPEN
from ingest.symbols import DEFAULT_FILE, parse
from processors.replay.run import Event, replay
from processors.replay.summary import Counting, Summary

CAPTURE = Path(__file__).with_name("faulty.capture")
PINNED = CAPTURE.with_suffix(".json")


def _read() -> tuple[Header, list[Captured]]:
    with CAPTURE.open("rb") as file:
        reader = Reader(file)
        return reader.header, [record for block in reader.records() for record in block]


def _events(header: Header, records: list[Captured]) -> list[Event]:
    symbols = parse(DEFAULT_FILE.read_text(encoding="utf-8"))
    return list(replay(header, records, symbols=symbols, calendar=lambda _: ALWAYS_OPEN))


def _summary(events: list[Event]) -> Summary:
    counting = Counting()
    for event in events:
        counting.add(event)
    return counting.summary()


def test_the_processors_make_of_it_what_they_made_of_it() -> None:
    """By count and kind, and by digest: a change that is not meant shows here."""
    pinned = msgspec.json.decode(PINNED.read_bytes(), type=Summary)
    now = _summary(_events(*_read()))
    meant = "if the change is meant: python -m tests.processors.replay.test_golden"
    assert now.kinds == pinned.kinds, meant
    assert now.digests == pinned.digests, meant


def test_two_replays_are_the_same_to_the_byte() -> None:
    """Whatever was replayed before in the same process."""
    header, records = _read()
    assert _events(header, records) == _events(header, records)


def test_it_is_a_faulty_minute() -> None:
    """Ticks are rejected for several reasons, both sources are routed, and it stays small."""
    kinds = msgspec.json.decode(PINNED.read_bytes(), type=Summary).kinds
    assert len(kinds["ticks.rejected"]) >= 5
    assert "breaker_opened" in kinds["symbols.breakers"]
    assert kinds["prices.routed"].keys() == {"alpaca", "yahoo"}
    assert kinds["router.transitions"] == {"FALLBACK_ACTIVE": 1, "PRIMARY_ACTIVE": 2}
    assert kinds["ticks.valid"].keys() >= {"trade", "quote", "last", "bar", "correction", "cancel"}
    assert CAPTURE.stat().st_size < 2**20


def test_what_comes_of_the_second_half_comes_of_the_whole() -> None:
    """A span that begins later tells less, and nothing else, where what was before is known."""
    header, records = _read()
    whole = _events(header, records)
    last_ms = max(event.record.timestamp_ms or 0 for event in whole)
    since_ns = (last_ms - 20_000) * 1_000_000
    spans = [
        msgspec.structs.replace(
            span,
            since=next(
                (
                    record.offset
                    for record in records
                    if (record.topic, record.partition) == (span.topic, span.partition)
                    and record.timestamp_ms * 1_000_000 >= since_ns
                ),
                span.until,
            ),
        )
        for span in header.spans
    ]
    later = _events(msgspec.structs.replace(header, since_ns=since_ns, spans=spans), records)
    assert 0 < len(later) < len(whole)
    places = iter(whole)
    assert all(event in places for event in later), "a part of the whole, in its order"


if __name__ == "__main__":
    now = msgspec.json.encode(_summary(_events(*_read())))
    PINNED.write_bytes(msgspec.json.format(now) + b"\n")
