"""The Yahoo worker, against a server in the same process."""

import contextlib
import json
from datetime import UTC, datetime

import pytest
from aiohttp import web

from infra.market_calendar import NS, load
from infra.topics import RAW_YAHOO
from ingest.events import (
    Connected,
    Disconnected,
    Heartbeat,
    Resumed,
    Stalled,
    SymbolsImpaired,
    SymbolsRestored,
)
from ingest.yahoo.history import SETTLE_S
from ingest.yahoo.quotes import STRAGGLERS
from ingest.yahoo.wire import BAR_S, LAG_S
from tests.ingest.fakes import eventually
from tests.ingest.yahoo.vendor import Yahoo, yahoo
from tests.ingest.yahoo.working import MINUTE_S, ONCE_S, TEN_S, Clock, working


async def test_every_symbol_of_every_poll_is_a_tick() -> None:
    """Forty-one symbols are three calls, and each entry a tick with its bytes and its number."""
    symbols = [f"S{number}" for number in range(40)] + ["BRK.B"]
    async with yahoo() as vendor:
        vendor.spark = [*symbols[:40], "BRK-B"]
        async with working(vendor.url, symbols, poll_s=ONCE_S) as run:
            await run.has_polled(1)
            assert len(run.told(Connected)) == 1
            ticks = run.quotes()
            assert [tick.symbol for tick in ticks] == symbols
            assert [tick.session_seq for tick in ticks] == list(range(1, 42))
            assert {(tick.session_id, tick.feed) for tick in ticks} == {("run", "spark")}
            assert json.loads(bytes(ticks[40].raw))["symbol"] == "BRK-B"
            assert len(vendor.asked_for("spark")) == 3
            assert run.metric("yahoo_messages_received_total") == 41
            assert run.metric('yahoo_polls_total{result="success"}') == 1
            assert run.metric("yahoo_last_success_timestamp_seconds") is not None


async def test_polls_go_on_with_the_sequence() -> None:
    """The next poll's ticks follow on the last one's, in the same session."""
    async with yahoo() as vendor:
        vendor.spark = ["AAPL"]
        async with working(vendor.url, ["AAPL"]) as run:
            await eventually(lambda: len(run.quotes()) >= 3)
        ticks = run.log.ticks(RAW_YAHOO)
        assert [tick.session_seq for tick in ticks] == list(range(1, len(ticks) + 1))
        assert len(run.told(Connected)) == 1


async def test_straggler_is_asked_for_alone() -> None:
    """What spark leaves out comes from chart; a symbol that Yahoo does not know fails nothing."""
    async with yahoo() as vendor:
        vendor.spark, vendor.chart = ["AAPL"], ["BRK-B"]
        async with working(vendor.url, ["AAPL", "NOPE", "BRK.B"], poll_s=ONCE_S) as run:
            await run.has_polled(1)
            assert len(run.told(Connected)) == 1
            ticks = run.quotes()
            assert [(tick.symbol, tick.feed) for tick in ticks] == [
                ("AAPL", "spark"),
                ("BRK.B", "chart"),
            ]


async def test_stragglers_are_bounded() -> None:
    """However many symbols spark leaves out, a poll asks for a few of them only."""
    symbols = [f"S{number}" for number in range(20)]
    async with yahoo() as vendor:
        vendor.chart = symbols
        async with working(vendor.url, symbols, poll_s=ONCE_S) as run:
            await run.has_polled(1)
            assert len(run.quotes()) == STRAGGLERS


async def test_changes_of_life_are_told_once() -> None:
    """Failures in a row are one disconnection; the first good poll after them one connection."""
    async with yahoo() as vendor:
        vendor.spark = ["AAPL"]
        async with working(vendor.url, ["AAPL"]) as run:
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
        async with working(vendor.url, ["AAPL"]) as run:
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert "malformed" in lost.detail
            vendor.answer = None
            await eventually(lambda: run.told(Connected))


