"""The conversation about symbols, with a vendor that has little room and dislikes some names."""

from collections.abc import Iterable, Sequence
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.alpaca.subscription import Change, Impairment, Request, Subscription

NAMES = tuple(f"S{number:02}" for number in range(14))

#: More requests than any conversation about so few symbols takes.
ENOUGH = 150


class Vendor:
    """Answers requests.

    Args:
        limit: how many symbols it sends at most.
        malformed: what it calls malformed.
        first: what it looks at first.

    """

    def __init__(
        self, limit: int, malformed: Iterable[str] = (), first: Impairment = "malformed"
    ) -> None:
        self.limit = limit
        self.malformed = frozenset(malformed)
        self.first = first
        self.held: list[str] = []

    def refusal(self, request: Request) -> Impairment | None:
        """Return why a request is refused, or take it."""
        symbols = request.symbols
        if request.action == "unsubscribe":
            self.held = [symbol for symbol in self.held if symbol not in symbols]
            return None
        objections: list[tuple[Impairment, bool]] = [
            ("malformed", not self.malformed.isdisjoint(symbols)),
            ("limit", len({*self.held, *symbols}) > self.limit),
        ]
        for reason, holds in objections if self.first == "malformed" else objections[::-1]:
            if holds:
                return reason
        self.held = list(dict.fromkeys([*self.held, *symbols]))
        return None


class Talk:
    """A subscription and its vendor, and what is said to be impaired.

    Args:
        wanted: the first list.
        vendor: answers.
        hangs_up: whether it closes the connection after a refusal.

    """

    def __init__(self, wanted: Sequence[str], vendor: Vendor, *, hangs_up: bool = False) -> None:
        self.subscription = Subscription(tuple(wanted))
        self.vendor = vendor
        self.hangs_up = hangs_up
        self.impaired: dict[Impairment, set[str]] = {"malformed": set(), "limit": set()}
        self.requests: list[Request] = []

    def take(self, changes: Iterable[Change]) -> None:
        """Take down what is told; nothing is told twice."""
        for change in changes:
            its, symbols = self.impaired[change.reason], set(change.symbols)
            assert symbols
            assert len(symbols) == len(change.symbols)
            assert symbols <= its if change.restored else its.isdisjoint(symbols)
            self.impaired[change.reason] = its - symbols if change.restored else its | symbols

    def step(self) -> bool:
        """Ask once and have it answered; False when there was nothing to ask."""
        subscription = self.subscription
        request = subscription.ask()
        if request is None:
            self.take(subscription.settled())
            return False
        assert request.symbols
        assert subscription.ask() is None, "two requests at once"
        self.requests.append(request)
        refusal = self.vendor.refusal(request)
        if refusal is None:
            subscription.confirmed(tuple(self.vendor.held))
            return True
        self.take(subscription.refused(refusal))
        if self.hangs_up:
            self.reconnect()
        return True

    def reconnect(self) -> None:
        """Lose the connection."""
        self.vendor.held = []
        self.subscription.begin()

    def finish(self) -> None:
        """Talk until there is nothing to ask."""
        begun = len(self.requests)
        while self.step():
            assert len(self.requests) - begun < ENOUGH, "it does not come to an end"

    def holds_the_laws(self) -> None:
        """Hold the end of a conversation to the laws."""
        subscription, vendor = self.subscription, self.vendor
        wanted = subscription.wanted
        clear = [symbol for symbol in wanted if symbol not in vendor.malformed]
        best = clear[: vendor.limit]
        assert set(subscription.held) == set(vendor.held) == set(best)
        culprits = {symbol for symbol in wanted if symbol in vendor.malformed}
        quarantined = set(subscription.malformed)
        assert quarantined <= culprits
        if len(clear) < vendor.limit:
            assert quarantined == culprits
        before_last = wanted[: wanted.index(best[-1])] if best else ()
        assert culprits & set(before_last) <= quarantined
        beyond = [s for s in wanted if s not in best and s not in quarantined]
        assert list(subscription.beyond) == beyond
        assert self.impaired == {"malformed": quarantined, "limit": set(beyond)}
        assert subscription.failure == (None if best or not wanted else self.why_nothing())

    def why_nothing(self) -> Literal["malformed", "limit"]:
        """Return why nothing can be had."""
        return "limit" if self.subscription.beyond else "malformed"


lists = st.lists(st.sampled_from(NAMES), unique=True, max_size=len(NAMES))
vendors = st.builds(
    Vendor,
    limit=st.integers(0, len(NAMES)),
    malformed=st.sets(st.sampled_from(NAMES), max_size=5),
    first=st.sampled_from(["malformed", "limit"]),
)


