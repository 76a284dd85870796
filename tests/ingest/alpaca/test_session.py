"""The Alpaca session, driven without socket or clock."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.market_calendar import ALWAYS_OPEN
from ingest.alpaca.hearing import LOOK_S, Market
from ingest.alpaca.outputs import (
    Close,
    Closure,
    Open,
    Output,
    Patience,
    Plan,
    Problem,
    Received,
    Reconnected,
    Resubscribed,
    Send,
)
from ingest.alpaca.session import AUTHENTICATIONS, IN_USE_ELSEWHERE, REFUSALS_BELIEVED, Session
from ingest.alpaca.states import (
    LOCAL,
    REPEATS,
    SIGNALS,
    TRANSITIONS,
    LocalProtocolError,
    Signal,
    State,
)
from ingest.alpaca.wire import CODES, GHOST_FLOOR_S, TOO_FAST_FLOOR_S, Verdict
from ingest.clock import Now
from ingest.events import (
    Authenticated,
    Connected,
    Disconnected,
    GapEnded,
    GapOpened,
    Heartbeat,
    RawTick,
    Resumed,
    Stalled,
    Stopped,
    Subscribed,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.keys import Keys

PATIENCE = Patience()
SYMBOLS = ("AAPL", "MSFT", "NVDA", "AMZN")
PLAN = Plan(feed="iex", encoding="json")
KEYS = Keys(key_id="id", secret="secret")

WELCOME = {"T": "success", "msg": "connected"}
ACCEPTED = {"T": "success", "msg": "authenticated"}
CONFIRMED = {"T": "subscription", "trades": list(SYMBOLS), "quotes": list(SYMBOLS), "bars": []}
TRADE = {"T": "t", "S": "AAPL", "p": 1.5}
GONE = Closure("error", None, "the connection was cut")


class Driver:
    """A session, with a clock that its test turns by hand."""

    def __init__(
        self,
        plan: Plan = PLAN,
        jitter: Callable[[], float] = lambda: 0.0,
        *,
        symbols: tuple[str, ...] = SYMBOLS,
        market: Market = ALWAYS_OPEN,
        gaps: Sequence[GapOpened] = (),
    ) -> None:
        self.seconds = 1000.0
        self.session = Session(
            plan,
            symbols=symbols,
            keys=KEYS,
            run_id="run",
            now=self.now,
            jitter=jitter,
            market=market,
            gaps=gaps,
        )

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
    [
        (state, signal)
        for state in State
        for signal in sorted(LOCAL)
        if signal not in TRANSITIONS[state]
    ],
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
    assert driver.wait() == LOOK_S


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
    plan = Plan(feed="iex", encoding="msgpack")
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


def _opening(driver: Driver) -> None:
    driver.open()


def _authenticating(driver: Driver) -> None:
    _opening(driver)
    driver.say(WELCOME)


def _subscribing(driver: Driver) -> None:
    _authenticating(driver)
    driver.say(ACCEPTED)


def _streaming(driver: Driver) -> None:
    _subscribing(driver)
    driver.say(CONFIRMED)


def _leaving(driver: Driver) -> None:
    _streaming(driver)
    driver.session.reconnect("ann: to see", driver.now)


STAGES = (_opening, _authenticating, _subscribing, _streaming, _leaving)

GIVEN_UP, REFUSED = State.DISCONNECTED, State.ERROR
SAME = None

#: Where each code leads, by how far the connection has come; SAME where it goes on.
OUTCOMES: dict[int, tuple[State | None, ...]] = {
    # in:  opening   authenticating subscribing streaming leaving
    400: (REFUSED, REFUSED, SAME, REFUSED, SAME),
    401: (SAME, SAME, State.AUTHENTICATING, State.AUTHENTICATING, SAME),
    402: (REFUSED, REFUSED, REFUSED, REFUSED, SAME),
    403: (SAME, SAME, SAME, SAME, SAME),
    404: (GIVEN_UP, GIVEN_UP, GIVEN_UP, GIVEN_UP, SAME),
    405: (GIVEN_UP, GIVEN_UP, SAME, GIVEN_UP, SAME),
    406: (GIVEN_UP, GIVEN_UP, GIVEN_UP, GIVEN_UP, SAME),
    407: (GIVEN_UP, GIVEN_UP, GIVEN_UP, GIVEN_UP, SAME),
    409: (REFUSED, REFUSED, REFUSED, REFUSED, SAME),
    410: (REFUSED, REFUSED, REFUSED, REFUSED, SAME),
    411: (REFUSED, REFUSED, REFUSED, REFUSED, SAME),
    500: (GIVEN_UP, GIVEN_UP, GIVEN_UP, GIVEN_UP, SAME),
    499: (GIVEN_UP, GIVEN_UP, GIVEN_UP, GIVEN_UP, SAME),  # in no document
}


def test_table_of_outcomes_is_whole() -> None:
    """Every code that we know is in the table, and one that nobody knows."""
    assert set(OUTCOMES) == {*CODES, 499}


@pytest.mark.parametrize(
    ("number", "reach", "target"),
    [
        pytest.param(number, reach, target, id=f"{number}-{reach.__name__[1:]}")
        for number, row in OUTCOMES.items()
        for reach, target in zip(STAGES, row, strict=True)
    ],
)
def test_every_code_in_every_state(
    number: int, reach: Callable[[Driver], None], target: State | None
) -> None:
    """A code ends the connection with one report and a close, or leaves it whole; never both."""
    driver = Driver()
    reach(driver)
    before = driver.session.state
    outputs = driver.say({"T": "error", "code": number, "msg": "so it is"})
    assert driver.session.state is (target or before)
    lost = [output for output in outputs if isinstance(output, Disconnected)]
    if target in (GIVEN_UP, REFUSED):
        assert [each.code for each in lost] == [number]
        assert outputs[-1] == Close()
        assert driver.session.deadline is None
    else:
        assert not lost
        assert Close() not in outputs


def test_invalid_syntax_before_there_are_symbols_is_our_bug() -> None:
    """Code 400 in answer to our authentication cannot be a symbol's fault."""
    driver = Driver()
    driver.open()
    driver.say(WELCOME)
    assert _only(Disconnected, driver.say(_error(400))).code == 400
    assert driver.session.state is State.ERROR


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
    assert received == Received([], [], {"control": 1})
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


