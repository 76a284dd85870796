"""The Yahoo client, against a server in the same process."""

import pytest
from aiohttp import web

from ingest.yahoo.client import MAX_BODY_BYTES, RequestFailedError, YahooClient, retry_after
from ingest.yahoo.wire import chart_path, spark_path, split
from tests.ingest.yahoo.vendor import yahoo


async def test_answer_comes_back_as_it_is() -> None:
    """A good answer is its body; the request looks like a browser's, with its commas."""
    async with yahoo() as vendor, YahooClient(vendor.url) as client:
        vendor.spark = ["AAPL", "BRK-B"]
        body = await client.get(spark_path(["AAPL", "BRK.B"]))
        assert [part.quote.symbol for part in split(body, "spark")] == ["AAPL", "BRK.B"]
        (request,) = vendor.requests
        assert request.headers["User-Agent"].startswith("Mozilla/5.0")
        assert "symbols=AAPL,BRK-B&" in request.raw_path


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (429, {"Retry-After": "120"}, 120.0),
        (429, {}, None),
        (500, {}, None),
        (503, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
    ],
)
async def test_refusal_is_named(status: int, headers: dict[str, str], waits: float | None) -> None:
    """A status other than 200 is a failure with that status, and with the server's wish."""
    async with yahoo() as vendor, YahooClient(vendor.url) as client:
        vendor.answer = web.Response(status=status, headers=headers)
        with pytest.raises(RequestFailedError, match=f"HTTP {status}") as failure:
            await client.get(spark_path(["AAPL"]))
        assert (failure.value.reason, failure.value.status) == ("status", status)
        assert failure.value.retry_after_s == waits


async def test_unknown_symbol_is_a_404() -> None:
    """Chart's word for a symbol that it does not know can be told from others."""
    async with yahoo() as vendor, YahooClient(vendor.url) as client:
        with pytest.raises(RequestFailedError) as failure:
            await client.get(chart_path("NOPE"))
        assert failure.value.status == 404


async def test_silence_is_a_timeout() -> None:
    """A server that does not answer in time is named as such."""
    async with yahoo() as vendor, YahooClient(vendor.url, request_s=0.05) as client:
        vendor.delay_s = 1
        with pytest.raises(RequestFailedError, match=r"no answer within 0\.05 s") as failure:
            await client.get(spark_path(["AAPL"]))
        assert failure.value.reason == "timeout"


async def test_nobody_there_is_an_error() -> None:
    """A port where nobody listens is named as such."""
    async with yahoo() as vendor:
        url = vendor.url
    async with YahooClient(url) as client:
        with pytest.raises(RequestFailedError, match="ClientConnectorError") as failure:
            await client.get(spark_path(["AAPL"]))
        assert failure.value.reason == "error"


async def test_endless_answer_is_cut() -> None:
    """An answer longer than any that Yahoo gives is not read to its end."""
    async with yahoo() as vendor, YahooClient(vendor.url) as client:
        vendor.answer = web.Response(body=b"x" * (MAX_BODY_BYTES + 1))
        with pytest.raises(RequestFailedError, match=f"more than {MAX_BODY_BYTES} bytes"):
            await client.get(spark_path(["AAPL"]))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("", None), ("30", 30.0), ("-5", None), ("1e9", None), ("999999", 3600.0)],
)
def test_retry_after_is_bounded(header: str | None, seconds: float | None) -> None:
    """No server can keep us away for more than an hour."""
    assert retry_after(header) == seconds
