"""The Alpaca session, driven without socket or clock."""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.alpaca.session import (
    AUTHENTICATIONS,
    LOCAL,
    REFUSALS_BELIEVED,
    REPEATS,
    SIGNALS,
    TRANSITIONS,
    Close,
    Closure,
    LocalProtocolError,
    Open,
    Output,
    Patience,
    Plan,
    Problem,
    Received,
    Reconnected,
    Send,
    Session,
    Signal,
    State,
)
from ingest.alpaca.wire import CODES, GHOST_FLOOR_S, TOO_FAST_FLOOR_S, Verdict
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

PATIENCE = Patience()
SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN")
PLAN = Plan(feed="iex", encoding="json", symbols=SYMBOLS, key="id", secret="secret")

WELCOME = {"T": "success", "msg": "connected"}
ACCEPTED = {"T": "success", "msg": "authenticated"}
CONFIRMED = {"T": "subscription", "trades": list(SYMBOLS), "quotes": list(SYMBOLS), "bars": []}
TRADE = {"T": "t", "S": "AAPL", "p": 1.5}
GONE = Closure("error", None, "the connection was cut")


class Driver:
    """A session, with a clock that its test turns by hand."""

    def __init__(self, plan: Plan = PLAN, jitter: Callable[[], float] = lambda: 0.0) -> None:
        self.seconds = 1000.0
        self.session = Session(plan, run_id="run", now=self.now, jitter=jitter)

    @property
    def now(self) -> Now:
        """The present moment; the clocks agree, and began apart."""
        return Now(1_790_000_000_000_000_000 + int(self.seconds * 1e9), self.seconds)

    def say(self, *messages: Any) -> list[Output]:
        """Let the vendor send one frame."""
        return self.session.frame(json.dumps(messages).encode(), self.now)

    def wait(self) -> float:
        """Turn the clock to the session's deadline, and return by how much."""
        assert self.session.deadline is not None
        waited = self.session.deadline - self.seconds
        self.seconds = self.session.deadline
        return waited

    def close(self, closure: Closure = GONE) -> list[Output]:
        """Let the worker say that the socket is gone."""
        return self.session.closed(closure, self.now)

    def open(self) -> list[Output]:
        """Wait until a connection is due, and let it succeed."""
        self.wait()
        assert self.session.timer(self.now) == [Open()]
        return self.session.connected(self.now)

    def stream(self) -> None:
        """Connect, authenticate and subscribe."""
        self.open()
        for message in (WELCOME, ACCEPTED, CONFIRMED):
            self.say(message)
        assert self.session.state is State.CONNECTED


def _sent(outputs: Iterable[Output]) -> list[Any]:
    return [json.loads(output.data) for output in outputs if isinstance(output, Send)]


T = TypeVar("T")


def _only(kind: type[T], outputs: Iterable[Output]) -> T:
    (found,) = (output for output in outputs if isinstance(output, kind))
    return found


def _error(number: int) -> dict[str, object]:
    return {"T": "error", "code": number, "msg": CODES[number].message}


# the tables


def test_every_state_has_a_row_and_every_signal_a_cell() -> None:
    """No state is without a way on, and no signal is declared that nothing heeds."""
    assert set(TRANSITIONS) == set(State)
    assert {signal for row in TRANSITIONS.values() for signal in row} == set(Signal)


def test_socket_can_go_in_every_state() -> None:
    """Whatever the state, the worker may say that the socket is gone."""
    assert all(Signal.DROPPED in row for row in TRANSITIONS.values())


def test_every_code_leads_somewhere() -> None:
    """Each documented code has a signal, a way to mend the connection, or is ignored."""
    for number, code in CODES.items():
        assert (
            code.verdict is Verdict.IGNORE
            or (code.verdict in SIGNALS)
            or (code.verdict is Verdict.REPEAT and number in REPEATS)
        )


@pytest.mark.parametrize(
    ("state", "signal"),
    [(state, signal) for state in State for signal in LOCAL if signal not in TRANSITIONS[state]],
)
def test_our_own_mistakes_raise(state: State, signal: Signal) -> None:
    """A local signal that does not belong to the state is our bug."""
    driver = Driver()
    driver.session.state = state
    with pytest.raises(LocalProtocolError, match=f"{signal.name} in state {state.name}"):
        driver.session._follow(signal)


# the way to the data


