"""SignalR's wire: both encodings, the handshake, and whatever else may come."""

from typing import Any

import msgpack as independent
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.hub.protocol import handshake
from sinks.hub.protocol.handshake import ENCODINGS, Encoding
from sinks.hub.protocol.messages import (
    Close,
    Completion,
    Ignored,
    Invocation,
    Message,
    Ping,
    ProtocolError,
    StreamInvocation,
)

JSON, MSGPACK = ENCODINGS["json"], ENCODINGS["messagepack"]
BOTH = pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)


def packed(*arrays: Any) -> bytes:
    """Short arrays as a MessagePack client frames them, by an independent library."""
    bodies = [independent.packb(array) for array in arrays]
    assert all(len(body) < 128 for body in bodies)
    return b"".join(bytes([len(body)]) + body for body in bodies)


JSON_FRAMES: dict[str, tuple[bytes, list[Message]]] = {
    "invocation": (
        b'{"arguments":["STOCK",["AAPL"]],"invocationId":"0","target":"Subscribe","type":1}\x1e',
        [Invocation("Subscribe", ["STOCK", ["AAPL"]], "0")],
    ),
    "nobody waits": (b'{"type":1,"target":"F","arguments":[]}\x1e', [Invocation("F", [])]),
    "two in one frame": (b'{"type":6}\x1e{"type":6}\x1e', [Ping(), Ping()]),
    "a result": (
        b'{"type":3,"invocationId":"7","result":null}\x1e',
        [Completion("7", None, has_result=True)],
    ),
    "no result": (b'{"type":3,"invocationId":"7"}\x1e', [Completion("7")]),
    "an error": (
        b'{"type":3,"invocationId":"7","error":"no"}\x1e',
        [Completion("7", error="no")],
    ),
    "a stream": (
        b'{"type":4,"invocationId":"1","target":"S","arguments":[]}\x1e',
        [StreamInvocation("S", "1")],
    ),
    "the end": (b'{"type":7}\x1e', [Close()]),
    "the end, for now": (
        b'{"type":7,"error":"e","allowReconnect":true}\x1e',
        [Close("e", allow_reconnect=True)],
    ),
    "what newer clients say": (b'{"type":8,"sequenceId":3}\x1e', [Ignored(8)]),
}
MSGPACK_FRAMES: dict[str, tuple[bytes, list[Message]]] = {
    "invocation": (
        packed([1, {}, "0", "Subscribe", ["STOCK", ["AAPL"]], []]),
        [Invocation("Subscribe", ["STOCK", ["AAPL"]], "0")],
    ),
    "nobody waits": (packed([1, {}, None, "F", []]), [Invocation("F", [])]),
    "two in one frame": (packed([6], [6]), [Ping(), Ping()]),
    "a result": (packed([3, {}, "7", 3, None]), [Completion("7", None, has_result=True)]),
    "no result": (packed([3, {}, "7", 2]), [Completion("7")]),
    "an error": (packed([3, {}, "7", 1, "no"]), [Completion("7", error="no")]),
    "a stream": (packed([4, {}, "1", "S", [], []]), [StreamInvocation("S", "1")]),
    "the end": (packed([7]), [Close()]),
    "the end, for now": (packed([7, "e", True]), [Close("e", allow_reconnect=True)]),
    "what newer clients say": (packed([8, 3]), [Ignored(8)]),
}


@pytest.mark.parametrize(("frame", "messages"), JSON_FRAMES.values(), ids=JSON_FRAMES)
def test_json_is_read(frame: bytes, messages: list[Message]) -> None:
    """As the official client writes it."""
    assert JSON.decode(frame) == messages


@pytest.mark.parametrize(("frame", "messages"), MSGPACK_FRAMES.values(), ids=MSGPACK_FRAMES)
def test_messagepack_is_read(frame: bytes, messages: list[Message]) -> None:
    """As the official client writes it."""
    assert MSGPACK.decode(frame) == messages


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{}",
        b"{}\x1e",
        b"\x1e",
        b"null\x1e",
        b'{"type":1}\x1e',
        b'{"type":1,"target":"F","arguments":7}\x1e',
        b'{"type":3}\x1e',
        b'{"type":"1"}\x1e',
        b'{"type":6}\x1e{"type":6}',
        b'{"type":6,"target":"\xff"}\x1e',
        b'{"type":1,"target":"F","arguments":' + b"[" * 100_000 + b"]" * 100_000 + b"}\x1e",
    ],
    ids=lambda frame: repr(frame[:40]),
)
def test_json_that_is_no_message_is_refused(frame: bytes) -> None:
    """In words, whatever is wrong with it."""
    with pytest.raises(ProtocolError, match=r"\w+ \w+"):
        JSON.decode(frame)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x05\x91",
        b"\xff\xff\xff\xff\xff\x01",
        b"\x80",
        packed([]),
        packed([1]),
        packed([1, {}, 7, "F", []]),
        packed([1, {}, None, "", []]),
        packed([3, {}, "7", 9]),
        packed([7, 1]),
        packed(["a"]),
        packed({}),
        b"\x04\x91\x81\x80\x01",
        b"\x86\x8d\x06" + b"\x91" * 99_974,
    ],
    ids=lambda frame: repr(frame[:20]),
)
def test_messagepack_that_is_no_message_is_refused(frame: bytes) -> None:
    """In words, whatever is wrong with it."""
    with pytest.raises(ProtocolError, match=r"\w+ \w+"):
        MSGPACK.decode(frame)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
