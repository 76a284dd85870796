"""What a stage remembers of its symbols, as it stands in a compacted topic; pure.

A stage's state is a fold over its input, symbol by symbol. So that nobody has to fold from the
beginning, it is written down now and then: one record a symbol, keyed by it, that says up to which
offsets it includes the inputs; and for each partition one record with an empty key, the floor:
every symbol's record includes all below it. Compaction keeps the last of each.

What is over and will not change any more need not be written again and again: a symbol may have
pages, each with a key of its own out of a bounded number, written before the symbol's record that
leaves out what is on them.

To take a partition over:

* load its table (`Recollection`),
* read the input from the floor up to what the group has committed, and fold it without output,
* go on from there, with output,

and take no record that a symbol's own record already includes (`Recollection.includes`). What is
written has been delivered with all its outputs, so what it includes need not go out again.
"""

from collections.abc import Iterable, Mapping

import msgspec


class Remembered(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A stage's memory of one symbol (`forward.symbols`).

    Attributes:
        symbol: whose; empty for the floor of the partition.
        at: by input topic, without prefix, the first offset that is not folded in.
        state: what is remembered, in the stage's own shape; for the floor, of the whole partition.
        page: which page of the symbol's this is; empty for its record.

    """

    symbol: str
    at: dict[str, int]
    state: msgspec.Raw
    page: str = ""

    @property
    def key(self) -> bytes:
        """The record's key; a symbol has no spaces."""
        return f"{self.symbol} {self.page}".encode() if self.page else self.symbol.encode()


#: The state of a floor that has none.
NO_STATE = msgspec.Raw(b"null")

_decode = msgspec.json.Decoder(Remembered).decode


class Recollection:
    """A partition's table, loaded.

    Args:
        records: the values of the table's records, in the order of the log.

    Raises:
        ValueError: a record is none of ours (msgspec.DecodeError is one).

    """

    def __init__(self, records: Iterable[bytes | None]) -> None:
        self.floor: dict[str, int] = {}
        #: What was remembered of the partition as a whole.
        self.floor_state = NO_STATE
        self._symbols: dict[str, Remembered] = {}
        self._pages: dict[bytes, Remembered] = {}
        for value in records:
            if not value:
                continue
            remembered = _decode(value)
            if remembered.page:
                self._pages[remembered.key] = remembered
            elif remembered.symbol:
                self._symbols[remembered.symbol] = remembered
            else:
                self.floor, self.floor_state = remembered.at, remembered.state

    def begin(self, topic: str) -> int:
        """Return the offset from which an input has to be folded."""
        return self.floor.get(topic, 0)

    def horizon(self, topic: str) -> int:
        """Return the first offset of an input that no symbol's state includes."""
        return max((r.at.get(topic, 0) for r in self._symbols.values()), default=0)

    def includes(self, symbol: str, topic: str, offset: int) -> bool:
        """Return whether a symbol's state includes a record of an input already."""
        remembered = self._symbols.get(symbol)
        return remembered is not None and offset < remembered.at.get(topic, 0)

    @property
    def states(self) -> Mapping[str, msgspec.Raw]:
        """By symbol, its state as it was written."""
        return {symbol: remembered.state for symbol, remembered in self._symbols.items()}

    @property
    def pages(self) -> Mapping[str, list[msgspec.Raw]]:
        """By symbol, its pages as they were written, in no order."""
        pages: dict[str, list[msgspec.Raw]] = {}
        for remembered in self._pages.values():
            pages.setdefault(remembered.symbol, []).append(remembered.state)
        return pages
