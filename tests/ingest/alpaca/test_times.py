"""Alpaca's times keep every digit, both ways, in both encodings."""

from datetime import UTC, datetime

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from ingest.alpaca.times import rfc3339, time_ns


@given(
    ns=st.integers(0, 4_102_444_799_999_999_999),
    digits=st.integers(0, 9),
    offset=st.sampled_from(["Z", "z", "+00:00", "-05:00", "+05:30"]),
)
def test_times_keep_every_digit(ns: int, digits: int, offset: str) -> None:
    """RFC 3339 with any number of digits and any offset becomes the same nanoseconds."""
    ns -= ns % 10 ** (9 - digits)
    shift = 0
    if offset[0] in "+-":
        shift = (int(offset[1:3]) * 3600 + int(offset[4:6]) * 60) * (1 if offset[0] == "+" else -1)
    local = datetime.fromtimestamp(ns // 10**9 + shift, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f".{ns % 10**9:09}"[: digits + 1] if digits else ""
    text = local + fraction + offset
    assert time_ns(text) == ns
    assert time_ns(text) == ns  # once more, from the second looked up


@given(ns=st.integers(0, 2**62))
def test_packed_times_keep_every_digit(ns: int) -> None:
    """MessagePack's three sizes of timestamps become nanoseconds."""
    packed = msgpack.unpackb(msgpack.packb(msgpack.Timestamp(*divmod(ns, 10**9))), timestamp=0)
    assert (packed.seconds, packed.nanoseconds) == divmod(ns, 10**9)
    data = packed.to_bytes()
    assert time_ns(Ext(-1, data)) == ns


def test_another_extension_is_no_time() -> None:
    """An extension of another type is refused."""
    with pytest.raises(ValueError, match="extension 5"):
        time_ns(Ext(5, b"\0\0\0\0"))


@given(ns=st.integers(0, 4_102_444_799_999_999_999))
def test_what_we_write_is_read_as_the_same(ns: int) -> None:
    """A moment that we ask for is the moment that we mean."""
    assert time_ns(rfc3339(ns)) == ns
