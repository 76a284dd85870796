"""The embedded engine as its clients see it: clickhouse-connect, and plain HTTP."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from tests.sinks.clickhouse.conftest import EngineProcess

pytestmark = pytest.mark.service

UTC = dt.UTC


@pytest.fixture
def client(clickhouse: EngineProcess, database: str) -> Iterator[Client]:
    """A clickhouse-connect client in a database of its own."""
    with clickhouse.client() as admin:
        admin.command(f"CREATE DATABASE {database}")
    with clickhouse.client(database) as client:
        yield client


@pytest.fixture
async def http(clickhouse: EngineProcess) -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client."""
    async with aiohttp.ClientSession(clickhouse.url) as session:
        yield session


def test_a_query_returns_rows_with_types(client: Client) -> None:
    """As from a server."""
    result = client.query("SELECT 1 AS a, 'x' AS b, [1.5, 2] AS c, NULL AS d")
    assert result.column_names == ("a", "b", "c", "d")
    assert result.result_rows == [(1, "x", [1.5, 2.0], None)]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("SELECT number AS n, 'é' AS `ü` FROM numbers(3) WHERE number > 5", ("n", "ü")),
        ("SELECT 1 AS a WHERE 0 -- comment", ("a",)),
        ("WITH 5 AS x SELECT x WHERE x < 0", ("x",)),
        ("(SELECT 1 AS a WHERE 0) UNION ALL (SELECT 2 WHERE 0)", ("a",)),
        ("SELECT {v:UInt8} AS p WHERE 0 SETTINGS max_threads = 1", ("p",)),
        ("SHOW TABLES LIKE 'no such table'", ("name",)),
    ],
)
def test_an_empty_result_keeps_its_columns(
    client: Client, query: str, names: tuple[str, ...]
) -> None:
    """The engine leaves the header out; a client that asks for names must get them."""
    result = client.query(query, parameters={"v": 7})
    assert (result.column_names, result.result_rows) == (names, [])


def test_a_large_result_is_whole(client: Client) -> None:
    """More rows than one block, compressed on the way."""
    result = client.query("SELECT number, toString(number) FROM numbers(300000)")
    assert result.row_count == 300_000
    assert result.result_rows[-1] == (299_999, "299999")


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", None])
def test_a_large_insert_is_whole(client: Client, compress: str | None) -> None:
    """More rows than one block: every frame of the body counts."""
    client.command("CREATE TABLE t (n UInt32, s String) ENGINE = MergeTree ORDER BY n")
    rows = [[n, f"it's;\n{n}"] for n in range(100_000)]
    client.write_compression = compress
    summary = client.insert("t", rows, column_names=["n", "s"])
    assert summary.written_rows == 100_000
    counts = client.query("SELECT count(), uniqExact(n), uniqExact(s) FROM t").result_rows
    assert counts == [(100_000, 100_000, 100_000)]


def test_types_survive_the_round_trip(client: Client) -> None:
    """What our tables are made of."""
    client.command(
        "CREATE TABLE t (a Int64, b LowCardinality(String), c Nullable(Float64), "
        "d Array(LowCardinality(String)), e DateTime64(9, 'UTC'), f Bool) "
        "ENGINE = MergeTree ORDER BY a"
    )
    when = dt.datetime(2026, 1, 2, 3, 4, 5, 678901)  # noqa: DTZ001  # as the client returns UTC
    rows = [(1, "x", None, ["p", "q"], when, True), (2, "y", 1.5, [], when, False)]
    client.insert("t", rows, column_names=list("abcdef"))
    assert client.query("SELECT * FROM t ORDER BY a").result_rows == rows


def test_values_are_bound_by_the_engine(client: Client) -> None:
    """Quotes, tabs, line ends and backslashes come through as values, not as SQL."""
    text = "it's\n\t\\ {x:Int8} '; DROP TABLE t"
    query = "SELECT {s:String}, {n:Int64} + 1, {t:DateTime}"
    when = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    ((bound, number, _),) = client.query(
        query, parameters={"s": text, "n": -5, "t": when}
    ).result_rows
    assert (bound, number) == (text, -4)


def test_settings_hold_for_their_query_alone(client: Client) -> None:
    """The next query starts afresh."""
    query = "SELECT getSetting('max_block_size')"
    ((usual,),) = client.query(query).result_rows
    assert client.query(query, settings={"max_block_size": 77}).result_rows == [(77,)]
    assert client.query(query).result_rows == [(usual,)]


def test_commands_answer_as_a_server_does(client: Client) -> None:
    """A value for a query, nothing to look at for a change."""
    client.command("CREATE TABLE t (a Int8) ENGINE = MergeTree ORDER BY a")
    assert client.command("EXISTS TABLE t") == 1
    assert client.command("SELECT a FROM t") == ""
    assert client.raw_insert("t", ["a"], b'{"a":1}\n{"a":2}', fmt="JSONEachRow").written_rows == 2
    assert client.command("SELECT sum(a) FROM t") == 3
    assert client.raw_query("SELECT 1 AS x", fmt="JSONEachRow") == b'{"x":1}\n'


