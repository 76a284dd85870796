"""What a price may be called: by the hub, and in the same words by its console."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args

import pytest

from processors.events import RoutedPrice, SessionChanged, State
from sinks.hub import words
from sinks.hub.freshness import DELAYED_S, LIVE_S, Freshness, freshness
from sinks.hub.page import HERE
from tests.sinks.hub.prices import NOW, price, transition

MS: Final = 10**6
#: Says what the console would.
CALLED: Final = Path(__file__).with_name("called.mjs")


def _ns(seconds: float) -> int:
    return round(seconds * 1000) * MS


class Case(NamedTuple):
    """A price, and what is known of the route and of the market.

    Attributes:
        state: the router's; None where nothing is known.
        source: which the price came from.
        age_s: since when it was made on the market.
        session: the market's; None where nothing is known.
        since_s: since when.

    """

    state: str | None
    source: str
    age_s: float
    session: str | None = "regular"
    since_s: float = 3600

    def by_the_hub(self) -> Freshness:
        """Return what the hub calls it."""
        switch = None if self.state is None else transition(self.state)
        return freshness(self._price(), switch, self._session(), NOW)

    def told(self, *, connected: bool = True) -> dict[str, Any]:
        """Return what the hub has told the console by then."""
        route = None if self.state is None else words.data_source(transition(self.state))
        known = {
            "connected": connected,
            "route": route,
            "market": words.market_status(self._session()),
        }
        return {"price": words.price_update(self._price()), "known": known, "nowMs": NOW // MS}

    def _price(self) -> RoutedPrice:
        made = NOW - _ns(self.age_s)
        real_time = self.source == "alpaca"
        return price(source=self.source, is_real_time=real_time, market_time_ns=made)

    def _session(self) -> SessionChanged | None:
        if self.session is None:
            return None
        since_ns = NOW - _ns(self.since_s)
        return SessionChanged(
            market="XNYS",
            state=self.session,  # type: ignore[arg-type]
            since_ns=since_ns,
            until_ns=None,
            at_ns=since_ns,
        )


#: Either side is held to it.
TABLE: Final[list[tuple[Case, Freshness]]] = [
    (Case("PRIMARY_ACTIVE", "alpaca", 1), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 300), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 300.001), "STALE"),
    # not a word yet, of a session that has just begun; nor at night
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, since_s=0), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, since_s=300), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, since_s=300.001), "STALE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, "pre"), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, "post"), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, "closed"), "LIVE"),
    (Case("PRIMARY_ACTIVE", "alpaca", 60_000, None), "LIVE"),
    # a clock that is behind the market's
    (Case("PRIMARY_ACTIVE", "alpaca", -5, since_s=-5), "LIVE"),
    (Case("PRIMARY_ACTIVE", "yahoo", 60), "DELAYED"),
    (Case("PRIMARY_ACTIVE", "yahoo", 300.001), "DELAYED"),
    (Case("PRIMARY_ACTIVE", "yahoo", 1800.001), "STALE"),
    (Case("FALLBACK_ACTIVE", "alpaca", 1), "DELAYED"),
    (Case("FALLBACK_ACTIVE", "alpaca", 300.001), "DELAYED"),
    (Case("FALLBACK_ACTIVE", "yahoo", 1800), "DELAYED"),
    (Case("FALLBACK_ACTIVE", "yahoo", 1800.001), "STALE"),
    (Case("FALLBACK_ACTIVE", "yahoo", 60_000, since_s=1800), "DELAYED"),
    (Case("FALLBACK_ACTIVE", "yahoo", 60_000, "closed"), "DELAYED"),
    (Case("BOTH_UNAVAILABLE", "alpaca", 1), "STALE"),
    (Case("BOTH_UNAVAILABLE", "yahoo", 1, "closed"), "STALE"),
    (Case("STARTUP", "alpaca", 1), "STALE"),
    (Case(None, "alpaca", 1), "STALE"),
    (Case(None, "yahoo", 1, None), "STALE"),
]

#: Every state and session, and times on both sides of every limit.
EVERYTHING: Final = [
    Case(*each)
    for each in itertools.product(
        [None, *get_args(State)],
        ["alpaca", "yahoo"],
        [-1, 0, LIVE_S, LIVE_S + 0.001, DELAYED_S, DELAYED_S + 0.001],
        [None, "pre", "regular", "post", "closed"],
        [0, LIVE_S + 1, DELAYED_S + 1],
    )
]


@pytest.mark.parametrize(("case", "word"), TABLE)
def test_what_a_price_may_be_called(case: Case, word: Freshness) -> None:
    """By the route, its source, and its silence in market time."""
    assert case.by_the_hub() == word


@pytest.mark.service
def test_the_console_calls_it_the_same() -> None:
    """In the table's words, in the hub's for every other case, and STALE where it hears nothing."""
    told = [case.told() for case, _ in TABLE]
    everything = [case.told() for case in EVERYTHING]
    cut_off = [case.told(connected=False) for case in EVERYTHING]
    called = _by_the_console([*told, *everything, *cut_off])
    of_everything = called[len(told) : -len(cut_off)]
    wrong = [
        (case, by_console, word)
        for (case, word), by_console in zip(TABLE, called[: len(told)], strict=True)
        if by_console != word
    ]
    wrong += [
        (case, by_console, case.by_the_hub())
        for case, by_console in zip(EVERYTHING, of_everything, strict=True)
        if by_console != case.by_the_hub()
    ]
    assert not wrong, wrong[0]
    assert set(called[-len(cut_off) :]) == {"STALE"}


def _by_the_console(cases: list[dict[str, Any]]) -> list[str]:
    node = shutil.which("node")
    if not node:
        pytest.skip("what the console calls a price needs node, which is not on PATH")
    done = subprocess.run(
        [node, str(CALLED), str(HERE / "freshness.js")],
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    called: list[str] = json.loads(done.stdout)
    return called
