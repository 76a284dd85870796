"""The endpoints: who asks for what, and when it was."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from aiohttp import web

from infra.simulators.control import Books, Listener
from infra.simulators.faults import Switchboard
from infra.simulators.ledger import Entry, Ledger, LedgerError
from infra.simulators.market import DAY_NS, LISTINGS, SECOND_NS, Market
from infra.simulators.yahoo import faults, wire
from infra.simulators.yahoo.faults import FAULTS
from infra.simulators.yahoo.wire import Content, Part, Span

Write = Callable[[str, Content], bytes]


class Make(Protocol):
    """Says something of a symbol: `wire.spark` or `wire.chart`."""

    def __call__(self, market: Market, symbol: str, *, at_ns: int, span: Span) -> Content:
        """Return it, as of `at_ns`."""


class YahooSimulator:
    """`/v7/finance/spark` and `/v8/finance/chart/{symbol}`, with `GET /ready` beside them.

    The control interface of its faults is on the same port.

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
        self._delay_ns = round(delay * SECOND_NS)
        self._clock = clock
        self._run = uuid.uuid4().hex[:12]
        self._sent = 0
        self._listener: Listener | None = None
        board = Switchboard(
            source="yahoo", kinds=FAULTS, symbols=frozenset(LISTINGS), run=self._run
        )
        self.books = Books(ledger, board, clock)
        self.failed = self.books.failed

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port. Raises OSError where it is taken."""
        self._listener = Listener(
            [
                web.get("/v7/finance/spark", self._spark),
                web.get("/v8/finance/chart/{symbol}", self._chart),
                *self.books.routes(),
            ]
        )
        taken = await self._listener.start(host, port)
        self.books.start()
        return taken

    async def stop(self) -> None:
        """Finish the answers under way and stop listening."""
        if self._listener:
            await self._listener.stop()
        await self.books.stop()

    def _quoted_at(self) -> int:
        """Return the moment whose prices are served: a whole second, `delay` ago."""
        return _whole(self._clock() - self._delay_ns)

    async def _spark(self, request: web.Request) -> web.Response:
        if refusal := await self._faulty():
            return refusal
        names = [name for name in request.query.get("symbols", "").split(",") if name]
        if not names:
            return _refuse("spark", 400, "Bad Request", "Missing value for the symbols argument")
        if len(names) > wire.SPARK_LIMIT:
            description = f"Number of symbols needs to be less than or equal to {wire.SPARK_LIMIT}"
            return _refuse("spark", 400, "Bad Request", description)
        interval = request.query.get("interval", "5m")
        if unserved := _unserved("spark", request.query.get("range", "1d"), interval):
            return unserved
        board = self.books.board
        symbols = [symbol for symbol in wire.listed(names) if not faults.leaves_out(board, symbol)]
        parts = [
            self._part(symbol, Span(interval=interval), wire.spark, wire.sparked)
            for symbol in symbols
        ]
        if not parts:
            return _refuse("spark", 404, "Not Found", "No data found for spark symbols")
        return self._answer("spark", parts)

    async def _chart(self, request: web.Request) -> web.Response:
        if refusal := await self._faulty():
            return refusal
        interval = request.query.get("interval", "1m")
        if unserved := _unserved("chart", request.query.get("range", "1d"), interval):
            return unserved
        try:
            period = _period(request.query, interval, self._clock())
        except ValueError as error:
            return _refuse("chart", 400, "Bad Request", str(error))
        symbols = wire.listed([request.match_info["symbol"]])
        if not symbols:
            description = "No data found, symbol may be delisted"
            return _refuse("chart", 404, "Not Found", description)
        span = Span(interval=interval, period=period)
        return self._answer("chart", [self._part(symbols[0], span, wire.chart, wire.charted)])

    async def _faulty(self) -> web.Response | None:
        """Wait as long as a fault makes one wait; return what one says instead of an answer."""
        self.books.sweep()
        if seconds := faults.delay(self.books.board):
            await asyncio.sleep(seconds)
        self.books.sweep()
        refusal = faults.refusal(self.books.board)
        if refusal is None:
            return None
        return web.Response(
            text=refusal.body,
            status=refusal.status,
            content_type=refusal.content_type,
            headers=refusal.headers,
        )

    def _part(self, symbol: str, span: Span, make: Make, write: Write) -> Part:
        """Return what is said of a symbol, with what faults make of it."""
        board = self.books.board
        at_ns, frozen = faults.quoted_at(board, symbol, self._quoted_at(), self._delay_ns)
        content = make(self._market, symbol, at_ns=_whole(at_ns), span=span)
        content, edited = faults.edit(board, symbol, content)
        fault = ",".join(name for name in (frozen, edited) if name)
        return Part(symbol=symbol, body=write(symbol, content), fault=fault)

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
                fault=part.fault,
            )
            for sequence, part in enumerate(parts, start=self._sent + 1)
        ]
        try:
            self.books.write(entries)
        except LedgerError as error:
            raise web.HTTPInternalServerError from error
        self._sent += len(entries)
        response = _json(wire.body(kind, parts))
        response.enable_compression()
        return response


def _whole(at_ns: int) -> int:
    """Return the whole second of a moment."""
    return at_ns - at_ns % SECOND_NS


def _period(query: Mapping[str, str], interval: str, now_ns: int) -> tuple[int, int] | None:
    """Return the period that is asked for, in ns, if one is. Raises ValueError with a sentence."""
    given = [name for name in ("period1", "period2") if name in query]
    if not given:
        return None
    if len(given) < len(("period1", "period2")):
        message = "Invalid input - period1 and period2 go together"
        raise ValueError(message)
    for name in given:
        if not query[name].isdecimal():
            message = f"Invalid input - {name}={query[name]} is no number of seconds"
            raise ValueError(message)
    first, until = (int(query[name]) for name in given)
    if first >= until:
        message = (
            "Invalid input - start date cannot be after end date. "
            f"startDate = {first}, endDate = {until}"
        )
        raise ValueError(message)
    days = wire.REACH_DAYS[interval]
    if first * SECOND_NS < now_ns - days * DAY_NS:
        message = (
            f"{interval} data not available for startTime={first} and endTime={until}. "
            f"The requested range must be within the last {days} days."
        )
        raise ValueError(message)
    return first * SECOND_NS, until * SECOND_NS


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
