"""Reads a directory of output from where one backend has come to, as files grow and are put aside.

`NAME.log` is the output of the process NAME; a supervisor puts it aside as `NAME.log.1`, in place
of the one before. A file that was noticed is held open, so that what takes its name, or removes it,
takes nothing away, and so that its inode cannot be given to another.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sinks.logs import positions
from sinks.logs.lines import LINE_BYTES, Before, Line, split, understand
from sinks.logs.positions import Checkpoint, Cursor

#: What may wait of one process: more than a supervisor keeps of it, so that a slow backend loses
#: nothing that is still there, and a dead one holds no disk for ever.
BEHIND_BYTES: Final = 24 * 1024 * 1024
CURRENT, ASIDE = ".log", ".log.1"


class _File:
    """A file that is held open.

    Args:
        descriptor: of the open file.
        cursor: how far it has been read.

    """

    def __init__(self, descriptor: int, cursor: Cursor) -> None:
        self.descriptor = descriptor
        self.cursor = cursor
        self.current = True  # still under the name that is written to

    @property
    def size(self) -> int:
        return os.fstat(self.descriptor).st_size

    @property
    def left(self) -> int:
        return max(0, self.size - self.cursor.offset)

    def first(self) -> bytes:
        return os.pread(self.descriptor, positions.HEAD_BYTES, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines, and where their files are read on once these are shipped."""

    lines: Sequence[Line]
    moves: Sequence[tuple[_File, Cursor]]