class Vendor:
    """Answers subscriptions as the vendor does, with a limit and with symbols that it dislikes.

    Args:
        limit: how many symbols the plan allows.
        malformed: what it calls malformed.
        hangs_up: whether it closes the connection after each refusal.

    """

    def __init__(
        self, limit: int = 30, malformed: Iterable[str] = (), *, hangs_up: bool = False
    ) -> None:
        self.limit = limit
        self.malformed = set(malformed)
        self.hangs_up = hangs_up
        self.held: list[str] = []
        self.requests = 0

    def answer(self, request: dict[str, Any]) -> dict[str, object]:
        """Return the answer to one request."""
        self.requests += 1
        symbols = request["trades"]
        if request["action"] == "unsubscribe":
            self.held = [symbol for symbol in self.held if symbol not in symbols]
        elif self.malformed & set(symbols):
            return _error(400)
        elif len({*self.held, *symbols}) > self.limit:
            return _error(405)
        else:
            self.held += [symbol for symbol in symbols if symbol not in self.held]
        return {"T": "subscription", "trades": list(self.held)}

    def converse(self, driver: Driver, outputs: list[Output]) -> list[Output]:
        """Answer what is asked until nothing is; return all that the session answered."""
        said = list(outputs)
        while requests := [r for r in _sent(outputs) if r["action"] != "auth"]:
            (request,) = requests
            answer = self.answer(request)
            outputs = driver.say(answer)
            said += outputs
            if answer["T"] == "error" and self.hangs_up:
                said += driver.close()
                self.held = []
                said += driver.open()
                driver.say(WELCOME)
                outputs = driver.say(ACCEPTED)
                said += outputs
        return said

    def serve(self, driver: Driver) -> list[Output]:
        """Open a connection and answer on it until the session is content."""
        driver.open()
        driver.say(WELCOME)
        return self.converse(driver, driver.say(ACCEPTED))


WISHES = tuple(f"S{number}" for number in range(40))


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 39, 40])
@pytest.mark.parametrize("hangs_up", [False, True])
def test_symbol_limit_is_found_by_halving(limit: int, *, hangs_up: bool) -> None:
    """Code 405: as many symbols as the plan allows are streamed, the first of the list."""
    driver, vendor = Driver(symbols=WISHES), Vendor(limit, hangs_up=hangs_up)
    said = vendor.serve(driver)
    assert driver.session.subscribed == WISHES[:limit]
    assert vendor.requests < 2 * 6 * (1 + hangs_up * 6)
    impaired = [output for output in said if isinstance(output, SymbolsImpaired)]
    assert [symbol for event in impaired for symbol in event.symbols] == list(WISHES[limit:])
    assert {event.reason for event in impaired} <= {"limit"}


@pytest.mark.parametrize("hangs_up", [False, True])
@given(culprits=st.sets(st.sampled_from(WISHES), max_size=5))
def test_one_bad_symbol_never_kills_the_rest(culprits: set[str], *, hangs_up: bool) -> None:
    """Code 400: the culprits are found and named, and all the others are streamed."""
    driver, vendor = Driver(symbols=WISHES), Vendor(40, culprits, hangs_up=hangs_up)
    said = vendor.serve(driver)
    assert set(driver.session.subscribed) == set(WISHES) - culprits
    named = [o.symbols for o in said if isinstance(o, SymbolsImpaired)]
    assert {symbol for symbols in named for symbol in symbols} == culprits
    assert all(o.reason == "malformed" for o in said if isinstance(o, SymbolsImpaired))
    assert set(driver.session.subscription.malformed) == culprits
    # the next connection does not ask for them again
    driver.close()
    asked = vendor.requests
    vendor.held = []
    vendor.serve(driver)
    assert set(driver.session.subscribed) == set(WISHES) - culprits
    assert vendor.requests - asked == (1 if culprits != set(WISHES) else 0)


