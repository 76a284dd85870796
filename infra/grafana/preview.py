"""A page that draws the generated dashboards against a running stack: a developer's tool.

What Grafana would be asked, Prometheus and ClickHouse are asked; how it looks is only like it. It
listens on loopback alone, because whoever reaches it may ask everything that the dashboards ask.
"""

from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import msgspec
import orjson
from aiohttp import web

from infra.grafana.ask import Window
from infra.grafana.sources import SourceError, Sources

HOST = "127.0.0.1"
HERE = Path(__file__).parent
DASHBOARDS = HERE / "dashboards"
FIRST = "/operations"
PARTS = {
    "page.js": "text/javascript",
    "draw.js": "text/javascript",
    "units.js": "text/javascript",
    "page.css": "text/css",
}


class Preview:
    """The page, and what it asks for.

    Args:
        sources: where the answers are.
        now: the time, in seconds.

    """

    def __init__(self, sources: Sources, now: Callable[[], float] = time) -> None:
        self._sources = sources
        self._now = now
        self.models: dict[str, dict[str, Any]] = {
            path.stem: orjson.loads(path.read_bytes())
            for path in sorted(DASHBOARDS.glob("*/*.json"))
        }

    def app(self) -> web.Application:
        """Return the page as an application."""
        app = web.Application()
        app.router.add_get("/", self._first)
        app.router.add_get("/page/{part}", self._part)
        app.router.add_get("/boards/{board}", self._board)
        app.router.add_get("/frames/{board}/{panel:[0-9]+}", self._frames)
        app.router.add_get("/marks/{board}", self._marks)
        app.router.add_get("/{board}", self._page)
        return app

    async def _first(self, _: web.Request) -> web.Response:
        raise web.HTTPFound(FIRST)

    async def _page(self, request: web.Request) -> web.Response:
        self._model(request)
        return web.Response(
            text=(HERE / "page" / "index.html").read_text(), content_type="text/html"
        )

    async def _part(self, request: web.Request) -> web.Response:
        name = request.match_info["part"]
        if name not in PARTS:
            raise web.HTTPNotFound
        return web.Response(text=(HERE / "page" / name).read_text(), content_type=PARTS[name])

    async def _board(self, request: web.Request) -> web.Response:
        return _json(self._model(request))

    async def _frames(self, request: web.Request) -> web.Response:
        number = int(request.match_info["panel"])
        window = self._window(request)
        panels = [panel for panel in self._model(request)["panels"] if panel["id"] == number]
        if not panels:
            raise _refused(web.HTTPNotFound, f"there is no panel {number}")
        try:
            frames = await self._sources.frames(panels[0], window)
        except SourceError as error:
            raise _refused(web.HTTPBadGateway, str(error)) from error
        return _json({"since": window.since, "until": window.until, "frames": frames})

    async def _marks(self, request: web.Request) -> web.Response:
        try:
            marks = await self._sources.marks(self._model(request), self._window(request))
        except SourceError as error:
            raise _refused(web.HTTPBadGateway, str(error)) from error
        return _json(marks)

    def _model(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["board"]
        if name not in self.models:
            message = f"there is no dashboard {name!r}: expected one of {', '.join(self.models)}"
            raise _refused(web.HTTPNotFound, message)
        return self.models[name]

    def _window(self, request: web.Request) -> Window:
        since = request.query.get("from") or self._model(request)["time"]["from"]
        try:
            return Window.of(since, self._now())
        except ValueError as error:
            raise _refused(web.HTTPBadRequest, str(error)) from error


def _json(content: Any) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), content_type="application/json")


def _refused(kind: type[web.HTTPError], sentence: str) -> web.HTTPError:
    body = orjson.dumps({"error": sentence}).decode()
    return kind(text=body, content_type="application/json")
