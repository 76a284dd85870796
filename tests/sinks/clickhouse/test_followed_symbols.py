"""The list of symbols in ClickHouse: the table that ships, on the real engine."""

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from ingest.fetch import fetch
from ingest.lists import question
from sinks.clickhouse import schema
from tests.sinks.clickhouse.conftest import EngineProcess

pytestmark = pytest.mark.service


@pytest.fixture
def client(clickhouse: EngineProcess, database: str) -> Iterator[Client]:
    """A client of a database that has the pipeline's tables."""
    schema.apply(clickhouse.store(database), schema.read())
    with clickhouse.client(database) as client:
        yield client


async def _listed(clickhouse: EngineProcess, path: str, user: str = "") -> tuple[str, ...]:
    listing = await fetch(question(f"clickhouse://{user}127.0.0.1:{clickhouse.port}/{path}"))
    assert listing.origin == f"clickhouse://127.0.0.1:{clickhouse.port}/{path}"
    return listing.symbols


async def test_the_table_is_read_by_priority(
    clickhouse: EngineProcess, database: str, client: Client
) -> None:
    """Equal priorities go by name, the last row of a symbol counts, and some are not followed."""
    client.command(
        "INSERT INTO followed_symbols (symbol, priority) VALUES "
        "('MSFT', 2), ('AAPL', 2), ('BRK.B', 1), ('TSLA', 9)"
    )
    table = f"{database}/followed_symbols"
    assert await _listed(clickhouse, table) == ("BRK.B", "AAPL", "MSFT", "TSLA")
    client.command("INSERT INTO followed_symbols VALUES ('TSLA', 0, true), ('AAPL', 2, false)")
    assert await _listed(clickhouse, table) == ("TSLA", "BRK.B", "MSFT")


async def test_what_is_wrong_with_the_table_is_said(
    clickhouse: EngineProcess, database: str, client: Client
) -> None:
    """An empty one, one with a bad symbol, and none at all."""
    table = f"{database}/followed_symbols"
    with pytest.raises(ValueError, match="no symbol in it"):
        await _listed(clickhouse, table)
    client.command("INSERT INTO followed_symbols (symbol, priority) VALUES ('A', 1), ('b c', 2)")
    with pytest.raises(ValueError, match="entry 2: 'b c' is not a symbol"):
        await _listed(clickhouse, table)
    with pytest.raises(ValueError, match=r"status 404: Code: 60\. DB::Exception: .*no_such"):
        await _listed(clickhouse, f"{database}/no_such")


async def test_a_wrong_password_is_said_and_not_repeated(
    clickhouse: EngineProcess, database: str, client: Client
) -> None:
    """The engine has one user without a password; a server would say the same."""
    assert client.ping()
    with pytest.raises(ValueError, match=r"status 403: Code: 516") as refused:
        await _listed(clickhouse, f"{database}/followed_symbols", "default:hush-hush@")
    assert "hush-hush" not in str(refused.value)
