"""The Alpaca worker, against a vendor in the same process."""

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import msgspec
import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.frames import Close as CloseFrame
from websockets.http11 import Request, Response

from infra.topics import RAW_ALPACA
from ingest.alpaca.outputs import Closure, Patience
from ingest.alpaca.wire import Encoding
from ingest.alpaca.worker import FRAGMENT_BYTES, Timings, closure, refusal
from ingest.clock import read_clock
from ingest.events import (
    Authenticated,
    Connected,
    Disconnected,
    GapEnded,
    GapOpened,
    Heartbeat,
    Resumed,
    Stalled,
    Stopped,
    Subscribed,
)
from ingest.keys import Keys
from tests.ingest.alpaca.working import CALM, QUICK, SOON, Run, at_work
from tests.ingest.fakes import eventually, publishing

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
        #: What a refusal's answer says besides.
        self.retry_after = ""
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
            answer = connection.respond(self.refuses_with, "no")
            if self.retry_after:
                answer.headers["Retry-After"] = self.retry_after
            return answer
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
        await self.confirm(connection, subscription["trades"])
        return subscription

    async def confirm(self, connection: ServerConnection, symbols: list[str]) -> None:
        """Say what is sent from now on."""
        await self.say(connection, {"T": "subscription", "trades": symbols})


@asynccontextmanager
async def working(
    script: Script,
    *,
    encoding: Encoding = "json",
    symbols: tuple[str, ...] = ("AAPL", "MSFT"),
    patience: Patience = SOON,
    timings: Timings = QUICK,
    refuses_with: HTTPStatus | None = None,
    retry_after: str = "",
    compression: str | None = "deflate",
    enabled: bool = True,
) -> AsyncIterator[tuple[Run, Vendor]]:
    """A worker that streams from a vendor until the context is left."""
    vendor = Vendor(script, encoding)
    vendor.refuses_with, vendor.retry_after = refuses_with, retry_after
    async with (
        publishing() as (publisher, log),
        serve(
            vendor.serve,
            "127.0.0.1",
            0,
            process_request=vendor.admit,
            compression=compression,
            max_size=None,
        ) as server,
    ):
        port = next(iter(server.sockets)).getsockname()[1]
        vendor.url = f"ws://127.0.0.1:{port}/v2/iex"
        try:
            async with at_work(
                vendor.url,
                publisher,
                log,
                encoding=encoding,
                symbols=symbols,
                patience=patience,
                timings=timings,
                enabled=enabled,
            ) as run:
                yield run, vendor
        finally:
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


async def test_keepalive_without_an_answer_is_noticed() -> None:
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


async def test_connected_but_mute_for_hours_is_given_up_and_told_apart() -> None:
    """A socket that answers pings and sends no data is stalled, not lost; its gap is recorded."""
    connections = itertools.count(1)

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        if next(connections) > 1:
            await connection.send(f"[{TRADE}]")
        await connection.wait_closed()

    patience = replace(SOON, answer_s=10.0, mute_s=0.2, mute_cap_s=60.0)
    async with working(script, patience=patience, timings=CALM) as (run, vendor):
        (stalled,) = await eventually(lambda: run.told(Stalled))
        (resumed,) = await eventually(lambda: run.told(Resumed))
        assert stalled.symbols == resumed.symbols == []
        assert [lost.reason for lost in run.told(Disconnected)] == ["stalled"]
        opened, ended = run.gaps()
        assert isinstance(opened, GapOpened)
        assert isinstance(ended, GapEnded)
        assert (opened.cause, opened.gap_id, opened.symbols) == (
            "stalled",
            ended.gap_id,
            ["AAPL", "MSFT"],
        )
        assert vendor.most_at_once == 1
        assert run.metric('alpaca_reconnection_total{reason="stalled"}') == 1
        assert run.metric('alpaca_gaps_total{cause="stalled"}') == 1


async def _tear_frame(connection: ServerConnection) -> None:
    """Announce 100 bytes, send 3, and go."""
    connection.transport.write(b"\x81\x64abc")
    connection.transport.close()


async def _break_framing(connection: ServerConnection) -> None:
    """Send a frame of a kind that there is not."""
    connection.transport.write(b"\x83\x00")


async def _cut(connection: ServerConnection) -> None:
    connection.transport.abort()


