"""The quote endpoints as a client sees them."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.simulators.ledger import Ledger, LedgerError, read
from infra.simulators.market import LISTINGS, MINUTE_NS, SECOND_NS, Market
from infra.simulators.yahoo.server import YahooSimulator
from tests.infra.simulators.yahoo.conftest import NOW_NS

MARKET = Market(7)
#: The second that is quoted, 15 s behind.
QUOTED = NOW_NS // SECOND_NS - 15
DAY = NOW_NS // SECOND_NS // 86_400 * 86_400


async def get(client: aiohttp.ClientSession, path: str) -> tuple[int, Any]:
    """Return an answer's status and JSON."""
    async with client.get(path) as answer:
        return answer.status, await answer.json()


SPARK = "/v7/finance/spark?range=1d&interval=5m&symbols="


async def test_spark_has_an_entry_a_symbol(yahoo: aiohttp.ClientSession) -> None:
    """In the order asked, once each, as Yahoo names them; unknown symbols are left out."""
    status, answer = await get(yahoo, SPARK + "MSFT,NOPE,BRK-B,MSFT,BRK.B")
    assert status == 200
    assert answer["spark"]["error"] is None
    result = answer["spark"]["result"]
    assert [entry["symbol"] for entry in result] == ["MSFT", "BRK-B"]
    (response,) = result[1]["response"]
    assert response["meta"]["symbol"] == "BRK-B"
    assert response["meta"]["regularMarketPrice"] == MARKET.price("BRK.B", QUOTED * SECOND_NS)


async def test_the_meta_is_the_markets_day(yahoo: aiohttp.ClientSession) -> None:
    """Price, range, volume and previous close, at the moment that `regularMarketTime` says."""
    _, answer = await get(yahoo, SPARK + "SPY")
    meta = answer["spark"]["result"][0]["response"][0]["meta"]
    day = MARKET.day("SPY", QUOTED * SECOND_NS)
    expected = {
        "currency": "USD",
        "symbol": "SPY",
        "exchangeName": "PCX",
        "instrumentType": "ETF",
        "regularMarketTime": QUOTED,
        "regularMarketPrice": day.close,
        "regularMarketDayHigh": day.high,
        "regularMarketDayLow": day.low,
        "regularMarketVolume": day.volume,
        "chartPreviousClose": MARKET.previous_close("SPY", QUOTED * SECOND_NS),
        "previousClose": MARKET.previous_close("SPY", QUOTED * SECOND_NS),
        "gmtoffset": 0,
        "exchangeTimezoneName": "UTC",
    }
    assert meta.items() >= expected.items()
    regular = meta["currentTradingPeriod"]["regular"]
    assert (regular["start"], regular["end"]) == (DAY, DAY + 86_400)


async def test_the_history_is_the_last_session_long(yahoo: aiohttp.ClientSession) -> None:
    """At most 78 five-minute points and the price of the moment, as the market had them."""
    _, answer = await get(yahoo, SPARK + "AAPL")
    response = answer["spark"]["result"][0]["response"][0]
    closes = response["indicators"]["quote"][0]["close"]
    last_end = QUOTED - QUOTED % 300
    starts = range(last_end - 78 * 300, last_end, 300)
    assert response["timestamp"] == [*starts, QUOTED]
    bars = [MARKET.bar("AAPL", at * SECOND_NS, (at + 300) * SECOND_NS) for at in starts]
    pairs = zip(
        closes, [*(bar.close for bar in bars), response["meta"]["regularMarketPrice"]], strict=True
    )
    assert all(close in (None, expected) for close, expected in pairs)


