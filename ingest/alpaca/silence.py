"""Which symbol has gone silent while the others flow?

Pure. A vendor may lose one symbol of a subscription and keep sending the rest; no error tells so.
What can be known is each symbol's own pace. It is learned from looks, one a second: the spacing of
the looks that found messages, so that a burst counts as one, and a symbol that never pauses has a
spacing of a second. Nothing is done per message but to count it.

A spacing is measured on two clocks, and a symbol is silent when both say so:

* in market time: `USUAL_SPACINGS` of its own spacings, and `LEAST_S` at least;
* in messages of the others: as many as usually pass in `USUAL_SPACINGS` of its spacings. That clock
  slows down with the whole stream, so a market that goes quiet makes nobody silent, and it stands
  still where there are no others.

For messages that come at random, at whatever rate, thirty spacings without one have a chance of
e^-30; what the estimate adds keeps that below one in a billion.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import NamedTuple

#: How much market time a symbol must have been silent, however lively it was.
LEAST_S = 30.0
#: How many of its usual spacings it must have been silent.
USUAL_SPACINGS = 30
#: How many spacings must have been seen before any is called usual.
ENOUGH = 30
#: Over how many spacings the average is taken.
MEMORY = 64


class Silent(NamedTuple):
    """A symbol that has gone silent; its last message came at `since_ns`, or up to a look later."""

    symbol: str
    since_ns: int


@dataclass(slots=True)
class _Pace:
    """A symbol's usual spacing, and its present one.

    Attributes:
        since_ns: the last moment before which nothing is missing.
        seen: how many spacings have been learned, up to `MEMORY`.
        usual_s: the usual spacing, in market time.
        usual_others: the usual spacing, in messages of the others.
        quiet_s: the market time since the last look that found something.
        quiet_others: the others' messages since then.
        silent: whether that was said.

    """

    since_ns: int
    seen: int = 0
    usual_s: float = 0.0
    usual_others: float = 0.0
    quiet_s: float = 0.0
    quiet_others: int = 0
    silent: bool = False

    def learn(self) -> None:
        """Make the spacing that ends now part of the usual one."""
        self.seen = min(self.seen + 1, MEMORY)
        self.usual_s += (self.quiet_s - self.usual_s) / self.seen
        self.usual_others += (self.quiet_others - self.usual_others) / self.seen

    def begin(self, now_ns: int) -> None:
        """Begin another spacing."""
        self.since_ns = max(self.since_ns, now_ns)
        self.quiet_s = 0.0
        self.quiet_others = 0
        self.silent = False

    def too_long(self) -> bool:
        """Return whether both clocks say that the present spacing is no usual one."""
        return (
            self.seen >= ENOUGH
            and self.quiet_s >= max(LEAST_S, USUAL_SPACINGS * self.usual_s)
            and self.quiet_others >= max(1.0, USUAL_SPACINGS * self.usual_others)
        )


class Silence:
    """The paces of a stream's symbols, over as many connections as it takes."""

    def __init__(self) -> None:
        #: Messages since the last look, by symbol that is listened to: whoever receives counts.
        self.counts: dict[str, int] = {}
        self._paces: dict[str, _Pace] = {}
        self._looked_ns = 0

    def listen(self, symbols: Iterable[str], now_ns: int) -> None:
        """Listen to these symbols from now on; what is known of each one's pace is kept."""
        before = self.counts
        self.counts = {symbol: before.get(symbol, 0) for symbol in symbols}
        for symbol in self.counts:
            if symbol not in self._paces:
                self._paces[symbol] = _Pace(now_ns)
            elif symbol not in before:
                self._paces[symbol].begin(now_ns)
        self._looked_ns = self._looked_ns if before else now_ns

    def keep(self, symbols: Collection[str]) -> None:
        """Forget the paces of all symbols but these."""
        self._paces = {s: pace for s, pace in self._paces.items() if s in symbols}
        self.counts = {s: count for s, count in self.counts.items() if s in symbols}

    def heard(self, symbol: str, now_ns: int) -> None:
        """Say that a symbol that was silent has spoken."""
        if pace := self._paces.get(symbol):
            pace.begin(now_ns)

    def look(self, open_s: float, now_ns: int, halted: Collection[str]) -> list[Silent]:
        """Return the symbols that have gone silent since the last look.

        Args:
            open_s: the market time since the last look.
            now_ns: the present moment.
            halted: who is not expected to speak.

        """
        counts, silent = self.counts, []
        total = sum(counts.values()) if open_s else 0
        for symbol, count in counts.items():
            pace = self._paces[symbol]
            pace.quiet_s += open_s
            pace.quiet_others += max(0, total - count)
            if count:
                counts[symbol] = 0
                if open_s and not pace.silent:
                    pace.learn()
                pace.begin(self._looked_ns)
            elif symbol in halted:
                pace.begin(now_ns)
            elif not pace.silent and pace.too_long():
                pace.silent = True
                silent.append(Silent(symbol, pace.since_ns))
        self._looked_ns = now_ns
        return silent
