"""The conversation, case by case."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.alpaca.session import (
    ASKED,
    CHANNELS,
    ERRORS,
    Rules,
    Session,
    answer,
    error,
    greet,
)

RULES = Rules(keys={"k": "s"}, symbol_limit=3)
FEED = frozenset({"AAPL", "MSFT", "TSLA"})
NEW = Session(symbols=FEED)
IN = Session(symbols=FEED, authenticated=True)
AUTH = {"action": "auth", "key": "k", "secret": "s"}
CONNECTED = {"T": "success", "msg": "connected"}
AUTHENTICATED = {"T": "success", "msg": "authenticated"}


def say(session: Session, *requests: object) -> tuple[Session, list[dict[str, Any]]]:
    """Return the session after some requests and all replies."""
    replies: list[dict[str, Any]] = []
    for request in requests:
        turn = answer(session, request, RULES, taken=False)
        session = turn.session
        replies += turn.replies
    return session, replies


@pytest.mark.parametrize(
    ("credentials", "replies", "authenticated"),
    [
        (None, (CONNECTED,), False),
        (("k", "s"), (CONNECTED, AUTHENTICATED), True),
        (("k", "x"), (CONNECTED, error(402)), False),
        (("", "s"), (CONNECTED, error(402)), False),
    ],
)
def test_the_greeting(
    credentials: tuple[str, str] | None, replies: object, *, authenticated: bool
) -> None:
    """The handshake's headers are an auth message sent in advance."""
    turn = greet(NEW, RULES, credentials, taken=False)
    assert (turn.replies, turn.session.authenticated) == (replies, authenticated)
    assert not turn.close


@pytest.mark.parametrize(
    ("session", "request_", "code"),
    [
        (NEW, {"action": "auth", "key": "k", "secret": "x"}, 402),
        (NEW, {"action": "auth"}, 402),
        (NEW, {"action": "subscribe", "trades": ["AAPL"]}, 401),
        (NEW, {"action": "dance"}, 401),
        (IN, AUTH, 403),
        (IN, {"action": "dance"}, 410),
        (IN, {"action": "subscribe", "news": ["AAPL"]}, 410),
        (IN, {"action": "subscribe", "trades": "AAPL"}, 400),
        (IN, {"action": "subscribe", "trades": [1]}, 400),
        (IN, {"action": "subscribe", "trades": ["AAPL", "a pple"]}, 400),
        (IN, {"action": "subscribe", "trades": [""]}, 400),
        (IN, {"action": "subscribe", "trades": [["AAPL"]]}, 400),
        (IN, {"action": "subscribe", "trades": ["A", "B"], "quotes": ["C", "D"]}, 405),
        (IN, {"action": 1}, 400),
        (IN, {}, 400),
        (IN, [AUTH], 400),
        (IN, None, 400),
    ],
)
def test_a_refused_request_changes_nothing(session: Session, request_: object, code: int) -> None:
    """Each mistake has its code, and leaves the session as it was and the line open."""
    turn = answer(session, request_, RULES, taken=False)
    assert turn.replies == ({"T": "error", "code": code, "msg": ERRORS[code]},)
    assert turn.session == session
    assert not turn.close


def test_a_second_connection_is_refused_and_hung_up_on() -> None:
    """With the right keys, by header or by message, while another holds the feed."""
    for turn in (greet(NEW, RULES, ("k", "s"), taken=True), answer(NEW, AUTH, RULES, taken=True)):
        assert turn.replies[-1] == error(406)
        assert turn.close
        assert not turn.session.authenticated


def test_subscriptions_add_up_and_are_told_whole() -> None:
    """The confirmation has the full current set; corrections and cancels come with trades."""
    session, replies = say(
        IN,
        {"action": "subscribe", "trades": ["AAPL"], "bars": ["*"]},
        {"action": "subscribe", "trades": ["MSFT"], "quotes": ["TSLA"]},
        {"action": "unsubscribe", "trades": ["AAPL"], "bars": ["*"]},
    )
    assert replies[1] == {
        "T": "subscription",
        "trades": ["AAPL", "MSFT"],
        "quotes": ["TSLA"],
        "bars": ["*"],
        "updatedBars": [],
        "dailyBars": [],
        "statuses": [],
        "lulds": [],
        "corrections": ["AAPL", "MSFT"],
        "cancelErrors": ["AAPL", "MSFT"],
    }
    assert replies[2]["trades"] == replies[2]["corrections"] == ["MSFT"]
    assert session.follows("trades") == ("MSFT",)
    assert session.follows("bars") == ()


def test_everything_means_the_feeds_symbols() -> None:
    """`*` is confirmed as such and heard as all of them; unlisted symbols are never heard of."""
    session, _ = say(IN, {"action": "subscribe", "trades": ["*"]})
    assert session.follows("trades") == ("AAPL", "MSFT", "TSLA")
    session, (confirmed,) = say(IN, {"action": "subscribe", "quotes": ["ZZZZ", "AAPL"]})
    assert confirmed["quotes"] == ["AAPL", "ZZZZ"]
    assert session.follows("quotes") == ("AAPL",)


def test_the_limit_counts_symbols_not_channels() -> None:
    """Three symbols on every channel are three, and `*` counts as the whole feed."""
    three = {"action": "subscribe", **{channel: ["AAPL", "MSFT", "TSLA"] for channel in ASKED}}
    _, replies = say(IN, three, {"action": "subscribe", "bars": ["*"]})
    assert [reply["T"] for reply in replies] == ["subscription", "subscription"]
    _, replies = say(IN, three, {"action": "subscribe", "bars": ["NVDA"]})
    assert replies[1] == error(405)


requests = st.one_of(
    st.just(AUTH),
    st.fixed_dictionaries(
        {"action": st.sampled_from(["subscribe", "unsubscribe", "dance"])},
        optional=dict.fromkeys(
            CHANNELS, st.lists(st.sampled_from(["*", "AAPL", "B", "C", "bad "]))
        ),
    ),
    st.recursive(st.none() | st.text(), st.lists),
)


@given(st.lists(requests))
def test_no_conversation_breaks_the_rules(said: list[object]) -> None:
    """Every request has one reply; nobody gets past the limit or in without the keys."""
    session, replies = say(NEW, *said)
    assert len(replies) == len(said)
    assert session.authenticated == (AUTH in said)
    asked = frozenset[str]().union(*session.subscription.values())
    assert len(asked - {"*"}) <= RULES.symbol_limit
