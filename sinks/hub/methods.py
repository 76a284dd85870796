"""What a client may call, and what it is answered; pure.

A mistake of the client's is an event, `SubscriptionError`, with a code for programs and a sentence
for people; the call itself then completes, as it always did. A method that we do not have fails.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from processors.events import Last, RoutedPrice, RouterTransition, SessionChanged
from sinks.hub import words
from sinks.hub.alarms import Alarms
from sinks.hub.fanout import Client, Fanout
from sinks.hub.limits import Moment, Window
from sinks.hub.probes import Probe
from sinks.hub.protocol.messages import Completion, Invocation, Message
from sinks.hub.sources import SourceState

#: The codes of `SubscriptionError`.
INVALID_ASSET_CLASS: Final = "InvalidAssetClass"
NO_SYMBOLS: Final = "NoSymbols"
UNKNOWN_SYMBOL: Final = "UnknownSymbol"
RATE_LIMITED: Final = "RateLimited"
INTERNAL_ERROR: Final = "InternalError"

#: How many calls that subscribe or unsubscribe a client may make.
SUBSCRIPTIONS, WITHIN_S = 100, 60.0
#: How many symbols one call may name, and how long a symbol may be.
SYMBOLS_A_CALL: Final = 1000
SYMBOL_LENGTH: Final = 16
#: How many transitions are looked back on.
HISTORY: Final = 50
#: How many of the symbols that we do not know an error names.
NAMED: Final = 20


class Caller:
    """One connection: what it is subscribed to, and what it may still ask for."""

    def __init__(self, encoding: str) -> None:
        self.client = Client(encoding)
        self.market_status = False
        self.subscriptions = Window(SUBSCRIPTIONS, WITHIN_S)
        self.probe = Probe()


class _Refused(Exception):  # noqa: N818  # an answer, not an error of ours
    def __init__(self, code: str, sentence: str, symbols: Sequence[str] = ()) -> None:
        super().__init__(sentence)
        self.code = code
        self.symbols = symbols


class Hub:
    """What all connections share: prices, symbols, the market's session, the router's state."""

    def __init__(self) -> None:
        self.fanout: Fanout[RoutedPrice] = Fanout()
        self.days: dict[str, Last] = {}
        self.followed: dict[str, list[str]] = {}
        self.session: SessionChanged | None = None
        self.transition: RouterTransition | None = None
        #: What happened before, the oldest first.
        self.history: deque[RouterTransition] = deque(maxlen=HISTORY)
        self.sources = {source: SourceState() for source in ("alpaca", "yahoo")}
        self.alarms = Alarms()
        self._methods: dict[str, Callable[[Caller, Sequence[Any], Moment], list[Message]]] = {
            name.lower(): method
            for name, method in {
                "SubscribeToPriceUpdates": self._subscribe,
                "UnsubscribeFromPriceUpdates": self._unsubscribe,
                "SubscribeToAssetClass": self._subscribe_to_all,
                "UnsubscribeFromAssetClass": self._unsubscribe_from_all,
                "SubscribeToMarketStatus": self._subscribe_to_market,
                "GetMarketStatus": self._market,
                "AnswerProbes": self._offer_probes,
            }.items()
        }

    def put(self, price: RoutedPrice) -> bool:
        """Take a routed price, unless it comes from a time that is over for its symbol."""
        known = self.fanout.latest.get(price.symbol)
        if known is not None and (price.epoch, price.fence) < (known.epoch, known.fence):
            return False
        self.fanout.put(price.symbol, price)
        return True

    def switch(self, transition: RouterTransition) -> None:
        """Take the router's next transition."""
        self.transition = transition
        self.history.append(transition)

    def knows(self, symbol: str) -> bool:
        """Return whether there is such a symbol: one with a price, or that a source follows."""
        return symbol in self.fanout.latest or any(
            symbol in followed for followed in self.followed.values()
        )

    def symbols(self) -> list[str]:
        """Return every symbol that there is, sorted."""
        return sorted({*self.fanout.latest, *(s for f in self.followed.values() for s in f)})

    def welcome(self, connection_id: str, now_ns: int) -> Message:
        """Return what a client is told first."""
        source = words.data_source(self.transition) if self.transition else None
        return Invocation(
            "ConnectionStatus",
            [
                {
                    "status": "Connected",
                    "connectionId": connection_id,
                    "dataSource": source,
                    "timestamp": words.iso(now_ns),
                }
            ],
        )

    def call(self, caller: Caller, invocation: Invocation, now: Moment) -> list[Message]:
        """Carry out what a client asks for, and return what it is answered, in order."""
        method = self._methods.get(invocation.target.lower())
        if method is None:
            error = f"Unknown hub method '{invocation.target[:60]}'"
            return [] if invocation.id is None else [Completion(invocation.id, error=error)]
        try:
            said = method(caller, invocation.arguments, now)
        except _Refused as refused:
            said = [_error(refused, invocation.arguments)]
        return said if invocation.id is None else [*said, Completion(invocation.id)]

    def broken(self, invocation: Invocation) -> list[Message]:
        """Return what a client is told whose call met a fault of ours."""
        sentence = "the hub failed at this call, and has logged why"
        refused = _Refused(INTERNAL_ERROR, sentence)
        said = [_error(refused, invocation.arguments)]
        if invocation.id is None:
            return said
        return [*said, Completion(invocation.id, error=sentence)]

    def _subscribe(self, caller: Caller, arguments: Sequence[Any], now: Moment) -> list[Message]:
        symbols = _symbols(caller, arguments, now)
        known = [symbol for symbol in symbols if self.knows(symbol)]
        unknown = [symbol for symbol in symbols if not self.knows(symbol)]
        said: list[Message] = []
        if known:
            self.fanout.subscribe(caller.client, known, now.counted_ns)
            said.append(_confirmed("SubscriptionConfirmed", known, now))
        if unknown:
            listed = ", ".join(unknown[:NAMED]) + (", ..." if len(unknown) > NAMED else "")
            refused = _Refused(UNKNOWN_SYMBOL, f"not followed here: {listed}", unknown[:NAMED])
            said.append(_error(refused, arguments))
        return said

    def _unsubscribe(self, caller: Caller, arguments: Sequence[Any], now: Moment) -> list[Message]:
        symbols = _symbols(caller, arguments, now)
        self.fanout.unsubscribe(caller.client, symbols)
        return [_confirmed("UnsubscriptionConfirmed", symbols, now)]

    def _subscribe_to_all(
        self, caller: Caller, arguments: Sequence[Any], now: Moment
    ) -> list[Message]:
        _asset_class(caller, arguments, now)
        self.fanout.subscribe_to_all(caller.client, now.counted_ns)
        confirmed = {"assetClass": words.ASSET_CLASS, "timestamp": words.iso(now.at_ns)}
        return [Invocation("AssetClassSubscriptionConfirmed", [confirmed])]

    def _unsubscribe_from_all(
        self, caller: Caller, arguments: Sequence[Any], now: Moment
    ) -> list[Message]:
        _asset_class(caller, arguments, now)
        self.fanout.unsubscribe_from_all(caller.client)
        return [_confirmed("UnsubscriptionConfirmed", [], now)]

    def _subscribe_to_market(
        self, caller: Caller, arguments: Sequence[Any], now: Moment
    ) -> list[Message]:
        if arguments:
            _asset_class(caller, arguments, now)
        caller.market_status = True
        return self._market(caller, (), now)

    def _market(self, _: Caller, __: Sequence[Any], now: Moment) -> list[Message]:
        status = {**words.market_status(self.session), "timestamp": words.iso(now.at_ns)}
        return [Invocation("CurrentMarketStatus", [status])]

    def _offer_probes(self, caller: Caller, _: Sequence[Any], __: Moment) -> list[Message]:
        caller.probe.offered = True
        return []