@pytest.mark.parametrize(
    ("query", "code", "name"),
    [
        ("SELECT * FROM nowhere", 60, "UNKNOWN_TABLE"),
        ("SELEC 1", 62, "SYNTAX_ERROR"),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR"),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO"),
        ("SELECT toInt8('x')", 6, "CANNOT_PARSE_TEXT"),
        ("SELECT 1 SETTINGS no_such = 1", 115, "UNKNOWN_SETTING"),
        ("SET max_threads = 1", 48, "NOT_IMPLEMENTED"),
    ],
)
def test_errors_carry_clickhouses_codes(client: Client, query: str, code: int, name: str) -> None:
    """A client can tell them apart, as with a server."""
    with pytest.raises(DatabaseError) as error:
        client.query(query)
    assert (error.value.code, error.value.name) == (code, name)


def test_a_refused_insert_writes_nothing_and_says_why(client: Client) -> None:
    """Also where the rows are parsed and only then refused, which the engine's stream hides."""
    client.command(
        "CREATE TABLE t (a Int8, CONSTRAINT positive CHECK a > 0) ENGINE = MergeTree ORDER BY a"
    )
    with pytest.raises(DatabaseError) as error:
        client.insert("t", [[1], [-1]], column_names=["a"])
    assert error.value.code == 469
    assert client.command("SELECT count() FROM t") == 0


def test_a_greedy_query_fails_alone(client: Client) -> None:
    """A result that would not fit is refused before it takes the process with it."""
    with pytest.raises(DatabaseError) as error:
        client.query("SELECT repeat(toString(number), 1000000) FROM numbers(200)")
    assert error.value.code == 396


async def test_plain_http_speaks_clickhouse(http: aiohttp.ClientSession) -> None:
    """What curl sees: a body, its format, and the headers that clients look at."""
    async with http.get("/ping") as response:
        assert await response.text() == "Ok.\n"
    async with http.post("/?query_id=mine", data="SELECT 1, 'a\tb'") as response:
        assert await response.text() == "1\ta\\tb\n"
        assert response.headers["X-ClickHouse-Format"] == "TabSeparated"
        assert response.headers["X-ClickHouse-Query-Id"] == "mine"
        assert response.headers["X-ClickHouse-Timezone"] == "UTC"
        assert json.loads(response.headers["X-ClickHouse-Summary"])["result_rows"] == "1"
    async with http.get("/", params={"query": "SELECT 2 AS x FORMAT JSON"}) as response:
        assert response.content_type == "application/json"
        assert (await response.json())["data"] == [{"x": 2}]
    async with http.get("/", params={"query": "SELECT 3", "default_format": "CSV"}) as response:
        assert (await response.text(), response.content_type) == ("3\n", "text/csv")


async def test_a_get_changes_nothing(http: aiohttp.ClientSession, database: str) -> None:
    """A link, or an image's address, must not be able to write."""
    async with http.get("/", params={"query": f"CREATE DATABASE {database}"}) as response:
        assert response.status == 500
        assert response.headers["X-ClickHouse-Exception-Code"] == "164"
        assert (await response.text()).startswith("Code: 164. DB::Exception:")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Origin": "https://example.com"}, 403, "497"),
        ({"Host": "rebound.example.com"}, 403, "497"),
        ({"Authorization": "Basic ZGVmYXVsdDpzZWNyZXQ="}, 403, "516"),
        ({"Authorization": "Bearer token"}, 403, "516"),
        ({"X-ClickHouse-User": "admin"}, 403, "516"),
    ],
)
async def test_strangers_are_refused(
    http: aiohttp.ClientSession, headers: dict[str, str], status: int, code: str
) -> None:
    """Pages of elsewhere, and whoever believes that there are users and passwords here."""
    async with http.post("/", data="SELECT 1", headers=headers) as response:
        assert (response.status, response.headers["X-ClickHouse-Exception-Code"]) == (status, code)


async def test_readers_do_not_wait_for_each_other(http: aiohttp.ClientSession) -> None:
    """A slow statement holds up neither the next one nor the loop."""
    slow = asyncio.create_task(_text(http, "SELECT sleep(2)"))
    began = time.monotonic()
    while not slow.done() and time.monotonic() - began < 1:
        assert await _text(http, "SELECT 1") == "1\n"
    assert not slow.done()
    assert await slow == "0\n"


async def _text(http: aiohttp.ClientSession, query: str) -> str:
    async with http.post("/", data=query) as response:
        return await response.text()