async def test_chart_has_all_columns_with_holes(yahoo: aiohttp.ClientSession) -> None:
    """Five columns as long as the times; a hole is null in all of them; the newest is never one."""
    status, answer = await get(yahoo, "/v8/finance/chart/JPM?range=1d&interval=1m")
    assert status == 200
    (result,) = answer["chart"]["result"]
    quote = result["indicators"]["quote"][0]
    assert quote.keys() == {"open", "high", "low", "close", "volume"}
    assert {len(column) for column in quote.values()} == {len(result["timestamp"])} == {391}
    rows = list(zip(*quote.values(), strict=True))
    holes = [row for row in rows if None in row]
    assert 0 < len(holes) < 30
    assert set(holes) == {(None,) * 5}
    assert rows[-1][:4] == (result["meta"]["regularMarketPrice"],) * 4
    start_ns = result["timestamp"][-2] * SECOND_NS
    bar = MARKET.bar("JPM", start_ns, start_ns + MINUTE_NS)
    assert rows[-2] in [(bar.open, bar.high, bar.low, bar.close, bar.volume), (None,) * 5]


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        (
            SPARK + ",".join(f"S{n}" for n in range(21)),
            400,
            ("Bad Request", "Number of symbols needs to be less than or equal to 20"),
        ),
        (SPARK, 400, ("Bad Request", "Missing value for the symbols argument")),
        (SPARK + "NOPE", 404, ("Not Found", "No data found for spark symbols")),
        (
            "/v8/finance/chart/BRK.B",
            404,
            ("Not Found", "No data found, symbol may be delisted"),
        ),
        (
            "/v8/finance/chart/AAPL?interval=7m",
            422,
            (
                "Unprocessable Entity",
                "Invalid input - interval=7m is not supported. Valid intervals: [1m, 5m]",
            ),
        ),
        (
            "/v7/finance/spark?symbols=AAPL&range=5y",
            422,
            (
                "Unprocessable Entity",
                "Invalid input - range=5y is not supported. Valid ranges: [1d]",
            ),
        ),
    ],
)
async def test_refusals_have_yahoos_shape(
    yahoo: aiohttp.ClientSession, ledger_path: Path, path: str, status: int, error: tuple[str, str]
) -> None:
    """No result, a code and a description; and nothing of it is in the ledger."""
    kind = "chart" if "chart" in path else "spark"
    body = {"code": error[0], "description": error[1]}
    assert await get(yahoo, path) == (status, {kind: {"result": None, "error": body}})
    assert list(read(ledger_path)) == []


PERIOD = "/v8/finance/chart/AAPL?interval=5m&period1={}&period2={}"


async def test_a_period_has_the_bars_that_begin_in_it(yahoo: aiohttp.ClientSession) -> None:
    """From its first second to before its last, over a midnight as well, in the same envelope."""
    first, until = DAY - 600 + 1, DAY + 900
    status, answer = await get(yahoo, PERIOD.format(first, until))
    assert status == 200
    (result,) = answer["chart"]["result"]
    starts = [DAY - 300, DAY, DAY + 300, DAY + 600]
    assert result["timestamp"] == starts
    bars = [MARKET.bar("AAPL", at * SECOND_NS, (at + 300) * SECOND_NS) for at in starts]
    (quote,) = result["indicators"]["quote"]
    assert quote.keys() == {"open", "high", "low", "close", "volume"}
    rows = list(zip(*(quote[k] for k in ("open", "high", "low", "close", "volume")), strict=True))
    for row, bar in zip(rows, bars, strict=True):
        assert row in [(bar.open, bar.high, bar.low, bar.close, bar.volume), (None,) * 5]
    meta = result["meta"]
    assert (meta["dataGranularity"], meta["range"]) == ("5m", "")
    assert meta["regularMarketTime"] == QUOTED
    assert meta["chartPreviousClose"] == MARKET.previous_close("AAPL", first * SECOND_NS)
    assert "previousClose" not in meta


async def test_a_period_that_reaches_into_the_present_ends_with_the_running_bar(
    yahoo: aiohttp.ClientSession,
) -> None:
    """Which stands at the moment of the quote, and of which only the price is known."""
    last_end = QUOTED - QUOTED % 300
    _, answer = await get(yahoo, PERIOD.format(last_end - 300, QUOTED + 600))
    (result,) = answer["chart"]["result"]
    assert result["timestamp"] == [last_end - 300, QUOTED]
    assert result["indicators"]["quote"][0]["close"][-1] == result["meta"]["regularMarketPrice"]
    _, answer = await get(yahoo, PERIOD.format(last_end - 300, last_end))
    assert answer["chart"]["result"][0]["timestamp"] == [last_end - 300]


