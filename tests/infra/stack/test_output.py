"""A child's output is kept, and bounded."""

from pathlib import Path

from infra.stack.output import TAIL_BYTES, Output


def test_last_lines_skip_blanks_and_keep_order(tmp_path: Path) -> None:
    """The last lines are those with words, oldest first."""
    output = Output(tmp_path / "a.log")
    output.write(b"one\n\ntwo\n")
    output.write(b"three\n\n")
    assert output.last_lines(2) == ["two", "three"]
    output.close()


def test_a_new_start_forgets_the_last_one(tmp_path: Path) -> None:
    """A crash is not explained by the words of an earlier run, though the file keeps them."""
    output = Output(tmp_path / "a.log")
    output.write(b"earlier\n")
    output.fresh()
    assert output.last_lines(5) == []
    output.close()
    assert (tmp_path / "a.log").read_bytes() == b"earlier\n"


def test_files_and_memory_stay_bounded(tmp_path: Path) -> None:
    """However much is said, there are two files of the limit at most, and a bounded tail."""
    output = Output(tmp_path / "a.log", limit=1000)
    for number in range(1000):
        output.write(f"{number:>99}\n".encode())
    output.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"a.log", "a.log.1"}
    assert max(sizes.values()) <= 1000
    assert output.last_lines(1) == [f"{999:>99}"]
    assert len("\n".join(output.last_lines(10_000))) <= TAIL_BYTES


def test_what_an_earlier_stack_wrote_stays(tmp_path: Path) -> None:
    """Output is appended over restarts of the stack."""
    for word in (b"first\n", b"second\n"):
        output = Output(tmp_path / "a.log")
        output.write(word)
        output.close()
    assert (tmp_path / "a.log").read_bytes() == b"first\nsecond\n"


def test_a_line_is_in_one_file(tmp_path: Path) -> None:
    """Though it comes in pieces, and the file is put aside between two of them."""
    output, aside = Output(tmp_path / "a.log", limit=10), []
    for piece in (b"first\nsec", b"ond\nthird", b"\nfourth\n", b"fifth\n"):
        output.write(piece)
        aside += [path.read_bytes() for path in tmp_path.glob("*.1")]
    output.close()
    assert aside == [b"first\nsecond\n", b"third\n", b"fourth\n"]
    assert (tmp_path / "a.log").read_bytes() == b"fifth\n"