def test_first_connection_is_due_at_once() -> None:
    """A new session opens a socket without a wait, and only once."""
    driver = Driver()
    assert driver.wait() == 0
    assert driver.session.timer(driver.now) == [Open()]
    assert driver.session.state is State.CONNECTING
    assert driver.session.timer(driver.now) == []


def test_handshake_leads_to_data() -> None:
    """Welcome, authentication, subscription: each answer brings the next message, and its event."""
    driver = Driver()
    assert _only(Connected, driver.open()).session_id == "run-1"
    assert driver.session.heartbeat(driver.now).state == "authenticating"
    assert _sent(driver.say(WELCOME)) == [{"action": "auth", "key": "id", "secret": "secret"}]
    outputs = driver.say(ACCEPTED)
    assert _only(Authenticated, outputs).at_ns == driver.now.wall_ns
    assert _sent(outputs)[0]["trades"] == list(SYMBOLS)
    assert driver.session.heartbeat(driver.now).state == "connected"
    assert _only(Subscribed, driver.say(CONFIRMED)).symbols == list(SYMBOLS)
    assert driver.session.deadline is None


def test_ticks_carry_their_place() -> None:
    """A frame's ticks are numbered from 1, stamped with its receipt, and keep their bytes."""
    driver = Driver()
    driver.stream()
    received = _only(Received, driver.say(TRADE, {"T": "q", "S": "MSFT"}))
    assert received.counts == {"trade": 1, "quote": 1}
    assert received.ticks[0] == RawTick(
        source="alpaca",
        feed="iex",
        symbol="AAPL",
        session_id="run-1",
        session_seq=1,
        received_at_ns=driver.now.wall_ns,
        encoding="json",
        raw=msgspec.Raw(json.dumps(TRADE).encode()),
    )
    assert received.ticks[1].session_seq == 2


def test_msgpack_session_speaks_msgpack() -> None:
    """With msgpack, what we send is msgpack, and a tick's bytes are kept as base64."""
    plan = Plan(feed="iex", encoding="msgpack", symbols=SYMBOLS, key="id", secret="secret")
    driver = Driver(plan)
    driver.open()
    pack = msgspec.msgpack.encode
    (send,) = driver.session.frame(pack([WELCOME]), driver.now)[1:]
    assert isinstance(send, Send)
    assert msgspec.msgpack.decode(send.data)["action"] == "auth"
    driver.session.frame(pack([ACCEPTED]), driver.now)
    (tick,) = _only(Received, driver.session.frame(pack([TRADE]), driver.now)).ticks
    assert msgspec.json.decode(tick.raw, type=bytes) == pack(TRADE)


def test_unknown_and_unreadable_messages_are_kept_and_counted() -> None:
    """New kinds of message and broken ones become ticks, and each kind one problem a frame."""
    driver = Driver()
    driver.stream()
    outputs = driver.say({"T": "zz", "S": "AAPL"}, {"T": "zz", "S": "MSFT"}, 5)
    assert [tick.symbol for tick in _only(Received, outputs).ticks] == ["AAPL", "MSFT", ""]
    assert [output for output in outputs if isinstance(output, Problem)] == [
        Problem("validation", "unknown message type 'zz'", times=2),
        Problem("parse", "unreadable message"),
    ]


def test_next_connection_counts_anew() -> None:
    """A new connection has a new id, and its own sequence from 1."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE, TRADE)
    driver.close()
    driver.stream()
    (tick,) = _only(Received, driver.say(TRADE)).ticks
    assert (tick.session_id, tick.session_seq) == ("run-2", 1)
    assert driver.session.messages == 3


# answers that do not come


def _silent_welcome(driver: Driver) -> None:
    driver.open()


def _silent_authentication(driver: Driver) -> None:
    driver.open()
    driver.say(WELCOME)


def _silent_subscription(driver: Driver) -> None:
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)


@pytest.mark.parametrize("begin", [_silent_welcome, _silent_authentication, _silent_subscription])
def test_silence_in_the_handshake_ends_the_connection(begin: Callable[[Driver], None]) -> None:
    """Ten seconds without the vendor's next answer, and the socket is given up as timed out."""
    driver = Driver()
    begin(driver)
    assert driver.wait() == PATIENCE.answer_s
    outputs = driver.session.timer(driver.now)
    assert _only(Disconnected, outputs).reason == "timeout"
    assert outputs[-1] == Close()
    assert driver.session.state is State.DISCONNECTED
    assert driver.session.deadline is None  # until the socket is gone


# failures


