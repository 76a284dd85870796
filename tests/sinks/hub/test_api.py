"""The HTTP API: who may ask, what is written down, and what is said of mistakes."""

from typing import Any

import aiohttp
import pytest

from infra.commands import Failover, Hold, Reconnect, Release, ReloadSymbols
from sinks.hub.access import Access
from sinks.hub.operations import OPERATIONS
from tests.sinks.hub.client import Serving, serving
from tests.sinks.hub.prices import price
from tests.sinks.hub.tokens import SECRET, a_token, an_admin

OPEN = Access(secret=SECRET, anonymous=True)
CLOSED = Access(secret=SECRET)


async def asked(hub: Serving, method: str, path: str, **options: Any) -> tuple[int, Any]:
    """What is answered: status and body, of the type that it says."""
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, hub.url + path, **options) as response,
    ):
        body = await response.json(content_type=None)
        is_problem = response.content_type == "application/problem+json"
        assert is_problem is ("title" in body and "detail" in body)
        return response.status, body


@pytest.mark.parametrize("each", [o for o in OPERATIONS if o.method == "get"], ids=lambda o: o.name)
async def test_each_answers(each: Any) -> None:
    """To whoever may see prices; where things are bad it says so by its status, too."""
    async with serving(CLOSED) as hub:
        status, body = await asked(hub, "GET", each.path)
        assert status == (503 if each.open == "anybody" else 401)
        headers = {"Authorization": f"Bearer {a_token()}"}
        status, body = await asked(hub, "GET", each.path, headers=headers)
        unwell = body.get("status") == "Unhealthy"
        assert status == (503 if unwell or each.lacking else 200)
        assert ("status" in body) is (each.unwell or each.lacking)


async def test_prices_need_no_token_where_they_go_to_anybody() -> None:
    """As over the socket."""
    async with serving(OPEN) as hub:
        hub.broadcast.put([price("AAPL", 190.5)])
        status, body = await asked(hub, "GET", "/api/symbols/active")
        assert status == 200
        assert [(s["symbol"], s["price"]) for s in body["symbols"]] == [("AAPL", 190.5)]


@pytest.mark.parametrize(
    ("path", "wish", "kind", "fields"),
    [
        ("/api/health/failover", {}, Failover, {"target": "router", "to": "yahoo"}),
        ("/api/health/failover", {"to": "alpaca"}, Failover, {"to": "alpaca"}),
        ("/api/health/hold", {}, Hold, {"target": "router"}),
        ("/api/health/release", {}, Release, {"target": "router"}),
        ("/api/health/alpaca/reconnect", {}, Reconnect, {"target": "alpaca"}),
        ("/api/admin/alpaca/reload-symbols", {}, ReloadSymbols, {"target": "all"}),
        ("/api/admin/alpaca/reload-symbols", {"source": "alpaca"}, ReloadSymbols, {}),
    ],
)
async def test_a_command_is_given_with_who_and_why(
    path: str, wish: dict[str, str], kind: type, fields: dict[str, str]
) -> None:
    """Who is the token's, whatever else is claimed."""
    async with serving(OPEN) as hub:
        body = {**wish, "why": " a test "}
        status, told = await asked(hub, "POST", path, json=body, headers=an_admin(sub="bob"))
        assert (status, told["who"], told["why"]) == (202, "bob", "a test")
        (command,) = hub.given
        assert isinstance(command, kind)
        assert (command.who, command.why) == ("bob", "a test")
        assert {name: getattr(command, name) for name in fields} == fields


