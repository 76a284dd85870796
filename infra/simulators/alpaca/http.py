"""The second port: history for whoever has the keys, and the control interface beside it.

    GET    /keys        the ids of the keys that are let in
    PUT    /keys        let in these and no others: a JSON object, id -> secret
    PUT    /keys/{id}   let in one more, or change its secret: {"secret": ...}
    DELETE /keys/{id}   let one in no longer

Whoever is in stays in; keys are looked at when somebody comes.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Protocol, TypeVar

import msgspec
from aiohttp import web

from infra.simulators.alpaca import faults, rest
from infra.simulators.alpaca.faults.places import Refusal
from infra.simulators.alpaca.faults.silence import Halt, halted
from infra.simulators.alpaca.session import Rules
from infra.simulators.alpaca.tape import Tape
from infra.simulators.control import Books, answer, refuse

Filled = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
T = TypeVar("T")


class _Secret(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    secret: Filled


class Vendor(Protocol):
    """What the second port has in common with the first."""

    books: Books
    rules: Rules

    def tape(self, path: str) -> Tape:
        """Return what happens on a feed."""

    def admit(self, keys: dict[str, str]) -> None:
        """Let in these keys from now on, and no others."""


class History:
    """The routes of the second port.

    Args:
        vendor: the simulator.
        limit: requests a minute that a key may make for history.
        clock: the time in ns since the epoch.

    """

    def __init__(self, vendor: Vendor, *, limit: int, clock: Callable[[], int]) -> None:
        self._vendor = vendor
        self._limit = limit
        self._clock = clock
        self._allowances: dict[str, rest.Allowance] = {}

    def routes(self) -> list[web.RouteDef]:
        """Return them."""
        return [
            web.get("/v2/stocks/trades", self._trades),
            web.get("/v2/stocks/bars", self._bars),
            web.get("/v2/stocks/snapshots", self._snapshots),
            web.get("/keys", self._keys),
            web.put("/keys", self._admit),
            web.put("/keys/{id}", self._admit_one),
            web.delete("/keys/{id}", self._dismiss),
        ]

    async def _trades(self, request: web.Request) -> web.Response:
        return await self._page(request, "trades")

    async def _bars(self, request: web.Request) -> web.Response:
        return await self._page(request, "bars")

    async def _page(self, request: web.Request, resource: rest.Resource) -> web.Response:
        def read(now_ns: int) -> bytes:
            asked = rest.query(resource, request.query, now_ns)
            return rest.page(resource, self._vendor.tape(asked.path), asked, self._halted())

        return await self._answer(request, read)

    async def _snapshots(self, request: web.Request) -> web.Response:
        def read(now_ns: int) -> bytes:
            tape = self._vendor.tape(rest.feed(request.query))
            return rest.snapshots(tape, rest.symbols(request.query), now_ns, self._halted())

        return await self._answer(request, read)

    def _halted(self) -> rest.Halted:
        halts = self._vendor.books.board.had(Halt)
        return lambda symbol, at_ns: halted(halts, symbol, at_ns)

    async def _answer(self, request: web.Request, read: Callable[[int], bytes]) -> web.Response:
        """Answer with what `read` returns, to whom it is for."""
        key = request.headers.get("APCA-API-KEY-ID", "")
        secret = self._vendor.rules.keys.get(key)
        if secret is None or request.headers.get("APCA-API-SECRET-KEY") != secret:
            return refuse(HTTPStatus.FORBIDDEN, "forbidden.")
        now_ns = self._clock()
        allowance = self._allowances.setdefault(key, rest.Allowance(self._limit))
        granted, headers = allowance.take(now_ns)
        self._vendor.books.sweep()
        refusal = faults.rest(self._vendor.books.board, now_ns)
        if refusal is None and not granted:
            refusal = Refusal(status=HTTPStatus.TOO_MANY_REQUESTS, message="too many requests.")
        if refusal:
            response = refuse(refusal.status, refusal.message)
            response.headers.update({**headers, **refusal.headers})
            return response
        try:
            # a long window takes a while, and the stream goes on meanwhile
            body = await asyncio.to_thread(read, now_ns)
        except rest.Invalid as error:
            response = refuse(HTTPStatus.BAD_REQUEST, str(error))
        else:
            response = web.Response(body=body, content_type="application/json", charset="utf-8")
            response.enable_compression()
        response.headers.update(headers)
        return response

    async def _keys(self, _: web.Request) -> web.Response:
        return answer({"keys": sorted(self._vendor.rules.keys)})

    async def _admit(self, request: web.Request) -> web.Response:
        return await self._change(request, dict[Filled, Filled], lambda keys: keys)

    async def _admit_one(self, request: web.Request) -> web.Response:
        key = request.match_info["id"]
        return await self._change(
            request, _Secret, lambda one: {**self._vendor.rules.keys, key: one.secret}
        )

    async def _change(
        self, request: web.Request, shape: type[T], keys: Callable[[T], dict[str, str]]
    ) -> web.Response:
        try:
            asked = msgspec.json.decode(await request.read(), type=shape)
        except msgspec.DecodeError as error:
            return refuse(HTTPStatus.BAD_REQUEST, f"keys: {error}")
        self._vendor.admit(keys(asked))
        return await self._keys(request)

    async def _dismiss(self, request: web.Request) -> web.Response:
        key, keys = request.match_info["id"], dict(self._vendor.rules.keys)
        if keys.pop(key, None) is None:
            return refuse(HTTPStatus.NOT_FOUND, f"unknown key {key!r}")
        self._vendor.admit(keys)
        return await self._keys(request)
