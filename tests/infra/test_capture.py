"""Captures: what was written is read again, and what is no whole capture is told."""

import io
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.capture import (
    BLOCK_RECORDS,
    MAGIC,
    VERSION,
    Captured,
    CaptureError,
    Header,
    Reader,
    Span,
    Writer,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HEADER = Header(
    prefix="a.",
    since_ns=1,
    until_ns=2,
    captured_at_ns=3,
    spans=[Span(topic="ticks.raw.alpaca", partition=0, begin=3, since=5, until=9)],
)
FIRST_LINE = MAGIC + b"1\n"

texts = st.text(max_size=20)
values = st.none() | st.binary(max_size=200)
numbers = st.integers(0, 2**63 - 1)
captured = st.builds(
    Captured,
    texts,
    st.integers(0, 100),
    numbers,
    numbers,
    values,
    values,
    st.lists(st.tuples(texts, st.binary(max_size=20)), max_size=2),
)


def _file(records: list[Captured], header: Header = HEADER) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, header)
    writer.add(records)
    writer.finish()
    assert writer.records == len(records)
    return file.getvalue()


def _read(content: bytes) -> tuple[Header, list[Captured]]:
    reader = Reader(io.BytesIO(content))
    return reader.header, [record for block in reader.records() for record in block]


def _ticks(amount: int) -> list[Captured]:
    value = b'{"T":"t","S":"AAPL","p":190.25,"s":100,"i":%d}'
    return [
        Captured("ticks.raw.alpaca", 0, n, 1_000 + n, b"AAPL", value % (n * 7_919), [("s", b"x/1")])
        for n in range(amount)
    ]


@given(st.lists(captured, max_size=20))
def test_what_was_written_is_read_again(records: list[Captured]) -> None:
    """Record for record, in order: keys and values that are missing, or empty, or no text, too."""
    assert _read(_file(records)) == (HEADER, records)


@pytest.mark.parametrize("amount", [0, 1, BLOCK_RECORDS, BLOCK_RECORDS + 1])
def test_blocks_are_whole(amount: int) -> None:
    """However many records there are, to the edge of a block and beyond."""
    records = _ticks(amount)
    assert _read(_file(records)) == (HEADER, records)


def test_a_capture_is_small_and_says_what_it_is() -> None:
    """The first line can be read by anyone, and much that is alike takes little room."""
    content = _file(_ticks(10_000))
    assert content.startswith(b"twinfeed-capture 1\n")
    assert len(content) < 20 * 10_000


@given(st.data())
def test_a_file_that_was_cut_off_is_told(data: st.DataObject) -> None:
    """Wherever it was cut: nobody takes a part for the whole."""
    content = _file(_ticks(50))
    with pytest.raises(CaptureError, match=r"is no capture|is cut off after"):
        _read(content[: data.draw(st.integers(0, len(content) - 1))])


@given(st.data())
def test_a_damaged_file_is_told(data: st.DataObject) -> None:
    """Whichever bit was turned: no damage is read as a record (some bits mean nothing)."""
    records = _ticks(50)
    content = bytearray(_file(records))
    place = data.draw(st.integers(len(FIRST_LINE), len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = _read(bytes(content))
    except CaptureError:
        return
    assert found == (HEADER, records)


def _stream(*blocks: bytes) -> bytes:
    return FIRST_LINE + zstd.compress(b"".join(len(b).to_bytes(4) + b for b in blocks))


_header, _records = msgspec.msgpack.encode(HEADER), msgspec.msgpack.encode(_ticks(2))
_trailer = msgspec.msgpack.encode({"records": 2})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no capture: it begins with b''"),
        (b"PK\x03\x04", r"no capture: it begins with b'PK"),
        (b'{"symbol":"AAPL"}\n', "no capture"),
        (MAGIC + b"x\n", "no capture"),
        (MAGIC + b"%d\n" % (VERSION + 1), "of version 2, this reads version 1"),
        (FIRST_LINE, "is cut off after 0 records"),
        (FIRST_LINE + b"not zstd at all", "is damaged after 0 records"),
        (_stream(b"\x90"), "is damaged after 0 records: Expected `object`, got `array`"),
        (_stream(_header, b"\xc0"), "is damaged after 0 records: Expected `array`, got `None`"),
        (_stream(_header, _records), "is cut off after 2 records"),
        (_stream(_header, _records, b""), "is cut off after 2 records"),
        (_stream(_header, _records, b"", b"\xc0"), "is damaged after 2 records"),
        (_stream(_header, b"", _trailer), "is damaged: 0 records of 2 are there"),
        (_stream(_header, _records, b"", _trailer, b"x"), "something follows its 2 records"),
        (FIRST_LINE + zstd.compress(b"\xff" * 9), "a block of 4294967295 bytes"),
    ],
)
def test_what_is_no_capture_is_told(content: bytes, said: str) -> None:
    """A foreign file, one of another version, and all ways to end too early or too late."""
    with pytest.raises(CaptureError, match=said):
        _read(content)
