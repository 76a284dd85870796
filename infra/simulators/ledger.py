"""What a simulator sent, message by message: the truth that every reconciliation starts from.

Between the messages stand the faults that were switched on, from when to when, in the same file and
in the order in which things happened; each line says by its `line` what it is.

A line is with the operating system *before* its message goes to the socket. So after a `kill -9`
the ledger may tell of messages that nobody received, at the very end of a connection, but nobody
ever received a message that the ledger does not tell of.
"""

import base64
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import msgspec


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="sent"):
    """One data message, as it was sent.

    Attributes:
        source: which simulator sent it.
        connection: names the connection (Alpaca) or the server's run (Yahoo); never used twice.
        sequence: its place among the connection's data messages, from 1, without holes.
        sent_at_ns: when it was handed to the socket.
        symbol: the symbol it speaks of, as the market calls it, whatever the vendor does; empty
            for a frame that was broken on purpose, which is one entry.
        encoding: how it went over the wire.
        raw: `json`: the exact text sent; `msgpack`: base64 of the exact bytes sent.
        fault: the fault that made or changed it, several joined by commas; empty for an honest one.

    """

    source: Literal["alpaca", "yahoo"]
    connection: str
    sequence: int
    sent_at_ns: int
    symbol: str
    encoding: Literal["json", "msgpack"]
    raw: str
    fault: str = ""

    @property
    def wire(self) -> bytes:
        """The exact bytes that were sent."""
        return self.raw.encode() if self.encoding == "json" else base64.b64decode(self.raw)


class FaultBegun(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="fault_begun"):
    """A fault was switched on.

    Attributes:
        source: which simulator's.
        fault_id: names this time that it was on; never used twice.
        name: which fault.
        parameters: with which parameters, those left out at their defaults.
        at_ns: when.

    """

    source: Literal["alpaca", "yahoo"]
    fault_id: str
    name: str
    parameters: dict[str, Any]
    at_ns: int


class FaultEnded(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="fault_ended"):
    """A fault is over.

    Attributes:
        source: which simulator's.
        fault_id: as in its `FaultBegun`.
        name: which fault.
        at_ns: since when it does nothing any more.
        uses: how often it did something.
        reason: `cleared`, by command; `replaced`, by itself with other parameters; `expired`, its
            seconds were over; `used_up`, its count was reached; `stopped`, with the simulator.

    """

    source: Literal["alpaca", "yahoo"]
    fault_id: str
    name: str
    at_ns: int
    uses: int
    reason: Literal["cleared", "replaced", "expired", "used_up", "stopped"]


Line = Entry | FaultBegun | FaultEnded


class LedgerError(Exception):
    """A ledger that cannot be opened, written or read, in a sentence."""


class Ledger:
    """An append-only file of lines, one JSON object each."""

    def __init__(self, path: Path) -> None:
        """Open `path`, or create it. Raises LedgerError where neither can be done."""
        self._path = path
        self._encoder = msgspec.json.Encoder()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _cut_torn_line(self._file)
        except BlockingIOError as error:
            message = f"the ledger {path} is being written by another process"
            raise LedgerError(message) from error
        except OSError as error:
            message = f"cannot open the ledger {path}: {error.strerror}"
            raise LedgerError(message) from error

    def append(self, lines: Sequence[Line]) -> None:
        """Write lines down; they survive the process from here on.

        Raises:
            LedgerError: they could not be written; nothing of them may be sent.

        """
        rest = memoryview(self._encoder.encode_lines(lines))
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            message = f"cannot write the ledger {self._path}: {error.strerror}"
            raise LedgerError(message) from error

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read(path: Path) -> Iterator[Entry]:
    """Yield a ledger's entries in order; a torn last line was never sent and is passed over.

    Raises:
        LedgerError: a line within it is no line of a ledger.

    """
    return (line for line in _lines(path) if isinstance(line, Entry))


def read_faults(path: Path) -> Iterator[FaultBegun | FaultEnded]:
    """Yield the beginnings and ends of a ledger's faults in order. Raises as `read` does."""
    return (line for line in _lines(path) if not isinstance(line, Entry))


def _lines(path: Path) -> Iterator[Line]:
    decoder = msgspec.json.Decoder(Line)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield decoder.decode(line)
            except msgspec.MsgspecError as error:
                message = f"{path}, line {number}: {error}"
                raise LedgerError(message) from error


def _cut_torn_line(file: int) -> None:
    """Remove what a killed writer left of a line: its message was never sent."""
    end = os.fstat(file).st_size
    window = 64 * 1024
    while end:
        start = max(0, end - window)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(file, start + newline + 1)
            return
        end = start
    os.ftruncate(file, 0)
