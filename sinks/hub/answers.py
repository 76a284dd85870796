"""How the hub says no over HTTP."""

import msgspec
from aiohttp import web

from sinks.hub.operations import Problem


def problem(status: int, detail: str) -> web.Response:
    """Return an error as RFC 9457 has it."""
    title = web.Response(status=status).reason
    body = Problem(type="about:blank", title=title, status=status, detail=detail)
    return web.Response(
        status=status, body=msgspec.json.encode(body), content_type="application/problem+json"
    )
