"""Each fault of the stream as a client meets it, and as the ledger tells of it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgpack
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from infra.simulators.alpaca.faults import FAULTS
from infra.simulators.faults import name_of
from infra.simulators.ledger import Entry, FaultBegun, FaultEnded, read, read_faults
from infra.simulators.market import LISTINGS, SECOND_NS, Market
from tests.infra.simulators.alpaca.client import (
    AUTH,
    AUTHENTICATED,
    Client,
    Encoding,
    Message,
    dial,
    enter,
)
from tests.infra.simulators.alpaca.conftest import Simulate, Simulated

pytestmark = pytest.mark.service

ALL = {
    "action": "subscribe",
    **{channel: ["*"] for channel in ("trades", "quotes", "bars", "statuses", "lulds")},
}
ENCODINGS: tuple[Encoding, ...] = ("json", "msgpack")
MARKET = Market(7)


def refusal(code: int, message: str) -> Message:
    """Return an error message as the vendor words it."""
    return {"T": "error", "code": code, "msg": message}


@asynccontextmanager
async def hearing(simulated: Simulated, encoding: Encoding = "json") -> AsyncIterator[Client]:
    """Connect and subscribe to everything."""
    async with enter(simulated.iex, encoding) as client:
        assert (await client.ask(ALL))["T"] == "subscription"
        yield client


async def heard(client: Client, wanted: Callable[[Message], bool], count: int = 1) -> list[Message]:
    """Return the first messages that are as wanted; at most ten seconds."""
    found: list[Message] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            found += [message for message in await client.frame() if wanted(message)]
    return found


def of(kind: str, symbol: str | None = None) -> Callable[[Message], bool]:
    """Return whether a message is of a type, and of a symbol."""
    return lambda message: message["T"] == kind and symbol in {None, message.get("S")}


def marked(path: Path, fault: str) -> list[Entry]:
    """Return the entries that bear a fault's name."""
    return [entry for entry in read(path) if fault in entry.fault.split(",")]


def said(entries: list[Entry]) -> list[Message]:
    """Return the messages of JSON entries."""
    return [json.loads(entry.raw) for entry in entries]


# --- the way in


@pytest.mark.parametrize(("parameters", "header"), [({}, None), ({"retry_after": 30}, "30")])
async def test_too_many_requests(
    simulate: Simulate, parameters: dict[str, int], header: str | None
) -> None:
    """The handshake gets 429, with Retry-After or without; then the next gets in."""
    simulated = await simulate()
    await simulated.fault("too-many-requests", count=1, **parameters)
    with pytest.raises(InvalidStatus) as refused:
        await connect(simulated.iex)
    assert refused.value.response.status_code == 429
    assert refused.value.response.headers.get("Retry-After") == header
    async with enter(simulated.iex):
        assert await simulated.on() == set()


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("connection-limit", 406, "connection limit exceeded"),
        ("auth-failed", 402, "auth failed"),
        ("auth-timeout", 404, "auth timeout"),
        ("insufficient-subscription", 409, "insufficient subscription"),
        ("insufficient-scope", 411, "insufficient scope"),
    ],
)
async def test_refused_at_auth(simulate: Simulate, name: str, code: int, message: str) -> None:
    """The right keys get the error and a close; or may go on, where that was asked for."""
    simulated = await simulate()
    await simulated.fault(name, count=1)
    async with dial(simulated.iex) as client:
        await client.say(AUTH)
        assert await client.rest() == ([refusal(code, message)], 1000)
    await simulated.fault(name, count=1, closing=False)
    async with dial(simulated.iex) as client:
        assert await client.ask(AUTH) == refusal(code, message)
        assert await client.ask(AUTH) == AUTHENTICATED


async def test_a_ghost_is_counted_for_a_while(simulate: Simulate) -> None:
    """After an unclean drop newcomers get 406 until the time is over; after a clean one not."""
    shift = 0
    now = 1_795_392_000 * SECOND_NS
    simulated = await simulate(clock=lambda: now + shift)
    await simulated.fault("ghost", held=90)
    async with enter(simulated.iex):
        pass
    async with enter(simulated.iex) as client:
        client.socket.transport.abort()
    async with asyncio.timeout(10):
        while not simulated.simulator._ghosts:
            await asyncio.sleep(0.01)
    for seconds in (0, 89):
        shift = seconds * SECOND_NS
        async with dial(simulated.iex) as client:
            await client.say(AUTH)
            assert await client.rest() == ([refusal(406, "connection limit exceeded")], 1000)
    shift = 91 * SECOND_NS
    async with enter(simulated.iex):
        pass


