"""Alpaca's wire: frames to messages, and our few messages to frames.

A frame is an array of messages; data frames carry many, control messages come alone. The array is
split without decoding the messages, so that each one's exact bytes can be kept; of a message only
what names it is read. Splitting never raises: what cannot be read is a message as well, an
unreadable one, and goes to the log for `validate` to reject.

Source: the vendor's documentation of the real-time stock stream, and its SDKs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

import msgspec

from ingest.raw import MAX_RAW_BYTES, MAX_SYMBOL_LENGTH, pieces

Encoding = Literal["json", "msgpack"]
Meter = Literal["trade", "quote", "bar", "control"]

#: What `Message.kind` is where the bytes tell none.
UNREADABLE = ""

#: The data messages we know, by `T`, and what each is counted as. Corrections and cancels are news
#: of trades; what is neither trade, quote nor bar governs trading, and counts as control.
DATA_KINDS: Mapping[str, Meter] = {
    "t": "trade",
    "c": "trade",  # correction
    "x": "trade",  # cancel or error
    "q": "quote",
    "b": "bar",
    "u": "bar",  # updated bar
    "d": "bar",  # daily bar
    "s": "control",  # trading status
    "l": "control",  # limit up, limit down
    "i": "control",  # order imbalance
}
#: A symbol's trading status.
STATUS = "s"
#: The status codes of a halt, by the vendor's tables for the two plans that report them: of tapes A
#: and B (2 trading halt, A and B quotation halts), of tapes C and O (H trading halt, P volatility
#: trading pause).
HALTS = frozenset({"2", "A", "B", "H", "P"})
CONTROL_KINDS = frozenset({"success", "error", "subscription"})

#: What we ask for. Corrections and cancels come unasked with the trades.
CHANNELS = ("trades", "quotes", "bars", "statuses", "lulds")

CONTENT_TYPES: Mapping[Encoding, str] = {
    "json": "application/json",
    "msgpack": "application/msgpack",
}


class Verdict(StrEnum):
    """What a control code means for the connection."""

    TERMINAL = "terminal"  # these keys, or this plan, will be refused again
    OUR_BUG = "our bug"  # the same request would be refused again
    RETRY = "retry"
    REPEAT = "repeat"  # the connection is sound: send the last request again, mended
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Code:
    """A control code: what the vendor means by it, and what we do.

    Attributes:
        message: the vendor's words.
        verdict: what it means for the connection.
        advice: what a human can do, where the vendor's words do not say.
        reason: the class of the disconnection that follows.
        floor_s: the least wait before the next connection.

    """

    message: str
    verdict: Verdict
    advice: str = ""
    reason: Literal["error", "auth"] = "error"
    floor_s: float = 0.0


#: After an unclean drop the vendor counts the lost connection for up to 90 s.
GHOST_FLOOR_S = 10.0
#: After HTTP 429 at the handshake: we reconnected too fast.
TOO_FAST_FLOOR_S = 60.0

INVALID_SYNTAX = 400
NOT_AUTHENTICATED = 401
SYMBOL_LIMIT_EXCEEDED = 405
CONNECTION_LIMIT_EXCEEDED = 406

CODES: Mapping[int, Code] = {
    400: Code("invalid syntax", Verdict.REPEAT, "one of the symbols may be malformed"),
    401: Code("not authenticated", Verdict.REPEAT, reason="auth"),
    402: Code(
        "auth failed",
        Verdict.TERMINAL,
        "check ALPACA_API_KEY_ID and ALPACA_API_SECRET_KEY",
        reason="auth",
    ),
    403: Code("already authenticated", Verdict.IGNORE),
    404: Code("auth timeout", Verdict.RETRY, reason="auth"),
    405: Code("symbol limit exceeded", Verdict.REPEAT, "lower ALPACA_SYMBOL_LIMIT to the plan's"),
    406: Code(
        "connection limit exceeded",
        Verdict.RETRY,
        "a lost connection is counted for up to 90 s",
        floor_s=GHOST_FLOOR_S,
    ),
    407: Code("slow client", Verdict.RETRY),
    409: Code(
        "insufficient subscription",
        Verdict.TERMINAL,
        "the Basic plan has the feed iex alone, Algo Trader Plus has them all",
        reason="auth",
    ),
    410: Code("invalid subscribe action for this feed", Verdict.OUR_BUG),
    411: Code(
        "insufficient scope", Verdict.TERMINAL, "these keys may not read market data", reason="auth"
    ),
    500: Code("internal error", Verdict.RETRY),
}

#: What a code means that is not in the vendor's documents.
UNKNOWN_CODE = Code("unknown code", Verdict.RETRY)

#: HTTP statuses that refuse the handshake, where they mean more than "try again".
HANDSHAKE_STATUSES: Mapping[int, Code] = {
    401: CODES[402],
    403: CODES[402],
    429: Code("too many connection attempts", Verdict.RETRY, floor_s=TOO_FAST_FLOOR_S),
}


class Message(NamedTuple):
    """One message of a frame.

    Attributes:
        kind: its `T`; `UNREADABLE` where it tells none.
        symbol: its `S`; empty where it tells none.
        encoding: what `data` is; `bytes` where it could not be parsed or is not a whole message.
        data: the vendor's bytes.
        text: a control message's `msg`.
        code: an error's `code`.
        torn: whether it is what came of a frame that is no array: any messages may have been in it.

    """

    kind: str
    symbol: str
    encoding: Literal["json", "msgpack", "bytes"]
    data: msgspec.Raw
    text: str = ""
    code: int | None = None
    torn: bool = False


class _Head(msgspec.Struct, frozen=True):
    kind: str = msgspec.field(name="T")
    symbol: Annotated[str, msgspec.Meta(max_length=MAX_SYMBOL_LENGTH)] = msgspec.field(
        name="S", default=""
    )
    text: str = msgspec.field(name="msg", default="")
    code: Annotated[int, msgspec.Meta(ge=0, le=99_999)] | None = None


class _Status(msgspec.Struct, frozen=True):
    status_code: str = msgspec.field(name="sc")


class _Subscription(msgspec.Struct, frozen=True):
    trades: list[str] = []
    quotes: list[str] = []
    bars: list[str] = []


@dataclass(frozen=True, slots=True)
class _Codec:
    frame: Callable[[bytes], list[msgspec.Raw]]
    head: Callable[[bytes], _Head]
    subscription: Callable[[bytes], _Subscription]
    status: Callable[[bytes], _Status]
    encode: Callable[[object], bytes]


_CODECS: Mapping[Encoding, _Codec] = {
    "json": _Codec(
        msgspec.json.Decoder(list[msgspec.Raw]).decode,
        msgspec.json.Decoder(_Head).decode,
        msgspec.json.Decoder(_Subscription).decode,
        msgspec.json.Decoder(_Status).decode,
        msgspec.json.encode,
    ),
    "msgpack": _Codec(
        msgspec.msgpack.Decoder(list[msgspec.Raw]).decode,
        msgspec.msgpack.Decoder(_Head).decode,
        msgspec.msgpack.Decoder(_Subscription).decode,
        msgspec.msgpack.Decoder(_Status).decode,
        msgspec.msgpack.encode,
    ),
}

#: What decoding bytes of any content can raise; msgspec counts nesting on Python's own stack.
_UNDECODABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def split(frame: bytes, encoding: Encoding) -> list[Message]:
    """Return the messages of `frame`, in order; unreadable ones where it is no array."""
    codec = _CODECS[encoding]
    try:
        if encoding == "json":
            # msgspec passes over text without looking at its characters, but what we embed in our
            # own JSON must be UTF-8.
            frame.decode()
        parts = codec.frame(frame)
    except _UNDECODABLE:
        return _unreadable(frame, torn=True)
    messages: list[Message] = []
    for data in parts:
        try:
            head = codec.head(data)
        except _UNDECODABLE:
            head = _NO_HEAD
        if len(data) > MAX_RAW_BYTES:
            messages += _unreadable(bytes(data), head.symbol)
        else:
            messages.append(Message(head.kind, head.symbol, encoding, data, head.text, head.code))
    return messages


_NO_HEAD = _Head(kind=UNREADABLE)


def _unreadable(data: bytes, symbol: str = "", *, torn: bool = False) -> list[Message]:
    return [
        Message(UNREADABLE, symbol, "bytes", msgspec.Raw(piece), torn=torn)
        for piece in pieces(data)
    ]


def subscribed_symbols(message: Message, encoding: Encoding) -> tuple[str, ...]:
    """Return the symbols that a `subscription` message confirms on any of the price channels.

    Raises:
        ValueError: its channels are not lists of symbols.

    """
    try:
        channels = _CODECS[encoding].subscription(message.data)
    except _UNDECODABLE as error:
        text = f"unreadable subscription: {error}"
        raise ValueError(text) from error
    return tuple(dict.fromkeys((*channels.trades, *channels.quotes, *channels.bars)))


def authentication(key: str, secret: str, encoding: Encoding) -> bytes:
    """Return the message that authenticates with `key` and `secret`."""
    return _CODECS[encoding].encode({"action": "auth", "key": key, "secret": secret})


def request(
    action: Literal["subscribe", "unsubscribe"], symbols: Sequence[str], encoding: Encoding
) -> bytes:
    """Return the message that subscribes `symbols` on all of `CHANNELS`, or gives them back."""
    return _CODECS[encoding].encode({"action": action, **dict.fromkeys(CHANNELS, symbols)})


def is_halt(message: Message) -> bool:
    """Return whether a status message says that trading in its symbol is halted."""
    if message.encoding == "bytes":
        return False
    try:
        return _CODECS[message.encoding].status(message.data).status_code in HALTS
    except _UNDECODABLE:
        return False