names = st.text(min_size=1)
messages = st.one_of(
    st.builds(Invocation, names, st.lists(values, max_size=4), st.none() | st.text()),
    st.builds(StreamInvocation, names, st.text()),
    st.builds(Completion, st.text(), values, has_result=st.just(value=True)),
    st.builds(Completion, st.text(), error=st.text()),
    st.builds(Completion, st.text()),
    st.just(Ping()),
    st.builds(Close, st.none() | st.text(), allow_reconnect=st.booleans()),
    st.builds(Ignored, st.sampled_from([2, 5, 8, 9])),
)


@BOTH
@given(said=st.lists(messages, min_size=1, max_size=4))
def test_what_is_written_is_read(encoding: Encoding, said: list[Message]) -> None:
    """Any messages, several in one frame."""
    assert encoding.decode(b"".join(map(encoding.encode, said))) == said


@BOTH
@given(data=st.binary(max_size=300))
def test_no_garbage_raises_anything_else(encoding: Encoding, data: bytes) -> None:
    """Whatever comes is messages or one clear refusal."""
    try:
        found = encoding.decode(data)
    except ProtocolError as error:
        assert str(error)  # noqa: PT017  # either outcome is right
    else:
        assert len(found) <= len(data)


@BOTH
@given(said=messages, at=st.floats(0, 1), put=st.binary(max_size=3))
def test_no_damage_raises_anything_else(
    encoding: Encoding, said: Message, at: float, put: bytes
) -> None:
    """Nor do a good message's bytes with a few others among them."""
    data = encoding.encode(said)
    place = int(at * len(data))
    damaged = data[:place] + put + data[place + 1 :]
    try:
        found = encoding.decode(damaged)
    except ProtocolError as error:
        assert str(error)  # noqa: PT017
    else:
        assert len(found) <= len(damaged)


@given(said=messages)
def test_both_are_what_independent_readers_expect(said: Message) -> None:
    """Plain JSON and plain MessagePack that say the same type."""
    body = MSGPACK.encode(said)
    while body[0] & 0x80:
        body = body[1:]
    type_ = orjson.loads(JSON.encode(said)[:-1])["type"]
    assert independent.unpackb(body[1:], strict_map_key=False)[0] == type_


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("name", ENCODINGS)
def test_a_handshake_is_agreed_on(name: str, version: int) -> None:
    """Both encodings, both versions; what follows in the frame is kept."""
    asked = orjson.dumps({"protocol": name, "version": version}) + b"\x1e"
    assert handshake.read(asked + b"rest") == (ENCODINGS[name], b"rest")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (b"", "expected a handshake"),
        (b'{"protocol":"json","version":1}', "expected a handshake"),
        (b'{"protocol":"json"}\x1e', "expected a handshake: .*version"),
        (b"GET / HTTP/1.1\x1e", "expected a handshake"),
        (b'{"protocol":"xml","version":1}\x1e', "unknown protocol 'xml': expected json or mess"),
        (b'{"protocol":"json","version":2}\x1e', "no version 2 here: expected 1"),
        (b'{"protocol":"json","version":1,"x":"' + b"x" * 2000 + b'"}\x1e', "expected a handsh"),
    ],
)
def test_another_handshake_is_refused(asked: bytes, sentence: str) -> None:
    """With the reason, which the client is told."""
    with pytest.raises(ProtocolError, match=sentence) as caught:
        handshake.read(asked)
    refusal = handshake.refusal(str(caught.value))
    assert orjson.loads(refusal[:-1]) == {"error": str(caught.value)}


@given(st.binary(max_size=100))
def test_no_handshake_raises_anything_else(data: bytes) -> None:
    """Whatever comes first."""
    try:
        encoding, _ = handshake.read(data)
    except ProtocolError as error:
        assert str(error)  # noqa: PT017
    else:
        assert encoding in ENCODINGS.values()