def test_a_list_of_malformed_symbols_is_our_bug_and_ends_in_a_stop() -> None:
    """Where every symbol is called malformed, it is not the symbols: five attempts, then a stop."""
    driver, vendor = Driver(symbols=("A", "B")), Vendor(30, {"A", "B"})
    for _ in range(REFUSALS_BELIEVED):
        said = vendor.serve(driver)
        assert _only(Disconnected, said).code == 400
        ended = driver.close()
    assert _only(Stopped, ended).code == 400
    assert driver.session.deadline is None
    driver.session.follow(("C",), driver.now)
    vendor.serve(driver)
    assert driver.session.subscribed == ("C",)


def test_a_plan_without_room_is_a_failure_that_is_retried() -> None:
    """A vendor that has room for no symbol at all is asked again later."""
    driver = Driver(symbols=("A",))
    said = Vendor(0).serve(driver)
    assert _only(Disconnected, said).code == 405
    driver.close()
    driver.seconds += 100
    Vendor(1).serve(driver)
    assert driver.session.subscribed == ("A",)


def test_another_list_is_followed_without_a_reconnection() -> None:
    """Only the difference is asked for: first what goes, which makes room, then what comes."""
    driver, vendor = Driver(), Vendor(4)
    vendor.serve(driver)
    outputs = driver.session.follow(("AAPL", "TSLA", "NVDA", "AMZN"), driver.now)
    assert _sent(outputs)[0] | {"action": "unsubscribe"} == _sent(outputs)[0]
    assert _sent(outputs)[0]["trades"] == ["MSFT"]
    said = vendor.converse(driver, outputs)
    assert vendor.held == ["AAPL", "NVDA", "AMZN", "TSLA"]
    assert _only(Resubscribed, said) == Resubscribed(added=1, removed=1)
    assert driver.session.follow(("AAPL", "TSLA", "NVDA", "AMZN"), driver.now) == []


_lists = (
    st.lists(st.sampled_from(WISHES[:12]), unique=True, min_size=1, max_size=12)
    .map(tuple)
    .filter(lambda symbols: not {*symbols} <= {*WISHES[:2]})  # that would be our bug, and the end
)


@given(lists=st.lists(_lists, min_size=1, max_size=6), limit=st.integers(1, 12), data=st.data())
def test_whatever_list_comes_whenever_the_last_one_is_followed(
    lists: list[tuple[str, ...]], limit: int, data: st.DataObject
) -> None:
    """Lists change in the middle of a conversation; in the end the first of the last are held."""
    driver, vendor = Driver(symbols=WISHES[:3]), Vendor(limit, WISHES[:2])
    driver.open()
    driver.say(WELCOME)
    pending = driver.say(ACCEPTED)
    for symbols in lists:
        for _ in range(data.draw(st.integers(0, 3))):
            if requests := _sent(pending):
                pending = driver.say(vendor.answer(requests[0]))
        pending += driver.session.follow(symbols, driver.now)
    vendor.converse(driver, pending)
    sound = [symbol for symbol in lists[-1] if symbol not in vendor.malformed]
    assert driver.session.state is State.CONNECTED
    assert set(vendor.held) == set(driver.session.subscribed)
    assert len(vendor.held) == min(limit, len(sound))
    assert set(vendor.held) <= set(sound)


def test_what_is_no_longer_wanted_leaves_the_quarantine() -> None:
    """A culprit that goes from the list is reported as restored, and may come back."""
    driver, vendor = Driver(symbols=("A", "BAD")), Vendor(30, {"BAD"})
    vendor.serve(driver)
    outputs = driver.session.follow(("A",), driver.now)
    assert _only(SymbolsRestored, outputs).symbols == ["BAD"]
    vendor.malformed = set()
    vendor.converse(driver, driver.session.follow(("A", "BAD"), driver.now))
    assert driver.session.subscribed == ("A", "BAD")


def test_a_refusal_that_comes_after_the_list_has_changed_concerns_nobody() -> None:
    """The last of what was asked is no longer wanted: neither quarantined nor reported."""
    driver = Driver(symbols=("A", "B"))
    Vendor().serve(driver)
    driver.session.follow(("A", "C"), driver.now)
    driver.say({"T": "subscription", "trades": ["A"]})
    driver.session.follow(("A", "B"), driver.now)
    outputs = driver.say(_error(400))
    assert not any(isinstance(output, SymbolsImpaired) for output in outputs)
    assert driver.session.subscription.malformed == ()
    assert _sent(outputs)[0]["trades"] == ["B"]


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


