"""A vendor's bytes inside a raw tick."""

from base64 import b64decode
from typing import Literal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.batches import MAX_BATCH_BYTES
from ingest.events import RawTick
from ingest.raw import MAX_RAW_BYTES, embed, pieces


def _tick(data: bytes, encoding: Literal["json", "msgpack", "bytes"]) -> bytes:
    return msgspec.json.encode(
        RawTick(
            source="alpaca",
            feed="iex",
            symbol="AAPL",
            session_id="s",
            session_seq=1,
            received_at_ns=1,
            encoding=encoding,
            raw=embed(msgspec.Raw(data), encoding),
        )
    )


def test_json_is_embedded_byte_for_byte() -> None:
    """Odd spaces, escapes and digits of the vendor's JSON come out of the log as they went in."""
    data = '{ "T" : "t",\t"p":1.10, "n":"\\u00e9 é €",\n "s":1E2 }'.encode()
    value = _tick(data, "json")
    assert data in value
    assert bytes(msgspec.json.decode(value, type=RawTick).raw) == data


@given(st.binary(max_size=200))
def test_other_bytes_are_embedded_as_base64(data: bytes) -> None:
    """Bytes that are no JSON come out of the log as they went in, whatever they are."""
    raw = msgspec.json.decode(_tick(data, "msgpack"), type=RawTick).raw
    assert b64decode(msgspec.json.decode(raw, type=str)) == data


def test_pieces_fit_into_a_batch_and_join_to_the_whole() -> None:
    """The largest piece, quoted and with its envelope, is smaller than a Kafka batch."""
    data = bytes(range(256)) * (MAX_RAW_BYTES * 2 // 256) + b"rest"
    parts = list(pieces(data))
    assert b"".join(parts) == data
    assert len(parts) == 3
    assert max(len(_tick(part, "bytes")) for part in parts) < MAX_BATCH_BYTES


def test_nothing_is_one_empty_piece() -> None:
    """An empty frame is a fact as well."""
    assert list(pieces(b"")) == [b""]
