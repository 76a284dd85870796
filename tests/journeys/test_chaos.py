"""Faults at random, with a fixed seed; then the books are balanced: sent = published + gaps.

`CHAOS_SECONDS` says how long (by default as long as CI has time for), `CHAOS_SEED` which faults.
`make chaos` runs the half hour.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import aiohttp
import msgspec
import pytest

from infra.stack.plan import SIMULATED_KEYS
from infra.topics import RAW_ALPACA, SOURCES_GAPS
from ingest.events import GapClosed, GapEvent, GapOpened, RawTick
from tests.journeys import reconcile
from tests.journeys.conftest import NewStack
from tests.journeys.running import Stack

SECONDS = float(os.environ.get("CHAOS_SECONDS", "100"))
SEED = int(os.environ.get("CHAOS_SEED", "20261124"))
RATE = 300

#: (vendor, fault, its parameters): what can go wrong on the way to the log.
FAULTS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("alpaca", "cut", {}),
    ("alpaca", "close", {}),
    ("alpaca", "slow-client", {}),
    ("alpaca", "internal-error", {}),
    ("alpaca", "torn-frame", {}),
    ("alpaca", "torn-frame", {"how": "array"}),
    ("alpaca", "unreadable", {"count": 3}),
    ("alpaca", "unknown-type", {"count": 5}),
    ("alpaca", "price-zero", {"count": 5}),
    ("alpaca", "negative-size", {"count": 5}),
    ("alpaca", "future-time", {"count": 3}),
    ("alpaca", "jump", {"count": 10}),
    ("alpaca", "halt", {"symbols": ["AAPL"], "seconds": 5}),
    ("alpaca", "luld", {"symbols": ["MSFT"]}),
    ("alpaca", "correction", {}),
    ("alpaca", "cancel", {}),
    ("alpaca", "late", {"count": 10}),
    ("alpaca", "out-of-order", {"count": 5}),
    ("alpaca", "duplicate", {"count": 5}),
    ("alpaca", "auth-failed", {"count": 2}),
    ("alpaca", "mute-socket", {"seconds": 50}),
    ("alpaca", "rest-unavailable", {"seconds": 6}),
    ("yahoo", "server-error", {"count": 2}),
    ("yahoo", "garbage", {"count": 1}),
    ("yahoo", "frozen", {"seconds": 6}),
    ("yahoo", "missing-close", {"seconds": 6}),
    ("yahoo", "nulls", {"seconds": 6}),
)

#: What may be there again: a tick that was sent twice; one that came with a time of the future, is
#: rejected for it, and has its true version in the history.
AGAIN = ("duplicate", "future-time")

#: A mute socket that is cleared sooner may be taken for a quiet market.
UNMISTAKABLE_S = 10.0


class Faults:
    """The simulators' switches."""

    def __init__(self, stack: Stack, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._urls = {
            "alpaca": f"http://127.0.0.1:{stack.port('alpaca-simulator', 1)}/faults",
            "yahoo": f"http://127.0.0.1:{stack.port('yahoo-simulator')}/faults",
        }

    async def begin(self, vendor: str, name: str, parameters: dict[str, Any]) -> None:
        """Switch a fault on; a tick's fault may have no tick to befall, and is refused then."""
        async with self._http.put(f"{self._urls[vendor]}/{name}", json=parameters) as answer:
            assert answer.status < 500, await answer.text()
            assert answer.status not in {400, 404}, f"{vendor} {name}: {await answer.text()}"

    async def clear(self) -> None:
        """Switch all of them off."""
        for url in self._urls.values():
            async with self._http.delete(url) as answer:
                assert answer.ok


async def _history(stack: Stack, since_ns: int, until_ns: int) -> list[tuple[str, int]]:
    """Return symbol and id of every trade that happened, as the vendor's history tells them."""
    url = f"http://127.0.0.1:{stack.port('alpaca-simulator', 1)}/v2/stocks/trades"
    keys = {
        "APCA-API-KEY-ID": SIMULATED_KEYS["ALPACA_API_KEY_ID"],
        "APCA-API-SECRET-KEY": SIMULATED_KEYS["ALPACA_API_SECRET_KEY"],
    }
    symbols = {entry.symbol for entry in reconcile.sent(stack, "alpaca") if entry.symbol}
    parameters = {
        "symbols": ",".join(sorted(symbols)),
        "start": _moment(since_ns),
        "end": _moment(until_ns),
        "feed": "iex",
        "limit": "10000",
    }
    trades: list[tuple[str, int]] = []
    async with aiohttp.ClientSession(headers=keys) as http:
        while True:
            async with http.get(url, params=parameters) as answer:
                assert answer.status == 200, await answer.text()
                page = await answer.json()
            for symbol, found in page["trades"].items():
                trades += [(symbol, trade["i"]) for trade in found]
            if not page["next_page_token"]:
                return trades
            parameters["page_token"] = page["next_page_token"]


def _moment(at_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at_ns // 1_000_000_000))


async def _ledger(stack: Stack) -> list[GapEvent]:
    decoder = msgspec.json.Decoder(GapEvent)
    return [decoder.decode(r.value) for r in await stack.records(SOURCES_GAPS.name, 1)]


def _open(events: Iterable[GapEvent]) -> set[str]:
    """Return the gaps that nobody has closed."""
    opened = {event.gap_id for event in events}
    return opened - {event.gap_id for event in events if isinstance(event, GapClosed)}


class Books:
    """What Kafka holds of Alpaca's ticks."""

    def __init__(self, ticks: Iterable[RawTick]) -> None:
        self.live: Counter[bytes] = Counter()
        self.trades: Counter[tuple[str, int]] = Counter()
        for tick in ticks:
            if not tick.backfill:
                self.live[reconcile.wire(tick)] += 1
            if tick.encoding == "json" and (trade := _trade(tick)):
                self.trades[trade] += 1


def _trade(tick: RawTick) -> tuple[str, int] | None:
    message = msgspec.json.decode(tick.raw)
    is_trade = tick.backfill == "trades" or (not tick.backfill and message.get("T") == "t")
    return (tick.symbol, message["i"]) if is_trade else None


@pytest.mark.journey
@pytest.mark.timeout(SECONDS + 600)
async def test_whatever_goes_wrong_the_books_balance(new_stack: NewStack) -> None:
    """Every tick sent is in the log once or in a gap, and every trade there was is in the log."""
    chance = random.Random(SEED)
    async with new_stack("--rate", str(RATE)) as stack, aiohttp.ClientSession() as http:
        faults = Faults(stack, http)
        began_ns = time.time_ns()
        done: Counter[str] = Counter()
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            vendor, name, parameters = chance.choice(FAULTS)
            if name == "mute-socket" and time.monotonic() > ends - UNMISTAKABLE_S:
                continue
            await faults.begin(vendor, name, parameters)
            done[f"{vendor} {name}"] += 1
            await asyncio.sleep(chance.uniform(1, 8))  # the rhythm of the faults
            if chance.random() < 0.05:
                await stack.end("alpaca")
                done["kill -9 alpaca"] += 1
        await faults.clear()

        async def settled() -> bool:
            events = await _ledger(stack)
            connected = await stack.prometheus('alpaca_connection_status{state="Connected"} == 1')
            return bool(connected) and not _open(events)

        await stack.until(settled, 180)
        cut_ns = time.time_ns()
        await reconcile.catch_up(stack, 60)
        await asyncio.sleep(
            reconcile.SENT_SLACK_NS / 1e9
        )  # what was sent by the cut is on its way no longer
        records = await stack.records(RAW_ALPACA.name, RAW_ALPACA.partitions)
        decode = msgspec.json.Decoder(RawTick).decode
        books = Books(decode(record.value) for record in records)
        events = await _ledger(stack)
        entries = [e for e in reconcile.sent(stack, "alpaca") if e.sent_at_ns <= cut_ns]
        # what was sent is published, or accounted for
        unaccounted = reconcile.unaccounted(entries, books.live, events)
        assert not unaccounted, f"{len(unaccounted)} lost: {unaccounted[:3]}, after {done}"
        sent = Counter(entry.wire for entry in reconcile.sent(stack, "alpaca"))
        assert not books.live - sent, "more than was sent"
        # every trade that there was is there, live or from the history, once
        happened = await _history(stack, began_ns, cut_ns - reconcile.SENT_SLACK_NS)
        never = [trade for trade in happened if not books.trades[trade]]
        assert not never, f"{len(never)} of {len(happened)} trades: {never[:5]}, after {done}"
        twice = {
            (entry.symbol, msgspec.json.decode(entry.raw)["i"])
            for entry in entries
            if any(fault in entry.fault for fault in AGAIN) and '"T":"t"' in entry.raw
        }
        doubled = [t for t in happened if books.trades[t] > 1 and t not in twice]
        assert not doubled, f"{len(doubled)} trades twice: {doubled[:5]}"
        assert any(isinstance(event, GapOpened) for event in events)
        await reconcile.no_tick_is_lost_or_doubled_behind_kafka(stack)
        await reconcile.routed_in_order(stack)
