"""Every question of the dashboards to ClickHouse runs on the real engine, and has an answer."""

import re

import pytest

from infra.grafana.board import Sql
from infra.grafana.render import BOARDS
from tests.contracts.sql_page import fill
from tests.sinks.clickhouse.conftest import EngineProcess

#: The made-up day and the days around it, as Grafana names them.
SINCE, UNTIL = 1_767_398_400, 1_767_830_400
DAYS = ("2026-01-03", "2026-01-08")
#: The one thing that did not happen on that day.
BREAKER = (
    "INSERT INTO symbol_breakers (symbol, at, event, rejected, raw_topic)"
    " VALUES ('AAPL', '2026-01-05 15:00:00', 'breaker_opened', 0, 'ticks.raw.alpaca')"
)


def expanded(sql: str) -> str:
    """Return a query as the plugin sends it, for the chosen time."""
    sql = re.sub(
        r"\$__timeFilter\(([^)]+)\)",
        rf"\1 >= toDateTime({SINCE}) AND \1 <= toDateTime({UNTIL})",
        sql,
    )
    sql = re.sub(
        r"\$__dateFilter\(([^)]+)\)",
        rf"\1 >= toDate('{DAYS[0]}') AND \1 <= toDate('{DAYS[1]}')",
        sql,
    )
    assert "$" not in sql, "a macro that is not known here"
    return sql


@pytest.mark.service
def test_every_question_has_an_answer(clickhouse: EngineProcess, database: str) -> None:
    """As the analyst whom Grafana is, on the made-up day; columns that have units are there."""
    store = clickhouse.store(database)
    fill(store)
    store.execute(BREAKER)
    client = clickhouse.client(database, username="analyst")
    asked = 0
    for board in BOARDS:
        for panel in board.panels:
            for ask in panel.asks:
                if not isinstance(ask, Sql):
                    continue
                asked += 1
                where = f"{board.name}: {panel.title}"
                result = client.query(expanded(ask.sql))
                assert result.result_rows, where
                assert any(cell is not None for cell in result.result_rows[0]), where
                assert panel.units.keys() <= set(result.column_names), where
                assert not panel.x or panel.x in result.column_names, where
    assert asked >= 14