def _refuse(driver: Driver, number: int = 402) -> list[Output]:
    driver.open()
    driver.say(WELCOME)
    return [*driver.say(_error(number)), *driver.close()]


@pytest.mark.parametrize("number", [402, 409, 411])
def test_auth_failure_is_not_retried_for_ever_but_reported(number: int) -> None:
    """Five refusals within seconds, each reported; then a stop, which is reported as well."""
    driver = Driver()
    waits = []
    for refusals in range(1, REFUSALS_BELIEVED + 1):
        outputs = _refuse(driver, number)
        assert _only(Disconnected, outputs).reason == "auth"
        assert driver.session.refusals == refusals
        if refusals < REFUSALS_BELIEVED:
            assert not any(isinstance(output, Stopped) for output in outputs)
            waits.append(driver.wait())
    assert waits == [1, 2, 4, 8]
    assert _only(Stopped, outputs).code == number
    assert driver.session.deadline is None
    assert driver.session.heartbeat(driver.now).state == "error"
    driver.seconds += 1e6
    assert driver.session.timer(driver.now) == []


@pytest.mark.parametrize("how", ["new keys", "a command"])
def test_a_stop_ends_with_new_keys_or_a_command(how: str) -> None:
    """Then the next attempt is due at once, and the refusals count from 0."""
    driver = Driver()
    for _ in range(REFUSALS_BELIEVED):
        _refuse(driver)
    if how == "new keys":
        assert driver.session.rekey(KEYS, driver.now) == [], "the same keys are no news"
        assert driver.session.deadline is None
        driver.session.rekey(Keys(key_id="new", secret="other"), driver.now)
    else:
        driver.session.reconnect("ann: the plan was paid", driver.now)
    assert driver.wait() == 0
    assert driver.session.timer(driver.now) == [Open()]
    driver.session.connected(driver.now)
    key = "new" if how == "new keys" else "id"
    assert _sent(driver.say(WELCOME))[0]["key"] == key
    assert driver.session.refusals == 0


def test_rotated_keys_stop_one_connection_before_they_start_another() -> None:
    """The old connection is left in good order, the new one opened at once; the gap is recorded."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    heard_ns = driver.now.wall_ns
    driver.seconds += 3
    outputs = driver.session.rekey(Keys(key_id="new", secret="other"), driver.now)
    assert _only(Disconnected, outputs).reason == "asked"
    assert outputs[-1] == Close()
    assert driver.session.timer(driver.now) == [], "never two connections"
    (opened,) = driver.close()
    assert isinstance(opened, GapOpened)
    assert (opened.cause, opened.since_ns, opened.symbols) == ("asked", heard_ns, list(SYMBOLS))
    assert driver.wait() == 0
    assert driver.session.timer(driver.now) == [Open()]
    assert _only(Reconnected, driver.session.connected(driver.now)).reason == "asked"
    assert _sent(driver.say(WELCOME))[0] == {"action": "auth", "key": "new", "secret": "other"}
    driver.say(ACCEPTED)
    ended = _only(GapEnded, driver.say(CONFIRMED))
    assert (ended.gap_id, ended.until_ns) == (opened.gap_id, driver.now.wall_ns)


def test_reconnects_that_get_406_wait_for_the_ghost_and_then_name_the_other_user() -> None:
    """Ten seconds apart for two minutes, then once a minute, with the reason; for ever."""
    driver = Driver()
    waits, details = [], []
    for _ in range(18):
        outputs = _refuse(driver, 406)
        details.append(_only(Disconnected, outputs).detail)
        assert not any(isinstance(output, Stopped) for output in outputs)
        waits.append(driver.wait())
    ghosts = [number for number, detail in enumerate(details) if IN_USE_ELSEWHERE not in detail]
    assert ghosts == list(range(len(ghosts))), "first the ghost, then the other user"
    assert sum(waits[: len(ghosts)]) >= PATIENCE.ghost_s
    assert sum(waits[: len(ghosts) - 1]) < PATIENCE.ghost_s
    assert all(wait >= GHOST_FLOOR_S for wait in waits)
    assert set(waits[len(ghosts) :]) == {PATIENCE.retry_cap_s}
    assert driver.session.state is State.ERROR
    driver.stream()
    driver.close()
    assert IN_USE_ELSEWHERE not in _only(Disconnected, _refuse(driver, 406)).detail


@pytest.mark.parametrize(("asked_s", "least_s"), [(0.0, 60.0), (5.0, 60.0), (300.0, 300.0)])
def test_handshake_429_honours_the_longer_floor(asked_s: float, least_s: float) -> None:
    """At least a minute, and as long as Retry-After says."""
    driver = Driver()
    driver.wait()
    driver.session.timer(driver.now)
    driver.close(Closure("error", 429, "HTTP 429 Too Many Requests", asked_s))
    assert driver.wait() == least_s


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


# the ends of a socket


@pytest.mark.parametrize("reason", ["timeout", "closed", "error"])
def test_lost_socket_is_reported_with_its_cause(reason: Any) -> None:
    """A socket that goes by itself is one fact, with the cause, its code and its words."""
    driver = Driver()
    driver.stream()
    lost = _only(Disconnected, driver.close(Closure(reason, 1001, "going away")))
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
    """Keys that are printed tell neither the id nor the secret."""
    keys = Keys(key_id="PKEY", secret="hush")
    assert "PKEY" not in repr(keys)
    assert "hush" not in repr(keys)


# silence


class Night:
    """A market that is open for so many ns from some moment on."""

    def __init__(self, opens_ns: int, for_ns: int) -> None:
        self.opens_ns, self.closes_ns = opens_ns, opens_ns + for_ns

    def open_ns(self, since_ns: int, until_ns: int) -> int:
        """Return how much of the time between is open."""
        return max(0, min(until_ns, self.closes_ns) - max(since_ns, self.opens_ns))


def _until_something(driver: Driver, seconds: float) -> list[Output]:
    """Let the clock go from deadline to deadline until the session speaks, or time is over."""
    end = driver.seconds + seconds
    while driver.session.deadline is not None and driver.session.deadline <= end:
        driver.wait()
        if outputs := driver.session.timer(driver.now):
            return outputs
    driver.seconds = end
    return []


def test_connected_but_mute_for_hours_is_noticed_after_half_a_minute() -> None:
    """A mute socket is told apart from a network failure, given up, and its gap recorded."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    heard = driver.now
    outputs = _until_something(driver, 3600)
    assert driver.seconds - heard.monotonic_s == PATIENCE.mute_s
    assert _only(Stalled, outputs).since_ns == heard.wall_ns
    assert _only(Disconnected, outputs).reason == "stalled"
    assert outputs[-1] == Close()
    gap = _only(GapOpened, driver.close())
    assert (gap.cause, gap.since_ns) == ("stalled", heard.wall_ns)
    driver.stream()
    assert _only(Resumed, driver.say(TRADE)).symbols == []
    assert not any(isinstance(output, Resumed) for output in driver.say(TRADE))