@pytest.mark.parametrize(
    ("number", "state", "reason"),
    [
        (400, State.ERROR, "error"),
        (402, State.ERROR, "auth"),
        (404, State.DISCONNECTED, "auth"),
        (406, State.DISCONNECTED, "error"),
        (407, State.DISCONNECTED, "error"),
        (409, State.ERROR, "auth"),
        (410, State.ERROR, "error"),
        (411, State.ERROR, "auth"),
        (500, State.DISCONNECTED, "error"),
    ],
)
@pytest.mark.parametrize("authenticated", [False, True])
def test_code_ends_the_connection(
    number: int, state: State, reason: str, *, authenticated: bool
) -> None:
    """A code that ends a connection does so before and after authentication, and says why."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    if authenticated:
        driver.say(ACCEPTED)
    outputs = driver.say(_error(number))
    disconnected = _only(Disconnected, outputs)
    assert (disconnected.reason, disconnected.code) == (reason, number)
    assert disconnected.detail.startswith(CODES[number].message)
    assert outputs[-1] == Close()
    assert driver.session.state is state
    assert not driver.session.authenticated
    assert driver.close() == []
    assert driver.session.state is state


def test_undocumented_code_is_retried() -> None:
    """A code that the documents do not have ends the connection like any failure."""
    driver = Driver()
    driver.stream()
    outputs = driver.say({"T": "error", "code": 499, "msg": "teapot"})
    assert (_only(Disconnected, outputs).code, driver.session.state) == (
        499,
        State.DISCONNECTED,
    )


def test_already_authenticated_changes_nothing() -> None:
    """Code 403 leaves the stream as it is."""
    driver = Driver()
    driver.stream()
    (received,) = driver.say(_error(403))
    assert received == Received([], {"control": 1})
    assert driver.session.state is State.CONNECTED


def test_not_authenticated_authenticates_again_within_bounds() -> None:
    """Code 401 has the keys sent again, and is a failure when that does not help."""
    driver = Driver()
    driver.stream()
    for _ in range(AUTHENTICATIONS - 1):
        outputs = driver.say(_error(401))
        assert _sent(outputs)[0]["action"] == "auth"
        assert _only(Problem, outputs).kind == "authentication"
        assert driver.session.state is State.AUTHENTICATING
    outputs = driver.say(_error(401))
    assert (_only(Disconnected, outputs).reason, outputs[-1]) == ("auth", Close())


def test_symbol_limit_trims_the_least_important() -> None:
    """Code 405 has fewer symbols subscribed, the first of the list, until it is accepted."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    assert _sent(driver.say(_error(405)))[0]["trades"] == ["AAPL", "MSFT", "NVDA"]
    assert _sent(driver.say(_error(405)))[0]["trades"] == ["AAPL", "MSFT"]
    driver.say({"T": "subscription", "trades": ["AAPL", "MSFT"]})
    assert driver.session.subscribed == ("AAPL", "MSFT")


def test_symbol_limit_of_nothing_is_a_failure() -> None:
    """A vendor that refuses even one symbol is left alone for a while."""
    driver = Driver(Plan(feed="iex", encoding="json", symbols=("A",), key="", secret=""))
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    assert _only(Disconnected, driver.say(_error(405))).code == 405


