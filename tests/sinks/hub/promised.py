"""A Prometheus that knows a few values, over its own interface."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from sinks.hub.levels import QUERIES

#: Of each expression that has a value: what it is.
VALUES = {
    QUERIES["error service-availability"]: 0.001,
    QUERIES["left service-availability"]: 0.8,
    QUERIES["left alpaca-uptime"]: -0.1,
}


@contextlib.asynccontextmanager
async def knowing(asked: list[str], together: int = 0) -> AsyncIterator[str]:
    """Its address; what it is asked is kept, and so much has to be asked before it answers."""
    enough = asyncio.Event()

    async def query(request: web.Request) -> web.Response:
        expression = request.query["query"]
        asked.append(expression)
        if len(asked) >= together:
            enough.set()
        await enough.wait()
        value = VALUES.get(expression)
        result = [] if value is None else [{"metric": {}, "value": [0, str(value)]}]
        return web.json_response({"data": {"result": result}})

    app = web.Application()
    app.router.add_get("/api/v1/query", query)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
