"""The business questions: each view over a made-up day, and over the same day delivered twice."""

import datetime as dt
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from infra.market_calendar import ALWAYS_OPEN, load
from sinks.clickhouse import market_days, schema
from sinks.clickhouse.store import write
from tests.contracts.sql_page import fill
from tests.sinks.clickhouse.conftest import EngineProcess
from tests.sinks.clickhouse.history import FACTS, answered, at, batches, gap, trade, transition

pytestmark = pytest.mark.service

MONDAY, TUESDAY = dt.date(2026, 1, 5), dt.date(2026, 1, 6)
Rows = Sequence[Sequence[Any]]
Ask = Callable[[str], Rows]


@pytest.fixture(scope="module")
def client(clickhouse: EngineProcess) -> Iterator[Client]:
    """A client of a database that holds the made-up day."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    fill(clickhouse.store(name))
    with clickhouse.client(name) as client:
        yield client
        client.command(f"DROP DATABASE `{name}`")


@pytest.fixture(scope="module")
def ask(client: Client) -> Ask:
    """A function that returns the rows of a query."""
    return lambda query: client.query(query).result_rows


def utc(clock: str, day: int = 5) -> dt.datetime:
    """Return a moment of January 2026 as the client does."""
    hours, minutes, seconds = map(int, clock.split(":"))
    return dt.datetime(2026, 1, day, hours, minutes, seconds)  # noqa: DTZ001  # UTC, as it returns


def test_a_trade_stands_as_last_corrected(ask: Ask) -> None:
    """Corrected twice, under ids that changed; cancelled; or as it was reported."""
    rows = ask(
        "SELECT exchange, trade_id, state, price, size, original_price, original_size, conditions, "
        "amended_at FROM trade_history WHERE symbol = 'AAPL' AND day = '2026-01-05' "
        "AND market_time < '2026-01-05 15:00:00' ORDER BY market_time"
    )
    assert rows == [
        ("V", 1, "reported", 101, 100, 101, 100, ["@"], None),
        ("V", 2, "corrected", 105, 20, 190, 10, ["@", "I"], utc("14:31:20")),
        ("V", 3, "cancelled", 50, 10, 50, 10, ["@"], utc("14:31:30")),
        ("V", 4, "reported", 103, 100, 103, 100, ["@"], None),
        ("Q", 2, "reported", 104, 50, 104, 50, ["@"], None),
    ]


def test_trades_are_those_that_stand(ask: Ask) -> None:
    """What was cancelled is not traded, and so is in no sum."""
    rows = ask(
        "SELECT trade_id, price, corrected FROM trades WHERE symbol = 'AAPL' AND exchange = 'V'"
        " ORDER BY market_time"
    )
    assert rows == [(1, 101, False), (2, 105, True), (4, 103, False), (6, 106, False)]


def test_the_last_word_on_each_trade_is_there(ask: Ask) -> None:
    """Also by the id that a correction had given it."""
    rows = ask(
        "SELECT trade_id, state, last_id, price, amendments FROM amendments ORDER BY trade_id"
    )
    assert rows == [
        (2, "corrected", 21, 105, 2),
        (3, "cancelled", 3, 1, 1),
        (20, "corrected", 21, 105, 1),
    ]


def test_bars_are_made_of_what_stands(ask: Ask) -> None:
    """Per source: Alpaca's of trades, Yahoo's of what its polls told, without a volume."""
    rows = ask(
        "SELECT minute, source, open, high, low, close, volume, round(vwap, 4), prices "
        "FROM bars_1m WHERE symbol = 'AAPL' AND minute < '2026-01-05 15:00:00' ORDER BY minute,"
        " source"
    )
    assert rows == [
        (utc("14:30:00"), "alpaca", 101, 105, 101, 103, 220, 102.2727, 3),
        (utc("14:30:00"), "yahoo", 102, 102, 102, 102, None, None, 1),
        (utc("14:31:00"), "alpaca", 104, 104, 104, 104, 50, 104, 1),
        (utc("14:31:00"), "yahoo", 130, 130, 130, 130, None, None, 1),
    ]


def test_five_minutes_are_made_of_minutes(ask: Ask) -> None:
    """First, highest, lowest, last; the sum of what was traded."""
    rows = ask(
        "SELECT source, open, high, low, close, volume, round(vwap, 4), prices FROM bars_5m "
        "WHERE symbol = 'AAPL' AND start = '2026-01-05 14:30:00' ORDER BY source"
    )
    assert rows == [
        ("alpaca", 101, 105, 101, 104, 270, 102.5926, 4),
        ("yahoo", 102, 130, 102, 130, None, None, 2),
    ]


def test_a_vendors_bar_is_its_last_version(ask: Ask) -> None:
    """Late trades change a bar, and the vendor sends it again."""
    rows = ask("SELECT start, interval, close, vwap, received_at FROM vendor_bars")
    assert rows == [(utc("14:30:00"), "1m", 105, None, utc("14:40:00"))]


def test_a_quoted_spread_needs_both_sides(ask: Ask) -> None:
    """A side without a quote has no price."""
    rows = ask(
        "SELECT minute, quotes, round(spread, 6), round(spread_bps, 2), round(widest, 6) FROM "
        "quoted_spread_1m"
    )
    assert rows == [(utc("14:30:00"), 2, 0.3, 29.7, 0.4)]


def test_the_sources_differ_by_so_much(ask: Ask) -> None:
    """At the same minute of the market, however late the one is."""
    rows = ask(
        "SELECT symbol, minute, alpaca, yahoo, delta, round(delta_percent, 2) FROM "
        "source_spread_1m ORDER BY minute"
    )
    assert rows == [
        ("AAPL", utc("14:30:00"), 103, 102, 1, 0.98),
        ("AAPL", utc("14:31:00"), 104, 130, -26, -20),
    ]
    rows = ask(
        "SELECT hour, symbol, compared, inconsistent, round(mean_delta, 2), max_delta FROM "
        "comparisons_1h"
    )
    assert rows == [(utc("14:00:00"), "AAPL", 2, 1, 10.25, 20)]


def test_shares_add_up(ask: Ask) -> None:
    """By the hour; by the day, with the seven days that end with it."""
    rows = ask(
        "SELECT hour, exchange_hour, source, prices, share_percent FROM source_share_1h WHERE "
        "day = '2026-01-05' ORDER BY hour, source"
    )
    assert rows == [
        (utc("14:00:00"), 9, "alpaca", 3, 100),
        (utc("15:00:00"), 10, "alpaca", 1, 50),
        (utc("15:00:00"), 10, "yahoo", 1, 50),
    ]
    rows = ask(
        "SELECT day, source, prices, share_percent, round(share_7d_percent, 2) FROM "
        "source_share_1d ORDER BY day, source"
    )
    assert rows == [
        (MONDAY, "alpaca", 4, 80, 80),
        (MONDAY, "yahoo", 1, 20, 20),
        (TUESDAY, "alpaca", 1, 100, 83.33),
        (TUESDAY, "yahoo", 0, 0, 16.67),
    ]


def test_activity_is_counted(ask: Ask) -> None:
    """By stock, by hour of the exchange, and the hour that was busiest."""
    rows = ask(
        "SELECT symbol, messages, trades, quotes, routed, mean_change_percent, "
        "last_change_percent FROM symbol_activity_1d WHERE day = '2026-01-05' ORDER BY messages"
        " DESC"
    )
    assert rows == [("AAPL", 16, 6, 3, 4, 3, 6), ("MSFT", 1, 1, 0, 1, 2, -2)]
    rows = ask(
        "SELECT exchange_hour, messages, trades, symbols FROM activity_1h WHERE day = "
        "'2026-01-05' ORDER BY exchange_hour"
    )
    assert rows == [(9, 16, 6, 2), (10, 1, 1, 1)]
    assert ask("SELECT day, exchange_hour, messages, round(share_percent, 2) FROM peak_hours") == [
        (MONDAY, 9, 16, 94.12)
    ]


def test_latency_is_of_routed_prices(ask: Ask) -> None:
    """From receipt, and from the market."""
    rows = ask(
        "SELECT source, prices, routing_p50, routing_p99, age_p50 FROM latency_1h WHERE hour = "
        "'2026-01-05 15:00:00' ORDER BY source"
    )
    assert [(source, n, *map(round, values)) for source, n, *values in rows] == [
        ("alpaca", 1, 20, 20, 25),
        ("yahoo", 1, 20, 20, 900_020),
    ]


def test_a_plan_is_used_up_to_its_limit(ask: Ask) -> None:
    """How many stocks are followed, how many were turned away, and what the plan allows."""
    rows = ask(
        "SELECT day, source, feed, symbols, turned_away, plan, plan_symbols, used_percent, "
        "monthly_usd FROM plan_usage_1d"
    )
    assert rows == [(MONDAY, "alpaca", "iex", 3, 3, "Basic", 30, 10, 0)]


def test_a_failover_has_its_impact(ask: Ask) -> None:
    """From Alpaca's last to its next price; a former router's word is none."""
    rows = ask(
        "SELECT epoch, started_at, ended_at, duration_seconds, recovery_seconds, "
        "unavailable_seconds, "
        "reason, by, to_state, delayed_prices, delayed_symbols, round(oldest_seconds) FROM "
        "failovers ORDER BY epoch"
    )
    assert rows == [
        (
            2,
            utc("15:00:00"),
            utc("15:10:00"),
            600,
            2,
            60,
            "disconnected",
            "router",
            "FALLBACK_ACTIVE",
            1,
            1,
            900,
        ),
        (
            6,
            utc("16:00:00"),
            utc("16:00:30"),
            30,
            2,
            0,
            "manual",
            "ann",
            "FALLBACK_ACTIVE",
            0,
            0,
            0,
        ),
    ]


def test_states_follow_each_other(ask: Ask) -> None:
    """Each until the next; the last one is still in force."""
    rows = ask("SELECT epoch, state, since, until FROM router_states ORDER BY epoch")
    assert [(epoch, state) for epoch, state, *_ in rows] == [
        (1, "PRIMARY_ACTIVE"),
        (2, "FALLBACK_ACTIVE"),
        (3, "BOTH_UNAVAILABLE"),
        (4, "FALLBACK_ACTIVE"),
        (5, "PRIMARY_ACTIVE"),
        (6, "FALLBACK_ACTIVE"),
        (7, "PRIMARY_ACTIVE"),
    ]
    assert [row[2] for row in rows[1:]] == [row[3] for row in rows[:-1]]
    assert rows[-1][3] is None


def test_availability_is_by_the_day(ask: Ask) -> None:
    """From the router's first state to midnight in New York; whole days after."""
    rows = ask(
        "SELECT primary_seconds, fallback_seconds, unavailable_seconds, "
        "round(availability_percent, 3) "
        "FROM availability_1d WHERE day <= '2026-01-06' ORDER BY day"
    )
    whole = 15 * 3600  # from 14:00 to 05:00 UTC
    assert rows == [(whole - 630, 570, 60, 99.889), (86_400, 0, 0, 100)]