def _lively(driver: Driver) -> None:
    for _ in range(50):
        driver.seconds += 0.02
        driver.say(TRADE)


def test_a_pause_that_ends_by_itself_is_a_gap_too() -> None:
    """A lively stream that says nothing for seconds, and goes on: what it missed can be had."""
    driver = Driver()
    driver.stream()
    _lively(driver)
    heard_ns = driver.now.wall_ns
    driver.seconds += 12
    outputs = driver.say(TRADE)
    opened, ended = _only(GapOpened, outputs), _only(GapEnded, outputs)
    assert (opened.cause, opened.since_ns, opened.symbols) == ("stalled", heard_ns, list(SYMBOLS))
    assert (ended.gap_id, ended.until_ns) == (opened.gap_id, driver.now.wall_ns)
    assert not any(isinstance(output, Disconnected | Stalled) for output in outputs)
    driver.seconds += 12
    assert _only(GapOpened, driver.say(TRADE)).gap_id != opened.gap_id


@pytest.mark.parametrize("spacing_s", [0.5, 2.0, 20.0])
def test_a_stream_that_is_seldom_heard_does_not_pause(spacing_s: float) -> None:
    """What is usual is no pause, even where it is seconds; nor is half a minute's worth of it."""
    driver = Driver()
    driver.stream()
    for number in range(200):
        driver.seconds += spacing_s * (1 + number % 3)
        assert not any(isinstance(output, GapOpened) for output in driver.say(TRADE))


def test_a_night_is_no_pause() -> None:
    """The first tick of the morning after a lively day leaves no gap behind it."""
    evening = Driver()
    driver = Driver(market=Night(evening.now.wall_ns + 12 * 3600 * 10**9, 3600 * 10**9))
    driver.stream()
    _lively(driver)
    driver.seconds += 12 * 3600
    assert not any(isinstance(output, GapOpened) for output in driver.say(TRADE))


def test_the_watchdog_does_not_fire_all_night() -> None:
    """Twelve hours of silence in a closed market are no stall; half a minute of it open are."""
    driver = Driver()
    night_s = 12 * 3600
    market = Night(driver.now.wall_ns + int(night_s * 1e9), 3600 * 10**9)
    driver = Driver(market=market)
    driver.stream()
    assert _until_something(driver, night_s + PATIENCE.mute_s - 1) == []
    assert any(isinstance(output, Stalled) for output in _until_something(driver, 3))


def test_a_quiet_market_costs_a_few_reconnections_and_no_loop() -> None:
    """Each connection that is mute as well is given twice the patience, up to ten minutes."""
    driver = Driver()
    for stalls in range(8):
        driver.stream()
        connected = driver.seconds
        assert any(isinstance(output, Stalled) for output in _until_something(driver, 3600))
        waited = driver.seconds - connected
        assert waited == min(PATIENCE.mute_s * 2**stalls, PATIENCE.mute_cap_s)
        driver.close()
    driver.stream()
    driver.say(TRADE)
    assert _until_something(driver, PATIENCE.mute_s + 0.1) != []


