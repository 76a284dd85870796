"""docs/sql.md says what the database says, and its questions are answered as it tells."""

import pytest
from clickhouse_connect.driver.client import Client

from tests.contracts.sql_page import PAGE, Result, fill, page
from tests.contracts.sql_questions import QUESTIONS
from tests.sinks.clickhouse.conftest import EngineProcess

pytestmark = pytest.mark.service


@pytest.fixture
def client(clickhouse: EngineProcess, database: str) -> Client:
    """An analyst's client, in a database that holds the made-up day."""
    fill(clickhouse.store(database))
    return clickhouse.client(database, username="analyst")


def test_the_page_is_what_the_database_says(client: Client) -> None:
    """Every view, column and unit; every answer to its last figure, as an analyst gets it."""

    def ask(query: str) -> Result:
        result = client.query(query)
        return Result(result.column_names, result.result_rows)

    assert page(ask) == PAGE.read_text(), "run `make generate`"


def test_there_are_twenty_questions_that_have_answers() -> None:
    """And each is asked once."""
    assert len({question.title for question in QUESTIONS}) >= 20
    text = PAGE.read_text()
    for question in QUESTIONS:
        _, _, answer = text.partition(f"```sql\n{question.sql}\n```\n\n")
        assert answer.partition("\n\n")[0].count("\n") >= 2, question.title
