"""What ingest writes: raw ticks, and the life of the sources they came from.

Facts in the past tense; frozen. Times are integers, nanoseconds since the epoch, UTC.
"""

from typing import Literal

import msgspec

Source = Literal["alpaca", "yahoo"]


class RawTick(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a vendor, as it came off the wire (`ticks.raw.alpaca`, `ticks.raw.yahoo`).

    Attributes:
        source: whose wire it came off.
        feed: which of the vendor's feeds: `iex`, `sip`, `spark`, `chart`.
        symbol: the symbol it speaks of; empty where the bytes name none.
        session_id: the connection (Alpaca) or the poller's run (Yahoo) that received it.
        session_seq: its place within that session, from 1, without holes.
        received_at_ns: when the last byte of its frame or response was read.
        encoding: `json`: `raw` is the vendor's own JSON, byte for byte;
            `msgpack`, `bytes`: `raw` is a string, base64 of the vendor's bytes.
            `bytes` is what could not be parsed at all.
        raw: the vendor's bytes.

    """

    source: Source
    feed: str
    symbol: str
    session_id: str
    session_seq: int
    received_at_ns: int
    encoding: Literal["json", "msgpack", "bytes"]
    raw: msgspec.Raw


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


class _Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=_snake):
    source: Source
    feed: str
    session_id: str
    at_ns: int


class Connected(_Status, frozen=True, kw_only=True):
    """The transport is up: a socket opened, or a first poll answered."""


class Authenticated(_Status, frozen=True, kw_only=True):
    """The vendor accepted the keys."""


class Subscribed(_Status, frozen=True, kw_only=True):
    """The vendor confirmed what it will send."""

    symbols: list[str]


class Disconnected(_Status, frozen=True, kw_only=True):
    """The transport went away.

    Attributes:
        reason: `timeout`, `closed`, `error`, `auth` or `shutdown`: the class of the cause.
        code: the vendor's error code, the WebSocket close code or the HTTP status, if there is one.
        detail: the vendor's or the operating system's words.

    """

    reason: Literal["timeout", "closed", "error", "auth", "shutdown"]
    code: int | None = None
    detail: str = ""


class Heartbeat(_Status, frozen=True, kw_only=True):
    """The state of a source, written every second whether or not anything happened.

    Attributes:
        state: the state of its session; a Yahoo poller is `connected` while its polls succeed.
        authenticated: whether the vendor accepted our keys (always true for Yahoo).
        symbols: how many symbols it is subscribed to, or polls.
        messages: data messages received since the process began.
        last_message_at_ns: when the last data message, or good poll, was received.

    """

    state: Literal["disconnected", "connecting", "authenticating", "connected", "error"]
    authenticated: bool
    symbols: int
    messages: int
    last_message_at_ns: int | None = None


SourceStatus = Connected | Authenticated | Subscribed | Disconnected | Heartbeat