class Tail:
    """The files of a directory, as one backend has read them.

    Args:
        directory: which.
        checkpoint: how far it had come.
        redact: takes out of what others print what may not be said.
        behind: what may wait of one process, in bytes.

    """

    def __init__(
        self,
        directory: Path,
        checkpoint: Checkpoint,
        *,
        redact: Callable[[str], str],
        behind: int = BEHIND_BYTES,
    ) -> None:
        self._directory = directory
        self._redact = redact
        self._behind = behind
        self._resumable = dict(checkpoint.files)
        self._files: dict[str, list[_File]] = {}
        self._turn = 0
        #: of those whose files are none of those that had been read, so that some may be missing
        self.torn: list[str] = []
        #: what cannot be read, and why
        self.unreadable: dict[Path, str] = {}

    @property
    def checkpoint(self) -> Checkpoint:
        """How far it has come."""
        return Checkpoint(
            files={name: [file.cursor for file in files] for name, files in self._files.items()}
        )

    @property
    def left(self) -> int:
        """The bytes that are not yet read."""
        return sum(file.left for files in self._files.values() for file in files)

    def close(self) -> None:
        """Let go of all files."""
        for files in self._files.values():
            for file in files:
                os.close(file.descriptor)
        self._files.clear()

    def scan(self) -> bool:
        """Notice files that are new, put aside or gone; tell whether one is new."""
        try:
            found = [path.name for path in self._directory.iterdir()]
            self.unreadable.pop(self._directory, None)
        except OSError as error:  # what is open is read all the same
            self.unreadable[self._directory] = error.strerror or ""
            found = []
        names = {
            name.removesuffix(end) for name in found for end in (CURRENT, ASIDE) if _is(name, end)
        }
        new = [name for name in sorted(names | self._files.keys()) if self._notice(name)]
        return bool(new)

    def _notice(self, name: str) -> bool:
        files = self._files.setdefault(name, [])
        known = len(files)
        aside, current = (self._open(name, files, end) for end in (ASIDE, CURRENT))
        for file in files:
            file.current = file.cursor.inode == current
            if file.size < file.cursor.offset:  # emptied in place
                file.cursor = _fresh(file.descriptor)
        self._tell_torn(name, files)
        is_new = len(files) > known
        for file in [file for file in files if file.cursor.inode not in {aside, current}]:
            if not file.left:
                os.close(file.descriptor)
                files.remove(file)
        if not files:
            del self._files[name]
        return is_new

    def _open(self, name: str, files: list[_File], end: str) -> int | None:
        """Hold the file of this name open if it is not yet, and return its inode."""
        path = self._directory / f"{name}{end}"
        try:
            inode = path.stat().st_ino
            if any(file.cursor.inode == inode for file in files):
                return inode
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # it is just being put aside
            self.unreadable.pop(path, None)
            return None
        except OSError as error:
            self.unreadable[path] = error.strerror or ""
            return None
        self.unreadable.pop(path, None)
        status = os.fstat(descriptor)  # of what was opened, which may be another by now
        if any(file.cursor.inode == status.st_ino for file in files):
            os.close(descriptor)
            return status.st_ino
        first = os.pread(descriptor, positions.HEAD_BYTES, 0)
        cursor = positions.resumed(
            self._resumable.get(name, ()), inode=status.st_ino, size=status.st_size, first=first
        )
        files.append(_File(descriptor, cursor or _fresh(descriptor)))
        return status.st_ino

    def _tell_torn(self, name: str, files: Sequence[_File]) -> None:
        before = self._resumable.pop(name, ())
        inodes = {cursor.inode for cursor in before if cursor.offset}
        if inodes and not any(file.cursor in before for file in files):
            self.torn.append(name)

    def drop(self) -> int:
        """Leave out the oldest lines of whoever is too far behind, and return how many."""
        return sum(
            _skip(file, size)
            for files in self._files.values()
            for file, size in zip(
                files, positions.excess([file.left for file in files], self._behind), strict=True
            )
            if size
        )

    def read(self, limit: int) -> Batch:
        """Return the next lines, of everybody in turn, of about so many bytes."""
        lines: list[Line] = []
        moves: list[tuple[_File, Cursor]] = []
        names = sorted(self._files)
        self._turn = (self._turn + 1) % max(1, len(names))
        for name in names[self._turn :] + names[: self._turn]:
            for file in self._files[name]:
                said, cursor = self._next(name, file, min(LINE_BYTES, limit))
                lines += said
                limit -= cursor.offset - file.cursor.offset
                moves.append((file, cursor))
                if cursor.offset < file.size:  # the next one waits for this one
                    break
            if limit <= 0:
                break
        return Batch(lines, moves)

    def _next(self, name: str, file: _File, limit: int) -> tuple[list[Line], Cursor]:
        cursor = file.cursor
        # a line is always read to its end, or to where it is cut
        chunk = os.pread(file.descriptor, LINE_BYTES, cursor.offset)
        ended = not file.current and cursor.offset + len(chunk) >= file.size
        offset, before, lines = cursor.offset, cursor.before, []
        for raw in split(chunk, ended=ended):
            line, before = understand(raw, before, service=name, offset=offset, redact=self._redact)
            offset += len(raw)
            if line is not None:
                lines.append(line)
            if offset - cursor.offset >= limit:
                break
        head = positions.fingerprint(file.first(), offset)
        return lines, Cursor(inode=cursor.inode, offset=offset, head=head, before=before)

    def commit(self, batch: Batch) -> None:
        """Read on behind a batch, which is shipped."""
        for file, cursor in batch.moves:
            file.cursor = cursor


def _is(name: str, end: str) -> bool:
    return name.endswith(end) and len(name) > len(end)


def _fresh(descriptor: int) -> Cursor:
    status = os.fstat(descriptor)
    said = status.st_mtime_ns // 1000 * 1000
    return Cursor(inode=status.st_ino, before=Before(at_ns=said))


def _skip(file: _File, size: int) -> int:
    """Leave out at least `size` bytes of a file, up to the end of a line; return the lines."""
    cursor, offset, lines = file.cursor, file.cursor.offset, 0
    end = offset + size
    while chunk := os.pread(file.descriptor, LINE_BYTES, offset):
        if offset + len(chunk) >= end:
            newline = chunk.find(b"\n", max(0, end - offset - 1))
            stop = newline + 1 if newline >= 0 else len(chunk)
            lines += chunk.count(b"\n", 0, stop)
            offset += stop
            if newline >= 0:
                break
        else:
            lines += chunk.count(b"\n")
            offset += len(chunk)
    head = positions.fingerprint(file.first(), offset)
    file.cursor = Cursor(inode=cursor.inode, offset=offset, head=head, before=cursor.before)
    return lines
