"""Both encodings, and times as the vendor writes them."""

import json

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.alpaca.wire import JsonCodec, Malformed, MsgpackCodec, codec_for, rfc3339

TRADE = {
    "T": "t",
    "S": "BRK.B",
    "p": 495.01,
    "s": 0.5,
    "c": [" ", "I"],
    "t": 1_795_392_000_000_000_001,
}


@pytest.mark.parametrize(
    ("at_ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_613_836_260_000_000_000, "2021-02-20T15:51:00Z"),
        (1_613_836_304_208_000_000, "2021-02-20T15:51:44.208Z"),
        (1_613_836_304_200_000_000, "2021-02-20T15:51:44.2Z"),
        (1_613_836_304_000_000_001, "2021-02-20T15:51:44.000000001Z"),
        (1_613_836_304_208_123_456, "2021-02-20T15:51:44.208123456Z"),
    ],
)
def test_times_have_as_many_digits_as_they_need(at_ns: int, text: str) -> None:
    """Trailing zeros are not written, and no digit that counts is lost."""
    assert rfc3339(at_ns) == text


@given(st.integers(0, 4_000_000_000 * 10**9))
def test_msgpack_times_are_exact(at_ns: int) -> None:
    """A Timestamp carries every nanosecond."""
    (message,) = msgpack.unpackb(MsgpackCodec().frame([MsgpackCodec().encode({"t": at_ns})]))
    assert message["t"].to_unix_nano() == at_ns


def test_a_frame_is_an_array_of_its_messages_bytes() -> None:
    """What the ledger writes of a message is a piece of the frame, byte for byte."""
    codec = JsonCodec()
    message = codec.encode(TRADE)
    assert codec.frame([message, message]) == b"[" + message + b"," + message + b"]"
    assert json.loads(codec.raw(message)) == {**TRADE, "t": "2026-11-23T00:00:00.000000001Z"}


@pytest.mark.parametrize("count", [0, 1, 15, 16, 1000, 70_000])
def test_msgpack_frames_of_any_length(count: int) -> None:
    """The array's header grows with the number of messages."""
    codec = MsgpackCodec()
    assert len(msgpack.unpackb(codec.frame([codec.encode({"T": "q"})] * count))) == count


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, "json"),
        ("application/json", "json"),
        ("application/msgpack", "msgpack"),
        ("Application/MsgPack; charset=binary", "msgpack"),
    ],
)
def test_the_handshake_chooses_the_encoding(header: str | None, name: str) -> None:
    """JSON is spoken unless MessagePack was asked for."""
    assert codec_for(header).name == name


@given(st.one_of(st.text(), st.binary()))
def test_no_frame_breaks_a_codec(frame: str | bytes) -> None:
    """Whatever a client sends decodes, or is malformed; nothing else happens."""
    for codec in (JsonCodec(), MsgpackCodec()):
        try:
            codec.decode(frame)
        except Malformed as error:
            assert str(error)  # noqa: PT017  # that it is this error is what is tested


def test_a_text_frame_is_no_msgpack() -> None:
    """Even when its characters could be read as such."""
    with pytest.raises(Malformed, match="a text frame"):
        MsgpackCodec().decode("\x01")
