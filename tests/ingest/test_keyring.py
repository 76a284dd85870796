"""The keys: where they come from, and how they change while we run."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from ingest.keyring import FILE_BYTES, hang_up, read_key_files, read_keys_file, watch_keys
from ingest.keys import Keys, KeysError, parse_keys
from tests.ingest.fakes import eventually

OLD = Keys(key_id="PKOLD", secret="old-secret")
NEW = Keys(key_id="PKNEW", secret="new-secret")


def _text(keys: Keys) -> str:
    return f"ALPACA_API_KEY_ID={keys.key_id}\nALPACA_API_SECRET_KEY={keys.secret}\n"


def test_one_file_holds_both() -> None:
    """Two lines in any order, with comments; a value may hold an equals sign."""
    text = "# mine\n\nALPACA_API_SECRET_KEY = a=b \nALPACA_API_KEY_ID=PK1\n"
    assert parse_keys(text) == Keys(key_id="PK1", secret="a=b")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "ALPACA_API_KEY_ID is missing"),
        ("ALPACA_API_KEY_ID=hush", "ALPACA_API_SECRET_KEY is missing"),
        ("ALPACA_API_KEY_ID=\nALPACA_API_SECRET_KEY=hush", "ALPACA_API_KEY_ID is missing"),
        ("hush", "line 1: expected"),
        ("KEY=hush", "line 1: expected"),
        ("ALPACA_API_KEY_ID=hush\nALPACA_API_KEY_ID=hush", "line 2: expected"),
        ('ALPACA_API_KEY_ID="hush"', "line 1: expected a key without quotes"),
        ("ALPACA_API_KEY_ID=hush hush", "line 1: expected a key without quotes"),
        ("ALPACA_API_KEY_ID=hush\x00", "line 1: expected a key without quotes"),
        ("ALPACA_API_KEY_ID=hüsh", "line 1: expected a key without quotes"),
    ],
)
def test_wrong_file_is_named_and_not_quoted(text: str, complaint: str) -> None:
    """The sentence says what is expected, and nothing of what may be half a key."""
    with pytest.raises(KeysError, match=complaint) as refused:
        parse_keys(text)
    assert "hush" not in str(refused.value)


def test_two_files_hold_one_each(tmp_path: Path) -> None:
    """As Docker and Kubernetes mount secrets; a newline at the end is no part of the key."""
    key_id, secret = tmp_path / "id", tmp_path / "secret"
    key_id.write_text("PKOLD\n")
    secret.write_text("old-secret")
    assert read_key_files(key_id, secret) == OLD
    secret.write_text("two words")
    with pytest.raises(KeysError, match="expected one key") as refused:
        read_key_files(key_id, secret)
    assert "two words" not in str(refused.value)
    secret.write_text("'hush'")
    with pytest.raises(KeysError, match="secret: expected a key without quotes") as refused:
        read_key_files(key_id, secret)
    assert "hush" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing file, a directory, and one that is no text."""
    with pytest.raises(KeysError, match="no-such: No such file"):
        read_keys_file(tmp_path / "no-such")
    with pytest.raises(KeysError, match="not a regular file"):
        read_keys_file(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KeysError, match="not a regular file"):
        read_keys_file(tmp_path / "pipe")
    endless = tmp_path / "endless"
    endless.write_text("hush" * FILE_BYTES)
    with pytest.raises(KeysError, match="at most 65536 bytes") as refused:
        read_keys_file(endless)
    assert "hush" not in str(refused.value)
    binary = tmp_path / "binary"
    binary.write_bytes(b"ALPACA_API_KEY_ID=hush\xff")
    with pytest.raises(KeysError, match="not text in UTF-8") as refused:
        read_keys_file(binary)
    assert "hush" not in str(refused.value)


@asynccontextmanager
async def _watching(file: Path) -> AsyncIterator[tuple[list[Keys], asyncio.Event]]:
    used: list[Keys] = []
    look = asyncio.Event()
    task = asyncio.create_task(
        watch_keys(lambda: read_keys_file(file), used.append, OLD, look=look, look_s=0.01)
    )
    try:
        yield used, look
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _replace(file: Path, text: str) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(file)


