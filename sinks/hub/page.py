"""The console: a page and its parts, as they lie beside this module; thin, over aiohttp."""

from pathlib import Path
from typing import Final

from aiohttp import web

HERE: Final = Path(__file__).parent / "console"
#: By their names in the address: the file, and what it is.
PARTS: Final = {
    "console.css": ("console.css", "text/css"),
    "console.js": ("console.js", "text/javascript"),
    "freshness.js": ("freshness.js", "text/javascript"),
    "theme.js": ("theme.js", "text/javascript"),
    "signalr.min.js": ("vendor/signalr.min.js", "text/javascript"),
}
#: Nothing from elsewhere, and in nobody's frame.
HEADERS: Final = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Page:
    """The console, read once."""

    def __init__(self) -> None:
        self._page = (HERE / "index.html").read_bytes()
        self._parts = {
            name: ((HERE / path).read_bytes(), kind) for name, (path, kind) in PARTS.items()
        }

    def add_to(self, app: web.Application) -> None:
        """Add the page's routes."""
        app.router.add_get("/", self._index)
        app.router.add_get("/console/{name}", self._part)

    async def _index(self, _: web.Request) -> web.Response:
        return _answer(self._page, "text/html")

    async def _part(self, request: web.Request) -> web.Response:
        found = self._parts.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        return _answer(*found)


def _answer(body: bytes, kind: str) -> web.Response:
    return web.Response(body=body, content_type=kind, charset="utf-8", headers=HEADERS)