def test_rejections_are_counted_by_reason(ask: Ask) -> None:
    """With the time, the stocks, and an example."""
    rows = ask("SELECT * FROM rejections_1d ORDER BY reason")
    assert [(*row[:5], *row[7:]) for row in rows] == [
        (MONDAY, "alpaca", "invalid_price", 2, 2, "found invalid_price"),
        (MONDAY, "yahoo", "unknown_symbol", 1, 1, "found unknown_symbol"),
    ]


def test_a_gap_is_one_row(ask: Ask) -> None:
    """Its bounds, and what became of it."""
    rows = ask(
        "SELECT gap_id, cause, state, symbols, since, until, seconds, trades, bars, lost FROM "
        "gaps ORDER BY gap_id"
    )
    assert rows == [
        (
            "g-1",
            "disconnected",
            "filled",
            [],
            utc("15:30:00"),
            utc("15:40:00"),
            600,
            1,
            10,
            ["quotes"],
        ),
        ("g-2", "stalled", "ended", ["MSFT"], utc("20:59:30"), utc("21:00:30"), 60, 0, 0, []),
    ]


def test_completeness_is_by_stock_and_day(ask: Ask) -> None:
    """A gap that names nobody is of all that were followed; behind the close is no loss."""
    rows = ask(
        "SELECT day, symbol, gaps, missed_seconds, session_seconds, unfilled_seconds, "
        "backfilled, round(complete_percent, 3) FROM completeness_1d ORDER BY symbol"
    )
    assert rows == [
        (MONDAY, "AAPL", 1, 600, 600, 0, 1, 100),
        (MONDAY, "MSFT", 2, 660, 630, 30, 0, 99.872),
    ]


