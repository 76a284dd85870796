"""A tiny Yahoo in the test's own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

COLUMNS = ("open", "high", "low", "close", "volume")


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
        #: The time of every symbol's last trade, where it is told.
        self.traded_at_s: int | None = None
        #: Which endpoints tell the close of the day before.
        self.closes = {"spark", "chart"}
        #: The answer to whoever asks for bars, where it is set.
        self.answer_to_bars: web.Response | None = None
        self.requests: list[web.Request] = []

    async def serve_spark(self, request: web.Request) -> web.Response:
        """Answer for the known among the symbols."""
        asked = request.query["symbols"].split(",")
        if self.poisonous.intersection(asked):
            return await self._answer(request, {}, status=500)
        entries = [
            {"symbol": symbol, "response": [{"meta": self._meta(symbol, "spark")}]}
            for symbol in asked
            if symbol in self.spark
        ]
        return await self._answer(request, {"spark": {"result": entries, "error": None}})

    async def serve_chart(self, request: web.Request) -> web.Response:
        """Answer for one symbol, or that there is none."""
        symbol = request.match_info["symbol"]
        bars = "period1" in request.query
        if symbol not in (self.spark if bars else self.chart):
            return await self._answer(request, {"chart": {"result": None}}, status=404)
        result: dict[str, Any] = {"meta": self._meta(symbol, "chart")}
        if bars:
            if self.answer_to_bars is not None:
                self.requests.append(request)
                return _again(self.answer_to_bars)
            starts = range(int(request.query["period1"]), int(request.query["period2"]), 300)
            columns = {name: [1.0] * len(starts) for name in COLUMNS}
            result |= {"timestamp": list(starts), "indicators": {"quote": [columns]}}
        return await self._answer(request, {"chart": {"result": [result], "error": None}})

    def asked_for(self, kind: str) -> list[web.Request]:
        """Return the requests for quotes by `spark` or `chart`, or for `bars`."""
        kinds = ["bars" if "period1" in r.query else _endpoint(r) for r in self.requests]
        return [r for r, its in zip(self.requests, kinds, strict=True) if its == kind]

    def _meta(self, symbol: str, endpoint: str) -> dict[str, Any]:
        return {
            "symbol": symbol,
            **({"regularMarketTime": self.traded_at_s} if self.traded_at_s else {}),
            **({"chartPreviousClose": 10.5} if endpoint in self.closes else {}),
        }

    async def _answer(self, request: web.Request, body: Any, status: int = 200) -> web.Response:
        self.requests.append(request)
        await asyncio.sleep(self.delay_s)
        if self.answer is not None:
            return _again(self.answer)
        return web.json_response(body, status=status)


def _again(response: web.Response) -> web.Response:
    """Return a response like one that is sent more than once."""
    return web.Response(status=response.status, body=response.body, headers=response.headers)


def _endpoint(request: web.Request) -> str:
    return "spark" if request.path.endswith("/spark") else "chart"


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
