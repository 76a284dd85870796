"""What the runbooks ask of the history, it answers: to an analyst, with the columns they print."""

import pytest

from tests.contracts.runbooks import PAGES, questions
from tests.contracts.sql_page import fill
from tests.sinks.clickhouse.conftest import EngineProcess

pytestmark = pytest.mark.service


def test_every_question_is_answered_with_the_columns_that_are_printed(
    clickhouse: EngineProcess, database: str
) -> None:
    """On a day that was made up; whoever is woken gets the table that the page shows."""
    fill(clickhouse.store(database))
    client = clickhouse.client(database, username="analyst")
    asked = [(page.name, *question) for page in PAGES for question in questions(page)]
    assert len(asked) > 25
    for page, statement, printed in asked:
        names = client.query(statement).column_names
        if printed:
            assert list(names) == printed.split(), f"{page}: {statement}"
