"""What happens on a feed: the same for everybody, at its pace, with its times and its content."""

import itertools
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.simulators.alpaca.session import Session
from infra.simulators.alpaca.tape import (
    BLOCK_NS,
    BREATH_NS,
    FEEDS,
    HIGHEST_RATE,
    QUOTE,
    TRADE,
    Tape,
    Tick,
    Window,
)
from infra.simulators.alpaca.wire import rfc3339
from infra.simulators.market import CANARY, DAY_NS, LISTINGS, MINUTE_NS, SECOND_NS, Market

MARKET = Market(7)
T0 = 1_795_392_000 * SECOND_NS + 30 * SECOND_NS
FRAME_NS = 20_000_000
IEX = FEEDS["/v2/iex"].symbols
ALL = (IEX, IEX)


def subscribed(path: str = "/v2/iex", **channels: list[str]) -> Session:
    """Return a session on a feed with some channels subscribed."""
    session = Session(symbols=FEEDS[path].symbols, authenticated=True)
    chosen = {channel: frozenset(symbols) for channel, symbols in channels.items()}
    return replace(session, subscription={**session.subscription, **chosen})


def tape(rate: int = 500, path: str = "/v2/iex") -> Tape:
    """Return the tape of a feed."""
    return Tape(MARKET, path, rate=rate)


def window(session: Session, *, rate: int = 500, path: str = "/v2/iex", at: int = T0) -> Window:
    """Return the window of a connection that has subscribed."""
    opened = Window(tape(rate, path), at)
    opened.follow(session, at)
    return opened


def ticks(seconds: float, *, rate: int = 500, path: str = "/v2/iex") -> list[Tick]:
    """Return all trades and quotes of some seconds."""
    made = tape(rate, path)
    symbols = made.feed.symbols
    return list(made.between(T0, T0 + round(seconds * SECOND_NS), (symbols, symbols)))


@given(
    st.integers(1, 3000),
    st.lists(st.integers(1, SECOND_NS), min_size=1, max_size=8),
    st.integers(0, DAY_NS),
)
@settings(deadline=None)
def test_what_happens_does_not_depend_on_when_it_is_asked(
    rate: int, steps: list[int], shift: int
) -> None:
    """However time is cut, the pieces together are the whole, and no piece is told twice."""
    start = T0 + shift
    moments = [start, *(start + sum(steps[: n + 1]) for n in range(len(steps)))]
    pieces = [
        tick
        for since, until in itertools.pairwise(moments)
        for tick in tape(rate).between(since, until, ALL)
    ]
    assert pieces == list(tape(rate).between(start, moments[-1], ALL))


@given(st.sets(st.sampled_from(sorted(IEX))), st.sets(st.sampled_from(sorted(IEX))))
@settings(deadline=None)
def test_a_subscription_only_filters(trades: set[str], quotes: set[str]) -> None:
    """Who follows some symbols hears of them what who follows all hears of them."""
    everything = tape().between(T0, T0 + SECOND_NS, ALL)
    wanted = (frozenset(trades), frozenset(quotes))
    heard = list(tape().between(T0, T0 + SECOND_NS, wanted))
    assert heard == [t for t in everything if t["S"] in wanted[t["T"] == "q"]]


@given(
    symbol=st.sampled_from(sorted(IEX)),
    kind=st.sampled_from([(TRADE, "t"), (QUOTE, "q")]),
    first=st.integers(0, 3 * SECOND_NS),
    last=st.integers(0, 3 * SECOND_NS),
    newest_first=st.booleans(),
)
@settings(deadline=None)
def test_history_is_what_the_stream_said(
    symbol: str, kind: tuple[int, str], first: int, last: int, *, newest_first: bool
) -> None:
    """The same messages, both ends of the window inclusive, in either order."""
    asked, letter = kind
    past = tape().history(
        TRADE if asked == TRADE else QUOTE,
        symbol,
        T0 + first,
        T0 + last,
        newest_first=newest_first,
    )
    streamed = [
        tick
        for tick in tape().between(T0 - 1, T0 + 3 * SECOND_NS, ALL)
        if (tick["T"], tick["S"]) == (letter, symbol) and T0 + first <= tick["t"] <= T0 + last
    ]
    assert list(past) == (streamed[::-1] if newest_first else streamed)


