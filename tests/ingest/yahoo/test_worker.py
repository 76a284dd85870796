"""The Yahoo worker, against a server in the same process."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from infra.telemetry import Meters
from infra.topics import RAW_YAHOO
from ingest.events import Connected, Disconnected, Heartbeat
from ingest.yahoo.client import YahooClient
from ingest.yahoo.worker import STRAGGLERS, YahooWorker
from tests.ingest.fakes import InMemoryProducer, eventually, publishing
from tests.ingest.yahoo.vendor import Yahoo, yahoo

SOON_S = 0.02


class Run:
    """A worker at work, and what it has published."""

    def __init__(self, worker: YahooWorker, log: InMemoryProducer, meters: Meters) -> None:
        self.worker = worker
        self.log = log
        self._meters = meters

    def told(self, kind: type[Any]) -> list[Any]:
        """Return the statuses of one kind, in order."""
        return [status for status in self.log.statuses() if isinstance(status, kind)]

    def metric(self, series: str) -> float | None:
        """Return a series's value, as it would be scraped; None where it is absent."""
        self.worker.refresh()
        for line in self._meters.exposition().decode().splitlines():
            if line.startswith(f"{series} "):
                return float(line.rpartition(" ")[2])
        return None


@asynccontextmanager
async def working(
    vendor: Yahoo, symbols: Sequence[str], *, poll_s: float = SOON_S, request_s: float = 5.0
) -> AsyncIterator[Run]:
    """A worker that polls until the context is left."""
    stop, meters = asyncio.Event(), Meters("yahoo")
    async with (
        publishing() as (publisher, log),
        YahooClient(vendor.url, request_s=request_s) as client,
    ):
        worker = YahooWorker(
            client=client,
            symbols=symbols,
            poll_s=poll_s,
            publisher=publisher,
            meters=meters,
            run_id="run",
            jitter=lambda: 0.0,
        )
        running = asyncio.create_task(worker.run(stop))
        try:
            yield Run(worker, log, meters)
        finally:
            stop.set()
            await running
            await publisher.drain()


async def test_every_symbol_of_every_poll_is_a_tick() -> None:
    """Forty-one symbols are three calls, and each entry a tick with its bytes and its number."""
    symbols = [f"S{number}" for number in range(40)] + ["BRK.B"]
    async with yahoo() as vendor:
        vendor.spark = [*symbols[:40], "BRK-B"]
        async with working(vendor, symbols, poll_s=3600) as run:
            await eventually(lambda: run.told(Connected))
            ticks = run.log.ticks(RAW_YAHOO)
            assert [tick.symbol for tick in ticks] == symbols
            assert [tick.session_seq for tick in ticks] == list(range(1, 42))
            assert {(tick.session_id, tick.feed) for tick in ticks} == {("run", "spark")}
            assert json.loads(bytes(ticks[40].raw))["symbol"] == "BRK-B"
            assert len(vendor.requests) == 3
            assert run.metric("yahoo_messages_received_total") == 41
            assert run.metric('yahoo_polls_total{result="success"}') == 1
            assert run.metric("yahoo_last_success_timestamp_seconds") is not None


async def test_polls_go_on_with_the_sequence() -> None:
    """The next poll's ticks follow on the last one's, in the same session."""
    async with yahoo() as vendor:
        vendor.spark = ["AAPL"]
        async with working(vendor, ["AAPL"]) as run:
            await eventually(lambda: len(run.log.records(RAW_YAHOO)) >= 3)
        ticks = run.log.ticks(RAW_YAHOO)
        assert [tick.session_seq for tick in ticks] == list(range(1, len(ticks) + 1))
        assert len(run.told(Connected)) == 1


async def test_straggler_is_asked_for_alone() -> None:
    """What spark leaves out comes from chart; a symbol that Yahoo does not know fails nothing."""
    async with yahoo() as vendor:
        vendor.spark, vendor.chart = ["AAPL"], ["BRK-B"]
        async with working(vendor, ["AAPL", "NOPE", "BRK.B"], poll_s=3600) as run:
            await eventually(lambda: run.told(Connected))
            ticks = run.log.ticks(RAW_YAHOO)
            assert [(tick.symbol, tick.feed) for tick in ticks] == [
                ("AAPL", "spark"),
                ("BRK.B", "chart"),
            ]


