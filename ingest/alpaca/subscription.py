"""What we want the vendor to send, what it sends, and the requests that lead from one to the other.

Pure. One request is under way at a time, because answers carry no number: they come in order. What
to ask next is derived from what is wanted and what is held, so a list that changes while a request
is under way needs no special case.

A group of symbols that is refused is halved, in order of priority, until the culprit stands alone:

* "invalid syntax" (400): that symbol is malformed, and goes into quarantine;
* "symbol limit exceeded" (405): the plan is full, and all that is still missing is beyond it.

The halves are remembered over reconnections, because a vendor may hang up at each refusal.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Impairment = Literal["malformed", "limit"]


@dataclass(frozen=True, slots=True)
class Request:
    """One message to the vendor."""

    action: Literal["subscribe", "unsubscribe"]
    symbols: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Symbols that can no longer be had (`restored` false), or can again, or are not wanted."""

    reason: Impairment
    symbols: tuple[str, ...]
    restored: bool = False


class Subscription:
    """The conversation about one list of symbols, over as many connections as it takes.

    Args:
        wanted: the symbols, most important first.

    """

    def __init__(self, wanted: tuple[str, ...]) -> None:
        self.wanted = wanted
        #: What the vendor confirmed that it sends.
        self.held: tuple[str, ...] = ()
        #: What it calls malformed.
        self.malformed: tuple[str, ...] = ()
        #: What the plan has no room for.
        self.beyond: tuple[str, ...] = ()
        self._asked: Request | None = None
        self._suspects: list[tuple[str, ...]] = []
        # Confirmed without being held, or still held after being given back: not asked twice.
        self._passed_over: set[str] = set()
        self._renewing: set[str] = set()

    @property
    def waiting(self) -> bool:
        """Whether a request is under way."""
        return self._asked is not None

    @property
    def failure(self) -> Impairment | None:
        """Why the vendor sends nothing of what we want, once there is nothing more to ask."""
        if self.held or not self.wanted:
            return None
        return "limit" if self.beyond else "malformed"

    def begin(self) -> None:
        """Forget what a former connection held; not what it taught us."""
        self.held = ()
        self._asked = None
        self._passed_over = set()
        self._renewing = set()

    def retry(self) -> list[Change]:
        """Give what did not fit into the plan another chance."""
        beyond, self.beyond = self.beyond, ()
        return self._restore("limit", beyond)

    def forgive(self) -> list[Change]:
        """Give everything that was refused another chance: there are other keys, or it was asked.

        Returns what is no longer impaired.
        """
        malformed, self.malformed = self.malformed, ()
        self._suspects = []
        return [*self._restore("malformed", malformed), *self.retry()]

    def follow(self, wanted: tuple[str, ...]) -> list[Change]:
        """Want something else from now on; what was beyond the plan may fit in now."""
        unwanted = tuple(symbol for symbol in self.malformed if symbol not in wanted)
        self.wanted = wanted
        self.malformed = tuple(symbol for symbol in self.malformed if symbol in wanted)
        self._passed_over = set()
        return [*self._restore("malformed", unwanted), *self.retry()]

    def renew(self, symbols: Iterable[str]) -> None:
        """Give symbols that are held back, once, to be asked for again."""
        self._renewing |= set(symbols) & set(self.held)

    def ask(self) -> Request | None:
        """Return the next request, which is under way from now on; None if there is none to make.

        None as well while another is under way.
        """
        if self._asked is None:
            self._asked = self._next()
            return self._asked
        return None

    def confirmed(self, symbols: tuple[str, ...]) -> None:
        """Take what the vendor says that it sends: always the whole set."""
        self.held = symbols
        if self._asked is not None:
            held = set(symbols)
            asked = set(self._asked.symbols)
            subscribing = self._asked.action == "subscribe"
            self._passed_over |= asked - held if subscribing else asked & held
            self._renewing -= asked
            self._asked = None

    def refused(self, reason: Impairment) -> list[Change]:
        """Take the refusal of the request that is under way; return what is lost by it."""
        asked, self._asked = self._asked, None
        if asked is None:
            return []
        if asked.action == "unsubscribe":
            self._passed_over |= set(asked.symbols)
            self._renewing -= set(asked.symbols)
            return []
        group = asked.symbols
        if len(group) > 1:
            self._halve(group)
            return []
        return self._quarantine(group) if reason == "malformed" else self._trim()

    def _quarantine(self, culprit: tuple[str, ...]) -> list[Change]:
        if not set(culprit) <= set(self.wanted):
            return []  # the list has changed while we asked
        self.malformed += culprit
        return [Change("malformed", culprit)]

    def _trim(self) -> list[Change]:
        if self._surplus():
            return []  # the plan is full of what is no longer wanted: that goes first
        self._suspects = []
        lost = self._missing()
        self.beyond += lost
        return [Change("limit", lost)] if lost else []

    def _halve(self, group: tuple[str, ...]) -> None:
        at = self._suspects.index(group) if group in self._suspects else len(self._suspects)
        half = (len(group) + 1) // 2
        self._suspects[at : at + 1] = [group[:half], group[half:]]

    def _missing(self) -> tuple[str, ...]:
        out = {*self.held, *self.malformed, *self.beyond, *self._passed_over}
        return tuple(symbol for symbol in self.wanted if symbol not in out)

    def _surplus(self) -> tuple[str, ...]:
        kept = {*self.wanted, *self._passed_over} - self._renewing
        return tuple(symbol for symbol in self.held if symbol not in kept)

    def _next(self) -> Request | None:
        if surplus := self._surplus():
            return Request("unsubscribe", surplus)
        missing = set(self._missing())
        groups = (tuple(s for s in group if s in missing) for group in self._suspects)
        # a half that is held now was innocent; what is no longer wanted is forgotten
        self._suspects = [group for group in groups if group]
        suspected = {symbol for group in self._suspects for symbol in group}
        clear = tuple(s for s in self.wanted if s in missing and s not in suspected)
        if clear:
            return Request("subscribe", clear)
        return Request("subscribe", self._suspects[0]) if self._suspects else None

    def _restore(self, reason: Impairment, symbols: tuple[str, ...]) -> list[Change]:
        return [Change(reason, symbols, restored=True)] if symbols else []