async def test_silence_is_a_failure() -> None:
    """A server that does not answer is a timeout, and ends the poll: the others would time out."""
    symbols = [f"S{number}" for number in range(60)]
    async with yahoo() as vendor:
        vendor.delay_s = 5
        async with working(vendor.url, symbols, poll_s=ONCE_S, request_s=1) as run:
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert (lost.reason, len(vendor.requests)) == ("timeout", 1)


async def test_poll_that_brings_nothing_is_a_failure() -> None:
    """Answers without a single quote are not a source that is up."""
    async with yahoo() as vendor, working(vendor.url, ["AAPL"], poll_s=ONCE_S) as run:
        (lost,) = await eventually(lambda: run.told(Disconnected))
        assert lost.detail == "no quote in any answer"


async def test_one_bad_batch_spoils_no_other() -> None:
    """A call that fails by itself costs its own symbols only."""
    symbols = [f"S{number}" for number in range(40)]
    async with yahoo() as vendor:
        vendor.spark, vendor.poisonous = symbols, {"S3"}
        async with working(vendor.url, symbols, poll_s=ONCE_S) as run:
            await run.has_polled(1)
            assert [tick.symbol for tick in run.quotes()] == symbols[20:]


async def test_heart_beats_before_the_first_answer() -> None:
    """While the first poll hangs, the source is connecting, and says so."""
    async with yahoo() as vendor:
        vendor.delay_s = 5
        async with working(vendor.url, ["AAPL", "MSFT"]) as run:
            beat = (await eventually(lambda: run.told(Heartbeat)))[0]
            assert (beat.state, beat.symbols, beat.messages) == ("connecting", 2, 0)
            assert beat.last_message_at_ns is None


REFUSAL = web.Response(status=429, headers={"Retry-After": "600"})


async def test_yahoo_answering_429_is_left_alone() -> None:
    """Nothing is asked while it wants that, not even when it becomes active; then one symbol."""
    symbols = [f"S{number}" for number in range(60)]
    async with yahoo() as vendor:
        vendor.spark, vendor.answer = symbols, REFUSAL
        async with working(vendor.url, symbols, poll_s=MINUTE_S) as run:
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert (lost.reason, lost.code) == ("error", 429)
            assert lost.detail == "HTTP 429 Too Many Requests: left alone for 600 s"
            assert run.metric("yahoo_breaker_open") == 1
            assert run.metric('yahoo_polls_total{result="failure"}') == 1
            assert run.metric("yahoo_last_success_timestamp_seconds") is None
            vendor.answer = None
            run.worker.activate(active=True)
            run.clock.leap(590)
            for _ in range(3):
                assert (await run.beats()).state == "disconnected"
            assert len(vendor.requests) == 1
            run.clock.leap(10)
            await eventually(lambda: run.told(Connected))
            asked = [len(r.query["symbols"].split(",")) for r in vendor.asked_for("spark")]
            assert asked == [20, 1, 20, 20, 20]
            assert run.metric("yahoo_breaker_open") == 0


async def test_yahoo_answering_429_again_is_left_alone_for_longer() -> None:
    """The one request that shows it is refused doubles the wait."""
    async with yahoo() as vendor:
        vendor.spark, vendor.answer = ["AAPL"], web.Response(status=429)
        async with working(vendor.url, ["AAPL"], poll_s=MINUTE_S) as run:
            await eventually(lambda: run.told(Disconnected))
            for wait_s in (120, 240, 480):
                asked = len(vendor.requests)
                run.clock.leap(wait_s - 5)
                await run.beats()
                assert len(vendor.requests) == asked
                run.clock.leap(5)
                await eventually(lambda asked=asked: len(vendor.requests) > asked)  # type: ignore[misc]
            assert len(run.told(Disconnected)) == 1


