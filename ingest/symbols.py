"""Which symbols the pipeline follows, in order of priority."""

import re
from collections.abc import Iterable
from pathlib import Path

#: Ships with the project: thirty large US listings, as many as Alpaca's free plan allows.
DEFAULT_FILE = Path(__file__).parent.parent / "infra" / "symbols.txt"

#: As Alpaca writes US symbols: capitals and digits, a class or unit after a dot.
_SYMBOL = re.compile(r"[A-Z0-9]{1,8}(\.[A-Z]{1,3})?")

#: As much of what is no symbol is repeated: it may be a whole web page.
SHOWN = 40


def parse(text: str) -> tuple[str, ...]:
    """Return the symbols of `text`, one a line, `#` for comments, in order.

    Raises:
        ValueError: a line is no symbol, a symbol stands twice, or there is none at all.

    """
    lines = enumerate((line.partition("#")[0].strip() for line in text.splitlines()), start=1)
    return _list(((number, symbol) for number, symbol in lines if symbol), "line")


def check(entries: Iterable[str]) -> tuple[str, ...]:
    """Return `entries` as they are, which must be symbols. Raises ValueError as `parse` does."""
    return _list(enumerate(entries, start=1), "entry")


def _list(entries: Iterable[tuple[int, str]], place: str) -> tuple[str, ...]:
    symbols: dict[str, int] = {}
    for number, symbol in entries:
        if not _SYMBOL.fullmatch(symbol):
            shown = repr(symbol if len(symbol) <= SHOWN else f"{symbol[:SHOWN]}...")
            message = f"{place} {number}: {shown} is not a symbol such as AAPL or BRK.B"
            raise ValueError(message)
        if symbol in symbols:
            message = f"{place} {number}: {symbol} stands already on {place} {symbols[symbol]}"
            raise ValueError(message)
        symbols[symbol] = number
    if not symbols:
        message = "no symbol in it"
        raise ValueError(message)
    return tuple(symbols)


def read(file: object) -> tuple[str, ...]:
    """Return the symbols in `file`, named by its path.

    Raises:
        ValueError: it cannot be read, or is no list of symbols.

    """
    path = Path(str(file))
    try:
        return parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise ValueError(message) from error
    except ValueError as error:  # UnicodeDecodeError is one
        message = f"{path}: {error}"
        raise ValueError(message) from error