@pytest.mark.parametrize(
    ("harm", "reason", "code"),
    [(_tear_frame, "error", None), (_break_framing, "error", 1002), (_cut, "error", None)],
)
async def test_broken_socket_is_followed_by_another(
    harm: Callable[[ServerConnection], Awaitable[None]], reason: str, code: int | None
) -> None:
    """A torn frame, broken framing, a cut line: what came before is kept, and another opens."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        await connection.send(f"[{TRADE}]")
        if len(vendor.requests) == 1:
            await harm(connection)
        await connection.wait_closed()

    async with working(script, timings=CALM) as (run, _):
        ticks = await eventually(lambda: (t := run.log.ticks(RAW_ALPACA))[1:] and t)
        assert [tick.session_id for tick in ticks] == ["run-1", "run-2"]
        (lost,) = run.told(Disconnected)
        assert (lost.reason, lost.code) == (reason, code)
        assert [type(event).__name__ for event in run.gaps()] == ["GapOpened", "GapEnded"]


async def test_torn_message_is_kept_and_its_ticks_are_a_gap_while_the_stream_goes_on() -> None:
    """Text that breaks off in a frame is published as it is; what it held has to be fetched."""
    torn = '[{"T":"t","S":"AA'

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        await connection.send(torn)
        await connection.send(f"[{TRADE}]")
        await connection.wait_closed()

    async with working(script, timings=CALM) as (run, _):
        bad, good = await eventually(lambda: (t := run.log.ticks(RAW_ALPACA))[1:] and t)
        assert msgspec.json.decode(bad.raw, type=bytes).decode() == torn
        assert (bad.encoding, good.symbol) == ("bytes", "AAPL")
        opened, ended = await eventually(lambda: (g := run.gaps())[1:] and g)
        assert isinstance(opened, GapOpened)
        assert isinstance(ended, GapEnded)
        assert (opened.cause, opened.symbols) == ("torn", ["AAPL", "MSFT"])
        assert opened.since_ns <= bad.received_at_ns <= ended.until_ns
        assert run.told(Disconnected) == []
        assert run.metric('alpaca_errors_total{type="parse"}') == 1
        assert run.metric('alpaca_gaps_total{cause="torn"}') == 1


@pytest.mark.parametrize("floods", [False, True])
async def test_vendor_that_never_answers_our_close_is_cut_off(*, floods: bool) -> None:
    """Asked to reconnect, we wait for the vendor's part for so long only, and take what comes."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        if len(vendor.requests) > 1:
            await connection.wait_closed()
            return
        connection.transport.pause_reading()
        await connection.send(f"[{TRADE}]")
        if floods:
            await _flood(connection)
        await vendor.over.wait()
        connection.transport.resume_reading()

    async with working(script, timings=replace(CALM, close_s=0.3)) as (run, vendor):
        await eventually(lambda: run.log.ticks(RAW_ALPACA))
        run.worker.reconnect("ann: to see")
        await eventually(lambda: len(run.told(Subscribed)) == 2)
        assert [(lost.reason, lost.detail) for lost in run.told(Disconnected)] == [
            ("asked", "ann: to see")
        ]
        ticks = [tick for tick in run.log.ticks(RAW_ALPACA) if tick.session_id == "run-1"]
        assert [tick.session_seq for tick in ticks] == list(range(1, len(ticks) + 1))
        (opened, _) = await eventually(lambda: (gaps := run.gaps())[1:] and gaps)
        assert opened.cause == "asked"
        assert opened.since_ns == max(tick.received_at_ns for tick in ticks)
        assert run.metric('alpaca_errors_total{type="connection"}') == 0
        vendor.over.set()


async def test_vendor_that_does_not_read_is_given_up() -> None:
    """A subscription that nobody takes off the socket times out like one that nobody answers."""
    symbols = tuple(f"S{number:0>60}" for number in range(60_000))  # more than the sockets hold

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.say(connection, {"T": "success", "msg": "connected"})
        await vendor.hear(connection)
        connection.transport.pause_reading()
        await vendor.say(connection, {"T": "success", "msg": "authenticated"})
        await vendor.over.wait()
        connection.transport.abort()

    timings = replace(CALM, close_s=0.2)
    async with working(
        script,
        symbols=symbols,
        timings=timings,
        patience=replace(SOON, answer_s=2.0),
        compression=None,  # compressed it would fit into the sockets after all
    ) as (run, _):
        lost = (await eventually(lambda: run.told(Disconnected)))[0]
        assert (lost.reason, "subscription" in lost.detail) == ("timeout", True)
        await eventually(lambda: len(run.told(Connected)) > 1)


