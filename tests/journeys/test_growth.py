"""The judge of a soak finds what grows, and only that."""

import math
import random

import pytest

from tests.journeys.growth import (
    BOUNDS,
    FILES,
    MEMORY,
    ROOM,
    SERIES,
    TEMPORARY,
    THREADS,
    Sample,
    Verdict,
    judge,
)

WARM_UP_S, END_S = 120, 600
#: Of each: what there is when all is well, and a leak that is to be found in eight minutes.
LEAKS = {MEMORY: (150, 0.1), THREADS: (12, 1 / 60), FILES: (60, 1 / 30), TEMPORARY: (1, 1 / 60)}
LEAKS |= {SERIES: (900, 0.2)}


def judged(what: str, values: list[float], who: str = "hub") -> Verdict:
    """Return what is said of a series that was taken over ten minutes."""
    step = END_S / len(values)
    samples = [Sample(number * step, who, what, value) for number, value in enumerate(values)]
    (verdict,) = judge(samples, from_s=WARM_UP_S, until_s=END_S)
    return verdict


def noise(what: str, amplitude: float) -> list[float]:
    """Return a level with what goes up and down, by chance and with each client."""
    chance, level = random.Random(7), LEAKS[what][0]
    return [level + amplitude * (math.sin(n / 3) + chance.uniform(-1, 1)) / 2 for n in range(END_S)]


@pytest.mark.parametrize("what", BOUNDS)
def test_a_leak_is_found(what: str) -> None:
    """Under noise as large as the bound, one of every kind."""
    clean = noise(what, BOUNDS[what].absolute)
    assert not judged(what, clean).grows
    assert judged(what, [v + LEAKS[what][1] * n for n, v in enumerate(clean)]).grows


@pytest.mark.parametrize("what", BOUNDS)
def test_a_leak_in_steps_is_found(what: str) -> None:
    """What comes with an incident, and stays, adds up."""
    rate = LEAKS[what][1]
    assert judged(what, [v + rate * 40 * (n // 40) for n, v in enumerate(noise(what, 0))]).grows


@pytest.mark.parametrize("what", BOUNDS)
def test_what_is_taken_at_first_is_no_leak(what: str) -> None:
    """It grows tenfold in the warm-up and no more after it; nor is a peak that passes."""
    level = LEAKS[what][0]
    filling: list[float] = [level * min(1, 0.1 + n / WARM_UP_S) for n in range(END_S)]
    assert not judged(what, filling).grows
    peak = [v + 20 * level if 560 < n < 580 else v for n, v in enumerate(filling)]
    assert not judged(what, peak).grows


@pytest.mark.parametrize(("who", "what"), ROOM)
def test_who_has_room_has_no_more_than_that(who: str, what: str) -> None:
    """What has come to its ceiling stays; what goes on leaks."""
    level, room = LEAKS[what][0], ROOM[who, what].absolute
    filling = [level + room * min(1, n / END_S) for n in range(END_S)]
    assert not judged(what, filling, who).grows
    assert judged(what, filling).grows, "who has no room"
    assert judged(what, [level + 3 * room * n / END_S for n in range(END_S)], who).grows


def test_what_was_hardly_counted_is_not_judged() -> None:
    """Who is gone in the end has not stayed as it was."""
    samples = [Sample(n, "hub", THREADS, 5) for n in range(END_S // 2)]
    with pytest.raises(ValueError, match="hub, threads: expected 5 samples in each third"):
        judge(samples, from_s=WARM_UP_S, until_s=END_S)