def test_unreadable_subscription_is_no_confirmation() -> None:
    """A confirmation that cannot be read is counted, and the window for one stays open."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    assert _only(Problem, driver.say({"T": "subscription", "trades": 5})).kind == "parse"
    assert driver.wait() == PATIENCE.answer_s


def test_data_before_the_socket_is_gone_is_kept() -> None:
    """Between a failure and the end of the socket, ticks are published and answers not heeded."""
    driver = Driver()
    driver.stream()
    driver.say(_error(500))
    outputs = driver.say(TRADE, ACCEPTED, WELCOME, _error(402), CONFIRMED)
    (received,) = outputs
    assert isinstance(received, Received)
    assert [tick.session_seq for tick in received.ticks] == [1]
    assert driver.session.state is State.DISCONNECTED


# retries


def _fail_to_open(driver: Driver, closure: Closure = GONE) -> None:
    assert driver.session.timer(driver.now) == [Open()]
    driver.close(closure)


def test_retries_double_up_to_a_minute() -> None:
    """Without luck, attempts come after 1, 2, 4 ... seconds, and then every minute for ever."""
    driver = Driver()
    waits = []
    for _ in range(9):
        driver.wait()
        _fail_to_open(driver)
        waits.append(driver.wait())
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(
    ("held_s", "next_wait"), [(PATIENCE.healthy_s, 1), (PATIENCE.healthy_s - 1, 8)]
)
def test_only_a_healthy_period_forgives(held_s: float, next_wait: float) -> None:
    """The delay begins anew after a connection that held, and grows on after one that did not."""
    driver = Driver()
    for _ in range(3):
        driver.wait()
        _fail_to_open(driver)
    driver.stream()
    driver.seconds += held_s
    driver.close()
    assert driver.wait() == next_wait


@pytest.mark.parametrize(
    ("closure", "floor_s"),
    [
        (Closure("error", 429, "HTTP 429 Too Many Requests"), TOO_FAST_FLOOR_S),
        (Closure("error", 503, "HTTP 503 Service Unavailable"), 1.0),
    ],
)
def test_handshake_status_sets_the_floor(closure: Closure, floor_s: float) -> None:
    """After HTTP 429 the vendor is left alone for longer than after another refusal."""
    driver = Driver()
    driver.wait()
    _fail_to_open(driver, closure)
    assert driver.session.state is State.DISCONNECTED
    assert driver.wait() == floor_s


def test_ghost_sets_the_floor() -> None:
    """After 406 the first retry waits longer than a second: the ghost stays for up to 90."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    driver.say(_error(406))
    driver.close()
    assert driver.wait() == GHOST_FLOOR_S


def test_wait_begins_when_the_socket_is_gone() -> None:
    """However long the close takes, the next socket waits for its end: never two at once."""
    driver = Driver()
    driver.stream()
    driver.say(_error(500))
    driver.seconds += 500
    assert driver.session.timer(driver.now) == []
    driver.close()
    assert driver.wait() == 1


def test_terminal_refusals_stop_the_hammering() -> None:
    """Wrong keys are tried five times within seconds, and from then on every five minutes."""
    driver = Driver()
    waits = []
    for refusals in range(1, REFUSALS_BELIEVED + 2):
        driver.open()
        driver.say(WELCOME)
        driver.say(_error(402))
        assert driver.session.refusals == refusals
        driver.close()
        waits.append(driver.wait())
    assert waits == [1, 2, 4, 8, PATIENCE.refused_floor_s, PATIENCE.refused_floor_s]


def test_refused_handshake_is_a_refusal_of_the_keys() -> None:
    """HTTP 401 at the handshake counts, reads and waits like code 402."""
    driver = Driver()
    driver.wait()
    driver.session.timer(driver.now)
    (disconnected,) = driver.close(Closure("error", 401, "HTTP 401 Unauthorized"))
    assert isinstance(disconnected, Disconnected)
    assert (disconnected.reason, disconnected.code) == ("auth", 401)
    assert (driver.session.state, driver.session.refusals) == (State.ERROR, 1)


def test_confirmed_subscription_ends_the_count_of_refusals() -> None:
    """Keys that were refused and then accepted start at 0 again."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    driver.say(_error(402))
    driver.close()
    driver.stream()
    assert driver.session.refusals == 0


def test_our_bug_is_not_repeated_soon() -> None:
    """A request that the vendor calls invalid would be again: minutes pass before the next."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    driver.say(_error(400))
    driver.close()
    assert driver.wait() == PATIENCE.refused_floor_s


# the ends of a socket


@pytest.mark.parametrize("reason", ["timeout", "closed", "error"])
def test_lost_socket_is_reported_with_its_cause(reason: Any) -> None:
    """A socket that goes by itself is one fact, with the cause, its code and its words."""
    driver = Driver()
    driver.stream()
    (lost,) = driver.close(Closure(reason, 1001, "going away"))
    assert isinstance(lost, Disconnected)
    assert (lost.reason, lost.code, lost.detail) == (reason, 1001, "going away")
    assert lost.session_id == "run-1"
    driver.open()
    assert driver.session.state is State.AUTHENTICATING


def test_reconnection_names_why_the_last_connection_was_lost() -> None:
    """Failed attempts in between do not hide why the connection that was open was lost."""
    driver = Driver()
    assert not any(isinstance(output, Reconnected) for output in driver.open())
    driver.close(Closure("closed", 1001, "going away"))
    driver.wait()
    _fail_to_open(driver)
    assert _only(Reconnected, driver.open()) == Reconnected("closed")


def test_attempts_that_never_opened_are_no_reconnections() -> None:
    """The first socket that opens is no reconnection, however many attempts failed before."""
    driver = Driver()
    driver.wait()
    _fail_to_open(driver)
    assert not any(isinstance(output, Reconnected) for output in driver.open())


