"""The Alpaca worker, against a vendor in the same process."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import Close as CloseFrame
from websockets.http11 import Request, Response

from infra.market_calendar import ALWAYS_OPEN
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA
from ingest.alpaca.session import Closure, Patience, Plan, Session
from ingest.alpaca.wire import Encoding
from ingest.alpaca.worker import FRAGMENT_BYTES, AlpacaWorker, Timings, closure, refusal
from ingest.clock import read_clock
from ingest.events import Connected, Disconnected, Heartbeat, Subscribed
from ingest.keys import Keys
from tests.ingest.fakes import InMemoryProducer, eventually, publishing

QUICK = Timings(open_s=2, ping_s=0.05, pong_s=0.1, close_s=0.1, heartbeat_s=0.01)
SOON = Patience(answer_s=0.3, healthy_s=60, first_retry_s=0.01, retry_cap_s=0.05)
TRADE = '{"T":"t","S":"AAPL", "p":1.10}'

Script = Callable[["Vendor", ServerConnection], Awaitable[None]]


class Vendor:
    """A websocket server that does what its test says, and keeps count of its connections."""

    def __init__(self, script: Script, encoding: Encoding) -> None:
        self.url = ""
        self.requests: list[Request] = []
        self.most_at_once = 0
        #: Set when the test is over.
        self.over = asyncio.Event()
        self.refuses_with: HTTPStatus | None = None
        self._script = script
        self._encoding = encoding
        self._open = 0

    async def serve(self, connection: ServerConnection) -> None:
        """Run the script on one connection."""
        self._open += 1
        self.most_at_once = max(self.most_at_once, self._open)
        try:
            await self._script(self, connection)
        except ConnectionClosed:
            pass
        finally:
            self._open -= 1

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Note the handshake, and refuse it where the test wants that."""
        self.requests.append(request)
        if self.refuses_with:
            return connection.respond(self.refuses_with, "no")
        return None

    async def say(self, connection: ServerConnection, *messages: Any) -> None:
        """Send one frame."""
        if self._encoding == "json":
            await connection.send(json.dumps(messages))
        else:
            await connection.send(msgspec.msgpack.encode(messages))

    async def hear(self, connection: ServerConnection) -> Any:
        """Return the next message of the worker."""
        data = await connection.recv(decode=False)
        return (msgspec.json if self._encoding == "json" else msgspec.msgpack).decode(data)

    async def greet(self, connection: ServerConnection) -> Any:
        """Go through the handshake up to the subscription, and return that."""
        await self.say(connection, {"T": "success", "msg": "connected"})
        assert (await self.hear(connection))["action"] == "auth"
        await self.say(connection, {"T": "success", "msg": "authenticated"})
        subscription = await self.hear(connection)
        await self.say(connection, {"T": "subscription", "trades": subscription["trades"]})
        return subscription


class Run:
    """A worker at work, and what it has published."""

    def __init__(self, worker: AlpacaWorker, log: InMemoryProducer, meters: Meters) -> None:
        self.worker = worker
        self.log = log
        self._meters = meters

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the statuses of one kind, in order."""
        return [status for status in self.log.statuses() if isinstance(status, kind)]

    def metric(self, series: str) -> float:
        """Return a series's value, as it would be scraped."""
        self.worker.refresh()
        for line in self._meters.exposition().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        message = f"{series} is not exposed"
        raise AssertionError(message)