async def test_a_ghost_can_be_made_and_laid(simulate: Simulate) -> None:
    """`cut` drops those that are there; the next gets 406, and gets in once the fault is off."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("ghost", cut=True)
        assert (await client.rest())[1] is None
    async with dial(simulated.iex) as client:
        assert await client.ask(AUTH) == refusal(406, "connection limit exceeded")
    await simulated.clear("ghost")
    async with hearing(simulated) as client:
        await client.data(1)


async def test_a_ghosts_cut_spares_the_newcomers(simulate: Simulate) -> None:
    """Who comes after the switch is not cut: only what was there is."""
    simulated = await simulate()
    await simulated.fault("ghost", cut=True)
    async with hearing(simulated) as client:
        await client.data(50)


async def test_the_symbol_limit_changes(simulate: Simulate) -> None:
    """405 for a subscription beyond it, and the set is unchanged; what was had is kept."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("symbol-limit", limit=2)
        assert await client.ask(ALL) == refusal(405, "symbol limit exceeded")
        less = {**ALL, "action": "unsubscribe"}
        assert (await client.ask(less))["trades"] == []
        some = {"action": "subscribe", "trades": ["AAPL", "KO"]}
        assert (await client.ask(some))["trades"] == ["AAPL", "KO"]
        await simulated.clear()
        assert (await client.ask(ALL))["trades"] == ["*", "AAPL", "KO"]


@pytest.mark.parametrize("closing", [False, True])
async def test_a_malformed_symbol_spoils_its_subscription(
    simulate: Simulate, *, closing: bool
) -> None:
    """400 for a request that contains it, and a close where asked for; without it all is well."""
    simulated = await simulate()
    await simulated.fault("malformed-symbol", symbols=["KO"], closing=closing)
    async with enter(simulated.iex) as client:
        await client.say({"action": "subscribe", "trades": ["AAPL", "KO"]})
        assert await client.control() == refusal(400, "invalid syntax")
        if closing:
            assert await client.rest() == ([], 1000)
        else:
            answer = await client.ask({"action": "subscribe", "trades": ["AAPL"]})
            assert answer["trades"] == ["AAPL"]


# --- the connection


@pytest.mark.parametrize("code", [1000, 1001])
async def test_a_clean_close(simulate: Simulate, ledger_path: Path, code: int) -> None:
    """The client gets all that the ledger tells, then the code; the next one may stay."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        before = await client.data(20)
        await simulated.fault("close", code=code)
        after, closed = await client.rest()
    assert closed == code
    assert len(before + after) == sum(1 for _ in read(ledger_path))
    async with hearing(simulated) as client:
        await client.data(20)


async def test_a_cut(simulate: Simulate) -> None:
    """The TCP connection is reset: no close frame, and not even an end."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("cut")
        _, closed = await frames(client)
    assert closed.rcvd is None
    assert isinstance(closed.__cause__, ConnectionResetError)


@pytest.mark.parametrize(
    ("name", "parameters", "last", "code"),
    [
        ("slow-client", {}, refusal(407, "slow client"), 1008),
        ("slow-client", {"said": False}, None, 1008),
        ("internal-error", {}, refusal(500, "internal error"), 1011),
    ],
)
async def test_an_error_in_the_middle_of_the_data(
    simulate: Simulate, name: str, parameters: dict[str, Any], last: Message | None, code: int
) -> None:
    """Said as a control message of its own, if at all, and then the close."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault(name, **parameters)
        messages, closed = await client.rest()
    assert closed == code
    errors = [message for message in messages if message["T"] == "error"]
    assert errors == ([last] if last else [])


async def test_an_internal_error_without_consequences(simulate: Simulate) -> None:
    """The data goes on after it."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("internal-error", closing=False)
        assert await heard(client, of("error")) == [refusal(500, "internal error")]
        await client.data(20)


async def frames(client: Client) -> tuple[list[str | bytes], ConnectionClosed]:
    """Return all frames until the connection closes, and how it does."""
    received: list[str | bytes] = []
    try:
        async with asyncio.timeout(10):
            while True:
                received.append(await client.socket.recv())
    except ConnectionClosed as closed:
        return received, closed


