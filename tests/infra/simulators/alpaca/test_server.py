"""The stream as a client sees it: every control code, both encodings, and the ledger's word."""

import asyncio
import base64
import json
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from infra.simulators.alpaca.server import CATCH_UP_NS, AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.alpaca.tape import Tape
from infra.simulators.alpaca.wire import JsonCodec
from infra.simulators.ledger import Entry, Ledger, LedgerError, read
from infra.simulators.market import SECOND_NS, Market
from tests.infra.simulators.alpaca.client import (
    AUTH,
    AUTHENTICATED,
    KEYS,
    Encoding,
    dial,
    enter,
)

pytestmark = pytest.mark.service

Start = Callable[..., Awaitable[str]]
TRADES = {"action": "subscribe", "trades": ["*"]}
EVERYTHING = {"action": "subscribe", "trades": ["*"], "quotes": ["*"], "bars": ["*"]}
ENCODINGS: tuple[Encoding, ...] = ("json", "msgpack")


def refusal(code: int, message: str) -> dict[str, Any]:
    """Return an error message as the vendor words it."""
    return {"T": "error", "code": code, "msg": message}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_the_way_in_by_message(start: Start, encoding: Encoding) -> None:
    """Connected, auth, authenticated, subscribe, the whole subscription, data."""
    async with enter(await start(rate=5000) + "/v2/iex", encoding) as client:
        confirmed = await client.ask({"action": "subscribe", "trades": ["AAPL"], "quotes": ["KO"]})
        assert confirmed == {
            "T": "subscription",
            "trades": ["AAPL"],
            "quotes": ["KO"],
            **{key: [] for key in ("bars", "updatedBars", "dailyBars", "statuses", "lulds")},
            **{key: ["AAPL"] for key in ("corrections", "cancelErrors")},
        }
        said = {(message["T"], message["S"]) for message in await client.data(50)}
        assert said == {("t", "AAPL"), ("q", "KO")}


async def test_the_way_in_by_headers(start: Start) -> None:
    """Keys in the handshake are an auth message; saying it again is an error of no consequence."""
    async with dial(await start() + "/v2/iex", headers=KEYS) as client:
        assert await client.control() == AUTHENTICATED
        assert await client.ask(AUTH) == refusal(403, "already authenticated")
        assert (await client.ask(TRADES))["trades"] == ["*"]


async def test_wrong_keys_may_be_corrected(start: Start) -> None:
    """402 by header and by message; until then nothing else is heard: 401."""
    keys = {**KEYS, "APCA-API-SECRET-KEY": "guess"}
    async with dial(await start() + "/v2/iex", headers=keys) as client:
        assert await client.control() == refusal(402, "auth failed")
        assert await client.ask({**AUTH, "key": "guess"}) == refusal(402, "auth failed")
        assert await client.ask(TRADES) == refusal(401, "not authenticated")
        assert await client.ask(AUTH) == AUTHENTICATED


async def test_who_does_not_authenticate_is_hung_up_on(start: Start) -> None:
    """404 when patience ends, however busily the wrong thing was said."""
    async with dial(await start(auth_seconds=0.1) + "/v2/iex") as client:
        assert await client.ask(TRADES) == refusal(401, "not authenticated")
        assert await client.rest() == ([refusal(404, "auth timeout")], 1000)


async def test_who_authenticated_in_time_stays(start: Start) -> None:
    """The deadline is for authenticating, not for anything after."""
    async with enter(await start(auth_seconds=0.2) + "/v2/iex") as client:
        begun = time.monotonic()
        assert (await client.ask(TRADES))["T"] == "subscription"
        while time.monotonic() < begun + 0.4:
            await client.data(1)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_malformed_requests(start: Start, encoding: Encoding) -> None:
    """400 for what is no request, 410 for one that this feed does not know; the line stays open."""
    async with enter(await start() + "/v2/iex", encoding) as client:
        await client.socket.send("{not json" if encoding == "json" else b"\xc1")
        assert await client.control() == refusal(400, "invalid syntax")
        bad_symbol = {"action": "subscribe", "trades": ["AA PL"]}
        assert await client.ask(bad_symbol) == refusal(400, "invalid syntax")
        unknown = refusal(410, "invalid subscribe action for this feed")
        assert await client.ask({"action": "listen"}) == unknown
        assert await client.ask({"action": "subscribe", "news": ["*"]}) == unknown
        assert (await client.ask(TRADES))["T"] == "subscription"


async def test_the_symbol_limit(start: Start) -> None:
    """405 leaves the set as it was, and data flows on."""
    async with enter(await start(symbol_limit=2, rate=5000) + "/v2/iex") as client:
        await client.ask({"action": "subscribe", "trades": ["AAPL", "MSFT"]})
        more = {"action": "subscribe", "quotes": ["KO"]}
        assert await client.ask(more) == refusal(405, "symbol limit exceeded")
        confirmed = await client.ask({"action": "subscribe"})
        assert (confirmed["trades"], confirmed["quotes"]) == (["AAPL", "MSFT"], [])
        assert {message["S"] for message in await client.data(50)} == {"AAPL", "MSFT"}


