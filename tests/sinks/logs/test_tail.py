"""Files are read to their end, whatever becomes of their names, and from where they were left."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.logs import positions
from sinks.logs.lines import Before
from sinks.logs.positions import Checkpoint, Cursor
from sinks.logs.tail import Tail

EMPTY = Checkpoint()


def tail(directory: Path, checkpoint: Checkpoint = EMPTY, behind: int = 10**6) -> Tail:
    """Return the files of a directory, noticed."""
    found = Tail(directory, checkpoint, redact=lambda text: text, behind=behind)
    found.scan()
    return found


def texts(files: Tail, limit: int = 10**6) -> list[str]:
    """Ship the next batch; return what was printed."""
    batch = files.read(limit)
    files.commit(batch)
    return [json.loads(line.text)["text"] for line in batch.lines]


def put_aside(path: Path) -> None:
    """What a supervisor does with a file that is long enough."""
    path.rename(path.with_name(f"{path.name}.1"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of output."""
    return tmp_path / "a.log"


def write(path: Path, text: str) -> None:
    """Append to a file."""
    with path.open("a") as file:
        file.write(text)


def test_a_line_waits_for_its_end(path: Path, tmp_path: Path) -> None:
    """And is read once."""
    write(path, "one\ntw")
    files = tail(tmp_path)
    assert texts(files) == ["one"]
    assert texts(files) == []
    write(path, "o\n")
    assert texts(files) == ["two"]
    assert files.left == 0
    files.close()


def test_a_batch_that_is_not_taken_comes_again(path: Path, tmp_path: Path) -> None:
    """The very same lines, byte for byte, also after a restart."""
    write(path, "one\ntwo\n")
    files = tail(tmp_path)
    first = files.read(10**6).lines
    assert files.read(10**6).lines == first
    again = tail(tmp_path, files.checkpoint)
    os.utime(path)  # what has no time of its own has that of the first sight
    assert again.read(10**6).lines == first
    files.close()
    again.close()


def test_a_file_that_was_put_aside_twice_is_read_to_its_end(path: Path, tmp_path: Path) -> None:
    """It is held open; nothing has its name any more."""
    files = tail(tmp_path)
    write(path, "one\n")
    files.scan()
    for word in ("two\n", "three\n"):
        put_aside(path)
        write(path, word)
        files.scan()
    assert [texts(files), files.left] == [["one", "two", "three"], 0]
    files.scan()
    assert len(files.checkpoint.files["a"]) == 2  # the first is let go
    files.close()


def test_a_file_waits_for_the_one_whose_name_it_took(path: Path, tmp_path: Path) -> None:
    """However little of that goes into a batch."""
    write(path, "one\ntwo\n")
    files = tail(tmp_path)
    put_aside(path)
    write(path, "three\n")
    files.scan()
    assert texts(files, limit=1) == ["one"]
    assert texts(files, limit=1) == ["two", "three"]
    files.close()


def test_the_last_words_of_a_file_need_no_end(path: Path, tmp_path: Path) -> None:
    """Once it was put aside nothing follows."""
    write(path, "one")
    files = tail(tmp_path)
    assert texts(files) == []
    put_aside(path)
    files.scan()
    assert texts(files) == ["one"]
    files.close()


def test_what_was_put_aside_between_two_runs_is_found_by_its_inode(
    path: Path, tmp_path: Path
) -> None:
    """And what is read is not read again."""
    write(path, "one\ntwo\n")
    files = tail(tmp_path)
    assert texts(files, limit=1) == ["one"]
    kept = positions.read(positions.write(files.checkpoint))
    assert kept is not None
    files.close()
    put_aside(path)
    write(path, "three\n")
    files = tail(tmp_path, kept)
    assert texts(files) == ["two", "three"]
    assert files.torn == []
    files.close()