def test_completeness_is_by_the_markets_calendar(clickhouse: EngineProcess, database: str) -> None:
    """A half day is short, a holiday has no session, and a simulated market never closes."""
    store = clickhouse.store(database)
    schema.apply(store, schema.read())
    store.insert(market_days.TABLE, market_days.rows(load()))
    later = at("15:00:00") + 7000 * 24 * 3600 * 1_000_000_000
    facts = [
        # on Christmas Eve the market closes at 18:00 UTC
        gap("half", "opened", at("17:30:00", day=-7), symbols=["AAPL"]),
        gap("half", "ended", at("17:30:00", day=-7), at("18:30:00", day=-7), symbols=["AAPL"]),
        gap("none", "opened", at("15:00:00", day=-6), symbols=["AAPL"]),
        gap("none", "ended", at("15:00:00", day=-6), at("16:00:00", day=-6), symbols=["AAPL"]),
        gap("far", "opened", later, symbols=["AAPL"]),
        gap("far", "ended", later, later + 3_600_000_000_000, symbols=["AAPL"]),
    ]
    for batch in batches(facts, 10):
        assert write(store, batch) == []
    query = (
        "SELECT day, missed_seconds, open_seconds, session_seconds, unfilled_seconds, "
        "round(complete_percent, 3) FROM completeness_1d ORDER BY day"
    )
    eve, christmas = dt.date(2025, 12, 24), dt.date(2025, 12, 25)
    ask: Ask = store.rows
    rows = ask(query)
    assert rows[:2] == [
        (eve, 3600, 12_600, 1800, 1800, 85.714),
        (christmas, 3600, 0, 0, 0, 100),
    ]
    assert [row[2:] for row in rows[2:]] == [(None, None, None, None)]
    store.insert(market_days.TABLE, market_days.rows(ALWAYS_OPEN))
    assert ask(query)[:2] == [
        (eve, 3600, 86_400, 3600, 3600, 95.833),
        (christmas, 3600, 86_400, 3600, 3600, 95.833),
    ]