async def test_yahoo_that_fails_when_tried_again_is_not_flooded() -> None:
    """After its wait it is asked once, and then again like anyone that fails."""
    symbols = [f"S{number}" for number in range(60)]
    async with yahoo() as vendor:
        vendor.spark, vendor.answer = symbols, REFUSAL
        async with working(vendor.url, symbols, poll_s=MINUTE_S) as run:
            await eventually(lambda: run.told(Disconnected))
            vendor.answer = web.Response(status=503)
            run.clock.leap(600)
            await eventually(lambda: len(vendor.requests) == 2)
            await run.has_polled(2)
            assert run.metric("yahoo_breaker_open") == 1
            vendor.answer = None
            await run.polls(600)
            assert run.metric("yahoo_breaker_open") == 0


async def test_a_probe_for_an_unknown_symbol_is_answered() -> None:
    """That Yahoo knows nothing of it is an answer as well."""
    async with yahoo() as vendor:
        vendor.answer = REFUSAL
        async with working(vendor.url, ["NOPE"], poll_s=MINUTE_S) as run:
            await eventually(lambda: run.told(Disconnected))
            vendor.answer = web.Response(status=404)
            run.clock.leap(600)
            await eventually(lambda: run.metric("yahoo_breaker_open") == 0)


async def test_the_active_source_is_polled_at_once_and_more_often() -> None:
    """And as before when it is active no longer."""
    async with yahoo() as vendor:
        vendor.spark = ["AAPL"]
        async with working(vendor.url, ["AAPL"], poll_s=ONCE_S, active_s=15) as run:
            await eventually(lambda: run.told(Connected))
            run.worker.activate(active=True)
            await run.has_polled(2)
            assert len(run.quotes()) == 2
            run.worker.activate(active=True)  # it is already
            await run.polls(15)
            assert len(run.quotes()) == 3
            run.worker.activate(active=False)
            run.clock.leap(5000)
            await run.beats()
            assert len(run.quotes()) == 3


async def test_another_list_is_polled_from_the_next_poll_on() -> None:
    """New symbols are asked for, old ones not; what was impaired and is dropped is restored."""
    async with yahoo() as vendor:
        vendor.spark = ["AAPL", "MSFT"]
        async with working(vendor.url, ["AAPL", "NOPE"], poll_s=MINUTE_S) as run:
            await run.has_polled(1)
            assert len(run.told(SymbolsImpaired)) == 1
            run.worker.follow(["MSFT"])
            await run.polls()
            assert [tick.symbol for tick in run.quotes()] == ["AAPL", "MSFT"]
            (restored,) = run.told(SymbolsRestored)
            assert (restored.reason, restored.symbols) == ("unknown", ["NOPE"])
            assert (await run.beats()).symbols == 1


async def test_a_frozen_price_is_told_and_yahoo_no_longer_trusted() -> None:
    """Polls succeed, but what they bring is old: the heartbeat says `error` until it moves."""
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL", "MSFT"], TEN_S - 7
        async with working(vendor.url, ["AAPL", "MSFT"], poll_s=MINUTE_S, market=load()) as run:
            await eventually(lambda: run.told(Connected))
            assert (await run.beats()).state == "connected"
            while run.clock.now_s < TEN_S + LAG_S - 2 * MINUTE_S:
                await run.polls()
            assert run.told(Stalled) == []
            await run.polls(3 * MINUTE_S)
            (stalled,) = await eventually(lambda: run.told(Stalled))
            assert stalled.symbols == ["AAPL", "MSFT"]
            assert stalled.since_ns == (TEN_S - 7) * NS
            assert run.metric("yahoo_frozen_symbols") == 2
            assert (await run.beats()).state == "error"
            assert run.told(Disconnected) == []
            vendor.traded_at_s = run.clock.now_s
            await run.polls()
            (resumed,) = await eventually(lambda: run.told(Resumed))
            assert resumed.symbols == ["AAPL", "MSFT"]
            assert (await run.beats()).state == "connected"
            assert run.metric("yahoo_frozen_symbols") == 0


