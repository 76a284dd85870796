"""The hub as a process, on real Kafka."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest
from pysignalr.client import SignalRClient

from infra import topics as declared
from infra.clock import now_ns
from infra.commands import Answer, Failover
from infra.kafka.broker import Broker
from infra.kafka.read import read_to_end
from sinks.events import (
    ClientConnected,
    ClientLeft,
    ClientSubscribed,
    Delivered,
    DeliveryEvent,
    SessionEvent,
)
from tests.sinks.hub.client import talking
from tests.sinks.hub.prices import SESSION, price, transition
from tests.sinks.hub.running import MODULE, running, said, write
from tests.sinks.hub.tokens import SECRET, a_token, an_admin
from tests.sinks.processes import process_of

pytestmark = pytest.mark.service


async def test_a_price_on_its_way(kafka: Broker, topics: str, free_port: Callable[[], int]) -> None:
    """The table first, then the log as it goes on; what is no price costs only itself."""
    ports = free_port(), free_port()
    await write(kafka, topics, declared.LATEST, price("OLD", 5.0), price("AAPL", 1.0))
    # the table is written after the log, and may not have got there
    await write(kafka, topics, declared.ROUTED, price("AAPL", 2.0))
    await write(kafka, topics, declared.SESSIONS, SESSION)
    url = f"http://127.0.0.1:{ports[0]}/hubs/market-data"
    async with running(kafka, topics, ports) as process, talking(url) as client:
        await client.call("GetMarketStatus")
        assert (await client.event("CurrentMarketStatus"))["status"] == "regular"
        await client.call("SubscribeToPriceUpdates", "STOCK", "OLD")
        assert (await client.event("PriceUpdate"))["price"] == 5.0
        await client.call("SubscribeToPriceUpdates", "STOCK", "AAPL")
        assert (await client.event("PriceUpdate"))["price"] == 2.0
        now = now_ns()
        fresh = price("AAPL", 3.0, received_at_ns=now, market_time_ns=now)
        await write(kafka, topics, declared.ROUTED, b"no price", fresh)
        assert (await client.event("PriceUpdate"))["price"] == 3.0
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{ports[1]}/metrics") as response,
        ):
            said = await response.text()
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0
    await _written_down(kafka, topics)
    assert 'signalr_connections{hub="market-data"} 1.0' in said
    assert "alpaca_websocket_to_signalr_seconds_count 1.0" in said
    assert 'alpaca_message_latency_seconds_count{source="alpaca"} 1.0' in said
    assert 'pipeline_records_processed_total{result="dead_letter",stage="hub"} 1.0' in said


async def _written_down(kafka: Broker, prefix: str) -> None:
    """The client's session and the hub's minute are in the log, each as its type says."""
    came, old, aapl, left = await said(kafka, prefix, declared.HUB_SESSIONS, SessionEvent)
    (minute,) = await said(kafka, prefix, declared.HUB_DELIVERIES, DeliveryEvent)
    assert isinstance(came, ClientConnected)
    assert isinstance(old, ClientSubscribed)
    assert isinstance(aapl, ClientSubscribed)
    assert (old.symbols, aapl.symbols) == (["OLD"], ["AAPL"])
    assert isinstance(left, ClientLeft)
    assert left.updates == 3
    assert isinstance(minute, Delivered)
    assert (minute.updates, minute.alpaca_count) == (3, 1)


async def test_delayed_within_two_seconds_of_the_switch_and_live_after(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """By the notice, and by the prices under the new epoch; what a former epoch says is dropped."""
    ports = free_port(), free_port()
    url = f"http://127.0.0.1:{ports[0]}/hubs/market-data"
    async with running(kafka, topics, ports), talking(url) as client:
        await write(kafka, topics, declared.ROUTED, price("AAPL", 1.0))
        await client.call("SubscribeToAssetClass", "STOCK")
        assert (await client.event("PriceUpdate"))["isRealTime"] is True
        for to, epoch, live in (("FALLBACK_ACTIVE", 2, False), ("PRIMARY_ACTIVE", 3, True)):
            await write(kafka, topics, declared.TRANSITIONS, transition(to, epoch))
            async with asyncio.timeout(2):
                assert (await client.event("DataSourceChanged"))["isRealTime"] is live
            source = "alpaca" if live else "yahoo"
            routed = price("AAPL", float(epoch), epoch=epoch, source=source, is_real_time=live)
            late = price("AAPL", 9.0, epoch=epoch - 1)
            await write(kafka, topics, declared.ROUTED, routed, late)
            async with asyncio.timeout(2):
                update = await client.event("PriceUpdate")
            assert (update["price"], update["isRealTime"]) == (float(epoch), live)


async def test_two_hubs_side_by_side(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """Each has all of the log, and either opens the connection that the other has negotiated."""
    first, second = (free_port(), free_port()), (free_port(), free_port())
    urls = [f"http://127.0.0.1:{port}/hubs/market-data" for port, _ in (first, second)]
    secret = {"HUB_JWT_SECRET": SECRET, "HUB_ANONYMOUS": "false"}
    token = {"access_token": a_token()}
    await write(kafka, topics, declared.ROUTED, price("AAPL", 1.0))
    async with (
        running(kafka, topics, first, secret),
        running(kafka, topics, second, secret),
        aiohttp.ClientSession() as http,
    ):
        negotiation = {**token, "negotiateVersion": "1"}
        async with http.post(f"{urls[0]}/negotiate", params=negotiation) as response:
            told = await response.json()
        elsewhere = {**token, "id": told["connectionToken"]}
        async with talking(urls[0], params=token) as one, talking(urls[1], params=elsewhere) as two:
            assert (await two.event("ConnectionStatus"))["connectionId"] == told["connectionId"]
            for client in (one, two):
                await client.call("SubscribeToAssetClass", "STOCK")
                assert (await client.event("PriceUpdate"))["price"] == 1.0
            await write(kafka, topics, declared.ROUTED, price("AAPL", 2.0))
            for client in (one, two):
                assert (await client.event("PriceUpdate"))["price"] == 2.0


async def test_a_client_survives_the_hubs_restart(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """Pysignalr comes back by itself, subscribes again, and has the price of the time between."""
    ports = free_port(), free_port()
    heard: asyncio.Queue[Any] = asyncio.Queue()
    client = SignalRClient(f"http://127.0.0.1:{ports[0]}/hubs/market-data")

    async def subscribe() -> None:
        arguments: list[Any] = ["STOCK", ["AAPL"]]
        await client.send("SubscribeToPriceUpdates", arguments)

    async def update(arguments: list[Any]) -> None:
        heard.put_nowait(arguments[0]["price"])

    client.on_open(subscribe)
    client.on("PriceUpdate", update)
    await write(kafka, topics, declared.ROUTED, price("AAPL", 1.0))
    async with running(kafka, topics, ports) as process:
        connected = asyncio.create_task(client.run())
        try:
            assert await asyncio.wait_for(heard.get(), 20) == 1.0
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 20) == 0
            await write(kafka, topics, declared.ROUTED, price("AAPL", 2.0))
            async with running(kafka, topics, ports):
                assert await asyncio.wait_for(heard.get(), 60) == 2.0
        finally:
            connected.cancel()
            await asyncio.gather(connected, return_exceptions=True)


async def test_an_operators_wish_is_in_the_log(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """With who and why; what the router says of it is passed on."""
    ports = free_port(), free_port()
    url = f"http://127.0.0.1:{ports[0]}/api/health/failover"
    secret = {"HUB_JWT_SECRET": SECRET}
    replies = [
        Answer(
            command_offset=offset,
            command="failover",
            who="ann",
            why="a test",
            at_ns=1,
            outcome="done",
            reason="",
            detail="so it is",
            state="PRIMARY_ACTIVE",
            epoch=7,
        )
        for offset in range(5)
    ]
    async with running(kafka, topics, ports, secret), aiohttp.ClientSession() as http:
        # where a broker is slow the first wish may be over before its answer is read
        await write(kafka, topics, declared.ANSWERS, *replies)
        for _ in replies:
            async with http.post(url, json={"why": "a test"}, headers=an_admin()) as response:
                told = await response.json()
            if response.status == 200:
                break
            assert (response.status, told["outcome"]) == (202, "asked")
        assert (told["outcome"], told["detail"]) == ("done", "so it is")
        name = topics + declared.COMMANDS.name
        records = [r async for r in read_to_end(kafka.bootstrap_servers, name, 0)]
        command = msgspec.json.decode(records[0].value, type=Failover)
        assert (records[0].key, command.to, command.who) == (b"router", "yahoo", "ann")


async def test_that_anybody_may_come_is_warned_of() -> None:
    """With what the licences say of it."""
    env = {"HUB_ANONYMOUS": "true", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with process_of(MODULE, env, stdout=asyncio.subprocess.PIPE) as process:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    (line,) = [line for line in map(msgspec.json.decode, out.splitlines()) if "hint" in line]
    assert (line["event"], line["level"]) == ("prices_go_to_anybody", "warning")
    assert "licences forbid" in line["hint"]


@pytest.mark.parametrize(
    ("env", "code", "sentence"),
    [
        ({}, 78, "HUB_ANONYMOUS: nobody could connect"),
        (
            {"HUB_ANONYMOUS": "true", "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"},
            69,
            "KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at 127.0.0.1:1",
        ),
    ],
)
async def test_every_mistake_is_named(env: Mapping[str, str], code: int, sentence: str) -> None:
    """One sentence, and the exit code of its kind."""
    async with process_of(MODULE, env) as process:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == code
    assert said.decode().splitlines()[-1].startswith(sentence)


async def test_a_port_that_is_taken_is_named(
    kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """And not only that there is one."""
    port = free_port()
    taken = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", port)
    env = {
        "KAFKA_BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "TOPIC_PREFIX": topics,
        "HUB_ANONYMOUS": "true",
        "HUB_PORT": str(port),
    }
    async with taken, process_of(MODULE, env) as process:
        _, said = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 73
    assert f"HUB_PORT: cannot listen on 127.0.0.1:{port}" in said.decode()
