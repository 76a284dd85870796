"""The endpoints: who asks for what, and when it was."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence

import structlog
from aiohttp import web

from infra.simulators.ledger import Entry, Ledger, LedgerError
from infra.simulators.market import SECOND_NS, Market
from infra.simulators.yahoo import wire
from infra.simulators.yahoo.wire import Part

log = structlog.get_logger()


class YahooSimulator:
    """`/v7/finance/spark` and `/v8/finance/chart/{symbol}`, with `GET /ready` beside them.

    Args:
        market: where prices come from.
        ledger: where every symbol's part of an answer is written down first.
        delay: how many seconds its prices are behind the market.
        clock: the time in ns since the epoch.

    """

    def __init__(
        self,
        market: Market,
        ledger: Ledger,
        *,
        delay: float,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._market = market
        self._ledger = ledger
        self._delay_ns = round(delay * SECOND_NS)
        self._clock = clock
        self._run = uuid.uuid4().hex[:12]
        self._sent = 0
        self._runner: web.AppRunner | None = None
        #: Set to the exception when the ledger fails: what is sent from there on would be untold.
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError where it is taken."""
        app = web.Application()
        app.router.add_get("/ready", _ready)
        app.router.add_get("/v7/finance/spark", self._spark)
        app.router.add_get("/v8/finance/chart/{symbol}", self._chart)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        taken: int = self._runner.addresses[0][1]
        return taken

    async def stop(self) -> None:
        """Finish the answers under way and stop listening."""
        if self._runner:
            await self._runner.cleanup()

    def _quoted_at(self) -> int:
        """Return the moment whose prices are served: a whole second, `delay` ago."""
        at_ns = self._clock() - self._delay_ns
        return at_ns - at_ns % SECOND_NS

    async def _spark(self, request: web.Request) -> web.Response:
        names = [name for name in request.query.get("symbols", "").split(",") if name]
        if not names:
            return _refuse("spark", 400, "Bad Request", "Missing value for the symbols argument")
        if len(names) > wire.SPARK_LIMIT:
            description = f"Number of symbols needs to be less than or equal to {wire.SPARK_LIMIT}"
            return _refuse("spark", 400, "Bad Request", description)
        interval = request.query.get("interval", "5m")
        if refusal := _unserved("spark", request.query.get("range", "1d"), interval):
            return refusal
        parts = wire.spark(self._market, names, at_ns=self._quoted_at(), interval=interval)
        if not parts:
            return _refuse("spark", 404, "Not Found", "No data found for spark symbols")
        return self._answer("spark", parts)

    async def _chart(self, request: web.Request) -> web.Response:
        interval = request.query.get("interval", "1m")
        if refusal := _unserved("chart", request.query.get("range", "1d"), interval):
            return refusal
        name = request.match_info["symbol"]
        part = wire.chart(self._market, name, at_ns=self._quoted_at(), interval=interval)
        if part is None:
            description = "No data found, symbol may be delisted"
            return _refuse("chart", 404, "Not Found", description)
        return self._answer("chart", [part])

    def _answer(self, kind: str, parts: Sequence[Part]) -> web.Response:
        now_ns = self._clock()
        entries = [
            Entry(
                source="yahoo",
                connection=self._run,
                sequence=sequence,
                sent_at_ns=now_ns,
                symbol=part.symbol,
                encoding="json",
                raw=part.body.decode(),
            )
            for sequence, part in enumerate(parts, start=self._sent + 1)
        ]
        try:
            self._ledger.append(entries)
        except LedgerError as error:
            if not self.failed.done():
                self.failed.set_exception(error)
            raise web.HTTPInternalServerError from error
        self._sent += len(entries)
        response = _json(wire.body(kind, parts))
        response.enable_compression()
        return response


async def _ready(_: web.Request) -> web.Response:
    return web.Response(text="ready\n")


def _unserved(kind: str, span: str, interval: str) -> web.Response | None:
    """Refuse a range or an interval that this market keeps no history for."""
    if span != "1d":
        description = f"Invalid input - range={span} is not supported. Valid ranges: [1d]"
    elif interval not in wire.INTERVALS:
        valid = ", ".join(wire.INTERVALS)
        description = (
            f"Invalid input - interval={interval} is not supported. Valid intervals: [{valid}]"
        )
    else:
        return None
    return _refuse(kind, 422, "Unprocessable Entity", description)


def _refuse(kind: str, status: int, code: str, description: str) -> web.Response:
    return _json(wire.refusal(kind, code, description), status=status)


def _json(body: bytes, *, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json", charset="utf-8")