def test_another_file_with_the_same_inode_is_read_from_its_beginning(
    path: Path, tmp_path: Path
) -> None:
    """Inodes are given again; and it is told that something may be missing."""
    write(path, "other words\n")
    cursor = Cursor(
        inode=path.stat().st_ino,
        offset=4,
        head=positions.fingerprint(b"one\n", 4),
        before=Before(at_ns=0),
    )
    files = tail(tmp_path, Checkpoint(files={"a": [cursor]}))
    assert texts(files) == ["other words"]
    assert files.torn == ["a"]
    files.close()


def test_a_file_that_was_emptied_is_read_from_its_beginning(path: Path, tmp_path: Path) -> None:
    """As one is that somebody copies and truncates."""
    write(path, "one\n")
    files = tail(tmp_path)
    texts(files)
    path.write_text("2\n")
    files.scan()
    assert texts(files) == ["2"]
    files.close()


def test_who_is_too_far_behind_loses_the_oldest_lines_and_they_are_counted(
    path: Path, tmp_path: Path
) -> None:
    """Across files; the others lose nothing."""
    write(tmp_path / "b.log", "quiet\n")
    write(path, "".join(f"{number:04}\n" for number in range(4)))
    files = tail(tmp_path, behind=12)
    put_aside(path)
    write(path, "0004\n0005\n")
    files.scan()
    assert files.drop() == 4
    assert sorted(texts(files)) == ["0004", "0005", "quiet"]
    assert files.drop() == 0
    files.close()


def test_a_file_that_cannot_be_read_is_told_of_and_keeps_nobody_waiting(
    path: Path, tmp_path: Path
) -> None:
    """A directory in its place, here."""
    (tmp_path / "b.log").symlink_to("b.log")  # to itself
    write(path, "one\n")
    files = tail(tmp_path)
    assert texts(files) == ["one"]
    assert files.unreadable == {tmp_path / "b.log": "Too many levels of symbolic links"}
    files.close()


def test_a_noisy_process_keeps_no_other_waiting(tmp_path: Path) -> None:
    """Each batch begins with another one."""
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.log", f"{name}\n" * 10)
    files = tail(tmp_path)
    assert {line for _ in range(3) for line in texts(files, limit=1)} == {"a", "b", "c"}
    files.close()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["write", "half", "aside", "scan", "ship", "fail", "restart"])))
def test_every_line_is_shipped_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    """Whatever happens in between, as long as no file is gone before it was seen."""
    directory = tmp_path_factory.mktemp("logs")
    path = directory / "a.log"
    path.touch()
    files = tail(directory)
    written, shipped = 0, []
    for step in steps:
        match step:
            case "write":
                write(path, f"{written}\n")
                written += 1
            case "half":  # the other half comes before anything else
                write(path, f"{written}")
                files.scan()
                shipped += texts(files, limit=1)
                write(path, "\n")
                written += 1
            case "aside":
                files.scan()
                put_aside(path)
                path.touch()
                files.scan()
            case "scan":
                files.scan()
            case "ship":
                shipped += texts(files, limit=1)
            case "fail":
                files.read(10**6)
            case "restart" if all(len(kept) < 3 for kept in files.checkpoint.files.values()):
                kept = files.checkpoint
                files.close()
                files = tail(directory, kept)
    files.scan()
    while files.left:
        shipped += texts(files)
    files.close()
    assert shipped == [str(number) for number in range(written)]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 100)), st.integers(0, 300))
def test_no_more_is_left_out_than_must_be(left: list[int], limit: int) -> None:
    """The oldest first, and exactly down to the limit."""
    out = positions.excess(left, limit)
    assert sum(left) - sum(out) == min(sum(left), limit)
    kept = [size - gone for size, gone in zip(left, out, strict=True)]
    assert all(gone == 0 for gone, before in zip(out[1:], kept, strict=False) if before)


@pytest.mark.parametrize("text", [b"", b"{", b'{"version":2}', b'{"files":{"a":[{}]}}'])
def test_a_checkpoint_that_cannot_be_read_is_none(text: bytes) -> None:
    """Everything is then shipped again, and replaces itself."""
    assert positions.read(text) is None
