"""The laws of the session, under any interleaving of vendor, worker, operator and clock."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from ingest.alpaca.outputs import (
    Close,
    Closure,
    Open,
    Output,
    Plan,
    Problem,
    Received,
    Reconnected,
    Resubscribed,
    Send,
)
from ingest.alpaca.session import Session
from ingest.alpaca.states import State
from ingest.alpaca.wire import CODES, Encoding
from ingest.clock import Now
from ingest.events import GapEnded, GapOpened, SourceStatus, SymbolsImpaired, SymbolsRestored
from ingest.keys import Keys

NAMES = ("AAPL", "MSFT", "NVDA", "AMZN", "TSLA", "META")
DATA = ({"T": "t", "S": "AAPL"}, {"T": "q", "S": "MSFT"}, {"T": "zz", "S": "NEW"}, 7)
HALTS = tuple({"T": "s", "S": "AAPL", "sc": code} for code in ("H", "T"))
ANSWERS = (
    {"T": "success", "msg": "connected"},
    {"T": "success", "msg": "authenticated"},
    {"T": "success"},
    {"T": "subscription"},
    {"T": "subscription", "trades": 5},
    {"T": "subscription", "trades": ["AAPL", "MADE-UP"], "quotes": ["MSFT"]},
    {"T": "error"},
    *({"T": "error", "code": code, "msg": "so it is"} for code in (*CODES, 999)),
)
CLOSURES = (
    Closure("closed", 1000),
    Closure("closed", 1001, "going away"),
    Closure("error", None, "the connection was cut"),
    Closure("timeout", 1011, "no answer to our ping"),
    Closure("error", 401, "HTTP 401 Unauthorized"),
    Closure("error", 429, "HTTP 429 Too Many Requests", 90.0),
    Closure("error", 503, "HTTP 503 Service Unavailable"),
)

lists = st.lists(st.sampled_from(NAMES), unique=True, max_size=6).map(tuple)
messages = st.lists(st.sampled_from((*DATA, *HALTS, *ANSWERS)), max_size=4)


class HalfHours:
    """A market that is open for half of every hour."""

    HOUR_NS = 3600 * 10**9

    def _open_until(self, at_ns: int) -> int:
        hours, rest = divmod(at_ns, self.HOUR_NS)
        return hours * self.HOUR_NS // 2 + min(rest, self.HOUR_NS // 2)

    def open_ns(self, since_ns: int, until_ns: int) -> int:
        """Return how much of the time between is open."""
        return max(0, self._open_until(until_ns) - self._open_until(since_ns))


class AnyLife(RuleBasedStateMachine):
    """One session, and all that can happen to it."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 10.0
        self.socket = self.opening = self.leaving = False
        self.secrets: list[str] = []
        self.requests: list[dict[str, Any]] = []
        self.held: list[str] = []
        self.sequences: dict[str, int] = {}
        self.gaps: set[str] = set()
        self.open_gaps: dict[str, list[str]] = {}

    @initialize(encoding=st.sampled_from(["json", "msgpack"]), symbols=lists, seed=st.integers(0))
    def begin(self, encoding: Encoding, symbols: tuple[str, ...], seed: int) -> None:
        """Make the session."""
        self.encoding = encoding
        codec = msgspec.json if encoding == "json" else msgspec.msgpack
        self.encode, self.decode = codec.encode, codec.decode
        self.session = Session(
            Plan(feed="iex", encoding=encoding),
            symbols=symbols,
            keys=self.keys(),
            run_id="run",
            now=self.now,
            jitter=random.Random(seed).random,
            market=HalfHours(),
        )

    def keys(self) -> Keys:
        """Return keys that are new, and to be seen nowhere."""
        number = len(self.secrets)
        self.secrets += [f"hush-id-{number}", f"hush-secret-{number}"]
        return Keys(key_id=self.secrets[-2], secret=self.secrets[-1])

    @property
    def now(self) -> Now:
        """The present moment."""
        return Now(1_790_000_000_000_000_000 + int(self.seconds * 1e9), self.seconds)

    def take(self, outputs: Sequence[Output]) -> None:  # noqa: C901  # one law for each output
        """Be the worker, and hold what is said to the laws."""
        for output in outputs:
            if isinstance(output, Send):
                assert self.socket
                assert not self.leaving
                self.requests.append(self.decode(output.data))
                continue
            assert "hush" not in repr(output)
            match output:
                case SymbolsImpaired(symbols=[]) | SymbolsRestored(symbols=[]):
                    message = f"news of nobody: {output}"
                    raise AssertionError(message)
                case Open():
                    assert not self.socket
                    assert not self.opening
                    self.opening = True
                case Close():
                    assert self.socket
                    assert not self.leaving
                    self.leaving = True
                case Received(ticks, meters):
                    assert len(ticks) == len(meters)
                    for tick in ticks:
                        assert tick.session_seq == self.sequences.get(tick.session_id, 0) + 1
                        self.sequences[tick.session_id] = tick.session_seq
                case GapOpened():
                    self.open_gap(output)
                case GapEnded():
                    assert self.open_gaps.pop(output.gap_id) == output.symbols
                    assert output.since_ns <= output.until_ns
                case Problem() | Reconnected() | Resubscribed():
                    pass
                case status:
                    msgspec.json.decode(msgspec.json.encode(status), type=SourceStatus)

    def open_gap(self, gap: GapOpened) -> None:
        """Hold a gap to the laws of the ledger."""
        assert gap.gap_id not in self.gaps, "a gap opened twice"
        missed = {symbol for symbols in self.open_gaps.values() for symbol in symbols}
        assert not missed & set(gap.symbols), "missed by two gaps at once"
        assert gap.symbols
        assert gap.since_ns <= self.now.wall_ns
        self.gaps.add(gap.gap_id)
        self.open_gaps[gap.gap_id] = gap.symbols

    def say(self, *said: Any) -> None:
        """Let the vendor send one frame."""
        self.take(self.session.frame(self.encode(said), self.now))

    # the clock

    @rule(share=st.floats(0, 1))
    @precondition(lambda self: self.session.deadline is not None)
    def wait_a_while(self, share: float) -> None:
        """Some of the time to the deadline goes by; a call that comes early does nothing."""
        assert self.session.deadline is not None
        left = max(0.0, self.session.deadline - self.seconds)
        self.seconds += left * share * 0.99
        if self.seconds < self.session.deadline:
            assert self.session.timer(self.now) == []

    @rule(late=st.sampled_from([0.0, 0.0, 3.0, 5000.0]))
    def wait(self, late: float) -> None:
        """The deadline comes, and is gone by when we are told: the session never spins."""
        if self.session.deadline is None:
            assert self.session.timer(self.now) == []
            return
        self.seconds = max(self.seconds, self.session.deadline) + late
        self.take(self.session.timer(self.now))
        deadline = self.session.deadline
        assert deadline is None or deadline > self.seconds

    # the worker

    @rule(succeeds=st.sampled_from([True, True, True, False]), closure=st.sampled_from(CLOSURES))
    @precondition(lambda self: self.opening)
    def open(self, closure: Closure, *, succeeds: bool) -> None:
        """The handshake comes to an end."""
        self.opening = False
        self.requests, self.held = [], []
        if succeeds:
            self.socket = True
            self.take(self.session.connected(self.now))
        else:
            self.take(self.session.closed(closure, self.now))

    @rule(closure=st.sampled_from(CLOSURES))
    @precondition(lambda self: self.socket)
    def close(self, closure: Closure) -> None:
        """The socket goes, asked to or not."""
        self.socket = self.leaving = False
        self.take(self.session.closed(closure, self.now))

    # the vendor

    @rule(said=messages)
    @precondition(lambda self: self.socket)
    def talk(self, said: list[Any]) -> None:
        """The vendor says something, in its place or not."""
        self.say(*said)

    @rule(said=messages, noise=st.binary(min_size=1, max_size=6), at=st.integers(0))
    @precondition(lambda self: self.socket)
    def babble(self, said: list[Any], noise: bytes, at: int) -> None:
        """The vendor says something that is torn."""
        frame = self.encode(said)
        at %= len(frame) + 1
        self.take(self.session.frame(frame[:at] + noise + frame[at + 2 :], self.now))

    @rule(refusal=st.sampled_from([None, None, None, 400, 405]))
    @precondition(lambda self: self.socket and not self.leaving)
    def answer(self, refusal: int | None) -> None:
        """The vendor answers as it should, or refuses some symbols."""
        if not self.requests:
            self.say(ANSWERS[0])
            return
        request = self.requests.pop(0)
        if request["action"] == "auth":
            self.say(ANSWERS[1])
            return
        symbols = request["trades"]
        if refusal:
            self.say({"T": "error", "code": refusal, "msg": "no"})
            return
        if request["action"] == "subscribe":
            self.held += [symbol for symbol in symbols if symbol not in self.held]
        else:
            self.held = [symbol for symbol in self.held if symbol not in symbols]
        self.say({"T": "subscription", "trades": self.held})

    @rule(refusals=st.lists(st.sampled_from([400, 405]), max_size=4))
    @precondition(lambda self: not self.leaving and self.session.state is not State.CONNECTED)
    def serve(self, refusals: list[int]) -> None:
        """All goes well for once, up to the whole subscription, but for some symbols."""
        if not self.opening and not self.socket:
            if self.session.stopped:
                self.reconnect()
            self.wait(0.0)
        if self.opening:
            self.open(CLOSURES[0], succeeds=True)
        if self.session.state is State.AUTHENTICATING and not self.requests:
            self.answer(None)
        for refusal in (None, *refusals):
            if self.requests and not self.leaving:
                self.answer(refusal)
        while self.requests and not self.leaving:
            self.answer(None)

    @rule(seconds=st.sampled_from([1, 10, 40]), silent=st.sampled_from([(), NAMES[:1], NAMES]))
    @precondition(lambda self: self.session.state is State.CONNECTED)
    def flow(self, seconds: int, silent: Sequence[str]) -> None:
        """All symbols send a trade a second, then all but some, and what is asked is answered."""
        for second in range(2 * seconds):
            self.seconds += 1.0
            mute = silent if second >= seconds else ()
            self.say(*({"T": "t", "S": symbol} for symbol in self.held if symbol not in mute))
            self.take(self.session.timer(self.now))
            while self.requests and self.socket and not self.leaving:
                self.answer(None)

    # whoever is in charge

    @rule(symbols=lists)
    def follow(self, symbols: tuple[str, ...]) -> None:
        """Other symbols are wanted."""
        self.take(self.session.follow(symbols, self.now))
        assert self.session.follow(symbols, self.now) == []

    @rule()
    def rekey(self) -> None:
        """The keys are rotated."""
        keys = self.keys()
        self.take(self.session.rekey(keys, self.now))
        assert self.session.rekey(keys, self.now) == []

    @rule()
    def reconnect(self) -> None:
        """Somebody asks for a reconnection."""
        self.take(self.session.reconnect("ann: to see", self.now))

    @rule()
    def beat(self) -> None:
        """The heart beats."""
        beat = self.session.heartbeat(self.now)
        assert msgspec.json.decode(msgspec.json.encode(beat), type=SourceStatus) == beat
        assert beat.authenticated == (beat.state == "connected")

    # the laws that hold between events

    @invariant()
    def somebody_will_go_on(self) -> None:
        """The clock brings it on, but where the worker has to, or a human."""
        waits = self.opening or self.leaving or self.session.stopped
        assert waits == (self.session.deadline is None)

    @invariant()
    def worker_and_session_agree(self) -> None:
        """There is a socket where the session believes in one."""
        live = {State.AUTHENTICATING, State.CONNECTED}
        assert (self.session.state in live) == (self.socket and not self.leaving)
        assert (self.session.state is State.CONNECTING) == self.opening

    @invariant()
    def memory_is_bounded(self) -> None:
        """Whatever names a vendor makes up, what is kept is about symbols that we want."""
        session = self.session
        wanted = set(session.subscription.wanted)

        def ours(symbols: Iterable[str]) -> bool:
            return set(symbols) <= wanted

        assert ours(session._hearing._halted)
        assert ours(session._hearing._silence.counts)
        assert ours(session._hearing._silence._paces)
        assert ours(session._hearing._silent)
        assert ours(session.subscription.malformed)
        assert ours(session.subscription.beyond)
        assert len(session._hearing._gaps) <= 1
        suspects = [symbol for group in session.subscription._suspects for symbol in group]
        assert len(suspects) == len(set(suspects)) <= len(NAMES)

    def teardown(self) -> None:
        """At the end a farewell, and nothing after it but the socket's end."""
        if not hasattr(self, "session"):
            return
        leaving = self.leaving
        outputs = self.session.shutdown(self.now)
        assert (Close() in outputs) == self.socket
        self.leaving = False
        self.take(outputs)
        if self.socket:
            assert leaving or self.session.state is State.DISCONNECTED
            self.close(CLOSURES[0])


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
