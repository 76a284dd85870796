"""The harness of the benchmark, not its figures: it must notice work that was not done."""

import io
import sys

import pytest
from rich.console import Console

from infra import topics
from infra.kafka.broker import Broker
from processors.validate import Position
from tests.benchmarks.processors import (
    FAUST_SHARE,
    Contestant,
    Result,
    contestants,
    ratios,
    table,
    verdicts,
)
from tests.benchmarks.work import BAD, KNOWN, NOTHING, WORKS, expected, found, raw_ticks


def _done(prefix: str, work: str) -> tuple[dict[int, list[bytes]], list[tuple[str, bytes, bytes]]]:
    """Return inputs of one partition, and what a contestant makes of them under a prefix."""
    values = [value for _, value in raw_ticks(BAD)]
    do = WORKS[work](frozenset(KNOWN))
    outcomes = [
        do(value, Position(prefix + topics.RAW_ALPACA.name, 0, offset, 1_000))
        for offset, value in enumerate(values)
    ]
    return {0: values}, [(prefix + o.topic.name, o.key, o.value) for o in outcomes]


@pytest.mark.parametrize("work", WORKS)
def test_the_same_work_has_the_same_sum_under_any_prefix_in_any_order(work: str) -> None:
    """Contestants write under prefixes of their own, and partitions are read one by one."""
    inputs, outputs = _done("some.", work)
    due = expected(inputs, WORKS[work](frozenset(KNOWN)))
    assert due.records == BAD
    assert found("some.", reversed(outputs)) == due


@pytest.mark.parametrize("work", WORKS)
def test_work_that_was_not_done_is_noticed(work: str) -> None:
    """A record that is missing, comes twice, or says something else."""
    inputs, outputs = _done("some.", work)
    due = expected(inputs, WORKS[work](frozenset(KNOWN)))
    topic, key, value = outputs[7]
    assert found("some.", outputs[1:]) != due
    assert found("some.", [*outputs[1:], outputs[7]]) != due
    assert found("some.", [*outputs[:7], (topic, key, value + b" "), *outputs[8:]]) != due
    assert found("some.", []) == NOTHING


def test_the_full_work_rejects_some() -> None:
    """Both outputs are written, by everybody."""
    _, outputs = _done("", "full")
    rejected = [topic for topic, *_ in outputs if topic == topics.REJECTED.name]
    assert len(rejected) == 1


def test_who_takes_part() -> None:
    """Our own stage does the full work; the others come where there is a Python that has them."""
    ours = {each.name: each for each in contestants("full", None)}
    assert ours["twinfeed"].command == [sys.executable, "-m", "processors", "validate"]
    assert ours["plain Faust agent"].share == FAUST_SHARE
    everyone = {each.name: each for each in contestants("light", "/elsewhere/python")}
    assert everyone.keys() - ours.keys() == {"Quix Streams", "confluent-kafka loop", "bytewax"}
    assert everyone["bytewax"].command[0] == "/elsewhere/python"
    assert [each.name for each in contestants("light", "/x", ["bytewax"])] == ["bytewax"]


def test_ratios_are_of_one_round_each() -> None:
    """A machine that is slow for a whole round slows both, and changes no ratio."""
    ours = [Result(100, 5), Result(10, 50), Result(50, 10)]
    theirs = [Result(50, 15), Result(5, 150), Result(25, 30)]
    assert ratios(ours, theirs) == (2, 3)
    out = io.StringIO()
    results = {("full", "twinfeed"): ours, ("full", "other"): theirs, ("forward", "x"): ours}
    Console(width=130, file=out).print(table(results))
    assert "2.00x" in out.getvalue()
    assert "3.00x" in out.getvalue()


@pytest.mark.service
async def test_a_round_is_run_and_checked(kafka: Broker) -> None:
    """The plain loop does a few thousand records on a real broker; one that ends does not."""
    (loop,) = contestants("full", None, ["plain aiokafka loop"])
    result = await verdicts(kafka.bootstrap_servers, loop, "full", 20_000)
    assert result.per_second > 0
    dead = Contestant("dead", [sys.executable, "-c", "raise SystemExit(3)"], None)
    with pytest.raises(RuntimeError, match="dead ended with 3"):
        await verdicts(kafka.bootstrap_servers, dead, "full", 10)
