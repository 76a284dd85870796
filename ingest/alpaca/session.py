"""The Alpaca session: a protocol machine without socket, clock or thread.

The worker tells it what happened (`connected`, `frame`, `closed`, `timer`) and does what it
answers: `Open`, `Send`, `Close`, publish a status or `Received` ticks. So every reaction to every
sequence of events can be tested without a network, and the worker has nothing left to decide.

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
too, and the count of refusals in a row is what the alert on authentication looks at. From
`REFUSALS_BELIEVED` in a row on the next attempt comes after minutes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypedDict

from ingest.alpaca import wire
from ingest.alpaca.wire import CODES, HANDSHAKE_STATUSES, UNKNOWN_CODE, Code, Message, Verdict
from ingest.backoff import backoff
from ingest.clock import Now
from ingest.events import (
    Authenticated,
    Connected,
    Disconnected,
    Heartbeat,
    RawTick,
    SourceStatus,
    Subscribed,
)
from ingest.raw import embed

SOURCE: Literal["alpaca"] = "alpaca"

#: How many terminal refusals in a row it takes to believe them; the alert's threshold as well.
REFUSALS_BELIEVED = 5
#: How often we authenticate on one connection before we take "not authenticated" for a refusal.
AUTHENTICATIONS = 3
#: What is left of the symbols after "symbol limit exceeded": the first this many in a hundred.
TRIM_PERCENT = 75

#: As much of a vendor's words as we repeat.
DETAIL_LENGTH = 200

Reason = Literal["timeout", "closed", "error", "auth"]


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
    LIMITED = "the vendor says too many symbols"
    FAILED = "the vendor gave up on the connection, or did not answer in time"
    REFUSED = "the vendor will refuse the same again"


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
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.CONNECTED: {
        Signal.CONFIRMED: State.CONNECTED,
        Signal.CHALLENGED: State.AUTHENTICATING,
        Signal.LIMITED: State.CONNECTED,
        Signal.FAILED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
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
    wire.SYMBOL_LIMIT_EXCEEDED: Signal.LIMITED,
}


class LocalProtocolError(Exception):
    """Our own worker did what the state does not allow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a session is for.

    Attributes:
        feed: the vendor's name of the stream: `iex`, `sip`, `test`.
        encoding: of the frames, both ways.
        symbols: what to subscribe, most important first, within the plan's limit.
        key: the key's id.
        secret: the key's secret.

    """

    feed: str
    encoding: wire.Encoding
    symbols: tuple[str, ...]
    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How patient a session is, in seconds; the same everywhere but in tests.

    Attributes:
        answer_s: how long the vendor waits for our authentication, and we for each of its answers.
        healthy_s: how long a connection must have been subscribed to have been healthy: the failure
            that ends it is a first one.
        first_retry_s: the wait after a first failure; it doubles from there.
        retry_cap_s: the longest wait that doubling leads to.
        refused_floor_s: the least wait once it is clear that the same would be refused again.

    """

    answer_s: float = 10.0
    healthy_s: float = 30.0
    first_retry_s: float = 1.0
    retry_cap_s: float = 60.0
    refused_floor_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Closure:
    """Why a socket is gone, or was never there.

    Attributes:
        reason: the class of the cause.
        code: the WebSocket close code, or the HTTP status that refused the handshake.
        detail: the peer's or the operating system's words.

    """

    reason: Literal["timeout", "closed", "error"]
    code: int | None = None
    detail: str = ""


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
    """Publish these ticks; `counts` says how many messages of each meter were received."""

    ticks: list[RawTick]
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