async def test_one_connection_an_endpoint(start: Start) -> None:
    """406 and a close for the second, whatever the encoding; other endpoints are free."""
    url = await start()
    async with enter(url + "/v2/iex") as first:
        async with dial(url + "/v2/iex", "msgpack") as second:
            await second.say(AUTH)
            assert await second.rest() == ([refusal(406, "connection limit exceeded")], 1000)
        async with enter(url + "/v2/test") as canary:
            await canary.ask(TRADES)
            assert {message["S"] for message in await canary.data(10)} == {"FAKEPACA"}
        assert (await first.ask(TRADES))["T"] == "subscription"


async def test_a_freed_endpoint_can_be_had_again(start: Start) -> None:
    """After a clean close, and after a drop without one, the next connection gets in."""
    url = await start() + "/v2/iex"
    async with enter(url):
        pass
    async with enter(url) as dropped:
        dropped.socket.transport.abort()
    await let_in(url)


async def let_in(url: str) -> None:
    """Dial until the endpoint is free; at most ten seconds."""
    async with asyncio.timeout(10):
        while True:
            async with dial(url) as client:
                if await client.ask(AUTH) == AUTHENTICATED:
                    return


async def test_a_slow_client_is_dropped(start: Start) -> None:
    """Who does not read is hung up on; what waited for it is thrown away, not kept."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)  # noqa: FBT003  # as asyncio wants it
    url = await start(rate=50_000, slow_seconds=0.2)
    host, port = url.removeprefix("ws://").split(":")
    await asyncio.get_running_loop().sock_connect(narrow, (host, int(port)))
    async with enter(url + "/v2/iex", sock=narrow, compression=None, max_queue=1) as client:
        await client.say(EVERYTHING)
        await let_in(url + "/v2/iex")
        client.socket.transport.abort()


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_the_ledger_is_what_was_received(
    start: Start, ledger_path: Path, encoding: Encoding
) -> None:
    """Message by message, byte for byte, numbered from 1 without holes; control is not in it."""
    async with enter(await start() + "/v2/iex", encoding, compression=None) as client:
        await client.ask(EVERYTHING)
        frames = [await client.socket.recv() for _ in range(20)]
        await client.socket.close()
    entries = list(read(ledger_path))
    sent = [entry.wire for entry in entries]
    for frame in frames:
        if isinstance(frame, str):
            count = len(json.loads(frame))
            assert frame.encode() == b"[" + b",".join(sent[:count]) + b"]"
        else:
            count = len(msgpack.unpackb(frame))
            assert frame.endswith(b"".join(sent[:count]))
        sent = sent[count:]
    assert [entry.sequence for entry in entries] == list(range(1, len(entries) + 1))
    assert len({entry.connection for entry in entries}) == 1
    assert {(entry.source, entry.encoding) for entry in entries} == {("alpaca", encoding)}


async def test_a_stop_loses_nothing_and_invents_nothing(ledger_path: Path) -> None:
    """When the simulator is stopped, its client gets all that the ledger tells, then 1001."""
    with Ledger(ledger_path) as ledger:
        rules = Rules(keys={"key": "secret"}, symbol_limit=30)
        simulator = AlpacaSimulator(Market(7), ledger, rules=rules, rate=5000)
        url = f"ws://127.0.0.1:{await simulator.start('127.0.0.1', 0)}/v2/iex"
        async with enter(url) as client:
            await client.ask(EVERYTHING)
            received = await client.data(1000)
            client.socket.transport.pause_reading()
            stopping = asyncio.create_task(simulator.stop())
            # While the client has yet to answer the close, time for frames passes.
            await asyncio.wait({stopping}, timeout=0.1)
            client.socket.transport.resume_reading()
            (rest, code), _ = await asyncio.gather(client.rest(), stopping)
    assert code == 1001
    assert len(received + rest) == sum(1 for _ in read(ledger_path))


async def test_both_encodings_say_the_same(start: Start) -> None:
    """A minute's bars, which only the market decides, are equal in JSON and MessagePack."""
    now_ns = 1_795_392_000_000_000_000 - 1
    url = await start(clock=lambda: now_ns)
    async with enter(url + "/v2/iex") as text, enter(url + "/v2/sip", "msgpack") as binary:
        for client in (text, binary):
            await client.ask({"action": "subscribe", "bars": ["*"]})
        now_ns += 1
        bars = [await client.data(30) for client in (text, binary)]
    for in_text, in_binary in zip(*bars, strict=True):
        assert in_text["t"] == in_binary["t"].to_datetime().strftime("%Y-%m-%dT%H:%M:%SZ")
        same = {"T", "S", "o", "h", "l", "c", "vw"}
        assert {key: in_text[key] for key in same} == {key: in_binary[key] for key in same}
        assert in_text.keys() == in_binary.keys()


