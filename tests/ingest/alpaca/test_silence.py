"""Who has gone silent, told from who is only quiet."""

import math
import random
from collections.abc import Callable, Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.alpaca.silence import ENOUGH, LEAST_S, USUAL_SPACINGS, Silence, Silent

NS = 10**9


def _some(chance: random.Random, rate: float) -> int:
    """Return how many messages come in a second, at random, at a rate."""
    if rate > 20:
        return max(0, round(chance.gauss(rate, math.sqrt(rate))))
    count, product, least = 0, chance.random(), math.exp(-rate)
    while product > least:
        count += 1
        product *= chance.random()
    return count


class Stream:
    """A second's looks at a stream whose symbols send what its test says."""

    def __init__(self, symbols: Iterable[str]) -> None:
        self.second = 0
        self.silence = Silence()
        self.silence.listen(symbols, 0)

    def run(
        self,
        seconds: int,
        count: Callable[[str, int], int],
        *,
        halted: frozenset[str] = frozenset(),
        open_s: float = 1.0,
    ) -> list[Silent]:
        """Return who goes silent within so many seconds."""
        silent: list[Silent] = []
        for _ in range(seconds):
            self.second += 1
            for symbol in self.silence.counts:
                self.silence.counts[symbol] += count(symbol, self.second)
            silent += self.silence.look(open_s, self.second * NS, halted)
        return silent


rates = st.lists(
    st.floats(math.log(0.001), math.log(200)).map(math.exp), min_size=1, max_size=6
).map(lambda drawn: {f"S{number}": rate for number, rate in enumerate(drawn)})


@settings(max_examples=25)
@given(rates, st.randoms(use_true_random=False))
def test_what_comes_at_random_at_a_constant_rate_is_never_silent(
    rates: dict[str, float], chance: random.Random
) -> None:
    """From one message in many minutes to hundreds a second: for hours, nobody is missed."""
    chance = random.Random(chance.random())
    assert Stream(rates).run(3 * 3600, lambda symbol, _: _some(chance, rates[symbol])) == []


@settings(max_examples=25)
@given(rates, st.randoms(use_true_random=False), st.integers(2, 20))
def test_a_market_that_goes_quiet_makes_nobody_silent(
    rates: dict[str, float], chance: random.Random, minutes: int
) -> None:
    """All rates fall tenfold within minutes, and stay there: nobody is missed."""
    chance = random.Random(chance.random())
    stream, begins = Stream(rates), 1800

    def count(symbol: str, second: int) -> int:
        fallen = min(1.0, max(0, second - begins) / (60 * minutes))
        return _some(chance, rates[symbol] * 10**-fallen)

    assert stream.run(2 * 3600, count) == []


@pytest.mark.parametrize("spacing", [1, 2, 10])
@pytest.mark.parametrize("others", [1, 30])
def test_a_lively_symbol_that_stops_is_silent(spacing: int, others: int) -> None:
    """After thirty of its spacings, half a minute at least, and once; its last message is named."""
    names = [f"S{number}" for number in range(others)]
    stream = Stream(["X", *names])
    warm = spacing * (ENOUGH + 10)

    def usual(symbol: str, second: int) -> int:
        return int(symbol != "X" or second % spacing == 0)

    assert stream.run(warm, usual) == []
    patience = max(LEAST_S, spacing * USUAL_SPACINGS)
    assert stream.run(int(patience) - 1, lambda symbol, _: int(symbol != "X")) == []
    assert stream.run(2, lambda symbol, _: int(symbol != "X")) == [Silent("X", (warm - 1) * NS)]
    assert stream.run(3600, lambda symbol, _: int(symbol != "X")) == []


def test_it_is_not_missed_before_its_pace_is_known() -> None:
    """A symbol that was heard a few times only has no usual spacing."""
    stream = Stream(["X", "Y"])
    assert stream.run(ENOUGH - 1, lambda *_: 1) == []
    assert stream.run(3600, lambda symbol, _: int(symbol != "X")) == []


def test_without_others_nobody_is_silent() -> None:
    """Where all stop at once it is the connection, and that is looked after elsewhere."""
    stream = Stream(["X", "Y"])
    stream.run(100, lambda *_: 1)
    assert stream.run(3600, lambda *_: 0) == []


def test_a_closed_market_makes_nobody_silent() -> None:
    """Silence is measured in market time, whatever still trickles in after hours."""
    stream = Stream(["X", "Y"])
    stream.run(100, lambda *_: 1)
    assert stream.run(3600, lambda symbol, _: int(symbol != "X"), open_s=0.0) == []
    assert stream.run(60, lambda symbol, _: int(symbol != "X")) != []


def test_a_burst_is_no_pace() -> None:
    """A hundred messages within a second, every five minutes, are one every five minutes."""
    stream = Stream(["X", "Y"])
    burst = stream.run(4 * 3600, lambda symbol, s: 1 if symbol == "Y" else 100 * (s % 300 == 0))
    assert burst == []


def test_a_new_connection_begins_a_new_silence_and_keeps_the_pace() -> None:
    """What was silent before a reconnection is missed again only if it stays silent after it."""
    stream = Stream(["X", "Y"])
    stream.run(100, lambda *_: 1)
    stream.run(25, lambda symbol, _: int(symbol != "X"))
    stream.silence.listen((), 0)
    stream.second += 10
    stream.silence.listen(["X", "Y"], stream.second * NS)
    assert stream.run(29, lambda symbol, _: int(symbol != "X")) == []
    assert stream.run(2, lambda symbol, _: int(symbol != "X")) == [Silent("X", 135 * NS)]


def test_what_is_no_longer_followed_is_forgotten() -> None:
    """Its pace goes with it: should it come back, it is learned anew."""
    stream = Stream(["X", "Y"])
    stream.run(100, lambda *_: 1)
    stream.silence.keep({"Y"})
    stream.silence.listen(["X", "Y"], stream.second * NS)
    assert stream.run(3600, lambda symbol, _: int(symbol != "X")) == []
