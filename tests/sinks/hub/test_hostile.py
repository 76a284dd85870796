"""Clients that mean harm, or are broken: each ends in a clear close, and nobody else notices."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest

from sinks.events import ClientLeft
from sinks.hub.connection import UNREAD, Connection
from sinks.hub.methods import SUBSCRIPTIONS
from sinks.hub.server import Limits
from tests.sinks.hub.client import HELLO, Serving, Talk, serving, talking
from tests.sinks.hub.prices import price

UPGRADE = (
    b"GET /hubs/market-data HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
SYMBOLS = [f"S{number}" for number in range(50)]
HELLO_IN_MSGPACK = HELLO.replace(b"json", b"messagepack")
ALL = b'{"type":1,"target":"SubscribeToAssetClass","arguments":["STOCK"]}\x1e'
#: The head of a frame that would be a terabyte.
GIANT = bytes((0x82, 0x80 | 127)) + (2**40).to_bytes(8) + bytes(4)
PING, PONG = 0x89, 0x8A


@contextlib.asynccontextmanager
async def raw(
    hub: Serving, hello: bytes = HELLO
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A socket whose handshakes are done, that speaks no more than it wants to."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    writer.write(UPGRADE + frame(hello))
    await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b"{}\x1e")
    try:
        yield reader, writer
    finally:
        writer.close()


def read_no_more(writer: asyncio.StreamWriter) -> None:
    """Leave what comes where it is."""
    assert isinstance(writer.transport, asyncio.Transport)
    writer.transport.pause_reading()


async def flood(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send the same again and again, as long as somebody takes it."""
    with contextlib.suppress(ConnectionError):
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(0)


async def stuffed(hub: Serving, writer: asyncio.StreamWriter) -> None:
    """Ask for more than the line holds, and read nothing of it."""
    hub.broadcast.put([price(f"S{number}") for number in range(5000)])
    read_no_more(writer)
    writer.write(frame(ALL))
    (connection,) = hub.broadcast.connections.values()
    async with asyncio.timeout(10):
        while waiting(connection) < UNREAD:
            await asyncio.sleep(0.01)


def waiting(connection: Connection) -> int:
    """Return how many bytes the hub holds for a client."""
    return connection._transport.get_write_buffer_size()


def control(payload: bytes, first: int = PING) -> bytes:
    """A client's ping or pong, masked with zeros."""
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A client's frame, masked with zeros."""
    return bytes((first, 0x80 | 126)) + len(payload).to_bytes(2) + bytes(4) + payload


async def ended(hub: Serving) -> ClientLeft:
    """Wait for the first session that ends."""
    async with asyncio.timeout(10):
        while not hub.noted_of(ClientLeft):
            await asyncio.sleep(0.01)
    return hub.noted_of(ClientLeft)[0]


async def is_served(hub: Serving, good: Talk, value: float) -> None:
    """Somebody else gets the price that comes next."""
    hub.broadcast.put([price("S0", value)])
    while (await good.event("PriceUpdate"))["price"] != value:
        pass


