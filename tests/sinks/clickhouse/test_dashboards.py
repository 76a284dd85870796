"""Every question of the dashboards to ClickHouse runs on the real engine, and has an answer."""

import pytest

from infra.grafana import ask
from infra.grafana.ask import Window
from infra.grafana.board import DAYS, Sql
from infra.grafana.render import BOARDS
from tests.contracts.sql_page import fill
from tests.sinks.clickhouse.conftest import EngineProcess

#: The made-up day and the days around it, as Grafana names them.
AROUND = Window(1_767_398_400, 1_767_830_400)
#: A quarter of an hour in its evening: in UTC the next day has begun.
EVENING = Window(1_767_661_200, 1_767_662_100)
#: The one thing that did not happen on that day.
BREAKER = (
    "INSERT INTO symbol_breakers (symbol, at, event, rejected, raw_topic)"
    " VALUES ('AAPL', '2026-01-05 15:00:00', 'breaker_opened', 0, 'ticks.raw.alpaca')"
)


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
            for question in panel.asks:
                if not isinstance(question, Sql):
                    continue
                asked += 1
                where, target = f"{board.name}: {panel.title}", {"rawSql": question.sql}
                result = client.query(ask.clickhouse(target, AROUND))
                assert result.result_rows, where
                assert any(cell is not None for cell in result.result_rows[0]), where
                if DAYS in question.sql:
                    assert client.query(ask.clickhouse(target, EVENING)).result_rows, where
                assert panel.units.keys() <= set(result.column_names), where
                assert not panel.x or panel.x in result.column_names, where
    assert asked >= 14
