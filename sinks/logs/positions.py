"""How far a backend has come in each file, and what may be left out when it is too far; pure.

Files are the queue: nothing is kept in memory but the batch that is under way. A file is known by
its inode, and because inodes are given again, by its first bytes as well. A file that was put aside
is read to its end before the one that took its name.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sinks.logs.lines import Before

#: So many of a file's first bytes tell it from another that got its inode.
HEAD_BYTES: Final = 256


class Cursor(msgspec.Struct, frozen=True, kw_only=True):
    """How far one file has been read.

    Attributes:
        inode: the file's.
        offset: where the next line begins.
        head: of the file's first bytes, see `fingerprint`.
        before: what a line there may go on with.

    """

    inode: int
    offset: int = 0
    head: int = 0
    before: Before


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """How far a backend has come: by service, its files that are not read to the end, oldest first.

    Attributes:
        version: of this form.
        files: at least one cursor a service.

    """

    version: int = 1
    files: Mapping[str, Sequence[Cursor]] = {}


def read(text: bytes) -> Checkpoint | None:
    """Return a checkpoint that was written, or None where it cannot be read."""
    try:
        found = msgspec.json.decode(text, type=Checkpoint)
    except msgspec.DecodeError:
        return None
    return found if found.version == 1 else None


def write(checkpoint: Checkpoint) -> bytes:
    """Return a checkpoint as it is kept."""
    return msgspec.json.encode(checkpoint)


def fingerprint(first: bytes, offset: int) -> int:
    """Return what a file is known by: of its first bytes, as far as they have been read."""
    return zlib.crc32(first[: min(offset, HEAD_BYTES)])


def resumed(known: Sequence[Cursor], *, inode: int, size: int, first: bytes) -> Cursor | None:
    """Return how far this very file had been read, or None where it is another."""
    for cursor in known:
        same = cursor.inode == inode and cursor.offset <= size
        if same and fingerprint(first, cursor.offset) == cursor.head:
            return cursor
    return None


def excess(left: Sequence[int], limit: int) -> list[int]:
    """Return how many bytes of each file to leave out, so that no more than `limit` are left.

    Args:
        left: the bytes that are not yet read, by file, oldest first.
        limit: how many there may be in all.

    """
    over = max(0, sum(left) - limit)
    out = []
    for size in left:
        out.append(min(size, over))
        over -= out[-1]
    return out
