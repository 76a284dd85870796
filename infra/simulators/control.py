"""The control interface: faults are listed, switched on and switched off over HTTP.

    GET    /faults          all there are, with their parameters, and which are on
    PUT    /faults/{name}   switch one on; a JSON object of parameters, or nothing
    DELETE /faults/{name}   switch one off
    DELETE /faults          switch all off

A mistake is answered with 400 (parameters) or 404 (no such fault) and `{"message": ...}`.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from infra.simulators.faults import (
    SECOND_NS,
    Active,
    BadParameters,
    Fault,
    Lines,
    Switchboard,
    UnknownFault,
    name_of,
    parameters_of,
    sentence_of,
)
from infra.simulators.ledger import Ledger, LedgerError, Line

#: How often it is seen whether a fault is over; its end bears the right time however late that is.
_SWEEP_SECONDS = 0.05
#: How long the answers under way have when the simulator stops.
_LAST_ANSWERS_SECONDS = 1.0


class Books:
    """A simulator's ledger and its faults, which are written into it.

    Args:
        ledger: where everything is written down before it happens.
        board: the faults.
        clock: the time in ns since the epoch.

    """

    def __init__(self, ledger: Ledger, board: Switchboard, clock: Callable[[], int]) -> None:
        self._ledger = ledger
        self.board = board
        self._clock = clock
        self._sweeper: asyncio.Task[None] | None = None
        #: Set to the exception when the ledger fails: what is sent from there on would be untold.
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """End faults when their time is over, from now on."""
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def stop(self) -> None:
        """End all faults with the simulator."""
        if self._sweeper:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError, LedgerError):
                await self._sweeper
        with contextlib.suppress(LedgerError):  # which `failed` tells
            self.sweep()
            self.write(self.board.stop(self._clock()))

    def write(self, lines: Sequence[Line]) -> None:
        """Write lines down. Raises LedgerError, once `failed` tells it as well."""
        if not lines:
            return
        try:
            self._ledger.append(lines)
        except LedgerError as error:
            if not self.failed.done():
                self.failed.set_exception(error)
            raise

    def sweep(self) -> None:
        """End the faults that are over by now. Raises LedgerError."""
        self.write(self.board.sweep(self._clock()))

    async def _sweep_for_ever(self) -> None:
        while True:
            self.sweep()
            await asyncio.sleep(_SWEEP_SECONDS)

    def routes(self) -> list[web.RouteDef]:
        """Return the control interface."""
        return [
            web.get("/faults", self._list),
            web.put("/faults/{name}", self._put),
            web.delete("/faults/{name}", self._clear),
            web.delete("/faults", self._clear),
        ]

    async def _list(self, _: web.Request) -> web.Response:
        self.sweep()
        on = {active.name: active for active in self.board.on}
        faults = [_shown(kind, on.get(name_of(kind))) for kind in self.board.kinds]
        return answer({"faults": faults})

    async def _put(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            parameters = msgspec.json.decode(body) if body else {}
        except msgspec.DecodeError as error:
            return refuse(400, f"the body is no JSON: {error}")

        def put(now_ns: int) -> Lines:
            return self.board.put(request.match_info["name"], parameters, now_ns)

        return self._change(put)

    async def _clear(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name")
        return self._change(lambda now_ns: self.board.clear(name, now_ns))

    def _change(self, change: Callable[[int], Lines]) -> web.Response:
        self.sweep()
        try:
            lines = change(self._clock())
        except UnknownFault as error:
            return refuse(404, str(error))
        except BadParameters as error:
            return refuse(400, str(error))
        self.write(lines)
        return answer(lines)


def _shown(kind: type[Fault], active: Active[Fault] | None) -> dict[str, Any]:
    """Return what is told of a fault."""
    on = active and {
        "fault_id": active.fault_id,
        "parameters": active.fault,
        "began_at": datetime.fromtimestamp(active.began_ns / SECOND_NS, UTC),
        "uses": active.uses,
    }
    return {
        "name": name_of(kind),
        "sentence": sentence_of(kind),
        "parameters": parameters_of(kind),
        "on": on,
    }


def answer(body: object, status: int = 200) -> web.Response:
    """Answer with JSON."""
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


def refuse(status: int, message: str) -> web.Response:
    """Answer with an error's status and a sentence."""
    return answer({"message": message}, status)


async def ready(_: web.Request) -> web.Response:
    """Answer that it listens."""
    return web.Response(text="ready\n")


class Listener:
    """An HTTP server of a few routes."""

    def __init__(self, routes: Sequence[web.RouteDef]) -> None:
        app = web.Application()
        app.router.add_routes([*routes, web.get("/ready", ready)])
        self._runner = web.AppRunner(
            app,
            access_log=None,
            # an answer that a fault holds up is worth waiting for to nobody who has left
            handler_cancellation=True,
            shutdown_timeout=_LAST_ANSWERS_SECONDS,
        )

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError where it is taken."""
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        taken: int = self._runner.addresses[0][1]
        return taken

    async def stop(self) -> None:
        """Finish the answers under way and stop listening."""
        await self._runner.cleanup()
