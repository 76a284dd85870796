"""The Alpaca session: a protocol machine without socket, clock or thread.

The worker tells it what happened (`connected`, `frame`, `closed`, `timer`) and what is asked of it
(`follow`, `rekey`, `reconnect`), and does what it answers: `Open`, `Send`, `Close`, publish a
status, a gap or ticks. So every reaction to every sequence of events can be tested without a
network, and the worker has nothing left to decide.

A signal is one thing that can happen to a connection; `TRANSITIONS` says where it leads from each
state. Signals of two kinds are told apart, as in h11:

* LOCAL ones come from our own worker. One that does not belong to the state is our bug, and raises.
* the others come from the vendor. One that does not belong to the state is only odd: it is passed
  over, because no input may stop the stream.

The life of a connection, and its windows:

    DISCONNECTED --wait--> CONNECTING --socket--> AUTHENTICATING --accepted--> CONNECTED
         ^                     |                        |                         |
         +---------------------+------------------------+-----lost, failed--------+
    ERROR: the same as DISCONNECTED, but the vendor said that trying again will not help.

A failure changes the state at once, asks for `Close`, and is reported once. The wait for the next
attempt begins when the worker says `closed`, so there are never two connections with one key.

Terminal refusals (wrong keys, wrong plan) are retried at first as any failure, because vendors err
too, and the count of refusals in a row is what the alert on authentication looks at. After
`REFUSALS_BELIEVED` in a row the session stops, says so, and has no deadline until there are new
keys or somebody asks for a reconnection.

"Connection limit exceeded" is the ghost of our own lost connection for up to 90 s. After
`Patience.ghost_s` of it the keys are in use elsewhere: that is said, and tried once a minute.

A connection that is subscribed and mute while the market is open is given up after
`Patience.mute_s` of market time. If its successor is mute as well the patience doubles, so a market
that is merely quiet costs a few reconnections and no loop. Symbols in a halt are not expected to
speak.

A symbol that goes silent while the others flow (`ingest.alpaca.silence`) is given back and asked
for again, once; it has a gap of its own, which its next message ends, on whatever connection.

Every connection that was subscribed and is lost opens a gap of all other symbols; the next one that
has subscribed to all that it can have ends it. A stream that was lively and pauses, and goes on
before it is given up, leaves a gap as well: nobody can tell what was missed meanwhile, but its
history can. So does a frame that cannot be read, until none came for `LOOK_S`; it is no sign of
life either.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal, Protocol, TypedDict

from ingest.alpaca import wire
from ingest.alpaca.silence import Silence, Silent
from ingest.alpaca.subscription import Change, Impairment, Subscription
from ingest.alpaca.wire import CODES, HANDSHAKE_STATUSES, UNKNOWN_CODE, Code, Message, Verdict
from ingest.backoff import backoff
from ingest.clock import Now
from ingest.events import (
    Authenticated,
    Connected,
    Disconnected,
    GapEnded,
    GapEvent,
    GapOpened,
    Heartbeat,
    RawTick,
    Resumed,
    SourceStatus,
    Stalled,
    Stopped,
    Subscribed,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.keys import Keys
from ingest.raw import embed

SOURCE: Literal["alpaca"] = "alpaca"

#: How many terminal refusals in a row it takes to believe them; the alert's threshold as well.
REFUSALS_BELIEVED = 5
#: How often we authenticate on one connection before we take "not authenticated" for a refusal.
AUTHENTICATIONS = 3
#: A pause is one of at least this, and of so many times the usual spacing of frames.
PAUSE_S = 5.0
PAUSE_SPACINGS = 30
#: The share of a new frame in the usual spacing, and how many it takes to know what is usual.
SPACING_WEIGHT = 0.05
SPACINGS_KNOWN = 20

#: How often the silence of a connection and of its symbols is looked at.
LOOK_S = 1.0
#: How soon at the least it is looked at again, where something is about to be due.
SOON_S = 0.1

#: The longest wait that we let a vendor ask of us.
RETRY_AFTER_CAP_S = 3600.0

EVERY_SYMBOL = "every symbol is called malformed"
IN_USE_ELSEWHERE = "connection limit exceeded: these keys are in use elsewhere"

#: As much of a vendor's words as we repeat.
DETAIL_LENGTH = 200

Reason = Literal["timeout", "closed", "error", "auth", "stalled", "asked"]

NS = 1_000_000_000


class State(StrEnum):
    """The states of a session; the value is what a heartbeat calls it."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    CONNECTED = "connected"
    ERROR = "error"