async def trickle(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a byte now and then, as long as somebody takes it."""
    with contextlib.suppress(ConnectionError):
        for byte in data:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_frame_that_never_ends() -> None:
    """Byte by byte it is not waited for longer than for silence."""
    async with serving(limits=Limits(silence_s=0.3)) as hub, raw(hub) as (_, writer):
        drip = asyncio.create_task(trickle(writer, frame(b"x" * 2000)))
        assert (await ended(hub)).reason == "silent"
        drip.cancel()
        await asyncio.gather(drip, return_exceptions=True)


async def test_a_request_that_never_ends() -> None:
    """Byte by byte it is cut off like one that says nothing."""
    async with serving(limits=Limits(request_s=0.3)) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        drip = asyncio.create_task(trickle(writer, UPGRADE[:-4] + b"\r\nX-Y: z" * 1000))
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        drip.cancel()
        await asyncio.gather(drip, return_exceptions=True)
        writer.close()


async def test_a_body_that_never_ends() -> None:
    """Nobody waits for what was not asked for."""
    head = b"POST /hubs/market-data/negotiate HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n"
    async with serving(limits=Limits(request_s=0.3)) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(head)
        drip = asyncio.create_task(trickle(writer, b"x" * 30_000))
        with contextlib.suppress(ConnectionResetError):
            assert b" 200 OK" in await asyncio.wait_for(reader.readline(), 10)
            await asyncio.wait_for(reader.read(), 8)
        drip.cancel()
        await asyncio.gather(drip, return_exceptions=True)
        writer.close()


async def test_a_giant_frame_is_closed_at_its_head() -> None:
    """What it would hold is never waited for, and the close says what is wrong."""
    async with serving() as hub, raw(hub) as (reader, writer):
        writer.write(GIANT)
        said = await asyncio.wait_for(reader.read(), 10)
        assert (1009).to_bytes(2) in said
        await ended(hub)
        assert not hub.broadcast.connections


async def test_one_that_sends_no_more_is_no_client() -> None:
    """It has closed its half of the line: it gets the rest, and its place is free."""
    async with serving() as hub, raw(hub) as (reader, writer):
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 10)
        assert (await ended(hub)).reason == "left"
        assert not hub.broadcast.connections


async def test_one_that_vanishes_is_forgotten() -> None:
    """Neither end of a cut line is told: what nothing is heard of for long is gone."""
    limits = Limits(silence_s=0.3, ping_s=0.1)
    async with serving(limits=limits) as hub, raw(hub) as (_, writer):
        read_no_more(writer)
        assert (await ended(hub)).reason == "silent"
        async with asyncio.timeout(10):
            while hub.broadcast.connections:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("said", [b"", GIANT])
async def test_one_that_reads_nothing_is_not_waited_for(said: bytes) -> None:
    """Its line is full, so that no farewell fits in: what is heard of it ends it all the same."""
    async with serving(limits=Limits(silence_s=0.3, request_s=0.3, farewell_s=0.1)) as hub:
        async with raw(hub) as (_, writer):
            await stuffed(hub, writer)
            writer.write(said)
            assert (await ended(hub)).reason == "silent"
            async with asyncio.timeout(10):
                while hub.server._runner.server and hub.server._runner.server.connections:
                    await asyncio.sleep(0.01)
        assert not hub.broadcast.connections


async def test_one_that_reads_nothing_does_not_hold_up_the_end() -> None:
    """Of the hub: there are others, who wait to be told to go elsewhere."""
    async with serving(limits=Limits(farewell_s=0.1)) as hub, raw(hub) as (_, writer):
        await stuffed(hub, writer)
        await asyncio.wait_for(hub.server.stop(), 10)
        (left,) = hub.noted_of(ClientLeft)
        assert left.reason == "restart"


async def test_pings_are_answered() -> None:
    """Before the handshake and after, with what was in them; an unasked pong is not."""
    async with serving() as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(UPGRADE + control(b"early") + frame(HELLO))
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(7) == bytes((PONG, 5)) + b"early"
        await reader.readuntil(b"{}\x1e")
        await reader.readuntil(b"\x1e")  # who it is
        for payload in (b"", b"x" * 125):
            writer.write(control(b"unasked", PONG) + control(payload))
            expected = bytes((PONG, len(payload))) + payload
            assert await asyncio.wait_for(reader.readexactly(len(expected)), 10) == expected
        writer.close()
        assert (await ended(hub)).reason == "left"


@pytest.mark.parametrize(
    ("messages", "reason", "detail"),
    [
        (Limits().messages, "unfit", "too many messages"),
        (10**9, "too_slow", "it does not read what it is told"),
    ],
)
async def test_pings_whose_answers_nobody_reads(messages: int, reason: str, detail: str) -> None:
    """They count as messages do, and what is held of the answers is bounded."""
    async with (
        serving(limits=Limits(messages=messages, farewell_s=0.1)) as hub,
        talking(hub.hub) as good,
        raw(hub) as (_, writer),
    ):
        hub.broadcast.hub.followed["alpaca"] = SYMBOLS
        await good.call("SubscribeToAssetClass", "STOCK")
        bad = [*hub.broadcast.connections.values()][-1]
        read_no_more(writer)
        flooding = asyncio.create_task(flood(writer, control(b"x" * 125) * 200))
        most = 0
        async with asyncio.timeout(10):
            while not (left := hub.noted_of(ClientLeft)):
                most = max(most, waiting(bad))
                await asyncio.sleep(0)
        assert (left[0].reason, left[0].detail) == (reason, detail)
        assert most < 2 * UNREAD
        await is_served(hub, good, 2.0)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_pings_before_the_handshake_do_not_make_up_for_it() -> None:
    """However many there are; they count, too."""
    async with serving(limits=Limits(farewell_s=0.1)) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")
        flooding = asyncio.create_task(flood(writer, control(b"")))
        with contextlib.suppress(ConnectionResetError):
            assert b"too many messages" in await asyncio.wait_for(reader.read(), 10)
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        writer.close()


async def test_frames_with_nothing_in_them() -> None:
    """In MessagePack that is no error; each counts as a message."""
    limits = Limits(farewell_s=0.1)
    async with serving(limits=limits) as hub, raw(hub, HELLO_IN_MSGPACK) as (_, writer):
        flooding = asyncio.create_task(flood(writer, frame(b"", first=0x82)))
        left = await ended(hub)
        assert (left.reason, left.detail) == ("unfit", "too many messages")
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)


async def test_a_message_in_endless_pieces() -> None:
    """The pieces of one message may not be longer than a message."""
    async with serving() as hub, raw(hub) as (reader, writer):
        writer.write(frame(b"x" * 8000, first=0x01))
        for _ in range(10):
            writer.write(frame(b"x" * 8000, first=0x00))
        with contextlib.suppress(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 10)
        await ended(hub)
        assert not hub.broadcast.connections


@pytest.mark.parametrize(
    "said",
    [
        b"\xff" * 100,
        b"[" * 20_000 + b"\x1e",
        b'{"type":1,"target":"x","arguments":' + b"[" * 20_000 + b"\x1e",
        b'{"type":1e400}\x1e',
        b'{"type":1,"target":"\xff","arguments":[]}\x1e',
    ],
)
async def test_bombs(said: bytes) -> None:
    """Whatever is in a message, it is told to be none."""
    async with serving() as hub, talking(hub.hub) as good, raw(hub) as (_, writer):
        writer.write(frame(said, first=0x82))
        assert (await ended(hub)).reason == "unfit"
        hub.broadcast.hub.followed["alpaca"] = SYMBOLS
        await good.call("SubscribeToAssetClass", "STOCK")
        await is_served(hub, good, 2.0)


async def test_ten_thousand_subscriptions() -> None:
    """The first hundred count; who goes on is sent away, and costs no more than that."""
    async with serving() as hub, talking(hub.hub) as good, talking(hub.hub) as bad:
        hub.broadcast.hub.followed["alpaca"] = SYMBOLS
        await good.call("SubscribeToAssetClass", "STOCK")
        await good.event("AssetClassSubscriptionConfirmed")
        call = '{"type":1,"target":"SubscribeToPriceUpdates","arguments":["STOCK","S%d"]}\x1e'
        with contextlib.suppress(ConnectionError):
            for start in range(0, 10_000, 100):
                await bad.socket.send_str("".join(call % n for n in range(start, start + 100)))
        refused = confirmed = 0
        while (said := await bad.hear()) is not None and said["type"] != 7:
            refused += said["target"] == "SubscriptionError"
            confirmed += said["target"] == "SubscriptionConfirmed"
        left = await ended(hub)
        assert (left.reason, left.detail) == ("unfit", "too many messages")
        assert confirmed == len(SYMBOLS)
        assert refused >= SUBSCRIPTIONS - len(SYMBOLS)
        await is_served(hub, good, 2.0)
        assert len(hub.broadcast.hub.fanout._buckets) == 1


async def test_sockets_that_say_nothing_are_as_many_as_may_be() -> None:
    """The others are turned away before they cost anything, and there is room again after."""
    limits = Limits(clients=20, handshake_s=60)
    async with serving(limits=limits) as hub:
        opened = await asyncio.gather(
            *(asyncio.open_connection("127.0.0.1", hub.port) for _ in range(100))
        )
        for _, writer in opened:
            writer.write(UPGRADE)
        heads = await asyncio.gather(*(reader.readline() for reader, _ in opened))
        assert sum(b" 101 " in head for head in heads) == 20
        assert sum(b" 503 " in head for head in heads) == 80
        for _, writer in opened:
            writer.close()
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(aiohttp.WSServerHandshakeError):
                    async with talking(hub.hub) as client:
                        await client.event("ConnectionStatus")
                        return
                await asyncio.sleep(0.05)
