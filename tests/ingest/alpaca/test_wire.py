"""Alpaca's wire."""

import json
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.alpaca import wire
from ingest.alpaca.wire import CODES, UNREADABLE, Encoding, Verdict, split
from ingest.raw import MAX_RAW_BYTES

ENCODINGS: tuple[Encoding, ...] = ("json", "msgpack")


def _pack(value: Any, encoding: Encoding) -> bytes:
    if encoding == "json":
        return json.dumps(value).encode()
    packed: bytes = msgpack.packb(value)
    return packed


def test_json_frame_is_split_without_touching_a_byte() -> None:
    """Each message keeps its own bytes: spaces, escapes, order and digits."""
    first = '{"T":"t", "S" :"AAPL","p":1.10,"c":["@","\\u0049"],"t":"2026-01-02T03:04:05Z"}'
    second = '{ "S":"BRK.B","bp":0, "T":"q","x":"é" }'
    messages = split(f" [ {first} ,\n{second}]\n".encode(), "json")
    assert [(m.kind, m.symbol, bytes(m.data).decode()) for m in messages] == [
        ("t", "AAPL", first),
        ("q", "BRK.B", second),
    ]


def test_msgpack_frame_is_split_without_touching_a_byte() -> None:
    """A message with a Timestamp comes out as the bytes that went in."""
    trade = msgpack.packb({"T": "t", "S": "AAPL", "t": msgpack.Timestamp(1_790_000_000, 7)})
    quote = msgpack.packb({"T": "q", "S": "MSFT", "bp": 1.5})
    messages = split(b"\x92" + trade + quote, "msgpack")
    assert [bytes(m.data) for m in messages] == [trade, quote]
    assert [(m.kind, m.symbol, m.encoding) for m in messages] == [
        ("t", "AAPL", "msgpack"),
        ("q", "MSFT", "msgpack"),
    ]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_control_messages_are_read(encoding: Encoding) -> None:
    """Success, error and subscription come out with what the session needs of them."""
    success, error, subscription = split(
        _pack(
            [
                {"T": "success", "msg": "connected"},
                {"T": "error", "code": 402, "msg": "auth failed"},
                {"T": "subscription", "trades": ["A", "B"], "quotes": ["B", "C"], "lulds": ["D"]},
            ],
            encoding,
        ),
        encoding,
    )
    assert (success.kind, success.text) == ("success", "connected")
    assert (error.kind, error.code, error.text) == ("error", 402, "auth failed")
    assert wire.subscribed_symbols(subscription, encoding) == ("A", "B", "C")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_subscription_of_another_shape_is_refused(encoding: Encoding) -> None:
    """Channels that are no lists of symbols are named as such."""
    (message,) = split(_pack([{"T": "subscription", "trades": 5}], encoding), encoding)
    with pytest.raises(ValueError, match="unreadable subscription"):
        wire.subscribed_symbols(message, encoding)


UNSPLITTABLE: list[tuple[Encoding, bytes]] = [
    ("json", b""),
    ("json", b"not json"),
    ("json", b'{"T":"t"}'),  # an object alone is no frame
    ("json", b'[{"T":"t"}] trailing'),
    ("json", b'[{"T":"t","x":01}]'),
    ("json", b'[{"T":"t","x":"\xff"}]'),  # not UTF-8
    ("json", b'[{"T":"t","x":"\\ud800"}]'),  # half a character
    ("json", b"[" * 100_000),
    ("msgpack", b""),
    ("msgpack", b"\x91\xc1"),  # a code that msgpack never uses
    ("msgpack", b"\xdd\xff\xff\xff\xff"),  # four billion messages, none there
    ("msgpack", b"\x91" * 100_000),
    ("msgpack", msgpack.packb({"T": "t"})),
]


@pytest.mark.parametrize(("encoding", "frame"), UNSPLITTABLE)
def test_frame_that_cannot_be_split_is_kept_whole(encoding: Encoding, frame: bytes) -> None:
    """What is no array of messages is one unreadable message, with all its bytes."""
    (message,) = split(frame, encoding)
    assert (message.kind, message.symbol, message.encoding) == (UNREADABLE, "", "bytes")
    assert bytes(message.data) == frame


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "odd",
    [
        1,
        None,
        "text",
        [],
        {},
        {"T": 5},
        {"T": None, "S": "AAPL"},
        {"T": "t", "S": 7},
        {"T": "t", "S": "A" * 65},
        {"T": "error", "code": "402"},
        {"T": "error", "code": 10**9},
    ],
)
def test_odd_message_spoils_no_neighbour(odd: Any, encoding: Encoding) -> None:
    """A message that names nothing is kept as unreadable, between two that are read."""
    good = {"T": "t", "S": "AAPL"}
    before, middle, after = split(_pack([good, odd, good], encoding), encoding)
    assert (before.symbol, after.symbol) == ("AAPL", "AAPL")
    assert (middle.kind, middle.symbol, middle.encoding) == (UNREADABLE, "", encoding)
    assert bytes(middle.data) == _pack(odd, encoding)


def test_oversized_message_is_kept_in_pieces() -> None:
    """A message too long for one record keeps its symbol and all its bytes, in order."""
    huge = json.dumps({"T": "t", "S": "AAPL", "x": "y" * MAX_RAW_BYTES * 2}).encode()
    messages = split(b"[" + huge + b"]", "json")
    assert {(m.kind, m.symbol, m.encoding) for m in messages} == {(UNREADABLE, "AAPL", "bytes")}
    assert b"".join(bytes(m.data) for m in messages) == huge


_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


@given(
    frame=st.binary(max_size=50)
    | st.lists(_values, max_size=4).map(lambda value: json.dumps(value).encode())
    | st.lists(_values, max_size=4).map(msgspec.msgpack.encode),
    encoding=st.sampled_from(ENCODINGS),
)
def test_no_frame_raises_and_none_loses_a_byte(frame: bytes, encoding: Encoding) -> None:
    """Any bytes at all are split, and an unsplittable frame's bytes are all still there."""
    messages = split(frame, encoding)
    for message in messages:
        message.symbol.encode()
        assert bytes(message.data) in frame
    if any(message.encoding == "bytes" for message in messages):
        assert b"".join(bytes(message.data) for message in messages) == frame


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_our_messages_say_what_the_vendor_expects(encoding: Encoding) -> None:
    """Authentication and subscription are the documented messages, in either encoding."""
    decode = json.loads if encoding == "json" else msgpack.unpackb
    assert decode(wire.authentication("id", "secret", encoding)) == {
        "action": "auth",
        "key": "id",
        "secret": "secret",
    }
    assert decode(wire.request("subscribe", ("AAPL", "MSFT"), encoding)) == {
        "action": "subscribe",
        **{
            channel: ["AAPL", "MSFT"]
            for channel in ("trades", "quotes", "bars", "statuses", "lulds")
        },
    }


@pytest.mark.parametrize(
    ("verdict", "numbers"),
    [
        (Verdict.TERMINAL, {402, 409, 411}),
        (Verdict.OUR_BUG, {410}),
        (Verdict.REPEAT, {400, 401, 405}),
        (Verdict.RETRY, {404, 406, 407, 500}),
        (Verdict.IGNORE, {403}),
    ],
)
def test_codes_mean_what_the_vendor_documents(verdict: Verdict, numbers: set[int]) -> None:
    """Every documented code has its verdict, and no other code is in the table."""
    assert {number for number, code in CODES.items() if code.verdict is verdict} == numbers
