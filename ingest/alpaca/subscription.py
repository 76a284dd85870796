"""What we want the vendor to send, what it sends, and the requests that lead from one to the other.

Pure. One request is under way at a time, because answers carry no number: they come in order. What
to ask next is derived from what is wanted and what is held, so a list that changes while a request
is under way needs no special case. The most important that is missing is always asked for first.

A refusal teaches one of two things:

* "invalid syntax" (400): one of the group is malformed. The group is halved, in order of priority,
  until the culprit stands alone, and goes into quarantine;
* "symbol limit exceeded" (405): the plan has room for fewer than there would have been. How many
  that are is found by halving what lies between, and the goal is the first so many of the list.
  What is held and less important gives way to what is more important, just before that is asked
  for, and no more of it than that takes.

What was learnt is remembered over reconnections, because a vendor may hang up at each refusal.
Another list makes us ask once for more than there was room for: the plan may be another as well.
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
        #: What the plan has no room for, by the last whole subscription.
        self.beyond: tuple[str, ...] = ()
        self._asked: Request | None = None
        self._suspects: list[tuple[str, ...]] = []
        #: The most symbols that the plan can have room for, once it has refused some.
        self._room: int | None = None
        #: The most that it was seen to have room for.
        self._fits = 0
        # Confirmed without being held, and held still after being given back: not asked twice.
        self._withheld: set[str] = set()
        self._stuck: set[str] = set()
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
        self._withheld = set()
        self._stuck = set()
        self._renewing = set()

    def retry(self) -> list[Change]:
        """Give what did not fit into the plan another chance."""
        self._room, self._fits = None, len(self.held)
        beyond, self.beyond = self.beyond, ()
        return _changes("limit", beyond, restored=True)

    def forgive(self) -> list[Change]:
        """Give everything that was refused another chance: there are other keys, or it was asked.

        Returns what is no longer impaired.
        """
        malformed, self.malformed = self.malformed, ()
        self._suspects = []
        return [*_changes("malformed", malformed, restored=True), *self.retry()]

    def follow(self, wanted: tuple[str, ...]) -> list[Change]:
        """Want something else from now on; return what is impaired no longer, as it is unwanted."""
        self.wanted = wanted
        self._room = None
        self._withheld = set()
        self._stuck = set()
        self.malformed, malformed = _split(self.malformed, wanted)
        self.beyond, beyond = _split(self.beyond, wanted)
        return [
            *_changes("malformed", malformed, restored=True),
            *_changes("limit", beyond, restored=True),
        ]

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

    def settled(self) -> list[Change]:
        """Take what is missing, now that there is nothing to ask, to be beyond the plan."""
        out = {*self.held, *self.malformed, *self._withheld}
        before, self.beyond = self.beyond, tuple(s for s in self.wanted if s not in out)
        return [
            *_changes("limit", _split(before, self.beyond)[1], restored=True),
            *_changes("limit", _split(self.beyond, before)[1]),
        ]

    def confirmed(self, symbols: tuple[str, ...]) -> None:
        """Take what the vendor says that it sends: always the whole set."""
        self.held, held = symbols, set(symbols)
        self._withheld -= held
        self._stuck &= held
        self._fits = max(self._fits, len(symbols))
        if self._room is not None:
            self._room = max(self._room, len(symbols))
        if self._asked is not None:
            asked = set(self._asked.symbols)
            if self._asked.action == "subscribe":
                self._withheld |= asked - held
            else:
                self._stuck |= asked & held
            self._renewing -= asked
            self._asked = None

    def refused(self, reason: Impairment) -> list[Change]:
        """Take the refusal of the request that is under way; return what is lost by it."""
        asked, self._asked = self._asked, None
        if asked is None:
            return []
        if asked.action == "unsubscribe":
            self._stuck |= set(asked.symbols) & set(self.held)
            self._renewing -= set(asked.symbols)
        elif reason == "limit":
            self._room = max(len(self.held), len({*self.held, *asked.symbols}) - 1)
            if self._fits > self._room:
                self._fits = len(self.held)  # the plan is no longer what it was
        elif len(asked.symbols) > 1:
            self._halve(asked.symbols)
        elif asked.symbols[0] in self.wanted:  # or the list has changed while we asked
            self.malformed += asked.symbols
            return _changes("malformed", asked.symbols)
        return []

    def _halve(self, group: tuple[str, ...]) -> None:
        # where only a part of a group was asked for, of the rest nothing is known any more
        refused = set(group)
        self._suspects = [its for its in self._suspects if refused.isdisjoint(its)]
        half = (len(group) + 1) // 2
        self._suspects += [group[:half], group[half:]]

    def _goal(self) -> list[str]:
        """Return what should be held: the first of the list that there can be room for."""
        out = {*self.malformed, *self._withheld, *self._stuck}
        goal = [symbol for symbol in self.wanted if symbol not in out]
        return goal if self._room is None else goal[: max(0, self._room - len(self._stuck))]

    def _next(self) -> Request | None:
        if unwanted := self._unwanted():
            return Request("unsubscribe", unwanted)
        goal, held = self._goal(), set(self.held)
        missing = [symbol for symbol in goal if symbol not in held]
        # who is held now was innocent; what is no longer wanted is forgotten
        unknown = set(self.wanted).difference(held, self.malformed)
        groups = (tuple(s for s in its if s in unknown) for its in self._suspects)
        self._suspects = [group for group in groups if group]
        if not missing:
            return None
        group = self._group(missing)
        if self._room is None:
            return Request("subscribe", group)
        most = self._fits
        if len(held) >= self._fits:
            most += (self._room - self._fits + 1) // 2
        if room := max(0, most - len(held)):
            return Request("subscribe", group[:room])
        kept = {*goal, *self._stuck}
        giving_way = [symbol for symbol in self.wanted if symbol in held and symbol not in kept]
        if giving_way:
            return Request("unsubscribe", tuple(giving_way[-len(group) :]))
        return None

    def _unwanted(self) -> tuple[str, ...]:
        kept = {*self.wanted, *self._stuck} - self._renewing
        return tuple(symbol for symbol in self.held if symbol not in kept)

    def _group(self, missing: list[str]) -> tuple[str, ...]:
        """Return whom to ask for together with the most important one that is missing."""
        groups = [set(group) for group in self._suspects]
        for group in groups:
            if missing[0] in group:
                return tuple(symbol for symbol in missing if symbol in group)
        suspected = set[str]().union(*groups)
        return tuple(symbol for symbol in missing if symbol not in suspected)


def _split(
    symbols: tuple[str, ...], among: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return those that are among others, and those that are not."""
    others = set(among)
    return tuple(s for s in symbols if s in others), tuple(s for s in symbols if s not in others)


def _changes(
    reason: Impairment, symbols: tuple[str, ...], *, restored: bool = False
) -> list[Change]:
    return [Change(reason, symbols, restored)] if symbols else []