async def test_a_period_to_come_is_empty(yahoo: aiohttp.ClientSession) -> None:
    """No bars, and no error."""
    status, answer = await get(yahoo, PERIOD.format(QUOTED + 300, QUOTED + 900))
    assert (status, answer["chart"]["result"][0]["timestamp"]) == (200, [])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("period1=1", "Invalid input - period1 and period2 go together"),
        ("period1=1&period2=x", "Invalid input - period2=x is no number of seconds"),
        ("period1=-1&period2=5", "Invalid input - period1=-1 is no number of seconds"),
        ("period1=9&period2=9", "Invalid input - start date cannot be after end date."),
        ("period1=1&period2=9", "5m data not available for startTime=1 and endTime=9."),
    ],
)
async def test_a_wrong_period_is_refused(
    yahoo: aiohttp.ClientSession, ledger_path: Path, query: str, words: str
) -> None:
    """In Yahoo's shape, with the values."""
    status, answer = await get(yahoo, f"/v8/finance/chart/AAPL?interval=5m&{query}")
    assert status == 400
    assert answer["chart"]["error"]["code"] == "Bad Request"
    assert answer["chart"]["error"]["description"].startswith(words)
    assert list(read(ledger_path)) == []


async def test_twenty_symbols_are_not_too_many(yahoo: aiohttp.ClientSession) -> None:
    """The limit itself is granted."""
    names = [symbol.replace(".", "-") for symbol in list(LISTINGS)[:20]]
    status, answer = await get(yahoo, SPARK + ",".join(names))
    assert (status, len(answer["spark"]["result"])) == (200, 20)


async def test_the_ledger_has_each_symbols_exact_bytes(
    yahoo: aiohttp.ClientSession, ledger_path: Path
) -> None:
    """A line a symbol, numbered on over all answers, under the market's name for it."""
    async with yahoo.get(SPARK + "KO,BRK-B") as spark:
        spark_body = await spark.read()
    async with yahoo.get("/v8/finance/chart/V") as chart:
        chart_body = await chart.read()
    entries = list(read(ledger_path))
    first, second, third = (entry.wire for entry in entries)
    assert spark_body == b'{"spark":{"result":[' + first + b"," + second + b'],"error":null}}'
    assert chart_body == b'{"chart":{"result":[' + third + b'],"error":null}}'
    assert [(entry.symbol, entry.sequence) for entry in entries] == [
        ("KO", 1),
        ("BRK.B", 2),
        ("V", 3),
    ]
    assert len({entry.connection for entry in entries}) == 1
    assert {(entry.source, entry.encoding) for entry in entries} == {("yahoo", "json")}


async def test_it_is_ready(yahoo: aiohttp.ClientSession) -> None:
    """GET /ready answers as soon as it listens."""
    async with yahoo.get("/ready") as answer:
        assert (answer.status, await answer.text()) == (200, "ready\n")


class BrokenLedger(Ledger):
    """A ledger on a disk that is full."""

    def append(self, entries: object) -> None:
        """Fail."""
        del entries
        message = "no space"
        raise LedgerError(message)


async def test_nothing_is_sent_that_cannot_be_written_down(ledger_path: Path) -> None:
    """The client gets an error, and the simulator's owner is told."""
    with BrokenLedger(ledger_path) as ledger:
        simulator = YahooSimulator(MARKET, ledger, delay=0)
        port = await simulator.start("127.0.0.1", 0)
        async with (
            aiohttp.ClientSession(f"http://127.0.0.1:{port}") as client,
            client.get(SPARK + "KO") as answer,
        ):
            assert answer.status == 500
        with pytest.raises(LedgerError, match="no space"):
            await simulator.failed
        await simulator.stop()