def decoded(frame: str | bytes) -> object:
    """Return a frame's content. Raises ValueError where it has none."""
    return json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_half_a_frame(simulate: Simulate, ledger_path: Path, encoding: Encoding) -> None:
    """The last frame is half of one, whole as a frame; then the close; the ledger has its bytes."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated, encoding) as client:
        await simulated.fault("torn-frame")
        received, closed = await frames(client)
    with pytest.raises(ValueError):  # noqa: PT011  # each decoder has its own words
        decoded(received[-1])
    assert closed.rcvd
    assert closed.rcvd.code == 1001
    (entry,) = marked(ledger_path, "torn-frame")
    last = received[-1]
    assert (entry.symbol, entry.wire) == ("", last.encode() if isinstance(last, str) else last)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_an_array_without_its_end(
    simulate: Simulate, ledger_path: Path, encoding: Encoding
) -> None:
    """One frame cannot be read; those before and after it can."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated, encoding) as client:
        await simulated.fault("torn-frame", how="array")
        await simulated.until_off("torn-frame")
        await simulated.fault("close")
        received, _ = await frames(client)
    (entry,) = marked(ledger_path, "torn-frame")
    unreadable = []
    for frame in received:
        try:
            decoded(frame)
        except ValueError:
            unreadable.append(frame.encode() if isinstance(frame, str) else frame)
    assert unreadable == [entry.wire]
    start = unreadable[0].rstrip(b",") + b"]" if encoding == "json" else b""
    assert encoding == "msgpack" or json.loads(start)


async def test_half_of_a_frames_bytes_on_the_wire(simulate: Simulate, ledger_path: Path) -> None:
    """The frame never becomes whole: the TCP stream ends in it, and none of it was sent."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("torn-frame", how="wire")
        received, closed = await frames(client)
    assert closed.rcvd is None
    assert sum(len(json.loads(frame)) for frame in received) == sum(1 for _ in read(ledger_path))


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_an_unreadable_frame(
    simulate: Simulate, ledger_path: Path, encoding: Encoding
) -> None:
    """Garbage comes between two frames, and not a tick is lost for it."""
    simulated = await simulate()
    async with hearing(simulated, encoding) as client:
        await client.data(1)
        await simulated.fault("unreadable")
        while True:
            frame = await client.socket.recv()
            try:
                decoded(frame)
            except ValueError:
                break
        await client.data(20)
    (entry,) = marked(ledger_path, "unreadable")
    assert entry.wire == (frame.encode() if isinstance(frame, str) else frame)
    if encoding == "json":
        trades = [m for m in said([e for e in read(ledger_path) if e.symbol]) if m["T"] == "t"]
        headers = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
        query = {"start": trades[0]["t"], "end": trades[-1]["t"], "feed": "iex"}
        query["symbols"] = ",".join(LISTINGS)
        async with simulated.http.get("/v2/stocks/trades", params=query, headers=headers) as got:
            past = (await got.json())["trades"].values()
        assert {t["i"] for found in past for t in found} == {t["i"] for t in trades}


# --- silence


async def silent(client: Client, seconds: float = 0.3) -> bool:
    """Return whether nothing comes for a while, after what is on its way."""
    async with asyncio.timeout(10):
        while True:
            try:
                await asyncio.wait_for(client.socket.recv(), seconds)
            except TimeoutError:
                return True


async def test_a_mute_socket(simulate: Simulate, ledger_path: Path) -> None:
    """Open, pings are answered, and no data; whoever comes next is as mute; then all goes on."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await client.data(1)
        await simulated.fault("mute-socket")
        assert await silent(client)
        await asyncio.wait_for(await client.socket.ping(), 5)
    async with hearing(simulated) as client:
        assert await silent(client)
        count = sum(1 for _ in read(ledger_path))
        await simulated.clear("mute-socket")
        await client.data(1)
    assert count < sum(1 for _ in read(ledger_path))


async def test_one_mute_socket(simulate: Simulate) -> None:
    """With a count so many connections are mute, for as long as they live; the next is not."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("mute-socket", count=1)
        assert await silent(client)
    async with hearing(simulated) as client:
        await client.data(20)
        assert await simulated.on() == {"mute-socket"}


async def test_no_pong(simulate: Simulate) -> None:
    """Open and dead: neither data nor a pong; when it is over the connection lives again."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("no-pong", count=1)
        assert await silent(client)
        pong = await client.socket.ping()
        done, _ = await asyncio.wait({asyncio.ensure_future(pong)}, timeout=0.3)
        assert not done
        await simulated.clear()
        await client.data(1)


