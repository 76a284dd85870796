"""The hub's sockets: what goes over them, and who is let in."""

import asyncio
import contextlib
import json
import time
from typing import Any

import aiohttp
import jwt
import msgpack as independent
import pytest
from structlog.testing import capture_logs

from sinks.events import (
    ClientConnected,
    ClientLeft,
    ClientSubscribed,
    ClientUnsubscribed,
    Delivered,
    ProbeAnswered,
    SessionEvent,
)
from sinks.hub.access import LEEWAY_S, Access
from sinks.hub.protocol.messages import Invocation
from sinks.hub.server import Limits
from tests.sinks.hub.client import HELLO, Serving, serving, talking
from tests.sinks.hub.prices import SESSION, price
from tests.sinks.hub.tokens import SECRET, a_token


async def test_subscribe_and_receive() -> None:
    """Welcome, confirmation, snapshot, update: in this order."""
    async with serving() as hub, talking(hub.hub) as client:
        hub.broadcast.put([price("AAPL", 1.0)])
        welcome = await client.event("ConnectionStatus")
        assert (welcome["status"], welcome["dataSource"]) == ("Connected", None)
        await client.say(
            type=1,
            target="SubscribeToPriceUpdates",
            arguments=["STOCK", ["AAPL"]],
            invocationId="1",
        )
        assert (await client.hear())["target"] == "SubscriptionConfirmed"
        assert await client.hear() == {"type": 3, "invocationId": "1"}
        assert (await client.event("PriceUpdate"))["price"] == 1.0
        hub.broadcast.put([price("AAPL", 2.0), price("MSFT", 9.0)])
        assert (await client.event("PriceUpdate"))["price"] == 2.0


async def test_messagepack() -> None:
    """Its handshake is JSON in a binary frame, and the first call may follow in the same one."""
    async with serving() as hub, aiohttp.ClientSession() as http:
        hub.broadcast.put([price("AAPL", 1.0)])
        async with http.ws_connect(hub.hub) as socket:
            call = independent.packb([1, {}, None, "SubscribeToAssetClass", ["STOCK"], []])
            hello = HELLO.replace(b"json", b"messagepack")
            await socket.send_bytes(hello + bytes([len(call)]) + call)
            assert await socket.receive_bytes() == b"{}\x1e"
            heard = b""
            async with asyncio.timeout(10):
                while b"PriceUpdate" not in heard:
                    heard += await socket.receive_bytes()
            events = (b"ConnectionStatus", b"AssetClassSubscriptionConfirmed", b"PriceUpdate")
            assert [heard.find(e) for e in events] == sorted(heard.find(e) for e in events)


async def test_notices_go_to_whom_they_concern() -> None:
    """A change of source to everybody, the market's status to those who asked for it."""
    async with (
        serving() as hub,
        talking(hub.hub) as one,
        talking(f"{hub.url}/hubs/dashboard") as two,
    ):
        await one.call("SubscribeToMarketStatus", "STOCK")
        assert (await one.event("CurrentMarketStatus"))["status"] == "unknown"
        hub.broadcast.hub.session = SESSION
        hub.broadcast.tell(Invocation("CurrentMarketStatus", [{"status": "regular"}]), market=True)
        hub.broadcast.tell(Invocation("DataSourceChanged", [{"source": "yahoo"}]))
        assert (await one.event("CurrentMarketStatus"))["status"] == "regular"
        assert (await one.event("DataSourceChanged"))["source"] == "yahoo"
        await two.event("ConnectionStatus")
        assert (await two.hear())["target"] == "DataSourceChanged"


async def test_connections_are_counted() -> None:
    """By hub, and down again."""
    async with serving() as hub:
        async with talking(f"{hub.url}/hubs/dashboard") as client:
            await client.event("ConnectionStatus")
            assert b'signalr_connections{hub="dashboard"} 1.0' in hub.meters.exposition()
        async with asyncio.timeout(20):
            while b'signalr_connections{hub="dashboard"} 0.0' not in hub.meters.exposition():
                await asyncio.sleep(0.01)


