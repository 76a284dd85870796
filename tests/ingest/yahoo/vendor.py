"""A tiny Yahoo in the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web


class Yahoo:
    """Answers spark and chart for the symbols it knows; its tests change it as they go."""

    def __init__(self) -> None:
        self.url = ""
        #: What spark answers with; others only chart knows.
        self.spark: list[str] = []
        self.chart: list[str] = []
        #: The answer to everything, where it is set.
        self.answer: web.Response | None = None
        #: Calls of spark for one of these fail.
        self.poisonous: set[str] = set()
        #: How long every answer takes.
        self.delay_s = 0.0
        self.requests: list[web.Request] = []

    async def serve_spark(self, request: web.Request) -> web.Response:
        """Answer for the known among the symbols."""
        asked = request.query["symbols"].split(",")
        if self.poisonous.intersection(asked):
            return await self._answer(request, {}, status=500)
        entries = [
            {"symbol": symbol, "response": [{"meta": {"symbol": symbol}}]}
            for symbol in asked
            if symbol in self.spark
        ]
        return await self._answer(request, {"spark": {"result": entries, "error": None}})

    async def serve_chart(self, request: web.Request) -> web.Response:
        """Answer for one symbol, or that there is none."""
        symbol = request.match_info["symbol"]
        if symbol in self.chart:
            return await self._answer(
                request, {"chart": {"result": [{"meta": {"symbol": symbol}}], "error": None}}
            )
        return await self._answer(request, {"chart": {"result": None}}, status=404)

    async def _answer(self, request: web.Request, body: Any, status: int = 200) -> web.Response:
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        if self.answer is not None:
            return web.Response(
                status=self.answer.status, body=self.answer.body, headers=self.answer.headers
            )
        return web.json_response(body, status=status)


@asynccontextmanager
async def yahoo() -> AsyncIterator[Yahoo]:
    """A server on a free port."""
    vendor, app = Yahoo(), web.Application()
    app.router.add_get("/v7/finance/spark", vendor.serve_spark)
    app.router.add_get("/v8/finance/chart/{symbol}", vendor.serve_chart)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield vendor
    finally:
        await runner.cleanup()
