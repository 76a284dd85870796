"""Where the keys come from, and how they are rotated.

They stand in the environment, or in files, which can be replaced while we run. A file that is just
being written can hold anything, so what it says is believed when two looks in a row agree.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from ingest.keys import Keys, KeysError, parse_keys

#: How often the files are looked at.
LOOK_S = 1.0

_log = structlog.get_logger()


def read_keys_file(path: Path) -> Keys:
    """Return the keys of the one file that holds both. Raises KeysError."""
    try:
        return parse_keys(_read(path))
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
        values.append(value)
    return Keys(key_id=values[0], secret=values[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise KeysError(message) from error
    except UnicodeDecodeError:
        message = f"{path}: not text in UTF-8"
        raise KeysError(message) from None  # its words quote the file


async def watch_keys(
    read: Callable[[], Keys],
    use: Callable[[Keys], None],
    keys: Keys,
    *,
    look: asyncio.Event,
    look_s: float = LOOK_S,
) -> None:
    """Pass on other keys as they come; for ever.

    Args:
        read: reads them; raises KeysError.
        use: told of other keys.
        keys: those in use.
        look: set to have them looked at now.
        look_s: between two looks.

    """
    seen = keys
    complaint = ""
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
            use(keys)
        seen = found