@given(wanted=lists, vendor=vendors, hangs_up=st.booleans(), data=st.data())
def test_the_most_important_clear_symbols_are_held(
    wanted: list[str], vendor: Vendor, data: st.DataObject, *, hangs_up: bool
) -> None:
    """Whatever is refused, whenever the list changes, in the end the best that can be is had."""
    talk = Talk(wanted, vendor, hangs_up=hangs_up)
    for _ in range(data.draw(st.integers(0, 4), label="changes")):
        for _ in range(data.draw(st.integers(0, 8), label="steps")):
            talk.step()
        match data.draw(st.sampled_from(["follow", "follow", "renew", "reconnect", "forgive"])):
            case "follow":
                talk.take(talk.subscription.follow(tuple(data.draw(lists))))
            case "renew":
                talk.subscription.renew(data.draw(lists))
            case "reconnect":
                talk.reconnect()
            case "forgive":
                talk.take(talk.subscription.forgive())
    talk.finish()
    talk.holds_the_laws()
    # and so it is on the next connection, without another refusal
    talk.reconnect()
    begun = len(talk.requests)
    talk.hangs_up = False
    talk.finish()
    talk.holds_the_laws()
    assert len(talk.requests) - begun <= 1


@given(wanted=lists, vendor=vendors, first=lists, limit=st.integers(0, len(NAMES)))
def test_the_list_may_change_while_an_answer_is_under_way(
    wanted: list[str], vendor: Vendor, first: list[str], limit: int
) -> None:
    """An answer to what is no longer wanted is taken for what it still says, as is another plan."""
    talk = Talk(first, vendor)
    while request := talk.subscription.ask():
        refusal = vendor.refusal(request)
        changed = tuple(wanted)
        if talk.subscription.wanted != changed:
            talk.take(talk.subscription.follow(changed))
        if refusal:
            talk.take(talk.subscription.refused(refusal))
        else:
            talk.subscription.confirmed(tuple(vendor.held))
    if talk.subscription.wanted == tuple(wanted):
        talk.finish()
        talk.holds_the_laws()
    vendor.limit = limit
    talk.reconnect()
    talk.take(talk.subscription.forgive())
    talk.finish()
    talk.holds_the_laws()


def test_what_is_less_important_gives_way_to_what_is_more() -> None:
    """A newcomer at the head of a full plan displaces the last that is held, and nobody else."""
    talk = Talk(NAMES[1:6], Vendor(4))
    talk.finish()
    assert talk.subscription.held == NAMES[1:5]
    begun = len(talk.requests)
    talk.take(talk.subscription.follow(NAMES[:6]))
    talk.finish()
    talk.holds_the_laws()
    given_back = [r.symbols for r in talk.requests[begun:] if r.action == "unsubscribe"]
    assert given_back == [(NAMES[4],)]


def test_nobody_gives_way_to_a_newcomer_that_is_malformed() -> None:
    """Where the vendor looks at the names first, the culprit is found before there is room."""
    talk = Talk(NAMES[2:6], Vendor(4, malformed=NAMES[:2]))
    talk.finish()
    talk.take(talk.subscription.follow(NAMES[:6]))
    talk.finish()
    talk.holds_the_laws()
    assert not any(request.action == "unsubscribe" for request in talk.requests)


def test_suspects_are_asked_for_before_what_is_less_important() -> None:
    """What was refused together with a culprit does not lose its place to clear symbols."""
    talk = Talk(NAMES[:4], Vendor(3, malformed=NAMES[:1]))
    assert talk.step()
    talk.take(talk.subscription.follow(NAMES))
    assert talk.step()
    assert talk.requests[-1].symbols[0] == NAMES[0]
    talk.finish()
    talk.holds_the_laws()
    assert talk.subscription.held == NAMES[1:4]


def test_the_limit_of_thirty_takes_few_requests() -> None:
    """The room of a plan is found by halving, and known from then on."""
    talk = Talk([f"X{number}" for number in range(500)], Vendor(30))
    talk.finish()
    talk.holds_the_laws()
    assert len(talk.requests) <= 12


@pytest.mark.parametrize("first", ["malformed", "limit"])
def test_a_plan_without_room_fails(first: Impairment) -> None:
    """Nothing can be had, and it is not the names; the next connection tries all again."""
    talk = Talk(NAMES[:3], Vendor(0, first=first))
    talk.finish()
    assert talk.subscription.failure == "limit"
    talk.take(talk.subscription.retry())
    talk.vendor.limit = 3
    talk.finish()
    talk.holds_the_laws()


def test_a_whole_market_with_a_culprit_is_no_burden() -> None:
    """Six thousand symbols are halved to the one that is malformed in a few dozen requests."""
    everybody = tuple(f"S{number}" for number in range(6_000))
    talk = Talk(everybody, Vendor(len(everybody), malformed=everybody[-1:]))
    talk.finish()
    assert talk.subscription.malformed == everybody[-1:]
    assert len(talk.requests) <= 30
