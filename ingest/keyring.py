"""Where the keys come from, and how they are rotated.

They stand in the environment, or in files, which can be replaced while we run. A file that is just
being written can hold anything, so what it says is believed when two looks in a row agree.
"""

import asyncio
import stat
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

import structlog

from infra.redaction import SECRETS
from ingest.keys import Keys, KeysError, check_key, parse_keys

#: How often the files are looked at.
LOOK_S = 1.0
#: As much as a file of keys may hold; whatever holds more is another file.
FILE_BYTES = 64 * 1024

_log = structlog.get_logger()


def read_keys_file(path: Path) -> Keys:
    """Return the keys of the one file that holds both. Raises KeysError."""
    try:
        return _known(parse_keys(_read(path)))
    except KeysError as error:
        message = str(error) if str(error).startswith(str(path)) else f"{path}: {error}"
        raise KeysError(message) from error


def read_key_files(key_id: Path, secret: Path) -> Keys:
    """Return the keys of two files that hold one each. Raises KeysError."""
    values = []
    for path in (key_id, secret):
        value = _read(path).strip()
        if not value or len(value.split()) > 1:
            message = f"{path}: expected one key and nothing else"
            raise KeysError(message)
        try:
            values.append(check_key(value))
        except KeysError as error:
            message = f"{path}: {error}"
            raise KeysError(message) from error
    return _known(Keys(key_id=values[0], secret=values[1]))


def _known(keys: Keys) -> Keys:
    """Return keys that no line of the log will tell."""
    for key in (keys.key_id, keys.secret):
        SECRETS.add(key)
    return keys


def _read(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            # a pipe is empty at the second look, and nobody's at the first
            message = f"{path}: not a regular file"
            raise KeysError(message)
        with path.open("rb") as file:
            content = file.read(FILE_BYTES + 1)
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise KeysError(message) from error
    if len(content) > FILE_BYTES:
        message = f"{path}: expected a file of keys, at most {FILE_BYTES} bytes"
        raise KeysError(message)
    try:
        return content.decode()
    except UnicodeDecodeError:
        message = f"{path}: not text in UTF-8"
        raise KeysError(message) from None  # its words quote the file


def hang_up(look: asyncio.Event, files: Collection[Path]) -> None:
    """Do what SIGHUP asks for: have the keys looked at now, where they are in files."""
    if files:
        look.set()
    else:
        _log.warning("keys_kept", detail="they stand in the environment, which cannot change")


async def watch_keys(
    read: Callable[[], Keys],
    use: Callable[[Keys], None],
    keys: Keys,
    *,
    look: asyncio.Event,
    files: Iterable[Path] = (),
    look_s: float = LOOK_S,
) -> None:
    """Pass on other keys as they come; for ever.

    Args:
        read: reads them; raises KeysError.
        use: told of other keys.
        keys: those in use.
        look: set to have them looked at now.
        files: where they are read from: who else may read those is looked at as well.
        look_s: between two looks.

    """
    seen = keys
    complaint = ""
    _look_who_may_read(files)
    while True:
        try:
            async with asyncio.timeout(look_s):
                await look.wait()
            look.clear()
        except TimeoutError:
            pass  # it is time to look anyway
        try:
            found = read()
        except KeysError as error:
            if str(error) != complaint:
                complaint = str(error)
                _log.warning("keys_unreadable", detail=complaint)
            continue
        complaint = ""
        if found == seen and found != keys:
            keys = found
            _log.info("keys_changed")
            _look_who_may_read(files)
            use(keys)
        seen = found


def _look_who_may_read(files: Iterable[Path]) -> None:
    """Warn of each file of keys that anyone on this machine may read."""
    for file in files:
        try:
            mode = file.stat().st_mode
        except OSError:
            continue  # it has just gone, which the next look tells
        if mode & stat.S_IROTH:
            _log.warning("keys_readable_by_all", file=str(file), detail=f"chmod o-r {file}")