class Signal(StrEnum):
    """What can happen to a session."""

    DUE = "the wait for the next attempt is over"
    OPENED = "the socket is open"
    DROPPED = "the socket is gone, or could not be opened"
    WELCOMED = "the vendor says connected"
    ACCEPTED = "the vendor says authenticated"
    CONFIRMED = "the vendor says what it will send"
    CHALLENGED = "the vendor says not authenticated"
    OBJECTED = "the vendor objects to the symbols that we asked for"
    FAILED = "the vendor gave up on the connection, or did not answer in time"
    REFUSED = "the vendor will refuse the same again"
    RECALLED = "we are asked to leave"


LOCAL = frozenset({Signal.DUE, Signal.OPENED, Signal.DROPPED})

TRANSITIONS: Mapping[State, Mapping[Signal, State]] = {
    State.DISCONNECTED: {
        Signal.DUE: State.CONNECTING,
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.CONNECTING: {
        Signal.OPENED: State.AUTHENTICATING,
        Signal.DROPPED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
    },
    State.AUTHENTICATING: {
        Signal.WELCOMED: State.AUTHENTICATING,
        Signal.ACCEPTED: State.CONNECTED,
        Signal.CHALLENGED: State.AUTHENTICATING,
        Signal.FAILED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
        Signal.RECALLED: State.DISCONNECTED,
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.CONNECTED: {
        Signal.CONFIRMED: State.CONNECTED,
        Signal.CHALLENGED: State.AUTHENTICATING,
        Signal.OBJECTED: State.CONNECTED,
        Signal.FAILED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
        Signal.RECALLED: State.DISCONNECTED,
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.ERROR: {
        Signal.DUE: State.CONNECTING,
        Signal.DROPPED: State.ERROR,
    },
}

#: A control code's signal by what it means; two mend the connection, each in its own way.
SIGNALS: Mapping[Verdict, Signal] = {
    Verdict.TERMINAL: Signal.REFUSED,
    Verdict.OUR_BUG: Signal.REFUSED,
    Verdict.RETRY: Signal.FAILED,
}
REPEATS: Mapping[int, Signal] = {
    wire.NOT_AUTHENTICATED: Signal.CHALLENGED,
    wire.INVALID_SYNTAX: Signal.OBJECTED,
    wire.SYMBOL_LIMIT_EXCEEDED: Signal.OBJECTED,
}


class LocalProtocolError(Exception):
    """Our own worker did what the state does not allow."""


class Market(Protocol):
    """What the session needs of infra.market_calendar.Calendar."""

    def open_ns(self, since_ns: int, until_ns: int) -> int:
        """Return how much regular session there is between two moments, in ns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session is for.

    Attributes:
        feed: the vendor's name of the stream: `iex`, `sip`, `test`.
        encoding: of the frames, both ways.

    """

    feed: str
    encoding: wire.Encoding


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How patient a session is, in seconds; the same everywhere but in tests.

    Attributes:
        answer_s: how long the vendor waits for our authentication, and we for each of its answers.
        healthy_s: how long a connection must have been subscribed to have been healthy: the failure
            that ends it is a first one.
        first_retry_s: the wait after a first failure; it doubles from there.
        retry_cap_s: the longest wait that doubling leads to.
        mute_s: how much market time a subscribed connection may be mute.
        mute_cap_s: what that doubles to, at most, while one connection after the other is mute.
        ghost_s: how long "connection limit exceeded" may be the ghost of our own connection.

    """

    answer_s: float = 10.0
    healthy_s: float = 30.0
    first_retry_s: float = 1.0
    retry_cap_s: float = 60.0
    mute_s: float = 30.0
    mute_cap_s: float = 600.0
    ghost_s: float = 120.0


@dataclass(frozen=True, slots=True)
class Closure:
    """Why a socket is gone, or was never there.

    Attributes:
        reason: the class of the cause.
        code: the WebSocket close code, or the HTTP status that refused the handshake.
        detail: the peer's or the operating system's words.
        retry_after_s: how long a refused handshake asked to be left alone, if it did.

    """

    reason: Literal["timeout", "closed", "error"]
    code: int | None = None
    detail: str = ""
    retry_after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Open:
    """Open a socket; answer with `connected`, or with `closed` where that fails."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send this as one message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Close:
    """Close the socket, and answer with `closed`."""


@dataclass(frozen=True, slots=True)
class Received:
    """Publish these ticks.

    Attributes:
        ticks: the frame's data messages, in order.
        meters: what each of them is counted as.
        counts: how many messages of each meter were received, those for us included.

    """

    ticks: list[RawTick]
    meters: list[wire.Meter]
    counts: dict[wire.Meter, int]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something went wrong that did not end the connection: log it and count it."""

    kind: Literal["authentication", "connection", "parse", "validation"]
    detail: str
    code: int | None = None
    times: int = 1


@dataclass(frozen=True, slots=True)
class Reconnected:
    """A socket is open again that was open before; `reason` is why that one was lost."""

    reason: Reason


@dataclass(frozen=True, slots=True)
class Resubscribed:
    """The vendor sends more symbols, or fewer, than it confirmed before."""

    added: int
    removed: int


Output = (
    Open | Send | Close | Received | Problem | Reconnected | Resubscribed | SourceStatus | GapEvent
)


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why a connection is given up or was lost: for the event, and for what comes next."""

    reason: Reason
    number: int | None
    detail: str
    code: Code = UNKNOWN_CODE
    floor_s: float = 0.0


class _Stamp(TypedDict):
    source: Literal["alpaca"]
    feed: str
    session_id: str
    at_ns: int


class Session:
    """One key's life with one Alpaca stream, over as many connections as it takes.

    Args:
        plan: what it is for.
        symbols: what to subscribe, most important first, within the plan's limit.
        keys: what to authenticate with.
        run_id: names this process's run; a connection's id is this and its number.
        now: the first connection is due at once.
        jitter: chance in [0, 1), asked once per failure.
        market: knows when silence means something.
        gaps: gaps that a former process left open; the first subscription ends them.
        patience: how long it waits, and for what.

    """

    def __init__(
        self,
        plan: Plan,
        *,
        symbols: tuple[str, ...],
        keys: Keys,
        run_id: str,
        now: Now,
        jitter: Callable[[], float],
        market: Market,
        gaps: Sequence[GapOpened] = (),
        patience: Patience = Patience(),
    ) -> None:
        self.state = State.DISCONNECTED
        self.authenticated = False
        #: Terminal refusals since the vendor last confirmed a subscription.
        self.refusals = 0
        #: Whether the vendor was believed: nothing is tried until `rekey` or `reconnect`.
        self.stopped = False
        self.subscription = Subscription(symbols)
        #: Data messages received since the session was made.
        self.messages = 0
        self.last_message_at_ns: int | None = None
        #: When to call `timer`, on the monotonic clock; None while only others can go on.
        self.deadline: float | None = now.monotonic_s
        self._plan = plan
        self._keys = keys
        self._run_id = run_id
        self._jitter = jitter
        self._market = market
        self._patience = patience
        self._connections = 0
        self._sequence = 0
        self._authentications = 0
        self._failures = 0
        self._our_bugs = 0
        self._floor_s = 0.0
        self._healthy_since: float | None = None
        #: Why the last socket that had been open was lost; None before the first.
        self._lost: Reason | None = None
        self._socket = False
        #: Whether the next connection is due as soon as the socket is gone.
        self._at_once = False
        #: Since when the vendor has been saying "connection limit exceeded".
        self._limited_since: float | None = None
        self._gaps = list(gaps)
        #: What the present connection streamed, until it is gone for good.
        self._streamed: tuple[str, ...] = ()
        #: Why that connection is given up.
        self._cause: _Cause | None = None
        #: Since when the present connection has been mute: the last data, or the subscription.
        self._quiet_since: Now | None = None
        self._mute_s = patience.mute_s
        self._stalled = False
        self._halted: set[str] = set()
        #: The usual time between two frames of data, and how many of them it was learnt from.
        self._spacing_s = 0.0
        self._spacings = 0
        self._pauses = 0
        #: The gap of frames that could not be read, and when the last of them came.
        self._torn: GapOpened | None = None
        self._torn_at = 0.0
        self._tears = 0
        self._settled: frozenset[str] | None = None
        self._silence = Silence()
        self._looked: Now | None = None
        #: The gaps of the symbols that are silent while the others flow.
        self._silent: dict[str, GapOpened] = {}
        self._silences = 0

    @property
    def subscribed(self) -> tuple[str, ...]:
        """What the vendor confirmed that it sends, on the present connection."""
        return self.subscription.held

    @property
    def silent(self) -> int:
        """How many symbols are silent while the others flow."""
        return len(self._silent)

    @property
    def session_id(self) -> str:
        """The id of the present connection, or of the last one."""
        return f"{self._run_id}-{self._connections}"

    def timer(self, now: Now) -> list[Output]:
        """Say that `deadline` has come (early or needless calls do nothing)."""
        if self.deadline is None or now.monotonic_s < self.deadline:
            return []
        self.deadline = None
        if self.state in (State.DISCONNECTED, State.ERROR):
            self._follow(Signal.DUE)
            self._begin_connection()
            return [Open()]
        if self.state is State.CONNECTED and not self.subscription.waiting:
            return self._listen(now)
        awaited = "subscription" if self.authenticated else "authentication"
        detail = f"no answer to our {awaited} within {self._patience.answer_s:g} s"
        return self._fail(Signal.FAILED, _Cause("timeout", None, detail), now)

    def follow(self, symbols: tuple[str, ...], now: Now) -> list[Output]:
        """Subscribe to other symbols, most important first, without a reconnection."""
        if symbols == self.subscription.wanted:
            return []
        outputs = self._tell(self.subscription.follow(symbols), "", now)
        self._silence.keep(symbols)
        self._halted.intersection_update(symbols)
        outputs += self._hear_again([s for s in self._silent if s not in symbols], now)
        if self.stopped and self._our_bugs:
            self.stopped, self._our_bugs = False, 0  # it may have been the list
            self.deadline = now.monotonic_s
        return [*outputs, *self._converse(now)]

    def rekey(self, keys: Keys, now: Now) -> list[Output]:
        """Use other keys from now on: leave in good order, then connect with them."""
        if keys == self._keys:
            return []
        self._keys = keys
        return self.reconnect("new keys", now)

    def reconnect(self, detail: str, now: Now) -> list[Output]:
        """Leave in good order, and connect again at once, whatever was refused before."""
        self.refusals = self._failures = self._our_bugs = 0
        self._limited_since = None
        outputs = self._tell(self.subscription.forgive(), "", now)
        if self.state in (State.DISCONNECTED, State.ERROR):
            self.stopped = False
            self._at_once = self._socket
            if not self._socket:
                self.deadline = now.monotonic_s
            return outputs
        cause = _Cause("asked", None, detail[:DETAIL_LENGTH])
        outputs += self._fail(Signal.RECALLED, cause, now)
        self._at_once = self._socket
        return outputs

    def connected(self, now: Now) -> list[Output]:
        """Say that the socket is open."""
        self._follow(Signal.OPENED)
        self._socket = True
        self.deadline = now.monotonic_s + self._patience.answer_s
        outputs: list[Output] = [] if self._lost is None else [Reconnected(self._lost)]
        return [*outputs, Connected(**self._stamp(now))]

    def closed(self, closure: Closure, now: Now) -> list[Output]:
        """Say that the socket is gone, or could not be opened."""
        outputs: list[Output] = []
        if self.state not in (State.DISCONNECTED, State.ERROR):
            outputs = self._lose(closure, now)
        self._follow(Signal.DROPPED)
        self._socket = False
        outputs += self._open_gap(now)
        cause, self._cause = self._cause, None
        if not self._at_once and max(self.refusals, self._our_bugs) >= REFUSALS_BELIEVED:
            self.stopped = True
            code, detail = (cause.number, cause.detail) if cause else (None, "")
            return [*outputs, Stopped(**self._stamp(now), code=code, detail=detail)]
        self.deadline = now.monotonic_s + (0.0 if self._at_once else self._delay())
        self._at_once = False
        return outputs

    def frame(self, data: bytes, now: Now) -> list[Output]:
        """Take one frame off the wire. Whatever it holds, this does not raise."""
        outputs: list[Output] = []
        ticks: list[RawTick] = []
        meters: list[wire.Meter] = []
        counts: dict[wire.Meter, int] = {}
        odd: dict[str, int] = {}
        heard = self._silence.counts
        messages = wire.split(data, self._plan.encoding)
        for message in messages:
            kind = message.kind
            meter = wire.DATA_KINDS.get(kind, "control")
            counts[meter] = counts.get(meter, 0) + 1
            if kind in wire.CONTROL_KINDS:
                outputs += self._control(message, now)
                continue
            if kind not in wire.DATA_KINDS:
                odd[kind] = odd.get(kind, 0) + 1
            elif kind == wire.STATUS:
                self._note_halt(message)
            ticks.append(self._tick(message, now.wall_ns))
            meters.append(meter)
            if message.symbol in heard:
                heard[message.symbol] += 1
        if ticks:
            outputs += self._tear(now) if messages[0].torn else self._take(ticks, now)
        received = Received(ticks, meters, counts)
        return [received, *outputs, *(_oddity(kind, count) for kind, count in odd.items())]

    def _take(self, ticks: Sequence[RawTick], now: Now) -> list[Output]:
        """Take note of data messages."""
        self.messages += len(ticks)
        self.last_message_at_ns = now.wall_ns
        outputs = self._hear(now)
        if self._silent:
            spoke = dict.fromkeys(t.symbol for t in ticks if t.symbol in self._silent)
            outputs += self._hear_again(spoke, now)
        return outputs

    def heartbeat(self, now: Now) -> Heartbeat:
        """Return the state of the session, as an event."""
        return Heartbeat(
            **self._stamp(now),
            state=self.state.value,
            authenticated=self.authenticated,
            symbols=len(self.subscribed),
            messages=self.messages,
            last_message_at_ns=self.last_message_at_ns,
        )

    def shutdown(self, now: Now) -> list[Output]:
        """Say that the process ends; nothing but `closed` may follow."""
        if not self._socket:
            return []
        outputs = self._mend(now)
        if self.state not in (State.DISCONNECTED, State.ERROR):
            outputs.append(Disconnected(**self._stamp(now), reason="shutdown"))
            self.state = State.DISCONNECTED
            self._forget_connection()
        return [*outputs, Close()]

    def _follow(self, signal: Signal) -> bool:
        """Go where `signal` leads; False where the state passes it over."""
        target = TRANSITIONS[self.state].get(signal)
        if target is None:
            if signal in LOCAL:
                message = f"{signal.name} in state {self.state.name}"
                raise LocalProtocolError(message)
            return False
        self.state = target
        return True

    def _tick(self, message: Message, received_at_ns: int) -> RawTick:
        self._sequence += 1
        return RawTick(
            source=SOURCE,
            feed=self._plan.feed,
            symbol=message.symbol,
            session_id=self.session_id,
            session_seq=self._sequence,
            received_at_ns=received_at_ns,
            encoding=message.encoding,
            raw=embed(message.data, message.encoding),
        )

    def _control(self, message: Message, now: Now) -> Sequence[Output]:
        match message.kind, message.text:
            case "success", "connected":
                return self._welcome()
            case "success", "authenticated":
                return self._accept(now)
            case "subscription", _:
                return self._confirm(message, now)
            case "error", _:
                return self._error(message, now)
        return ()

    def _welcome(self) -> Sequence[Output]:
        if self._authentications or not self._follow(Signal.WELCOMED):
            return ()
        return [self._authenticate()]

    def _authenticate(self) -> Send:
        self._authentications += 1
        keys = self._keys
        return Send(wire.authentication(keys.key_id, keys.secret, self._plan.encoding))

    def _accept(self, now: Now) -> Sequence[Output]:
        if not self._follow(Signal.ACCEPTED):
            return ()
        self.authenticated = True
        self.subscription.begin()
        return [Authenticated(**self._stamp(now)), *self._converse(now)]

    def _converse(self, now: Now) -> list[Output]:
        """Make the next request; where there is none to make, end the gaps and listen."""
        if self.state is not State.CONNECTED or self.subscription.waiting:
            return []
        request = self.subscription.ask()
        if request is not None:
            self.deadline = now.monotonic_s + self._patience.answer_s
            return [Send(wire.request(request.action, request.symbols, self._plan.encoding))]
        limited = _cause(CODES[wire.SYMBOL_LIMIT_EXCEEDED], "", None).detail
        told = self._tell(self.subscription.settled(), limited, now)
        if self.subscription.failure:
            return [*told, *self._give_up_subscribing(self.subscription.failure, now)]
        return [*told, *self._settle(), *self._end_gaps(now), *self._listen(now)]

    def _confirm(self, message: Message, now: Now) -> Sequence[Output]:
        if self.state is not State.CONNECTED:
            return ()
        try:
            symbols = wire.subscribed_symbols(message, self._plan.encoding)
        except ValueError as error:
            return [Problem("parse", str(error))]
        self._follow(Signal.CONFIRMED)
        self.refusals = self._our_bugs = 0
        self._limited_since = None
        self.subscription.confirmed(symbols)
        if self._healthy_since is None:
            self._healthy_since = now.monotonic_s
            self._quiet_since = self._looked = now
        self._streamed = symbols
        self._silence.listen(self._wanted_of(symbols), now.wall_ns)
        return [Subscribed(**self._stamp(now), symbols=list(symbols)), *self._converse(now)]

    def _wanted_of(self, symbols: Sequence[str]) -> list[str]:
        wanted = set(self.subscription.wanted)
        return [symbol for symbol in symbols if symbol in wanted]

    def _give_up_subscribing(self, why: Impairment, now: Now) -> list[Output]:
        """End a connection on which the vendor would send nothing."""
        if why == "malformed":
            number = wire.INVALID_SYNTAX
            return self._admit(_cause(CODES[number], EVERY_SYMBOL, number), now)
        number = wire.SYMBOL_LIMIT_EXCEEDED
        restored = self._tell(self.subscription.retry(), "", now)
        cause = _cause(CODES[number], "", number)
        return [*restored, *self._fail(Signal.FAILED, cause, now)]

    def _settle(self) -> list[Output]:
        """Take note of the whole subscription, and of what it differs in from the last one."""
        before, self._settled = self._settled, frozenset(self.subscription.held)
        if before is None or before == self._settled:
            return []
        return [Resubscribed(len(self._settled - before), len(before - self._settled))]

    def _tell(self, changes: Sequence[Change], detail: str, now: Now) -> list[Output]:
        """Return what becomes of symbols as events."""
        stamp = self._stamp(now)
        return [
            SymbolsRestored(**stamp, reason=change.reason, symbols=list(change.symbols))
            if change.restored
            else SymbolsImpaired(
                **stamp, reason=change.reason, symbols=list(change.symbols), detail=detail
            )
            for change in changes
        ]

    def _listen(self, now: Now) -> list[Output]:
        """See whether the connection or one of its symbols is mute, and when to look again."""
        quiet_since = self._quiet_since or now
        silent_s = self._market_s(quiet_since, now)
        expected = set(self.subscription.held) - self._halted
        if silent_s >= self._mute_s and expected:
            return self._give_up_mute(quiet_since, silent_s, now)
        self.deadline = now.monotonic_s + min(LOOK_S, max(SOON_S, self._mute_s - silent_s))
        looked, self._looked = self._looked or now, now
        open_s = self._market_s(looked, now)
        whole_again = self._torn and now.monotonic_s - self._torn_at >= LOOK_S
        mended = self._mend(now) if whole_again else []
        silent = self._silence.look(open_s, now.wall_ns, self._halted)
        outputs = [output for each in silent for output in self._miss(each, now)]
        if not outputs:
            return mended
        self.subscription.renew([each.symbol for each in silent])
        return [*mended, *outputs, *self._converse(now)]

    def _market_s(self, since: Now, now: Now) -> float:
        """Return how much market time has gone by, by both clocks.

        The wall's clock may step, and market time stands still at night.
        """
        market_s = self._market.open_ns(since.wall_ns, now.wall_ns) / NS
        return min(now.monotonic_s - since.monotonic_s, market_s)

    def _give_up_mute(self, quiet_since: Now, silent_s: float, now: Now) -> list[Output]:
        self._stalled = True
        stalled = Stalled(**self._stamp(now), symbols=[], since_ns=quiet_since.wall_ns)
        cause = _Cause("stalled", None, f"mute for {silent_s:.1f} s while the market is open")
        self._mute_s = min(2 * self._mute_s, self._patience.mute_cap_s)
        return [stalled, *self._fail(Signal.FAILED, cause, now)]

    def _miss(self, silent: Silent, now: Now) -> list[Output]:
        """Say that a symbol is silent while the others flow, and from when on it is missed."""
        symbol, since_ns = silent
        if symbol in self._silent:
            return []  # it is silent on this connection as on the last
        self._silences += 1
        gap_id = f"{self.session_id}/silent-{self._silences}"
        gap = self._silent[symbol] = self._gap(gap_id, "stalled", [symbol], since_ns, now)
        stalled = Stalled(**self._stamp(now), symbols=[symbol], since_ns=since_ns)
        return [*self._mend(now), stalled, gap]

    def _hear_again(self, symbols: Iterable[str], now: Now) -> list[Output]:
        """Take note that symbols that were silent have spoken, or are no longer listened to."""
        outputs: list[Output] = []
        for symbol in symbols:
            gap = self._silent.pop(symbol)
            self._silence.heard(symbol, now.wall_ns)
            outputs += Resumed(**self._stamp(now), symbols=[symbol]), _ended(gap, now)
        return outputs

    def _hear(self, now: Now) -> list[Output]:
        """Take note that data came."""
        outputs = self._pause(now)
        self._quiet_since = now
        if not self._stalled:
            return outputs
        self._stalled = False
        self._mute_s = self._patience.mute_s
        return [*outputs, Resumed(**self._stamp(now), symbols=[])]

    def _pause(self, now: Now) -> list[Output]:
        """Return the gap of a pause that is over, if it was one."""
        before = self._quiet_since
        if before is None:
            return []
        spacing_s = now.monotonic_s - before.monotonic_s
        known = self._spacings >= SPACINGS_KNOWN
        if known and spacing_s > max(PAUSE_S, PAUSE_SPACINGS * self._spacing_s):
            market_s = self._market.open_ns(before.wall_ns, now.wall_ns) / NS
            missed = self._missed()
            if market_s >= PAUSE_S and missed and not self._gaps:
                self._pauses += 1
                gap_id = f"{self.session_id}/pause-{self._pauses}"
                gap = self._gap(gap_id, "stalled", missed, before.wall_ns, now)
                return [*self._mend(now), gap, _ended(gap, now)]
            return []
        self._spacings += 1
        self._spacing_s += (spacing_s - self._spacing_s) * max(SPACING_WEIGHT, 1 / self._spacings)
        return []

    def _tear(self, now: Now) -> list[Output]:
        """Return the gap of a frame that cannot be read, unless it is one of several in a row."""
        self._torn_at = now.monotonic_s
        known = [set(gap.symbols or self._streamed) for gap in self._gaps]
        missed = [symbol for symbol in self._missed() if not any(symbol in its for its in known)]
        if not missed or (self._torn and set(missed) <= set(self._torn.symbols)):
            return []
        mended = self._mend(now)
        self._tears += 1
        gap_id = f"{self.session_id}/torn-{self._tears}"
        since_ns = (self._quiet_since or now).wall_ns
        self._torn = self._gap(gap_id, "torn", missed, since_ns, now)
        return [*mended, self._torn]

    def _mend(self, now: Now) -> list[Output]:
        """End the gap of frames that could not be read, if there is one."""
        torn, self._torn = self._torn, None
        return [_ended(torn, now)] if torn else []

    def _note_halt(self, message: Message) -> None:
        if message.symbol in self.subscription.wanted and wire.is_halt(message):
            self._halted.add(message.symbol)
        else:
            self._halted.discard(message.symbol)

    def _open_gap(self, now: Now) -> list[Output]:
        """Say from when on ticks are missed, where the connection that is gone had streamed."""
        missed, self._streamed = self._missed(), ()
        quiet_since, self._quiet_since = self._quiet_since, None
        mended = self._mend(now)
        if not missed or self._cause is None or self._gaps:
            return mended  # nothing was to come on it, or a gap is open already
        reason = self._cause.reason
        cause = reason if reason in ("stalled", "asked") else "disconnected"
        opened = self._gap(self.session_id, cause, missed, (quiet_since or now).wall_ns, now)
        self._gaps.append(opened)
        return [*mended, opened]

    def _missed(self) -> list[str]:
        """Return what the present connection sends but for those that have a gap of their own."""
        return [symbol for symbol in self._streamed if symbol not in self._silent]

    def _gap(
        self,
        gap_id: str,
        cause: Literal["disconnected", "stalled", "asked", "torn"],
        symbols: list[str],
        since_ns: int,
        now: Now,
    ) -> GapOpened:
        return GapOpened(
            source=SOURCE,
            feed=self._plan.feed,
            gap_id=gap_id,
            at_ns=now.wall_ns,
            cause=cause,
            symbols=symbols,
            since_ns=since_ns,
        )

    def _end_gaps(self, now: Now) -> list[Output]:
        gaps, self._gaps = self._gaps, []
        return [_ended(gap, now) for gap in gaps]

    def _error(self, message: Message, now: Now) -> Sequence[Output]:
        number = message.code
        code = UNKNOWN_CODE if number is None else CODES.get(number, UNKNOWN_CODE)
        cause = _cause(code, message.text, number)
        match code.verdict:
            case Verdict.IGNORE:
                return ()
            case Verdict.REPEAT if number is not None:
                return self._repeat(REPEATS[number], cause, now)
        if number == wire.CONNECTION_LIMIT_EXCEEDED and self._haunted_too_long(now):
            floor_s = self._patience.retry_cap_s
            cause = replace(cause, detail=IN_USE_ELSEWHERE, floor_s=floor_s)
            return self._fail(Signal.REFUSED, cause, now)
        return self._fail(SIGNALS[code.verdict], cause, now)

    def _haunted_too_long(self, now: Now) -> bool:
        """Say whether "connection limit exceeded" can no longer be our own ghost."""
        if self._limited_since is None:
            self._limited_since = now.monotonic_s
        return now.monotonic_s - self._limited_since >= self._patience.ghost_s

    def _repeat(self, signal: Signal, cause: _Cause, now: Now) -> Sequence[Output]:
        """Send again, on the same connection, what the vendor objected to; within bounds."""
        if signal is Signal.CHALLENGED:
            if signal not in TRANSITIONS[self.state]:
                return ()
            if self._authentications < AUTHENTICATIONS:
                self._follow(signal)
                self.authenticated = False
                self.deadline = now.monotonic_s + self._patience.answer_s
                problem = Problem("authentication", cause.detail, cause.number)
                return [problem, self._authenticate()]
        if signal is Signal.OBJECTED and self.subscription.waiting and self._follow(signal):
            self._failures = 0  # each objection brings us nearer to the culprit
            limit = cause.number == wire.SYMBOL_LIMIT_EXCEEDED
            changes = self.subscription.refused("limit" if limit else "malformed")
            problem = Problem("connection", cause.detail, cause.number)
            return [problem, *self._tell(changes, cause.detail, now), *self._converse(now)]
        if cause.number == wire.INVALID_SYNTAX:
            return self._admit(cause, now)
        return self._fail(Signal.FAILED, cause, now)

    def _admit(self, cause: _Cause, now: Now) -> list[Output]:
        """Give up over something that we say wrongly, and that is not a symbol."""
        code = replace(cause.code, verdict=Verdict.OUR_BUG)
        return self._fail(Signal.REFUSED, replace(cause, code=code), now)

    def _lose(self, closure: Closure, now: Now) -> list[Output]:
        """Take note of a socket that went by itself, or of a handshake that was refused."""
        cause = _Cause(closure.reason, closure.code, closure.detail)
        refusing = self.state is State.CONNECTING and closure.code is not None
        if refusing and (code := HANDSHAKE_STATUSES.get(closure.code or 0)):
            cause = replace(
                _cause(code, closure.detail, closure.code, otherwise=closure.reason),
                floor_s=min(closure.retry_after_s, RETRY_AFTER_CAP_S),
            )
            if code.verdict is Verdict.TERMINAL:
                self._follow(Signal.REFUSED)
        return self._down(cause, now)

    def _fail(self, signal: Signal, cause: _Cause, now: Now) -> list[Output]:
        """Give up a connection whose socket is still open."""
        if not self._follow(signal):
            return []
        return [*self._down(cause, now), Close()]

    def _down(self, cause: _Cause, now: Now) -> list[Output]:
        """Report that the connection is down, and remember what its successor must heed."""
        disconnected = Disconnected(
            **self._stamp(now), reason=cause.reason, code=cause.number, detail=cause.detail
        )
        self._cause = cause
        verdict = cause.code.verdict
        if (
            self._healthy_since is not None
            and now.monotonic_s - self._healthy_since >= self._patience.healthy_s
        ):
            self._failures = 0
        self._failures += 1
        if verdict is Verdict.TERMINAL:
            self.refusals += 1
        if verdict is Verdict.OUR_BUG:
            self._our_bugs += 1
        self._floor_s = max(cause.code.floor_s, cause.floor_s)
        if self._socket:
            self._lost = cause.reason
        self._forget_connection()
        return [disconnected]

    def _forget_connection(self) -> None:
        self.authenticated = False
        self.subscription.begin()
        self.deadline = None
        self._healthy_since = None
        self._silence.listen((), 0)

    def _delay(self) -> float:
        return backoff(
            max(self._failures, 1),
            first_s=self._patience.first_retry_s,
            cap_s=self._patience.retry_cap_s,
            floor_s=self._floor_s,
            jitter=self._jitter(),
        )

    def _begin_connection(self) -> None:
        self._connections += 1
        self._sequence = 0
        self._authentications = 0

    def _stamp(self, now: Now) -> _Stamp:
        return _Stamp(
            source=SOURCE, feed=self._plan.feed, session_id=self.session_id, at_ns=now.wall_ns
        )


def _cause(code: Code, text: str, number: int | None, otherwise: Reason = "error") -> _Cause:
    """Return a control code's cause: the vendor's words, and ours where they help."""
    words = (text or code.message)[:DETAIL_LENGTH]
    detail = f"{words}: {code.advice}" if code.advice else words
    return _Cause("auth" if code.reason == "auth" else otherwise, number, detail, code)


def _ended(gap: GapOpened, now: Now) -> GapEnded:
    """Return the end of a gap: what is sent from now on is received."""
    return GapEnded(
        source=gap.source,
        feed=gap.feed,
        gap_id=gap.gap_id,
        at_ns=now.wall_ns,
        cause=gap.cause,
        symbols=gap.symbols,
        since_ns=gap.since_ns,
        until_ns=now.wall_ns,
        shed={},
    )


def _oddity(kind: str, count: int) -> Problem:
    """Return the problem of `count` data messages that are of no known kind."""
    if kind == wire.UNREADABLE:
        return Problem("parse", "unreadable message", times=count)
    return Problem("validation", f"unknown message type {kind[:DETAIL_LENGTH]!r}", times=count)