@pytest.mark.parametrize(
    ("options", "status", "detail"),
    [
        ({"json": {"why": "x"}, "headers": {}}, 401, "administrator's token is required"),
        (
            {"json": {"why": "x"}, "headers": {"Authorization": f"Bearer {a_token()}"}},
            403,
            "ann is no administrator",
        ),
        (
            {"json": {"why": "x"}, "headers": {"Authorization": f"Bearer {a_token(exp=1)}"}},
            401,
            "expired",
        ),
        ({"json": {"why": "x"}, "headers": an_admin(sub=" ")}, 403, "is no name"),
        ({"json": {"why": "x"}, "headers": an_admin(sub="a\nb")}, 403, "is no name"),
        ({"json": {}}, 400, "missing required field `why`"),
        ({"json": {"why": " "}}, 400, "matching regex"),
        ({"json": {"why": "a\nb"}}, 400, "matching regex"),
        ({"json": {"why": "a\n"}}, 400, "expected one line"),
        ({"json": {"why": "a\x1b[2J"}}, 400, "matching regex"),
        ({"json": {"why": "x" * 1001}}, 400, "length <= 1000"),
        ({"json": {"why": "x", "to": "bloomberg"}}, 400, "Invalid enum value 'bloomberg'"),
        ({"json": {"why": "x", "who": "me"}}, 400, "unknown field `who`"),
        ({"data": b"{"}, 415, "expected a body of application/json"),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400, "truncated"),
        ({"data": b"[" * 20_000, "headers": {"Content-Type": "application/json"}}, 400, "Expected"),
        ({"json": {"why": "x" * 40_000}}, 413, "Too Large"),
    ],
)
async def test_a_mistake_is_told_and_nothing_is_given(
    options: dict[str, Any], status: int, detail: str
) -> None:
    """As a problem, which says what was expected."""
    headers = options.get("headers", {})
    who = (
        {} if "Authorization" in headers or (headers == {} and "headers" in options) else an_admin()
    )
    async with serving(OPEN) as hub:
        asking = {**options, "headers": {**who, **headers}}
        found, body = await asked(hub, "POST", "/api/health/failover", **asking)
        assert (found, body["status"]) == (status, status)
        assert detail in body["detail"]
        assert hub.given == []


async def test_what_the_router_says_is_passed_on() -> None:
    """Done or refused; where it says nothing in time, only that it was asked."""
    async with serving(OPEN) as hub:
        wish = {"json": {"why": "x"}, "headers": an_admin()}
        status, body = await asked(hub, "POST", "/api/health/failover", **wish)
        assert (status, body["outcome"]) == (202, "asked")
        hub.outcome = "done"
        status, body = await asked(hub, "POST", "/api/health/failover", **wish)
        assert (status, body["outcome"], body["detail"]) == (200, "done", "in words")
        hub.outcome = "refused"
        status, body = await asked(hub, "POST", "/api/health/failover", **wish)
        assert status == 409
        assert body["detail"] == "the router refuses: in words (source_down)"
        # nobody answers for the sources
        status, body = await asked(hub, "POST", "/api/health/alpaca/reconnect", **wish)
        assert (status, body["outcome"]) == (202, "asked")


async def test_without_a_secret_nobody_may_ask() -> None:
    """However open the prices are; nor with a token in the query, which pages can send."""
    async with serving(Access(secret=None, anonymous=True)) as hub:
        wish = {"json": {"why": "x"}}
        status, body = await asked(hub, "POST", "/api/health/hold", headers=an_admin(), **wish)
        assert (status, "no HUB_JWT_SECRET" in body["detail"]) == (401, True)
    async with serving(OPEN) as hub:
        query = {"access_token": a_token(roles=["admin"])}
        status, _ = await asked(hub, "POST", "/api/health/hold", params=query, **wish)
        assert status == 401


async def test_a_kafka_that_takes_no_command_is_named() -> None:
    """And it is not said to have been asked."""
    async with serving(OPEN) as hub:
        hub.refusing = "Kafka at x does not take the command"
        wish = {"json": {"why": "x"}}
        status, body = await asked(hub, "POST", "/api/health/hold", headers=an_admin(), **wish)
        assert (status, body["detail"]) == (503, hub.refusing)


@pytest.mark.parametrize(
    ("method", "path", "status", "allowed"),
    [("GET", "/nope", 404, None), ("PUT", "/health", 405, "GET,HEAD")],
)
async def test_what_is_not_there(method: str, path: str, status: int, allowed: str | None) -> None:
    """Is a problem, too."""
    async with (
        serving(OPEN) as hub,
        aiohttp.ClientSession() as http,
        http.request(method, hub.url + path) as response,
    ):
        assert (response.status, response.headers.get("Allow")) == (status, allowed)
        assert response.content_type == "application/problem+json"