def _confirmed(event: str, symbols: list[str], now: Moment) -> Message:
    confirmed = {
        "assetClass": words.ASSET_CLASS,
        "symbols": symbols,
        "timestamp": words.iso(now.at_ns),
    }
    return Invocation(event, [confirmed])


def _error(refused: _Refused, arguments: Sequence[Any]) -> Message:
    asked = arguments[0] if arguments and isinstance(arguments[0], str) else None
    return Invocation(
        "SubscriptionError",
        [
            {
                "error": refused.code,
                "message": str(refused),
                "assetClass": asked and asked[:SYMBOL_LENGTH],
                "symbols": list(refused.symbols),
            }
        ],
    )


def _asset_class(caller: Caller, arguments: Sequence[Any], now: Moment) -> None:
    if not caller.subscriptions.allows(now.counted_ns):
        sentence = f"more than {SUBSCRIPTIONS} subscriptions in {WITHIN_S:.0f} seconds"
        raise _Refused(RATE_LIMITED, sentence)
    given = arguments[0] if arguments else None
    if not isinstance(given, str) or given.upper() != words.ASSET_CLASS:
        shown = repr(given)[:40]
        sentence = f"unknown asset class {shown}: expected {words.ASSET_CLASS}"
        raise _Refused(INVALID_ASSET_CLASS, sentence)


def _symbols(caller: Caller, arguments: Sequence[Any], now: Moment) -> list[str]:
    """Return the symbols of a call: one, or a list, each once."""
    _asset_class(caller, arguments, now)
    given = arguments[1] if len(arguments) > 1 else None
    listed = [given] if isinstance(given, str) else given
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise _Refused(NO_SYMBOLS, "expected a symbol, or a list of symbols")
    symbols = [*dict.fromkeys(each.strip().upper() for each in listed if each.strip())]
    if not symbols:
        raise _Refused(NO_SYMBOLS, "expected at least one symbol")
    if len(symbols) > SYMBOLS_A_CALL:
        raise _Refused(RATE_LIMITED, f"more than {SYMBOLS_A_CALL} symbols in one call")
    if any(len(symbol) > SYMBOL_LENGTH for symbol in symbols):
        raise _Refused(UNKNOWN_SYMBOL, f"no symbol is longer than {SYMBOL_LENGTH} characters")
    return symbols