def test_users_have_real_time_or_delayed_prices(ask: Ask) -> None:
    """By the router's state while they were there, whatever it was in between."""
    rows = ask("SELECT * EXCEPT connected_at FROM connections ORDER BY connection_id")
    assert rows == [
        ("c-1", "market-data", "ann", "json", utc("15:20:00"), 1800, "left", 9),
        ("c-2", "market-data", "", "messagepack", utc("17:30:00"), 1800, "too_slow", 3),
    ]
    assert ask("SELECT * FROM usage_1d") == [(MONDAY, "market-data", 2, 2, 60, 50, 9, 1)]
    rows = ask("SELECT symbol, subscribers, users FROM symbol_subscribers_1d ORDER BY symbol")
    assert rows == [("AAPL", 2, 2), ("MSFT", 1, 1)]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("join_use_nulls", 1), ("session_timezone", "Asia/Tokyo"), ("transform_null_in", 1)],
)
def test_no_view_depends_on_the_askers_settings(
    ask: Ask, client: Client, setting: str, value: int | str
) -> None:
    """Drivers and tools set such things by themselves."""
    before = _views(ask)
    after = _views(lambda query: client.query(query, settings={setting: value}).result_rows)
    assert after == before


def _views(ask: Ask) -> dict[str, Rows]:
    names = [
        name
        for (name,) in ask(
            "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
        )
    ]
    # what is in force now gets longer while we look
    still = {"router_states": "* EXCEPT seconds", "availability_1d": "* EXCEPT primary_seconds"}
    return {
        name: ask(f"SELECT {still.get(name, '*')} FROM `{name}` ORDER BY ALL")  # noqa: S608
        for name in names
    }


