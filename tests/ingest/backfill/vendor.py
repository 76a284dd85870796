"""A scripted history: Alpaca's REST wire over a list of trades and bars, faults first."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from ingest.alpaca.times import rfc3339, time_ns

#: What a request may be answered with instead of a page.
Fault = Callable[[web.Request], Awaitable[web.StreamResponse]]

HEADERS = {"APCA-API-KEY-ID": "PKEY", "APCA-API-SECRET-KEY": "hush-hush"}


def trade(number: int, at_ns: int, symbol: str = "AAPL", **changes: Any) -> dict[str, Any]:
    """Return a trade as the history tells it; `S` is taken out on the wire."""
    fields = {"t": rfc3339(at_ns), "x": "V", "p": 100.5, "s": 1.5, "c": ["@"], "i": number}
    return {"S": symbol, **fields, "z": "C", **changes}


def bar(at_ns: int, symbol: str = "AAPL") -> dict[str, Any]:
    """Return a bar as the history tells it."""
    prices = {"o": 1.0, "h": 2.0, "l": 1.0, "c": 2.0, "v": 10, "n": 1, "vw": 1.5}
    return {"S": symbol, "t": rfc3339(at_ns), **prices}


class Vendor:
    """Serves what it is given, `page` objects at a time.

    Attributes:
        url: where.
        asked: the requests, in order: the resource and the parameters.
        faults: what the next requests are answered with; then pages come.

    """

    def __init__(
        self, trades: Iterable[dict[str, Any]] = (), bars: Iterable[dict[str, Any]] = ()
    ) -> None:
        self.url = ""
        self.page = 3
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.faults: deque[Fault] = deque()
        #: After the last page comes one more, which is empty.
        self.one_more = False
        #: The question, counted from 0, that is not answered before `released` is set; `stalled` is
        #: set when it comes.
        self.stall_at: int | None = None
        self.stalled = asyncio.Event()
        self.released = asyncio.Event()
        self.invalid: set[str] = set()
        self.names_the_invalid = True
        self.keys = HEADERS
        self.data = {"trades": list(trades), "bars": list(bars)}

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Vendor"]:
        """Serve on a free port."""
        app = web.Application()
        app.router.add_get("/v2/stocks/{resource}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield self
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        resource, asked = request.match_info["resource"], dict(request.query)
        self.asked.append((resource, asked))
        if len(self.asked) - 1 == self.stall_at:
            self.stalled.set()
            await self.released.wait()
        if self.faults:
            return await self.faults.popleft()(request)
        if any(request.headers.get(name) != value for name, value in self.keys.items()):
            return web.json_response({"message": "forbidden."}, status=403)
        symbols = asked["symbols"].split(",")
        if bad := sorted(self.invalid & set(symbols)):
            said = f"invalid symbol: {bad[0]}" if self.names_the_invalid else "unknown symbol"
            return web.json_response({"message": said}, status=400)
        start, end = time_ns(asked["start"]), time_ns(asked["end"])
        found = sorted(
            (
                each
                for each in self.data[resource]
                if each["S"] in symbols and start <= time_ns(each["t"]) <= end
            ),
            key=lambda each: (each["S"], time_ns(each["t"])),
        )
        first = int(asked.get("page_token", "p0")[1:])
        by_symbol: dict[str, list[dict[str, Any]]] = {}
        for each in found[first : first + self.page]:
            told = {name: value for name, value in each.items() if name != "S"}
            by_symbol.setdefault(each["S"], []).append(told)
        last = first + self.page >= len(found) + self.one_more * self.page
        body = {resource: by_symbol, "next_page_token": None if last else f"p{first + self.page}"}
        return web.Response(text=json.dumps(body), content_type="application/json")


def status(code: int, message: str = "", **headers: str) -> Fault:
    """Return a refusal."""

    async def answer(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.json_response({"message": message}, status=code, headers=named)

    return answer


def text(body: str) -> Fault:
    """Return an answer of status 200 with any body."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=body, content_type="application/json")

    return answer


async def half_a_page(request: web.Request) -> web.StreamResponse:
    """Begin to answer, and cut the connection."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"trades":{"AAPL":[{"t":"2026-')
    assert request.transport is not None
    request.transport.abort()
    return response


async def hang_up(request: web.Request) -> web.StreamResponse:
    """Cut the connection without an answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def never(_: web.Request) -> web.StreamResponse:
    """Do not answer."""
    await asyncio.Event().wait()
    raise AssertionError