@pytest.mark.parametrize("code", ["2", "H", "P"])
def test_halted_symbols_are_not_expected_to_speak(code: str) -> None:
    """While all that is subscribed is halted there is no stall; after one resumes there is."""
    driver = Driver(symbols=("AAPL", "MSFT"))
    Vendor().serve(driver)
    for symbol in ("AAPL", "MSFT"):
        driver.say({"T": "s", "S": symbol, "sc": code})
    assert _until_something(driver, 3600) == []
    driver.say({"T": "s", "S": "AAPL", "sc": "T"})
    assert any(isinstance(output, Stalled) for output in _until_something(driver, 3600))


def test_a_wall_clock_that_steps_is_no_silence() -> None:
    """Silence is measured by both clocks: an hour's step forward is not an hour of silence."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    stepped = Now(driver.now.wall_ns + 3600 * 10**9, driver.now.monotonic_s + PATIENCE.mute_s - 1)
    driver.seconds += PATIENCE.mute_s - 1
    driver.session.deadline = driver.seconds
    assert driver.session.timer(stepped) == []


# one symbol


def _flow(driver: Driver, vendor: Vendor, symbols: Iterable[str], seconds: int) -> list[Output]:
    """Let each symbol send one trade a second, and the session look as often; return the rest."""
    said: list[Output] = []
    for _ in range(seconds):
        driver.seconds += 0.5
        said += driver.say(*({"T": "t", "S": symbol} for symbol in symbols))[1:]
        driver.seconds += 0.5
        said += vendor.converse(driver, driver.session.timer(driver.now))
    return [output for output in said if not isinstance(output, Received)]


def test_one_symbol_silent_while_the_others_flow_is_noticed_and_asked_for_again() -> None:
    """It alone is reported, with a gap of its own, and subscribed anew without a reconnection."""
    driver, vendor = Driver(), Vendor()
    vendor.serve(driver)
    assert _flow(driver, vendor, SYMBOLS, 60) == []
    heard_ns, requests = driver.now.wall_ns, vendor.requests
    said = _flow(driver, vendor, SYMBOLS[1:], 600)
    stalled, gap = _only(Stalled, said), _only(GapOpened, said)
    assert (stalled.symbols, gap.symbols, gap.cause) == (["AAPL"], ["AAPL"], "stalled")
    assert heard_ns - 2 * 10**9 <= stalled.since_ns == gap.since_ns <= heard_ns
    assert 29 * 10**9 <= gap.at_ns - heard_ns <= 33 * 10**9
    assert driver.session.silent == 1
    asked = _sent(said)
    assert [request["action"] for request in asked] == ["unsubscribe", "subscribe"]
    assert {symbol for request in asked for symbol in request["trades"]} == {"AAPL"}
    assert vendor.requests == requests + 2, "one attempt"
    assert set(driver.session.subscribed) == set(vendor.held) == set(SYMBOLS)
    assert not any(isinstance(output, Resubscribed | GapEnded | Disconnected) for output in said)
    outputs = driver.say(TRADE)
    assert _only(Resumed, outputs).symbols == ["AAPL"]
    ended = _only(GapEnded, outputs)
    assert (ended.gap_id, ended.until_ns) == (gap.gap_id, driver.now.wall_ns)
    assert driver.session.silent == 0
    again = _only(GapOpened, _flow(driver, vendor, SYMBOLS[1:], 60))
    assert again.gap_id != gap.gap_id
    assert again.since_ns >= ended.until_ns


def _silence_one(driver: Driver) -> GapOpened:
    """Let AAPL go silent, and its renewed subscription be confirmed."""
    vendor = Vendor()
    vendor.serve(driver)
    _flow(driver, vendor, SYMBOLS, 60)
    return _only(GapOpened, _flow(driver, vendor, SYMBOLS[1:], 60))


def test_a_silent_symbol_keeps_its_gap_over_a_reconnection() -> None:
    """The connection's gap is that of the others; a new subscription alone is no sign of life."""
    driver, vendor = Driver(), Vendor()
    its = _silence_one(driver)
    others = _only(GapOpened, driver.close())
    assert sorted(others.symbols) == sorted(SYMBOLS[1:])
    said = vendor.serve(driver)
    assert _only(GapEnded, said).gap_id == others.gap_id
    said = _flow(driver, vendor, SYMBOLS[1:], 120)
    assert not any(isinstance(output, Stalled | GapOpened | GapEnded) for output in said)
    assert _only(GapEnded, driver.say(TRADE)).gap_id == its.gap_id


