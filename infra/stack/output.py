"""What a child says: kept in a file that cannot fill the disk, its last lines in memory."""

from pathlib import Path
from typing import BinaryIO

#: A file this long is put aside as `<name>.log.1`, in place of the one before.
FILE_BYTES = 10 * 1024 * 1024
TAIL_BYTES = 16 * 1024
#: A file may get so much longer, so that its last line is whole.
LINE_BYTES = 128 * 1024


class Output:
    """The output of one process, over all its starts.

    Args:
        path: the file; appended to.
        limit: how long it may get, in bytes, before it is put aside.

    """

    def __init__(self, path: Path, limit: int = FILE_BYTES) -> None:
        self.path = path
        self._limit = limit
        self._file: BinaryIO = path.open("ab")
        self._tail = bytearray()
        self._amid = False  # in the middle of a line

    def write(self, chunk: bytes) -> None:
        """Keep a piece of output."""
        if self._file.tell() + len(chunk) > self._limit:
            # a line stays whole, or whoever reads the files would find two
            end = chunk.find(b"\n", 0, LINE_BYTES) + 1 if self._amid else 0
            self._file.write(chunk[:end])
            self._file.close()
            self.path.rename(self.path.with_name(self.path.name + ".1"))
            self._file = self.path.open("ab")
            self._file.write(chunk[end:])
        else:
            self._file.write(chunk)
        self._amid = not chunk.endswith(b"\n")
        self._file.flush()
        self._tail += chunk
        del self._tail[:-TAIL_BYTES]

    def fresh(self) -> None:
        """Forget the last lines: what follows is said by a new start."""
        self._tail.clear()

    def last_lines(self, count: int) -> list[str]:
        """Return the last lines that are not blank."""
        lines = [line.rstrip() for line in self._tail.decode(errors="replace").splitlines()]
        return [line for line in lines if line][-count:]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