async def test_a_price_of_yesterday_is_not_frozen_at_night() -> None:
    """A stall watchdog that fires all night is one that nobody looks at in the morning."""
    close_s = int(datetime(2026, 11, 24, 21, tzinfo=UTC).timestamp())
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL"], close_s
        async with working(
            vendor.url, ["AAPL"], poll_s=MINUTE_S, market=load(), clock=Clock(close_s + 60)
        ) as run:
            await eventually(lambda: run.told(Connected))
            for _ in range(16):
                await run.polls(3600)
            assert run.told(Stalled) == []
            assert (await run.beats()).state == "connected"


async def test_no_previous_close_is_asked_for_and_told() -> None:
    """Spark has none, so chart is asked, once a day; where that has none either, it is said."""
    async with yahoo() as vendor:
        vendor.spark = vendor.chart = ["AAPL"]
        vendor.traded_at_s, vendor.closes = TEN_S, {"chart"}
        async with working(vendor.url, ["AAPL"], poll_s=MINUTE_S) as run:
            await eventually(lambda: run.told(Connected))
            await run.polls()
            assert [tick.feed for tick in run.quotes()] == ["spark", "chart", "spark"]
            assert run.told(SymbolsImpaired) == []
            vendor.closes, vendor.traded_at_s = set(), TEN_S + 24 * 3600
            await run.polls()
            (impaired,) = await eventually(lambda: run.told(SymbolsImpaired))
            assert (impaired.reason, impaired.symbols) == ("no_previous_close", ["AAPL"])
            vendor.closes = {"spark"}
            await run.polls()
            (restored,) = await eventually(lambda: run.told(SymbolsRestored))
            assert (restored.reason, restored.symbols) == ("no_previous_close", ["AAPL"])


async def test_bars_come_for_every_symbol_whatever_is_routed() -> None:
    """One request a symbol for all bars that are over, then one for each further bar."""
    symbols = ["AAPL", "BRK.B"]
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL", "BRK-B"], TEN_S
        async with working(
            vendor.url, symbols, poll_s=ONCE_S, market=load(), clock=Clock(TEN_S + SETTLE_S)
        ) as run:
            first = await eventually(run.bars)
            run.clock.leap(150)
            await eventually(lambda: len(run.bars()) == 2)
            assert [(tick.symbol, tick.feed) for tick in run.bars()] == [
                ("AAPL", "chart-5m"),
                ("BRK.B", "chart-5m"),
            ]
            assert _window(vendor, 0) == (TEN_S - 1800, TEN_S)
            assert json.loads(bytes(first[0].raw))["timestamp"] == list(
                range(TEN_S - 1800, TEN_S, BAR_S)
            )
            vendor.traded_at_s = TEN_S + 4 * BAR_S
            run.clock.leap(4 * BAR_S)
            await eventually(lambda: len(run.bars()) == 3)
            assert _window(vendor, 2)[0] == TEN_S
            assert _window(vendor, 2)[1] >= TEN_S + 3 * BAR_S


async def test_a_restarted_poller_goes_on_where_the_log_ends() -> None:
    """Bars that its predecessor had published are not fetched again; what came since then is."""
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL", "MSFT"], TEN_S
        clock = Clock(TEN_S + SETTLE_S)
        async with working(
            vendor.url, vendor.spark, poll_s=ONCE_S, market=load(), clock=clock
        ) as run:
            await eventually(run.bars)
            clock.leap(150)
            await eventually(lambda: len(run.bars()) == 2)
        past = [record.value for record in run.log.records(RAW_YAHOO)]
        vendor.requests.clear()
        async with working(
            vendor.url, vendor.spark, poll_s=ONCE_S, market=load(), clock=clock, past=past
        ) as run:
            await eventually(lambda: run.told(Connected))
            clock.leap(100)
            await run.beats()
            assert vendor.asked_for("bars") == []
            vendor.traded_at_s = TEN_S + 2 * BAR_S
            clock.leap(2 * BAR_S)
            await eventually(run.bars)
            clock.leap(150)
            await eventually(lambda: len(run.bars()) == 2)
            assert {_window(vendor, place)[0] for place in (0, 1)} == {TEN_S}