Output = Open | Send | Close | Received | Problem | Reconnected | SourceStatus


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why a connection is given up or was lost: for the event, and for what comes next."""

    reason: Reason
    number: int | None
    detail: str
    code: Code = UNKNOWN_CODE


class _Stamp(TypedDict):
    source: Literal["alpaca"]
    feed: str
    session_id: str
    at_ns: int


class Session:
    """One key's life with one Alpaca stream, over as many connections as it takes.

    Args:
        plan: what it is for.
        run_id: names this process's run; a connection's id is this and its number.
        now: the first connection is due at once.
        jitter: chance in [0, 1), asked once per failure.
        patience: how long it waits, and for what.

    """

    def __init__(
        self,
        plan: Plan,
        *,
        run_id: str,
        now: Now,
        jitter: Callable[[], float],
        patience: Patience = Patience(),
    ) -> None:
        self.state = State.DISCONNECTED
        self.authenticated = False
        #: Terminal refusals since the vendor last confirmed a subscription.
        self.refusals = 0
        #: What the vendor confirmed that it sends.
        self.subscribed: tuple[str, ...] = ()
        #: Data messages received since the session was made.
        self.messages = 0
        self.last_message_at_ns: int | None = None
        #: When to call `timer`, on the monotonic clock; None while only the vendor can go on.
        self.deadline: float | None = now.monotonic_s
        self._plan = plan
        self._run_id = run_id
        self._jitter = jitter
        self._patience = patience
        self._wanted = plan.symbols
        self._connections = 0
        self._sequence = 0
        self._authentications = 0
        self._failures = 0
        self._floor_s = 0.0
        self._healthy_since: float | None = None
        #: Why the last socket that had been open was lost; None before the first.
        self._lost: Reason | None = None
        self._socket = False

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
        awaited = "subscription" if self.authenticated else "authentication"
        detail = f"no answer to our {awaited} within {self._patience.answer_s:g} s"
        return self._fail(Signal.FAILED, _Cause("timeout", None, detail), now)

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
        self.deadline = now.monotonic_s + self._delay()
        return outputs

    def frame(self, data: bytes, now: Now) -> list[Output]:
        """Take one frame off the wire. Whatever it holds, this does not raise."""
        outputs: list[Output] = []
        ticks: list[RawTick] = []
        counts: dict[wire.Meter, int] = {}
        odd: dict[str, int] = {}
        for message in wire.split(data, self._plan.encoding):
            kind = message.kind
            meter = wire.DATA_KINDS.get(kind, "control")
            counts[meter] = counts.get(meter, 0) + 1
            if kind in wire.CONTROL_KINDS:
                outputs += self._control(message, now)
                continue
            if kind not in wire.DATA_KINDS:
                odd[kind] = odd.get(kind, 0) + 1
            ticks.append(self._tick(message, now.wall_ns))
        if ticks:
            self.messages += len(ticks)
            self.last_message_at_ns = now.wall_ns
        received = Received(ticks, counts)
        return [received, *outputs, *(_oddity(kind, count) for kind, count in odd.items())]

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
        outputs: list[Output] = []
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
        plan = self._plan
        return Send(wire.authentication(plan.key, plan.secret, plan.encoding))

    def _accept(self, now: Now) -> Sequence[Output]:
        if not self._follow(Signal.ACCEPTED):
            return ()
        self.authenticated = True
        return [Authenticated(**self._stamp(now)), self._subscribe(now)]

    def _subscribe(self, now: Now) -> Send:
        self.deadline = now.monotonic_s + self._patience.answer_s
        return Send(wire.subscription(self._wanted, self._plan.encoding))

    def _confirm(self, message: Message, now: Now) -> Sequence[Output]:
        if self.state is not State.CONNECTED:
            return ()
        try:
            symbols = wire.subscribed_symbols(message, self._plan.encoding)
        except ValueError as error:
            return [Problem("parse", str(error))]
        self._follow(Signal.CONFIRMED)
        self.deadline = None
        self.refusals = 0
        self.subscribed = symbols
        if self._healthy_since is None:
            self._healthy_since = now.monotonic_s
        return [Subscribed(**self._stamp(now), symbols=list(symbols))]

    def _error(self, message: Message, now: Now) -> Sequence[Output]:
        number = message.code
        code = UNKNOWN_CODE if number is None else CODES.get(number, UNKNOWN_CODE)
        cause = _cause(code, message.text, number)
        match code.verdict:
            case Verdict.IGNORE:
                return ()
            case Verdict.REPEAT if number is not None:
                return self._repeat(REPEATS[number], cause, now)
        return self._fail(SIGNALS[code.verdict], cause, now)

    def _repeat(self, signal: Signal, cause: _Cause, now: Now) -> Sequence[Output]:
        """Send again, on the same connection, what the vendor objected to; within bounds."""
        if signal not in TRANSITIONS[self.state]:
            return ()
        fewer = self._wanted[: len(self._wanted) * TRIM_PERCENT // 100]
        if signal is Signal.CHALLENGED and self._authentications < AUTHENTICATIONS:
            self._follow(signal)
            self.authenticated = False
            self.deadline = now.monotonic_s + self._patience.answer_s
            return [Problem("authentication", cause.detail, cause.number), self._authenticate()]
        if signal is Signal.LIMITED and fewer:
            self._follow(signal)
            self._wanted = fewer
            return [Problem("connection", cause.detail, cause.number), self._subscribe(now)]
        return self._fail(Signal.FAILED, cause, now)

    def _lose(self, closure: Closure, now: Now) -> list[Output]:
        """Take note of a socket that went by itself, or of a handshake that was refused."""
        cause = _Cause(closure.reason, closure.code, closure.detail)
        refusing = self.state is State.CONNECTING and closure.code is not None
        if refusing and (code := HANDSHAKE_STATUSES.get(closure.code or 0)):
            cause = _cause(code, closure.detail, closure.code, otherwise=closure.reason)
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
        verdict = cause.code.verdict
        if (
            self._healthy_since is not None
            and now.monotonic_s - self._healthy_since >= self._patience.healthy_s
        ):
            self._failures = 0
        self._failures += 1
        if verdict is Verdict.TERMINAL:
            self.refusals += 1
        refused = verdict is Verdict.OUR_BUG or self.refusals >= REFUSALS_BELIEVED
        refused_floor_s = self._patience.refused_floor_s if refused else 0.0
        self._floor_s = max(cause.code.floor_s, refused_floor_s)
        if self._socket:
            self._lost = cause.reason
        self._forget_connection()
        return [disconnected]

    def _forget_connection(self) -> None:
        self.authenticated = False
        self.subscribed = ()
        self.deadline = None
        self._healthy_since = None

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


def _oddity(kind: str, count: int) -> Problem:
    """Return the problem of `count` data messages that are of no known kind."""
    if kind == wire.UNREADABLE:
        return Problem("parse", "unreadable message", times=count)
    return Problem("validation", f"unknown message type {kind[:DETAIL_LENGTH]!r}", times=count)
