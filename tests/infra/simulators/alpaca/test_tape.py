"""What is said on a connection: its pace, its times, its content."""

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.simulators.alpaca.session import Session
from infra.simulators.alpaca.tape import CATCH_UP_NS, FEEDS, Tape, Tick
from infra.simulators.alpaca.wire import rfc3339
from infra.simulators.market import CANARY, DAY_NS, LISTINGS, MINUTE_NS, SECOND_NS, Market

MARKET = Market(7)
T0 = 1_795_392_000 * SECOND_NS + 30 * SECOND_NS
FRAME_NS = 20_000_000


def subscribed(path: str = "/v2/iex", **channels: list[str]) -> Session:
    """Return a session on a feed with some channels subscribed."""
    session = Session(symbols=FEEDS[path].symbols, authenticated=True)
    chosen = {channel: frozenset(symbols) for channel, symbols in channels.items()}
    return replace(session, subscription={**session.subscription, **chosen})


def tape(session: Session, *, rate: int = 500, path: str = "/v2/iex", now_ns: int = T0) -> Tape:
    """Return a tape that says what a session is subscribed to."""
    made = Tape(MARKET, FEEDS[path], rate=rate, ids=itertools.count(1), now_ns=now_ns)
    made.follow(session)
    return made


def frames(made: Tape, seconds: float) -> Iterator[list[Tick]]:
    """Tell a tape the time every 20 ms."""
    for elapsed in range(FRAME_NS, round(seconds * SECOND_NS) + 1, FRAME_NS):
        yield made.until(T0 + elapsed)


def ticks(made: Tape, seconds: float) -> list[Tick]:
    """Return what is said in some seconds."""
    return [tick for frame in frames(made, seconds) for tick in frame]


ALL = subscribed(trades=["*"], quotes=["*"])


@given(st.integers(1, 3000), st.lists(st.integers(1, CATCH_UP_NS), min_size=1, max_size=20))
@settings(deadline=None)
def test_the_rate_holds_however_time_is_cut(rate: int, steps: list[int]) -> None:
    """Over any steps the number of messages is the rate times the time, to the message."""
    made = tape(ALL, rate=rate)
    now, count = T0, 0
    for step in steps:
        now += step
        count += len(made.until(now))
    assert count == (now - T0) * rate // SECOND_NS


def test_times_increase_strictly_per_symbol_within_the_frame() -> None:
    """However times are rounded, none is repeated, early or in the future."""
    made = tape(ALL, rate=10_000)
    last: dict[str, int] = {}
    for number, frame in enumerate(frames(made, 3), start=1):
        for tick in frame:
            assert last.get(tick["S"], T0) < tick["t"] <= T0 + number * FRAME_NS
            last[tick["S"]] = tick["t"]


def test_times_have_from_no_to_nine_digits() -> None:
    """As the vendor's do: a reader that expects a fixed number fails on this market."""
    said = ticks(tape(ALL, rate=300), 60)
    digits = Counter(len(rfc3339(tick["t"]).partition(".")[2].rstrip("Z")) for tick in said)
    assert {0, 3, 6, 9} <= set(digits)
    assert digits[9] > digits[6] > digits[3] > digits[0] > 0


def test_trades_and_quotes_share_the_rate() -> None:
    """About half and half over all symbols; all of it where only one was asked for."""
    kinds = Counter(tick["T"] for tick in ticks(tape(ALL, rate=2000), 2))
    assert kinds.keys() == {"t", "q"}
    assert 0.4 < kinds["t"] / kinds.total() < 0.6
    only = ticks(tape(subscribed(quotes=["KO"]), rate=2000), 2)
    assert {(tick["T"], tick["S"]) for tick in only} == {("q", "KO")}
    assert len(only) == 4000


