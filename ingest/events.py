"""What ingest writes: raw ticks, the life of the sources they came from, and what is missing.

Facts in the past tense; frozen. Times are integers, nanoseconds since the epoch, UTC.
"""

from typing import Literal

import msgspec

from infra.naming import snake

Source = Literal["alpaca", "yahoo"]


class RawTick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
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
        backfill: the REST resource that it was fetched from afterwards, whose objects name neither
            type nor symbol; empty for what came live.
        gap_id: the gap that it was fetched to fill; empty for what came live.

    """

    source: Source
    feed: str
    symbol: str
    session_id: str
    session_seq: int
    received_at_ns: int
    encoding: Literal["json", "msgpack", "bytes"]
    raw: msgspec.Raw
    backfill: Literal["", "trades", "bars"] = ""
    gap_id: str = ""


class _Status(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
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
        reason: the class of the cause: `timeout`, `closed`, `error`, `auth`; `stalled` for a
            connection that we gave up because it was mute, `asked` for one that we left for new
            keys or by command, `shutdown` for the end of the process.
        code: the vendor's error code, the WebSocket close code or the HTTP status, if there is one.
        detail: the vendor's or the operating system's words.

    """

    reason: Literal["timeout", "closed", "error", "auth", "stalled", "asked", "shutdown"]
    code: int | None = None
    detail: str = ""


class Stopped(_Status, frozen=True, kw_only=True):
    """The vendor refuses for good: nothing is tried until there are new keys, or a command.

    Attributes:
        code: the vendor's error code, or the HTTP status.
        detail: the vendor's words, and what a human can do.

    """

    code: int | None = None
    detail: str = ""


class Stalled(_Status, frozen=True, kw_only=True):
    """Data stopped, in market time, while the transport stayed up; or a price stands still.

    Attributes:
        symbols: whose; empty for those of the whole source.
        since_ns: when the last data, or the price that is still served, was from.

    """

    symbols: list[str]
    since_ns: int


class Resumed(_Status, frozen=True, kw_only=True):
    """Data that had stalled flows again.

    Attributes:
        symbols: whose; empty for those of the whole source.

    """

    symbols: list[str]


class SymbolsImpaired(_Status, frozen=True, kw_only=True):
    """Symbols that we want cannot be had, or not whole; the others go on.

    Attributes:
        reason: `malformed`: the vendor calls them invalid, and they are in quarantine;
            `limit`: the plan does not allow so many; `unknown`: the vendor does not know them;
            `no_previous_close`: their quotes come without the close of the day before.
        symbols: which, most important first.
        detail: the vendor's words.

    """

    reason: Literal["malformed", "limit", "unknown", "no_previous_close"]
    symbols: list[str]
    detail: str = ""


class SymbolsRestored(_Status, frozen=True, kw_only=True):
    """Symbols that were impaired are whole again, or no longer wanted."""

    reason: Literal["malformed", "limit", "unknown", "no_previous_close"]
    symbols: list[str]


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


SourceStatus = (
    Connected
    | Authenticated
    | Subscribed
    | Disconnected
    | Stopped
    | Stalled
    | Resumed
    | SymbolsImpaired
    | SymbolsRestored
    | Heartbeat
)


class _Gap(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag=snake):
    """A time in which ticks may be missing (`sources.gaps`); a gap's events share its `gap_id`.

    Attributes:
        gap_id: names the gap; never used twice.
        at_ns: when this event was written.
        cause: why ticks may be missing: `disconnected`, `stalled`, `asked` as in `Disconnected`;
            `torn`: a frame could not be read; `restarted`: the process was away; `shed`: the log
            was away for so long that what was read no longer fitted into memory.
        symbols: whose ticks; empty for all that were followed.
        since_ns: the last moment before which nothing is missing, by our clock.

    """

    source: Source
    feed: str
    gap_id: str
    at_ns: int
    cause: Literal["disconnected", "stalled", "asked", "torn", "restarted", "shed"]
    symbols: list[str]
    since_ns: int


class GapOpened(_Gap, frozen=True, kw_only=True):
    """Ticks are being missed from `since_ns` on."""


class GapEnded(_Gap, frozen=True, kw_only=True):
    """Ticks flow again: the gap's bounds are known, and it can be filled.

    Attributes:
        until_ns: the first moment from which on nothing is missing, by our clock.
        shed: how many ticks were received and shed, by meter (`trade`, `quote`, `bar`,
            `control`); empty where none was, because what was missed was never received.

    """

    until_ns: int
    shed: dict[str, int]


class GapClosed(_Gap, frozen=True, kw_only=True):
    """What could be had of a gap's ticks has been published; nothing more will be tried.

    Attributes:
        until_ns: as in `GapEnded`.
        outcome: `filled`: all that the vendor's history has; `partial`: some of it could not be
            had, `detail` says which; `unfillable`: there is no history to fill it from.
        trades: how many trades were published that the log did not have.
        bars: how many bars.
        lost: what no history gives back: `quotes`, `statuses`, `lulds`.
        detail: in words.

    """

    until_ns: int
    outcome: Literal["filled", "partial", "unfillable"]
    trades: int
    bars: int
    lost: list[str]
    detail: str = ""


GapEvent = GapOpened | GapEnded | GapClosed


class SymbolsFollowed(msgspec.Struct, frozen=True, kw_only=True):
    """What a source follows from now on (`sources.symbols`); in the log before it is asked for.

    Attributes:
        symbols: most important first.
        origin: where the list came from: a path or an address, without credentials.

    """

    source: Source
    at_ns: int
    symbols: list[str]
    origin: str