async def test_the_end_is_said_with_leave_to_come_back() -> None:
    """And nobody is listening any more when it is said, or clients would return to us."""
    async with serving() as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        stopping = asyncio.create_task(hub.server.stop())
        said = await client.hear()
        assert said == {"type": 7, "allowReconnect": True}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", hub.port)
        assert await client.hear() is None
        await stopping
    (left,) = hub.noted_of(ClientLeft)
    assert left.reason == "restart"
    (rest,) = hub.noted_of(Delivered)
    assert rest.clients == 0


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"\x00\xffgarbage", "a message without its end"),
        (b"{}\x1e", "not a message"),
        (b'{"type":6}\x1e' * 601, "too many messages"),
    ],
)
async def test_who_talks_nonsense_is_told_so_and_sent_away(frame: bytes, reason: str) -> None:
    """A Close with its reason, for good."""
    async with serving() as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        await client.socket.send_bytes(frame)
        said = await client.hear()
        assert said["type"] == 7
        assert said["error"].startswith(reason)
        assert "allowReconnect" not in said
        assert await client.hear() is None
    (left,) = hub.noted_of(ClientLeft)
    assert (left.reason, left.detail) == ("unfit", said["error"])


async def test_a_giant_message_ends_the_connection() -> None:
    """Before it is all in memory."""
    async with serving() as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        with contextlib.suppress(ConnectionError):
            await client.socket.send_bytes(b"x" * 200_000)
        assert await client.hear() is None
        assert client.socket.close_code in {1009, 1006}


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ("GET / HTTP/1.1\r\n\r\n", "expected a handshake"),
        ('{"protocol":"xml","version":1}\x1e', "unknown protocol 'xml'"),
        (None, "no handshake within"),
    ],
)
async def test_a_wrong_handshake_gets_its_reason(hello: str | None, reason: str) -> None:
    """In the handshake's own answer; one that never comes is not waited for."""
    limits = Limits(handshake_s=0.2)
    async with serving(limits=limits) as hub, aiohttp.ClientSession() as http:
        async with http.ws_connect(hub.hub) as socket:
            if hello is not None:
                await socket.send_str(hello)
            answer = json.loads((await socket.receive_str()).removesuffix("\x1e"))
            assert reason in answer["error"]
            await socket.receive()
            assert socket.closed
        assert not hub.broadcast.connections


async def test_a_client_that_says_nothing_is_gone() -> None:
    """Its line may be dead without either end knowing."""
    limits = Limits(silence_s=0.2)
    async with serving(limits=limits) as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        said = await client.hear()
        assert (said["type"], said["error"]) == (7, "nothing heard for 0 seconds")
    (left,) = hub.noted_of(ClientLeft)
    assert left.reason == "silent"


async def test_an_idle_client_is_pinged() -> None:
    """It would leave after 30 s without a word."""
    limits = Limits(ping_s=0.05)
    async with serving(limits=limits) as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        assert await client.socket.receive_str(timeout=5) == '{"type":6}\x1e'


@pytest.mark.parametrize("said", [b"", b"POST /hubs/market-data/neg"])
async def test_who_takes_for_ever_to_ask_is_cut_off(said: bytes) -> None:
    """A socket costs memory, too."""
    async with serving(limits=Limits(request_s=0.2)) as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(said)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


async def test_more_than_may_be_are_turned_away() -> None:
    """At the negotiation, and at the socket."""
    async with serving(limits=Limits(clients=1)) as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{hub.hub}/negotiate") as response:
                assert response.status == 503
                assert (await response.json(content_type=None))["status"] == 503
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await http.ws_connect(hub.hub)