async def test_message_that_is_not_taken_whole_is_the_last_on_its_socket() -> None:
    """Whatever is answered or asked meanwhile, nothing but our farewell follows half a message."""
    symbols = tuple(f"S{number:0>60}" for number in range(60_000))  # more than the sockets hold
    given_up, heard = asyncio.Event(), list[ConnectionClosed]()

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        if heard:
            await connection.wait_closed()
            return
        await vendor.say(connection, {"T": "success", "msg": "connected"})
        await vendor.hear(connection)
        connection.transport.pause_reading()
        bad = {"T": "error", "code": 400, "msg": "invalid syntax"}
        await vendor.say(connection, {"T": "success", "msg": "authenticated"}, bad, bad)
        await given_up.wait()
        connection.transport.resume_reading()
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
        heard.append(closed.value)

    timings, patience = replace(CALM, close_s=20.0), replace(SOON, answer_s=1.0)
    async with working(
        script, symbols=symbols, timings=timings, patience=patience, compression=None
    ) as (run, vendor):
        await eventually(lambda: run.told(Authenticated))
        run.worker.follow(symbols[::-1])
        await eventually(lambda: [e for e in run.told(Disconnected) if "subscription" in e.detail])
        given_up.set()
        await eventually(lambda: len(run.told(Connected)) > 1)
        assert vendor.most_at_once == 1
    (end,) = heard
    assert end.rcvd
    assert (end.rcvd.code, end.rcvd_then_sent) == (1000, True), "it was told something broken"


async def test_end_while_leaving_takes_what_was_sent_before() -> None:
    """Told to end in the middle of a farewell, the worker still hears it out."""
    sent: list[int] = []

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        await _flood(connection, sent)

    async with working(script, timings=CALM) as (run, _):
        await eventually(lambda: len(run.log.records(RAW_ALPACA)) > 100)
        run.worker.reconnect("ann: to see")
        await eventually(lambda: run.told(Disconnected))
    assert [tick.session_seq for tick in run.log.ticks(RAW_ALPACA)][: len(sent)] == sent
    assert run.told(Disconnected)[0].reason == "asked"


@pytest.mark.parametrize(
    ("retry_after", "least_s"), [("", 60.0), ("300", 300.0), ("soon", 60.0), ("9" * 400, 3600.0)]
)
async def test_handshake_429_is_honoured(retry_after: str, least_s: float) -> None:
    """The vendor is left alone for a minute, or for as long as it says, within reason."""
    async with working(
        _stream, refuses_with=HTTPStatus.TOO_MANY_REQUESTS, retry_after=retry_after
    ) as (run, vendor):
        lost = (await eventually(lambda: run.told(Disconnected)))[0]
        assert (lost.reason, lost.code) == ("error", 429)
        deadline = await eventually(lambda: run.session.deadline)
        assert deadline is not None
        assert least_s - 10 < deadline - read_clock().monotonic_s <= least_s
        assert len(vendor.requests) == 1
        # an operator who knows better need not wait
        vendor.refuses_with = None
        run.worker.reconnect("ann: it was us, and it is over")
        await eventually(lambda: run.log.ticks(RAW_ALPACA))


async def test_stop_ends_with_new_keys() -> None:
    """A worker that has stopped wakes up when it gets other keys, and uses them at once."""

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.say(connection, {"T": "success", "msg": "connected"})
        key = (await vendor.hear(connection))["key"]
        if key != "PNEW":
            await vendor.say(connection, {"T": "error", "code": 402, "msg": "auth failed"})
            await connection.wait_closed()
            return
        await vendor.say(connection, {"T": "success", "msg": "authenticated"})
        await vendor.confirm(connection, (await vendor.hear(connection))["trades"])
        await connection.wait_closed()

    async with working(script, timings=CALM) as (run, vendor):
        (stopped,) = await eventually(lambda: run.told(Stopped))
        assert stopped.code == 402
        assert len(vendor.requests) == 5
        run.worker.rekey(Keys(key_id="PNEW", secret="hush-too"))
        await eventually(lambda: run.told(Subscribed))
        assert len(vendor.requests) == 6
        assert run.metric("alpaca_consecutive_auth_failures") == 0


