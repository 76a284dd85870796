"""What a client may call, and what it is answered."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.hub import words
from sinks.hub.limits import Moment
from sinks.hub.methods import SUBSCRIPTIONS, Caller, Hub
from sinks.hub.protocol.messages import Completion, Invocation
from tests.sinks.hub.prices import NOW, SESSION, price, transition

AT = Moment(NOW, 7)


def a_hub() -> Hub:
    """It knows AAPL by its price, and MSFT because a source follows it."""
    hub = Hub()
    hub.put(price("AAPL", 190.5, previous_close=190.0, change=0.5, change_percent=0.263))
    hub.followed["alpaca"] = ["AAPL", "MSFT"]
    return hub


def events(hub: Hub, target: str, *arguments: Any, caller: Caller | None = None) -> list[Any]:
    """What a call is answered, without its completion: (event, argument)."""
    said = hub.call(caller or Caller("json"), Invocation(target, arguments, "7"), AT)
    assert said[-1] == Completion("7")
    assert all(isinstance(message, Invocation) for message in said[:-1])
    return [(m.target, *m.arguments) for m in said[:-1] if isinstance(m, Invocation)]


@pytest.mark.parametrize("symbols", ["aapl", ["AAPL"], [" aapl ", "AAPL"]])
def test_one_symbol_or_a_list(symbols: Any) -> None:
    """In either case of letters, each once; and the target's case does not matter either."""
    hub, caller = a_hub(), Caller("json")
    ((event, said),) = events(hub, "subscribetopriceUPDATES", "stock", symbols, caller=caller)
    assert event == "SubscriptionConfirmed"
    assert said == {"assetClass": "STOCK", "symbols": ["AAPL"], "timestamp": words.iso(NOW)}
    assert caller.client.symbols == {"AAPL"}


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], "InvalidAssetClass", "unknown asset class None: expected STOCK"),
        (["CRYPTO", "BTC"], "InvalidAssetClass", "unknown asset class 'CRYPTO': expected STOCK"),
        ([7, "AAPL"], "InvalidAssetClass", "unknown asset class 7"),
        (["STOCK"], "NoSymbols", "expected a symbol, or a list"),
        (["STOCK", []], "NoSymbols", "expected at least one symbol"),
        (["STOCK", " "], "NoSymbols", "expected at least one symbol"),
        (["STOCK", {"a": 1}], "NoSymbols", "expected a symbol, or a list"),
        (["STOCK", ["AAPL", 7]], "NoSymbols", "expected a symbol, or a list"),
        (["STOCK", "NOPE"], "UnknownSymbol", "not followed here: NOPE"),
        (["STOCK", "A" * 17], "UnknownSymbol", "no symbol is longer than 16"),
        (["STOCK", [f"S{n}" for n in range(1001)]], "RateLimited", "more than 1000 symbols"),
    ],
)
def test_a_wrong_subscription_is_told_what_is_wrong(
    arguments: list[Any], code: str, sentence: str
) -> None:
    """A code for programs, and a sentence for people; nothing is subscribed to."""
    caller = Caller("json")
    ((event, said),) = events(a_hub(), "SubscribeToPriceUpdates", *arguments, caller=caller)
    assert (event, said["error"]) == ("SubscriptionError", code)
    assert sentence in said["message"]
    assert not caller.client.symbols


def test_what_is_known_is_subscribed_to_although_the_rest_is_not() -> None:
    """Both are said."""
    caller = Caller("json")
    said = events(
        a_hub(), "SubscribeToPriceUpdates", "STOCK", ["MSFT", "NOPE", "AAPL"], caller=caller
    )
    assert [event for event, _ in said] == ["SubscriptionConfirmed", "SubscriptionError"]
    assert said[0][1]["symbols"] == ["MSFT", "AAPL"]
    assert said[1][1]["symbols"] == ["NOPE"]
    assert caller.client.symbols == {"AAPL", "MSFT"}


def test_the_hundred_and_first_in_a_minute_is_refused() -> None:
    """And another is allowed once the first is a minute old."""
    hub, caller = a_hub(), Caller("json")
    call = Invocation("SubscribeToPriceUpdates", ["STOCK", "AAPL"])
    for _ in range(SUBSCRIPTIONS):
        hub.call(caller, call, AT)
    # a wall clock that was set back locks nobody out
    refused = hub.call(caller, call, Moment(NOW - 10**15, AT.counted_ns + 59 * 10**9))
    assert "RateLimited" in repr(refused)
    (confirmed,) = hub.call(caller, call, Moment(NOW - 10**15, AT.counted_ns + 60 * 10**9))
    assert isinstance(confirmed, Invocation)
    assert confirmed.target == "SubscriptionConfirmed"