async def test_stragglers_are_bounded() -> None:
    """However many symbols spark leaves out, a poll asks for a few of them only."""
    symbols = [f"S{number}" for number in range(20)]
    async with yahoo() as vendor:
        vendor.chart = symbols
        async with working(vendor, symbols, poll_s=3600) as run:
            await eventually(lambda: run.told(Connected))
            assert len(run.log.ticks(RAW_YAHOO)) == STRAGGLERS


async def test_too_many_requests_is_honoured() -> None:
    """After 429 the poll is over at once, and the next comes when the server allows."""
    symbols = [f"S{number}" for number in range(60)]
    async with yahoo() as vendor:
        vendor.answer = web.Response(status=429, headers={"Retry-After": "600"})
        async with working(vendor, symbols) as run:
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert (lost.reason, lost.code) == ("error", 429)
            vendor.answer = None
            beats = len(run.told(Heartbeat))
            await eventually(lambda: len(run.told(Heartbeat)) > beats)
            assert len(vendor.requests) == 1
            assert run.told(Heartbeat)[-1].state == "disconnected"
            assert run.metric('yahoo_polls_total{result="failure"}') == 1
            assert run.metric("yahoo_last_success_timestamp_seconds") is None


async def test_changes_of_life_are_told_once() -> None:
    """Failures in a row are one disconnection; the first good poll after them one connection."""
    async with yahoo() as vendor:
        vendor.spark = ["AAPL"]
        async with working(vendor, ["AAPL"]) as run:
            await eventually(lambda: run.told(Connected))
            vendor.answer = web.Response(status=500)
            await eventually(lambda: (run.metric('yahoo_polls_total{result="failure"}') or 0) >= 3)
            assert [lost.code for lost in run.told(Disconnected)] == [500]
            vendor.answer = None
            await eventually(lambda: len(run.told(Connected)) == 2)
        assert [lost.reason for lost in run.told(Disconnected)] == ["error", "shutdown"]


async def test_answer_that_is_no_json_is_a_failure() -> None:
    """An error page with status 200 is a failed poll, and the worker goes on."""
    async with yahoo() as vendor:
        vendor.spark, vendor.answer = ["AAPL"], web.Response(text="<html>back soon</html>")
        async with working(vendor, ["AAPL"]) as run:
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert "malformed" in lost.detail
            vendor.answer = None
            await eventually(lambda: run.told(Connected))


async def test_silence_is_a_failure() -> None:
    """A server that does not answer is a timeout, and ends the poll: the others would time out."""
    symbols = [f"S{number}" for number in range(60)]
    async with yahoo() as vendor:
        vendor.delay_s = 5
        async with working(vendor, symbols, poll_s=3600, request_s=0.05) as run:
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert (lost.reason, len(vendor.requests)) == ("timeout", 1)


async def test_poll_that_brings_nothing_is_a_failure() -> None:
    """Answers without a single quote are not a source that is up."""
    async with yahoo() as vendor, working(vendor, ["AAPL"], poll_s=3600) as run:
        (lost,) = await eventually(lambda: run.told(Disconnected))
        assert lost.detail == "no quote in any answer"


async def test_one_bad_batch_spoils_no_other() -> None:
    """A call that fails by itself costs its own symbols only."""
    symbols = [f"S{number}" for number in range(40)]
    async with yahoo() as vendor:
        vendor.spark, vendor.poisonous = symbols, {"S3"}
        async with working(vendor, symbols, poll_s=3600) as run:
            await eventually(lambda: run.told(Connected))
            assert [tick.symbol for tick in run.log.ticks(RAW_YAHOO)] == symbols[20:]


async def test_heart_beats_before_the_first_answer() -> None:
    """While the first poll hangs, the source is connecting, and says so."""
    async with yahoo() as vendor:
        vendor.delay_s = 5
        async with working(vendor, ["AAPL", "MSFT"]) as run:
            beat = (await eventually(lambda: run.told(Heartbeat)))[0]
            assert (beat.state, beat.symbols, beat.messages) == ("connecting", 2, 0)
            assert beat.last_message_at_ns is None
