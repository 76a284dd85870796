"""The ledger keeps what was written through any death of its writer."""

import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.simulators.ledger import (
    Entry,
    FaultBegun,
    FaultEnded,
    Ledger,
    LedgerError,
    read,
    read_faults,
)


def entry(sequence: int, raw: str = '{"T":"t","S":"Ä\\n"}') -> Entry:
    """Return an entry of a JSON message."""
    return Entry(
        source="alpaca",
        connection="c",
        sequence=sequence,
        sent_at_ns=1_795_392_000_123_456_789,
        symbol="AAPL",
        encoding="json",
        raw=raw,
    )


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    """Entries come back in order, their bytes exact, over several openings of one file."""
    path = tmp_path / "made" / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(1), entry(2)])
    with Ledger(path) as ledger:
        ledger.append([entry(3)])
    entries = list(read(path))
    assert entries == [entry(1), entry(2), entry(3)]
    assert entries[0].wire == '{"T":"t","S":"Ä\\n"}'.encode()


def test_faults_stand_between_the_entries(tmp_path: Path) -> None:
    """Each is read by its own function, in the order in which things happened."""
    begun = FaultBegun(
        source="alpaca", fault_id="r-1", name="jump", parameters={"by": 0.25}, at_ns=5
    )
    ended = FaultEnded(
        source="alpaca", fault_id="r-1", name="jump", at_ns=9, uses=1, reason="cleared"
    )
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(1), begun, entry(2)])
        ledger.append([ended])
    assert list(read(path)) == [entry(1), entry(2)]
    assert list(read_faults(path)) == [begun, ended]


@pytest.mark.service
def test_a_line_outlives_a_killed_writer(tmp_path: Path) -> None:
    """What `append` returned from is there after kill -9: nothing waits in the process."""
    path = tmp_path / "ledger.jsonl"
    program = (
        "import os, signal, sys; from pathlib import Path; "
        "from infra.simulators.ledger import Entry, Ledger; "
        "Ledger(Path(sys.argv[1])).append([Entry(source='yahoo', connection='c', sequence=1,"
        " sent_at_ns=1, symbol='KO', encoding='json', raw='{}')]); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    writer = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert writer.returncode == -signal.SIGKILL
    assert [written.symbol for written in read(path)] == ["KO"]


@pytest.mark.parametrize("torn", [b'{"source":"al', b"x" * 200_000])
def test_a_torn_last_line_was_never_sent(tmp_path: Path, torn: bytes) -> None:
    """A reader passes over it, and the next writer cuts it off."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path) as ledger:
        ledger.append([entry(1)])
    with path.open("ab") as file:
        file.write(torn)
    assert list(read(path)) == [entry(1)]
    with Ledger(path) as ledger:
        ledger.append([entry(2)])
    assert list(read(path)) == [entry(1), entry(2)]


def test_a_file_of_nothing_but_a_torn_line_becomes_empty(tmp_path: Path) -> None:
    """A writer that died in its very first line leaves no entry."""
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b'{"sou')
    Ledger(path).close()
    assert path.read_bytes() == b""


def test_a_broken_line_within_is_named(tmp_path: Path) -> None:
    """A ledger that cannot be trusted says where."""
    path = tmp_path / "ledger.jsonl"
    for line in (b'{"line":"sent","source":"elsewhere"}', b'{"source":"alpaca"}', b"{"):
        path.write_bytes(line + b"\n")
        for reader in (read, read_faults):
            with pytest.raises(LedgerError, match=r"ledger\.jsonl, line 1: "):
                list(reader(path))


def test_two_writers_cannot_share_a_file(tmp_path: Path) -> None:
    """The second is refused while the first holds it."""
    path = tmp_path / "ledger.jsonl"
    with Ledger(path), pytest.raises(LedgerError, match="being written by another process"):
        Ledger(path)
    Ledger(path).close()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The sentence has the path and the system's reason."""
    with pytest.raises(LedgerError, match=f"cannot open the ledger {tmp_path}: Is a directory"):
        Ledger(tmp_path)


def test_a_full_disk_is_an_error_not_a_silence(tmp_path: Path) -> None:
    """An entry that cannot be written raises, so that its message is not sent."""
    path = tmp_path / "ledger.jsonl"
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with Ledger(path) as ledger:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(LedgerError, match=r"cannot write the ledger .*: File too large"):
                ledger.append([entry(n) for n in range(100)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