def test_shutdown_says_so() -> None:
    """An ordered end is told as such, once, and closes the socket."""
    driver = Driver()
    driver.stream()
    outputs = driver.session.shutdown(driver.now)
    assert _only(Disconnected, outputs).reason == "shutdown"
    assert outputs[-1] == Close()
    assert driver.close() == []


def test_shutdown_without_a_socket_is_silent() -> None:
    """There is nothing to tell when nothing was connected."""
    driver = Driver()
    assert driver.session.shutdown(driver.now) == []


# heartbeats


def test_heartbeat_tells_the_state() -> None:
    """A heartbeat holds what the router decides by."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    assert driver.session.heartbeat(driver.now) == Heartbeat(
        source="alpaca",
        feed="iex",
        session_id="run-1",
        at_ns=driver.now.wall_ns,
        state="connected",
        authenticated=True,
        symbols=4,
        messages=1,
        last_message_at_ns=driver.now.wall_ns,
    )


def test_heartbeat_before_anything_happened() -> None:
    """A session that never connected has a state, and no messages."""
    heartbeat = Driver().session.heartbeat(Driver().now)
    assert (heartbeat.state, heartbeat.messages, heartbeat.last_message_at_ns) == (
        "disconnected",
        0,
        None,
    )


def test_secrets_do_not_show() -> None:
    """A plan that is printed tells neither the key nor its secret."""
    plan = Plan(feed="iex", encoding="json", symbols=(), key="PKEY", secret="hush")
    assert "PKEY" not in repr(plan)
    assert "hush" not in repr(plan)


# laws


_messages = st.sampled_from(
    [WELCOME, ACCEPTED, CONFIRMED, TRADE, {"T": "zz"}, {"T": "success"}, {"T": "subscription"}, 7]
    + [_error(number) for number in CODES]
    + [{"T": "error"}, {"T": "error", "code": 999}, {"T": "subscription", "trades": 5}]
)
_events = st.one_of(
    st.lists(_messages, max_size=4).map(lambda messages: json.dumps(messages).encode()),
    st.binary(max_size=20),
    st.sampled_from(["wait", "close", "close 429", "close 401", "heartbeat"]),
)


class Ledger:
    """Checks, output by output, what must hold of every run of a session."""

    def __init__(self) -> None:
        self.socket = False
        self.sequences: dict[str, int] = {}

    def check(self, outputs: Iterable[Output]) -> None:
        """Take note of `outputs`, and fail where they break a law."""
        for output in outputs:
            match output:
                case Open():
                    assert not self.socket
                    self.socket = True
                case Send() | Close():
                    assert self.socket
                case Received(ticks):
                    for tick in ticks:
                        assert tick.session_seq == self.sequences.get(tick.session_id, 0) + 1
                        self.sequences[tick.session_id] = tick.session_seq
                case Problem() | Reconnected():
                    pass
                case status:
                    msgspec.json.decode(msgspec.json.encode(status), type=SourceStatus)


@settings(max_examples=300)
@given(st.lists(_events, max_size=40), st.floats(0, 1, exclude_max=True))
def test_no_vendor_breaks_the_session(events: list[bytes | str], luck: float) -> None:
    """Whatever comes in whatever order: nothing raises, no number is skipped, no socket doubled."""
    driver, ledger = Driver(jitter=lambda: luck), Ledger()
    opened = closing = False
    for event in events:
        outputs: list[Output] = []
        match event:
            case bytes() if opened:
                outputs = driver.session.frame(event, driver.now)
            case "heartbeat":
                outputs = [driver.session.heartbeat(driver.now)]
            case "wait" if driver.session.deadline is not None:
                driver.wait()
                outputs = driver.session.timer(driver.now)
            case str() if ledger.socket and event.startswith("close"):
                number = int(event[6:] or 0) or None
                outputs = driver.close(Closure("error", number, event))
                ledger.socket = opened = closing = False
        ledger.check(outputs)
        closing = closing or Close() in outputs
        if Open() in outputs and luck < 0.9:
            ledger.check(driver.session.connected(driver.now))
            opened = True
        # either the vendor or the clock can always bring the session on
        waits_for_vendor = opened and driver.session.state is State.CONNECTED
        waits_for_worker = closing or (ledger.socket and not opened)
        assert driver.session.deadline is not None or waits_for_vendor or waits_for_worker