@pytest.mark.service
def test_another_process_hears_the_same() -> None:
    """Two processes with one seed agree on every message."""
    program = (
        "from infra.simulators.alpaca.tape import FEEDS, Tape; "
        "from infra.simulators.market import Market; "
        "symbols = FEEDS['/v2/sip'].symbols; tape = Tape(Market(7), '/v2/sip', rate=300); "
        f"print(list(tape.between({T0}, {T0 + SECOND_NS}, (symbols, symbols))))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert answer.stdout.strip() == str(ticks(1, rate=300, path="/v2/sip"))


def test_the_tape_never_changes() -> None:
    """What was recorded once is still said: neither Python nor a careless edit moves the past."""
    trade = next(t for t in ticks(1) if t["T"] == "t")
    assert trade == {
        "T": "t",
        "S": "MRK",
        "i": 1795392030000006,
        "x": "V",
        "p": 84.8,
        "s": 28,
        "c": [" ", "I"],
        "t": 1795392030012722000,
        "z": "A",
    }


def test_seed_feed_and_rate_are_different_tapes() -> None:
    """None of the three says what another says."""
    others = (Tape(Market(8), "/v2/iex", rate=500), tape(path="/v2/sip"), tape(rate=501))
    here = {tick["t"] for tick in ticks(2)}
    for other in others:
        there = {tick["t"] for tick in other.between(T0, T0 + 2 * SECOND_NS, ALL)}
        assert len(here & there) < len(here) / 20


@given(st.integers(1, 5_000), st.integers(0, 10**6), st.integers(1, 2))
@settings(deadline=None)
def test_the_rate_holds_to_the_message(rate: int, second: int, seconds: int) -> None:
    """Over whole seconds there are exactly so many messages."""
    start = second * SECOND_NS - 1
    said = tape(rate).between(start, start + seconds * SECOND_NS, ALL)
    assert sum(1 for _ in said) == rate * seconds


@pytest.mark.parametrize("rate", [0, -1, HIGHEST_RATE + 1])
def test_a_rate_that_cannot_be_is_named(rate: int) -> None:
    """The sentence has the value and what is expected."""
    with pytest.raises(ValueError, match=f"a rate of {rate} messages a second: expected 1 to"):
        tape(rate)


def test_times_increase_strictly() -> None:
    """From message to message over all symbols, however they are rounded, across all blocks."""
    for rate in (7, 500, 10_000):
        times = [tick["t"] for tick in ticks(2, rate=rate)]
        assert all(before < after for before, after in itertools.pairwise(times))


def test_times_have_from_no_to_nine_digits() -> None:
    """As the vendor's do: a reader that expects a fixed number fails on this market."""
    said = ticks(60, rate=300)
    digits = Counter(len(rfc3339(tick["t"]).partition(".")[2].rstrip("Z")) for tick in said)
    assert {0, 3, 6, 9} <= set(digits)
    assert digits[9] > digits[6] > digits[3] > digits[0] > 0


def test_trades_and_quotes_share_the_rate() -> None:
    """About half and half over all symbols."""
    kinds = Counter(tick["T"] for tick in ticks(2, rate=2000))
    assert kinds.keys() == {"t", "q"}
    assert 0.4 < kinds["t"] / kinds.total() < 0.6


def test_trades_are_the_markets() -> None:
    """A trade has the market's price at its time, a unique id, and an odd lot's mark."""
    trades = [tick for tick in ticks(2, rate=2000) if tick["T"] == "t"]
    assert {trade["S"] for trade in trades} == set(LISTINGS)
    assert len({trade["i"] for trade in trades}) == len(trades)
    assert max(trade["i"] for trade in trades) < 2**53
    for trade in trades:
        assert trade["p"] == MARKET.price(trade["S"], trade["t"])
        assert trade["s"] > 0
        assert ("I" in trade["c"]) == (trade["s"] < 100)
        assert trade["z"] == LISTINGS[trade["S"]].tape
    assert 0 < sum(trade["s"] % 1 > 0 for trade in trades) < len(trades) / 10


def test_quotes_surround_the_price_and_sometimes_lack_a_side() -> None:
    """A missing side has price, size and exchange of nobody."""
    quotes = [tick for tick in ticks(4, rate=3000) if tick["T"] == "q"]
    one_sided = [quote for quote in quotes if 0 in (quote["bp"], quote["ap"])]
    assert 0 < len(one_sided) < len(quotes) / 50
    for quote in quotes:
        price = MARKET.price(quote["S"], quote["t"])
        for side, sign in (("b", -1), ("a", 1)):
            missing = (quote[side + "p"], quote[side + "s"], quote[side + "x"]) == (0, 0, " ")
            assert missing or (sign * (quote[side + "p"] - price) > 0 and quote[side + "s"] > 0)


def test_the_test_feed_has_the_canary_alone() -> None:
    """One made-up symbol."""
    assert {tick["S"] for tick in ticks(1, path="/v2/test")} == {CANARY}


def test_a_minutes_bar_comes_when_the_minute_is_over() -> None:
    """Once, with the minute's start as its time; the day's so far beside it if asked for."""
    seen = window(subscribed(bars=["AAPL", "KO"], dailyBars=["AAPL"]), at=T0 + 30 * SECOND_NS - 2)
    assert seen.until(T0 + 30 * SECOND_NS - 1) == []
    bars = seen.until(T0 + 30 * SECOND_NS)
    assert [(bar["T"], bar["S"]) for bar in bars] == [("b", "AAPL"), ("b", "KO"), ("d", "AAPL")]
    assert seen.until(T0 + 30 * SECOND_NS + BREATH_NS) == []
    start = T0 + 30 * SECOND_NS - MINUTE_NS
    market_bar = MARKET.bar("AAPL", start, start + MINUTE_NS)
    bar, _, day = bars
    assert (bar["t"], bar["o"], bar["c"]) == (start, market_bar.open, market_bar.close)
    assert bar["l"] <= bar["vw"] <= bar["h"]
    assert day["t"] == start - start % DAY_NS


def test_iex_sees_a_small_part_of_the_volume() -> None:
    """Volumes of the two feeds do not compare, as in life."""
    iex, sip = (
        tape(path=path).minute("AAPL", T0 - 30 * SECOND_NS) for path in ("/v2/iex", "/v2/sip")
    )
    assert iex["c"] == sip["c"]
    assert iex["v"] < sip["v"] * 0.05


def test_the_previous_day_closes_where_the_day_began() -> None:
    """Both vendors tell the same previous close."""
    assert tape().previous_day("KO", T0)["c"] == MARKET.previous_close("KO", T0)
    assert tape().previous_day("KO", T0)["t"] == T0 - T0 % DAY_NS - DAY_NS


def test_a_window_tells_all_in_breaths() -> None:
    """After a pause nothing is left out, and no breath is longer than it may be."""
    seen = window(subscribed(trades=["*"], quotes=["*"]))
    now = T0 + 3 * SECOND_NS
    breaths = []
    while seen.told_ns < now:
        breaths.append(seen.until(now))
    assert len(breaths) == 3 * SECOND_NS // BREATH_NS
    assert [tick for breath in breaths for tick in breath] == ticks(3)


@pytest.mark.parametrize("step", [0, -1, -SECOND_NS])
def test_nothing_is_told_while_time_stands_or_runs_back(step: int) -> None:
    """Whatever the clock does, no message is told twice."""
    seen = window(subscribed(trades=["*"]))
    first = seen.until(T0 + BLOCK_NS)
    assert seen.until(T0 + BLOCK_NS + step) == []
    again = seen.until(T0 + 2 * BLOCK_NS)
    assert max(t["t"] for t in first) < min(t["t"] for t in again)


def test_nothing_is_owed_for_the_time_before_a_subscription() -> None:
    """Who subscribes after a while hears from then on only."""
    seen = window(subscribed())
    assert seen.until(T0 + SECOND_NS) == []
    seen.follow(subscribed(trades=["*"], quotes=["*"]), T0 + 2 * SECOND_NS)
    heard = seen.until(T0 + 2 * SECOND_NS + FRAME_NS)
    assert len(heard) in {9, 10, 11}
    assert all(tick["t"] > T0 + 2 * SECOND_NS for tick in heard)


def test_no_message_is_told_before_its_time() -> None:
    """At every frame only what has happened by then, and of that everything."""
    seen = window(subscribed(trades=["*"], quotes=["*"]), rate=2000)
    for now in range(T0 + FRAME_NS, T0 + SECOND_NS + 1, FRAME_NS):
        for tick in seen.until(now):
            assert now - FRAME_NS < tick["t"] <= now