async def test_who_gives_a_dead_connection_up_gets_another(simulate: Simulate) -> None:
    """The dead one does not stand in the way of the next."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("no-pong", count=1)
        assert await silent(client)
        client.socket.transport.abort()
    async with asyncio.timeout(10):
        while simulated.simulator._holders:
            await asyncio.sleep(0.01)
    async with hearing(simulated) as client:
        await client.data(20)


async def test_a_dead_connection_does_not_hold_up_the_end(simulate: Simulate) -> None:
    """The simulator stops at once, although nobody could say goodbye."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("no-pong")
        assert await silent(client)
        await asyncio.wait_for(simulated.simulator.stop(), 5)


async def test_a_mute_symbol(simulate: Simulate) -> None:
    """Nothing of it while the others go on, and of it again afterwards."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("mute-symbol", symbols=["AAPL", "KO"])
        messages = await drained(client, 3000)
        assert {message["S"] for message in messages} == set(LISTINGS) - {"AAPL", "KO"}
        await simulated.clear()
        await heard(client, of("t", "AAPL"))


async def drained(client: Client, count: int) -> list[Message]:
    """Return so many messages after what was already on its way."""
    await client.ask({"action": "subscribe"})
    return await client.data(count)


async def test_a_halt_and_a_resumption(simulate: Simulate) -> None:
    """A status of the symbol's own tape, no trades, and a status; the quotes go on."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("halt", symbols=["AAPL", "KO"])
        halts = await heard(client, of("s"), 2)
        by_symbol = {status["S"]: (status["sc"], status["rc"], status["z"]) for status in halts}
        assert by_symbol == {"AAPL": ("H", "T1", "C"), "KO": ("2", "T1", "A")}
        messages = await drained(client, 3000)
        assert not [m for m in messages if m["T"] == "t" and m["S"] in {"AAPL", "KO"}]
        assert [m for m in messages if m["T"] == "q" and m["S"] in {"AAPL", "KO"}]
        await simulated.fault("resume", symbols=["KO"])
        (resumed,) = await heard(client, of("s"))
        assert (resumed["S"], resumed["sc"]) == ("KO", "3")
        await heard(client, of("t", "KO"))
        assert await simulated.on() == {"halt"}
        await simulated.fault("resume")
        (resumed,) = await heard(client, of("s"))
        assert (resumed["S"], resumed["sc"]) == ("AAPL", "T")
        await heard(client, of("t", "AAPL"))
    assert await simulated.on() == set()


async def test_a_halt_is_missing_in_the_history_as_well(simulate: Simulate) -> None:
    """What the stream said of a halted symbol is what history says, trade by trade."""
    simulated = await simulate(rate=5000)
    trades: list[Message] = []
    async with hearing(simulated) as client:
        trades += await heard(client, of("t", "AAPL"), 20)
        await simulated.fault("halt", symbols=["AAPL"], seconds=0.5)
        trades += await heard(client, of("t", "AAPL"), 60)
    query = {"symbols": "AAPL", "feed": "iex", "start": trades[0]["t"], "end": trades[-1]["t"]}
    headers = {"APCA-API-KEY-ID": "key", "APCA-API-SECRET-KEY": "secret"}
    async with simulated.http.get("/v2/stocks/trades", params=query, headers=headers) as answer:
        past = (await answer.json())["trades"]["AAPL"]
    assert [trade["i"] for trade in past] == [trade["i"] for trade in trades]


async def test_who_comes_in_a_halt_is_told_of_its_end_only(simulate: Simulate) -> None:
    """Nothing is replayed to newcomers."""
    simulated = await simulate(rate=5000)
    await simulated.fault("halt", symbols=["AAPL"])
    async with hearing(simulated) as client:
        messages = await client.data(1000)
        assert not [message for message in messages if message["T"] == "s"]
        await simulated.clear()
        assert (await heard(client, of("s")))[0]["sc"] == "T"


# --- ticks


