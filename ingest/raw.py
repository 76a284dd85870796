"""How a vendor's bytes are put into a raw tick, so that they come out again byte for byte."""

from base64 import b64encode
from collections.abc import Iterator
from typing import Literal

import msgspec

#: The most vendor bytes in one raw tick. In base64, with its envelope, that stays below a Kafka
#: batch (infra.kafka.batches.MAX_BATCH_BYTES); a real message is a thousandth of it.
MAX_RAW_BYTES = 256 * 1024

#: The longest text that is taken for a symbol. Longer is no symbol, and would be a record's key.
MAX_SYMBOL_LENGTH = 64


def embed(data: msgspec.Raw, encoding: Literal["json", "msgpack", "bytes"]) -> msgspec.Raw:
    """Return `data` as it stands in a raw tick: JSON as it is, anything else as base64."""
    if encoding == "json":
        return data
    return msgspec.Raw(b'"' + b64encode(data) + b'"')


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield `data` in as many pieces as it takes to keep each within `MAX_RAW_BYTES`."""
    for start in range(0, max(len(data), 1), MAX_RAW_BYTES):
        yield data[start : start + MAX_RAW_BYTES]
