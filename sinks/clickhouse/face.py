"""The embedded engine's face: ClickHouse's HTTP interface on a port, by aiohttp.

Whatever speaks to a ClickHouse server over HTTP (clickhouse-connect, curl) speaks to this.
Statements run in threads, so that a reader never waits for the loop and the writer never waits for
a reader. Requests from web pages of elsewhere are refused, because a browser sends them without
being asked; who the users are and what they may do is said in `access`.
"""

import asyncio
import socket
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog
from aiohttp import BasicAuth, web

from sinks.clickhouse.access import Doors, User, check_read
from sinks.clickhouse.engine import Engine
from sinks.clickhouse.http import (
    BODY_LIMIT,
    Answer,
    QueryError,
    Statement,
    compress,
    foreign,
    hello,
    understand,
)

#: Statements that run at once; more wait their turn.
THREADS = 8

_log = structlog.get_logger()


class Face:
    """Serves an engine.

    Args:
        engine: what runs the statements.
        host: the address to listen on.
        port: its port; 0 takes any free one.
        doors: the users' passwords.

    """

    def __init__(self, engine: Engine, *, host: str, port: int, doors: Doors | None = None) -> None:
        self._engine = engine
        self._doors = doors or Doors()
        self._host = host
        self._port = port
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="reader")
        app = web.Application(client_max_size=BODY_LIMIT)
        app.router.add_get("/ping", self._ping)
        app.router.add_route("GET", "/", self._query)
        app.router.add_route("POST", "/", self._query)
        # decompression is ours: aiohttp knows not all encodings, and reads no second frame
        self._runner = web.AppRunner(app, access_log=None, auto_decompress=False)

    async def start(self) -> int:
        """Listen, and return the port. Raises OSError where it is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port, shutdown_timeout=1).start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening. A statement that is still running is left to its thread."""
        await self._runner.cleanup()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _ping(self, _: web.Request) -> web.Response:
        return web.Response(text="Ok.\n")

    async def _query(self, request: web.Request) -> web.Response:
        query_id = request.query.get("query_id") or str(uuid.uuid4())
        try:
            user = self._admit(request)
            statement = understand(
                request.method,
                list(request.query.items()),
                request.headers,
                await _body(request),
            )
            if user is User.ANALYST:
                check_read(statement.text, statement.settings)
                statement = replace(statement, analyst=True, read_only=True)
            answer, body = await asyncio.get_running_loop().run_in_executor(
                self._threads, self._run, statement
            )
        except QueryError as error:
            _log.info("query_failed", query_id=query_id, code=error.code)
            return self._failure(error, query_id)
        return web.Response(body=body, headers=self._headers(answer, statement, query_id))

    def _run(self, statement: Statement) -> tuple[Answer, bytes]:
        engine = self._engine
        answer = hello(statement, socket.gethostname(), engine.version, engine.timezone)
        answer = answer or engine.run(statement)
        return answer, compress(statement.encoding, answer.body)

    def _admit(self, request: web.Request) -> User:
        if foreign(self._host, request.host, request.headers.get("Origin")):
            raise QueryError(497, "ACCESS_DENIED", "requests of web pages are not answered")
        return self._doors.admit(*_credentials(request))

    def _failure(self, error: QueryError, query_id: str) -> web.Response:
        headers = {
            **self._common(query_id),
            "X-ClickHouse-Exception-Code": str(error.code),
        }
        return web.Response(status=error.status, text=f"{error}\n", headers=headers)

    def _common(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": socket.gethostname(),
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }

    def _headers(self, answer: Answer, statement: Statement, query_id: str) -> Mapping[str, str]:
        headers = self._common(query_id) | {"X-ClickHouse-Summary": answer.summary}
        if answer.format is not None:
            headers["X-ClickHouse-Format"] = answer.format
            headers["Content-Type"] = answer.content_type
        if statement.encoding is not None:
            headers["Content-Encoding"] = statement.encoding
        return headers


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        detail = f"the body is longer than {BODY_LIMIT} bytes"
        raise QueryError(307, "TOO_MANY_BYTES", detail) from error


def _credentials(request: web.Request) -> tuple[str, str]:
    """Return the user and the password of a request, wherever it puts them."""
    authorization = request.headers.get("Authorization")
    if authorization is not None:
        try:
            basic = BasicAuth.decode(authorization)
        except ValueError:  # another scheme, such as a token
            return ("(a token)", authorization)
        return (basic.login, basic.password)
    user = request.headers.get("X-ClickHouse-User") or request.query.get("user") or "default"
    password = request.headers.get("X-ClickHouse-Key") or request.query.get("password") or ""
    return (user, password)