def test_a_redelivery_changes_no_view(ask: Ask, clickhouse: EngineProcess, client: Client) -> None:
    """All of it once more, cut into other batches: every view is what it was, and none is empty."""
    before = _views(ask)
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    assert client.database
    store = clickhouse.store(client.database)
    for batch in batches(FACTS, 3):
        assert write(store, batch) == []
    assert ask("SELECT count() > uniqExact(topic, partition, offset) FROM valid_ticks") == [(True,)]
    assert _views(ask) == before


def test_an_answer_is_one_row_a_command(clickhouse: EngineProcess, database: str) -> None:
    """A router and its successor may both answer, in two records."""
    store = clickhouse.store(database)
    schema.apply(store, schema.read())
    now = time.time_ns()
    facts = [answered(7, now, "hold"), answered(7, now, "hold"), answered(8, now, "release")]
    for batch in batches(facts, 10):
        assert write(store, batch) == []
    ask: Ask = store.rows
    rows = ask("SELECT command_offset, command, outcome FROM command_answers FINAL ORDER BY 1")
    assert rows == [(7, "hold", "done"), (8, "release", "done")]


def test_trades_of_one_moment_are_in_the_order_of_their_numbers(
    clickhouse: EngineProcess, database: str
) -> None:
    """So that a bar's first and last price do not depend on how its rows happen to lie."""
    store = clickhouse.store(database)
    schema.apply(store, schema.read())
    moment = time.time_ns() // 60_000_000_000 * 60_000_000_000
    facts = [trade("AAPL", moment, 100 + number, 1, number) for number in (9, 10, 2)]
    facts += [trade("MSFT", moment + 1, 1, 1, 10**18), trade("MSFT", moment + 2, 2, 1, 1)]
    for batch in batches(facts, 10):
        assert write(store, batch) == []
    ask: Ask = store.rows
    rows = ask("SELECT symbol, open, close, prices FROM bars_1m ORDER BY symbol")
    assert rows == [("AAPL", 102, 110, 3), ("MSFT", 1, 2, 2)]


def test_what_lasts_has_no_end_yet(clickhouse: EngineProcess, database: str) -> None:
    """A gap that is open and a failover that goes on last until now."""
    store = clickhouse.store(database)
    schema.apply(store, schema.read())
    now = time.time_ns()
    facts = [
        transition(1, "S>P", now - 90_000_000_000, "startup"),
        transition(2, "P>F", now - 60_000_000_000, "health"),
        gap("g", "opened", now - 60_000_000_000, symbols=["AAPL"]),
    ]
    for batch in batches(facts, 10):
        assert write(store, batch) == []
    ask: Ask = store.rows
    assert ask("SELECT ended_at IS NULL, duration_seconds >= 60 FROM failovers") == [(True, True)]
    assert ask("SELECT state, until IS NULL, seconds >= 60 FROM gaps") == [("open", True, True)]
    assert ask("SELECT sum(missed_seconds) >= 60 FROM completeness_1d") == [(True,)]


def test_what_was_amended_before_there_was_a_table_of_it_is_in_there(
    clickhouse: EngineProcess, database: str
) -> None:
    """A database of an older version gets what its ticks say, though they were delivered twice."""
    store = clickhouse.store(database)
    files = schema.read()
    new = next(n for n, file in enumerate(files) if "CREATE MATERIALIZED" in file.text)
    schema.apply(store, files[:new])
    for batch in [*batches(FACTS, 100), *batches(FACTS, 7)]:
        assert write(store, batch) == []
    ask: Ask = store.rows
    views = ("amendments", "trades", "bars_1m")
    before = [ask(f"SELECT * FROM {view} ORDER BY ALL") for view in views]  # noqa: S608  # ours
    schema.apply(store, files)
    after = [ask(f"SELECT * FROM {view} ORDER BY ALL") for view in views]  # noqa: S608  # ours
    assert after == before
    assert len(before[0]) == 3
    assert ask("SELECT count() FROM trade_amendments FINAL") == [(3,)]