async def test_prices_of_zero(simulate: Simulate, ledger_path: Path) -> None:
    """So many trades of the symbols, each marked in the ledger; then it is over by itself."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("price-zero", symbols=["AAPL"], count=3)
        zeros = await heard(client, lambda m: m.get("p") == 0, 3)
        await simulated.until_off("price-zero")
        honest = await drained(client, 2000)
    assert {zero["S"] for zero in zeros} == {"AAPL"}
    assert said(marked(ledger_path, "price-zero")) == zeros
    assert all(message.get("p", 1) > 0 for message in honest)


async def test_negative_sizes(simulate: Simulate, ledger_path: Path) -> None:
    """Trades of any symbol have them while it is on."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("negative-size")
        await heard(client, lambda m: m["T"] == "t" and m["s"] < 0, 50)
        assert all(m["s"] < 0 for m in await drained(client, 500) if m["T"] == "t")
    assert all(trade["s"] < 0 for trade in said(marked(ledger_path, "negative-size")))


async def test_times_in_the_future(simulate: Simulate, ledger_path: Path) -> None:
    """Ten minutes ahead, or as far as asked, of the tick that would have been."""
    now = 1_795_392_000 * SECOND_NS
    simulated = await simulate(clock=lambda: now, rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("future-time", count=1)
        now += 20_000_000
        await client.data(50)
    (late,) = said(marked(ledger_path, "future-time"))
    assert late["t"].startswith("2026-11-23T00:10:00.0")


async def test_a_jump(simulate: Simulate, ledger_path: Path) -> None:
    """Prices of trades and quotes are off by the share; a side without a price has none still."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("jump", by=-0.25, count=40)
        await simulated.until_off("jump")
        await client.data(1)
    moved = said(marked(ledger_path, "jump"))
    assert len(moved) == 40
    for tick in moved:
        for key in {"p", "bp", "ap"} & tick.keys():
            ratio = tick[key] / LISTINGS[tick["S"]].base
            assert ratio == 0 or 0.75 * 0.94 < ratio < 0.75 * 1.06


async def test_duplicates(simulate: Simulate, ledger_path: Path) -> None:
    """Each is sent twice, one after the other, and the second is marked."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("duplicate", count=5)
        await simulated.until_off("duplicate")
        await client.data(1)
    entries = list(read(ledger_path))
    second = [place for place, entry in enumerate(entries) if entry.fault]
    assert len(second) == 5
    assert all(entries[place].raw == entries[place - 1].raw for place in second)


async def test_out_of_order(simulate: Simulate, ledger_path: Path) -> None:
    """A tick comes after its symbol's next one; nothing is lost and nothing doubled."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await simulated.fault("out-of-order", symbols=["AAPL"], count=5)
        await simulated.until_off("out-of-order")
        await drained(client, 1000)
    ticks = [(json.loads(e.raw)["t"], e.fault) for e in read(ledger_path) if e.symbol == "AAPL"]
    swapped = [n for n, (_, fault) in enumerate(ticks) if fault]
    assert len(swapped) == 5
    assert all(padded(ticks[n][0]) < padded(ticks[n - 1][0]) for n in swapped)
    assert len({at for at, _ in ticks}) == len(ticks)


def padded(at: str) -> str:
    """Return a time such that later times are greater."""
    whole, _, fraction = at.rstrip("Z").partition(".")
    return f"{whole}.{fraction:0<9}"


async def test_late_ticks(simulate: Simulate, ledger_path: Path) -> None:
    """They come when their time is over, in their order; the others as ever; none is lost."""
    simulated = await simulate(rate=5000)
    async with hearing(simulated) as client:
        await client.data(1)
        await simulated.fault("late", symbols=["AAPL"], by=0.5, seconds=2)
        await simulated.until_off("late")
        await drained(client, 1000)
    entries = [entry for entry in read(ledger_path) if entry.symbol == "AAPL"]
    late = [entry for entry in entries if entry.fault == "late"]
    assert len(late) > 50
    ages = [entry.sent_at_ns - at_ns(entry) for entry in late]
    assert min(ages[: len(ages) // 2]) >= 0.5 * SECOND_NS
    times = [at_ns(entry) for entry in late]
    assert times == sorted(times)
    assert len({entry.raw for entry in entries}) == len(entries)


def at_ns(entry: Entry) -> int:
    """Return the time of a message in ns."""
    whole, fraction = padded(json.loads(entry.raw)["t"]).split(".")
    minutes, seconds = whole.rpartition(":")[0], int(whole.rpartition(":")[2])
    hours, minute = minutes.rpartition(":")[0], int(minutes.rpartition(":")[2])
    hour = int(hours.rpartition("T")[2])
    day = entry.sent_at_ns // (86_400 * SECOND_NS)
    return (day * 86_400 + hour * 3600 + minute * 60 + seconds) * SECOND_NS + int(fraction)


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_an_unknown_type(simulate: Simulate, ledger_path: Path, encoding: Encoding) -> None:
    """It comes among the ticks of a frame, with a T that nobody has heard of."""
    simulated = await simulate()
    async with hearing(simulated, encoding) as client:
        await simulated.fault("unknown-type", type="zebra", symbols=["AAPL"])
        (stranger,) = await heard(client, of("zebra"))
    assert stranger["S"] == "AAPL"
    (entry,) = marked(ledger_path, "unknown-type")
    assert entry.symbol == "AAPL"


async def test_price_bands(simulate: Simulate, ledger_path: Path) -> None:
    """Around the price, of the symbols asked for, as often as the count says."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("luld", symbols=["KO"], indicator="A")
        (band,) = await heard(client, of("l"))
    assert (band["S"], band["i"], band["z"]) == ("KO", "A", "A")
    assert band["d"] < LISTINGS["KO"].base < band["u"]
    assert len(marked(ledger_path, "luld")) == 1


async def test_price_bands_are_for_those_who_follow_them(
    simulate: Simulate, ledger_path: Path
) -> None:
    """Who did not subscribe to any channel but trades hears no bands and no statuses."""
    simulated = await simulate(rate=5000)
    async with enter(simulated.iex) as client:
        await client.ask({"action": "subscribe", "trades": ["*"]})
        await simulated.fault("luld", seconds=0.5)
        await simulated.fault("halt", symbols=["KO"], seconds=0.5)
        await simulated.until_off("luld")
        await simulated.until_off("halt")
        messages = await drained(client, 100)
    assert {message["T"] for message in messages} == {"t"}
    assert not marked(ledger_path, "luld") + marked(ledger_path, "halt")


@pytest.mark.parametrize(
    ("name", "kind", "same"),
    [
        ("correction", "c", {"oi": "i", "op": "p", "os": "s", "oc": "c", "x": "x", "z": "z"}),
        ("cancel", "x", {"i": "i", "p": "p", "s": "s", "x": "x", "z": "z"}),
    ],
)
async def test_a_trade_is_taken_back(
    simulate: Simulate, ledger_path: Path, name: str, kind: str, same: Mapping[str, str]
) -> None:
    """It speaks of a trade that was really sent just before, to whoever follows its trades."""
    simulated = await simulate()
    async with enter(simulated.iex) as client:
        await client.ask({"action": "subscribe", "trades": ["*"]})
        await simulated.fault(name)
        (regret,) = await heard(client, of(kind))
    entries = list(read(ledger_path))
    place = next(n for n, entry in enumerate(entries) if entry.fault == name)
    trade = json.loads(entries[place - 1].raw)
    assert (trade["T"], trade["S"]) == ("t", regret["S"])
    assert {key: regret[key] for key in same} == {key: trade[of_] for key, of_ in same.items()}
    if kind == "c":
        assert (regret["cp"], regret["cs"]) == (round(trade["p"] + 0.01, 2), trade["s"])
        assert trade["i"] < regret["ci"] < 2**53
    else:
        assert regret["a"] == "C"


async def test_faults_add_up(simulate: Simulate, ledger_path: Path) -> None:
    """A tick that several have changed bears all their names, and all their changes."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("price-zero", count=1)
        await simulated.fault("negative-size", count=1)
        (both,) = await heard(client, lambda m: m.get("p") == 0)
    assert both["s"] < 0
    assert marked(ledger_path, "price-zero")[0].fault == "price-zero,negative-size"


# --- all of them


async def test_the_ledger_tells_of_every_fault(simulate: Simulate, ledger_path: Path) -> None:
    """From when to when, with which parameters, how often and why it ended."""
    simulated = await simulate()
    async with hearing(simulated) as client:
        await simulated.fault("price-zero", count=2)
        await heard(client, lambda m: m.get("p") == 0, 2)
        await simulated.until_off("price-zero")
        await simulated.fault("late", by=1, seconds=0.05)
        await simulated.until_off("late")
        await simulated.fault("jump", by=0.5)
        await simulated.fault("jump")
        await simulated.clear()
        await simulated.fault("mute-socket")
    await simulated.simulator.stop()
    lines = list(read_faults(ledger_path))
    begun = [line for line in lines if isinstance(line, FaultBegun)]
    ended = {line.fault_id: line for line in lines if isinstance(line, FaultEnded)}
    told = [(b.name, ended[b.fault_id].reason) for b in begun]
    assert told == [
        ("price-zero", "used_up"),
        ("late", "expired"),
        ("jump", "replaced"),
        ("jump", "cleared"),
        ("mute-socket", "stopped"),
    ]
    assert begun[0].parameters == {"seconds": None, "count": 2, "symbols": []}
    assert (begun[2].parameters["by"], begun[3].parameters["by"]) == (0.5, 0.25)
    assert ended[begun[0].fault_id].uses == 2
    late = ended[begun[1].fault_id]
    assert late.at_ns - begun[1].at_ns == 50_000_000
    assert {line.source for line in lines} == {"alpaca"}


async def test_the_list_has_every_fault_with_a_sentence(simulate: Simulate) -> None:
    """What there is, its parameters with their defaults, and which are on."""
    simulated = await simulate()
    await simulated.fault("ghost", held=5)
    async with simulated.http.get("/faults") as answer:
        faults = {fault["name"]: fault for fault in (await answer.json())["faults"]}
    assert list(faults) == [name_of(kind) for kind in FAULTS]
    assert all(fault["sentence"].endswith(".") for fault in faults.values())
    assert faults["ghost"]["on"]["parameters"] == {
        "seconds": None,
        "count": None,
        "held": 5.0,
        "cut": False,
    }
    assert faults["ghost"]["parameters"]["held"]["default"] == 90
    assert faults["jump"]["on"] is None


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        (
            ("PUT", "/faults/gost", "{}"),
            404,
            "unknown fault 'gost': expected one of too-many-requests",
        ),
        (("DELETE", "/faults/gost", ""), 404, "unknown fault 'gost'"),
        (("PUT", "/faults/ghost", "{"), 400, "the body is no JSON: "),
        (("PUT", "/faults/ghost", "[]"), 400, "ghost: expected `object`, got `array`"),
        (
            ("PUT", "/faults/ghost", '{"hold": 1}'),
            400,
            "ghost: object contains unknown field",
        ),
        (("PUT", "/faults/ghost", '{"held": 0}'), 400, "ghost: held: expected `float` > 0.0"),
        (("PUT", "/faults/jump", '{"count": 0}'), 400, "jump: count: expected `int` >= 1"),
        (
            ("PUT", "/faults/jump", '{"seconds": "5"}'),
            400,
            "jump: seconds: expected `float",
        ),
        (("PUT", "/faults/jump", '{"symbols": ["APPL"]}'), 400, "jump: unknown symbol 'APPL'"),
        (("PUT", "/faults/halt", "{}"), 400, "halt: object missing required field `symbols`"),
        (
            ("PUT", "/faults/halt", '{"symbols": []}'),
            400,
            "halt: symbols: expected `array` of length",
        ),
        (("PUT", "/faults/symbol-limit", ""), 400, "symbol-limit: object missing required field"),
        (("PUT", "/faults/close", '{"code": 1006}'), 400, "close: code: invalid enum value 1006"),
        (("PUT", "/faults/resume", ""), 400, "resume: nothing is on that it could end"),
    ],
)
async def test_a_wrong_request_is_told(
    simulate: Simulate, ledger_path: Path, asked: tuple[str, str, str], status: int, message: str
) -> None:
    """The sentence names the fault, the parameter and what is expected; nothing is switched."""
    simulated = await simulate()
    method, path, body = asked
    async with simulated.http.request(method, path, data=body.encode()) as answer:
        said_ = (await answer.json())["message"]
        assert (answer.status, said_[: len(message)]) == (status, message)
    assert await simulated.on() == set()
    assert list(read_faults(ledger_path)) == []


async def test_the_second_port_is_ready(simulate: Simulate) -> None:
    """GET /ready answers on it as well."""
    simulated = await simulate()
    http: aiohttp.ClientSession = simulated.http
    async with http.get("/ready") as answer:
        assert (answer.status, await answer.text()) == (200, "ready\n")
