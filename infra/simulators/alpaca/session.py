"""The conversation before and beside the data: who may speak, and what they asked to hear.

Pure: `greet` and `answer` take a session and what a client said, and return the session that
follows, the control messages to send, each alone in its frame, and whether to hang up.

    connected -> [auth] -> authenticated -> [subscribe, unsubscribe]* -> subscription

Nothing but `auth` is heard before it succeeded, and an `auth` that fails may be tried again until
the server's patience ends. A refused request changes nothing.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

Control = dict[str, object]

#: What can be subscribed to, in the order in which a subscription is confirmed.
ASKED = ("trades", "quotes", "bars", "updatedBars", "dailyBars", "statuses", "lulds")
#: What comes with trades, unasked, and cannot be had alone.
UNASKED = ("corrections", "cancelErrors")
CHANNELS = (*ASKED, *UNASKED)

EVERYTHING = "*"

ERRORS = {
    400: "invalid syntax",
    401: "not authenticated",
    402: "auth failed",
    403: "already authenticated",
    404: "auth timeout",
    405: "symbol limit exceeded",
    406: "connection limit exceeded",
    407: "slow client",
    409: "insufficient subscription",
    410: "invalid subscribe action for this feed",
    411: "insufficient scope",
    500: "internal error",
}

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9./-]{0,15}")

_NOTHING: Mapping[str, frozenset[str]] = MappingProxyType(dict.fromkeys(ASKED, frozenset()))


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthRefusal:
    """What whoever authenticates is told instead of being let in.

    Attributes:
        code: of the error.
        close: whether the connection is closed after it.
        fault: which fault says so.

    """

    code: int
    close: bool
    fault: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the vendor grants, and what it pretends.

    Attributes:
        keys: the secret of every key id that is let in.
        symbol_limit: how many different symbols a connection may follow.
        limited_by: the fault that changed the limit; empty for the plan's own.
        auth_refusal: what is said to every auth, right or wrong; None for the truth.
        malformed: symbols that are called malformed although they are not.
        malformed_closes: whether the connection is closed after such a one.
        malformed_by: the fault that says so.

    """

    keys: Mapping[str, str] = field(repr=False)
    symbol_limit: int
    limited_by: str = ""
    auth_refusal: AuthRefusal | None = None
    malformed: frozenset[str] = frozenset()
    malformed_closes: bool = False
    malformed_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Where a conversation stands.

    Attributes:
        symbols: every symbol of this feed, which `*` stands for.
        authenticated: whether the client was let in.
        subscription: by channel of `ASKED`, the symbols as the client named them, `*` included.

    """

    symbols: frozenset[str]
    authenticated: bool = False
    subscription: Mapping[str, frozenset[str]] = field(default_factory=lambda: _NOTHING)

    def follows(self, channel: str) -> tuple[str, ...]:
        """Return the symbols of the feed that are heard on a channel, sorted."""
        asked = self.subscription[channel]
        return tuple(sorted(self.symbols if EVERYTHING in asked else asked & self.symbols))


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The server's side of one exchange.

    Attributes:
        session: the session from now on.
        replies: control messages to send, a frame each.
        close: whether to hang up after them.
        fault: the fault that decided it; empty where it was the vendor's rules.

    """

    session: Session
    replies: tuple[Control, ...]
    close: bool = False
    fault: str = ""


def error(code: int) -> Control:
    """Return the error message of a code."""
    return {"T": "error", "code": code, "msg": ERRORS[code]}


def greet(
    session: Session, rules: Rules, credentials: tuple[str, str] | None, *, taken: bool
) -> Turn:
    """Open a conversation, with the key and secret of the handshake's headers, if any.

    `taken` tells whether another connection holds the feed already.
    """
    hello: Control = {"T": "success", "msg": "connected"}
    if credentials is None:
        return Turn(session=session, replies=(hello,))
    key, secret = credentials
    turn = _auth(session, {"key": key, "secret": secret}, rules, taken=taken)
    return replace(turn, replies=(hello, *turn.replies))


def answer(session: Session, request: object, rules: Rules, *, taken: bool) -> Turn:
    """Answer a decoded request."""
    if not isinstance(request, dict) or not isinstance(request.get("action"), str):
        return _refuse(session, 400)
    if request["action"] == "auth":
        return _auth(session, request, rules, taken=taken)
    if not session.authenticated:
        return _refuse(session, 401)
    change = _CHANGES.get(request["action"])
    if change is None:
        return _refuse(session, 410)
    return _subscribe(session, request, rules, change)


def _refuse(session: Session, code: int, *, close: bool = False, fault: str = "") -> Turn:
    return Turn(session=session, replies=(error(code),), close=close, fault=fault)


def _auth(session: Session, request: Mapping[str, object], rules: Rules, *, taken: bool) -> Turn:
    if session.authenticated:
        return _refuse(session, 403)
    if pretence := rules.auth_refusal:
        return _refuse(session, pretence.code, close=pretence.close, fault=pretence.fault)
    key, secret = request.get("key"), request.get("secret")
    if not isinstance(key, str) or key not in rules.keys or rules.keys[key] != secret:
        return _refuse(session, 402)
    if taken:
        return _refuse(session, 406, close=True)
    return Turn(
        session=replace(session, authenticated=True),
        replies=({"T": "success", "msg": "authenticated"},),
    )


_CHANGES: Mapping[str, Callable[[frozenset[str], frozenset[str]], frozenset[str]]] = {
    "subscribe": frozenset.union,
    "unsubscribe": frozenset.difference,
}


def _subscribe(
    session: Session,
    request: Mapping[str, object],
    rules: Rules,
    change: Callable[[frozenset[str], frozenset[str]], frozenset[str]],
) -> Turn:
    subscription = dict(session.subscription)
    for channel, value in request.items():
        if channel == "action":
            continue
        if channel not in CHANNELS:
            return _refuse(session, 410)
        symbols = _symbols(value)
        if symbols is None:
            return _refuse(session, 400)
        if change is frozenset.union and symbols & rules.malformed:
            return _refuse(session, 400, close=rules.malformed_closes, fault=rules.malformed_by)
        if channel in ASKED:
            subscription[channel] = change(subscription[channel], symbols)
    changed = replace(session, subscription=MappingProxyType(subscription))
    if change is frozenset.union and _count(changed) > rules.symbol_limit:
        return _refuse(session, 405, fault=rules.limited_by)
    return Turn(session=changed, replies=(confirmation(changed),))


def _symbols(value: object) -> frozenset[str] | None:
    """Return the symbols of a request's list, or None where it is malformed."""
    if not isinstance(value, list):
        return None
    well_formed = all(
        isinstance(item, str) and (item == EVERYTHING or _SYMBOL.fullmatch(item)) for item in value
    )
    return frozenset(value) if well_formed else None


def _count(session: Session) -> int:
    asked = frozenset[str]().union(*session.subscription.values())
    return len((asked - {EVERYTHING}) | (session.symbols if EVERYTHING in asked else frozenset()))


def confirmation(session: Session) -> Control:
    """Return the message that tells the whole current subscription."""
    channels: dict[str, list[str]] = {
        channel: sorted(symbols) for channel, symbols in session.subscription.items()
    }
    return {"T": "subscription", **channels, **dict.fromkeys(UNASKED, channels["trades"])}
