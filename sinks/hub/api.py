"""The HTTP API: how things are, and what an operator may ask; thin, over aiohttp."""

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from infra.clock import now_ns
from infra.commands import Command, Failover, Hold, Reconnect, Release, ReloadSymbols
from infra.kafka.give import NotTakenError
from infra.promql_http import NoAnswerError
from sinks.hub import health, operations, words
from sinks.hub.access import Access, token_in
from sinks.hub.answers import problem
from sinks.hub.broadcast import Broadcast
from sinks.hub.operations import OPERATIONS, Asked, FailoverWish, Operation, Reason, ReloadWish
from sinks.hub.promises import Promises
from sinks.hub.replies import Replies

_log = structlog.get_logger()

JSON: Final = "application/json"
#: Prices and states are of this moment.
NOT_KEPT: Final = {"Cache-Control": "no-store"}

#: The router decides four times a second.
PATIENCE_S: Final = 3.0

Give = Callable[[Command], Awaitable[int]]


class Api:
    """The API's operations.

    Args:
        broadcast: what is known, and who is connected.
        access: who may.
        give: writes a command, and returns its offset. Raises NotTakenError.
        replies: what the router says to it.
        promises: what is known of the service levels.
        patience_s: how long the router may take to say something.

    """

    def __init__(
        self,
        broadcast: Broadcast,
        access: Access,
        give: Give,
        replies: Replies,
        *,
        promises: Promises | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._replies = replies
        known = promises or Promises()
        self._patience_s = patience_s
        self._broadcast = broadcast
        self._hub = broadcast.hub
        self._access = access
        self._give = give
        self._document = msgspec.json.encode(operations.document())
        self._answers: dict[str, Callable[[int], msgspec.Struct | Awaitable[msgspec.Struct]]] = {
            "health": self._overall,
            "alpaca": lambda now: health.alpaca(self._hub, now),
            "dataSource": lambda now: health.data_source(self._hub, now),
            "stocks": lambda now: health.stocks(self._hub, now),
            "realtime": self._realtime,
            "symbols": lambda _: health.symbols(self._hub),
            "serviceLevels": lambda _: known.levels(),
            "alerts": self._hub.alarms.told,
            "activeSymbols": lambda now: health.active(self._hub, now),
        }

    def add_to(self, app: web.Application) -> None:
        """Add the operations' routes."""
        for each in OPERATIONS:
            if each.wish:
                app.router.add_post(each.path, self._asking(each))
            else:
                app.router.add_get(each.path, self._telling(each))
        app.router.add_get("/openapi.json", self._openapi)

    async def _openapi(self, _: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type=JSON)

    def _telling(self, each: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        answer = self._answers[each.name]

        async def tell(request: web.Request) -> web.Response:
            if each.open != "anybody":
                self._access.user(token_in(request.headers, request.query))
            found = answer(now_ns())
            if inspect.isawaitable(found):
                try:
                    found = await found
                except NoAnswerError as error:
                    return problem(503, str(error))
            bad = each.unwell and getattr(found, "status", None) == "Unhealthy"
            return _told(found, 503 if bad else each.status)

        return tell

    def _asking(self, each: Operation) -> Callable[[web.Request], Awaitable[web.Response]]:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(each.wish)

        async def ask(request: web.Request) -> web.Response:
            # in the header alone, which no page of another origin can have a browser send
            admin = self._access.admin(token_in(request.headers, {}))
            if request.content_type != JSON:
                return problem(415, f"expected a body of {JSON}")
            try:
                wish = decoder.decode(await request.read())
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                return problem(400, str(error))
            if "\n" in wish.why:  # which Python's `$` lets pass at the end
                return problem(400, "why: expected one line")
            command = _command(each.name, wish, admin.name)
            try:
                offset = await self._give(command)
            except NotTakenError as error:
                return problem(503, str(error))
            _log.info("asked", command=each.name, who=command.who, why=command.why)
            reply = await self._replies.of(offset, self._patience_s) if each.answered else None
            if reply and reply.outcome == "refused":
                return problem(409, f"the router refuses: {reply.detail} ({reply.reason})")
            asked = Asked(
                outcome="done" if reply else "asked",
                detail=reply.detail if reply else f"it is in the log for {command.target}",
                command=each.name,
                target=command.target,
                who=command.who,
                why=command.why,
                at=words.iso(command.at_ns),
            )
            return _told(asked, 200 if reply else each.status)

        return ask

    def _realtime(self, now: int) -> health.RealtimeHealth:
        broadcast = self._broadcast
        connections = Counter({"market-data": 0, "dashboard": 0})
        connections.update(each.session.hub for each in broadcast.connections.values())
        rate = broadcast.updates_per_second()
        return health.realtime(self._hub, broadcast.tally, dict(connections), rate, now)

    def _overall(self, now: int) -> health.Overall:
        return health.overall(
            {
                "alpaca": health.alpaca(self._hub, now),
                "datasource": health.data_source(self._hub, now),
                "stocks": health.stocks(self._hub, now),
                "realtime": self._realtime(now),
            },
            now,
        )


def _command(name: str, wish: FailoverWish | Reason | ReloadWish, who: str) -> Command:
    at_ns, why = now_ns(), wish.why.strip(" ")
    match name, wish:
        case "failover", FailoverWish():
            return Failover(at_ns=at_ns, who=who, why=why, target="router", to=wish.to)
        case "hold", _:
            return Hold(at_ns=at_ns, who=who, why=why, target="router")
        case "release", _:
            return Release(at_ns=at_ns, who=who, why=why, target="router")
        case "reconnect", _:
            return Reconnect(at_ns=at_ns, who=who, why=why, target="alpaca")
        case _, ReloadWish():
            return ReloadSymbols(at_ns=at_ns, who=who, why=why, target=wish.source)
    message = f"no command is called {name}"
    raise ValueError(message)


def _told(answer: msgspec.Struct, status: int) -> web.Response:
    body = msgspec.json.encode(answer)
    return web.Response(status=status, body=body, content_type=JSON, headers=NOT_KEPT)
