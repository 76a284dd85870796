"""The Alpaca session: a protocol machine without socket, clock or thread.

The worker tells it what happened (`connected`, `frame`, `closed`, `timer`) and what is asked of it
(`follow`, `rekey`, `reconnect`), and does what it answers: `Open`, `Send`, `Close`, publish a
status, a gap or ticks. So every reaction to every sequence of events can be tested without a
network, and the worker has nothing left to decide.

`ingest.alpaca.states` says what leads from one state to the next, `ingest.alpaca.subscription` what
to ask for, and `ingest.alpaca.hearing` what of it is heard and what is missed.

A failure changes the state at once, asks for `Close`, and is reported once. The wait for the next
attempt begins when the worker says `closed`, so there are never two connections with one key.

Terminal refusals (wrong keys, wrong plan) are retried at first as any failure, because vendors err
too, and the count of refusals in a row is what the alert on authentication looks at. After
`REFUSALS_BELIEVED` in a row the session stops, says so, and has no deadline until there are new
keys or somebody asks for a reconnection.

"Connection limit exceeded" is the ghost of our own lost connection for up to 90 s. After
`Patience.ghost_s` of it the keys are in use elsewhere: that is said, and tried once a minute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ingest.alpaca import wire
from ingest.alpaca.hearing import Hearing, Market
from ingest.alpaca.outputs import (
    PATIENCE,
    SOURCE,
    Close,
    Closure,
    Open,
    Output,
    Patience,
    Plan,
    Problem,
    Reason,
    Received,
    Reconnected,
    Resubscribed,
    Send,
)
from ingest.alpaca.states import REPEATS, SIGNALS, TRANSITIONS, Signal, State, follow
from ingest.alpaca.subscription import Change, Impairment, Subscription
from ingest.alpaca.wire import CODES, HANDSHAKE_STATUSES, UNKNOWN_CODE, Code, Message, Verdict
from ingest.backoff import backoff
from ingest.clock import Now
from ingest.events import (
    Authenticated,
    Connected,
    Disconnected,
    GapOpened,
    Heartbeat,
    RawTick,
    Stopped,
    Subscribed,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.keys import Keys
from ingest.raw import embed

#: How many terminal refusals in a row it takes to believe them; the alert's threshold as well.
REFUSALS_BELIEVED = 5
#: How often we authenticate on one connection before we take "not authenticated" for a refusal.
AUTHENTICATIONS = 3
#: The longest wait that we let a vendor ask of us.
RETRY_AFTER_CAP_S = 3600.0

EVERY_SYMBOL = "every symbol is called malformed"
IN_USE_ELSEWHERE = "connection limit exceeded: these keys are in use elsewhere"

#: As much of a vendor's words as we repeat.
DETAIL_LENGTH = 200


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why a connection is given up or was lost: for the event, and for what comes next."""

    reason: Reason
    number: int | None
    detail: str
    code: Code = UNKNOWN_CODE
    floor_s: float = 0.0


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
        patience: Patience = PATIENCE,
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
        #: Why that connection is given up.
        self._cause: _Cause | None = None
        self._settled: frozenset[str] | None = None
        self._hearing = Hearing(
            plan.feed, f"{run_id}-0", market=market, gaps=gaps, patience=patience
        )

    @property
    def subscribed(self) -> tuple[str, ...]:
        """What the vendor confirmed that it sends, on the present connection."""
        return self.subscription.held

    @property
    def silent(self) -> int:
        """How many symbols are silent while the others flow."""
        return self._hearing.silent

    @property
    def session_id(self) -> str:
        """The id of the present connection, or of the last one."""
        return self._hearing.session_id

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
        outputs += self._hearing.keep(symbols, now)
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
        return [*outputs, Connected(**self._hearing.stamp(now))]

    def closed(self, closure: Closure, now: Now) -> list[Output]:
        """Say that the socket is gone, or could not be opened."""
        outputs: list[Output] = []
        if self.state not in (State.DISCONNECTED, State.ERROR):
            outputs = self._lose(closure, now)
        self._follow(Signal.DROPPED)
        self._socket = False
        cause, self._cause = self._cause, None
        outputs += self._hearing.lose(cause.reason if cause else None, now)
        if not self._at_once and max(self.refusals, self._our_bugs) >= REFUSALS_BELIEVED:
            self.stopped = True
            code, detail = (cause.number, cause.detail) if cause else (None, "")
            return [*outputs, Stopped(**self._hearing.stamp(now), code=code, detail=detail)]
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
        heard = self._hearing.counts
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
                self._hearing.note_halt(message, self.subscription.wanted)
            ticks.append(self._tick(message, now.wall_ns))
            meters.append(meter)
            if message.symbol in heard:
                heard[message.symbol] += 1
        if ticks:
            outputs += self._hearing.tear(now) if messages[0].torn else self._take(ticks, now)
        received = Received(ticks, meters, counts)
        return [received, *outputs, *(_oddity(kind, count) for kind, count in odd.items())]

    def _take(self, ticks: Sequence[RawTick], now: Now) -> list[Output]:
        """Take note of data messages."""
        self.messages += len(ticks)
        self.last_message_at_ns = now.wall_ns
        return self._hearing.take((tick.symbol for tick in ticks), now)

    def heartbeat(self, now: Now) -> Heartbeat:
        """Return the state of the session, as an event."""
        return Heartbeat(
            **self._hearing.stamp(now),
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
        outputs = self._hearing.mend(now)
        if self.state not in (State.DISCONNECTED, State.ERROR):
            outputs.append(Disconnected(**self._hearing.stamp(now), reason="shutdown"))
            self.state = State.DISCONNECTED
            self._forget_connection()
        return [*outputs, Close()]

    def _follow(self, signal: Signal) -> bool:
        """Go where `signal` leads; False where the state passes it over."""
        target = follow(self.state, signal)
        if target is not None:
            self.state = target
        return target is not None

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
        return [Authenticated(**self._hearing.stamp(now)), *self._converse(now)]

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
        return [*told, *self._settle(), *self._hearing.whole(now), *self._listen(now)]

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
            self._hearing.begin(now)
        self._hearing.listen(symbols, set(self.subscription.wanted), now)
        return [Subscribed(**self._hearing.stamp(now), symbols=list(symbols)), *self._converse(now)]

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
        stamp = self._hearing.stamp(now)
        return [
            SymbolsRestored(**stamp, reason=change.reason, symbols=list(change.symbols))
            if change.restored
            else SymbolsImpaired(
                **stamp, reason=change.reason, symbols=list(change.symbols), detail=detail
            )
            for change in changes
        ]

    def _listen(self, now: Now) -> list[Output]:
        """See whether the connection or one of its symbols is mute, and what to do about it."""
        look = self._hearing.look(self.subscription.held, now)
        if look.mute_s is not None:
            detail = f"mute for {look.mute_s:.1f} s while the market is open"
            failed = self._fail(Signal.FAILED, _Cause("stalled", None, detail), now)
            return [*look.outputs, *failed]
        self.deadline = now.monotonic_s + look.again_s
        if not look.silent:
            return look.outputs
        self.subscription.renew(look.silent)
        return [*look.outputs, *self._converse(now)]

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
            **self._hearing.stamp(now), reason=cause.reason, code=cause.number, detail=cause.detail
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
        self._hearing.hush()

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
        self._hearing.session_id = f"{self._run_id}-{self._connections}"
        self._sequence = 0
        self._authentications = 0


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