async def test_compression_is_offered(start: Start) -> None:
    """A client that asks for permessage-deflate gets it, and the same content."""
    async with enter(await start() + "/v2/iex", compression="deflate") as client:
        names = [extension.name for extension in client.socket.protocol.extensions]
        assert names == ["permessage-deflate"]
        await client.ask(TRADES)
        assert {message["T"] for message in await client.data(50)} == {"t"}


async def test_nothing_is_said_to_nobody(start: Start, ledger_path: Path) -> None:
    """Without a subscription there is neither data nor a line in the ledger."""
    async with enter(await start(rate=5000) + "/v2/iex") as client:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.socket.recv(), 0.2)
    assert list(read(ledger_path)) == []


async def test_frames_are_bounded(start: Start) -> None:
    """What a pause piled up is spread over frames that a client with usual limits accepts."""
    pause = 0
    url = await start(rate=20_000, clock=lambda: time.time_ns() + pause)
    async with enter(url + "/v2/iex") as client:
        await client.ask(EVERYTHING)
        await client.data(1)
        pause = 1_000_000_000
        sizes = [len(await client.frame()) for _ in range(20)]
    assert max(sizes) == 1000
    assert sizes.count(1000) >= 10


async def test_a_pause_is_made_up_for(start: Start, ledger_path: Path) -> None:
    """The market went on meanwhile: nothing of it is left out."""
    pause = 0
    url = await start(rate=50, clock=lambda: time.time_ns() + pause)
    async with enter(url + "/v2/iex") as client:
        await client.ask(EVERYTHING)
        (first, *_) = await client.data(1)
        pause = CATCH_UP_NS - 10 * SECOND_NS
        messages = [m for m in await client.data(110 * 50) if m["T"] in "tq"]
    tape = Tape(Market(7), "/v2/iex", rate=50)
    sent = [entry.raw for entry in read(ledger_path) if json.loads(entry.raw)["T"] in "tq"]
    begun = next(iter(read(ledger_path))).sent_at_ns - SECOND_NS
    symbols = tape.feed.symbols
    happened = tape.between(begun, time.time_ns() + pause, (symbols, symbols))
    all_of_it = [JsonCodec().encode(tick).decode() for tick in happened]
    start_at = all_of_it.index(sent[0])
    assert sent == all_of_it[start_at : start_at + len(sent)]
    assert len(messages) > 100 * 50
    assert json.loads(sent[0])["t"] == first["t"]


async def test_after_too_long_a_pause_the_connection_ends(start: Start) -> None:
    """No hole goes unnoticed."""
    pause = 0
    url = await start(clock=lambda: time.time_ns() + pause)
    async with enter(url + "/v2/iex") as client:
        await client.ask(TRADES)
        await client.data(1)
        pause = CATCH_UP_NS + SECOND_NS
        assert (await client.rest())[1] == 1013


async def test_ready_and_unknown_paths(start: Start) -> None:
    """GET /ready answers beside the socket; a path that is no feed is not found."""
    url = await start()
    async with (
        aiohttp.ClientSession() as http,
        http.get(url.replace("ws", "http") + "/ready") as answer,
    ):
        assert (answer.status, await answer.text()) == (200, "ready\n")
    with pytest.raises(InvalidStatus) as refused:
        await connect(url + "/v2/nowhere")
    assert refused.value.response.status_code == 404


class BrokenLedger(Ledger):
    """A ledger on a disk that is full."""

    def append(self, entries: object) -> None:
        """Fail."""
        del entries
        message = "no space"
        raise LedgerError(message)


async def test_nothing_is_sent_that_cannot_be_written_down(ledger_path: Path) -> None:
    """The connection ends, and the simulator's owner is told."""
    with BrokenLedger(ledger_path) as ledger:
        rules = Rules(keys={"key": "secret"}, symbol_limit=30)
        simulator = AlpacaSimulator(Market(7), ledger, rules=rules, rate=500)
        url = f"ws://127.0.0.1:{await simulator.start('127.0.0.1', 0)}/v2/iex"
        async with enter(url) as client:
            await client.ask(TRADES)
            assert (await client.rest())[0] == []
        with pytest.raises(LedgerError, match="no space"):
            await simulator.failed
        await simulator.stop()


def test_the_ledger_keeps_msgpack_as_base64() -> None:
    """The bytes of an entry are those of the wire in either encoding."""
    raw = msgpack.packb({"T": "t"})
    entry = Entry(
        source="alpaca",
        connection="c",
        sequence=1,
        sent_at_ns=1,
        symbol="KO",
        encoding="msgpack",
        raw=base64.b64encode(raw).decode(),
    )
    assert entry.wire == raw
