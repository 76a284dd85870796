"""From records of the log to rows of a table."""

import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.events import RawTick
from sinks.clickhouse.batch import Batch, Refused, dead_letter, exact
from tests.sinks.clickhouse.records import (
    BY_NAME,
    NOT_STORED,
    NOW_NS,
    RAW,
    STATUS,
    Record,
    raw_tick,
    records,
)


def test_every_topic_but_tables_and_journals_is_stored() -> None:
    """A topic that is declared and not stored must be a decision."""
    tables = {"prices.latest", "sources.symbols", "forward.symbols", "validate.symbols"}
    journals = {"validate.merges", "router.looks", "forward.switches"}
    assert tables | journals == NOT_STORED


def test_a_row_is_the_value_behind_its_place() -> None:
    """Nothing of the value is read: its place goes in front, byte for byte the rest."""
    batch = Batch(BY_NAME)
    batch.add(STATUS, 3, [Record(7, b'{"at_ns": 1.0 }', topic=STATUS, partition=3)])
    ((lines, _),) = batch.rows.values()
    assert lines == [b'{"topic":"sources.status","partition":3,"offset":7,"at_ns": 1.0 }']


def test_it_knows_where_to_go_on_and_what_it_holds() -> None:
    """The next offset a partition, and the size that bounds the process's memory."""
    batch = Batch(BY_NAME)
    batch.add(RAW, 0, records(raw_tick(), raw_tick(), first=5))
    batch.add(RAW, 1, records(None, first=9))
    batch.add(RAW, 0, records(raw_tick(), first=7))
    assert batch.offsets == {(RAW, 0): 8, (RAW, 1): 10}
    assert (batch.records, batch.size) == (4, 3 * len(raw_tick()))


@pytest.mark.parametrize("value", [None, b"", b"null", b'"text"', b"[1]", b"\xff\x00"])
def test_what_is_no_object_is_refused_at_once(value: bytes | None) -> None:
    """A row cannot be made of it, so it is set aside without asking the engine; and passed."""
    batch = Batch(BY_NAME)
    (record,) = bad = records(value)
    batch.add(RAW, 0, bad)
    assert batch.refused == [Refused(record, "the value is not a JSON object")]
    assert not any(rows.lines for rows in batch.rows.values())
    assert batch.offsets == {(RAW, 0): 1}


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (raw_tick(b'{"T" : "t"}'), raw_tick(b'{"T" : "t"}')),
        (raw_tick(b'"aGk="', "msgpack"), raw_tick(b'"aGk="', "msgpack")),
        (raw_tick(b'"aGk="', "bytes"), raw_tick(b'"aGk="', "bytes")),
        (raw_tick(b"[1, 2]"), raw_tick(b"[1, 2]")),
        (raw_tick(b"null"), raw_tick(b'"null"')),
        (raw_tick(b"1.10"), raw_tick(b'"1.10"')),
        (raw_tick(b'"a\\"\\u00e9"'), raw_tick(b'"\\"a\\\\\\"\\\\u00e9\\""')),
        (b'{"raw":1,"encoding":"json","x":1}', b'{"raw":"1","encoding":"json","x":1}'),
        (b'{"encoding":"json"', b'{"encoding":"json"'),
        (b'{"encoding":"json"}', b'{"encoding":"json"}'),
    ],
)
def test_what_is_no_object_is_quoted(value: bytes, kept: bytes) -> None:
    """A vendor's text, number or null is put into quotes, or the engine would read it."""
    assert exact(value) == kept


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_the_column_gets_the_vendors_bytes(message: object) -> None:
    """Whatever JSON a vendor sends: an object or a list as it stands, all else as a string."""
    raw = json.dumps(message, ensure_ascii=False, indent=1).encode()
    value = exact(raw_tick(raw))
    column = bytes(msgspec.json.decode(value, type=dict[str, msgspec.Raw])["raw"])
    read = column if column[:1] in {b"{", b"["} else msgspec.json.decode(column).encode()
    assert read == raw


@given(st.none() | st.binary(), st.none() | st.binary())
def test_a_dead_letter_keeps_any_bytes(key: bytes | None, value: bytes | None) -> None:
    """What is set aside can be looked at, and tried again, as it was."""
    line = json.loads(dead_letter(Refused(Record(4, value, key=key), "why")))
    assert (line["topic"], line["partition"], line["offset"], line["error"]) == (RAW, 0, 4, "why")
    assert base64.b64decode(line["key_base64"]) == (key or b"")
    assert base64.b64decode(line["value_base64"]) == (value or b"")


def test_what_ingest_writes_needs_no_decoding() -> None:
    """The quick look at a raw tick must match what ingest's own type encodes to."""
    tick = RawTick(
        source="alpaca",
        feed="iex",
        symbol="AAPL",
        session_id="s",
        session_seq=1,
        received_at_ns=NOW_NS,
        encoding="json",
        raw=msgspec.Raw(b'{"T":"t"}'),
    )
    value = msgspec.json.encode(tick)
    assert value == raw_tick()
    assert exact(value) is value
