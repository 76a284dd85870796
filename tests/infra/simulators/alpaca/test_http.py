"""The second port as a client sees it: who may ask, how often, and the keys."""

import time
from typing import Any

import pytest

from infra.simulators.market import LISTINGS, MINUTE_NS, SECOND_NS
from tests.infra.simulators.alpaca.client import AUTH, AUTHENTICATED, KEYS, dial, enter
from tests.infra.simulators.alpaca.conftest import Simulate, Simulated

pytestmark = pytest.mark.service

TRADES = "/v2/stocks/trades?symbols=AAPL&feed=iex&limit=3"


async def get(
    simulated: Simulated, path: str, headers: dict[str, str] | None = KEYS
) -> tuple[int, Any, dict[str, str]]:
    """Return an answer's status, JSON and headers."""
    async with simulated.http.get(path, headers=headers) as answer:
        return answer.status, await answer.json(), dict(answer.headers)


async def test_the_stream_and_history_say_the_same(simulate: Simulate) -> None:
    """Every trade that came over the socket is in the history, field by field, and no other."""
    simulated = await simulate(rate=20_000)
    async with enter(simulated.iex) as client:
        await client.ask({"action": "subscribe", "trades": ["AAPL", "KO"]})
        live = await client.data(200)
    start, end = live[0]["t"], live[-1]["t"]
    path = f"/v2/stocks/trades?symbols=AAPL,KO&feed=iex&limit=10000&start={start}&end={end}"
    status, body, _ = await get(simulated, path)
    assert status == 200
    past = [{"T": "t", "S": s, **t} for s, trades in body["trades"].items() for t in trades]
    assert sorted(past, key=lambda t: t["i"]) == sorted(live, key=lambda t: t["i"])


async def test_two_simulators_tell_of_one_market(simulate: Simulate) -> None:
    """The history of the one is what the other streams: nothing is kept but the seed."""
    streaming, remembering = await simulate(rate=2000), await simulate(rate=2000)
    async with enter(streaming.iex) as client:
        await client.ask({"action": "subscribe", "trades": ["*"], "quotes": ["*"]})
        live = [trade for trade in await client.data(2000) if trade["T"] == "t"]
    path = f"/v2/stocks/trades?symbols={','.join(LISTINGS)}&feed=iex&limit=10000"
    window = f"&start={live[0]['t']}&end={live[-1]['t']}"
    _, body, _ = await get(remembering, path + window)
    past = {trade["i"] for trades in body["trades"].values() for trade in trades}
    assert past == {trade["i"] for trade in live}


@pytest.mark.parametrize(
    "headers", [{}, {**KEYS, "APCA-API-SECRET-KEY": "guess"}, {"APCA-API-SECRET-KEY": "secret"}]
)
async def test_without_the_keys_there_is_nothing(
    simulate: Simulate, headers: dict[str, str]
) -> None:
    """403, in the vendor's words, on every resource."""
    simulated = await simulate()
    for resource in ("trades", "bars", "snapshots"):
        status, body, _ = await get(simulated, f"/v2/stocks/{resource}?symbols=AAPL", headers)
        assert (status, body) == (403, {"message": "forbidden."})


async def test_a_wrong_request_gets_400(simulate: Simulate) -> None:
    """With the sentence, and with the headers that tell the allowance."""
    simulated = await simulate()
    status, body, headers = await get(simulated, "/v2/stocks/trades?symbols=AAPL&limit=0")
    assert (status, body["message"]) == (400, "invalid limit: '0': expected 1 to 10000")
    assert headers["X-RateLimit-Remaining"] == "199"
    status, body, _ = await get(simulated, "/v2/stocks/snapshots")
    assert (status, body["message"]) == (400, "symbols is required")