async def test_keys_are_rotated_one_connection_after_the_other() -> None:
    """All that was sent on the old connection is taken before the new one opens."""
    sent: dict[str, list[int]] = {}

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.say(connection, {"T": "success", "msg": "connected"})
        key = (await vendor.hear(connection))["key"]
        await vendor.say(connection, {"T": "success", "msg": "authenticated"})
        await vendor.confirm(connection, (await vendor.hear(connection))["trades"])
        await _flood(connection, sent.setdefault(key, []))

    async with working(script, timings=CALM) as (run, vendor):
        await eventually(lambda: len(run.log.records(RAW_ALPACA)) > 50)
        run.worker.rekey(Keys(key_id="PNEW", secret="hush-too"))
        await eventually(lambda: "PNEW" in sent)
        first = [t.session_seq for t in run.log.ticks(RAW_ALPACA) if t.session_id == "run-1"]
        assert first == list(range(1, len(first) + 1))
        assert len(first) >= len(sent["PKEY"])
        assert vendor.most_at_once == 1
        opened, ended = await eventually(lambda: (gaps := run.gaps())[1:] and gaps)
        assert (opened.cause, opened.gap_id) == ("asked", ended.gap_id)
        assert run.metric('alpaca_gaps_total{cause="asked"}') == 1


async def test_another_list_is_followed_on_the_same_connection() -> None:
    """The worker wakes up in the middle of its wait for data, and asks for the difference alone."""
    asked: list[Any] = []

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        await vendor.greet(connection)
        held = ["AAPL", "MSFT"]
        while True:
            request = await vendor.hear(connection)
            asked.append((request["action"], request["trades"]))
            if request["action"] == "subscribe":
                held += request["trades"]
            else:
                held = [symbol for symbol in held if symbol not in request["trades"]]
            await vendor.confirm(connection, held)

    async with working(script, timings=CALM) as (run, vendor):
        await eventually(lambda: run.told(Subscribed))
        run.worker.follow(("AAPL", "TSLA"))
        await eventually(lambda: len(run.told(Subscribed)) == 3)
        assert asked == [("unsubscribe", ["MSFT"]), ("subscribe", ["TSLA"])]
        assert run.told(Subscribed)[-1].symbols == ["AAPL", "TSLA"]
        assert len(vendor.requests) == 1
        for action in ("added", "removed"):
            assert run.metric(f'alpaca_subscription_changes_total{{action="{action}"}}') == 1


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_compression_is_taken_where_it_is_offered(
    compression: str | None, encoding: Encoding
) -> None:
    """A long subscription and a full frame pass both ways, compressed or not, byte for byte."""
    symbols = tuple(f"S{number}" for number in range(2000))
    trades = [{"T": "t", "S": symbol, "p": 1.5} for symbol in symbols]
    taken: list[Any] = []

    async def script(vendor: Vendor, connection: ServerConnection) -> None:
        agreed = [type(each).__name__ for each in connection.protocol.extensions]
        subscription = await vendor.greet(connection)
        taken.append((agreed, subscription["trades"]))
        await vendor.say(connection, *trades)
        await connection.wait_closed()

    async with working(
        script, encoding=encoding, symbols=symbols, timings=CALM, compression=compression
    ) as (run, _):
        ticks = await eventually(lambda: run.log.ticks(RAW_ALPACA))
    assert taken == [(["PerMessageDeflate"] if compression else [], list(symbols))]
    sent = [
        msgspec.json.encode(t) if encoding == "json" else msgspec.msgpack.encode(t) for t in trades
    ]
    kept = [
        bytes(t.raw) if encoding == "json" else msgspec.json.decode(t.raw, type=bytes)
        for t in ticks
    ]
    assert [msgspec.json.decode(k) if encoding == "json" else k for k in kept] == [
        msgspec.json.decode(s) if encoding == "json" else s for s in sent
    ]


async def test_switched_off_it_never_connects() -> None:
    """Where only Yahoo is wanted no socket is opened, and the heartbeat says so."""
    async with working(_stream, enabled=False) as (run, vendor):
        beats = await eventually(lambda: (b := run.told(Heartbeat))[20:] and b)
        assert {beat.state for beat in beats} == {"disconnected"}
        run.worker.reconnect("ann: to see")
        await eventually(lambda: len(run.told(Heartbeat)) > len(beats) + 20)
        assert vendor.requests == []
        assert run.metric("alpaca_streaming_enabled") == 0


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

    async with working(script, timings=CALM) as (run, _):
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
