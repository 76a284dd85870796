"""What stands in for the backends: Loki's push API, as strict as Loki is, and one that is told."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NANOSECONDS = re.compile(r"[0-9]{19}")
_LINE_BYTES = 256 * 1024


class _Stream(msgspec.Struct, forbid_unknown_fields=True):
    stream: dict[str, str]
    values: list[list[Any]]


class _Push(msgspec.Struct, forbid_unknown_fields=True):
    streams: list[_Stream]


@dataclass
class Receiver:
    """A backend on a port.

    Attributes:
        url: where.
        answers: to be given first, one a request: status, headers, body; None: none at all.
        taken: the bodies that were answered with success.
        asked: of every request, its path with the parameters, and its headers.
        news: set at every request.

    """

    url: str = ""
    answers: list[tuple[int, dict[str, str], str] | None] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    closing: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, *, taken: int = 0, asked: int = 0) -> None:
        """Return when so many batches were taken, and so many requests made."""
        async with asyncio.timeout(30), self.news:
            await self.news.wait_for(lambda: len(self.taken) >= taken and len(self.asked) >= asked)

    async def answer(self, request: web.Request) -> web.Response:
        """Answer as told, else take what is right."""
        body = await request.read()
        told = self.answers.pop(0) if self.answers else (0, {}, "")
        async with self.news:
            self.asked.append((request.path_qs, dict(request.headers)))
            self.news.notify_all()
        if told is None:
            await self.closing.wait()
            return web.Response(status=500)
        status, headers, text = told
        if not status:
            wrong = self.wrong(request, body)
            status, text = (400, wrong) if wrong else (self.success, "")
        if status == self.success:
            async with self.news:
                self.taken.append(body)
                self.news.notify_all()
        return web.Response(status=status, headers=headers, text=text)

    success = 200

    def wrong(self, request: web.Request, body: bytes) -> str:
        """Say what is wrong with a request; nothing, where nothing is."""
        del request, body
        return ""


class LokiReceiver(Receiver):
    """Loki's push API."""

    success = 204

    def wrong(self, request: web.Request, body: bytes) -> str:
        """Say what Loki would."""
        if request.method != "POST" or request.path != "/loki/api/v1/push":
            return "not the push API"
        if request.headers.get("Content-Type") != "application/json":
            return "only JSON is read as JSON"
        try:
            push = msgspec.json.decode(body, type=_Push)
        except msgspec.ValidationError as error:
            return str(error)
        problems = [problem for each in push.streams if (problem := _wrong_stream(each))]
        return problems[0] if problems else ""


def _wrong_stream(stream: _Stream) -> str:
    if not stream.stream or not all(_LABEL.fullmatch(name) for name in stream.stream):
        return "labels"
    if not stream.values:
        return "a stream without entries"
    for entry in stream.values:
        moment, line, metadata = (*entry, {})[:3]
        if not isinstance(moment, str) or not _NANOSECONDS.fullmatch(moment):
            return "the time is not nanoseconds in a string"
        if not isinstance(line, str) or len(line.encode()) > _LINE_BYTES:
            return "the line is too long, or no string"
        if (
            not all(isinstance(part, str) for pair in metadata.items() for part in pair)
            or len(entry) > 3
        ):
            return "structured metadata"
    return ""


def entries(bodies: Sequence[bytes]) -> list[tuple[dict[str, str], list[Any]]]:
    """Return what was pushed: labels and entry."""
    pushes = [msgspec.json.decode(body, type=_Push) for body in bodies]
    return [
        (stream.stream, entry)
        for push in pushes
        for stream in push.streams
        for entry in stream.values
    ]


@contextlib.asynccontextmanager
async def serve(receiver: Receiver) -> AsyncIterator[None]:
    """Serve a receiver, on a port of its own the first time, and on the same one again."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{path:.*}", receiver.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = int(receiver.url.rpartition(":")[2]) if receiver.url else 0
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        receiver.closing.set()
        await runner.cleanup()