@asynccontextmanager
async def working(
    script: Script,
    *,
    encoding: Encoding = "json",
    symbols: tuple[str, ...] = ("AAPL", "MSFT"),
    patience: Patience = SOON,
    timings: Timings = QUICK,
    refuses_with: HTTPStatus | None = None,
) -> AsyncIterator[tuple[Run, Vendor]]:
    """A worker that streams from a vendor until the context is left."""
    vendor, stop = Vendor(script, encoding), asyncio.Event()
    vendor.refuses_with = refuses_with
    meters = Meters("alpaca")
    async with (
        publishing() as (publisher, log),
        serve(vendor.serve, "127.0.0.1", 0, process_request=vendor.admit) as server,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        vendor.url = f"ws://127.0.0.1:{port}/v2/iex"
        worker = AlpacaWorker(
            url=vendor.url,
            encoding=encoding,
            session=Session(
                Plan(feed="iex", encoding=encoding),
                symbols=symbols,
                keys=Keys(key_id="PKEY", secret="hush-hush"),
                run_id="run",
                now=read_clock(),
                jitter=lambda: 0.0,
                market=ALWAYS_OPEN,
                patience=patience,
            ),
            publisher=publisher,
            meters=meters,
            timings=timings,
        )
        running = asyncio.create_task(worker.run(stop))
        try:
            yield Run(worker, log, meters), vendor
        finally:
            stop.set()
            await running
            vendor.over.set()
            await publisher.drain()


async def _stream(vendor: Vendor, connection: ServerConnection) -> None:
    await vendor.greet(connection)
    await connection.send(f"[{TRADE}]")
    await connection.wait_closed()


async def _flood(connection: ServerConnection, sent: list[int] | None = None) -> None:
    """Send as fast as the other side takes it, and let it take its turn on the one loop."""
    for number in itertools.count(1):
        await connection.send(f"[{TRADE}]")
        if sent is not None:
            sent.append(number)
        if number % 20 == 0:
            await asyncio.sleep(0)


async def test_ticks_and_life_reach_the_log() -> None:
    """From socket to topic: the handshake's events in order, then a tick with its own bytes."""
    async with working(_stream) as (run, vendor):
        (tick,) = await eventually(lambda: run.log.ticks(RAW_ALPACA))
        assert (tick.symbol, bytes(tick.raw).decode()) == ("AAPL", TRADE)
        assert [type(s).__name__ for s in run.log.statuses() if not isinstance(s, Heartbeat)] == [
            "Connected",
            "Authenticated",
            "Subscribed",
        ]
        beat = await eventually(
            lambda: [beat for beat in run.told(Heartbeat) if beat.messages == 1]
        )
        assert (beat[0].state, beat[0].symbols) == ("connected", 2)
        headers = vendor.requests[0].headers
        assert headers["Content-Type"] == "application/json"
        assert "permessage-deflate" in headers["Sec-WebSocket-Extensions"]
        assert run.metric('alpaca_connection_status{state="Connected"}') == 1
        assert run.metric("alpaca_authentication_status") == 1
        assert run.metric("alpaca_subscribed_symbols") == 2
        assert run.metric('alpaca_messages_received_total{type="trade"}') == 1
        assert run.metric('alpaca_messages_received_total{type="control"}') == 3
        assert run.metric("alpaca_last_message_timestamp_seconds") == pytest.approx(
            tick.received_at_ns / 1e9
        )


async def test_msgpack_is_asked_for_and_spoken() -> None:
    """With msgpack the handshake says so, and both sides speak it."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        await vendor.say(connection, {"T": "q", "S": "MSFT"})
        await connection.wait_closed()

    async with working(script, encoding="msgpack") as (run, vendor):
        (tick,) = await eventually(lambda: run.log.ticks(RAW_ALPACA))
        assert (tick.symbol, tick.encoding) == ("MSFT", "msgpack")
        assert vendor.requests[0].headers["Content-Type"] == "application/msgpack"


async def test_clean_close_is_followed_by_another_connection() -> None:
    """A vendor that closes in good order is connected to again, one connection at a time."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        await connection.send(f"[{TRADE}]")
        await connection.close(1001, "going away")

    async with working(script) as (run, vendor):
        ticks = await eventually(lambda: (t := run.log.ticks(RAW_ALPACA))[2:] and t)
        assert [(tick.session_id, tick.session_seq) for tick in ticks[:3]] == [
            ("run-1", 1),
            ("run-2", 1),
            ("run-3", 1),
        ]
        lost = run.told(Disconnected)[0]
        assert (lost.reason, lost.code, lost.detail) == ("closed", 1001, "going away")
        assert vendor.most_at_once == 1
        assert run.metric('alpaca_reconnection_total{reason="closed"}') >= 2
        assert run.metric('alpaca_errors_total{type="connection"}') == 0


async def test_refused_keys_are_not_hammered() -> None:
    """After five refusals nothing more is tried, while the heartbeat goes on to tell the state."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.say(connection, {"T": "success", "msg": "connected"})
        await vendor.hear(connection)
        await vendor.say(connection, {"T": "error", "code": 402, "msg": "auth failed"})
        await connection.wait_closed()

    async with working(script) as (run, vendor):
        await eventually(lambda: run.metric("alpaca_consecutive_auth_failures") == 5)
        seen = len(run.told(Heartbeat))
        await eventually(lambda: len(run.told(Heartbeat)) > seen + 20)
        assert len(vendor.requests) == 5
        assert run.told(Heartbeat)[-1].state == "error"
        assert {(lost.reason, lost.code) for lost in run.told(Disconnected)} == {("auth", 402)}
        assert run.metric('alpaca_connection_status{state="Error"}') == 1
        assert run.metric('alpaca_errors_total{type="authentication"}') == 5


async def test_mute_socket_is_noticed() -> None:
    """A socket on which nothing comes, not even an answer to our ping, is given up as dead."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        connection.transport.pause_reading()
        await vendor.over.wait()
        connection.transport.resume_reading()

    async with working(script) as (run, _):
        lost = (await eventually(lambda: run.told(Disconnected)))[0]
        assert (lost.reason, lost.detail) == ("timeout", "no answer to our ping")
        await eventually(lambda: len(run.told(Connected)) > 1)
        assert run.metric('alpaca_reconnection_total{reason="timeout"}') >= 1


async def test_flood_before_authentication_ends_at_the_window() -> None:
    """A peer that sends without pause, but never the welcome, is given up like a silent one."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        del vendor
        await _flood(connection)

    async with working(script) as (run, _):
        lost = (await eventually(lambda: run.told(Disconnected)))[0]
        assert lost.reason == "timeout"
        assert "authentication" in lost.detail


async def test_refused_handshake_is_told_and_tried_again() -> None:
    """An HTTP status instead of a socket is told as such, and the heart beats on meanwhile."""
    async with working(_stream, refuses_with=HTTPStatus.SERVICE_UNAVAILABLE) as (run, vendor):
        lost = (await eventually(lambda: run.told(Disconnected)))[0]
        assert (lost.reason, lost.code) == ("error", 503)
        assert lost.detail == "HTTP 503 Service Unavailable"
        await eventually(lambda: len(run.told(Heartbeat)) > 1)
        assert run.metric("alpaca_authentication_status") == 0
        vendor.refuses_with = None
        await eventually(lambda: run.log.ticks(RAW_ALPACA))
        assert run.metric('alpaca_errors_total{type="connection"}') >= 1


async def test_end_takes_what_was_sent_before() -> None:
    """Told to end, the worker says so, and takes what the vendor sent until its own close."""
    sent: list[int] = []

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        await _flood(connection, sent)

    calm = Timings(open_s=2, ping_s=10, pong_s=10, close_s=5, heartbeat_s=0.01)
    async with working(script, timings=calm) as (run, _):
        await eventually(lambda: len(run.log.records(RAW_ALPACA)) > 100)
    assert [tick.session_seq for tick in run.log.ticks(RAW_ALPACA)] == sent
    assert [lost.reason for lost in run.told(Disconnected)] == ["shutdown"]


async def test_long_subscription_goes_out_in_fragments() -> None:
    """Thousands of symbols are one message, in fragments that the vendor takes."""
    symbols = tuple(f"S{number}" for number in range(3000))
    fragments: list[int] = []

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.say(connection, {"T": "success", "msg": "connected"})
        await vendor.hear(connection)
        await vendor.say(connection, {"T": "success", "msg": "authenticated"})
        message = ""
        async for fragment in connection.recv_streaming():
            assert isinstance(fragment, str)
            fragments.append(len(fragment))
            message += fragment
        await vendor.say(connection, {"T": "subscription", **json.loads(message)})
        await connection.wait_closed()

    async with working(script, symbols=symbols, patience=Patience()) as (run, _):
        (subscribed,) = await eventually(lambda: run.told(Subscribed))
    assert tuple(subscribed.symbols) == symbols
    assert len(fragments) > 1
    assert max(fragments) <= FRAGMENT_BYTES


async def test_secret_stays_out_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Even at DEBUG, where libraries write out frames, neither key nor secret is logged."""
    caplog.set_level(logging.DEBUG)
    async with working(_stream) as (run, _):
        await eventually(lambda: run.log.ticks(RAW_ALPACA))
    # the vendor is in this process as well, and may log what it likes
    ours = [r.getMessage() for r in caplog.records if r.name != "websockets.server"]
    assert not [line for line in ours if "hush-hush" in line or "PKEY" in line]


@pytest.mark.parametrize(
    ("gone", "reason", "code"),
    [
        (
            ConnectionClosedError(CloseFrame(1001, "bye"), CloseFrame(1001, "bye"), True),  # noqa: FBT003  # rcvd_then_sent
            "closed",
            1001,
        ),
        (ConnectionClosedError(CloseFrame(1011, "oops"), None), "closed", 1011),
        (ConnectionClosedError(None, CloseFrame(1009, "too big")), "error", 1009),
        (
            ConnectionClosedError(None, CloseFrame(1011, "keepalive ping timeout")),
            "timeout",
            1011,
        ),
        (ConnectionClosedError(None, None), "error", None),
    ],
)
def test_lost_socket_has_a_cause(gone: ConnectionClosed, reason: str, code: int | None) -> None:
    """How a socket ended says whose doing it was."""
    lost = closure(gone)
    assert (lost.reason, lost.code) == (reason, code)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TimeoutError(), Closure("timeout", None, "the handshake took too long")),
        (
            ConnectionRefusedError(111, "refused"),
            Closure("error", None, "ConnectionRefusedError: [Errno 111] refused"),
        ),
    ],
)
def test_socket_that_never_opened_has_a_cause(error: OSError, expected: Closure) -> None:
    """A failed handshake says why it failed."""
    assert refusal(error) == expected