async def test_a_replaced_file_brings_other_keys_once(tmp_path: Path) -> None:
    """The change is passed on, and not again while the file stays as it is."""
    file = tmp_path / "keys"
    _replace(file, _text(OLD))
    async with _watching(file) as (used, _):
        _replace(file, _text(NEW))
        await eventually(lambda: used == [NEW])
        _replace(file, _text(OLD))
        await eventually(lambda: used == [NEW, OLD])


async def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    """Half a file, an empty one, and none at all keep the keys in use, whole ones end that."""
    file = tmp_path / "keys"
    file.write_text(_text(OLD))
    looks = 0
    used: list[Keys] = []
    steps: list[Callable[[], object]] = [
        lambda: file.write_text(""),
        lambda: file.write_text(_text(NEW)[:-3]),  # torn within the secret: seen once, not believed
        lambda: file.write_text(_text(NEW)[:20]),
        file.unlink,
        lambda: file.write_text(_text(NEW)),
    ]

    def read() -> Keys:
        nonlocal looks
        if looks < len(steps):
            steps[looks]()
        looks += 1
        return read_keys_file(file)

    task = asyncio.create_task(watch_keys(read, used.append, OLD, look=asyncio.Event(), look_s=0))
    await eventually(lambda: bool(used))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert used == [NEW]
    assert looks >= len(steps) + 1, "believed when two looks agreed, not before"


async def test_a_signal_looks_at_once(tmp_path: Path) -> None:
    """With hours between two looks, who asks for one need not wait."""
    file = tmp_path / "keys"
    file.write_text(_text(OLD))
    used: list[Keys] = []
    look = asyncio.Event()
    task = asyncio.create_task(
        watch_keys(lambda: read_keys_file(file), used.append, OLD, look=look, look_s=3600)
    )
    await asyncio.sleep(0)
    _replace(file, _text(NEW))
    os.sync()

    def asked() -> bool:
        look.set()
        return used == [NEW]

    await eventually(asked)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_file_that_vanishes_is_told_once(tmp_path: Path) -> None:
    """The keys in use stay in use; what is wrong is said at its beginning, not every second."""
    file = tmp_path / "keys"
    file.write_text(_text(OLD))
    used: list[Keys] = []
    looks = 0

    def read() -> Keys:
        nonlocal looks
        looks += 1
        return read_keys_file(file)

    with capture_logs() as logs:
        task = asyncio.create_task(
            watch_keys(read, used.append, OLD, look=asyncio.Event(), look_s=0)
        )
        for vanished in (1, 2):
            file.unlink()
            seen = looks
            await eventually(lambda seen=seen: looks > seen + 20)  # type: ignore[misc]
            told = [log["detail"] for log in logs if log["event"] == "keys_unreadable"]
            assert told == [f"{file}: No such file or directory"] * vanished
            _replace(file, _text(NEW))
            seen = looks
            await eventually(lambda seen=seen: looks > seen + 2)  # type: ignore[misc]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert used == [NEW]


async def test_a_file_that_all_may_read_is_told_of(tmp_path: Path) -> None:
    """At the start and at each rotation, with what to do; one that only we may read is not."""
    file, other = tmp_path / "keys", tmp_path / "other"
    for path, mode in ((file, 0o644), (other, 0o640)):
        path.write_text(_text(OLD))
        path.chmod(mode)
    used: list[Keys] = []
    with capture_logs() as logs:
        task = asyncio.create_task(
            watch_keys(
                lambda: read_keys_file(file),
                used.append,
                OLD,
                look=asyncio.Event(),
                files=(file, other, tmp_path / "gone"),
                look_s=0.01,
            )
        )
        await eventually(lambda: logs)
        _replace(file, _text(NEW))
        file.chmod(0o644)
        await eventually(lambda: used == [NEW])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    warnings = [log for log in logs if log["log_level"] == "warning"]
    assert [warning["file"] for warning in warnings] == [str(file), str(file)]
    assert warnings[0]["detail"] == f"chmod o-r {file}"


def test_a_signal_changes_nothing_of_an_environment() -> None:
    """Whoever sends SIGHUP learns why nothing happened."""
    look = asyncio.Event()
    with capture_logs() as logs:
        hang_up(look, ())
    assert not look.is_set()
    assert [log["event"] for log in logs] == ["keys_kept"]
    hang_up(look, (Path("keys"),))
    assert look.is_set()