async def test_who_has_not_said_hello_counts() -> None:
    """Or sockets that say nothing would be as many as somebody opens."""
    limits = Limits(clients=1, handshake_s=0.2)
    async with serving(limits=limits) as hub, aiohttp.ClientSession() as http:
        async with http.ws_connect(hub.hub) as silent:
            with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
                await http.ws_connect(hub.hub)
            await silent.receive()
        async with talking(hub.hub) as client:
            await client.event("ConnectionStatus")


async def test_a_fault_of_ours_costs_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its caller is told so, and everything goes on."""
    async with serving() as hub, talking(hub.hub) as client:
        await client.event("ConnectionStatus")
        fails = {"getmarketstatus": lambda *_: 1 // 0}
        monkeypatch.setattr(hub.broadcast.hub, "_methods", {**hub.broadcast.hub._methods, **fails})
        with capture_logs() as logs:
            await client.say(type=1, target="GetMarketStatus", arguments=[], invocationId="1")
            assert (await client.event("SubscriptionError"))["error"] == "InternalError"
        assert [(line["event"], line["target"]) for line in logs] == [
            ("call_failed", "GetMarketStatus")
        ]
        assert (await client.hear())["error"].startswith("the hub failed")
        await client.call("SubscribeToAssetClass", "STOCK")
        await client.event("AssetClassSubscriptionConfirmed")


async def test_a_probe_is_answered_and_measured() -> None:
    """By whoever offered to; nobody else is asked."""
    async with serving() as hub, talking(hub.hub) as silent, talking(hub.hub) as client:
        await silent.event("ConnectionStatus")
        await client.event("ConnectionStatus")
        await client.say(type=1, target="AnswerProbes", arguments=[], invocationId="1")
        assert await client.hear() == {"type": 3, "invocationId": "1"}
        hub.broadcast.probe_some()
        asked = await client.hear()
        assert (asked["target"], asked["arguments"]) == ("Probe", [])
        await client.say(type=3, invocationId=asked["invocationId"])
        async with asyncio.timeout(20):
            while not hub.noted_of(ProbeAnswered):
                await asyncio.sleep(0.01)
        (answer,) = hub.noted_of(ProbeAnswered)
        assert 0 < answer.round_trip_s < 5
        assert answer.age_s is None
        assert b"signalr_client_round_trip_seconds_count 1.0" in hub.meters.exposition()
        assert len(hub.broadcast.tally.round_trip()) == 1


async def test_a_session_is_written_down() -> None:
    """From the handshake to its end, with what it asked for, and how much it got."""
    async with serving() as hub:
        hub.broadcast.put([price("AAPL", 1.0)])
        async with talking(hub.hub) as client:
            welcome = await client.event("ConnectionStatus")
            await client.call("SubscribeToPriceUpdates", "STOCK", ["AAPL", "NOPE"])
            await client.event("PriceUpdate")
            await client.call("UnsubscribeFromPriceUpdates", "STOCK", "AAPL")
            await client.call("SubscribeToAssetClass", "STOCK")
            await client.event("PriceUpdate")
        async with asyncio.timeout(20):
            while not hub.noted_of(ClientLeft):
                await asyncio.sleep(0.01)
        came, named, unnamed, all_, left = hub.noted
        for event in (came, named, unnamed, all_, left):
            assert isinstance(event, SessionEvent)
            assert (event.connection_id, event.hub) == (welcome["connectionId"], "market-data")
        assert isinstance(came, ClientConnected)
        assert isinstance(named, ClientSubscribed)
        assert named.symbols == ["AAPL"]
        assert isinstance(unnamed, ClientUnsubscribed)
        assert isinstance(all_, ClientSubscribed)
        assert all_.symbols == []
        assert isinstance(left, ClientLeft)
        assert (left.reason, left.updates, left.connected_at_ns) == ("left", 2, came.at_ns)


async def test_one_that_never_reads_harms_no_other() -> None:
    """The others get every price; what it costs here is bounded."""
    async with serving() as hub, talking(hub.hub) as good:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port, limit=1024)
        writer.write(
            b"GET /hubs/market-data HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        call = b'{"type":1,"target":"SubscribeToAssetClass","arguments":["STOCK"]}\x1e'
        for said in (HELLO, call):
            writer.write(bytes((0x81, 0x80 | 126)) + len(said).to_bytes(2) + bytes(4) + said)
        await reader.readuntil(b"\r\n\r\n")
        connections = hub.broadcast.connections
        async with asyncio.timeout(20):
            while not any(client.everything for client in connections):
                await asyncio.sleep(0.01)
        (bad,) = [c for c in connections.values() if c.caller.client.everything]
        hub.broadcast.hub.followed["alpaca"] = ["S0"]
        await good.call("SubscribeToPriceUpdates", "STOCK", "S0")
        await good.event("SubscriptionConfirmed")
        symbols = [f"S{number}" for number in range(500)]
        value = 0.0
        async with asyncio.timeout(60):
            while not bad.busy or value < 20:
                value += 1
                hub.broadcast.put([price(symbol, value) for symbol in symbols])
                while (await good.event("PriceUpdate"))["price"] != value:
                    pass
        assert bad._transport.get_write_buffer_size() < 1_000_000
        assert len(bad.caller.client.behind) <= len(symbols)
        writer.close()


class TestWhoMayComeIn:
    """Tokens and origins."""

    ACCESS = Access(secret=SECRET, audience="us", origins=frozenset({"https://ours.example"}))

    async def _negotiated(self, hub: Serving, **options: Any) -> tuple[int, Any]:
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{hub.hub}/negotiate", **options) as response,
        ):
            return response.status, await response.json(content_type=None)

    async def test_with_a_token(self) -> None:
        """In the header at the negotiation, in the query at the socket, as the client does it."""
        token = a_token(aud="us")
        async with serving(self.ACCESS) as hub:
            status, told = await self._negotiated(
                hub,
                params={"negotiateVersion": "1"},
                headers={"Authorization": f"Bearer {token}"},
            )
            assert status == 200
            query = {"id": told["connectionToken"], "access_token": token}
            with capture_logs() as logs:
                async with talking(hub.hub, params=query) as client:
                    welcome = await client.event("ConnectionStatus")
                    assert welcome["connectionId"] == told["connectionId"]
                async with asyncio.timeout(20):
                    while not any(line["event"] == "request" for line in logs):
                        await asyncio.sleep(0.01)
            (line,) = [line for line in logs if line["event"] == "request"]
            assert line["path"] == "/hubs/market-data?id=***&access_token=***"

    @pytest.mark.parametrize("left_s", [0.3, -1.0])
    async def test_a_token_that_is_over_ends_the_connection(
        self, left_s: float, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While it is silent, or at its next word; and it may come back with another."""
        exp = int(time.time()) + 3600
        over_ns = int((exp + LEEWAY_S - left_s) * 10**9)
        async with serving(self.ACCESS) as hub:
            query = {"access_token": a_token(aud="us", exp=exp)}
            monkeypatch.setattr("sinks.hub.server.now_ns", lambda: over_ns)
            async with talking(hub.hub, params=query) as client:
                await client.event("ConnectionStatus")
                assert await client.hear() == {"type": 7, "allowReconnect": True}
                assert await client.hear() is None
        (left,) = hub.noted_of(ClientLeft)
        assert (left.reason, left.user) == ("expired", "ann")

    async def test_a_token_that_is_over_ends_one_that_pings(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Pings show that it is there, not that it may be."""
        exp = int(time.time()) + 3600
        over_ns = int((exp + LEEWAY_S - 0.5) * 10**9)

        async def ping(socket: aiohttp.ClientWebSocketResponse) -> None:
            while True:
                await socket.ping()
                await asyncio.sleep(0.1)

        async with serving(self.ACCESS) as hub:
            query = {"access_token": a_token(aud="us", exp=exp)}
            monkeypatch.setattr("sinks.hub.server.now_ns", lambda: over_ns)
            async with talking(hub.hub, params=query) as client:
                await client.event("ConnectionStatus")
                pinging = asyncio.create_task(ping(client.socket))
                async with asyncio.timeout(10):
                    assert await client.hear() == {"type": 7, "allowReconnect": True}
                pinging.cancel()
        (left,) = hub.noted_of(ClientLeft)
        assert left.reason == "expired"

    @pytest.mark.parametrize(
        ("token", "reason"),
        [
            (None, "a token is required"),
            ("x", "the token is not valid"),
            (a_token(aud="them"), "Audience"),
            (a_token(aud="us", exp=1), "expired"),
            (jwt.encode({"sub": "x", "aud": "us"}, SECRET, "HS256"), "exp"),
            (jwt.encode({"sub": "x", "aud": "us", "exp": 9e9}, "o" * 32, "HS256"), "Signature"),
            (jwt.encode({"sub": "x", "aud": "us", "exp": 9e9}, "", "none"), "not valid"),
        ],
    )
    async def test_without_a_good_one(self, token: str | None, reason: str) -> None:
        """The reason, as a problem; neither negotiation nor socket."""
        query = {} if token is None else {"access_token": token}
        async with serving(self.ACCESS) as hub:
            status, told = await self._negotiated(hub, params=query)
            assert (status, told["status"], told["title"]) == (401, 401, "Unauthorized")
            assert reason in told["detail"]
            async with aiohttp.ClientSession() as http:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
                    await http.ws_connect(hub.hub, params=query)

    @pytest.mark.parametrize(
        ("origin", "host", "status"),
        [
            (None, None, 200),
            ("https://ours.example", None, 200),
            ("https://theirs.example", None, 403),
            ("null", None, 403),
            ("http://127.0.0.1:{port}", None, 200),
            ("http://127.0.0.1:1", None, 403),
            ("http://pointed.example", "pointed.example", 403),
        ],
    )
    async def test_pages(self, origin: str | None, host: str | None, status: int) -> None:
        """Our own and those named; not one whose name was pointed at us."""
        async with serving(self.ACCESS) as hub:
            headers = {"Authorization": f"Bearer {a_token(aud='us')}"}
            if origin:
                headers["Origin"] = origin.format(port=hub.port)
            if host:
                headers["Host"] = host
            found, _ = await self._negotiated(hub, headers=headers)
            assert found == status
            async with aiohttp.ClientSession(headers=headers) as http:
                async with http.get(f"{hub.url}/api/symbols") as response:
                    assert response.status == status
                if status == 200:
                    await (await http.ws_connect(hub.hub)).close()
                    return
                with pytest.raises(aiohttp.WSServerHandshakeError, match="403"):
                    await http.ws_connect(hub.hub)

    async def test_preflight(self) -> None:
        """The headers of the official client, and the exact origin."""
        async with serving(self.ACCESS) as hub, aiohttp.ClientSession() as http:
            origin = {"Origin": "https://ours.example"}
            async with http.options(f"{hub.hub}/negotiate", headers=origin) as response:
                assert response.status == 204
                allowed = response.headers
        assert allowed["Access-Control-Allow-Origin"] == "https://ours.example"
        assert allowed["Access-Control-Allow-Credentials"] == "true"
        assert "x-signalr-user-agent" in allowed["Access-Control-Allow-Headers"]

    async def test_another_users_connection_token(self) -> None:
        """It opens nothing."""
        async with serving(self.ACCESS) as hub:
            params = {"negotiateVersion": "1", "access_token": a_token(aud="us")}
            _, told = await self._negotiated(hub, params=params)
            query = {"id": told["connectionToken"], "access_token": a_token(aud="us", sub="bob")}
            async with aiohttp.ClientSession() as http:
                with pytest.raises(aiohttp.WSServerHandshakeError, match="404"):
                    await http.ws_connect(hub.hub, params=query)