def test_a_silent_symbol_that_is_no_longer_followed_is_let_go() -> None:
    """Its gap ends where we stopped to listen, and it is not counted as silent any more."""
    driver = Driver()
    its = _silence_one(driver)
    outputs = driver.session.follow(SYMBOLS[1:], driver.now)
    assert _only(Resumed, outputs).symbols == ["AAPL"]
    assert _only(GapEnded, outputs).gap_id == its.gap_id
    assert driver.session.silent == 0


class Stubborn(Vendor):
    """Answers every request with the same set."""

    def answer(self, request: dict[str, Any]) -> dict[str, object]:
        """Return the set."""
        del request
        return dict(CONFIRMED)


def test_a_vendor_that_does_not_let_go_of_a_silent_symbol_is_asked_once() -> None:
    """A confirmation that still holds it ends the attempt."""
    driver, vendor = Driver(), Vendor()
    vendor.serve(driver)
    _flow(driver, vendor, SYMBOLS, 60)
    said = _flow(driver, Stubborn(), SYMBOLS[1:], 120)
    assert [request["action"] for request in _sent(said)] == ["unsubscribe"]
    assert driver.session.state is State.CONNECTED


def test_a_halted_symbol_is_not_missed() -> None:
    """A symbol that is halted may be silent; its silence counts from its resumption."""
    driver, vendor = Driver(), Vendor()
    vendor.serve(driver)
    _flow(driver, vendor, SYMBOLS, 60)
    driver.say({"T": "s", "S": "AAPL", "sc": "H"})
    assert _flow(driver, vendor, SYMBOLS[1:], 600) == []
    driver.say({"T": "s", "S": "AAPL", "sc": "T"})
    assert _only(Stalled, _flow(driver, vendor, SYMBOLS[1:], 60)).symbols == ["AAPL"]


# gaps


def test_one_gap_lasts_over_failed_attempts() -> None:
    """From the last data to the next whole subscription there is one gap, however many attempts."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    heard_ns = driver.now.wall_ns
    driver.seconds += 5
    opened = _only(GapOpened, driver.close())
    assert (opened.cause, opened.since_ns) == ("disconnected", heard_ns)
    for _ in range(3):
        assert not any(isinstance(output, GapOpened) for output in _refuse(driver, 500))
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    ended = _only(GapEnded, driver.say(CONFIRMED))
    assert (ended.gap_id, ended.since_ns) == (opened.gap_id, heard_ns)
    assert ended.until_ns == driver.now.wall_ns
    assert ended.shed == {}


def test_data_that_comes_while_we_leave_is_not_missing() -> None:
    """What arrives between our farewell and the end of the socket moves the gap's beginning."""
    driver = Driver()
    driver.stream()
    driver.session.reconnect("ann: to see", driver.now)
    driver.seconds += 1
    driver.say(TRADE)
    heard_ns = driver.now.wall_ns
    driver.seconds += 1
    assert _only(GapOpened, driver.close()).since_ns == heard_ns


def test_a_connection_that_never_streamed_leaves_no_gap() -> None:
    """Nothing was to come on it, so nothing is missing that was not missing before."""
    driver = Driver()
    assert not any(isinstance(output, GapOpened) for output in _refuse(driver, 500))


def test_a_gap_of_a_former_process_ends_with_the_first_subscription() -> None:
    """It was opened by whoever took over; who streams again ends it."""
    gap = GapOpened(
        source="alpaca",
        feed="iex",
        gap_id="before-1/restarted",
        at_ns=7,
        cause="restarted",
        symbols=["AAPL"],
        since_ns=5,
    )
    driver = Driver(gaps=[gap])
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    ended = _only(GapEnded, driver.say(CONFIRMED))
    assert (ended.gap_id, ended.since_ns, ended.symbols) == (gap.gap_id, 5, ["AAPL"])
    driver.say(TRADE)
    driver.close()
    driver.stream()


# torn frames

TORN = b'[{"T":"t","S":"AA'


def _tear(driver: Driver, frame: bytes = TORN) -> list[Output]:
    return driver.session.frame(frame, driver.now)