async def test_the_rate_limit(simulate: Simulate) -> None:
    """429 beyond it, with the moment at which it is over; then all is well again."""
    shift = 0
    now = 1_795_437_296 * SECOND_NS
    simulated = await simulate(rest_limit=2, clock=lambda: now + shift)
    answers = [await get(simulated, TRADES) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert answers[2][1] == {"message": "too many requests."}
    assert answers[2][2]["X-RateLimit-Limit"] == "2"
    assert answers[2][2]["X-RateLimit-Remaining"] == "0"
    shift = int(answers[2][2]["X-RateLimit-Reset"]) * SECOND_NS - now
    assert 0 < shift <= MINUTE_NS
    assert (await get(simulated, TRADES))[0] == 200


@pytest.mark.parametrize(
    ("name", "parameters", "status", "message"),
    [
        ("rest-unavailable", {}, 503, "internal server error occurred"),
        ("rest-unavailable", {"status": 504}, 504, "internal server error occurred"),
        ("rest-too-many-requests", {"reset": 30}, 429, "too many requests."),
        ("rest-refused", {}, 403, "subscription does not permit querying recent SIP data"),
        ("rest-refused", {"status": 422, "message": "no"}, 422, "no"),
    ],
)
async def test_the_faults_of_history(
    simulate: Simulate, name: str, parameters: dict[str, Any], status: int, message: str
) -> None:
    """So many requests get the error; the next one gets the history."""
    simulated = await simulate()
    await simulated.fault(name, count=1, **parameters)
    answered, body, headers = await get(simulated, TRADES)
    assert (answered, body) == (status, {"message": message})
    if name == "rest-too-many-requests":
        assert headers["X-RateLimit-Remaining"] == "0"
        assert abs(int(headers["X-RateLimit-Reset"]) - time.time() - 30) < 20
    assert (await get(simulated, TRADES))[0] == 200


async def test_keys_are_rotated(simulate: Simulate) -> None:
    """The new pair is let in and the old one refused, on both ports; who is in stays in."""
    simulated = await simulate(rate=5000)
    async with enter(simulated.stream + "/v2/sip") as inside:
        async with simulated.http.put("/keys", json={"new": "pair"}) as answer:
            assert await answer.json() == {"keys": ["new"]}
        async with dial(simulated.iex) as client:
            assert (await client.ask(AUTH))["code"] == 402
            assert await client.ask({**AUTH, "key": "new", "secret": "pair"}) == AUTHENTICATED
        assert (await get(simulated, TRADES))[0] == 403
        new = {"APCA-API-KEY-ID": "new", "APCA-API-SECRET-KEY": "pair"}
        assert (await get(simulated, TRADES, new))[0] == 200
        await inside.ask({"action": "subscribe", "trades": ["*"]})
        await inside.data(1)


async def test_keys_come_and_go_one_by_one(simulate: Simulate) -> None:
    """Added, changed, removed; the secrets are not told."""
    http = (await simulate()).http
    for secret in ("one", "other"):
        async with http.put("/keys/new", json={"secret": secret}) as answer:
            assert await answer.json() == {"keys": ["key", "new"]}
    async with http.delete("/keys/key") as answer:
        assert await answer.json() == {"keys": ["new"]}
    async with http.get("/keys") as answer:
        assert await answer.text() == '{"keys":["new"]}'


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        (("DELETE", "/keys/nobody", ""), 404, "unknown key 'nobody'"),
        (("PUT", "/keys/new", "{}"), 400, "keys: Object missing required field `secret`"),
        (("PUT", "/keys/new", '{"secret": ""}'), 400, "keys: Expected `str` of length >= 1"),
        (("PUT", "/keys", '{"new": 1}'), 400, "keys: Expected `str`, got `int`"),
        (("PUT", "/keys", ""), 400, "keys: Input data was truncated"),
    ],
)
async def test_wrong_keys_are_told(
    simulate: Simulate, asked: tuple[str, str, str], status: int, message: str
) -> None:
    """And nothing has changed."""
    simulated = await simulate()
    method, path, body = asked
    async with simulated.http.request(method, path, data=body.encode()) as answer:
        assert answer.status == status
        assert (await answer.json())["message"].startswith(message)
    assert (await get(simulated, TRADES))[0] == 200
