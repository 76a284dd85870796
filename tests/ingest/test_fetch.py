"""A list of symbols over HTTP: real sockets, and whatever may go wrong on them."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from ingest.fetch import fetch
from ingest.lists import ANSWER_BYTES, Listing, question

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _served(handler: Handler) -> AsyncIterator[str]:
    """A server that answers every request with `handler`; its `host:port`."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_page_is_fetched_with_its_credentials() -> None:
    """User and password go as Basic authentication, the query as it is."""
    seen: list[tuple[str, str, str]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.method, request.path_qs, request.headers["Authorization"]))
        return web.Response(text="AAPL\nMSFT\n")

    async with _served(answer) as host:
        listing = await fetch(question(f"http://ann:hush@{host}/us.txt?v=2"))
    assert listing == Listing(symbols=("AAPL", "MSFT"), origin=f"http://{host}/us.txt?...")
    assert seen == [("GET", "/us.txt?v=2", "Basic " + b64encode(b"ann:hush").decode())]


async def test_an_answer_without_end_is_left() -> None:
    """It is read until it is too long, and not further."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"AAPL\n" * 10_000)
            await asyncio.sleep(0)

    async with _served(answer) as host:
        with pytest.raises(ValueError, match=f"answered more than {ANSWER_BYTES} bytes"):
            await fetch(question(f"http://{host}/"))


async def test_an_answer_that_does_not_come_is_not_waited_for() -> None:
    """Neither its beginning nor its end."""
    never = asyncio.Event()

    async def mute(_: web.Request) -> web.Response:
        await never.wait()
        return web.Response()

    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"AAPL\n")
        await never.wait()
        return response

    for handler in (mute, half):
        async with _served(handler) as host:
            with pytest.raises(ValueError, match=rf"^http://{host}/: no answer within 0.2 s$"):
                await fetch(question(f"http://{host}/"), answer_s=0.2)
            never.set()  # so that the server can end
        never.clear()


async def test_a_cut_answer_is_no_list() -> None:
    """Half of a list is another list: a body that is shorter than announced is refused."""

    async def cut(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"AAPL\n")
        assert request.transport
        request.transport.close()
        return response

    async with _served(cut) as host:
        with pytest.raises(ValueError, match=r": ClientPayloadError$"):
            await fetch(question(f"http://{host}/"))


async def test_a_server_that_is_not_there_is_named(free_port: Callable[[], int]) -> None:
    """By its address without credentials, and in the operating system's words."""
    port = free_port()
    with pytest.raises(ValueError, match="Connection refused") as refused:
        await fetch(question(f"clickhouse://ann:hush@127.0.0.1:{port}/market/t"))
    assert str(refused.value) == f"clickhouse://127.0.0.1:{port}/market/t: Connection refused"


async def test_a_page_that_moved_is_followed_and_keeps_its_password() -> None:
    """A redirect to another server does not get the credentials."""
    told: list[str | None] = []

    async def other(request: web.Request) -> web.Response:
        told.append(request.headers.get("Authorization"))
        return web.Response(text="AAPL\n")

    async with _served(other) as elsewhere:

        async def moved(_: web.Request) -> web.Response:
            address = f"http://{elsewhere}/us.txt"
            raise web.HTTPFound(address)

        async with _served(moved) as host:
            listing = await fetch(question(f"http://ann:hush@{host}/"))
    assert listing == Listing(symbols=("AAPL",), origin=f"http://{host}/")
    assert told == [None]


async def test_a_redirect_that_turns_in_circles_is_left() -> None:
    """And nothing of the address is repeated."""

    async def moved(request: web.Request) -> web.Response:
        raise web.HTTPFound(str(request.url))

    async with _served(moved) as host:
        with pytest.raises(ValueError, match="TooManyRedirects") as refused:
            await fetch(question(f"http://{host}/?token=hush"))
    assert "hush" not in str(refused.value)


async def test_a_table_that_redirects_is_none() -> None:
    """A ClickHouse does not send its clients away."""

    async def moved(_: web.Request) -> web.Response:
        address = "http://127.0.0.1:1/"
        raise web.HTTPFound(address)

    async with _served(moved) as host:
        with pytest.raises(ValueError, match="answered with status 302"):
            await fetch(question(f"clickhouse://{host}/market/t"))