@pytest.mark.parametrize("frame", [TORN, b"<html>502 Bad Gateway</html>", b"", b"[]]", b"\xff"])
def test_a_torn_frame_is_kept_and_leaves_a_gap_of_what_it_may_have_held(frame: bytes) -> None:
    """Whatever ticks were in it are missing since the last that could be read; all goes on."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    heard_ns = driver.now.wall_ns
    driver.seconds += 0.3
    outputs = _tear(driver, frame)
    opened = _only(GapOpened, outputs)
    assert (opened.cause, opened.since_ns, opened.symbols) == ("torn", heard_ns, list(SYMBOLS))
    (tick,) = _only(Received, outputs).ticks
    assert msgspec.json.decode(tick.raw, type=bytes) == frame
    torn_ns = driver.now.wall_ns
    driver.seconds += 0.1
    assert not any(isinstance(output, GapEnded) for output in driver.say(TRADE))
    ended = _only(GapEnded, _until_something(driver, 10))
    assert (ended.gap_id, ended.cause, ended.since_ns) == (opened.gap_id, "torn", heard_ns)
    assert torn_ns + LOOK_S * 1e9 <= ended.until_ns == driver.now.wall_ns
    assert ended.shed == {}
    assert driver.session.state is State.CONNECTED
    assert _only(GapOpened, _tear(driver)).gap_id != opened.gap_id


def test_a_message_without_its_type_is_no_torn_frame() -> None:
    """What stands whole in an array that can be read is in the log, and nothing is missing."""
    driver = Driver()
    driver.stream()
    assert not any(isinstance(o, GapOpened) for o in driver.say(TRADE, 5, {"T": 1}, [], {}))


def test_torn_frames_in_a_row_are_one_gap() -> None:
    """While frames come torn the gap stays open, however many: the ledger is not flooded."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    said: list[Output] = []
    for _ in range(50):
        driver.seconds += LOOK_S / 2
        said += _tear(driver)
        said += driver.say(TRADE)
        said += driver.session.timer(driver.now)
    opened = _only(GapOpened, said)
    assert not any(isinstance(output, GapEnded) for output in said)
    assert _only(GapEnded, _until_something(driver, 10)).gap_id == opened.gap_id


def test_a_torn_frame_before_anything_was_to_come_leaves_no_gap() -> None:
    """A welcome that cannot be read held no ticks."""
    driver = Driver()
    driver.open()
    assert not any(isinstance(output, GapOpened) for output in _tear(driver))


def test_a_connection_that_sends_nothing_but_torn_frames_is_mute() -> None:
    """What cannot be read is no sign of life: it is given up after half a minute, as any other."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    heard = driver.now
    said: list[Output] = []
    while driver.session.state is State.CONNECTED:
        driver.seconds += LOOK_S
        said += _tear(driver)
        said += driver.session.timer(driver.now)
    assert driver.seconds - heard.monotonic_s == PATIENCE.mute_s
    assert _only(Stalled, said).since_ns == heard.wall_ns
    assert driver.session.heartbeat(driver.now).last_message_at_ns == heard.wall_ns
    torn = _only(GapOpened, said)
    outputs = driver.close()
    assert _only(GapEnded, outputs).gap_id == torn.gap_id
    assert (_only(GapOpened, outputs).cause, torn.cause) == ("stalled", "torn")


@pytest.mark.parametrize("leave", [Driver.close, lambda d: d.session.shutdown(d.now)])
def test_a_torn_frame_before_the_end_of_the_socket_is_told_apart(
    leave: Callable[[Driver], list[Output]],
) -> None:
    """Its gap ends with the connection, whose own has another cause."""
    driver = Driver()
    driver.stream()
    driver.say(TRADE)
    driver.seconds += 0.1
    torn = _only(GapOpened, _tear(driver))
    driver.seconds += 0.1
    assert _only(GapEnded, leave(driver)).gap_id == torn.gap_id


def test_a_torn_frame_is_no_gap_of_symbols_that_are_missed_already() -> None:
    """A symbol that is silent has its own gap; one that goes silent later ends the torn one."""
    driver = Driver()
    its = _silence_one(driver)
    assert sorted(_only(GapOpened, _tear(driver)).symbols) == sorted(SYMBOLS[1:])
    outputs = driver.say(TRADE)
    assert [o.gap_id for o in outputs if isinstance(o, GapEnded)] == [its.gap_id]


def test_a_symbol_that_is_followed_while_frames_are_torn_is_in_a_gap_too() -> None:
    """The gap that is open does not tell of it, so another one does."""
    driver, vendor = Driver(symbols=SYMBOLS[:2]), Vendor()
    vendor.serve(driver)
    first = _only(GapOpened, _tear(driver))
    assert first.symbols == list(SYMBOLS[:2])
    vendor.converse(driver, driver.session.follow(SYMBOLS, driver.now))
    outputs = _tear(driver)
    assert _only(GapEnded, outputs).gap_id == first.gap_id
    assert sorted(_only(GapOpened, outputs).symbols) == sorted(SYMBOLS)


def test_a_torn_frame_is_no_second_gap_of_what_a_lost_connection_missed() -> None:
    """While a subscription is not whole a gap is open, but for the symbols that came after it."""
    driver, vendor = Driver(symbols=SYMBOLS[:2]), Vendor()
    vendor.serve(driver)
    lost = _only(GapOpened, driver.close())
    driver.open()
    driver.say(WELCOME)
    driver.say(ACCEPTED)
    driver.session.follow(SYMBOLS, driver.now)
    driver.say({"T": "subscription", "trades": list(SYMBOLS[:2])})
    assert not any(isinstance(output, GapOpened) for output in _tear(driver))
    driver.say(_error(400))
    driver.say({"T": "subscription", "trades": list(SYMBOLS[:3])})
    assert _only(GapOpened, _tear(driver)).symbols == [SYMBOLS[2]]
    assert _only(GapEnded, driver.say(CONFIRMED)).gap_id == lost.gap_id
