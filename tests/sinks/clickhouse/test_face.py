"""The embedded engine as its clients see it: clickhouse-connect, and plain HTTP."""

import asyncio
import datetime as dt
import gzip
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor

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


@pytest.fixture
def analyst(clickhouse: EngineProcess, client: Client) -> Iterator[Client]:
    """An analyst's client, in a database with a table and a view."""
    client.command("CREATE TABLE t (a Int8) ENGINE = ReplacingMergeTree ORDER BY a")
    client.command("INSERT INTO t VALUES (7)")
    client.command("CREATE VIEW v AS SELECT a FROM t")
    with clickhouse.client(client.database, username="analyst") as analyst:
        yield analyst


def test_an_analyst_reads(analyst: Client) -> None:
    """Tables, views, what there is; with settings of his own."""
    assert analyst.query("SELECT a FROM v").result_rows == [(7,)]
    assert (
        analyst.query("SELECT a FROM t FINAL WHERE a > {x:Int8}", parameters={"x": 8}).result_rows
        == []
    )
    assert analyst.query("SHOW TABLES").result_rows == [("t",), ("v",)]
    assert analyst.query(
        "SELECT 1 SETTINGS max_threads = 1", settings={"max_block_size": 10}
    ).result_rows == [(1,)]
    assert analyst.query("DESCRIBE v").result_rows[0][:2] == ("a", "Int8")


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("INSERT INTO t VALUES (1)", 164),
        ("DROP TABLE t", 164),
        ("CREATE TABLE x (a Int8) ENGINE = Memory", 164),
        ("SELECT * FROM file('/etc/hostname', 'LineAsString')", 497),
        ("SELECT * FROM loop(url('http://127.0.0.1:1/', 'LineAsString'))", 497),
        ("SELECT * FROM remote('127.0.0.1:1', 'system', 'one')", 497),
        ("SELECT * FROM executable('/bin/ls', 'TSV', 'a String')", 497),
        ("SELECT * FROM filesystem('/etc')", 497),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 497),
        ("SELECT 1 SETTINGS readonly = 0", 164),
    ],
)
def test_an_analyst_does_nothing_else(analyst: Client, statement: str, code: int) -> None:
    """The engine's grants hold where the words pass."""
    with pytest.raises(DatabaseError) as error:
        analyst.command(statement)
    assert error.value.code == code
    assert analyst.query("SELECT a FROM t").result_rows == [(7,)]


def test_an_insert_of_an_analyst_is_refused_in_any_format(analyst: Client) -> None:
    """Also where the data comes behind the statement."""
    with pytest.raises(DatabaseError) as error:
        analyst.insert("t", [[1]], column_names=["a"])
    assert error.value.code == 164


@pytest.mark.parametrize("grasp", ["0", "1", "2"])
async def test_an_analyst_stays_one(http: aiohttp.ClientSession, grasp: str) -> None:
    """Whatever he says of `readonly`."""
    parameters = {"user": "analyst", "readonly": grasp}
    async with http.post("/", params=parameters, data="SELECT getSetting('readonly')") as response:
        assert (await response.text()).strip() in {"1", "2"}
    parameters = {"user": "analyst", "query": "SELECT currentRoles()"}
    async with http.get("/", params=parameters) as response:
        assert await response.text() == "['analyst']\n"


async def test_grafanas_driver_finds_a_server(http: aiohttp.ClientSession) -> None:
    """As clickhouse-go over HTTP begins, in Native and gzip; then as its queries come."""
    driver = {"client_protocol_version": "54483", "default_format": "Native", "user": "analyst"}
    driver |= {"enable_http_compression": "1", "max_execution_time": "60"}
    headers = {"Accept-Encoding": "gzip", "Content-Encoding": "gzip"}
    body = gzip.compress(b"SELECT displayName(), version(), revision(), timezone()")
    async with http.post("/", params=driver, data=body, headers=headers) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert (await response.read()).startswith(b"\x01\x00\x02\xff\xff\xff\xff\x00\x04\x01")
    body = gzip.compress(b"SELECT toUInt8(7) AS x")
    async with http.post("/", params=driver, data=body, headers=headers) as response:
        assert await response.read() == b"\x01\x01\x01x\x05UInt8\x07"


def test_readers_see_whole_inserts_while_they_happen(
    clickhouse: EngineProcess, client: Client
) -> None:
    """Four readers during a hundred inserts: never half of one, never less than before."""
    client.command("CREATE TABLE t (n UInt32) ENGINE = ReplacingMergeTree ORDER BY n")
    done = threading.Event()

    def read() -> list[int]:
        seen = []
        with clickhouse.client(client.database, username="analyst") as reader:
            while not done.is_set():
                seen.append(int(reader.command("SELECT count() FROM t FINAL")))  # type: ignore[arg-type]
        return seen

    with ThreadPoolExecutor(4) as readers:
        reading = [readers.submit(read) for _ in range(4)]
        for first in range(0, 10_000, 100):
            client.insert("t", [[n] for n in range(first, first + 100)], column_names=["n"])
        done.set()
        seen = [future.result() for future in reading]
    assert all(counts and counts == sorted(counts) for counts in seen)
    assert not {count % 100 for counts in seen for count in counts} - {0}
    assert client.command("SELECT count() FROM t FINAL") == 10_000
