"""Each fault of Yahoo's as a client meets it, and as the ledger tells of it."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from infra.simulators.faults import name_of
from infra.simulators.ledger import FaultBegun, read, read_faults
from infra.simulators.yahoo.faults import FAULTS
from tests.infra.simulators.yahoo.conftest import Simulated

pytestmark = pytest.mark.service

SPARK = "/v7/finance/spark?range=1d&interval=5m&symbols="
CHART = "/v8/finance/chart/"


def metas(answer: Any) -> dict[str, dict[str, Any]]:
    """Return what `spark` says of each symbol beside its history."""
    return {entry["symbol"]: entry["response"][0]["meta"] for entry in answer["spark"]["result"]}


@pytest.mark.parametrize("path", [SPARK + "KO", CHART + "KO"])
@pytest.mark.parametrize(
    ("name", "parameters", "status", "headers"),
    [
        ("too-many-requests", {}, 429, {}),
        ("too-many-requests", {"retry_after": 120}, 429, {"Retry-After": "120"}),
        ("server-error", {}, 502, {}),
        ("server-error", {"status": 503}, 503, {}),
        ("garbage", {}, 200, {}),
    ],
)
async def test_an_answer_that_is_none(
    simulated: Simulated,
    ledger_path: Path,
    path: str,
    *,
    name: str,
    parameters: dict[str, int],
    status: int,
    headers: dict[str, str],
) -> None:
    """So many times, on both endpoints; then all is well, and only that is in the ledger."""
    await simulated.fault(name, count=1, **parameters)
    async with simulated.http.get(path) as answer:
        assert answer.status == status
        assert answer.headers.get("Retry-After") == headers.get("Retry-After")
        assert answer.content_type == ("text/html" if name == "garbage" else "text/plain")
        with pytest.raises(ValueError):  # noqa: PT011  # the decoder's own words
            json.loads(await answer.text())
    assert list(read(ledger_path)) == []
    assert (await simulated.get(path))[0] == 200
    assert [entry.fault for entry in read(ledger_path)] == [""]


async def test_a_slow_answer(simulated: Simulated) -> None:
    """It comes, and late."""
    await simulated.fault("slow", by=0.3, count=1)
    begun = time.monotonic()
    assert (await simulated.get(CHART + "KO"))[0] == 200
    assert time.monotonic() - begun >= 0.3


async def test_a_slow_answer_may_be_given_up(simulated: Simulated) -> None:
    """A client with less patience is not answered in time, and the next one is."""
    await simulated.fault("slow", count=1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(simulated.get(CHART + "KO"), 0.2)
    assert (await simulated.get(CHART + "KO"))[0] == 200


async def test_a_frozen_price(simulated: Simulated, ledger_path: Path) -> None:
    """Price and time stand still for the symbols, on both endpoints, while the others move."""
    await simulated.get(SPARK + "KO,PEP")
    await simulated.fault("frozen", symbols=["KO"])
    _, before = await simulated.get(SPARK + "KO,PEP")
    simulated.clock.move(600)
    _, after = await simulated.get(SPARK + "KO,PEP")
    assert metas(after)["KO"] == metas(before)["KO"]
    assert metas(after)["PEP"]["regularMarketTime"] == (
        metas(before)["PEP"]["regularMarketTime"] + 600
    )
    _, chart = await simulated.get(CHART + "KO")
    assert (
        chart["chart"]["result"][0]["meta"]["regularMarketTime"]
        == (metas(before)["KO"]["regularMarketTime"])
    )
    await simulated.clear()
    _, thawed = await simulated.get(SPARK + "KO")
    assert metas(thawed)["KO"]["regularMarketTime"] == (metas(after)["PEP"]["regularMarketTime"])
    marks = [(entry.symbol, entry.fault) for entry in read(ledger_path)]
    assert marks[4:] == [("KO", "frozen"), ("PEP", ""), ("KO", "frozen"), ("KO", "")]


async def test_all_prices_frozen(simulated: Simulated) -> None:
    """Without symbols it is the whole source."""
    await simulated.fault("frozen")
    _, before = await simulated.get(SPARK + "KO,PEP")
    simulated.clock.move(60)
    assert (await simulated.get(SPARK + "KO,PEP"))[1] == before


async def test_a_missing_close(simulated: Simulated, ledger_path: Path) -> None:
    """Neither of its two names is there; everything else is."""
    await simulated.fault("missing-close", symbols=["BRK.B"])
    _, answer = await simulated.get(SPARK + "KO,BRK-B")
    told = metas(answer)
    assert told["KO"].keys() - told["BRK-B"].keys() == {"chartPreviousClose", "previousClose"}
    assert [entry.fault for entry in read(ledger_path)] == ["", "missing-close"]


@pytest.mark.parametrize(("parameters", "nulls"), [({}, 391), ({"last": 3}, 3)])
async def test_nulls(simulated: Simulated, parameters: dict[str, int], nulls: int) -> None:
    """In every column, at the end of the history or all through it; the times are there."""
    _, honest = await simulated.get(CHART + "KO")
    await simulated.fault("nulls", **parameters)
    _, answer = await simulated.get(CHART + "KO")
    (result,), (before,) = answer["chart"]["result"], honest["chart"]["result"]
    assert result["timestamp"] == before["timestamp"]
    for name, column in result["indicators"]["quote"][0].items():
        assert column[-nulls:] == [None] * nulls
        assert column[:-nulls] == before["indicators"]["quote"][0][name][:-nulls]


async def test_a_missing_symbol(simulated: Simulated) -> None:
    """`spark` is silent on it, and `chart` has it."""
    await simulated.fault("missing-symbol", symbols=["KO"])
    assert metas((await simulated.get(SPARK + "KO,PEP"))[1]).keys() == {"PEP"}
    assert (await simulated.get(SPARK + "KO"))[0] == 404
    assert (await simulated.get(CHART + "KO"))[0] == 200


async def test_faults_add_up(simulated: Simulated, ledger_path: Path) -> None:
    """A part that several have changed bears all their names."""
    for name in ("frozen", "missing-close", "nulls"):
        await simulated.fault(name)
    simulated.clock.move(60)
    await simulated.get(SPARK + "KO")
    assert [entry.fault for entry in read(ledger_path)] == ["frozen,missing-close,nulls"]


async def test_the_ledger_tells_of_faults(simulated: Simulated, ledger_path: Path) -> None:
    """From when to when, by the simulator's clock."""
    await simulated.fault("frozen", seconds=30)
    simulated.clock.move(40)
    async with simulated.http.get("/faults") as answer:
        faults = (await answer.json())["faults"]
    assert [fault["name"] for fault in faults] == [name_of(kind) for kind in FAULTS]
    assert not any(fault["on"] for fault in faults)
    begun, ended = read_faults(ledger_path)
    assert isinstance(begun, FaultBegun)
    assert (begun.source, begun.name) == ("yahoo", "frozen")
    assert ended.at_ns - begun.at_ns == 30_000_000_000


async def test_a_wrong_request_is_told(simulated: Simulated) -> None:
    """As at Alpaca's: the same interface."""
    for path, body, status, words in (
        ("/faults/ghost", "{}", 404, "unknown fault 'ghost': expected one of too-many-requests"),
        ("/faults/frozen", '{"symbols": ["BRK-B"]}', 400, "frozen: unknown symbol 'BRK-B'"),
        ("/faults/server-error", '{"status": 404}', 400, "server-error: status: expected `int`"),
    ):
        async with simulated.http.put(path, data=body.encode()) as answer:
            assert answer.status == status
            assert (await answer.json())["message"].startswith(words)
