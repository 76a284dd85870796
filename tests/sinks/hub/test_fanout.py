"""Who is sent what and when, against a model that keeps everything."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sinks.hub.fanout import LAG_NS, NS, SPACING_NS, Client, Fanout, Send

MS = NS // 1000
SYMBOLS = ("A", "B", "C", "D")


def free(_: Client) -> bool:
    """Every client keeps up."""
    return False


def stuck(_: Client) -> bool:
    """No client takes anything."""
    return True


def subscribed(fanout: Fanout[int], *symbols: str, encoding: str = "json") -> Client:
    """A client that has had its snapshot."""
    client = Client(encoding)
    fanout.subscribe(client, symbols, 0)
    fanout.flush(0, free)
    return client


def test_the_first_goes_at_once_and_the_newest_later() -> None:
    """Twenty a second: what comes in between is replaced by what is newer."""
    fanout = Fanout[int]()
    client = subscribed(fanout, "A")
    fanout.put("A", 1)
    now = NS
    assert fanout.wake_at_ns(now) == now
    assert fanout.flush(now, free).sends == [Send("json", frozenset("A"), [client])]
    fanout.put("A", 2)
    assert fanout.wake_at_ns(now + MS) == now + SPACING_NS
    assert fanout.flush(now + MS, free).sends == []
    fanout.put("A", 3)
    assert fanout.flush(now + SPACING_NS, free).sends == [Send("json", frozenset("A"), [client])]
    assert fanout.latest["A"] == 3
    assert fanout.wake_at_ns(now + SPACING_NS) is None


def test_clients_who_want_the_same_are_served_together() -> None:
    """One frame a bucket and encoding; whoever wants something else gets it apart."""
    fanout = Fanout[int]()
    one, two = subscribed(fanout, "A", "B"), subscribed(fanout, "B", "A")
    three, four = subscribed(fanout, "A", "B", encoding="messagepack"), subscribed(fanout, "C")
    for symbol in "ABC":
        fanout.put(symbol, 1)
    sends = {(s.encoding, s.symbols): set(s.clients) for s in fanout.flush(NS, free).sends}
    assert sends == {
        ("json", frozenset("AB")): {one, two},
        ("messagepack", frozenset("AB")): {three},
        ("json", frozenset("C")): {four},
    }


def test_the_snapshot_comes_once() -> None:
    """Whoever subscribes gets the latest at once, and nothing where there is none."""
    fanout = Fanout[int]()
    fanout.put("A", 1)
    fanout.flush(NS, free)
    client = Client("json")
    fanout.subscribe(client, ["A", "B"], NS)
    assert fanout.flush(NS, free).sends == [Send("json", frozenset("A"), [client])]
    assert fanout.flush(2 * NS, free).sends == []


def test_one_that_never_reads_is_given_up_and_holds_up_nobody() -> None:
    """It costs one remembered symbol, however many values come; after a while it is hopeless."""
    fanout = Fanout[int]()
    fast, slow = subscribed(fanout, "A"), subscribed(fanout, "A")
    at = NS
    given_up: list[Client] = []
    served = 0
    while not given_up:
        fanout.put("A", at)
        flush = fanout.flush(at, lambda client: client is slow)
        served += any(fast in send.clients for send in flush.sends)
        assert not any(slow in send.clients for send in flush.sends)
        assert slow.behind == {"A"}
        given_up = flush.hopeless
        at += SPACING_NS
    assert given_up == [slow]
    assert served == LAG_NS // SPACING_NS + 2
    fanout.leave(slow)
    assert fanout.flush(at + LAG_NS, stuck).hopeless == []


def test_one_that_drains_gets_the_latest_alone() -> None:
    """Not the history of what it missed."""
    fanout = Fanout[int]()
    client = subscribed(fanout, "A", "B")
    for at in range(10):
        fanout.put("A", at)
        fanout.put("B", at)
        fanout.flush(NS + at * SPACING_NS, stuck)
    flush = fanout.flush(2 * NS, free)
    assert flush.sends == [Send("json", frozenset("AB"), [client])]
    assert flush.due == frozenset()


class Fans(RuleBasedStateMachine):
    """Any life of a few clients: whoever keeps up has the latest of what it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.fanout = Fanout[int]()
        self.now = NS
        self.values = 0
        self.clients = [Client("json"), Client("json"), Client("messagepack")]
        self.busy: set[Client] = set()
        self.seen: dict[Client, dict[str, int]] = {client: {} for client in self.clients}
        self.sent_at: dict[str, int] = {}

    client = st.integers(0, 2)
    symbols = st.sets(st.sampled_from(SYMBOLS))

    @rule(symbol=st.sampled_from(SYMBOLS))
    def comes(self, symbol: str) -> None:
        """A newer value."""
        self.values += 1
        self.fanout.put(symbol, self.values)

    @rule(which=client, symbols=symbols)
    def subscribes(self, which: int, symbols: set[str]) -> None:
        """Perhaps again."""
        self.fanout.subscribe(self.clients[which], symbols, self.now)

    @rule(which=client, symbols=symbols)
    def unsubscribes(self, which: int, symbols: set[str]) -> None:
        """Perhaps from what it never had."""
        self.fanout.unsubscribe(self.clients[which], symbols)

    @rule(which=client, everything=st.booleans())
    def all_or_not(self, which: int, *, everything: bool) -> None:
        """The whole asset class."""
        if everything:
            self.fanout.subscribe_to_all(self.clients[which], self.now)
        else:
            self.fanout.unsubscribe_from_all(self.clients[which])

    @rule(which=client)
    def leaves(self, which: int) -> None:
        """Another takes its place."""
        self.fanout.leave(self.clients[which])
        self.busy.discard(self.clients[which])
        self.clients[which] = Client(self.clients[which].encoding)
        self.seen[self.clients[which]] = {}

    @rule(which=client)
    def stalls_or_drains(self, which: int) -> None:
        """A client stops reading, or goes on."""
        self.busy ^= {self.clients[which]}

    @rule(ms=st.integers(0, 120))
    def flush(self, ms: int) -> None:
        """Nobody busy is sent anything, nobody what it did not ask for, no symbol too often."""
        self.now += ms * MS
        flush = self.fanout.flush(self.now, self.busy.__contains__)
        for symbol in flush.due:
            assert self.now - self.sent_at.get(symbol, 0) >= SPACING_NS
            self.sent_at[symbol] = self.now
        told: set[Client] = set()
        for send in flush.sends:
            for client in send.clients:
                assert client in self.clients
                assert client not in self.busy
                assert client not in told
                assert client.encoding == send.encoding
                assert all(map(client.wants, send.symbols))
                told.add(client)
                self.seen[client].update({s: self.fanout.latest[s] for s in send.symbols})
        assert all(client in self.busy for client in flush.hopeless)

    @precondition(lambda self: not self.busy)
    @rule()
    def settle(self) -> None:
        """Once nothing is left to flush, everybody has the latest of all that they want."""
        while (at := self.fanout.wake_at_ns(self.now)) is not None:
            self.now = max(at, self.now)
            self.flush(0)
        for client in self.clients:
            wanted = {s: v for s, v in self.fanout.latest.items() if client.wants(s)}
            assert {s: self.seen[client].get(s) for s in wanted} == wanted

    @invariant()
    def subscribers_are_counted(self) -> None:
        """Each once, however it subscribed."""
        for symbol in SYMBOLS:
            expected = sum(client.wants(symbol) for client in self.clients)
            assert self.fanout.subscribers(symbol) == expected

    @invariant()
    def only_what_is_wanted_is_remembered(self) -> None:
        """So what a client costs is bounded by what it is subscribed to."""
        for client in self.clients:
            assert all(map(client.wants, client.behind))


TestFans = Fans.TestCase