def test_all_of_the_asset_class() -> None:
    """Its group, and out of it again."""
    hub, caller = a_hub(), Caller("json")
    ((event, _),) = events(hub, "SubscribeToAssetClass", "STOCK", caller=caller)
    assert event == "AssetClassSubscriptionConfirmed"
    assert caller.client.everything
    ((event, _),) = events(hub, "UnsubscribeFromAssetClass", "STOCK", caller=caller)
    assert event == "UnsubscriptionConfirmed"
    assert not hub.fanout.subscribers("AAPL")


def test_another_asset_class_has_no_group() -> None:
    """There are stocks alone."""
    ((event, said),) = events(a_hub(), "SubscribeToAssetClass", "FX")
    assert (event, said["error"]) == ("SubscriptionError", "InvalidAssetClass")


def test_unsubscribed_is_said() -> None:
    """Of the symbols that were named, subscribed to or not."""
    hub, caller = a_hub(), Caller("json")
    events(hub, "SubscribeToPriceUpdates", "STOCK", ["AAPL", "MSFT"], caller=caller)
    ((event, said),) = events(
        hub, "UnsubscribeFromPriceUpdates", "STOCK", ["AAPL", "GONE"], caller=caller
    )
    assert (event, said["symbols"]) == ("UnsubscriptionConfirmed", ["AAPL", "GONE"])
    assert caller.client.symbols == {"MSFT"}


def test_the_market() -> None:
    """Unknown until it is known; whoever subscribes is told at once."""
    hub, caller = a_hub(), Caller("json")
    ((event, said),) = events(hub, "GetMarketStatus", caller=caller)
    assert (event, said["status"], said["isOpen"]) == ("CurrentMarketStatus", "unknown", None)
    hub.session = SESSION
    ((event, said),) = events(hub, "SubscribeToMarketStatus", "STOCK", caller=caller)
    assert (said["market"], said["status"], said["isOpen"]) == ("XNYS", "regular", True)
    assert caller.market_status


def test_an_unknown_method_fails_where_somebody_waits() -> None:
    """As every SignalR server says it."""
    hub = a_hub()
    (said,) = hub.call(Caller("json"), Invocation("Nope", [], "1"), AT)
    assert said == Completion("1", error="Unknown hub method 'Nope'")
    assert hub.call(Caller("json"), Invocation("Nope", []), AT) == []


def test_nobody_waits_for_a_call_without_an_id() -> None:
    """It has no completion."""
    said = a_hub().call(Caller("json"), Invocation("GetMarketStatus"), AT)
    assert [type(message) for message in said] == [Invocation]


def test_a_price_of_an_epoch_that_is_over_is_dropped() -> None:
    """A worker that was frozen may still write what its successor has overtaken."""
    hub = a_hub()
    assert hub.put(price("AAPL", 2.0, epoch=3))
    assert not hub.put(price("AAPL", 1.0, epoch=2))
    assert hub.put(price("AAPL", 4.0, epoch=3, fence=1))
    assert not hub.put(price("AAPL", 5.0, epoch=3))
    assert hub.fanout.latest["AAPL"].price == 4.0


def test_the_words() -> None:
    """All that the frontends read, and null for what no source has told."""
    said = words.price_update(price("AAPL", 190.5, change=0.5, is_real_time=False, source="yahoo"))
    assert said == {
        "assetClass": "STOCK",
        "symbol": "AAPL",
        "price": 190.5,
        "previousClose": None,
        "priceChange": 0.5,
        "priceChangePercent": None,
        "volume": None,
        "high24h": None,
        "low24h": None,
        "timestamp": "2023-11-14T22:13:19.999000Z",
        "dataProvider": "Yahoo Finance",
        "source": "yahoo",
        "isRealTime": False,
        "epoch": 1,
    }
    changed = words.data_source(transition("BOTH_UNAVAILABLE"))
    assert (changed["source"], changed["dataProvider"], changed["isRealTime"]) == (
        None,
        None,
        False,
    )
    hub = a_hub()
    hub.transition = transition("PRIMARY_ACTIVE")
    welcome = hub.welcome("me", NOW)
    assert isinstance(welcome, Invocation)
    assert welcome.arguments[0]["dataSource"]["isRealTime"] is True


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats() | st.just("STOCK"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    target=st.sampled_from([*Hub()._methods, "x"]) | st.text(),
    arguments=st.lists(anything, max_size=4),
    id_=st.none() | st.text(),
)
def test_no_call_raises(target: str, arguments: list[Any], id_: str | None) -> None:
    """Whatever the arguments are, there is an answer that can be written down."""
    said = a_hub().call(Caller("json"), Invocation(target, arguments, id_), AT)
    assert id_ is None or isinstance(said[-1], Completion)
    assert len(msgspec.json.encode([str(message) for message in said])) < 20_000