def test_trades_are_the_markets() -> None:
    """A trade has the market's price at its time, a unique id, and an odd lot's mark."""
    trades = [tick for tick in ticks(tape(ALL, rate=2000), 2) if tick["T"] == "t"]
    assert {trade["S"] for trade in trades} == set(LISTINGS)
    assert len({trade["i"] for trade in trades}) == len(trades)
    for trade in trades:
        assert trade["p"] == MARKET.price(trade["S"], trade["t"])
        assert trade["s"] > 0
        assert ("I" in trade["c"]) == (trade["s"] < 100)
        assert trade["z"] == LISTINGS[trade["S"]].tape
    assert 0 < sum(trade["s"] % 1 > 0 for trade in trades) < len(trades) / 10


def test_quotes_surround_the_price_and_sometimes_lack_a_side() -> None:
    """A missing side has price, size and exchange of nobody."""
    quotes = [tick for tick in ticks(tape(ALL, rate=3000), 4) if tick["T"] == "q"]
    one_sided = [quote for quote in quotes if 0 in (quote["bp"], quote["ap"])]
    assert 0 < len(one_sided) < len(quotes) / 50
    for quote in quotes:
        price = MARKET.price(quote["S"], quote["t"])
        for side, sign in (("b", -1), ("a", 1)):
            missing = (quote[side + "p"], quote[side + "s"], quote[side + "x"]) == (0, 0, " ")
            assert missing or (sign * (quote[side + "p"] - price) > 0 and quote[side + "s"] > 0)


def test_a_minutes_bar_comes_when_the_minute_is_over() -> None:
    """Once, with the minute's start as its time; the day's so far beside it if asked for."""
    made = tape(subscribed(bars=["AAPL", "KO"], dailyBars=["AAPL"]))
    assert made.until(T0 + 30 * SECOND_NS - 1) == []
    bars = made.until(T0 + 30 * SECOND_NS)
    assert [(bar["T"], bar["S"]) for bar in bars] == [("b", "AAPL"), ("b", "KO"), ("d", "AAPL")]
    assert made.until(T0 + 90 * SECOND_NS - 1) == []
    start = T0 + 30 * SECOND_NS - MINUTE_NS
    market_bar = MARKET.bar("AAPL", start, start + MINUTE_NS)
    bar, _, day = bars
    assert (bar["t"], bar["o"], bar["c"]) == (start, market_bar.open, market_bar.close)
    assert bar["l"] <= bar["vw"] <= bar["h"]
    assert day["t"] == start - start % DAY_NS


def test_iex_sees_a_small_part_of_the_volume() -> None:
    """Volumes of the two feeds do not compare, as in life."""
    iex, sip = (
        tape(subscribed(path, bars=["AAPL"]), path=path).until(T0 + MINUTE_NS)[0]
        for path in ("/v2/iex", "/v2/sip")
    )
    assert iex["c"] == sip["c"]
    assert iex["v"] < sip["v"] * 0.05


def test_the_test_feed_has_the_canary_alone() -> None:
    """`*` is one made-up symbol there."""
    said = ticks(tape(subscribed("/v2/test", trades=["*"]), path="/v2/test"), 1)
    assert {tick["S"] for tick in said} == {CANARY}


def test_a_long_pause_is_not_made_up_for() -> None:
    """A laptop that slept an hour does not wake up to an hour's messages."""
    assert len(tape(ALL, rate=500).until(T0 + 3600 * SECOND_NS)) == 1000


@pytest.mark.parametrize("step", [0, -1, -SECOND_NS])
def test_nothing_is_said_while_time_stands_or_runs_back(step: int) -> None:
    """Times never decrease, whatever the clock does."""
    made = tape(ALL)
    made.until(T0 + SECOND_NS)
    assert made.until(T0 + SECOND_NS + step) == []


def test_nothing_is_owed_for_the_time_before_a_subscription() -> None:
    """Who subscribes after a while hears from then on only."""
    made = tape(subscribed())
    assert made.until(T0 + SECOND_NS) == []
    made.follow(ALL)
    assert len(made.until(T0 + SECOND_NS + FRAME_NS)) == 10