@pytest.mark.parametrize("bad", [b"", b"{}", b'{"feed":"chart-5m"}', b"\xff"])
async def test_what_cannot_be_read_of_the_log_is_fetched_again(bad: bytes) -> None:
    """A record that is none of ours teaches nothing, and stops nobody."""
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL"], TEN_S
        clock = Clock(TEN_S + SETTLE_S)
        async with working(
            vendor.url, ["AAPL"], poll_s=ONCE_S, market=load(), clock=clock, past=[bad]
        ) as run:
            await eventually(run.bars)


async def test_an_answer_without_a_bar_that_is_over_is_no_tick() -> None:
    """A symbol that was not traded has no bars: nothing is malformed, and nothing to be kept."""
    async with yahoo() as vendor:
        vendor.spark, vendor.traded_at_s = ["AAPL"], TEN_S
        vendor.answer_to_bars = web.json_response(
            {"chart": {"result": [{"meta": {"symbol": "AAPL"}, "indicators": {"quote": [{}]}}]}}
        )
        clock = Clock(TEN_S + SETTLE_S)
        async with working(vendor.url, ["AAPL"], poll_s=ONCE_S, market=load(), clock=clock) as run:
            await eventually(lambda: vendor.asked_for("bars"))
            vendor.answer_to_bars = web.json_response({"chart": {"result": [{"meta": 1}]}})
            while not run.bars():
                clock.leap(2 * BAR_S)  # again, where the first answer was still being read
                with contextlib.suppress(TimeoutError):
                    await eventually(run.bars, 2)
            bad, *_ = run.bars()
            assert json.loads(bytes(bad.raw)) == {"meta": 1}, "what is malformed is kept"
            assert len(vendor.asked_for("bars")) >= 2


def _window(vendor: Yahoo, place: int) -> tuple[int, int]:
    query = vendor.asked_for("bars")[place].query
    return int(query["period1"]), int(query["period2"])


async def test_bars_that_are_refused_open_the_same_breaker() -> None:
    """Who is refused over bars does not ask for quotes either, and says so at once."""
    async with yahoo() as vendor:
        vendor.spark, vendor.answer_to_bars = ["AAPL"], REFUSAL
        async with working(vendor.url, ["AAPL"], poll_s=MINUTE_S) as run:
            await eventually(lambda: run.told(Connected))
            run.clock.leap(30)
            (lost,) = await eventually(lambda: run.told(Disconnected))
            assert (lost.code, lost.detail[-9:]) == (429, "for 600 s")
            asked = len(vendor.requests)
            run.clock.leap(500)
            assert (await run.beats()).state == "disconnected"
            assert len(vendor.requests) == asked
            vendor.answer_to_bars = None
            run.clock.leap(100)
            await eventually(lambda: len(run.told(Connected)) == 2)


async def test_bars_that_fail_cost_no_quote() -> None:
    """They are asked for again later; the source stays connected, and its polls go on."""
    async with yahoo() as vendor:
        vendor.spark, vendor.answer_to_bars = ["AAPL"], web.Response(text="<html>")
        async with working(vendor.url, ["AAPL"], poll_s=MINUTE_S) as run:
            await eventually(lambda: run.told(Connected))
            run.clock.leap(30)
            await eventually(lambda: vendor.asked_for("bars"))
            vendor.answer_to_bars = None
            for _ in range(10):
                await run.polls()
            await eventually(run.bars)
            assert run.told(Disconnected) == []


async def test_no_bars_are_asked_for_while_the_market_is_closed() -> None:
    """On a Sunday there have been none for a day."""
    sunday_s = int(datetime(2026, 11, 29, 17, tzinfo=UTC).timestamp())
    async with yahoo() as vendor:
        vendor.spark = ["AAPL"]
        async with working(
            vendor.url, ["AAPL"], poll_s=MINUTE_S, market=load(), clock=Clock(sunday_s)
        ) as run:
            await eventually(lambda: run.told(Connected))
            for _ in range(10):
                await run.polls(BAR_S)
            assert vendor.asked_for("bars") == []
