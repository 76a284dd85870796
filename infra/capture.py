"""A stretch of the log in a file: what `twinfeed capture` writes and `twinfeed replay` reads; pure.

    twinfeed-capture 1            a line of ASCII; 1 is the version of what follows
    ...                           one zstd stream (RFC 8878) with a checksum, of blocks

A block is its length, four bytes, the highest first, and so many bytes of MessagePack. The first is
the `Header`, a map. Then come blocks of records: each a list of arrays of topic, partition, offset,
time in milliseconds, key, value, and headers as pairs. A block of no length ends them, and one more
holds the `Trailer`: a file that was cut off has none.

Topics go by their declared names; the header tells the prefix that they had. Records stand in the
order of the header's spans, and by offset.
"""

import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, TypeVar

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

T = TypeVar("T")

VERSION = 1
MAGIC = b"twinfeed-capture "
#: No longer than this is the first line, whatever the version.
LINE_BYTES = 32
#: So many records are a block.
BLOCK_RECORDS = 1_000
#: No block is longer; one that says so is damaged.
BLOCK_BYTES = 256 * 2**20
#: Good and still fast: a tick takes about twenty bytes.
LEVEL = 9
LENGTH_BYTES = 4


class CaptureError(ValueError):
    """This is no capture, or not a whole one, or not of a version that can be read."""


class Captured(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record of the log."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]] = []


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """What was taken of one partition.

    Attributes:
        topic: the topic's declared name.
        partition: the partition.
        begin: the first offset that was taken.
        since: the first one in the span that was asked for; those before it are there to tell how
            things stood.
        until: the first one that was not taken any more.

    """

    topic: str
    partition: int
    begin: int
    since: int
    until: int


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a capture is of.

    Attributes:
        prefix: what stood before the topics' names.
        since_ns, until_ns: the span that was asked for.
        captured_at_ns: when it was taken.
        spans: what was taken of each partition, in the order of the file.

    """

    prefix: str
    since_ns: int
    until_ns: int
    captured_at_ns: int
    spans: list[Span]


class Trailer(msgspec.Struct, frozen=True, kw_only=True):
    """How many records there should be."""

    records: int


_encode = msgspec.msgpack.Encoder().encode
_header = msgspec.msgpack.Decoder(Header)
_records = msgspec.msgpack.Decoder(list[Captured])
_trailer = msgspec.msgpack.Decoder(Trailer)


class Writer:
    """Writes a capture. It is whole once `finish` has returned.

    Args:
        file: where to; open for bytes, and left open.
        header: what it is of.

    """

    def __init__(self, file: BinaryIO, header: Header) -> None:
        file.write(MAGIC + b"%d\n" % VERSION)
        options: dict[int, int] = {
            zstd.CompressionParameter.compression_level: LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        self._stream = zstd.ZstdFile(file, "wb", options=options)
        self._waiting: list[Captured] = []
        self.records = 0
        self._block(_encode(header))

    def add(self, records: Iterable[Captured]) -> None:
        """Take records, in order."""
        for record in records:
            self._waiting.append(record)
            self.records += 1
            if len(self._waiting) >= BLOCK_RECORDS:
                self._flush()

    def finish(self) -> None:
        """Write what waits, and the end."""
        self._flush()
        self._block(b"")
        self._block(_encode(Trailer(records=self.records)))
        self._stream.close()

    def _flush(self) -> None:
        if self._waiting:
            self._block(_encode(self._waiting))
            self._waiting = []

    def _block(self, payload: bytes) -> None:
        self._stream.write(len(payload).to_bytes(LENGTH_BYTES) + payload)


class Reader:
    """Reads a capture.

    Args:
        file: open for bytes, at its beginning.

    Raises:
        CaptureError: it is no capture that can be read.

    """

    def __init__(self, file: BinaryIO) -> None:
        line = file.readline(LINE_BYTES)
        version = line.removeprefix(MAGIC).strip()
        if not line.startswith(MAGIC) or not version.isdigit():
            message = f"it is no capture: it begins with {line[:LINE_BYTES]!r}"
            raise CaptureError(message)
        if int(version) != VERSION:
            message = f"it is a capture of version {int(version)}, this reads version {VERSION}"
            raise CaptureError(message)
        self._stream = zstd.ZstdFile(file, "rb")
        self._read = 0
        self.header = self._decode(_header, self._block())

    def records(self) -> Iterator[Sequence[Captured]]:
        """Yield the records in order, many at a time; once.

        Raises:
            CaptureError: it is damaged or cut off. What came before may have been yielded.

        """
        while payload := self._block():
            records = self._decode(_records, payload)
            self._read += len(records)
            yield records
        trailer = self._decode(_trailer, self._block())
        if trailer.records != self._read:
            message = f"it is damaged: {self._read} records of {trailer.records} are there"
            raise CaptureError(message)
        if self._bytes(1):
            message = f"it is damaged: something follows its {self._read} records"
            raise CaptureError(message)

    def _block(self) -> bytes:
        length = int.from_bytes(self._exactly(LENGTH_BYTES))
        if length > BLOCK_BYTES:
            message = f"it is damaged: a block of {length} bytes follows {self._read} records"
            raise CaptureError(message)
        return self._exactly(length)

    def _exactly(self, length: int) -> bytes:
        found = self._bytes(length)
        if len(found) < length:
            message = f"it is cut off after {self._read} records"
            raise CaptureError(message)
        return found

    def _bytes(self, length: int) -> bytes:
        try:
            return self._stream.read(length)
        except EOFError as error:
            message = f"it is cut off after {self._read} records"
            raise CaptureError(message) from error
        except zstd.ZstdError as error:
            message = f"it is damaged after {self._read} records: {error}"
            raise CaptureError(message) from error

    def _decode(self, decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
        try:
            return decoder.decode(payload)
        except msgspec.DecodeError as error:
            message = f"it is damaged after {self._read} records: {error}"
            raise CaptureError(message) from error
